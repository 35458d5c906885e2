"""Prior maps of either side: positions, symmetry, and the errors of corrupted maps."""

import numpy as np
import pytest

from hand_recon_ros import Camera, Side
from hand_recon_ros.datasets.priors import (
    CHANNELS,
    DEPTH,
    GRID,
    KEYPOINTS,
    SEGMENTATION,
    CorruptedPriors,
    SceneTruth,
    exact_priors,
)
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.landmarks.observation import RotatedBox

CAMERA = Camera.from_fov(200, 160, 60.0)


def scene(mirrored=False):
    """A left hand (a square) on the left of the image, nearer than a right hand on its right."""
    labels, depth = np.zeros((160, 200), np.uint8), np.full((160, 200), np.inf, np.float32)
    labels[40:80, 30:70], depth[40:80, 30:70] = 1, 0.4
    labels[60:100, 90:130], depth[60:100, 90:130] = 2, 0.5
    keypoints = np.stack([np.full((21, 2), (50.0, 60.0)), np.full((21, 2), (110.0, 80.0))])
    keypoints[:, 1] += (10.0, -5.0)
    if mirrored:
        swap = np.array([0, 2, 1, 3], np.uint8)
        keypoints = keypoints[::-1] * (-1.0, 1.0) + (199.0, 0.0)
        return SceneTruth(keypoints, swap[labels[:, ::-1]].copy(), depth[:, ::-1].copy())
    return SceneTruth(keypoints, labels, depth)


def test_maps_have_hands_and_keypoints_at_their_positions():
    frame = CropFrame(RotatedBox((110.0, 80.0), 112.0), Side.RIGHT, CAMERA)
    maps = exact_priors(frame, None, scene())
    assert maps.shape == (CHANNELS, GRID, GRID)
    # Cells are 4 px: the wrist is in the middle, keypoint 1 ten pixels right and five up of it.
    peak = np.unravel_index(maps[1].argmax(), maps[1].shape)
    assert (peak[1] - 13.5) == pytest.approx(10 / 4, abs=1.0) and (peak[0] - 13.5) == pytest.approx(-5 / 4, abs=1.0)
    other = np.unravel_index(maps[22].argmax(), maps[22].shape)
    assert (other[1] - 13.5) == pytest.approx(-50 / 4, abs=1.0)
    assert (other[0] - 13.5) == pytest.approx(-25 / 4, abs=1.0)
    own, others, rest = maps[SEGMENTATION]
    assert own[14, 14] == 1 and others[9, 1] == 1 and rest[26, 26] == 1
    np.testing.assert_allclose(maps[SEGMENTATION].sum(axis=0), 1.0, atol=1e-6)
    inverse, known = maps[DEPTH]
    assert inverse[9, 1] > inverse[14, 14] and known[14, 14] == 1 and known[26, 26] == 0


def test_maps_of_a_left_hand_are_those_of_its_mirror_image():
    right = CropFrame(RotatedBox((110.0, 80.0), 100.0, 0.3), Side.RIGHT, CAMERA)
    left = CropFrame(RotatedBox((199.0 - 110.0, 80.0), 100.0, -0.3), Side.LEFT, CAMERA)
    a, b = exact_priors(right, None, scene()), exact_priors(left, None, scene(mirrored=True))
    np.testing.assert_allclose(b, a, atol=1e-4)
    image = np.random.default_rng(0).integers(0, 255, (160, 200, 3), dtype=np.uint8)
    a, b = right.cut(image, 64), left.cut(np.ascontiguousarray(image[:, ::-1]), 64)
    difference = np.abs(a.astype(int) - b)
    assert difference.max() <= 16 and difference.mean() < 1  # OpenCV interpolates in steps of 1/32 pixel on each axis


@pytest.mark.parametrize("side", Side)
def test_crops_are_centred(side):
    """A disc around the middle of the crop is in the middle of the crop, the maps and the classes."""
    y, x = np.mgrid[:160, :200]
    disc = (x - 100) ** 2 + (y - 80) ** 2 < 30**2
    frame = CropFrame(RotatedBox((100.0, 80.0), 101.7), side, CAMERA)
    labels = np.where(disc, 1 + int(side), 0).astype(np.uint8)
    truth = SceneTruth(np.full((2, 21, 2), np.nan), labels, np.where(disc, 0.5, np.inf).astype(np.float32))
    maps = exact_priors(frame, None, truth)
    shown = frame.cut(np.repeat(255 * disc[..., None].astype(np.uint8), 3, axis=2), GRID)[..., 0]
    for cells in (maps[SEGMENTATION][0], maps[DEPTH][1], shown / 255.0):
        middle = [(cells.sum(axis=axis) * (np.arange(GRID) - 13.5)).sum() / cells.sum() for axis in range(2)]
        np.testing.assert_allclose(middle, 0.0, atol=0.05)


def test_errors_of_corrupted_maps_grow_with_their_strength():
    frame = CropFrame(RotatedBox((110.0, 80.0), 112.0), Side.RIGHT, CAMERA)
    exact = exact_priors(frame, None, scene())
    error = []
    for strength in (0.0, 0.5, 1.0):
        corrupted = CorruptedPriors(np.random.default_rng(0), strength)
        maps = np.stack([corrupted(frame, None, scene()) for _ in range(30)])
        assert np.isfinite(maps).all()
        error.append(np.abs(maps - exact).mean())
    assert error[0] < 1e-3 < error[1] < error[2]


def test_maps_without_hands_are_finite_and_empty():
    empty = SceneTruth(np.full((2, 21, 2), np.nan), np.zeros((160, 200), np.uint8), np.full((160, 200), np.inf))
    maps = exact_priors(CropFrame(RotatedBox((50.0, 50.0), 80.0), Side.LEFT, CAMERA), None, empty)
    assert np.isfinite(maps).all() and not maps[KEYPOINTS].any() and not maps[DEPTH].any()
