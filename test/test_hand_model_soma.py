"""A hand of SOMA-X in MANO's layout: the vertices that a chain of 25 joints gives, and measured what differs."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soma_files
import soma_stand_in
from evidence import CAMERA, hand, observe
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side, cli
from hand_recon_ros.hand_model import HandModel, HandModelError, load_hand_model
from hand_recon_ros.hand_model.arrays import checked_arrays
from hand_recon_ros.hand_model.hand_files import checked_model, write_hands
from hand_recon_ros.hand_model.named_angles import named_angles
from hand_recon_ros.hand_model.soma_correctives import fitted_correctives
from hand_recon_ros.hand_model.soma_errors import soma_errors
from hand_recon_ros.hand_model.soma_import import SomaHand, check_joints, soma_arrays
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.models.soma_layer import check_assets
from hand_recon_ros.skeleton import mirror_points
from hand_recon_ros.synthetic.mano_stand_in import joint_regressor

LAST = [i for i, name in enumerate(soma_stand_in.HAND_JOINTS) if name.endswith("End")]
METACARPALS = [5, 10, 15, 20]
FRAMES = np.tile(np.eye(3), (16, 1, 1))
"""Any frames: a file that has some is not re-fitted."""


@functools.cache
def assets() -> soma_stand_in.Hand:
    return soma_stand_in.stand_in()


@functools.cache
def plain(side: Side) -> SomaHand:
    """The hand of the assets as plain arrays, with a regressor that is exact in the bind pose."""
    mesh = assets().low
    weights = mesh.weights.copy()
    weights[mesh.rim] = np.eye(25)[0]
    left = SomaHand(
        side=Side.LEFT,
        joint_names=tuple(f"LeftHand{name}" for name in soma_stand_in.HAND_JOINTS),
        template=0.01 * mesh.mean,
        directions=0.01 * mesh.directions,
        regressor=joint_regressor(mesh.points, assets().joints, nearest=80),
        weights=weights,
        faces=mesh.faces,
    )
    if side is Side.LEFT:
        return left
    return dataclasses.replace(
        left,
        side=Side.RIGHT,
        joint_names=tuple(name.replace("Left", "Right") for name in left.joint_names),
        template=mirror_points(left.template),
        directions=mirror_points(left.directions),
        faces=left.faces[:, ::-1],
    )


def chain(
    soma: SomaHand, orientations: np.ndarray, coefficients: np.ndarray, joints: np.ndarray | None = None
) -> np.ndarray:
    """Linear blend skinning of 25 joints by matrices (4, 4), each joint with a bind orientation: vertices (B, V, 3).

    ``joints`` (25, 3) are those of the vertices where they are None.
    """
    binds = Rotation.random(25, random_state=3).as_matrix()  # any: what a pose means does not depend on it
    result = []
    for turned, shape in zip(orientations, coefficients, strict=True):
        vertices = soma.template + np.einsum("k,kvx->vx", shape, soma.directions)
        bind = np.tile(np.eye(4), (25, 1, 1))
        bind[:, :3, :3] = binds
        bind[:, :3, 3] = soma.regressor @ vertices if joints is None else joints
        world = np.empty_like(bind)
        for joint, parent in enumerate(soma_stand_in.PARENTS):
            world[joint] = np.eye(4)
            world[joint, :3, :3] = turned[joint] @ binds[joint]
            if joint:
                offset = np.linalg.inv(bind[parent]) @ bind[joint, :, 3]
                world[joint, :, 3] = world[parent] @ offset
        moved = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        each = np.einsum("jab,jbc,vc->jva", world, np.linalg.inv(bind), moved)[..., :3]
        result.append(np.einsum("vj,jva->va", soma.weights, each))
    return np.array(result)


def converted(soma: SomaHand) -> HandModel:
    arrays = checked_arrays({**soma_arrays(soma), "joint_frames": FRAMES}, Path("soma.npz"))
    other = arrays.mirrored()
    return HandModel("soma", arrays, other) if soma.side is Side.RIGHT else HandModel("soma", other, arrays)


@functools.cache
def model(folder: Path) -> HandModel:
    """Both hands as files with their re-fit."""
    targets = {side: folder / f"soma_{side.label}.npz" for side in (Side.RIGHT, Side.LEFT)}
    hands = {side: soma_arrays(plain(side)) for side in targets}
    write_hands(checked_model("soma", hands, targets), hands, targets)
    return load_hand_model(targets[Side.RIGHT])


@pytest.fixture(scope="module")
def soma_model(tmp_path_factory: pytest.TempPathFactory) -> HandModel:
    return model(tmp_path_factory.mktemp("soma"))


@pytest.mark.parametrize("side", Side)
def test_vertices_are_those_of_the_chain_of_25_joints(side: Side) -> None:
    """Where metacarpals and finger ends follow the joint that they have become a part of."""
    rng, soma = np.random.default_rng(int(side)), plain(side)
    ours, kinematics = converted(soma), converted(soma).kinematics(side)
    rotations = Rotation.from_rotvec(rng.normal(0.0, 0.5, (4 * 16, 3))).as_matrix().reshape(4, 16, 3, 3)
    betas = rng.normal(size=(4, 10))
    turned = kinematics.forward(rotations, betas, np.zeros(3))[1]
    orientations = np.empty((4, 25, 3, 3))
    for finger in range(5):
        first = 1 if finger == 0 else 6 + 5 * (finger - 1)
        orientations[:, first : first + 3] = turned[:, 1 + 3 * finger : 4 + 3 * finger]
        orientations[:, first + 3] = turned[:, 3 + 3 * finger]
    orientations[:, [0, *METACARPALS]] = turned[:, :1]
    coefficients = np.concatenate([betas, np.zeros((4, 10))], axis=1)
    expected = chain(soma, orientations, coefficients)
    found = ours.mesh(side, rotations, betas, -kinematics.rest_keypoints(betas)[:, 0])
    assert np.abs(expected - plain(side).template).max() > 0.03
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Each name is where it belongs: the joints are those of the embedded hand, whose skin it is.
    known = load_hand_model().kinematics(side).keypoint_template
    joints = 0.01 * (assets().joints if side is Side.LEFT else mirror_points(assets().joints))
    for keypoint, joint in ((1, 1), (3, 3), (5, 6), (7, 8), (17, 21), (19, 23)):
        distance = np.linalg.norm(joints[joint]) - np.linalg.norm(known[keypoint] - known[0])
        assert abs(distance) < 1e-6


def test_the_order_of_the_joints_does_not_matter() -> None:
    soma, order = plain(Side.RIGHT), np.random.default_rng(0).permutation(25)
    other = dataclasses.replace(
        soma,
        joint_names=tuple(np.array(soma.joint_names)[order].tolist()),
        regressor=soma.regressor[order],
        weights=soma.weights[:, order],
    )
    for name, value in soma_arrays(soma).items():
        np.testing.assert_allclose(soma_arrays(other)[name], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("RightHandIndex4", "RightHandIndex5", "RightHandIndex4, RightHandIndex5"),
        ("RightHandRing1", "RightHandRing2", "RightHandRing1"),
        ("RightHandPinkyEnd", "LeftHandPinkyEnd", "LeftHandPinkyEnd, RightHandPinkyEnd"),
    ],
)
def test_other_joints_are_refused(old: str, new: str, words: str) -> None:
    names = tuple(new if name == old else name for name in plain(Side.RIGHT).joint_names)
    with pytest.raises(HandModelError, match=f"not the 25 of SOMA's RightHand: {words}$"):
        dataclasses.replace(plain(Side.RIGHT), joint_names=names)


def test_betas_are_the_ten_largest_components() -> None:
    soma = plain(Side.LEFT)
    shuffled = dataclasses.replace(soma, directions=soma.directions[::-1])
    np.testing.assert_array_equal(soma.kept_components, np.arange(10))
    np.testing.assert_array_equal(shuffled.kept_components, np.arange(10, 20))
    np.testing.assert_array_equal(soma_arrays(shuffled)["shapedirs"][..., 0], soma.directions[9])
    few = soma_arrays(dataclasses.replace(soma, directions=soma.directions[:3]))["shapedirs"]
    assert few.shape[2] == 10 and few[..., 2].any() and not few[..., 3:].any()


def test_fingertips_are_where_the_bones_leave_the_skin() -> None:
    embedded = load_hand_model().arrays(Side.LEFT)
    tips = soma_arrays(plain(Side.LEFT))["tip_vertices"]
    skin = assets().low.points @ assets().wrist.T * 0.01 + load_hand_model().kinematics(Side.LEFT).keypoint_template[0]
    assert np.linalg.norm(skin[tips] - embedded.template[embedded.tips], axis=1).max() < 0.002


def test_differences_are_measured(soma_model: HandModel) -> None:
    for side in Side:
        soma = plain(side)
        found = soma_errors(soma, functools.partial(chain, soma), soma_model, poses=4)
        assert found.conversion < 1e-6
        # The size of the components that are left out; some of it is the wrist's, which is moved back.
        size = np.sqrt((soma.directions[10:] ** 2).sum(axis=(0, 2)).mean())
        assert 0.5 * size < found.components_mean < found.components_largest < 10.0 * size
        assert found.kept_variance == pytest.approx(
            1.0 - (soma.directions[10:] ** 2).sum() / (soma.directions**2).sum()
        )
        # The little finger's knuckle is turned by 20 degrees about the base of its metacarpal.
        base, knuckle = 0.01 * assets().joints[[20, 21]]
        moved = 2.0 * np.sin(np.radians(10.0)) * np.linalg.norm(knuckle - base)
        assert 0.8 * moved < found.metacarpals_largest < 1.3 * moved
        assert 0.0005 < found.metacarpals_mean < 0.3 * found.metacarpals_largest


def test_a_difference_is_noticed(soma_model: HandModel) -> None:
    soma = plain(Side.RIGHT)

    def shifted(orientations: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        return chain(soma, orientations, coefficients) + [0.001, 0.0, 0.0]

    found = soma_errors(soma, shifted, soma_model, poses=2)
    assert found.conversion == pytest.approx(0.001, rel=0.01)
    assert "same pose and betas: at most 1.0" in found.summary()


def test_the_files_are_a_hand_model(soma_model: HandModel) -> None:
    """Poses that are lifted from the embedded hand's keypoints are its poses, as with the embedded hand itself."""
    assert soma_model.name == "soma" and soma_model.num_vertices == len(assets().low.points)
    for side in Side:
        refit = soma_model.refit(side)
        assert refit is not None and refit.refit_errors[0] < 0.001
        assert len(soma_model.wrist_loop(side)) == len(assets().low.rim)
    lifter, errors = Lifter(soma_model, iterations=8), []
    embedded = load_hand_model()
    for seed in range(4):
        side = Side(seed % 2)
        rotations, _, _, keypoints = hand(seed, side)
        (found,) = lifter([observe(keypoints, side)], CAMERA)
        angles = named_angles(soma_model.kinematics(side), found.rotations)
        angles -= named_angles(embedded.kinematics(side), rotations)
        posed = soma_model.kinematics(side).forward(found.rotations, found.betas, found.translation)[0]
        posed += (keypoints - posed).mean(axis=0)
        errors.append([np.degrees(np.abs(angles)).mean(), 1e3 * np.linalg.norm(posed - keypoints, axis=1).mean()])
    degrees, millimetres = np.mean(errors, axis=0)
    assert degrees < 2.0 and millimetres < 3.0


