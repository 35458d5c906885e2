"""Refinement with a prior: its correction, its low-pass in a stream, and the gap that is closed along the ray."""

import dataclasses

import numpy as np
import pytest
from evidence import MODEL
from hand_pairs import CHAIN, Stream, depth, flipped, gap, joints, pushed, uncertainty

from hand_recon_ros import Side
from hand_recon_ros.geometry.hand_kinematics import forward
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.interact import separation
from hand_recon_ros.interact.ddim import cosine_alphas_cumprod, ddim_timesteps
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.guidance import DENOISING_STEPS, START_TIMESTEP, confidence_of, denoise
from hand_recon_ros.interact.pair_vector import CONFIDENCES, PAIR, pack
from hand_recon_ros.interact.refinement import Refiner
from hand_recon_ros.interact.uncertainty import PoseGaussian
from hand_recon_ros.runtime.bundled_networks import bundled_network


class Oracle:
    """A prior whose prediction is the ground truth."""

    alphas_cumprod = cosine_alphas_cumprod()
    mean, std = np.linspace(-0.1, 0.1, PAIR), np.linspace(0.1, 0.3, PAIR)

    def __init__(self, truth):
        self.truth, self.times = truth, []

    def __call__(self, x_t, t, condition, confidence):
        assert x_t.shape == condition.shape == (PAIR,) and confidence.shape == (CONFIDENCES,)
        assert np.all(confidence > 0.0) and np.all(confidence < 1.0)
        self.times.append(t)
        return pack(self.truth)

    def normalised(self, x):
        return (x - self.mean) / self.std

    def plain(self, x):
        return self.mean + self.std * x


def noisy(pair):
    rng = np.random.default_rng(0)
    turned = rotation_matrices(rng.normal(0, 0.05, (2, 16, 3))) @ pair.rotations
    return HandPair(turned, pair.betas, pair.wrists + rng.normal(0, 0.003, (2, 3)))


def test_a_perfect_prior_gives_the_truth(pairs):
    prior, estimate = Oracle(pairs[0]), noisy(pairs[0])
    gaussian = PoseGaussian.around(CHAIN.template, CHAIN.pose(estimate), uncertainty(estimate))
    result = denoise(prior, estimate, confidence_of(gaussian), lambda x0: x0)
    np.testing.assert_allclose(result.rotations, pairs[0].rotations, atol=1e-9)
    np.testing.assert_allclose(np.diff(result.wrists, axis=0), np.diff(pairs[0].wrists, axis=0), atol=1e-9)
    np.testing.assert_allclose(result.wrists.mean(axis=0), estimate.wrists.mean(axis=0), atol=1e-9)
    assert prior.times == ddim_timesteps(DENOISING_STEPS, START_TIMESTEP)
    stopped = Oracle(pairs[0])
    denoise(stopped, estimate, confidence_of(gaussian), lambda x0: x0, deadline=0.0)
    assert len(stopped.times) == 1


def test_the_prior_corrects_and_the_hands_are_still_separated(pairs):
    truth = next(pair for pair in pairs if pushed(pair, 0.006) is not None)
    bad = pushed(truth, 0.006)
    result = Refiner(MODEL, Oracle(truth))(bad, uncertainty(bad), 8).pair
    assert depth(result) < 0.001
    true, before, after = (np.diff(pair.wrists, axis=0) for pair in (truth, bad, result))
    assert np.linalg.norm(after - true) < 0.5 * np.linalg.norm(before - true)
    np.testing.assert_array_equal(result.betas, bad.betas)


def floating(pair, way):
    """The pair with its right hand moved away along its ray, out of the other, by ``way`` metres."""
    ray = pair.wrists[Side.RIGHT] / np.linalg.norm(pair.wrists[Side.RIGHT])
    moves = [dataclasses.replace(pair, wrists=pair.wrists + np.outer([0.0, s * way], ray)) for s in (-1.0, 1.0)]
    return max(moves, key=gap)


