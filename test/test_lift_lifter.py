"""Lifting: the chain's derivatives, exact recovery from perfect evidence, and anatomy that never breaks."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evidence import CAMERA, MODEL, hand, observe
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher
from scipy.spatial.transform import Rotation

from hand_recon_ros import Camera, Side
from hand_recon_ros.geometry import hand_kinematics as chain
from hand_recon_ros.geometry.hand_kinematics import ANGLES, BETAS, NUM_PARAMETERS, Pose, forward, jacobian
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.hand_model.kinematics import template_of
from hand_recon_ros.landmarks.observation import EncoderPrediction
from hand_recon_ros.lift import lifter as lifting
from hand_recon_ros.lift import normal_equations
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.lift.shape_prior import ShapePrior
from hand_recon_ros.skeleton import mirror_pixels, mirror_points, mirror_rotations, wrist_rotation


def test_jacobian_agrees_with_finite_differences():
    template = template_of([MODEL.kinematics(Side.RIGHT), MODEL.kinematics(Side.LEFT).mirrored()])
    rng = np.random.default_rng(0)
    pose = Pose(
        Rotation.random(2, random_state=0).as_matrix(), rng.normal(0, 0.1, (2, 3)) + [0, 0, 0.5],
        rng.normal(0.3, 0.3, (2, 15, 3)), rng.normal(0, 1, (2, 10)),
    )  # fmt: skip
    analytic, step = jacobian(template, forward(template, pose)), 1e-6
    for parameter in range(NUM_PARAMETERS):
        delta = np.zeros(NUM_PARAMETERS)
        delta[parameter] = step

        def moved(sign, delta=delta):
            d = sign * delta
            shifted = Pose(
                rotation_matrices(d[:3]) @ pose.rotation, pose.wrist + d[3:6],
                pose.angles + d[ANGLES].reshape(15, 3), pose.betas + d[BETAS],
            )  # fmt: skip
            return forward(template, shifted).keypoints

        np.testing.assert_allclose((moved(1) - moved(-1)) / (2 * step), analytic[..., parameter], atol=1e-7)


@pytest.mark.parametrize("side", Side)
def test_chain_is_the_hand_models(side):
    """The chain is a right hand's; a left hand is mirrored into one."""
    rotations, betas, _, keypoints = hand(3, side)
    kinematics = MODEL.kinematics(side)
    if side == Side.LEFT:
        kinematics, rotations, keypoints = kinematics.mirrored(), mirror_rotations(rotations), mirror_points(keypoints)
    template = template_of([kinematics])
    angles = kinematics.angles_of(rotations)[1:][None]
    posed = forward(template, Pose(rotations[None, 0], keypoints[None, 0], angles, betas[None]))
    np.testing.assert_allclose(posed.keypoints[0], keypoints, atol=1e-9)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("seed", range(6))
def test_perfect_evidence_gives_the_hand_back(side, seed):
    rotations, betas, translation, keypoints = hand(seed, side)
    (result,) = Lifter(MODEL, iterations=10)([observe(keypoints, side)], CAMERA, [ShapePrior(betas, 1e6 * np.eye(10))])
    assert result.side == side
    root_relative = (result.keypoints - result.keypoints[0]) - (keypoints - keypoints[0])
    assert np.linalg.norm(root_relative, axis=-1).mean() < 0.004
    assert np.linalg.norm(result.keypoints[0] - keypoints[0]) < 0.015
    turn = wrist_rotation(result.keypoints, side == Side.RIGHT).T @ wrist_rotation(keypoints, side == Side.RIGHT)
    assert np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) < 5.0
    again, _ = MODEL.kinematics(side).forward(result.rotations, result.betas, result.translation)
    np.testing.assert_allclose(again, result.keypoints, atol=1e-9)


