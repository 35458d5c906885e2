"""Hands of known size: the prior by a length, learning a shape from images, and the file that keeps it."""

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, MODEL, hand, observe

from hand_recon_ros import ScaleSource, Side
from hand_recon_ros.config import ConfigError, ReconstructorConfig, checked
from hand_recon_ros.lift.hand_calibration import (
    HandCalibration,
    HandShape,
    check_length,
    known_shapes,
    read_shapes,
    write_shapes,
)
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.lift.shape_prior import ShapePrior, hand_length

SHAPE = HandShape(np.linspace(-1.0, 1.0, 10), 0.01 * np.eye(10), 0.2, 0.002)


def prior_of(length, side=Side.RIGHT):
    return ShapePrior.population().with_length(MODEL.kinematics(side), length)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("length", [0.15, 0.17, 0.19, 0.21, 0.23])
def test_a_known_length_moves_the_mean_hand_and_leaves_its_variation(side, length):
    prior = prior_of(length, side)
    assert hand_length(MODEL.kinematics(side), prior.mean)[0] == pytest.approx(length, abs=1e-5)
    np.testing.assert_allclose(prior.information, ShapePrior.population().information)
    assert prior.length == length


def test_the_length_is_that_of_the_bones_and_has_their_uncertainty():
    kinematics, betas = MODEL.kinematics(Side.RIGHT), np.linspace(-0.7, 0.9, 10)
    keypoints = kinematics.rest_keypoints(betas)[[0, 9, 10, 11, 12]]
    length, none = hand_length(kinematics, betas)
    assert length == pytest.approx(np.linalg.norm(np.diff(keypoints, axis=0), axis=-1).sum()) and none == 0.0
    rng = np.random.default_rng(0)
    lengths = [hand_length(kinematics, betas + 0.3 * rng.normal(size=10))[0] for _ in range(2000)]
    assert hand_length(kinematics, betas, 0.09 * np.eye(10))[1] == pytest.approx(np.std(lengths), rel=0.06)


def test_a_hand_of_known_size_is_farther_away_where_it_is_larger():
    """With the encoder's distance, which is that of a medium hand, and with the landmarks alone."""
    _, _, _, keypoints = hand(1, Side.RIGHT)
    observation = observe(keypoints, Side.RIGHT)
    small, large = (Lifter(MODEL)([observation], CAMERA, [prior_of(length)])[0] for length in (0.17, 0.21))
    ratio = np.linalg.norm(large.keypoints[0]) / np.linalg.norm(small.keypoints[0])
    assert ratio == pytest.approx(0.21 / 0.17, rel=0.03)
    assert large.scale_source == ScaleSource.CALIBRATED
    (unknown,) = Lifter(MODEL)([observation], CAMERA)
    assert unknown.scale_source == ScaleSource.PRIOR


def test_what_was_learnt_is_forgotten_towards_the_known_shape():
    _, _, _, keypoints = hand(2, Side.RIGHT)
    lifter, start = Lifter(MODEL), prior_of(0.21)
    prior = start
    for _ in range(30):
        (solved,) = lifter([observe(keypoints, Side.RIGHT)], CAMERA, [prior])
        prior = prior.updated(solved, 0.1)
    assert np.abs(prior.mean - start.mean).max() > 0.1
    assert prior.length == 0.21
    none = dataclasses.replace(solved, betas=prior.mean, betas_covariance=np.linalg.inv(prior.information))
    later = prior.updated(none, 1e3)  # an image that adds nothing, after a long time
    np.testing.assert_allclose(later.mean, start.mean, atol=1e-6)
    np.testing.assert_allclose(later.information, start.information, atol=1e-6)


def calibrated(betas, length=0.0, images=40, **changes):
    """The result of a calibration with hands of this shape in several poses."""
    calibration, lifter = HandCalibration(Side.RIGHT, images), Lifter(MODEL, iterations=8)
    prior = ShapePrior.population() if length == 0.0 else prior_of(length)
    for number in range(images + 5):
        rotations, _, translation, _ = hand(number % 8, Side.RIGHT)
        keypoints, _ = MODEL.kinematics(Side.RIGHT).forward(rotations, betas, translation)
        (solved,) = lifter([observe(keypoints, Side.RIGHT)], CAMERA, [prior])
        calibration.add(prior, dataclasses.replace(solved, **changes), 1.0, 1.0)
        assert calibration.images == min(number + 1, images)
        prior = prior.updated(solved, 1.0)
    assert calibration.done
    return calibration.result(MODEL, length)


