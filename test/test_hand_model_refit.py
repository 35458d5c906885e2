"""Another hand model takes over what is learnt of the embedded hand: frames, keypoints, shapes, the prior's pairs."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from evidence import CAMERA, hand, observe
from scipy.spatial.transform import Rotation
from stand_ins import arrays, stand_in, without_refit

from hand_recon_ros import Side
from hand_recon_ros.geometry.alignment import procrustes
from hand_recon_ros.hand_model import HandModel, import_mano, load_hand_model
from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.hand_model.named_angles import named_angles
from hand_recon_ros.hand_model.refit import FILE_SHAPES, fitted, turned_offsets
from hand_recon_ros.hand_model.skin_registration import registered
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.guidance import denoise
from hand_recon_ros.interact.pair_vector import CONFIDENCES
from hand_recon_ros.interact.prior_hand import PriorHand
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.runtime.bundled_networks import bundled_network

EMBEDDED = load_hand_model()
FLAT = np.tile(np.eye(3), (16, 1, 1))


def random_angles(seed: int) -> np.ndarray:
    """Angles of a half closed hand (16, 3), radians."""
    rng = np.random.default_rng(seed)
    angles = np.zeros((16, 3))
    angles[1:, 0] = np.clip(rng.normal(0.6, 0.3, 15), 0.0, 1.3) * np.repeat([0.3, 1, 1, 1, 1], 3)
    angles[[4, 7, 10, 13], 1] = rng.normal(0.0, 0.08, 4)
    return angles


def skin_error(model: HandModel, side: Side, angles: np.ndarray) -> float:
    """Mean distance of vertices of the same number, mm, of a model and the embedded hand with the same angles."""
    betas = stand_in().refit(side).embedded_betas
    rotations = [each.kinematics(side).rotations_of(angles) for each in (model, EMBEDDED)]
    for each in rotations:
        each[0] = np.eye(3)
    other = model.mesh(side, rotations[0], np.zeros(10), np.zeros(3)).astype(np.float64)
    ours = EMBEDDED.mesh(side, rotations[1], betas, np.zeros(3)).astype(np.float64)
    _, turn, shift = procrustes(other, ours, scale=False)
    return 1e3 * float(np.linalg.norm(other @ turn.T + shift - ours, axis=1).mean())


@pytest.mark.parametrize("side", Side)
def test_the_same_angles_are_the_same_pose(side: Side) -> None:
    """Also of a model whose rest pose is another one: that is what limits, prior and named angles rely on."""
    carried = [skin_error(stand_in(), side, random_angles(seed)) for seed in range(6)]
    by_bones = [skin_error(without_refit(), side, random_angles(seed)) for seed in range(6)]
    assert np.mean(carried) < 2.5
    assert np.mean(carried) < 0.5 * np.mean(by_bones)


def test_angles_and_rotations_are_inverse_where_the_rest_pose_is_not_the_flat_hand() -> None:
    for side in Side:
        kinematics = stand_in().kinematics(side)
        angles = random_angles(3)
        np.testing.assert_allclose(kinematics.angles_of(kinematics.rotations_of(angles)), angles, atol=1e-9)
        rest = np.degrees(kinematics.angles_of(FLAT)[1:, 0])
        assert 3.0 < rest.mean() < 10.0  # the fingers are bent at rest
        mirrored = stand_in().kinematics(side.other).mirrored()
        np.testing.assert_allclose(mirrored.angles_of(FLAT), kinematics.angles_of(FLAT), atol=1e-9)


def test_the_embedded_hand_is_registered_to_itself() -> None:
    assert EMBEDDED.refit(Side.RIGHT) is None
    own = fitted(EMBEDDED, EMBEDDED, Side.RIGHT)
    assert own is not None
    assert np.linalg.norm(own.keypoint_offsets, axis=1).max() < 1e-3
    ours = EMBEDDED.kinematics(Side.RIGHT)
    turn = np.swapaxes(ours.joint_frames, -1, -2) @ own.joint_frames
    assert np.degrees(np.linalg.norm(Rotation.from_matrix(turn).as_rotvec(), axis=1)).max() < 3.0
    assert np.abs(own.embedded_betas).max() < 0.3
    assert own.refit_errors[0] < 1e-3
    # A beta of the hand is its own beta, where the skin shows it.
    assert own.embedded_beta_dirs[0, 0] == pytest.approx(1.0, abs=0.2)


def test_a_registration_follows_the_shape() -> None:
    """The derivatives by the other model's betas are those of registrations of its shapes."""
    step, model = np.linspace(-0.5, 0.5, 10), stand_in()
    hands, refit = model.arrays(Side.RIGHT), model.refit(Side.RIGHT)
    template = hands.template + hands.shapedirs @ step
    moved = HandModel(
        "moved", dataclasses.replace(hands, template=template, refit=refit, joint_frames=refit.joint_frames)
    )
    before, after = (registered(EMBEDDED, each, Side.RIGHT, FLAT) for each in (model, moved))
    change = after.betas - before.betas
    assert np.linalg.norm(change) > 0.5
    assert np.linalg.norm(before.beta_dirs @ step - change) < 0.3 * np.linalg.norm(change)


