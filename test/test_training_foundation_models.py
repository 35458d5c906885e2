"""Foundation models as priors: tiny random ones, with their real pre- and post-processing, from local folders."""

import numpy as np
import pytest

from hand_recon_ros import Camera, Side
from hand_recon_ros.config import ConfigError, ReconstructorConfig
from hand_recon_ros.datasets.priors import DEPTH, GRID, KEYPOINTS, SEGMENTATION, SceneTruth
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.training.foundation_models import Depth, FoundationPriors, Segmentation

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A SAM and a Depth Anything with random weights in local folders."""
    import torch
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTImageProcessor,
        SamConfig,
        SamImageProcessor,
        SamModel,
        SamProcessor,
    )

    torch.manual_seed(0)
    sam, depth = tmp_path_factory.mktemp("sam"), tmp_path_factory.mktemp("depth")
    vision = {
        "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 128,
        "patch_size": 16, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 64, "num_pos_feats": 8,
    }  # fmt: skip
    prompt = {"hidden_size": 16, "image_size": 128, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
               "iou_head_hidden_dim": 16}  # fmt: skip
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(sam)
    processor = SamImageProcessor(
        size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}, mask_size={"longest_edge": 32},
        mask_pad_size={"height": 32, "width": 32},
    )  # fmt: skip
    SamProcessor(processor).save_pretrained(sam)
    backbone = Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=32,
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
            head_hidden_size=8,
            patch_size=14,
            reassemble_factors=[4, 2, 1, 0.5],
        )  # fmt: skip
    ).save_pretrained(depth)
    DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14).save_pretrained(depth)
    return sam, depth


@pytest.fixture(scope="module")
def provider(folders):
    networks = HandNetworks.load(ReconstructorConfig())
    return FoundationPriors(networks, Segmentation(folders[0]), Depth(folders[1]))


def scene():
    sample = SampleStream("val", 0, load_hand_model())[3]
    return SceneTruth(sample.keypoints_2d, sample.labels, sample.depth, sample.image)


def frames(truth, mirrored=False):
    height, width = truth.image.shape[:2]
    camera = Camera.from_fov(width, height, 60.0)
    right, left = RotatedBox((width * 0.6, height * 0.5), 150.0, 0.2), RotatedBox((width * 0.4, height * 0.6), 140.0)
    if not mirrored:
        return CropFrame(right, Side.RIGHT, camera), CropFrame(left, Side.LEFT, camera)

    def flipped(box):
        return RotatedBox((width - 1 - box.center[0], box.center[1]), box.size, -box.angle)

    return CropFrame(flipped(right), Side.LEFT, camera), CropFrame(flipped(left), Side.RIGHT, camera)


def test_all_maps_are_computed(provider):
    truth = scene()
    own, other = frames(truth)
    maps = provider(own, other, truth)
    assert maps.shape == (47, GRID, GRID) and np.isfinite(maps).all()
    assert 0 <= maps[KEYPOINTS].min() and maps[KEYPOINTS].max() <= 1
    np.testing.assert_allclose(maps[SEGMENTATION].sum(axis=0), 1.0, atol=1e-5)
    assert maps[SEGMENTATION].min() >= -1e-6 and maps[SEGMENTATION][0].std() > 0
    assert maps[DEPTH][0].std() > 0.1 and np.all(maps[DEPTH][1] == 1)


def test_a_left_hand_has_the_maps_of_its_mirror_image(provider):
    truth = scene()
    mirrored = SceneTruth(truth.keypoints_2d, truth.labels, truth.depth, np.ascontiguousarray(truth.image[:, ::-1]))
    straight = provider(*frames(truth), truth)
    of_mirrored = provider(*frames(truth, mirrored=True), mirrored)
    # Crops of both images are equal up to rounding to integer pixel values.
    assert np.abs(straight - of_mirrored).mean() < 0.02


def test_maps_of_missing_models_are_zero(folders):
    truth = scene()
    own, _ = frames(truth)
    maps = FoundationPriors(depth=Depth(folders[1]))(own, None, truth)
    assert not maps[KEYPOINTS].any() and not maps[SEGMENTATION].any() and maps[DEPTH].any()
    with pytest.raises(ValueError, match="need the image"):
        FoundationPriors()(own, None, SceneTruth(truth.keypoints_2d, truth.labels, truth.depth))


def test_folders_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        Depth(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not a model"):
        Segmentation(tmp_path)
