"""The embedded hand: a sound mesh, MANO's layout and arithmetic, honest shape units, and two mirrored sides."""

import pathlib

import numpy as np
import pytest
from smplx_hand import smplx_layer

from hand_recon_ros import Side
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.hand_model import HandModel, from_mano_pose, load_hand_model
from hand_recon_ros.hand_model.arrays import HandModelError, boundary_loop, read_arrays
from hand_recon_ros.hand_model.model import EMBEDDED
from hand_recon_ros.hand_model.order import TO_MANO
from hand_recon_ros.skeleton import (
    FINGERS,
    INDEX_MCP,
    JOINT_KEYPOINTS,
    JOINT_NAMES,
    MCPS,
    MIDDLE_MCP,
    MIDDLE_TIP,
    PINKY_MCP,
    THUMB_TIP,
    TIP_JOINTS,
    TIPS,
    WRIST,
    mirror_points,
    mirror_rotations,
    wrist_rotation,
)

FLAT = np.tile(np.eye(3), (16, 1, 1))
ZERO = np.zeros(10)
ORIGIN = np.zeros(3)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return load_hand_model()


def random_hands(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    rotations = rotation_matrices(generator.normal(size=(count, 16, 3)) * 0.6)
    return rotations, generator.normal(size=(count, 10)), generator.normal(size=(count, 3))


def flexed(model: HandModel, side: Side, degrees: dict[str, float]) -> np.ndarray:
    angles = np.zeros((16, 3))
    for part, value in degrees.items():
        for joint, name in enumerate(JOINT_NAMES):
            if name.endswith(part) and not (name.startswith("thumb") and not part.startswith("thumb")):
                angles[joint, 0] = np.radians(value)
    return model.kinematics(side).rotations_of(angles)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0)