def test_mirrored_evidence_gives_the_mirrored_hand():
    _, _, _, keypoints = hand(11)
    lifter = Lifter(MODEL)
    (right,) = lifter([observe(keypoints, Side.RIGHT)], CAMERA)
    (left,) = lifter([observe(mirror_points(keypoints), Side.LEFT)], CAMERA)
    np.testing.assert_allclose(left.keypoints, mirror_points(right.keypoints), atol=1e-9)


def test_a_mirrored_image_gives_the_true_hand():
    _, _, _, keypoints = hand(12)
    plain = observe(keypoints, Side.RIGHT)
    looks_left = observe(mirror_points(keypoints), Side.RIGHT, mirrored=True)
    np.testing.assert_allclose(looks_left.keypoints_2d, mirror_pixels(plain.keypoints_2d, CAMERA.width), atol=1e-9)
    lifter = Lifter(MODEL)
    (expected,), (result,) = lifter([plain], CAMERA), lifter([looks_left], CAMERA)
    np.testing.assert_allclose(result.keypoints, expected.keypoints, atol=1e-9)


def test_a_hand_does_not_depend_on_its_neighbour():
    lifter = Lifter(MODEL)
    right, left = observe(hand(1)[3], Side.RIGHT), observe(hand(2, Side.LEFT)[3], Side.LEFT)
    both, other_order = lifter([left, right], CAMERA), lifter([right, left], CAMERA)
    (alone,) = lifter([right], CAMERA)
    np.testing.assert_allclose(both[1].keypoints, alone.keypoints, atol=1e-10)
    np.testing.assert_allclose(other_order[0].keypoints, alone.keypoints, atol=1e-10)


def spoiled(observation, how):
    """The observation with one number of its evidence spoiled."""
    pixels, world = observation.keypoints_2d.copy(), observation.world.copy()
    scores, depth = observation.joint_scores.copy(), observation.screen_depth.copy()
    if how == "pixels":
        pixels[7, 0] = np.nan
    elif how == "all pixels":
        pixels[:] = np.nan
    elif how == "world":
        world[3, 2] = np.nan
    elif how == "score":
        scores[20] = np.nan
    elif how == "depth":
        depth[5] = np.inf
    elif how == "huge":
        pixels[0] = 1e200
    spoiled = dataclasses.replace(
        observation, keypoints_2d=pixels, world=world, joint_scores=scores, screen_depth=depth
    )
    if how != "prediction":
        return spoiled
    prediction = EncoderPrediction(
        presence=1.0, keypoints_2d=pixels, stddev_2d=np.ones(21), joints=world, wrist=np.array([0.0, np.nan, 0.5]),
        wrist_stddev=0.05, to_other=None, other_box=observation.roi, other_visible=0.0,
    )  # fmt: skip
    return dataclasses.replace(spoiled, prediction=prediction)


HOWS = ("pixels", "all pixels", "world", "score", "depth", "huge", "prediction")


@pytest.mark.parametrize("how", HOWS)
def test_a_spoiled_hand_is_not_finite_and_leaves_the_other_as_it_is_alone(how):
    lifter = Lifter(MODEL)
    bad, good = spoiled(observe(hand(1)[3], Side.RIGHT), how), observe(hand(2, Side.LEFT)[3], Side.LEFT)
    (alone,) = lifter([good], CAMERA)
    assert alone.finite
    for observations in ([bad, good], [good, bad]):
        found = {result.side: result for result in lifter(observations, CAMERA)}
        assert not found[Side.RIGHT].finite and found[Side.LEFT].finite
        for field in dataclasses.fields(alone):
            np.testing.assert_array_equal(getattr(found[Side.LEFT], field.name), getattr(alone, field.name))
    (nothing,) = lifter([bad], CAMERA)
    assert nothing.side == Side.RIGHT and np.isnan(nothing.keypoints).all()


