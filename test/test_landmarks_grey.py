"""Crops that the landmark network evaluates without their colours, as mirror images, or both."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.landmarks.crops import crop
from hand_recon_ros.landmarks.landmarks import read_landmarks
from hand_recon_ros.landmarks.observation import RotatedBox

IMAGE = cv2.resize(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8), (320, 240))
ROIS = [RotatedBox((60.0 + 40 * i, 120.0), 90.0, 0.3 * i) for i in range(5)]
ON_AND_OFF = [False, True, True, False, True]


class RecordingSession:
    """A landmark network with inputs for two crops that keeps those it was run on."""

    size = 32

    def __init__(self) -> None:
        self.inputs = np.zeros((2, self.size, self.size, 3), np.uint8)
        self.runs: list[int] = []
        self.seen: list[np.ndarray] = []

    def run(self, count=1, fill=None, features=True):
        for index in range(count):
            fill(index)
        self.runs.append(count)
        self.seen += list(self.inputs[:count].copy())
        return [(np.zeros(63), np.array([0.9]), np.array([0.8]), np.zeros(63))] * count


@pytest.mark.parametrize("mirrored", [False, True, ON_AND_OFF[::-1]], ids=["plain", "mirrored", "each"])
@pytest.mark.parametrize("grey", [False, True, ON_AND_OFF], ids=["colour", "grey", "each"])
def test_each_crop_is_evaluated_with_its_colours_or_as_its_luminance(mirrored, grey):
    session, before = RecordingSession(), IMAGE.copy()
    found = read_landmarks(session, IMAGE, ROIS, mirrored, grey)
    assert session.runs == [2, 2, 1] and [hand.roi for hand in found] == ROIS
    of_each = [[flag] * len(ROIS) if isinstance(flag, bool) else flag for flag in (mirrored, grey)]
    assert [[hand.mirrored for hand in found], [hand.grey for hand in found]] == of_each
    for seen, roi, flipped, colourless in zip(session.seen, ROIS, *of_each, strict=True):
        expected = crop(IMAGE, roi, np.empty((32, 32, 3), np.uint8))[:, :: -1 if flipped else 1]
        assert np.ptp(expected.astype(int), axis=-1).max() > 50
        if colourless:
            expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=-1)
        np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(IMAGE, before)


def test_the_networks_pass_on_which_crops_are_without_colours():
    session = RecordingSession()
    found = HandNetworks(palm=session, landmark=session).read(IMAGE, ROIS, grey=ON_AND_OFF)
    assert [hand.grey for hand in found] == [not np.ptp(seen, axis=-1).any() for seen in session.seen] == ON_AND_OFF
    with pytest.raises(ValueError):
        read_landmarks(session, IMAGE, ROIS, grey=[True])
