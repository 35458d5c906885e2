"""Depth images that come and go: what a track remembers of their correction, and its filter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, MODEL, hand, observe

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.skeleton import WRIST
from hand_recon_ros.track.depth_memory import DepthMemory
from hand_recon_ros.track.hand_track import HandTrack
from hand_recon_ros.types import ScaleSource

CORRECTION = np.array([0.003, -0.002, 0.04])


@pytest.fixture(scope="module")
def plain():
    """A hand by the image alone."""
    *_, keypoints = hand(1)
    return Lifter(MODEL)([observe(keypoints, Side.RIGHT)], CAMERA)[0]


@pytest.fixture(scope="module")
def fitted(plain):
    """The same after a depth image has moved it by CORRECTION."""
    return dataclasses.replace(
        plain,
        keypoints=plain.keypoints + CORRECTION,
        translation=plain.translation + CORRECTION,
        position_stddev=0.003,
        scale_source=ScaleSource.DEPTH,
        image_wrist=plain.keypoints[WRIST],
    )


def test_a_correction_decays_and_its_uncertainty_grows(plain, fitted):
    memory = DepthMemory.of(fitted, 10.0)
    assert DepthMemory.of(plain, 10.0) is None
    shares, stddevs = [], []
    for time in (10.0, 10.033, 10.2, 11.0, 12.0):
        moved = memory.applied(plain, time)
        shift = moved.keypoints - plain.keypoints
        np.testing.assert_allclose(shift, np.tile(shift[0], (21, 1)))
        np.testing.assert_allclose(moved.translation - plain.translation, shift[0])
        shares.append(shift[0] @ CORRECTION / (CORRECTION @ CORRECTION))
        stddevs.append(moved.position_stddev)
    np.testing.assert_allclose(shares, np.exp(-np.array([0.0, 0.033, 0.2, 1.0, 2.0]) / 0.7), rtol=1e-6)
    assert stddevs[0] == pytest.approx(0.003, rel=1e-6)
    assert np.all(np.diff(stddevs) > 0.0) and stddevs[-1] <= plain.position_stddev
    assert memory.applied(plain, 10.033).scale_source == ScaleSource.DEPTH
    assert memory.applied(plain, 11.0).scale_source == ScaleSource.PRIOR
    assert memory.applied(plain, 20.0) is plain
    assert memory.applied(fitted, 10.0) is fitted


def track_of(observed):
    track = HandTrack(Side.RIGHT)
    track.begin(1)
    track.observation = observed
    return track


def test_neither_wrist_nor_velocity_jump_when_depth_comes_and_goes(plain, fitted):
    """A hand at rest: depth for a second, then none, then again."""
    *_, keypoints = hand(1)
    track, config = track_of(observe(keypoints, Side.RIGHT)), ReconstructorConfig()
    wrists, speeds = [], []
    for frame in range(120):
        time, with_depth = frame / 30.0, 30 <= frame < 60 or frame >= 90
        lifted = fitted if with_depth else plain
        if track.depth is not None:
            lifted = track.depth.applied(lifted, time)
        wrist, _ = track.measure(lifted, time, 1.0 / 30.0, config)
        wrists.append(wrist)
        speeds.append(np.linalg.norm(track.filter.velocity))
    steps = np.linalg.norm(np.diff(wrists, axis=0), axis=1)
    true = fitted.keypoints[WRIST]
    np.testing.assert_allclose(wrists[30], true, atol=1e-9, err_msg="the first depth image counts in full")
    assert steps[29] == pytest.approx(np.linalg.norm(CORRECTION), rel=1e-6)
    assert np.delete(steps, [29, 89]).max() < 0.003, "it decays, and does not jump, when depth goes"
    assert steps[89] < np.linalg.norm(CORRECTION)
    assert max(speeds) < 0.06, "corrections are not taken for motion"
    np.testing.assert_allclose(wrists[-1], true, atol=1e-3)


def test_single_missing_depth_images_are_hardly_noticed(plain, fitted):
    *_, keypoints = hand(1)
    track, config = track_of(observe(keypoints, Side.RIGHT)), ReconstructorConfig(smoothing_cutoff=0.0)
    wrists = []
    for frame in range(30):
        lifted = plain if frame % 5 == 4 else fitted
        if track.depth is not None:
            lifted = track.depth.applied(lifted, frame / 30.0)
        wrists.append(track.measure(lifted, frame / 30.0, 1.0 / 30.0, config)[0])
    assert np.linalg.norm(np.diff(wrists, axis=0), axis=1).max() < 0.05 * np.linalg.norm(CORRECTION) + 1e-3


def test_a_new_hand_has_no_memory(fitted):
    *_, keypoints = hand(1)
    track = track_of(observe(keypoints, Side.RIGHT))
    track.measure(fitted, 0.0, 1.0 / 30.0, ReconstructorConfig())
    assert track.depth is not None
    track.begin(2)
    assert track.depth is None
