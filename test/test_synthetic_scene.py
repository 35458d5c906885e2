"""Rendered hands against their own ground truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hand_recon_ros import Camera, Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.skeleton import TIPS, WRIST
from hand_recon_ros.synthetic import HandPose, Scene, render_scene
from hand_recon_ros.synthetic.backgrounds import KINDS, background
from hand_recon_ros.synthetic.lighting import Lamp, Lighting
from hand_recon_ros.synthetic.noise import fractal_noise
from hand_recon_ros.synthetic.photometric import CameraResponse, simulate_camera
from hand_recon_ros.synthetic.poses import POSTURES, posture, sample_angles
from hand_recon_ros.synthetic.rasterizer import rasterize
from hand_recon_ros.synthetic.shading import shade
from hand_recon_ros.synthetic.skin import Appearance, bake_texture, rest_surface
from hand_recon_ros.synthetic.surface import FOREARM, HAND, SLEEVE, Arm

MODEL = load_hand_model()
CAMERA = Camera.from_fov(320, 240, 60)
LIGHT = Lighting((Lamp((-0.5, -0.8, -0.7), (1.0, 1.0, 0.95)),))


def held_up(side: Side, x: float = 0.0, z: float = 0.4, name: str = "open", **arm: float) -> HandPose:
    """A hand with its fingers up and its palm towards the camera."""
    kinematics = MODEL.kinematics(side)
    rotations = kinematics.rotations_of(posture(name, kinematics))
    # At rest fingers lie along -x (right hand) or +x (left), the back of the hand faces +y.
    fingers = np.array([0.0, 1.0 if side == Side.RIGHT else -1.0, 0.0])
    rotations[0] = np.stack([fingers, [0.0, 0.0, 1.0], np.cross(fingers, [0.0, 0.0, 1.0])], axis=1)
    translation = np.array([x, 0.07, z]) - kinematics.keypoint_template[0]
    return HandPose(side, rotations, np.zeros(10), translation, Arm(**arm))


def scene(*hands: HandPose, **changes: object) -> Scene:
    plain = np.full((CAMERA.height, CAMERA.width, 3), 0.2, dtype=np.float32)
    return dataclasses.replace(Scene(hands, CAMERA, LIGHT, background=plain), **changes)


@pytest.fixture(scope="module")
def both():
    return render_scene(scene(held_up(Side.LEFT, 0.09), held_up(Side.RIGHT, -0.09)), MODEL)


def test_ground_truth_is_the_hand_models(both) -> None:
    pose = held_up(Side.RIGHT, -0.09)
    joints, _ = MODEL.kinematics(Side.RIGHT).forward(pose.rotations, pose.betas, pose.translation)
    assert np.allclose(both.joints[Side.RIGHT], joints)
    assert np.allclose(both.joints[Side.RIGHT, WRIST], [-0.09, 0.07, 0.4])
    assert np.allclose(both.keypoints_2d, CAMERA.project(both.joints))
    expected = MODEL.mesh(Side.RIGHT, pose.rotations, pose.betas, pose.translation)
    assert np.allclose(both.vertices[Side.RIGHT], expected)


def test_hands_are_on_their_sides_with_thumbs_inwards(both) -> None:
    columns = np.arange(CAMERA.width)
    for side, half in ((Side.RIGHT, columns < 160), (Side.LEFT, columns >= 160)):
        mask = both.visible[side]
        assert mask.sum() > 2000
        assert mask[:, half].sum() > 0.99 * mask.sum()
    # Palms to the camera, fingers up: the right hand's thumb points to the image's right.
    right, left = both.keypoints_2d[Side.RIGHT], both.keypoints_2d[Side.LEFT]
    assert right[4, 0] > right[20, 0] and left[4, 0] < left[20, 0]
    assert (right[TIPS[1:], 1] < right[WRIST, 1] - 40).all()


def test_keypoints_and_vertices_are_in_the_masks(both) -> None:
    for side in Side:
        pixels = np.rint(CAMERA.project(both.vertices[side].astype(float))).astype(int)
        inside = ((pixels >= 0) & (pixels < (CAMERA.width, CAMERA.height))).all(axis=1)
        mask = both.amodal[side]
        grown = mask.copy()
        for axis in (0, 1):
            grown |= np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
        hit = grown[pixels[inside, 1], pixels[inside, 0]]
        assert hit.mean() > 0.995
        tips = np.rint(both.keypoints_2d[side]).astype(int)
        assert grown[tips[:, 1], tips[:, 0]].all()


def test_the_silhouette_agrees_with_the_camera_within_half_a_pixel(both) -> None:
    mask = both.amodal[Side.RIGHT]
    rows, columns = np.nonzero(mask)
    pixels = CAMERA.project(both.vertices[Side.RIGHT].astype(float))
    top = pixels[:, 1].min()
    # The highest covered pixel centre lies at most one pixel inside the highest point, never outside of it by a half.
    assert -0.5 < rows.min() - top < 1.5
    assert -0.5 < columns.min() - pixels[:, 0].min() < 1.5
    assert -0.5 < pixels[:, 0].max() - columns.max() < 1.5


def test_masks_depth_and_visibility_agree(both) -> None:
    covered = np.isfinite(both.depth)
    assert not (both.visible & ~covered).any()
    assert not (both.visible[0] & both.visible[1]).any()
    # Alone in its half of the image, a hand is fully visible.
    assert (both.visible & both.amodal).sum() > 0.995 * both.amodal.sum()
    for side in Side:
        depth = both.depth[both.visible[side]]
        z = both.vertices[side, :, 2]
        assert z.min() - 0.002 < depth.min() and depth.max() < z.max() + 0.002
        assert both.keypoint_visible[side].all()


def test_the_hand_in_front_hides_the_one_behind() -> None:
    result = render_scene(scene(held_up(Side.LEFT, 0.01, 0.55), held_up(Side.RIGHT, 0.0, 0.35)), MODEL)
    assert (result.visible[Side.RIGHT] & result.amodal[Side.RIGHT]).sum() > 0.995 * result.amodal[Side.RIGHT].sum()
    shared = result.amodal[0] & result.amodal[1]
    assert shared.sum() > 1000
    assert not (result.visible[Side.LEFT] & shared).any()
    assert result.keypoint_visible[Side.RIGHT].all()
    hidden = ~result.keypoint_visible[Side.LEFT]
    behind = np.rint(result.keypoints_2d[Side.LEFT]).astype(int)
    covered = result.visible[Side.RIGHT][behind[:, 1], behind[:, 0]]
    assert covered.sum() > 5
    assert (hidden | ~covered).all()


def test_a_hand_that_hides_its_own_fingers() -> None:
    pose = held_up(Side.RIGHT, name="fist")
    turned = pose.rotations.copy()
    turned[0] = np.diag([-1.0, 1.0, -1.0]) @ turned[0]
    result = render_scene(scene(dataclasses.replace(pose, rotations=turned)), MODEL)
    seen = result.keypoint_visible[Side.RIGHT]
    # From the back of a fist the knuckles are visible and the fingertips are not.
    assert seen[[5, 9, 13]].all() and not seen[[8, 12, 16]].any()
    assert not result.keypoint_visible[Side.LEFT].any() and np.isnan(result.joints[Side.LEFT]).all()


def test_the_image_shows_skin_in_the_mask_and_background_elsewhere(both) -> None:
    blue, _, red = (both.image[..., k].astype(float) for k in range(3))
    skin = both.visible.any(axis=0)
    assert (red - blue)[skin].mean() > 25
    assert abs((red - blue)[~np.isfinite(both.depth)].mean()) < 3
    assert 60 < both.image[skin].mean() < 225


def test_the_same_scene_gives_the_same_image_and_another_seed_other_noise() -> None:
    first = scene(held_up(Side.RIGHT), noise_seed=3)
    again = render_scene(first, MODEL).image
    assert np.array_equal(render_scene(first, MODEL).image, again)
    other = render_scene(dataclasses.replace(first, noise_seed=4), MODEL).image
    difference = np.abs(other.astype(int) - again)
    assert difference.any() and difference.mean() < 4


def test_one_hand_of_each_side_at_most() -> None:
    with pytest.raises(ValueError, match="at most one hand of each side"):
        scene(held_up(Side.LEFT), held_up(Side.LEFT, 0.1))
    with pytest.raises(ValueError, match="expected \\(240, 320, 3\\)"):
        render_scene(scene(background=np.zeros((10, 10, 3))), MODEL)


def test_a_scene_without_hands_is_rendered() -> None:
    result = render_scene(scene(), MODEL)
    assert np.isinf(result.depth).all() and not result.amodal.any() and result.image.std() > 0


def test_the_surface_has_the_meshs_vertices_a_forearm_and_a_sleeve() -> None:
    for side in Side:
        surface = rest_surface(MODEL, side, Arm(sleeve=0.08))
        identity = np.broadcast_to(np.eye(3), (16, 3, 3))
        mesh = MODEL.mesh(side, identity, np.zeros(10), np.zeros(3))
        assert np.array_equal(surface.vertices[: len(mesh)], mesh.astype(np.float64))
        assert set(np.unique(surface.kinds)) == {HAND, FOREARM, SLEEVE}
        skin = surface.faces[surface.kinds != SLEEVE]
        directed = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])
        # Every edge is used once in each direction, except at the open end at the elbow.
        assert len(np.unique(directed, axis=0)) == len(directed)
        forward = set(map(tuple, directed.tolist()))
        lonely = [edge for edge in forward if edge[::-1] not in forward]
        assert len(lonely) == 2 * len(MODEL.wrist_loop(side))
        # Normals point outwards: away from the arm's axis.
        tube = np.unique(surface.faces[surface.kinds == FOREARM])
        points = surface.vertices[tube]
        radial = points - points.mean(axis=0)
        radial[:, 0] = 0.0
        assert (np.einsum("ij,ij->i", radial, surface.normals[tube]) > 0).mean() > 0.98


def test_wrist_flexion_and_deviation_have_their_directions() -> None:
    for side in Side:
        kinematics = MODEL.kinematics(side)
        from hand_recon_ros.skeleton import wrist_rotation
        from hand_recon_ros.synthetic.surface import limb_topology

        pose = held_up(side)
        vertices = MODEL.mesh(side, pose.rotations, pose.betas, pose.translation)
        joints, _ = kinematics.forward(pose.rotations, pose.betas, pose.translation)
        frame = wrist_rotation(joints, side == Side.RIGHT)

        def elbow(bend: tuple[float, float]) -> np.ndarray:
            surface = limb_topology(MODEL, side).surface(vertices, joints, Arm(bend=bend))  # noqa: B023
            ring = surface.vertices[-2 * len(MODEL.wrist_loop(side)) :]  # noqa: B023
            return (ring.mean(axis=0) - joints[0]) @ frame  # noqa: B023

        straight, flexed, deviated = elbow((0.0, 0.0)), elbow((0.5, 0.0)), elbow((0.0, 0.3))
        assert straight[0] < -0.25
        assert flexed[2] < straight[2] - 0.1  # towards the palm
        thumb = 1.0 if side == Side.RIGHT else -1.0
        assert (deviated[1] - straight[1]) * thumb > 0.06  # towards the thumb


def test_postures_are_inside_the_limits() -> None:
    rng = np.random.default_rng(0)
    for side in Side:
        kinematics = MODEL.kinematics(side)
        samples = [posture(name, kinematics) for name in POSTURES] + [sample_angles(rng, kinematics) for _ in range(50)]
        for angles in samples:
            assert np.allclose(kinematics.clamp_angles(angles), angles)
            back = kinematics.angles_of(kinematics.rotations_of(angles))
            assert np.allclose(back, angles, atol=1e-6)
    with pytest.raises(KeyError, match="unknown posture 'wave'"):
        posture("wave", MODEL.kinematics(Side.LEFT))


def test_postures_match_their_names() -> None:
    kinematics = MODEL.kinematics(Side.RIGHT)

    def joints(name: str) -> np.ndarray:
        rotations = kinematics.rotations_of(posture(name, kinematics))
        return kinematics.forward(rotations, np.zeros(10), np.zeros(3))[0]

    reach = {name: np.linalg.norm(joints(name)[TIPS] - joints(name)[WRIST], axis=1) for name in POSTURES}
    assert (reach["fist"][1:] < 0.6 * reach["open"][1:]).all()
    assert reach["point"][1] > 0.95 * reach["open"][1] and (reach["point"][2:] < 0.6 * reach["open"][2:]).all()
    assert np.linalg.norm(joints("pinch")[4] - joints("pinch")[8]) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_backgrounds_differ_by_seed_only(kind: str) -> None:
    first = background(kind, 60, 80, 1)
    assert first.shape == (60, 80, 3) and first.dtype == np.float32 and np.isfinite(first).all() and (first > 0).all()
    assert np.array_equal(background(kind, 60, 80, 1), first)
    assert not np.array_equal(background(kind, 60, 80, 2), first)


def test_arrays_of_other_shapes_raise() -> None:
    with pytest.raises(ValueError, match=r"expected points \(N, 3\), got shape \(4, 2\)"):
        fractal_noise(np.zeros((4, 2)), 1.0)
    with pytest.raises(ValueError, match=r"expected a linear image \(H, W, 3\), got shape \(4, 5\)"):
        simulate_camera(np.zeros((4, 5), dtype=np.float32), CameraResponse(), 0)
    surface = rest_surface(MODEL, Side.LEFT, Arm())
    with pytest.raises(ValueError, match=r"expected faces \(N, 3\), got shape \(5, 4\)"):
        rasterize(surface.vertices, np.zeros((5, 4), dtype=int), CAMERA)
    raster = rasterize(surface.vertices, surface.faces, CAMERA, supersampling=2)
    texture, light = bake_texture(MODEL, Side.LEFT, np.inf, Appearance(), 2), np.zeros(surface.vertices.shape)
    for change, match in (
        (
            {"background": np.zeros((10, 10, 3), dtype=np.float32)},
            r"background has shape \(10, 10, 3\)",
        ),
        ({"texture": texture[1:]}, "texture has shape"),
        ({"irradiance": light[1:]}, "irradiance has shape"),
    ):
        arrays = {"background": np.zeros((240, 320, 3), dtype=np.float32), "texture": texture, "irradiance": light}
        with pytest.raises(ValueError, match=match):
            shade(raster, surface, **(arrays | change), lighting=LIGHT, supersampling=2)


def test_an_unknown_background_raises() -> None:
    with pytest.raises(ValueError, match="unknown background 'moon'"):
        background("moon", 10, 10, 0)


def test_people_differ() -> None:
    rng = np.random.default_rng(5)
    people = [Appearance.sample(rng) for _ in range(20)]
    assert np.std([person.tone for person in people]) > 0.1
    dark, light = (
        render_scene(scene(held_up(Side.RIGHT), appearance=Appearance(tone=tone)), MODEL) for tone in (1.0, 0.0)
    )
    mask = light.visible[Side.RIGHT]
    assert light.image[mask].mean() > dark.image[mask].mean() + 25


def test_a_lamp_casts_a_shadow() -> None:
    # From the left hand the lamp is behind the right one.
    lamp = Lighting((Lamp((-1.0, 0.0, -0.55), (2.0, 2.0, 2.0)),), sky=(0.1,) * 3, ground=(0.1,) * 3, front=(0.0,) * 3)
    left = held_up(Side.LEFT, 0.10, 0.42)
    alone = render_scene(scene(left, lighting=lamp), MODEL)
    shaded = render_scene(scene(left, held_up(Side.RIGHT, -0.02, 0.345), lighting=lamp), MODEL)
    mask = alone.visible[Side.LEFT] & shaded.visible[Side.LEFT]
    darker = alone.image[mask].mean(axis=1) - shaded.image[mask].mean(axis=1)
    assert (darker > 30).mean() > 0.05
    assert np.percentile(darker, 3) > -15