@pytest.mark.parametrize("noise", [0.0, 1.0], ids=["exact", "noisy"])
def test_lifting_takes_the_evidence_for_the_embedded_hands(noise: float) -> None:
    """Keypoints of the embedded hand, as the networks know it: meshes and angles are nearer to the truth with the
    re-fit. The noise is 3 pixels in the image and 6 mm in the metric landmarks."""
    errors: dict[str, np.ndarray] = {}
    models = {"embedded hand": EMBEDDED, "stand-in, re-fit": stand_in(), "stand-in, none": without_refit()}
    for name, model in models.items():
        lifter, rows, rng = Lifter(model, iterations=8), [], np.random.default_rng(0)
        for seed in range(40):
            side = Side(seed % 2)
            rotations, betas, translation, keypoints = hand(seed, side, curl=0.3 + 0.5 * (seed % 4 > 1))
            seen = observe(keypoints, side)
            seen = dataclasses.replace(
                seen,
                keypoints_2d=seen.keypoints_2d + noise * rng.normal(0.0, 3.0, (21, 2)),
                world=seen.world + noise * rng.normal(0.0, 0.006, (21, 3)),
            )
            (found,) = lifter([seen], CAMERA)
            skin = model.mesh(side, found.rotations, found.betas, found.translation).astype(np.float64)
            true = EMBEDDED.mesh(side, rotations, betas, translation).astype(np.float64)
            angles = named_angles(model.kinematics(side), found.rotations)
            angles -= named_angles(EMBEDDED.kinematics(side), rotations)
            skin += true.mean(axis=0) - skin.mean(axis=0)
            rows.append([1e3 * np.linalg.norm(skin - true, axis=1).mean(), np.degrees(np.abs(angles)).mean()])
        errors[name] = np.mean(rows, axis=0)
        print(f"{name:18} mesh {errors[name][0]:5.2f} mm, angles {errors[name][1]:5.2f} degrees, noise {noise:g}")
    with_it, without = errors["stand-in, re-fit"], errors["stand-in, none"]
    ours = errors["embedded hand"]
    assert (with_it - ours < 0.6 * (without - ours)).all()


def test_pairs_of_the_prior_and_back() -> None:
    model, prior = stand_in(), PriorHand.of(stand_in())
    assert prior is not None and PriorHand.of(EMBEDDED) is None
    rng = np.random.default_rng(0)
    rotations = np.stack([model.kinematics(side).rotations_of(random_angles(int(side))) for side in Side])
    rotations[:, 0] = Rotation.random(2, random_state=1).as_matrix()
    pair = HandPair(rotations, np.zeros((2, 10)), rng.normal(0, 0.1, (2, 3)) + [0, 0, 0.5])
    known = prior.from_model(pair)
    again = prior.to_model(known, pair.betas)
    for name in ("rotations", "betas", "wrists"):
        np.testing.assert_allclose(getattr(again, name), getattr(pair, name), atol=1e-12)
    # The embedded hands lie where the model's are: by their keypoints, and by their skins.
    orientations = np.stack(
        [model.kinematics(side).forward(rotations[side], np.zeros(10), np.zeros(3))[1] for side in Side]
    )
    offsets = np.stack([model.refit(side).keypoint_offsets for side in Side])
    expected = pair.keypoints(model) + turned_offsets(offsets, orientations)
    assert np.linalg.norm(known.keypoints(EMBEDDED) - expected, axis=-1).mean() < 0.003
    for ours, theirs in zip(known.meshes(EMBEDDED), pair.meshes(model), strict=True):
        assert np.linalg.norm(ours - theirs, axis=-1).mean() < 0.004
    for side in Side:  # the same angles
        np.testing.assert_allclose(
            EMBEDDED.kinematics(side).angles_of(known.rotations[side])[1:], random_angles(int(side))[1:], atol=1e-9
        )


