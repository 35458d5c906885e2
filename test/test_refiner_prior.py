"""Refinement with a prior: where it leads, how its word comes and goes, and hands drawn together."""

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


class Known:
    """A prior that knows what the hands are."""

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
    prior, estimate = Known(pairs[0]), noisy(pairs[0])
    belief = PoseGaussian.around(CHAIN.template, CHAIN.pose(estimate), uncertainty(estimate))
    result = denoise(prior, estimate, confidence_of(belief), lambda said: said)
    np.testing.assert_allclose(result.rotations, pairs[0].rotations, atol=1e-9)
    np.testing.assert_allclose(np.diff(result.wrists, axis=0), np.diff(pairs[0].wrists, axis=0), atol=1e-9)
    np.testing.assert_allclose(result.wrists.mean(axis=0), estimate.wrists.mean(axis=0), atol=1e-9)
    assert prior.times == ddim_timesteps(DENOISING_STEPS, START_TIMESTEP)
    stopped = Known(pairs[0])
    denoise(stopped, estimate, confidence_of(belief), lambda said: said, deadline=0.0)
    assert len(stopped.times) == 1


def test_a_prior_leads_and_hands_still_come_apart(pairs):
    truth = next(pair for pair in pairs if pushed(pair, 0.006) is not None)
    bad = pushed(truth, 0.006)
    result = Refiner(MODEL, Known(truth))(bad, uncertainty(bad), 8).pair
    assert depth(result) < 0.001
    true, before, after = (np.diff(pair.wrists, axis=0) for pair in (truth, bad, result))
    assert np.linalg.norm(after - true) < 0.5 * np.linalg.norm(before - true)
    np.testing.assert_array_equal(result.betas, bad.betas)


def four_centimetres_apart(pair):
    """The pair with its wrists 4 cm further from each other."""
    way = np.diff(pair.wrists, axis=0)[0]
    return dataclasses.replace(pair, wrists=pair.wrists + np.outer([-0.5, 0.5], 0.04 * way / np.linalg.norm(way)))


def floating(pair, way):
    """The pair with its right hand moved away along its ray, out of the other, by ``way`` metres."""
    ray = pair.wrists[Side.RIGHT] / np.linalg.norm(pair.wrists[Side.RIGHT])
    moves = [dataclasses.replace(pair, wrists=pair.wrists + np.outer([0.0, s * way], ray)) for s in (-1.0, 1.0)]
    return max(moves, key=gap)


def test_hands_that_float_in_front_of_each_other_are_drawn_together_along_the_ray(pairs):
    taken_apart = separation.Separation(MODEL)
    drawn_together = 0
    for pair in pairs:
        apart = floating(pair, 0.015)
        if not gap(apart) > 0.005 or depth(apart) > 0.0:
            continue
        certain = uncertainty(apart, (0.01, 0.03))
        pose = CHAIN.pose(apart)

        def told(most, pose=pose, certain=certain):
            moved_pose = taken_apart.close_gap(pose, certain, most)
            return CHAIN.pair(moved_pose, forward(CHAIN.template, moved_pose))

        near = told(0.25)
        moves = near.wrists - apart.wrists
        if not moves.any():
            continue  # the hands are side by side: along the ray they would never meet
        drawn_together += 1
        assert gap(near) < 0.005 and depth(near) < 0.003
        for side in Side:  # along its ray, by its share of the variance
            assert np.linalg.norm(np.cross(moves[side], apart.wrists[side])) < 1e-9
        assert np.linalg.norm(moves[1]) == pytest.approx(9.0 * np.linalg.norm(moves[0]))
        way = np.linalg.norm(moves, axis=1).sum()
        np.testing.assert_allclose(told(4.0 / 3.0 * way).wrists - apart.wrists, 0.5 * moves, atol=1e-9)
        np.testing.assert_allclose(told(way).wrists, apart.wrists, atol=1e-9)
    assert drawn_together > 5