def test_a_calibration_learns_the_shape_of_a_hand_and_keeps_a_measured_length():
    betas = np.zeros(10)
    betas[0], betas[1] = 1.2, -1.0
    true, _ = hand_length(MODEL.kinematics(Side.RIGHT), betas)
    shape = calibrated(betas, round(true, 3))
    assert shape.length == round(true, 3) and shape.length_stddev == pytest.approx(0.002)
    template = MODEL.kinematics(Side.RIGHT).rest_keypoints
    found, expected, mean = template(shape.betas), template(betas), template(np.zeros(10))
    errors = [np.linalg.norm((each - each[0]) - (expected - expected[0]), axis=-1).mean() for each in (found, mean)]
    assert errors[0] < 0.4 * errors[1], errors


def test_without_a_length_the_size_is_known_only_by_depth_images():
    """To that of the population, 12 mm."""
    shape = calibrated(np.zeros(10), images=5)
    assert shape.length == pytest.approx(0.19, abs=0.004) and shape.length_stddev == pytest.approx(0.012, abs=0.001)
    assert calibrated(np.zeros(10), images=5, scale_source=ScaleSource.DEPTH).length_stddev < 0.006


@pytest.mark.parametrize("length", [0.1, 0.3, -0.2, float("nan")])
def test_lengths_that_no_hand_has_are_refused(length):
    with pytest.raises(ValueError, match=r"hand length of .* cannot be used: expected 0.15 to 0.23 m"):
        check_length(length)
    check_length(0.0)


@pytest.mark.parametrize(("length", "text"), [(0.1, "at least 0.15 m"), (0.25, "0.23"), (-0.1, "hand_length")])
def test_so_are_they_as_a_setting(length, text):
    with pytest.raises(ConfigError, match=text):
        checked(ReconstructorConfig, {"hand_length": length})


def test_shapes_are_kept_in_a_file(tmp_path):
    path = tmp_path / "users" / "ann.yaml"
    assert read_shapes(path, MODEL) == {}
    write_shapes(path, MODEL, {Side.LEFT: SHAPE})
    (kept,) = read_shapes(path, MODEL).items()
    assert kept[0] == Side.LEFT and kept[1].length == 0.2
    np.testing.assert_allclose(kept[1].betas, SHAPE.betas, atol=1e-4)
    np.testing.assert_allclose(kept[1].covariance, SHAPE.covariance, atol=1e-8)
    assert [each.name for each in path.parent.iterdir()] == ["ann.yaml"]


GOOD = "betas: [0,0,0,0,0,0,0,0,0,0], length: 0.19, length_stddev: 0.01"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[1, 2]", "it has no hand_model"),
        ("hand_model: [", "not YAML"),
        ("hand_model: 2001-02-30", "not YAML"),
        ("hand_model: MANO", "of the hand model MANO, not .*: calibrate again"),
        (f"hand_model: {MODEL.name}\nleft: 3", "not a calibration of hands"),
        (f"hand_model: {MODEL.name}\nleft: {{betas: [1], covariance: [[1]], length: 1, length_stddev: 1}}", "expected"),
        (f"hand_model: {MODEL.name}\nleft: {{{GOOD}}}", "covariance"),
        (f"hand_model: {MODEL.name}\nleft: {{{GOOD}, covariance: {np.zeros((10, 10)).tolist()}}}", "definite"),
        (f"hand_model: {MODEL.name}\nleft: {{{GOOD}, covariance: {(-np.eye(10)).tolist()}}}", "definite"),
    ],
)
def test_other_files_are_refused(tmp_path, content, text):
    path = tmp_path / "hands.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"hand_calibration: .*hands.yaml: .*{text}"):
        read_shapes(path, MODEL)


def test_a_calibration_goes_before_a_length_and_holds_for_both_hands():
    config = ReconstructorConfig(hand_length=0.18)
    assert {prior.length for prior in known_shapes(config, {}, MODEL).values()} == {0.18}
    priors = known_shapes(config, {Side.LEFT: SHAPE}, MODEL)
    assert {prior.length for prior in priors.values()} == {0.2}
    other = dataclasses.replace(SHAPE, length=0.21)
    priors = known_shapes(config, {Side.LEFT: SHAPE, Side.RIGHT: other}, MODEL)
    assert [priors[side].length for side in Side] == [0.2, 0.21]
    assert known_shapes(ReconstructorConfig(), {}, MODEL)[Side.LEFT].known is None