def test_a_shape_prior_that_is_not_finite_spoils_its_own_hand_only():
    lifter = Lifter(MODEL)
    right, left = observe(hand(1)[3], Side.RIGHT), observe(hand(2, Side.LEFT)[3], Side.LEFT)
    priors = [ShapePrior.population(), ShapePrior(np.full(10, np.nan), np.eye(10))]
    both, (alone,) = lifter([right, left], CAMERA, priors), lifter([right], CAMERA)
    assert not both[1].finite
    np.testing.assert_array_equal(both[0].keypoints, alone.keypoints)


def test_known_size_makes_distance_certain():
    _, betas, _, keypoints = hand(5)
    lifter = Lifter(MODEL)
    (unknown,) = lifter([observe(keypoints, Side.RIGHT)], CAMERA)
    (known,) = lifter([observe(keypoints, Side.RIGHT)], CAMERA, [ShapePrior(betas, 2500.0 * np.eye(10))])
    assert 0.0 < known.position_stddev < 0.7 * unknown.position_stddev
    assert unknown.position_stddev < 0.1


def test_lens_distortion_is_undone():
    lens = Camera(K=CAMERA.K, width=640, height=480, distortion_model="plumb_bob", D=[-0.3, 0.1, 1e-3, 1e-3, 0.0])
    _, _, _, keypoints = hand(8)
    lifter = Lifter(MODEL)
    (plain,), (through_lens,) = (
        lifter([observe(keypoints, Side.RIGHT)], CAMERA),
        lifter([observe(keypoints, Side.RIGHT, lens)], lens),
    )
    assert np.abs(plain.keypoints - through_lens.keypoints).max() < 0.006


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(Side), st.floats(0.0, 0.6))
def test_anatomy_never_breaks(seed, side, noise):
    """Also from nonsense: angles inside their limits, finite numbers, in front of the camera, no finger in the palm."""
    rng = np.random.default_rng(seed)
    good = observe(hand(seed, side, curl=rng.uniform(0, 1.2))[3], side)
    extent = np.ptp(good.keypoints_2d, axis=0).max()
    noisy = dataclasses.replace(
        good,
        keypoints_2d=good.keypoints_2d + rng.normal(0, noise * extent / 3, (21, 2)),
        world=good.world + rng.normal(0, noise * 0.05, (21, 3)),
        joint_scores=rng.uniform(0, 1, 21),
    )
    (result,) = Lifter(MODEL)([noisy], CAMERA)
    limits = MODEL.kinematics(side).limits[1:]
    assert np.isfinite(result.keypoints).all() and result.keypoints[0, 2] > 0.02
    assert np.all(result.angles >= limits[..., 0] - 1e-9) and np.all(result.angles <= limits[..., 1] + 1e-9)
    for rotation in result.rotations:
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9) and np.linalg.det(rotation) > 0.99
    back = wrist_rotation(result.keypoints, side == Side.RIGHT)[:, 2]
    x = result.keypoints[9] - result.keypoints[0]
    for tip in (8, 12, 16, 20):
        point = result.keypoints[tip] - result.keypoints[0]
        if 0.1 < point @ x / (x @ x) < 0.9:
            assert point @ back < 0.004, f"fingertip {tip} is {1000 * (point @ back):.0f} mm above the palm's plane"


def test_nothing_seen_gives_nothing():
    assert Lifter(MODEL)([], CAMERA) == []


def observed(prior, evidence, target):
    """The solution of a linear problem with a prior: only what ShapePrior.updated reads of it."""
    information = prior.information + evidence
    betas = np.linalg.solve(information, prior.information @ prior.mean + evidence @ target)
    return SimpleNamespace(betas=betas, betas_covariance=np.linalg.inv(information), finite=True)


def test_a_shape_prior_counts_the_evidence_once():
    """Learning with a gain of 1 in no time gives what solving all images together would give."""
    rng = np.random.default_rng(3)
    prior, evidence, target = ShapePrior.population(), np.diag(rng.uniform(0, 3, 10)), rng.normal(0, 1, 10)
    for _ in range(5):
        prior = prior.updated(observed(prior, evidence, target), 1e-12, 1e12)
    information = ShapePrior.population().information + 5 * evidence
    np.testing.assert_allclose(prior.information, information, atol=1e-9)
    together = np.linalg.solve(information, 5 * evidence @ target)
    np.testing.assert_allclose(prior.mean, together, atol=1e-9)