def flexion(model: HandModel, before: HandPair, after: HandPair) -> float:
    """How much the flexions of two pairs differ in the mean, degrees."""
    angles = [
        [model.kinematics(side).angles_of(pair.rotations[side])[1:, 0] for side in Side] for pair in (before, after)
    ]
    return float(np.degrees(np.abs(np.subtract(*angles)).mean()))


def test_the_prior_changes_a_pair_as_it_would_the_embedded_hands() -> None:
    """Taken for the embedded hand's, the numbers of another rest pose look like errors, and the prior mends them."""
    denoiser, prior, model = Denoiser(bundled_network("refiner", "small")), PriorHand.of(stand_in()), stand_in()
    assert prior is not None
    confidence, changes = np.full(CONFIDENCES, 0.4), []
    for seed in range(10):
        rotations = np.stack([model.kinematics(side).rotations_of(random_angles(2 * seed + side)) for side in Side])
        rotations[:, 0] = Rotation.random(2, random_state=seed).as_matrix()
        wrists = np.random.default_rng(seed).normal(0.0, 0.05, (2, 3)) + [0.0, 0.0, 0.5]
        pair = HandPair(rotations, np.zeros((2, 10)), wrists)
        embedded = prior.from_model(pair)
        proposed = denoise(denoiser, embedded, confidence, lambda x0: x0)
        converted = prior.to_model(proposed, pair.betas)
        taken = denoise(denoiser, pair, confidence, lambda x0: x0)
        changes.append(
            [flexion(EMBEDDED, embedded, proposed), flexion(model, pair, converted), flexion(model, pair, taken)]
        )
    ours, carried, as_they_are = np.mean(changes, axis=0)
    print(
        f"flexion by the prior: embedded {ours:.1f}, carried over {carried:.1f}, as they are {as_they_are:.1f} degrees"
    )
    assert carried == pytest.approx(ours, abs=1e-6)
    assert as_they_are > 1.5 * ours


def test_an_imported_file_has_its_refit_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(arrays()))
    path = import_mano(tmp_path, tmp_path / "out")
    with np.load(path) as stored:
        assert {name: stored[name].shape for name in FILE_SHAPES} == FILE_SHAPES
    monkeypatch.setattr("hand_recon_ros.hand_model.model.fitted", None)  # not fitted once more
    model = load_hand_model(path)
    for side in Side:
        for name, value in stand_in().refit(side).arrays().items():
            np.testing.assert_allclose(getattr(model.refit(side), name), value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("keypoint_offsets", np.zeros((20, 3)), "keypoint_offsets of the re-fit is missing or not of shape"),
        ("parent_frames", np.zeros((16, 3, 3)), "parent_frames must be rotation matrices"),
        ("embedded_betas", np.full(10, np.nan), "embedded_betas holds numbers that are not finite"),
    ],
)
def test_a_damaged_refit_is_refused(tmp_path: Path, name: str, value: np.ndarray, words: str) -> None:
    refit = stand_in().refit(Side.RIGHT).arrays()
    np.savez(tmp_path / "hand.npz", **{**arrays(), **refit, name: value})
    with pytest.raises(ValueError, match=rf"hand\.npz: {words}"):
        load_hand_model(tmp_path / "hand.npz")


def test_a_skin_that_is_no_hand_has_no_refit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ball = dict(arrays())
    template = ball["v_template"] - ball["v_template"].mean(axis=0)
    ball["v_template"] = 0.06 * template / np.linalg.norm(template, axis=1, keepdims=True)
    np.savez(tmp_path / "ball.npz", **ball)
    with caplog.at_level(logging.WARNING):
        model = load_hand_model(tmp_path / "ball.npz")
    assert model.refit(Side.RIGHT) is None and "ball: no re-fit of the right hand" in caplog.text
    kinematics = model.kinematics(Side.RIGHT)
    np.testing.assert_array_equal(kinematics.joint_frames, kinematics.parent_frames)
