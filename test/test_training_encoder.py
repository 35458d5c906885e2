"""Training the encoder: its data, a short run that learns, and a resumed run."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from photographs import hand, labels

from hand_recon_ros import Side
from hand_recon_ros.cli import main
from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.crops import sample_crops
from hand_recon_ros.datasets.priors import exact_priors
from hand_recon_ros.encode.outputs import HandOutputs
from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.crops import alike
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.models.hand_kinematics import HandChain
from hand_recon_ros.models.landmark_trunk import LandmarkTrunk
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.training import engine
from hand_recon_ros.training.crop_dataset import CropDataset
from hand_recon_ros.training.encoder import EncoderTrainer, Recipe
from hand_recon_ros.training.photographs import Photographs

MODEL = load_hand_model()


def recipe(folder, **changes):
    training = {
        "out": str(folder / "run"), "steps": 6, "batch": 2, "workers": 0, "threads": 1, "warm_up": 2, "validation": 4,
        "validate_every": 1000, "checkpoint_every": 3, "learning_rate": 1e-3, **changes,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"encoder": {"width": 32, "layers": 1, "heads": 2}, "training": training}))
    return path


@pytest.mark.parametrize("number", range(4))
def test_the_ground_truth_of_a_crop(number):
    """The parameters in the crop frame pose the right hand's chain to the joints."""
    sample = SampleStream("val", 0, MODEL)[number]
    arrays = sample_crops(sample, np.random.default_rng(number), exact_priors).arrays
    joints = HandChain(MODEL)(torch.tensor(arrays["rotations"]), torch.tensor(arrays["betas"])).numpy()
    for side in Side:
        if arrays["present"][side]:
            np.testing.assert_allclose(joints[side], arrays["joints"][side], atol=1e-5)
            # The heatmap of each keypoint peaks at its position.
            for keypoint in np.flatnonzero((np.abs(arrays["keypoints_2d"][side]) < 0.45).all(axis=1)):
                peak = np.unravel_index(arrays["priors"][side, keypoint].argmax(), (28, 28))
                expected = (arrays["keypoints_2d"][side, keypoint] + 0.5) * 28 - 0.5
                assert np.abs(np.array(peak[::-1]) - expected).max() < 1.0
    if arrays["both"].all():
        lengths = np.linalg.norm(arrays["to_other"], axis=1)
        between = np.linalg.norm(sample.joints[0, 0] - sample.joints[1, 0])
        np.testing.assert_allclose(lengths, between, atol=1e-5)


def test_the_box_of_the_other_hand():
    """The label is the box around the other hand's keypoints, also where that hand has no crop."""
    visible = 0
    stream = SampleStream("val", 0, MODEL)
    for number in range(12):
        sample = stream[number]
        crops = sample_crops(sample, np.random.default_rng(number))
        for side, frame in zip(Side, crops.frames, strict=True):
            if frame is None or not crops.arrays["present"][side]:
                assert not crops.arrays["other_valid"][side]
            elif crops.arrays["other_visible"][side]:
                visible += 1
                box, truth = frame.box_out(crops.arrays["other_box"][side]), sample.keypoints_2d[side.other]
                assert sample.present[side.other] and alike(box, hand_box(truth), 1e-4)
            elif crops.arrays["other_valid"][side] and sample.present[side.other]:
                centre = frame.pixels_in(np.array(hand_box(sample.keypoints_2d[side.other]).center))
                assert np.abs(centre).max() >= 0.9 or sample.keypoint_visible[side.other].sum() < 4
    assert visible > 3


def test_a_resumed_run_ends_like_one_that_was_not_stopped(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    straight = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "a")))
    straight.run()
    first = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b")))
    first.run(until=3)
    second = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b")), resume=True)
    assert second.step == 3
    second.run()
    assert straight.step == second.step == 6
    for name, value in straight.average.items():
        torch.testing.assert_close(second.average[name], value, atol=1e-6, rtol=1e-5, msg=name)
    assert straight.history[-1] == pytest.approx(second.history[-1], rel=1e-4)