def test_the_gap_between_hands_in_front_of_each_other_is_closed_along_the_ray(pairs):
    separator = separation.Separation(MODEL)
    closed_gaps = 0
    for pair in pairs:
        apart = floating(pair, 0.015)
        if not gap(apart) > 0.005 or depth(apart) > 0.0:
            continue
        uncertain = uncertainty(apart, (0.01, 0.03))
        pose = CHAIN.pose(apart)

        def closed(most, pose=pose, uncertain=uncertain):
            moved_pose = separator.close_gap(pose, uncertain, most)
            return CHAIN.pair(moved_pose, forward(CHAIN.template, moved_pose))

        near = closed(0.25)
        moves = near.wrists - apart.wrists
        if not moves.any():
            continue  # the hands are side by side: along the ray they never touch
        closed_gaps += 1
        assert gap(near) < 0.005 and depth(near) < 0.003
        for side in Side:  # along its ray, by its share of the variance
            assert np.linalg.norm(np.cross(moves[side], apart.wrists[side])) < 1e-9
        assert np.linalg.norm(moves[1]) == pytest.approx(9.0 * np.linalg.norm(moves[0]))
        way = np.linalg.norm(moves, axis=1).sum()
        np.testing.assert_allclose(closed(4.0 / 3.0 * way).wrists - apart.wrists, 0.5 * moves, atol=1e-9)
        np.testing.assert_allclose(closed(way).wrists, apart.wrists, atol=1e-9)
    assert closed_gaps > 5


def test_in_a_stream_a_gap_is_closed_in_every_image_unless_the_distance_is_known(pairs):
    count = 0
    for pair in pairs[:8]:
        apart = floating(pair, 0.015)
        uncertain, known = uncertainty(apart, (0.01, 0.03)), uncertainty(apart, (0.001, 0.001))
        closed = Refiner(MODEL, Oracle(apart))(apart, uncertain, 8).pair
        if not gap(apart) > 0.005 or depth(apart) > 0.0 or gap(closed) > 0.005:
            continue
        count += 1
        stream, with_depth = Stream(Refiner(MODEL, Oracle(apart))), Stream(Refiner(MODEL, Oracle(apart)))
        for image in range(4):
            good, same = stream(apart, uncertain, image / 30), with_depth(apart, known, image / 30)
            assert gap(good) < 0.005 or image == 0
            np.testing.assert_allclose(same.wrists, apart.wrists, atol=1e-4)
    assert count > 2


def test_hands_that_touch_are_not_moved(pairs):
    separator = separation.Separation(MODEL)
    touching = [pair for pair in pairs if gap(pair) < 0.004]
    assert len(touching) > 10
    for pair in touching:
        pose = CHAIN.pose(pair)
        assert separator.close_gap(pose, uncertainty(pair), 0.1) is pose


@pytest.mark.parametrize("seconds", [1 / 30, 1.0])
def test_in_a_stream_the_prior_of_a_single_image_comes_gradually(pairs, seconds):
    truth = next(pair for pair in pairs if depth(floating(pair, 0.04)) == 0.0)
    apart = floating(truth, 0.04)
    uncertain = uncertainty(apart)
    single = joints(Refiner(MODEL, Oracle(truth))(apart, uncertain, 8).pair)
    stream, errors = Stream(Refiner(MODEL, Oracle(truth))), []
    for frame in range(31):
        pair = stream(apart, uncertain, seconds * frame)
        errors.append(np.abs(joints(pair) - single).max())
    assert errors[0] > 0.01 and errors[-1] < 0.002
    assert (np.diff(errors) < 1e-3).all()
    assert (errors[1] < 0.002) == (seconds == 1.0)


@pytest.mark.parametrize(
    ("rate", "encoded", "evaluated"),
    [
        (15.0, "eeeeee", ".ppppp"),  # the encoder runs in every image
        (30.0, "e.e.e.e.e", ".p.p.p.p."),
        (30.0, "ee.e.e.e.", ".p..p.p.p"),  # the turns are changed where they coincide
        (30.0, ".........", ".p.p.p.p."),
        (60.0, "e..e..e..e", ".p..p..p.."),
    ],
)
def test_in_a_stream_encoder_and_prior_take_turns(pairs, rate, encoded, evaluated):
    prior, estimate = Oracle(pairs[0]), noisy(pairs[0])
    stream, seen, result = Stream(Refiner(MODEL, prior)), "", []
    for number, turn in enumerate(encoded):
        before = len(prior.times)
        result.append(stream(estimate, uncertainty(estimate), number / rate, encoded=turn == "e"))
        seen += "p" if len(prior.times) > before else "."
    assert seen == evaluated
    moves = [np.abs(joints(after) - joints(before)).max() for before, after in zip(result, result[1:], strict=False)]
    for image, move in enumerate(moves, start=1):
        # What was proposed stays until the next proposal; only what separates the hands may change. Where images come
        # soon, the prior is evaluated for the next one.
        assert move > 1e-4 if seen[image if rate == 15.0 else image - 1] == "p" else move < 1e-4


