"""The lifting with a depth image: exact and noisy renders, what hides a hand, and depth that is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, MODEL, hand, observe
from scipy.spatial.transform import Rotation

from hand_recon_ros import Camera, Side
from hand_recon_ros.geometry.hand_kinematics import NUM_PARAMETERS, Pose, forward
from hand_recon_ros.hand_model.kinematics import template_of
from hand_recon_ros.lift.depth_patch import depth_patch, rendered_depth
from hand_recon_ros.lift.hand_surface import HandSurface, nearest_vertices
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.skeleton import WRIST, mirror_points
from hand_recon_ros.synthetic.depth_sensor import sensed_depth
from hand_recon_ros.synthetic.rasterizer import rasterize
from hand_recon_ros.types import ScaleSource

SEEDS = range(12)
WALL = 1.2


@pytest.fixture(scope="module")
def lifter():
    return Lifter(MODEL, iterations=5)


def scene(seed, side=Side.RIGHT, camera=CAMERA, depth=0.5, shift=(0.0, 0.0, 0.0)):
    """A random hand, moved by ``shift``: its keypoints, the observation with errors of 4 mm, and its depth image."""
    rotations, betas, translation, keypoints = hand(seed, side, depth=depth)
    translation, keypoints = translation + shift, keypoints + shift
    noise = np.random.default_rng(seed).normal(0.0, 0.004, keypoints.shape)
    vertices = MODEL.mesh(side, rotations, betas, translation)
    return keypoints, observe(keypoints + noise, side, camera), rasterize(vertices, MODEL.faces(side), camera).depth


def wall(depth):
    return np.minimum(depth, np.float32(WALL))


def wrist_error(lifted, keypoints):
    return float(np.linalg.norm(lifted.keypoints[WRIST] - keypoints[WRIST]))


def errors(lifter, change=lambda depth, seed: depth, camera=CAMERA, depth=0.5, sides=(Side.RIGHT, Side.LEFT)):
    """Wrist errors without and with depth, and the hands with depth, over seeds and sides."""
    without, with_depth, hands = [], [], []
    for seed in SEEDS:
        for side in sides:
            keypoints, observation, image = scene(seed, side, camera, depth)
            (plain,) = lifter([observation], camera)
            (lifted,) = lifter([observation], camera, depth=change(wall(image), seed))
            without.append(wrist_error(plain, keypoints))
            with_depth.append(wrist_error(lifted, keypoints))
            hands.append((lifted, keypoints))
    return np.array(without), np.array(with_depth), hands


@pytest.mark.parametrize("side", list(Side))
def test_derivatives_of_the_skin_are_those_of_finite_differences(side):
    surface = HandSurface(MODEL, side)
    kinematics = MODEL.kinematics(side) if side == Side.RIGHT else MODEL.kinematics(side).mirrored()
    template = template_of([kinematics])
    rng = np.random.default_rng(3)
    pose = Pose(
        Rotation.random(random_state=4).as_matrix()[None], np.array([[0.05, 0.02, 0.5]]),
        np.clip(rng.normal(0.3, 0.1, (1, 15, 3)), template.limits[..., 0], template.limits[..., 1]),
        rng.normal(0.0, 0.5, (1, 10)),
    )  # fmt: skip

    def skin_of(changed):
        posed = forward(template, changed)
        return posed, surface.posed(posed.rotations[0], changed.betas[0], changed.wrist[0])

    posed, skin = skin_of(pose)
    vertices = rng.choice(np.flatnonzero(skin.seen), 60)
    normals = skin.normals[vertices]
    rows = surface.rows(template, posed, skin, vertices, normals)
    assert rows.shape == (60, NUM_PARAMETERS)
    step = 1e-3
    for parameter in range(NUM_PARAMETERS):
        moved = []
        for sign in (1.0, -1.0):
            changed = dataclasses.replace(pose, angles=pose.angles.copy(), betas=pose.betas.copy())
            delta = np.zeros(NUM_PARAMETERS)
            delta[parameter] = sign * step
            changed.rotation = Rotation.from_rotvec(delta[:3]).as_matrix() @ pose.rotation
            changed.wrist = pose.wrist + delta[3:6]
            changed.angles = pose.angles + delta[6:51].reshape(15, 3)
            changed.betas = pose.betas + delta[51:]
            moved.append(skin_of(changed)[1].vertices[vertices])
        numeric = np.sum((moved[0] - moved[1]) / (2.0 * step) * normals, axis=1)
        # Pose correctives, which the rows leave out, move skin by some millimetres per radian.
        tolerance = 0.02 if 6 <= parameter < 51 else 2e-4
        np.testing.assert_allclose(rows[:, parameter], numeric, atol=tolerance)


def test_nearest_vertices_are_seen_ones_within_the_distance():
    surface = HandSurface(MODEL, Side.RIGHT)
    skin = surface.posed(np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.array([0.0, 0.0, 0.5]))
    seen = np.flatnonzero(skin.seen)
    points = np.concatenate([skin.vertices[seen[::50]] + [0.0, 0.0, -1e-4], [[0.0, 0.0, 2.0]]])
    found = nearest_vertices(points, skin, 0.01)
    np.testing.assert_array_equal(found[:-1], seen[::50])
    assert found[-1] == -1


def test_the_mesh_on_the_grid_has_the_depth_of_the_rasterizer():
    keypoints, observation, image = scene(1)
    rotations, betas, translation, _ = hand(1)
    vertices = MODEL.mesh(Side.RIGHT, rotations, betas, translation).astype(np.float64)
    faces = MODEL.faces(Side.RIGHT).astype(np.int64)
    patch = depth_patch(image, CAMERA, CAMERA.project(keypoints), mirrored=False)
    rendered = patch.render(vertices, faces, mirrored=False)
    known = np.isfinite(patch.depth) & np.isfinite(rendered)
    assert known.sum() > 150
    np.testing.assert_allclose(rendered[known], patch.depth[known], atol=2e-3)
    whole = rendered_depth(vertices, faces, CAMERA)
    assert np.mean(np.isfinite(whole) == np.isfinite(image)) > 0.998
    assert depth_patch(image, CAMERA, np.tile([3000.0, 20.0], (21, 1)), mirrored=False) is None


def test_depth_brings_the_wrist_within_5_mm(lifter):
    without, with_depth, hands = errors(lifter)
    assert np.median(without) > 0.012
    assert np.median(with_depth) < 0.005 and np.max(with_depth) < 0.02
    assert all(hand.scale_source == ScaleSource.DEPTH for hand, _ in hands)


@pytest.mark.parametrize("distance", [0.35, 0.5, 0.9])
def test_noise_and_holes_of_a_sensor(lifter, distance):
    def sensed(depth, seed):
        return sensed_depth(depth, CAMERA, np.random.default_rng(seed))

    without, with_depth, hands = errors(lifter, sensed, depth=distance)
    assert np.median(with_depth) < 0.005 + 0.004 * distance**2
    assert np.median(with_depth) < 0.5 * np.median(without)
    rays = [keypoints[WRIST] / np.linalg.norm(keypoints[WRIST]) for _, keypoints in hands]
    scaled = [
        abs((hand.keypoints[WRIST] - keypoints[WRIST]) @ ray) / hand.position_stddev
        for (hand, keypoints), ray in zip(hands, rays, strict=True)
    ]
    assert np.mean(np.array(scaled) < 2.0) > 0.85
    assert all(hand.position_stddev > 0.002 for hand, _ in hands)


def test_a_lens_with_distortion(lifter):
    camera = Camera(
        K=CAMERA.K, width=640, height=480, distortion_model="plumb_bob", D=np.array([-0.25, 0.08, 1e-3, -1e-3, 0.0])
    )
    _, with_depth, _ = errors(lifter, camera=camera, sides=(Side.RIGHT,))
    assert np.median(with_depth) < 0.005


def test_the_size_of_the_hand_follows(lifter):
    size = MODEL.shape_names.index("size")
    improved = []
    for seed in SEEDS:
        rotations, betas, translation, _ = hand(seed)
        betas = np.zeros(10)
        betas[size] = 1.8 if seed % 2 else -1.8
        keypoints, _ = MODEL.kinematics(Side.RIGHT).forward(rotations, betas, translation)
        vertices = MODEL.mesh(Side.RIGHT, rotations, betas, translation)
        image = wall(rasterize(vertices, MODEL.faces(Side.RIGHT), CAMERA).depth)
        observation = observe(keypoints, Side.RIGHT)
        (plain,), (lifted,) = lifter([observation], CAMERA), lifter([observation], CAMERA, depth=image)
        true = np.linalg.norm(keypoints[9] - keypoints[0])
        lengths = [np.linalg.norm(hand.keypoints[9] - hand.keypoints[0]) for hand in (plain, lifted)]
        improved.append(np.abs(np.array(lengths) - true))
    plain, with_depth = np.median(improved, axis=0)
    assert plain > 0.004 and with_depth < 0.4 * plain


def test_an_object_in_front_of_a_part_of_the_hand(lifter):
    def covered(depth, seed):
        columns = np.flatnonzero((depth < WALL).any(axis=0))
        first, last = columns[0], columns[-1]
        start = first if seed % 2 else first + (last - first) * 6 // 10
        depth = depth.copy()
        depth[:, start : start + (last - first) * 4 // 10] = 0.38
        return depth

    without, with_depth, _ = errors(lifter, covered)
    assert np.median(with_depth) < 0.007 and np.max(with_depth) < 0.05
    assert np.median(with_depth) < 0.5 * np.median(without)


def test_two_hands_that_overlap_in_the_image(lifter):
    found, alone = [], []
    for seed in SEEDS:
        first = scene(seed, Side.RIGHT, depth=0.45)
        shift = first[0].mean(axis=0) * (0.53 / 0.45) + [0.04, 0.0, 0.0]
        second = scene(seed + 50, Side.LEFT)
        second = scene(seed + 50, Side.LEFT, shift=shift - second[0].mean(axis=0))
        image = wall(np.minimum(first[2], second[2]))
        observations = [second[1], first[1]]
        lifted = lifter(observations, CAMERA, depth=image)
        for (keypoints, *_), each in zip((second, first), lifted, strict=True):
            found.append(wrist_error(each, keypoints))
        for (keypoints, *_), each in zip((second, first), lifter(observations, CAMERA), strict=True):
            alone.append(wrist_error(each, keypoints))
    found = np.array(found).reshape(-1, 2)
    assert np.median(found[:, 1]) < 0.005, "the hand in front"
    assert np.median(found[:, 0]) < 0.012, "the hand behind, of which little is seen"
    assert np.max(found) < np.max(alone) + 0.02


BAD = {
    "unknown": lambda depth: np.full_like(depth, np.nan),
    "constant": lambda depth: np.full_like(depth, 0.5),
    "background only": lambda depth: np.full_like(depth, WALL),
    "a wall just behind the hand": lambda depth: np.full_like(depth, 0.58),
    "half a metre too far": lambda depth: depth + 0.5,
    "in the wrong unit": lambda depth: depth * 1e-3,
    "of another view": lambda depth: np.roll(depth, 400, axis=1),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_depth_changes_nothing(lifter, name):
    for seed in SEEDS:
        keypoints, observation, image = scene(seed)
        (plain,) = lifter([observation], CAMERA)
        (lifted,) = lifter([observation], CAMERA, depth=BAD[name](wall(image)))
        assert lifted.scale_source == ScaleSource.PRIOR and lifted.image_wrist is None
        np.testing.assert_array_equal(lifted.keypoints, plain.keypoints)
        assert lifted.position_stddev == plain.position_stddev


def test_noise_without_a_hand_changes_little(lifter):
    for seed in SEEDS:
        keypoints, observation, image = scene(seed)
        (plain,) = lifter([observation], CAMERA)
        noise = np.random.default_rng(seed).uniform(0.2, 2.0, image.shape)
        (lifted,) = lifter([observation], CAMERA, depth=noise)
        assert wrist_error(lifted, keypoints) < wrist_error(plain, keypoints) + 0.02


def test_a_mirrored_image_with_its_mirrored_depth_gives_the_same_hand(lifter):
    for seed in range(4):
        keypoints, observation, image = scene(seed, Side.LEFT)
        (lifted,) = lifter([observation], CAMERA, depth=wall(image))
        # The principal point is in the middle, so the mirrored image is that of the mirrored scene.
        pixels = observation.keypoints_2d * [-1.0, 1.0] + [2.0 * CAMERA.K[0, 2], 0.0]
        mirrored = dataclasses.replace(
            observation, keypoints_2d=pixels, world=mirror_points(observation.world), mirrored=True
        )
        rows = np.arange(640) * -1.0 + 2.0 * CAMERA.K[0, 2]
        flipped = np.full_like(image, np.nan)
        inside = (rows >= 0) & (rows < 640)
        flipped[:, inside] = wall(image)[:, np.rint(rows[inside]).astype(int)]
        (other,) = lifter([mirrored], CAMERA, depth=flipped)
        assert other.scale_source == ScaleSource.DEPTH
        assert np.linalg.norm(other.keypoints[WRIST] - lifted.keypoints[WRIST]) < 2e-3


def test_the_other_hand_is_the_same_where_one_has_no_depth(lifter):
    right, left = scene(2, Side.RIGHT, shift=(0.2, 0.0, 0.0)), scene(3, Side.LEFT, shift=(-0.2, 0.0, 0.0))
    image = wall(np.minimum(right[2], left[2]))
    image[:, :320] = np.nan
    lifted = lifter([left[1], right[1]], CAMERA, depth=image)
    alone = lifter([left[1]], CAMERA)[0], lifter([right[1]], CAMERA, depth=image)[0]
    assert [hand.scale_source for hand in lifted] == [ScaleSource.PRIOR, ScaleSource.DEPTH]
    for together, single in zip(lifted, alone, strict=True):
        np.testing.assert_allclose(together.keypoints, single.keypoints, atol=1e-9)