def test_joints_that_are_elsewhere_than_their_names_say_are_noticed(soma_model: HandModel) -> None:
    """As where number 1 of a finger is the knuckle and not the metacarpal."""
    for side in Side:
        check_joints(soma_model, side)
    soma = plain(Side.RIGHT)
    names = list(soma.joint_names)
    first = names.index("RightHandMiddle1")
    names[first : first + 5] = [f"RightHandMiddle{part}" for part in ("End", 1, 2, 3, 4)]
    other = soma_arrays(dataclasses.replace(soma, joint_names=tuple(names)))
    taken = checked_model("soma", {Side.RIGHT: other}, {Side.RIGHT: Path("soma.npz")})
    with pytest.raises(HandModelError, match=r"taken for middle_\w+ of the right hand is \d+ mm from where"):
        check_joints(taken, Side.RIGHT)


def test_both_files_have_one_name(tmp_path: Path) -> None:
    targets = {side: tmp_path / f"hand_{side.label}.npz" for side in (Side.RIGHT, Side.LEFT)}
    hands = {side: {**soma_arrays(plain(side)), "joint_frames": FRAMES} for side in targets}
    write_hands(checked_model("hand", hands, targets), hands, targets)
    assert {load_hand_model(path).name for path in targets.values()} == {"hand"}


