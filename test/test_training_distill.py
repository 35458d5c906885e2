"""Distilling an encoder from recordings: settings, what is refused, the verdict, and the command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hand_recon_ros import Camera, cli
from hand_recon_ros.calibration import write_calibration
from hand_recon_ros.camera import CameraError
from hand_recon_ros.config import ConfigError
from hand_recon_ros.models.encoder import EncoderConfig
from hand_recon_ros.sources import SourceError
from hand_recon_ros.synthetic import load_clip
from hand_recon_ros.training.distill import DistillTraining, distill_settings
from hand_recon_ros.training.distill_report import comparison, crop_errors, table, true_hands, verdict
from hand_recon_ros.training.encoder import Recipe
from hand_recon_ros.training.losses import LossWeights
from hand_recon_ros.training.recorded_hands import DistillTrainer
from hand_recon_ros.training.recordings import open_recordings


def test_settings() -> None:
    settings = distill_settings({"batch": 4, "labels.presence": 0.9, "losses.joints": 1.0}, 7, 0.5)
    assert (settings["training"].batch, settings["training"].steps) == (4, 7)
    assert (settings["labels"].presence, settings["labels"].every) == (0.9, 0.5)
    assert settings["losses"].joints == 1.0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"steps": 3}, "steps is chosen by the command: use --steps"),
        ({"labels.every": 3.0}, "use --every"),
        ({"weights": "x"}, "weights is chosen by the command"),
        ({"priors": "foundation"}, "priors is chosen by the command"),
        ({"encoder.width": 3}, "no section 'encoder'"),
        ({"labels.presense": 0.9}, "presense"),
        ({"labels.held_out": 1.5}, "held_out must lie in"),
    ],
)
def test_settings_that_are_refused(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        distill_settings(values, None, None)


def test_recordings_that_are_refused(tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "a.png"), np.full((48, 64, 3), 90, dtype=np.uint8))
    write_calibration(tmp_path / "camera.yaml", Camera.from_fov(64, 48, 60.0))
    name = str(pictures)
    with pytest.raises(ConfigError, match="leave out --fov"):
        open_recordings([name], str(tmp_path / "camera.yaml"), 70.0, out)
    with pytest.raises(ConfigError, match="named twice"):
        open_recordings([name, name], None, None, out)
    for among in (pictures, pictures / "out", tmp_path):
        with pytest.raises(ConfigError, match="among the recordings"):
            open_recordings([name], None, None, among)
    with pytest.raises(CameraError):
        open_recordings([name], str(tmp_path / "none.yaml"), None, out)
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    with pytest.raises(SourceError, match="cut.mp4: cannot be read as a video"):
        open_recordings([name, str(tmp_path / "cut.mp4")], None, None, out)
    clip = tmp_path / "clip"
    clip.mkdir()
    (clip / "truth.npz").write_bytes(b"no archive")
    with pytest.raises(SourceError, match="clip: a rendered clip that cannot be read"):
        open_recordings([str(clip)], None, None, out)


def figures(before: float, after: float) -> dict[str, dict[str, object]]:
    noise = np.random.default_rng(0).normal(0, 0.02, 60)
    noise -= noise.mean()
    return comparison({"keypoints": before + noise}, {"keypoints": after + noise})


@pytest.mark.parametrize(
    ("labels", "truth", "renders", "text"),
    [
        ((0.2, 0.1), None, (20.0, 20.0), ""),
        ((0.2, 0.2), None, (20.0, 20.0), "no gain beyond chance"),
        (
            (0.2, 0.1),
            (0.2, 0.3),
            (20.0, 20.0),
            "20.00 % of the hand before and 30.00 % after: no gain",
        ),  # the truth decides
        ((0.2, 0.3), (0.2, 0.1), (20.0, 20.9), ""),
        ((0.2, 0.1), (0.2, 0.1), (20.0, 21.1), "MPJPE is 20.0 mm before and 21.1 mm after: it has forgotten"),
    ],
)
def test_better_is_a_gain_beyond_chance_without_forgetting(labels, truth, renders, text) -> None:
    measured_errors = {
        "held_out_labels": figures(*labels), "renders": {"mpjpe_mm": figures(*renders)["keypoints"]},
        **({} if truth is None else {"held_out_truth": figures(*truth)}),
    }  # fmt: skip
    result = verdict(measured_errors)
    assert re.search(text, result) if text else not result
    assert "held out, labels: keypoints" in table(measured_errors)
    if not result:
        basis = "held_out_labels" if truth is None else "held_out_truth"
        measured_errors[basis] |= {"mpjpe_mm": figures(20.0, 21.1)["keypoints"]}
        assert "better in the image but worse in space" in verdict(measured_errors)


def test_errors_of_true_hands_are_those_of_the_prediction(labelled: Path) -> None:
    """A predictor of the truth has no error, one that is off by a tenth of the hand has one of a tenth."""
    clip = load_clip(labelled / "clip")
    crops = list(true_hands(clip, [0, 7]))
    assert len(crops) == 2 and all(each["present"].any() for each in crops)

    class Outputs:
        def __init__(self, batch: dict[str, torch.Tensor], shift: float) -> None:
            self.keypoints_2d, self.joints = batch["keypoints_2d"].numpy().astype(float), batch["joints"].numpy()
            extent = np.ptp(self.keypoints_2d, axis=2).max(axis=-1)
            self.keypoints_2d = self.keypoints_2d + shift * np.stack([extent, 0 * extent], axis=-1)[:, :, None]

        def map(self, _: object) -> Outputs:
            return self

        def __getitem__(self, index: int) -> list[Outputs]:
            sides = []
            for side in range(2):
                one = Outputs.__new__(Outputs)
                one.keypoints_2d, one.joints = self.keypoints_2d[index, side], self.joints[index, side].astype(float)
                sides.append(one)
            return sides

    exact, shifted = crop_errors([lambda batch: Outputs(batch, 0.0), lambda batch: Outputs(batch, 0.1)], crops)
    assert len(exact["keypoints"]) == sum(int(each["present"].sum()) for each in crops)
    np.testing.assert_allclose(exact["keypoints"], 0.0, atol=1e-9)
    np.testing.assert_allclose(shifted["keypoints"], 0.1, atol=1e-6)
    np.testing.assert_allclose(exact["mpjpe_mm"], 0.0, atol=1e-6)


@pytest.mark.slow
def test_a_resumed_distillation_ends_like_one_that_was_not_stopped(labelled: Path, tmp_path: Path) -> None:
    def trainer(name: str, resume: bool = False) -> DistillTrainer:
        training = DistillTraining(
            out=str(tmp_path / name), steps=4, batch=2, distinct=2, validation=2, warm_up=1, checkpoint_every=2,
            cache=str(tmp_path / "renders"), corrupted=0.0,
        )  # fmt: skip
        recipe = Recipe(EncoderConfig(width=32, layers=1, heads=2, fusion="unaligned"), LossWeights(), training)
        return DistillTrainer(recipe, labelled / "out" / "labels.json", 0.5, resume)

    straight, first = trainer("a"), trainer("b")
    straight.run()
    first.run(until=2)
    second = trainer("b", resume=True)
    assert second.step == 2
    second.run()
    for name, value in straight.average.items():
        torch.testing.assert_close(second.average[name], value, atol=1e-6, rtol=1e-5, msg=name)
    assert straight.history[-1] == pytest.approx(second.history[-1], rel=1e-4)


@pytest.mark.slow
def test_the_command(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    settings = [f"--set={each}" for each in ("batch=2", "distinct=2", "validation=2", "measured=8", "labels.gap=0.2")]
    line = ["distill", str(labelled / "clip"), "--out", str(out), "--steps", "2", "--every", "0.3", *settings, "--json"]
    assert cli.main([*line, "--resume"]) == 1
    assert "has no run to go on with" in capsys.readouterr().err
    status = cli.main(line)
    captured = capsys.readouterr()
    report = json.loads((out / "distill.json").read_text())
    assert "| held out, truth: keypoints, % of the hand |" in captured.err
    if status == 0:
        assert json.loads(captured.out) == report and not report["not_better"]
        assert f"use it with encoder:={out}/encoder.onnx" in captured.err
    else:
        assert status == 1 and captured.out == "" and report["not_better"]
        assert f"not better: {report['not_better']}. Keep encoder:=small" in captured.err
    assert report["steps"] == 2 and report["held_out_truth"]["keypoints"]["n"] >= 4
    assert report["held_out_truth"]["keypoints"]["before"] < 0.2
    # Two steps change little: the exported weights are those of the package, but for these steps.
    assert report["renders"]["mpjpe_mm"]["after"] == pytest.approx(report["renders"]["mpjpe_mm"]["before"], rel=0.1)
    card = (out / "encoder.md").read_text()
    assert report["table"] in card and "2 steps of 2 samples" in card
    assert cli.main(line) == 1
    assert "has an earlier run: go on with --resume" in capsys.readouterr().err
    assert cli.main([*line, "--resume", "--set", "labels.presence=0.5"]) == 1
    assert "is of a run with other labels" in capsys.readouterr().err
    # A file that is read is not written over, whatever its name.
    image = labelled / "clip" / "images" / "000000.png"
    (out / "encoder.md").unlink()
    os.link(image, out / "encoder.md")
    before = image.read_bytes()
    assert cli.main([*line, "--resume"]) == 1
    assert "is a file that is read, and is not written over" in capsys.readouterr().err
    assert image.read_bytes() == before