@pytest.mark.slow
def test_a_short_run_learns(tmp_path, capsys):
    path = recipe(tmp_path, steps=30, batch=3, checkpoint_every=30, learning_rate=2e-3)
    assert main(["train", "encoder", "--config", str(path), "--json"]) == 0
    result = yaml.safe_load(capsys.readouterr().out)
    assert result["steps"] == 30 and result["samples"] == 90
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "log"))
    events.Reload()
    loss = [event.value for event in events.Scalars("train/loss")]
    assert loss[-1] < loss[0] - 0.2, loss
    assert events.Tags()["images"] == ["val/crops"]
    from safetensors import safe_open

    with safe_open(tmp_path / "run" / "encoder.safetensors", "pt") as file:
        assert '"size": "small"' in file.metadata()["encoder"]
    assert EncoderSession(result["exported"], HandOutputs).takes_stems


def test_the_stem_in_a_loaders_process_is_that_of_the_network():
    model = FusionAlignmentEncoder(EncoderConfig(), MODEL)
    arrays = CropDataset("val", 0, MODEL, 0.0, model)[0]
    crops = CropDataset("val", 0, MODEL, 0.0, None)[0]["crops"]
    assert "crops" not in arrays
    expected = model.stem(torch.tensor(crops).permute(0, 3, 1, 2) / 255.0).numpy()
    np.testing.assert_allclose(arrays["stems"], expected, atol=0.02, rtol=0.002)


@pytest.mark.parametrize("distinct", [0, 3])
def test_rendered_samples_are_cached_for_other_runs(tmp_path, monkeypatch, distinct):
    computed = CropDataset("val", 0, MODEL, 0.5, None, distinct=distinct)[1]
    first = CropDataset("val", 0, MODEL, 0.5, None, tmp_path, distinct)[1]
    (file,) = tmp_path.rglob("*.npz")
    assert CropDataset("val", 0, MODEL, 0.5, None, tmp_path, distinct).is_cached(int(file.stem))
    monkeypatch.setattr(SampleStream, "scene", lambda *_: pytest.fail("rendered again"))
    again = CropDataset("val", 0, MODEL, 0.5, None, tmp_path, distinct)[1]
    assert set(computed) == set(first) == set(again)
    for name, values in computed.items():
        np.testing.assert_array_equal(again[name], first[name])
        assert again[name].dtype == values.dtype
        if name == "crops":  # the image is compressed
            assert np.abs(first[name].astype(int) - values).mean() < 5
        elif name == "priors":  # depth is rounded
            np.testing.assert_allclose(first[name].astype(float), values.astype(float), atol=0.1)
        else:
            np.testing.assert_array_equal(first[name], values)


def test_few_rendered_samples_are_used_again_with_variations(tmp_path):
    dataset = CropDataset("val", 0, MODEL, 0.5, None, tmp_path, distinct=2)
    samples = [dataset[number] for number in range(8)]
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert len({sample["crops"].tobytes() for sample in samples}) == 8
    np.testing.assert_array_equal(samples[5]["crops"], dataset[5]["crops"])


def test_photographs_are_a_share_of_the_samples(tmp_path):
    photographs = Photographs(labels(tmp_path, {"hands": [hand("left")]}), "train")
    dataset = CropDataset("val", 0, MODEL, 0.5, None, tmp_path / "cache", 2, photographs, share=0.5)
    samples = [dataset[number] for number in range(24)]
    posed = [bool(sample["posed"].any()) for sample in samples if sample["present"].any()]
    assert 4 < sum(posed) < 20
    for sample in samples:
        assert sample["has_crop"].any()


