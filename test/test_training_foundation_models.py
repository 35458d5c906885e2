"""Foundation models as priors: tiny random ones, with their real pre- and post-processing, from local folders."""

import dataclasses

import numpy as np
import pytest
from network_keypoints import network_keypoints
from photographs import hand, labels

from hand_recon_ros import Camera, Side
from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.crops import sample_crops
from hand_recon_ros.datasets.priors import DEPTH, GRID, KEYPOINTS, SEGMENTATION, SceneTruth, exact_priors
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.training.crop_dataset import CropDataset
from hand_recon_ros.training.encoder import Recipe, train_encoder
from hand_recon_ros.training.fitted_hands import FittedHands
from hand_recon_ros.training.foundation_models import Depth, FoundationPriors, Segmentation
from hand_recon_ros.training.photographs import Photographs

pytest.importorskip("transformers")

MODEL = load_hand_model()


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
    return FoundationPriors.load(MODEL, *map(str, folders))


@pytest.fixture(scope="module")
def fitted():
    return FoundationPriors.load(MODEL)


def scene():
    sample = SampleStream("val", 0, MODEL)[3]
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


def sample_maps(sample, provider):
    return sample_crops(sample, np.random.default_rng(0), provider, distractors=False).arrays


def exact_landmarks(sample, side):
    """Landmarks without errors of a hand of a sample."""
    joints, keypoints = network_keypoints(sample.joints[side]), network_keypoints(sample.keypoints_2d[side])
    depth = (joints[:, 2] - joints[0, 2]) * np.ptp(keypoints, axis=0).max() / np.ptp(joints[:, :2], axis=0).max()
    world = joints - joints.mean(axis=0)
    return HandLandmarks(keypoints, depth, world, 1.0, float(side == Side.RIGHT), tracking_box(keypoints))


def test_hands_fitted_to_exact_landmarks_are_where_the_true_ones_are():
    fit, stream = FittedHands(MODEL), SampleStream("val", 0, MODEL)
    overlaps, spreads = [], []
    for number in range(20):
        sample = stream[number]
        hands = [(side, exact_landmarks(sample, side)) for side in Side if sample.present[side]]
        scene = fit(sample.image, hands, sample.camera)
        for side, _ in hands:
            np.testing.assert_allclose(scene.keypoints_2d[side], sample.keypoints_2d[side], atol=1e-9)
            fitted, true = scene.labels == side + 1, sample.labels == side + 1
            if (~sample.occluded[side]).sum() < 18:
                continue
            overlaps.append((fitted & true).sum() / (fitted | true).sum())
            behind = scene.depth[fitted & true] / sample.depth[fitted & true]
            spreads.append(np.ptp(np.percentile(behind, [10, 90])))
        assert not (scene.labels == 3).any()
        np.testing.assert_array_equal(np.isfinite(scene.depth), scene.labels > 0)
    assert len(overlaps) > 10 and np.median(overlaps) > 0.75, overlaps
    assert np.median(spreads) < 0.05 and max(spreads) < 0.2  # depths are equal up to the size of the hand


def test_hands_that_the_landmark_network_hardly_sees_are_not_fitted():
    sample = SampleStream("val", 0, MODEL)[0]
    hands = [(side, exact_landmarks(sample, side)) for side in Side if sample.present[side]]
    assert len(hands) == 2
    faint = dataclasses.replace(hands[0][1], presence=0.3)
    scene = FittedHands(MODEL)(sample.image, [(hands[0][0], faint), hands[1]], sample.camera)
    assert np.isnan(scene.keypoints_2d[hands[0][0]]).all()
    assert set(np.unique(scene.labels)) == {0, int(hands[1][0]) + 1}