@pytest.mark.parametrize("side", Side)
def test_pose_correctives_that_are_linear_are_found(side: Side) -> None:
    """Of a hand whose vertices before skinning are moved by known amounts per element of the rotations."""
    rng, soma = np.random.default_rng(1), plain(side)
    true = rng.normal(0.0, 0.001, (len(soma.template), 3, 135)) * (rng.uniform(size=135) < 0.2)
    mano = [0, *range(6, 9), *range(11, 14), *range(21, 24), *range(16, 19), *range(1, 4)]
    parents = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]

    def corrected(orientations: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        turned = orientations[:, mano]
        local = np.swapaxes(turned[:, parents], -1, -2) @ turned
        features = (local[:, 1:] - np.eye(3)).reshape(len(local), 135)
        # What moves the skin moves no joint.
        moved = [dataclasses.replace(soma, template=soma.template + true @ each) for each in features]
        return np.concatenate(
            [
                chain(each, orientations[i : i + 1], coefficients[i : i + 1], joints=soma.regressor @ soma.template)
                for i, each in enumerate(moved)
            ]
        )

    posedirs, errors = fitted_correctives(soma, functools.partial(chain, soma), corrected, poses=200)
    assert posedirs.shape == true.shape and errors.poses == 66
    assert errors.moved_mean > 0.001
    assert errors.left_mean < 0.05 * errors.moved_mean and errors.left_largest < 0.2 * errors.moved_largest
    assert "fitted ones leave" in errors.summary()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("assets")
    soma_files.write(result, assets())
    return result


def test_complete_assets_are_accepted(folder: Path) -> None:
    check_assets(folder)


@pytest.mark.parametrize(
    "missing",
    [
        ("SOMAHand.npz",),
        ("SOMA_neutral.npz", "SOMA_procedural_transforms.json"),
        ("SOMA_template_rig.usda",),
        ("SOMA_procedural_transforms.json",),
    ],
)
def test_missing_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: tuple[str, ...], folder: Path
) -> None:
    for path in folder.iterdir():
        if path.name not in missing:
            (tmp_path / path.name).symlink_to(path)
    assert cli.main(["import-soma", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"hand-recon import-soma: {tmp_path}: no {', '.join(missing)} in it; nothing is downloaded\n"
    )


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HandModelError, match="nowhere: no such folder; expected SOMA-X's assets"):
        check_assets(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["SOMAHand.npz", "SOMA_template_rig.usda"])