def test_a_run_is_not_resumed_with_other_labels(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left")]})
    options = dict(photographs=str(path), distinct=2, cache=str(tmp_path / "cache"), steps=1, checkpoint_every=1)
    EncoderTrainer(Recipe.from_yaml(recipe(tmp_path, **options))).run()
    assert EncoderTrainer(Recipe.from_yaml(recipe(tmp_path, **options)), resume=True).step == 1
    labels(tmp_path, {"hands": [hand("right", right=1.0)]})
    with pytest.raises(ConfigError, match="was made with labels"):
        EncoderTrainer(Recipe.from_yaml(recipe(tmp_path, **options)), resume=True)


def test_a_trunk_from_scratch_keeps_the_variance_of_activations():
    torch.manual_seed(0)
    trunk = LandmarkTrunk()
    with torch.no_grad():
        features = trunk(torch.rand(4, 3, 224, 224), features_only=True)
    assert 0.1 < features.stride16.std(dim=0).mean() < 10 and 0.1 < features.pooled.std() < 10


def test_the_base_encoder_takes_a_step(tmp_path):
    path = recipe(tmp_path, steps=1, batch=1, validation=1, checkpoint_every=1)
    content = yaml.safe_load(path.read_text())
    content["encoder"]["size"] = "base"
    path.write_text(yaml.safe_dump(content))
    trainer = EncoderTrainer(Recipe.from_yaml(path))
    trainer.run()
    counters = [value for name, value in trainer.average.items() if name.endswith("num_batches_tracked")]
    assert counters and all(int(value) > 0 for value in counters)


def test_a_training_ends_in_its_time_with_a_learning_rate_near_zero(tmp_path, monkeypatch):
    seconds = iter(range(10**6))
    monkeypatch.setattr(engine.time, "monotonic", lambda: float(next(seconds)))
    path = recipe(tmp_path, steps=10**4, seconds=30, checkpoint_every=5)
    trainer = EncoderTrainer(Recipe.from_yaml(path))
    trainer.run()
    assert 3 < trainer.step < 30
    assert trainer.history[-1]["step"] == trainer.step
    assert trainer.optimizer.param_groups[0]["lr"] < 0.05 * 1e-3
    resumed = EncoderTrainer(Recipe.from_yaml(path), resume=True)
    assert resumed.step == trainer.step
    resumed.run()
    assert resumed.step == trainer.step + 1  # its time is over


def test_a_training_starts_from_the_weights_of_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "a", steps=2, checkpoint_every=2)))
    first.run()
    weights = str(tmp_path / "a" / "run" / "encoder.safetensors")
    second = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b", weights=weights)))
    assert second.step == 0
    trained = {name: value.requires_grad for name, value in first.plain_model.named_parameters()}
    for name, parameter in second.plain_model.named_parameters():
        torch.testing.assert_close(parameter.detach(), first.average[name], msg=name)
        assert parameter.requires_grad == trained[name]
    with pytest.raises(ConfigError, match="is of another encoder"):
        EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b", weights=weights), **{"encoder.width": 64}))


def test_an_earlier_run_is_not_overwritten(tmp_path):
    path = recipe(tmp_path, steps=1, checkpoint_every=1)
    EncoderTrainer(Recipe.from_yaml(path)).run()
    with pytest.raises(ConfigError, match="--resume"):
        EncoderTrainer(Recipe.from_yaml(path))
    with pytest.raises(ConfigError, match="was made with seed 0, not 1"):
        EncoderTrainer(Recipe.from_yaml(path, seed=1), resume=True)


@pytest.mark.parametrize("size", ["small", "base"])
def test_shipped_recipes_are_complete(size):
    recipe = Recipe.from_yaml(Path(__file__).resolve().parents[1] / "config" / "train" / f"encoder_{size}.yaml")
    assert recipe.encoder.size == size and recipe.encoder.fusion == "aligned"
    assert recipe.training.out == f"out/train/encoder_{size}"


def test_recipes_are_checked(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("training: {stepps: 3}")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        Recipe.from_yaml(path)
    path.write_text("losses: {teacher: 0}")
    with pytest.raises(ConfigError, match="teacher is 0"):
        Recipe.from_yaml(path)
    path.write_text("training: {steps: 3, precision: fp32}")
    changed = Recipe.from_yaml(path, batch=4, **{"encoder.fusion": "unaligned", "training.seed": 5})
    assert (changed.training.steps, changed.training.batch, changed.training.seed) == (3, 4, 5)
    assert changed.encoder.fusion == "unaligned"
    with pytest.raises(ConfigError, match="no section 'encode'"):
        Recipe.from_yaml(path, **{"encode.fusion": "none"})
    path.write_text("trainning: {}")
    with pytest.raises(ConfigError, match="expected the sections"):
        Recipe.from_yaml(path)