def test_what_is_in_it(model):
    assert model.name == "webxr_generic"
    assert model.num_vertices == 1160
    assert model.faces(Side.RIGHT).shape == (2316, 3)
    assert model.faces(Side.RIGHT).dtype == np.int32
    assert model.shape_names[0] == "size" and len(model.shape_names) == 10
    assert EMBEDDED.stat().st_size < 400_000
    assert (EMBEDDED.parent / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("side", list(Side))
def test_the_mesh_is_closed_and_faces_outwards(model, side):
    trimesh = pytest.importorskip("trimesh")
    vertices = model.mesh(side, FLAT, ZERO, ORIGIN)
    mesh = trimesh.Trimesh(vertices, model.faces(side), process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.euler_number == 2
    assert 300e-6 < mesh.volume < 420e-6  # hand with 2 cm of forearm; a hand alone displaces about 0.3 to 0.4 litres
    assert boundary_loop(model.faces(side)).size == 0
    loop = model.wrist_loop(side)
    assert len(set(loop.tolist())) == len(loop)
    rim = vertices[loop]
    assert np.all(np.abs(rim[:, 0]) > 0.1)  # beyond the wrist joint, at 9.2 cm from the middle knuckle
    assert np.linalg.norm(np.roll(rim, -1, axis=0) - rim, axis=1).max() < 0.02


def test_right_is_right_and_axes_are_mano_s(model):
    rest = model.kinematics(Side.RIGHT).keypoint_template
    # Seen from the back with the fingers up, a right hand has its thumb on the left.
    up = rest[MIDDLE_TIP] - rest[WRIST]
    back = model.kinematics(Side.RIGHT).joint_frames[0][:, 2]
    to_the_right = np.cross(up, back)
    assert (rest[THUMB_TIP] - rest[MIDDLE_MCP]) @ to_the_right < 0
    assert (rest[PINKY_MCP] - rest[MIDDLE_MCP]) @ to_the_right > 0
    # MANO: fingers along -x, back of the hand up at +y, thumb at +z.
    bones = rest[TIPS[1:]] - rest[MCPS]
    assert np.all(bones[:, 0] / np.linalg.norm(bones, axis=1) < -0.9)
    assert back[1] > 0.9
    assert rest[THUMB_TIP, 2] > rest[INDEX_MCP, 2] > rest[PINKY_MCP, 2]
    assert np.abs(bones[:, 1]).max() < 1e-4  # the flat hand is flat
    normals_out = model.mesh(Side.RIGHT, FLAT, ZERO, ORIGIN)[:, 1]
    assert normals_out.max() < 0.03 and normals_out.min() < -0.05  # the thumb hangs below the palm


def test_sizes_are_those_of_an_adult_hand(model):
    rest = model.kinematics(Side.RIGHT).keypoint_template
    assert np.linalg.norm(rest[MIDDLE_TIP] - rest[WRIST]) == pytest.approx(0.1896, abs=1e-4)
    assert np.linalg.norm(rest[INDEX_MCP] - rest[PINKY_MCP]) == pytest.approx(0.0608, abs=1e-3)
    lengths = {finger: np.linalg.norm(rest[TIPS[i]] - rest[TIPS[i] - 3]) for i, finger in enumerate(FINGERS)}
    assert lengths["middle"] > lengths["ring"] > lengths["pinky"] and lengths["middle"] > lengths["index"]


@pytest.mark.parametrize("side", list(Side))
def test_mesh_and_chain_agree_with_smplx(model, side):
    torch = pytest.importorskip("torch")
    rotations, betas, translation = random_hands(3, 5)
    mano_order = torch.tensor(rotations[:, TO_MANO], dtype=torch.float32)
    expected = smplx_layer(model, side)(
        betas=torch.tensor(betas, dtype=torch.float32),
        global_orient=mano_order[:, :1],
        hand_pose=mano_order[:, 1:],
        transl=torch.tensor(translation, dtype=torch.float32),
    )
    vertices = model.mesh(side, rotations, betas, translation)
    keypoints, turned = model.kinematics(side).forward(rotations, betas, translation)
    assert vertices.dtype == np.float32 and vertices.shape == (5, 1160, 3)
    np.testing.assert_allclose(vertices, expected.vertices.numpy(), atol=2e-6)
    np.testing.assert_allclose(keypoints[:, JOINT_KEYPOINTS][:, TO_MANO], expected.joints.numpy(), atol=2e-6)
    np.testing.assert_allclose(keypoints[:, TIPS], vertices[:, model.tip_vertices(side)], atol=2e-6)
    np.testing.assert_allclose(turned[:, 0], rotations[:, 0])
    np.testing.assert_allclose(turned[:, 3], rotations[:, 0] @ rotations[:, 1] @ rotations[:, 2] @ rotations[:, 3])


def test_smplx_reads_the_file_as_it_reads_mano(model):
    torch, smplx = pytest.importorskip("torch"), pytest.importorskip("smplx")
    layer = smplx.MANO(str(EMBEDDED), ext="npz", use_pca=False, flat_hand_mean=True)
    pose = np.random.default_rng(5).normal(size=48) * 0.5
    tensor = torch.tensor(pose[None], dtype=torch.float32)
    expected = layer(global_orient=tensor[:, :3], hand_pose=tensor[:, 3:]).vertices.detach().numpy()[0]
    np.testing.assert_allclose(model.mesh(Side.RIGHT, from_mano_pose(pose), ZERO, ORIGIN), expected, atol=2e-6)


def test_single_hands_and_batches_give_the_same(model):
    rotations, betas, translation = random_hands(7, 3)
    batch = model.mesh(Side.LEFT, rotations, betas, translation)
    keypoints, _ = model.kinematics(Side.LEFT).forward(rotations, betas, translation)
    for i in range(3):
        single = model.mesh(Side.LEFT, rotations[i], betas[i], translation[i])
        assert single.shape == (1160, 3)
        np.testing.assert_allclose(single, batch[i], atol=1e-6)
        alone, _ = model.kinematics(Side.LEFT).forward(rotations[i], betas[i], translation[i])
        np.testing.assert_allclose(alone, keypoints[i], atol=1e-12)
    shared = model.mesh(Side.LEFT, rotations, ZERO, ORIGIN)
    np.testing.assert_allclose(shared[1], model.mesh(Side.LEFT, rotations[1], ZERO, ORIGIN), atol=1e-6)


@pytest.mark.parametrize("side", Side)
def test_keypoints_of_meshes_at_rest_are_those_of_the_chain(model, side):
    betas = np.random.default_rng(3).normal(size=(2, 10))
    rotations = np.tile(np.eye(3), (16, 1, 1))
    vertices = model.mesh(side, rotations, betas, np.array([0.1, 0.0, 0.5]))
    keypoints = model.mesh_keypoints(side, vertices)
    assert keypoints.shape == (2, 21, 3)
    expected, _ = model.kinematics(side).forward(rotations, betas, np.array([0.1, 0.0, 0.5]))
    np.testing.assert_allclose(keypoints, expected, atol=1e-6)
    np.testing.assert_array_equal(model.mesh_keypoints(side, vertices[1]), keypoints[1])


def test_the_left_hand_is_the_mirrored_right_hand(model):
    rotations, betas, translation = random_hands(11, 4)
    right = model.mesh(Side.RIGHT, rotations, betas, translation)
    left = model.mesh(Side.LEFT, mirror_rotations(rotations), betas, mirror_points(translation))
    np.testing.assert_allclose(left, mirror_points(right), atol=2e-6)
    mirrored = model.kinematics(Side.LEFT).mirrored()
    original = model.kinematics(Side.RIGHT)
    np.testing.assert_allclose(mirrored.keypoint_template, original.keypoint_template, atol=1e-9)
    np.testing.assert_allclose(mirrored.keypoint_shapedirs, original.keypoint_shapedirs, atol=1e-9)
    np.testing.assert_allclose(mirrored.joint_frames, original.joint_frames, atol=1e-12)


@pytest.mark.parametrize("side", list(Side))
def test_joint_frames(model, side):
    kinematics = model.kinematics(side)
    frames, rest = kinematics.joint_frames, kinematics.keypoint_template
    np.testing.assert_allclose(np.swapaxes(frames, 1, 2) @ frames, FLAT, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(frames), 1.0, atol=1e-6)
    np.testing.assert_allclose(frames[0], wrist_rotation(rest, side == Side.RIGHT), atol=1e-6)
    for joint in range(1, 16):
        start = JOINT_KEYPOINTS[joint]
        bone = rest[start + 1] - rest[start]
        np.testing.assert_allclose(frames[joint][:, 0], bone / np.linalg.norm(bone), atol=1e-5)
    # The four fingers' backs look the way the hand's does; the thumb's nail looks towards its own side.
    assert np.all(frames[4:, :, 2] @ frames[0][:, 2] > 0.9)
    assert frames[3][:, 2] @ (rest[INDEX_MCP] - rest[PINKY_MCP]) > 0


@pytest.mark.parametrize("side", list(Side))
def test_positive_flexion_curls_towards_the_palm(model, side):
    kinematics = model.kinematics(side)
    dorsal = kinematics.joint_frames[0][:, 2]
    for finger in range(5):
        for joint in range(1 + 3 * finger, 4 + 3 * finger):
            angles = np.zeros((16, 3))
            angles[joint, 0] = np.radians(30.0)
            moved, _ = kinematics.forward(kinematics.rotations_of(angles), ZERO, ORIGIN)
            tip = TIPS[finger]
            step = moved[tip] - kinematics.keypoint_template[tip]
            if finger == 0:  # across the palm, towards the little finger
                towards = kinematics.keypoint_template[PINKY_MCP] - kinematics.keypoint_template[INDEX_MCP]
                assert step @ towards > 0
            else:
                assert step @ dorsal < -0.003
            others = np.setdiff1d(np.arange(21), np.arange(JOINT_KEYPOINTS[joint] + 1, tip + 1))
            np.testing.assert_allclose(moved[others], kinematics.keypoint_template[others], atol=1e-12)


def test_betas_are_in_honest_units(model):
    kinematics = model.kinematics(Side.RIGHT)
    names = list(model.shape_names)

    def grown(name: str) -> np.ndarray:
        return kinematics.rest_keypoints(np.eye(10)[names.index(name)]) - kinematics.keypoint_template

    def length(name: str, start: int, end: int) -> float:
        rest = kinematics.keypoint_template
        bone, step = rest[end] - rest[start], grown(name)[end] - grown(name)[start]
        return np.linalg.norm(bone + step) - np.linalg.norm(bone)

    # One standard deviation of adults, in metres of the wrist to the tip of the middle finger (ANSUR II: 11.7 mm).
    assert length("size", WRIST, MIDDLE_TIP) == pytest.approx(0.0119, abs=5e-4)
    assert abs(length("finger_length", WRIST, MIDDLE_TIP)) < 3e-4
    assert length("finger_length", MIDDLE_MCP, MIDDLE_TIP) == pytest.approx(0.0037, abs=1e-4)
    assert length("palm_width", INDEX_MCP, PINKY_MCP) == pytest.approx(0.0037, abs=2e-4)
    assert length("index_length", 5, 8) == pytest.approx(0.022 * 0.0917, abs=2e-4)
    assert length("little_length", 17, 20) == pytest.approx(0.035 * 0.0756, abs=2e-4)
    assert length("thumb_length", 1, 4) == pytest.approx(0.0035, abs=3e-4)
    for name in names:
        assert np.linalg.norm(grown(name)[WRIST]) < 2e-4, f"{name} moves the wrist joint"
    for name in ("palm_thickness", "wrist_thickness", "finger_thickness"):
        assert np.linalg.norm(grown(name), axis=1).max() < 2e-3, name
        bigger = model.mesh(Side.RIGHT, FLAT, np.eye(10)[names.index(name)], ORIGIN)
        faces = model.faces(Side.RIGHT)
        assert volume(bigger, faces) > 1.005 * volume(model.mesh(Side.RIGHT, FLAT, ZERO, ORIGIN), faces)


def test_fingertips_are_rigid_on_their_last_bone():
    arrays = read_arrays(EMBEDDED)
    weights = arrays.weights[arrays.tips]
    # MANO's order of the last joints: index, middle, little, ring, thumb; tips go from thumb to little finger.
    np.testing.assert_array_equal(np.argmax(weights, axis=1), [15, 3, 6, 12, 9])
    np.testing.assert_array_equal(weights.max(axis=1), 1.0)
    np.testing.assert_array_equal(arrays.posedirs[arrays.tips], 0.0)
    np.testing.assert_allclose(arrays.weights.sum(axis=1), 1.0, atol=1e-6)
    assert (arrays.weights > 0).sum(axis=1).max() <= 4
    assert arrays.regressor.min() >= -1e-6 and (arrays.regressor != 0).sum(axis=1).max() <= 96
    np.testing.assert_allclose(arrays.regressor.sum(axis=1), 1.0, atol=1e-8)


@pytest.mark.parametrize(
    ("bend", "without_correctives"),
    [({"mcp": 85, "pip": 100, "dip": 70}, 0.070), ({"mcp": 90}, 0.056), ({"pip": 90}, 0.012)],
)
def test_correctives_keep_the_volume_of_a_bent_hand(model, bend, without_correctives):
    faces, rotations = model.faces(Side.RIGHT), flexed(model, Side.RIGHT, bend)
    rest = volume(model.mesh(Side.RIGHT, FLAT, ZERO, ORIGIN), faces)
    bent = volume(model.mesh(Side.RIGHT, rotations, ZERO, ORIGIN), faces)
    assert abs(bent / rest - 1.0) < 0.012
    arrays = read_arrays(EMBEDDED)
    features = (rotations[TO_MANO[1:]] - np.eye(3)).reshape(-1)
    arrays.template[:] -= (arrays.posedirs @ features).astype(np.float32)
    # Taking the correctives off the rest pose leaves plain linear blending, once the joints are put back.
    plain = HandModel("plain", arrays)
    joints = model.kinematics(Side.RIGHT).keypoint_template
    object.__setattr__(plain.kinematics(Side.RIGHT), "keypoint_template", joints)
    collapsed = volume(plain.mesh(Side.RIGHT, rotations, ZERO, ORIGIN), faces)
    assert 1.0 - collapsed / rest == pytest.approx(without_correctives, abs=0.004)


def test_errors_name_what_is_wrong(model, tmp_path):
    kinematics = model.kinematics(Side.RIGHT)
    with pytest.raises(ValueError, match=r"rotations must have shape .*16, 3, 3.*got \(15, 3, 3\)"):
        kinematics.forward(FLAT[:15], ZERO, ORIGIN)
    with pytest.raises(ValueError, match=r"betas must have shape \(\.\.\., 10\), got \(9,\)"):
        kinematics.rest_keypoints(np.zeros(9))
    with pytest.raises(ValueError, match=r"rotations must have shape"):
        model.mesh(Side.RIGHT, FLAT[None, None], ZERO, ORIGIN)
    with pytest.raises(HandModelError, match="no such hand model file"):
        load_hand_model(tmp_path / "nothing.npz")
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(b"\x80\x02}.")
    with pytest.raises(HandModelError, match="import-mano"):
        load_hand_model(tmp_path / "MANO_RIGHT.pkl")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(HandModelError, match=r"text\.npz: not a plain \.npz"):
        load_hand_model(tmp_path / "text.npz")


def altered(tmp_path: pathlib.Path, name: str, remove: tuple[str, ...] = (), **changes: np.ndarray) -> pathlib.Path:
    with np.load(EMBEDDED) as archive:
        arrays = {key: archive[key] for key in archive.files if key not in remove}
    np.savez(tmp_path / name, **{**arrays, **changes})  # type: ignore[arg-type]
    return tmp_path / name


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(HandModelError, match=r"no weights in it"):
        load_hand_model(altered(tmp_path, "a.npz", remove=("weights",)))
    with pytest.raises(HandModelError, match=r"weights has shape \(3, 16\), expected \(1160, 16\)"):
        load_hand_model(altered(tmp_path, "b.npz", weights=np.zeros((3, 16))))
    with pytest.raises(HandModelError, match=r"must name its fingertips"):
        load_hand_model(altered(tmp_path, "c.npz", remove=("tip_vertices",)))
    with pytest.raises(HandModelError, match=r"v_template holds numbers that are not finite"):
        load_hand_model(altered(tmp_path, "d.npz", v_template=np.full((1160, 3), np.nan)))
    with pytest.raises(HandModelError, match=r"joint_frames must be rotation matrices"):
        load_hand_model(altered(tmp_path, "g.npz", joint_frames=np.zeros((16, 3, 3))))
    with pytest.raises(HandModelError, match=r"parents"):
        load_hand_model(altered(tmp_path, "e.npz", kintree_table=np.zeros((2, 16), np.int64)))
    with pytest.raises(HandModelError, match=r"not a plain \.npz of arrays"):
        load_hand_model(altered(tmp_path, "f.npz", v_template=np.array([{}], dtype=object)))


def test_another_hand_gets_its_frames_and_its_closed_wrist_from_geometry(model, tmp_path):
    faces = model.faces(Side.RIGHT)
    cap = model.num_vertices - 1
    path = altered(
        tmp_path, "MINE_RIGHT.npz", remove=("joint_frames", "wrist_loop"), f=faces[~np.any(faces == cap, axis=1)]
    )
    mine = load_hand_model(path)
    assert mine.name == "MINE"
    for side in Side:
        np.testing.assert_allclose(mine.kinematics(side).joint_frames, model.kinematics(side).joint_frames, atol=1e-4)
        assert boundary_loop(mine.faces(side)).size == 0
        assert set(mine.wrist_loop(side)) == set(model.wrist_loop(side))
        vertices = mine.mesh(side, FLAT, ZERO, ORIGIN)
        assert volume(vertices, mine.faces(side)) == pytest.approx(344.5e-6, rel=0.01)


def test_a_left_file_beside_the_right_one_is_used(model, tmp_path):
    altered(tmp_path, "HAND_RIGHT.npz")
    left = read_arrays(EMBEDDED).mirrored()
    altered(
        tmp_path, "HAND_LEFT.npz", v_template=1.1 * left.template, shapedirs=left.shapedirs, posedirs=left.posedirs,
        f=left.faces, joint_frames=left.joint_frames, wrist_loop=left.wrist_loop,
    )  # fmt: skip
    for path in (tmp_path / "HAND_RIGHT.npz", tmp_path / "HAND_LEFT.npz"):
        both = load_hand_model(path)
        rest = {side: both.kinematics(side).keypoint_template for side in Side}
        own = {side: model.kinematics(side).keypoint_template for side in Side}
        np.testing.assert_allclose(rest[Side.RIGHT], own[Side.RIGHT], atol=1e-7)
        np.testing.assert_allclose(rest[Side.LEFT], 1.1 * own[Side.LEFT], atol=1e-6)


def test_tip_joints_are_the_last_of_each_finger(model):
    weights = model.weights(Side.RIGHT)
    for finger, tip in enumerate(model.tip_vertices(Side.RIGHT)):
        assert np.argmax(weights[tip]) == TIP_JOINTS[finger]