def learnt(rate, *targets, seconds=20.0, prior=None):
    """The prior after ``seconds`` of each target shape at ``rate`` images a second."""
    prior, evidence = prior or ShapePrior.population(), np.diag(np.linspace(2.0, 30.0, 10))
    for target in targets:
        for _ in range(round(seconds * rate)):
            prior = prior.updated(observed(prior, evidence, target), 1.0 / rate)
    return prior


def test_the_information_about_a_shape_tends_to_a_limit():
    target = np.random.default_rng(4).normal(0, 1, 10)
    early, late, later = (learnt(30, target, seconds=seconds) for seconds in (1.0, 60.0, 90.0))
    np.testing.assert_allclose(later.information, late.information, rtol=1e-6)
    assert (np.linalg.eigvalsh(late.information) > np.linalg.eigvalsh(early.information)).all()
    # In the first second it is what weighing each image with 1/30 gives, to a sixth.
    plain = ShapePrior.population().information + np.diag(np.linspace(2.0, 30.0, 10))
    np.testing.assert_allclose(early.information, plain, rtol=0.17)


def test_another_persons_hand_is_learnt_within_seconds():
    first, second = np.random.default_rng(5).normal(0, 1, (2, 10))
    settled = learnt(30, second)
    after = learnt(30, second, seconds=7.0, prior=learnt(30, first))
    assert np.linalg.norm(after.mean - settled.mean) < 0.1 * np.linalg.norm(first - second)


@pytest.mark.parametrize("rate", [15, 60])
def test_the_frame_rate_does_not_change_what_is_learnt(rate):
    first, second = np.random.default_rng(6).normal(0, 1, (2, 10))
    for seconds in (0.4, 2.0, 10.0):
        expected, found = (learnt(hz, first, second, seconds=seconds) for hz in (30, rate))
        np.testing.assert_allclose(found.information, expected.information, rtol=1e-6)
        assert np.abs(found.mean - expected.mean).max() < 0.01


def test_a_solution_that_is_not_finite_teaches_nothing():
    lifter, prior = Lifter(MODEL), ShapePrior.population()
    (bad,) = lifter([spoiled(observe(hand(1)[3], Side.RIGHT), "pixels")], CAMERA)
    assert prior.updated(bad, 1.0) is prior


def lift_and_count():
    """Compiled layouts of every kernel of the solver after the first hand, and after hands of every kind."""
    lifter, counts = Lifter(MODEL), []
    right, left = observe(hand(1)[3], Side.RIGHT), observe(hand(2, Side.LEFT)[3], Side.LEFT)
    mirrored = observe(mirror_points(hand(3)[3]), Side.RIGHT, mirrored=True)
    _, betas, _, _ = hand(4)
    for observations in ([right], [left], [left, right], [mirrored]):
        lifter(observations, CAMERA, [ShapePrior(betas, np.eye(10))] * len(observations))
        counts.append({
            f"{module.__name__}.{name}": len(kernel.signatures)
            for module in (chain, normal_equations, lifting)
            for name, kernel in vars(module).items()
            if isinstance(kernel, Dispatcher)
        })  # fmt: skip
    return counts[0], counts[-1]


def test_the_solver_is_compiled_once():
    """A second layout of any array would be compiled in the middle of a stream, for seconds.

    In a process of its own: others may have compiled the same functions for other callers.
    """
    code = "import json, test_lift_lifter; print(json.dumps(test_lift_lifter.lift_and_count()))"
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    first, last = json.loads(run.stdout)
    assert len(first) >= 5 and max(first.values()) >= 1
    assert last == first
