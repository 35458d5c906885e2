"""How much the encoder's predictions count beside the landmarks."""

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, hand, observe

from hand_recon_ros import Side
from hand_recon_ros.landmarks.observation import EncoderPrediction, RotatedBox
from hand_recon_ros.lift.evidence import gather

_SHIFT = np.array([6.0, -4.0])
"""By which predicted keypoints differ from the landmarks, pixels."""


def predicted(keypoints, side):
    """An observation of a hand and an encoder's prediction of it that is shifted in the image."""
    seen = observe(keypoints, side)
    extent = np.ptp(seen.keypoints_2d, axis=0).max()
    prediction = EncoderPrediction(
        presence=1.0, keypoints_2d=seen.keypoints_2d + _SHIFT, stddev_2d=np.full(21, 0.05 * extent),
        joints=keypoints - keypoints[0], wrist=keypoints[0], wrist_stddev=0.05, to_other=None,
        other_box=RotatedBox((0.0, 0.0), 1.0), other_visible=0.0,
    )  # fmt: skip
    return dataclasses.replace(seen, prediction=prediction)


def share(*observations):
    """The share of the prediction in the keypoints of the last hand."""
    moved = gather(observations, CAMERA).pixels[-1] - observations[-1].keypoints_2d
    shares = moved / _SHIFT
    assert np.ptp(shares) < 1e-9
    return float(shares.mean())


def beside(gap):
    """A left and a right hand with boxes that are so far apart, as a part of the larger hand's size."""
    keypoints = [hand(seed, side)[3] for seed, side in enumerate(Side)]
    keypoints = [each - each.mean(axis=0) + [0.0, 0.0, 0.6] for each in keypoints]
    pixels = [CAMERA.project(each) for each in keypoints]
    distance = pixels[0][:, 0].max() - pixels[1][:, 0].min() + gap * max(np.ptp(each, axis=0).max() for each in pixels)
    keypoints[1] = keypoints[1] + [distance * 0.6 / CAMERA.K[0, 0], 0.0, 0.0]
    return [predicted(each, side) for each, side in zip(keypoints, Side, strict=True)]


def test_the_encoder_counts_more_the_nearer_the_hands_are():
    apart, near, touching, covering = (beside(gap) for gap in (1.0, 0.15, 0.0, -0.5))
    alone = share(apart[-1])
    assert 0.0 < alone < 0.05
    assert share(*apart) == pytest.approx(alone)
    assert alone < share(*near) < share(*touching) < share(*covering)
    assert share(*covering) == pytest.approx(0.5, abs=0.1)


def test_a_prediction_without_presence_does_not_count():
    seen = beside(-0.5)
    absent = dataclasses.replace(seen[1], prediction=dataclasses.replace(seen[1].prediction, presence=0.0))
    assert share(seen[0], absent) == 0.0