def test_while_images_wait_the_prior_is_postponed_for_a_while(pairs):
    prior, estimate = Oracle(pairs[0]), noisy(pairs[0])
    stream, seen = Stream(Refiner(MODEL, prior), hurried=True), ""
    for number in range(13):
        before = len(prior.times)
        stream(estimate, uncertainty(estimate), number / 30)
        seen += "p" if len(prior.times) > before else "."
    assert seen == ".p....p....p."


def test_the_prior_waits_until_after_the_image_where_the_next_one_comes_soon(pairs):
    prior, estimate = Oracle(pairs[0]), noisy(pairs[0])
    refiner, certain, memory = Refiner(MODEL, prior), uncertainty(estimate), None
    for number in range(2):
        memory = refiner(estimate, certain, 8, stamp=number / 30, memory=memory).memory
    assert prior.times == []
    finished = refiner.finished(memory)
    assert len(prior.times) > 0 and np.abs(finished.proposal).max() > 1e-3
    assert refiner.finished(finished) is finished  # it is done once


def test_a_prior_brings_hands_together_as_far_as_they_meet_in_the_image(pairs):
    """Along the rays it brings them all the way; across, where the image shows them, too, a fifth of it."""
    truth = next(pair for pair in pairs if depth(floating(pair, 0.04)) == 0.0)
    rays = truth.wrists / np.linalg.norm(truth.wrists, axis=1, keepdims=True)
    way = np.diff(truth.wrists, axis=0)
    across = way - np.sum(way * rays, axis=1, keepdims=True) * rays
    across *= np.array([[-0.02], [0.02]]) / np.linalg.norm(across, axis=1, keepdims=True)
    sideways = dataclasses.replace(truth, wrists=truth.wrists + across)
    for apart, left in ((floating(truth, 0.04), 0.0), (sideways, 0.8 * 0.04)):
        errors = []
        for overlap in (0.0, 0.1, 0.5):
            prior = Oracle(truth)
            result = Refiner(MODEL, prior, reach=0.0)(apart, uncertainty(apart, overlap=overlap), 8).pair
            assert (result is apart) == (overlap == 0.0) == (not prior.times)
            errors.append(np.linalg.norm(np.diff(result.wrists, axis=0) - np.diff(truth.wrists, axis=0)))
        assert errors[1] == pytest.approx((0.04 + left) / 2, abs=0.004)
        assert errors[2] == pytest.approx(left, abs=0.004)


@pytest.mark.parametrize("way", [1.0, 2.5])
def test_a_prior_does_not_move_the_hands_of_two_people(pairs, way):
    """Hands that overlap in the image, one far behind the other."""
    pair = pairs[0]
    farther = pair.wrists[1] * (1.0 + way / np.linalg.norm(pair.wrists[1]))
    two_people = dataclasses.replace(pair, wrists=np.stack([pair.wrists[0], farther]))
    prior = Oracle(pair)
    result = Refiner(MODEL, prior)(two_people, uncertainty(two_people), 8)
    assert result.pair is two_people and not prior.times


def test_a_prior_that_contradicts_the_estimate_by_many_sigmas_changes_nothing(pairs):
    pair = pairs[0]
    farther = pair.wrists[1] * (1.0 + 0.5 / np.linalg.norm(pair.wrists[1]))
    apart = dataclasses.replace(pair, wrists=np.stack([pair.wrists[0], farther]))
    for stddev, moved in ((0.02, False), (0.3, True)):
        prior = Oracle(pair)
        result = Refiner(MODEL, prior)(apart, uncertainty(apart, (stddev, stddev)), 8).pair
        assert prior.times and (np.abs(result.wrists - apart.wrists).max() > 0.1) == moved


def test_mirrored_hands_give_the_mirrored_result_with_a_prior(pairs):
    refiner = Refiner(MODEL, Denoiser(bundled_network("refiner", "small")))
    for estimate in (next(bad for bad in (pushed(pair, 0.006) for pair in pairs) if bad is not None), pairs[3]):
        uncertain = uncertainty(estimate, (0.01, 0.03))
        good = refiner(estimate, uncertain, 8).pair
        other = refiner(estimate.mirrored(), dataclasses.replace(flipped(uncertain), overlap=uncertain.overlap), 8).pair
        assert np.abs(joints(good) - joints(estimate)).max() > 0.0005
        np.testing.assert_allclose(joints(other.mirrored()), joints(good), atol=1e-4)
