"""Labels that a sample does not state: they have no weight, and what is not known changes nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hand_recon_ros import Side
from hand_recon_ros.datasets.crops import UNKNOWN_CLASS, sample_crops
from hand_recon_ros.datasets.priors import DEPTH, KEYPOINTS, SEGMENTATION, CorruptedPriors, exact_priors
from hand_recon_ros.datasets.sample import Sample
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.training.losses import LossWeights, encoder_loss

MODEL = load_hand_model()
STREAM = SampleStream("val", 0, MODEL)
PAIRS = [number for number in range(12) if len(STREAM.scene(number).hands) == 2]
ALL = LossWeights()
NAN_POSE = {"rotations": np.full((2, 16, 3, 3), np.nan), "betas": np.full((2, 10), np.nan)}
NAN_JOINTS = {"joints": np.full((2, 21, 3), np.nan)}
REMOVED = {
    "pose": (NAN_POSE, {"rotations", "betas"}),
    "joints": (NAN_JOINTS, {"joints", "depths", "width", "to_other", "scales"}),
    "labels": ({"has_labels": False, "has_maps": False}, {"segmentation"}),
}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [STREAM[number] for number in PAIRS[:2]]


def arrays(sample: Sample, provider=None, seed=0):
    result = sample_crops(sample, np.random.default_rng(seed), provider, distractors=False).arrays
    for name, values in result.items():
        assert np.isfinite(values).all(), name
    return result


def encoder(fusion="none") -> FusionAlignmentEncoder:
    torch.manual_seed(0)
    return FusionAlignmentEncoder(EncoderConfig(width=32, layers=1, heads=2, fusion=fusion), MODEL).eval()


def gradient(model, each, weights: LossWeights = ALL) -> torch.Tensor:
    """The loss's gradient on all parameters (N,), of a batch of samples' arrays."""
    batch = {name: torch.tensor(np.stack([one[name] for one in each])) for name in each[0]}
    batch["priors"] = batch["priors"].float()
    output = model(model.stems_of(batch["crops"]), batch["rays"], batch["pairs"], batch["has_crop"].flip(1),
                   batch["priors"])  # fmt: skip
    loss, terms = encoder_loss(output, batch, weights)
    assert torch.isfinite(loss) and all(torch.isfinite(term) for term in terms.values())
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, parts, strict=True)]
    )


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for rounding, relative to the largest entry, which is not 0."""
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(actual, expected, atol=1e-5 * largest, rtol=1e-5)


def without(names) -> LossWeights:
    return LossWeights(**{name: 0.0 for name in names})


def only(names) -> LossWeights:
    return without({field.name for field in dataclasses.fields(LossWeights)} - set(names))


@pytest.mark.parametrize("label", REMOVED)
def test_a_removed_label_is_a_term_switched_off(samples, label):
    changes, terms = REMOVED[label]
    model, removed = encoder(), dataclasses.replace(samples[0], **changes)
    scales = {"scales"} & terms  # also of keypoints, which are still known
    partial, whole = arrays(removed), arrays(samples[0])
    off = gradient(model, [whole], without(terms))
    assert_same(gradient(model, [partial], without(scales)), off)
    assert (gradient(model, [whole], only(terms)) != 0).any()
    assert (gradient(model, [partial], only(terms - scales)) == 0).all()


@pytest.mark.parametrize("label", REMOVED)
def test_in_a_batch_a_removed_label_leaves_that_term_to_the_others(samples, label):
    changes, terms = REMOVED[label]
    model, weights = encoder(), only(terms - {"scales"})
    first, second = arrays(samples[0]), arrays(dataclasses.replace(samples[1], **changes), seed=1)
    both, alone = gradient(model, [first, second], weights), gradient(model, [first], weights)
    assert_same(both, alone)


def test_of_some_unknown_keypoints_the_known_ones_count(samples):
    """The gradient is that of the whole sample whose labels of the unknown keypoints are what the model predicts."""
    sample, tips = samples[0], [8, 16]  # they do not bound the tracking box
    joints, pixels = sample.joints.copy(), sample.keypoints_2d.copy()
    joints[:, tips], pixels[:, tips] = np.nan, np.nan
    partial, whole = arrays(dataclasses.replace(sample, joints=joints, keypoints_2d=pixels)), arrays(sample)
    np.testing.assert_array_equal(partial["crops"], whole["crops"])
    expected = {name: whole[name].copy() for name in ("joint_weights", "keypoint_weights")}
    for weights in expected.values():
        weights[:, tips] = 0.0
    model = encoder()
    assert_same(gradient(model, [partial]), gradient(model, [whole | expected]))
    known = np.setdiff1d(np.arange(21), tips)
    np.testing.assert_allclose(partial["joints"][:, known], whole["joints"][:, known])
    assert not partial["joint_weights"][:, tips].any() and partial["joint_weights"][:, known].all()
    changed = partial | {"joints": partial["joints"].copy(), "keypoints_2d": partial["keypoints_2d"].copy()}
    changed["joints"][:, tips] += 1.0
    changed["keypoints_2d"][:, tips] += 1.0
    assert torch.equal(gradient(model, [changed]), gradient(model, [partial]))


