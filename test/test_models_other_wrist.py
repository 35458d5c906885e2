"""The vector to the other wrist, from both crops, against the renderer's ground truth."""

import math

import numpy as np
import torch

from hand_recon_ros.datasets.crops import sample_crops
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.models.other_wrist import to_other_wrist
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.types import Camera, Side

CAMERA = Camera(K=np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]]), width=640, height=480)


def predicted(frames, wrists):
    """Vectors between wrists (2, 3), metres in the camera frame, from their two crops."""
    keypoints_2d = np.stack(
        [frame.pixels_in(CAMERA.project(wrist)) for frame, wrist in zip(frames, wrists, strict=True)]
    )
    widths = [math.log(frame.width_at(wrist)) for frame, wrist in zip(frames, wrists, strict=True)]
    rays = np.stack([frame.ray_features for frame in frames])
    pairs = np.stack([frames[i].pair_features(frames[1 - i]) for i in range(2)])
    inputs = (torch.tensor(np.array(part), dtype=torch.float64)[None] for part in (keypoints_2d, widths, rays, pairs))
    return to_other_wrist(*inputs)[0].numpy()


def test_rotated_crops_in_the_middle_of_the_image():
    wrists = np.array([[-0.03, 0.02, 0.62], [0.04, -0.01, 0.48]])
    frames = [
        CropFrame(RotatedBox((300.0, 250.0), 150.0, 0.7), Side.LEFT, CAMERA),
        CropFrame(RotatedBox((355.0, 228.0), 210.0, -0.4), Side.RIGHT, CAMERA),
    ]
    expected = [frames[i].points_in(wrists[1 - i]) - frames[i].points_in(wrists[i]) for i in range(2)]
    np.testing.assert_allclose(predicted(frames, wrists), expected, atol=0.002)


def test_vectors_of_samples_from_true_keypoints_and_widths():
    """Also far from the middle of the image."""
    stream = SampleStream("val", 5, load_hand_model())
    errors = []
    for number in range(40):
        sample = stream[number]
        if sample.present.all():
            arrays = sample_crops(sample, np.random.default_rng(number), distractors=False).arrays
            inputs = (torch.tensor(arrays[name])[None] for name in ("keypoints_2d", "log_crop_width", "rays", "pairs"))
            keypoints_2d, width, rays, pairs = inputs
            found = to_other_wrist(keypoints_2d[..., 0, :], width, rays, pairs)[0].numpy()
            errors.extend(np.linalg.norm(found - arrays["to_other"], axis=-1) / np.linalg.norm(arrays["to_other"]))
    assert len(errors) >= 20
    assert np.median(errors) < 0.05
    assert np.quantile(errors, 0.9) < 0.2


def test_swapped_crops_have_swapped_vectors():
    generator = torch.Generator().manual_seed(3)
    wrists, width = torch.randn(4, 2, 2, generator=generator) * 0.2, torch.randn(4, 2, generator=generator) * 0.2 - 1.4
    rays, pairs = torch.randn(4, 2, 5, generator=generator) * 0.3, torch.randn(4, 2, 5, generator=generator) * 0.3
    inputs = wrists, width, rays, pairs
    swapped = to_other_wrist(*(part.flip(1) for part in inputs)).flip(1)
    torch.testing.assert_close(swapped, to_other_wrist(*inputs))