def test_pointers_of_git_lfs_are_recognised(tmp_path: Path, folder: Path, name: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 993833\n")
    with pytest.raises(HandModelError, match=rf"{name}: a pointer of Git LFS.*git lfs pull"):
        check_assets(tmp_path)


def test_missing_arrays_are_named(tmp_path: Path, folder: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "SOMAHand.npz").unlink()
    with np.load(folder / "SOMAHand.npz") as stored:
        kept = {name: stored[name] for name in stored if name not in ("left_shapedirs", "right_vert_ids")}
    np.savez(tmp_path / "SOMAHand.npz", **kept)
    with pytest.raises(HandModelError, match=r"SOMAHand\.npz: no left_shapedirs, right_vert_ids in it"):
        check_assets(tmp_path)
    (tmp_path / "SOMAHand.npz").write_bytes(b"no archive")
    with pytest.raises(HandModelError, match=r"SOMAHand\.npz: not an \.npz file"):
        check_assets(tmp_path)


def test_an_older_file_names_the_joints_itself(tmp_path: Path, folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.endswith((".usda", "Hand.npz")):
            (tmp_path / path.name).symlink_to(path)
    with np.load(folder / "SOMA_neutral.npz") as stored:
        np.savez(tmp_path / "SOMA_neutral.npz", joint_names=np.array(soma_files.public_joints()[0]), **stored)
    check_assets(tmp_path)


@pytest.mark.parametrize("missing", ["soma", "torch"])
def test_without_the_package_its_name_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == missing else find(name))
    assert cli.main(["import-soma", str(folder)]) == 1
    assert "needs the package py-soma-x, which is not installed: pip install py-soma-x" in capsys.readouterr().err
