"""The pipeline with depth images, and a scripted locator."""

import numpy as np
import pytest
from evidence import CAMERA, MODEL, hand, observe
from scripted_pipeline import IMAGE, Script, reconstructor

from hand_recon_ros import ScaleSource, Side
from hand_recon_ros.synthetic.rasterizer import rasterize


@pytest.fixture
def script():
    return Script()


def depth_of(side, seed):
    rotations, betas, translation, keypoints = hand(seed, side)
    vertices = MODEL.mesh(side, rotations, betas, translation)
    return keypoints, np.minimum(rasterize(vertices, MODEL.faces(side), CAMERA).depth, np.float32(1.2))


@pytest.mark.parametrize("side", Side)
def test_a_depth_image_gives_scale_and_position(script, side):
    keypoints, depth = depth_of(side, 4)
    script(observe(keypoints, side))
    result = reconstructor(script)
    plain, (with_depth, after) = (
        result.reconstruct_image(IMAGE, CAMERA).hand(side),
        [estimate.hand(side) for estimate in (
            result(IMAGE, CAMERA, stamp=1.0, depth=depth), result.reconstruct_image(IMAGE, CAMERA, depth),
        )],
    )  # fmt: skip
    assert plain.scale_source == ScaleSource.PRIOR
    for found in (with_depth, after):
        assert found.scale_source == ScaleSource.DEPTH
        assert 0.0 < found.position_stddev < plain.position_stddev
        assert np.linalg.norm(found.joints[0] - keypoints[0]) < 0.005
    unknown = np.where(np.arange(480)[:, None] % 2 == 0, 0.0, np.inf) * np.ones((1, 640))
    result.reset()
    assert result(IMAGE, CAMERA, stamp=2.0, depth=unknown).hand(side).scale_source == ScaleSource.PRIOR


def test_a_hand_does_not_jump_when_depth_images_end(script):
    keypoints, depth = depth_of(Side.RIGHT, 5)
    script(observe(keypoints, Side.RIGHT))
    result = reconstructor(script)
    wrists, stddevs = [], []
    for frame in range(40):
        right = result(IMAGE, CAMERA, stamp=frame / 30.0, depth=depth if frame < 20 else None).right
        wrists.append(right.joints[0])
        stddevs.append(right.position_stddev)
    assert np.linalg.norm(np.diff(wrists[5:], axis=0), axis=1).max() < 0.003
    assert np.all(np.diff(stddevs[20:]) > -1e-6) and stddevs[-1] > 2.0 * stddevs[19]


@pytest.mark.parametrize(
    "depth", [np.zeros((480, 640), np.uint16), np.zeros((240, 320), np.float32), np.zeros((480, 640, 1)), [[1.0]]]
)
def test_depth_of_another_type_or_size_is_refused(script, depth):
    with pytest.raises(ValueError, match=r"depth must be floats of the image's size \(480, 640\), in metres"):
        reconstructor(script)(IMAGE, CAMERA, depth=depth)