def test_hands_that_touch_are_not_drawn_anywhere(pairs):
    taken_apart = separation.Separation(MODEL)
    touching = [pair for pair in pairs if gap(pair) < 0.004]
    assert len(touching) > 10
    for pair in touching:
        pose = CHAIN.pose(pair)
        assert taken_apart.close_gap(pose, uncertainty(pair), 0.1) is pose


@pytest.mark.parametrize("seconds", [1 / 30, 1.0])
def test_in_a_stream_a_prior_says_gradually_what_it_says_of_a_picture(pairs, seconds):
    truth = pairs[0]
    apart = four_centimetres_apart(truth)
    certain = uncertainty(apart)
    picture = joints(Refiner(MODEL, Known(truth))(apart, certain, 8).pair)
    stream, errors = Stream(Refiner(MODEL, Known(truth))), []
    for frame in range(31):
        told = stream(apart, certain, seconds * frame)
        errors.append(np.abs(joints(told) - picture).max())
    assert errors[0] > 0.01 and errors[-1] < 0.002
    assert (np.diff(errors) < 1e-3).all()
    assert (errors[1] < 0.002) == (seconds == 1.0)


def test_a_prior_brings_hands_together_as_far_as_they_meet_in_the_image(pairs):
    truth = pairs[0]
    apart = four_centimetres_apart(truth)
    errors = []
    for overlap in (0.0, 0.1, 0.5):
        prior = Known(truth)
        result = Refiner(MODEL, prior)(apart, uncertainty(apart, overlap=overlap), 8).pair
        assert (result is apart) == (overlap == 0.0) == (not prior.times)
        errors.append(np.linalg.norm(np.diff(result.wrists, axis=0) - np.diff(truth.wrists, axis=0)))
    assert errors[0] > 1.5 * errors[1] and errors[1] > 2.0 * errors[2] and errors[2] < 0.005


@pytest.mark.parametrize("way", [1.0, 2.5])
def test_a_prior_does_not_move_the_hands_of_two_people(pairs, way):
    """Hands that overlap in the image, one far behind the other."""
    pair = pairs[0]
    farther = pair.wrists[1] * (1.0 + way / np.linalg.norm(pair.wrists[1]))
    two_people = dataclasses.replace(pair, wrists=np.stack([pair.wrists[0], farther]))
    prior = Known(pair)
    result = Refiner(MODEL, prior)(two_people, uncertainty(two_people), 8)
    assert result.pair is two_people and not prior.times


def test_a_prior_that_contradicts_the_estimate_by_many_sigmas_changes_nothing(pairs):
    pair = pairs[0]
    farther = pair.wrists[1] * (1.0 + 0.5 / np.linalg.norm(pair.wrists[1]))
    apart = dataclasses.replace(pair, wrists=np.stack([pair.wrists[0], farther]))
    for stddev, moved in ((0.02, False), (0.3, True)):
        prior = Known(pair)
        result = Refiner(MODEL, prior)(apart, uncertainty(apart, (stddev, stddev)), 8).pair
        assert prior.times and (np.abs(result.wrists - apart.wrists).max() > 0.1) == moved


def test_mirrored_hands_give_the_mirrored_result_with_a_prior(pairs):
    refiner = Refiner(MODEL, Denoiser(bundled_network("refiner", "small")))
    for estimate in (next(bad for bad in (pushed(pair, 0.006) for pair in pairs) if bad is not None), pairs[3]):
        certain = uncertainty(estimate, (0.01, 0.03))
        good = refiner(estimate, certain, 8).pair
        other = refiner(estimate.mirrored(), dataclasses.replace(flipped(certain), overlap=certain.overlap), 8).pair
        assert np.abs(joints(good) - joints(estimate)).max() > 0.0005
        np.testing.assert_allclose(joints(other.mirrored()), joints(good), atol=1e-4)