def test_without_the_wrist_there_are_no_joints_relative_to_it(samples):
    joints, pixels = samples[0].joints.copy(), samples[0].keypoints_2d.copy()
    joints[Side.LEFT, 0], pixels[Side.LEFT, 0] = np.nan, np.nan
    result = arrays(dataclasses.replace(samples[0], joints=joints, keypoints_2d=pixels))
    assert result["present"].all() and result["has_crop"].all()
    assert result["located"].tolist() == [0.0, 1.0] and result["both"].tolist() == [0.0, 0.0]
    assert not result["joint_weights"][Side.LEFT].any() and result["joint_weights"][Side.RIGHT].all()
    assert result["keypoint_weights"][Side.LEFT, 0] == 0.0 and result["keypoint_weights"][Side.LEFT].sum() > 10
    assert result["other_valid"][Side.RIGHT] == 0.0  # where the left hand ends is not known


def test_a_present_hand_without_keypoints_has_no_crop_and_is_not_absent(samples):
    joints, pixels = samples[0].joints.copy(), samples[0].keypoints_2d.copy()
    joints[Side.LEFT], pixels[Side.LEFT] = np.nan, np.nan
    partial = dataclasses.replace(samples[0], joints=joints, keypoints_2d=pixels)
    left = []
    for seed in range(20):
        result = sample_crops(partial, np.random.default_rng(seed)).arrays
        assert not result["other_valid"].any()
        # A crop of the left hand only shows the right one, in place of it or beside it.
        assert not result["present"][Side.LEFT]
        left.append(bool(result["has_crop"][Side.LEFT]))
    assert np.mean(left) < 0.2


@pytest.mark.parametrize("known", [False, True])
def test_a_hand_that_may_be_there_is_not_shown_as_absent(samples, known):
    gone = np.full((2, 21, 2), np.nan)
    gone[Side.RIGHT] = samples[0].keypoints_2d[Side.RIGHT]
    alone = dataclasses.replace(samples[0], present=np.array([False, True]), keypoints_2d=gone)
    shown, valid = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        result = sample_crops(alone, rng, absent=np.array([known, False])).arrays
        wrong_side = result["has_crop"][Side.LEFT] and not result["present"][Side.RIGHT]
        shown.append(bool(result["has_crop"][Side.LEFT]) and not wrong_side)
        valid.append(bool(result["other_valid"][Side.RIGHT]))
    assert any(valid) == known
    assert np.mean(shown) > 0.1 if known else np.mean(shown) < 0.1


def test_prior_maps_of_what_is_known(samples):
    sample = samples[0]
    joints, pixels = sample.joints.copy(), sample.keypoints_2d.copy()
    pixels[Side.RIGHT, 8] = np.nan
    unknown = {"joints": joints, "keypoints_2d": pixels, "has_labels": False, "has_maps": False}
    unknown |= {"labels": np.zeros_like(sample.labels), "depth": np.full_like(sample.depth, np.inf)}
    whole, partial = arrays(sample, exact_priors), arrays(dataclasses.replace(sample, **unknown), exact_priors)
    assert whole["has_priors"].all() and whole["has_maps"].all()
    assert partial["has_priors"].all() and not partial["has_maps"].any()
    expected = whole["priors"][:, KEYPOINTS].copy()
    expected[Side.RIGHT, 8] = expected[Side.LEFT, 21 + 8] = 0.0
    np.testing.assert_array_equal(partial["priors"][:, KEYPOINTS], expected)
    for group in (SEGMENTATION, DEPTH):
        assert whole["priors"][:, group].any() and not partial["priors"][:, group].any()
    corrupted = arrays(dataclasses.replace(sample, **unknown), CorruptedPriors(np.random.default_rng(0), 1.0))
    assert corrupted["priors"][:, KEYPOINTS].any() and not corrupted["priors"][:, SEGMENTATION.start :].any()
    masked = arrays(
        dataclasses.replace(sample, **unknown | {"has_labels": True, "labels": sample.labels}), exact_priors
    )
    np.testing.assert_array_equal(masked["priors"][:, SEGMENTATION], whole["priors"][:, SEGMENTATION])
    assert not masked["has_maps"].any() and (masked["segmentation"] != UNKNOWN_CLASS).all()


def test_incomplete_maps_train_the_teacher_and_not_the_alignment(samples):
    model, sample = encoder("aligned"), samples[0]
    unknown = dataclasses.replace(sample, has_labels=False, has_maps=False)
    partial = arrays(unknown, exact_priors)
    assert (gradient(model, [partial], only({"alignment"})) == 0).all()
    assert (gradient(model, [partial], only({"teacher", "joints"})) != 0).any()
    nothing = partial | {"has_priors": np.zeros(2, np.float32)}
    assert_same(gradient(model, [nothing]), gradient(model, [nothing], without({"teacher", "alignment"})))
    first = arrays(sample, exact_priors)
    weights = only({"alignment"})
    assert_same(gradient(model, [first, partial], weights), gradient(model, [first], weights))
