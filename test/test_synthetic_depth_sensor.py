"""The noise model of a depth camera."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros import Camera
from hand_recon_ros.synthetic.depth_sensor import SIGMA, sensed_depth, with_wall

CAMERA = Camera.from_fov(640, 480, 60.0)


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_noise_grows_with_the_square_of_the_distance(distance: float) -> None:
    depth = np.full((480, 640), distance, dtype=np.float32)
    sensed = sensed_depth(depth, CAMERA, np.random.default_rng(1))
    known = np.isfinite(sensed)
    assert 0.97 < known.mean() < 1.0, "some spots have no depth"
    error = (sensed - depth)[known]
    assert abs(error.mean()) < 1e-3
    assert error.std() == pytest.approx(SIGMA * distance**2, rel=0.15)
    np.testing.assert_allclose(sensed[known] * 1e3, np.rint(sensed[known] * 1e3), atol=1e-3)


def test_edges_have_holes_and_a_shadow_to_their_left() -> None:
    depth = np.full((480, 640), 1.5, dtype=np.float32)
    depth[100:300, 200:400] = 0.5
    sensed = sensed_depth(depth, CAMERA, np.random.default_rng(1))
    width = round(CAMERA.K[0, 0] * 0.05 * (1.0 / 0.5 - 1.0 / 1.5))
    assert np.isnan(sensed[110:290, 200 - width + 2 : 198]).mean() > 0.95
    assert np.isnan(sensed[110:290, 150 - width : 200 - width - 4]).mean() < 0.05
    assert 0.5 < np.isnan(sensed[110:290, 400]).mean() < 0.9
    assert np.isnan(sensed[110:290, 404:600]).mean() < 0.05
    assert np.isnan(sensed[110:290, 210:390]).mean() < 0.05


def test_the_wall_is_behind_everything_and_the_same_generator_gives_the_same_image() -> None:
    depth = np.full((480, 640), np.inf, dtype=np.float32)
    depth[200:220, 200:220] = 0.6
    depth[300:320, 200:220] = 0.8
    full = with_wall(depth)
    assert full[0, 0] == pytest.approx(1.1) and full[210, 210] == pytest.approx(0.6)
    assert np.isfinite(with_wall(np.full((480, 640), np.inf, dtype=np.float32))).all()
    again = [sensed_depth(full, CAMERA, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*again)
