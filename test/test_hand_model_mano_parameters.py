"""What is published with MANO loaded are MANO's parameters: smplx makes the same mesh of them, by either convention."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smplx
import stand_ins
import torch
from evidence import CAMERA, hand, observe
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.conversions.frames import hand_poses
from hand_recon_ros.hand_model import HandModel, import_mano, load_hand_model
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.types import HandEstimate, HandState, ScaleSource, TwoHandEstimate


def left_of(right: dict[str, Any]) -> dict[str, Any]:
    """A left hand of its own, neither the mirror image nor with the right's numbers: its skin lies elsewhere."""
    mirror = np.array([-1.0, 1.0, 1.0])
    features = np.tile(np.outer(mirror, mirror).reshape(-1), 15)
    rng = np.random.default_rng(5)
    return {
        **right,
        "v_template": right["v_template"] * mirror + rng.normal(0.0, 2e-4, right["v_template"].shape),
        "shapedirs": right["shapedirs"] * mirror[:, None] * 1.05,
        "posedirs": right["posedirs"] * mirror[:, None] * features,
        "f": right["f"][:, ::-1],
        "hands_mean": rng.normal(0.0, 0.2, 45),
        "wrist_loop": right["wrist_loop"][::-1],
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both hands, imported from pickles."""
    folder = tmp_path_factory.mktemp("mano")
    right = stand_ins.arrays()
    for side, arrays in (("RIGHT", right), ("LEFT", left_of(right))):
        (folder / f"MANO_{side}.pkl").write_bytes(pickle.dumps(arrays))
    return import_mano(folder, folder / "out").parent


@pytest.fixture(scope="module")
def model(files: Path) -> HandModel:
    return load_hand_model(files)


def layer(files: Path, side: Side, flat_hand_mean: bool) -> Any:
    """smplx's own layer, loaded from the imported file."""
    return smplx.MANO(
        str(files / f"MANO_{side.name}.npz"), ext="npz", is_rhand=side == Side.RIGHT, use_pca=False,
        flat_hand_mean=flat_hand_mean, dtype=torch.float64,
    )  # fmt: skip


def vertices(mano: Any, pose: np.ndarray, betas: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Vertices of a pose (48,), the hand's orientation first, betas (10,) and a translation (3,), metres."""
    values = {"global_orient": pose[:3], "hand_pose": pose[3:], "betas": betas, "transl": translation}
    with torch.no_grad():
        output = mano(**{name: torch.tensor(value, dtype=torch.float64)[None] for name, value in values.items()})
    return np.asarray(output.vertices[0].numpy())


def lifted(model: HandModel, side: Side, seed: int) -> HandEstimate:
    """An estimate as the pipeline makes it, by the lifting of perfect keypoints."""
    (found,) = Lifter(model)([observe(hand(seed, side)[3], side)], CAMERA)
    return HandEstimate(
        side=side, state=HandState.TRACKED, score=1.0, side_score=1.0, track_id=1, since_measurement=0.0,
        joints=found.keypoints, joint_scores=found.joint_scores, keypoints_2d=found.keypoints_2d,
        mesh=lambda: model.mesh(side, found.rotations, found.betas, found.translation), faces=model.faces(side),
        rotations=found.rotations, betas=found.betas, translation=found.translation, wrist_pose=np.eye(4),
        roi=(0.0, 0.0, 9.0, 9.0), scale_source=ScaleSource.PRIOR, position_stddev=0.01,
    )  # fmt: skip


def check(files: Path, side: Side, pose: np.ndarray, betas: np.ndarray, place: np.ndarray, mesh: np.ndarray) -> None:
    """smplx makes the mesh of the parameters, by both conventions."""
    with np.load(files / f"MANO_{side.name}.npz") as stored:
        mean = stored["hands_mean"]
    assert np.abs(mean).max() > 0.1  # else the conventions were the same
    flat, relative = layer(files, side, flat_hand_mean=True), layer(files, side, flat_hand_mean=False)
    np.testing.assert_allclose(vertices(flat, pose, betas, place), mesh, atol=1e-5)
    less_mean = np.concatenate([pose[:3], pose[3:] - mean])
    np.testing.assert_allclose(vertices(relative, less_mean, betas, place), mesh, atol=1e-5)
    # The other way round it is another hand.
    assert np.abs(vertices(relative, pose, betas, place) - mesh).max() > 3e-3


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("seed", range(3))
def test_random_parameters(files: Path, model: HandModel, side: Side, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotations = Rotation.from_rotvec(rng.normal(0.0, 0.5, (16, 3))).as_matrix()
    betas, translation = rng.normal(0.0, 1.0, 10), rng.normal(0.0, 0.3, 3)
    mesh = model.mesh(side, rotations, betas, translation)
    check(files, side, model.to_mano_pose(rotations), betas, translation, mesh)


@pytest.mark.parametrize("side", Side)
def test_poses_of_either_convention_are_read(files: Path, model: HandModel, side: Side) -> None:
    """The way back: a pose of smplx's, with its mean added where it is relative to that."""
    rng = np.random.default_rng(4)
    pose, betas, translation = rng.normal(0.0, 0.4, 48), rng.normal(0.0, 1.0, 10), np.array([0.1, 0.0, 0.4])
    mean = model.arrays(side).hands_mean
    for flat_hand_mean, added in ((True, np.zeros(48)), (False, np.concatenate([np.zeros(3), mean]))):
        expected = vertices(layer(files, side, flat_hand_mean), pose, betas, translation)
        mesh = model.mesh(side, model.from_mano_pose(pose + added), betas, translation)
        np.testing.assert_allclose(mesh, expected, atol=1e-5)


@pytest.mark.parametrize("side", Side)
def test_principal_components(files: Path, model: HandModel, side: Side) -> None:
    """The published pose of a pose that smplx makes of 12 components, and these of the pose again."""
    with np.load(files / f"MANO_{side.name}.npz") as stored:
        components, mean = stored["hands_components"], stored["hands_mean"]
    mano = smplx.MANO(
        str(files / f"MANO_{side.name}.npz"), ext="npz", is_rhand=side == Side.RIGHT, use_pca=True, num_pca_comps=12,
        flat_hand_mean=False, dtype=torch.float64,
    )  # fmt: skip
    rng = np.random.default_rng(6)
    reduced, betas, translation = rng.normal(0.0, 0.4, 15), rng.normal(0.0, 1.0, 10), np.array([0.1, 0.0, 0.4])
    pose = np.concatenate([reduced[:3], reduced[3:] @ components[:12] + mean])
    mesh = model.mesh(side, model.from_mano_pose(pose), betas, translation)
    np.testing.assert_allclose(vertices(mano, reduced, betas, translation), mesh, atol=1e-5)
    np.testing.assert_allclose(((pose[3:] - mean) @ np.linalg.inv(components))[:12], reduced[3:], atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_from_estimates_to_messages_to_smplx(files: Path, model: HandModel, seed: int) -> None:
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from std_msgs.msg import Header

    from hand_recon_ros.ros.messages import build_hands_message

    hands = {side: lifted(model, side, seed + 10 * side) for side in Side}
    estimate = TwoHandEstimate(
        stamp=0.0, left=hands[Side.LEFT], right=hands[Side.RIGHT], timings={}, hand_model=model.name, calibrated=True,
        refined=False,
    )  # fmt: skip
    message = build_hands_message(estimate, hand_poses(estimate), Header(), model, (640, 480), 0)
    for side, slot in ((Side.LEFT, message.left), (Side.RIGHT, message.right)):
        place = np.array([slot.translation.x, slot.translation.y, slot.translation.z])
        pose, betas = np.array(slot.pose, dtype=np.float64), np.array(slot.betas, dtype=np.float64)
        check(files, side, pose, betas, place, hands[side].vertices)
