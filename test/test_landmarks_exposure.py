"""Dark images are brightened, those in one channel become grey, others stay as they are; nothing changes abruptly."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros.landmarks.exposure import brightened, in_grey, normalised


def scene(bright):
    """A smooth image whose bright parts have about a given value."""
    x = np.linspace(0, 1, 320)
    return (
        np.rint(np.stack(np.broadcast_arrays(x, x**2, x[::-1] * 0.2), axis=-1) * bright)
        .astype(np.uint8)[None]
        .repeat(240, axis=0)
    )


@pytest.mark.parametrize("image", [scene(250), scene(140), np.full((120, 160, 3), 200, np.uint8)])
def test_other_images_are_not_copied(image):
    assert brightened(image) is image


@pytest.mark.parametrize("bright", [35, 60, 100])
def test_the_bright_parts_of_a_dark_image_get_the_same_value(bright):
    dark = scene(bright)
    before = dark.copy()
    image = brightened(dark)
    assert image.shape == dark.shape and image.dtype == np.uint8
    assert np.quantile(image.max(axis=-1), 0.95) == pytest.approx(130, abs=5)
    np.testing.assert_array_equal(dark, before)
    # Brighter pixels stay brighter.
    order = np.argsort(dark[0, :, 0], kind="stable")
    assert (np.diff(image[0, order, 0].astype(int)) >= 0).all()


def test_a_light_that_is_switched_off_slowly_changes_nothing_abruptly():
    images = [brightened(scene(bright)).astype(float).mean() for bright in range(200, 20, -1)]
    assert np.abs(np.diff(images)).max() < 4


def test_a_black_image_stays_nearly_black():
    assert brightened(np.zeros((90, 60, 3), np.uint8)).max() == 0
    assert brightened(np.full((90, 60, 3), 1, np.uint8)).max() < 60


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("rest", [0.0, 0.3])
def test_a_picture_in_one_channel_becomes_grey(channel, rest):
    grey = scene(250)[..., 0]
    image = np.rint(grey[..., None] * np.where(np.arange(3) == channel, 1.0, rest)).astype(np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(normalised(image), np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(image, before)


def test_coloured_and_black_pictures_stay_as_they_are():
    for image in (scene(250), np.zeros((90, 60, 3), np.uint8), np.full((90, 60, 3), (40, 90, 60), np.uint8)):
        assert in_grey(image) is image
