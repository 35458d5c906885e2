"""Samples as compressed arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hand_recon_ros.camera import Camera
from hand_recon_ros.datasets.sample_files import pack, unpack
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.sample_stream import SampleStream


@pytest.fixture(scope="module")
def stream():
    return SampleStream("val", 0, load_hand_model())


def test_a_sample_comes_back_from_a_file(tmp_path, stream):
    sample = dataclasses.replace(stream[3], name="synthetic/ä/3")
    assert sample.present.any() and np.isinf(sample.depth).any()
    np.savez(tmp_path / "sample.npz", **pack(sample))
    assert (tmp_path / "sample.npz").stat().st_size < 150_000
    with np.load(tmp_path / "sample.npz") as arrays:
        again = unpack(arrays)
    for field in dataclasses.fields(sample):
        value, other = getattr(sample, field.name), getattr(again, field.name)
        if isinstance(value, Camera):
            for part in ("K", "D"):
                np.testing.assert_array_equal(getattr(value, part), getattr(other, part))
            assert (value.width, value.height, value.distortion_model) == (
                other.width, other.height, other.distortion_model,
            )  # fmt: skip
        elif field.name == "image":
            assert value.shape == other.shape and value.dtype == other.dtype
            assert np.abs(value.astype(int) - other).mean() < 4
        elif field.name == "depth":
            np.testing.assert_array_equal(np.isinf(value), np.isinf(other))
            near = np.isfinite(value)
            np.testing.assert_allclose(other[near], value[near], atol=0.6e-4)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other)
            assert value.dtype == other.dtype
        else:
            assert value == other and type(value) is type(other)


def test_the_lens_is_kept(stream):
    camera = Camera(np.array([[300.0, 0, 160], [0, 310, 120], [0, 0, 1]]), 320, 240, "equidistant", [0.1, -0.02, 0, 0])
    again = unpack(pack(dataclasses.replace(stream[0], frame_camera=camera)))
    np.testing.assert_array_equal(again.frame_camera.D, camera.D)
    assert again.frame_camera.distortion_model == "equidistant"