def test_the_landmark_network_s_keypoints_are_fitted(fitted):
    stream = SampleStream("val", 0, MODEL)
    overlaps = []
    for number in (0, 3, 4, 6, 9, 11):
        truth, predicted = (sample_maps(stream[number], provider) for provider in (exact_priors, fitted))
        assert predicted["has_priors"].tolist() == truth["has_crop"].tolist()
        for side in Side:
            true, mask = (maps["priors"][side, SEGMENTATION.start] > 0.5 for maps in (truth, predicted))
            if mask.any():
                overlaps.append((true & mask).sum() / (true | mask).sum())
                assert predicted["priors"][side, DEPTH.start].astype(float).std() > 0.1
    assert max(overlaps) > 0.8


def test_models_replace_the_fitted_hand_in_their_maps_alone(folders, fitted):
    truth = scene()
    own, other = frames(truth)
    plain = fitted(own, other, truth)
    for models, replaced in (({"segmentation": str(folders[0])}, SEGMENTATION), ({"depth": str(folders[1])}, DEPTH)):
        maps = FoundationPriors.load(MODEL, **models)(own, other, truth)
        kept = np.ones(len(maps), dtype=bool)
        kept[replaced] = False
        np.testing.assert_array_equal(maps[kept], plain[kept])
        assert np.abs(maps[replaced] - plain[replaced]).max() > 0.1


def test_an_image_without_hands_has_no_fitted_ones(fitted):
    image = np.full((240, 320, 3), 127, np.uint8)
    truth = SceneTruth(np.full((2, 21, 2), np.nan), np.zeros((240, 320)), np.full((240, 320), np.inf), image)
    maps = fitted(*frames(truth), truth)
    assert maps[KEYPOINTS].max() < 0.5
    assert not maps[SEGMENTATION][:2].any() and not maps[DEPTH].any()
    assert (maps[SEGMENTATION][2] == 1).all()


def test_foundation_models_need_the_image(fitted):
    truth = scene()
    with pytest.raises(ValueError, match="need the image"):
        fitted(frames(truth)[0], None, SceneTruth(truth.keypoints_2d, truth.labels, truth.depth))


def test_samples_of_a_recipe_have_predicted_priors(tmp_path, fitted):
    photographs = Photographs(labels(tmp_path, {"hands": [hand("left")]}), "train")
    make = [lambda: fitted, None]
    predicted, rendered = (
        CropDataset("val", 0, MODEL, 0.0, None, tmp_path / "cache", 2, photographs, 0.5, foundation)
        for foundation in make
    )
    kinds = set()
    for number in range(12):
        one, other = predicted[number], rendered[number]
        np.testing.assert_array_equal(one["crops"], other["crops"])
        photograph = other["has_crop"].any() and not other["has_priors"].any()
        kinds.add(bool(photograph))
        for values in (one["has_priors"], one["has_maps"]):
            np.testing.assert_array_equal(values, one["has_crop"])
        np.testing.assert_array_equal(other["has_maps"], other["has_priors"])
        assert photograph or np.abs(one["priors"].astype(float) - other["priors"]).max() > 0.1
    assert kinds == {True, False}


def test_models_are_refused_where_the_priors_are_rendered(tmp_path, folders):
    path = tmp_path / "recipe.yaml"
    path.write_text("encoder: {size: small}\ntraining: {out: run}\n")
    with pytest.raises(ConfigError, match="priors is not foundation"):
        Recipe.from_yaml(path, depth_model=str(folders[1]))
    with pytest.raises(ConfigError, match="no such folder"):
        Recipe.from_yaml(path, priors="foundation", segmentation_model=str(tmp_path / "nothing"))
    assert Recipe.from_yaml(path, priors="foundation", depth_model=str(folders[1])).training.priors == "foundation"


@pytest.mark.slow
def test_an_encoder_trains_with_foundation_priors(tmp_path):
    path = tmp_path / "recipe.yaml"
    training = "{out: %s, priors: foundation, steps: 2, batch: 2, validation: 2, validate_every: 2, workers: 0}"
    path.write_text("encoder: {size: small, width: 32, layers: 1}\ntraining: " + training % (tmp_path / "run"))
    result = train_encoder(path)
    assert result["steps"] == 2 and np.isfinite(list(result["validation"].values())).all()


def test_folders_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        Depth(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not a model"):
        Segmentation(tmp_path)
