"""Distilling an encoder from recordings: the filters of labels, the parts of a recording, samples, and the command."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hand_checkpoints import official_state, small_network, write_checkpoint, write_mano

from hand_recon_ros import Camera, cli
from hand_recon_ros.calibration import write_calibration
from hand_recon_ros.camera import CameraError
from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.crops import UNKNOWN_CLASS
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.image_files import KeptFiles
from hand_recon_ros.models.checkpoint_import import import_checkpoint
from hand_recon_ros.models.encoder import EncoderConfig
from hand_recon_ros.sources import SourceError
from hand_recon_ros.synthetic import load_clip, write_clip
from hand_recon_ros.training.distill import DistillTraining, distill_settings
from hand_recon_ros.training.distill_report import comparison, crop_errors, table, true_hands, verdict
from hand_recon_ros.training.encoder import Recipe
from hand_recon_ros.training.label_recordings import label_recordings, time_parts
from hand_recon_ros.training.losses import LossWeights
from hand_recon_ros.training.photographs import Photographs
from hand_recon_ros.training.recorded_hands import DistillTrainer, RecordedHands, label_row, recorded_sample
from hand_recon_ros.training.recording_labels import (
    REASONS,
    Labeller,
    LabelOptions,
    MeasuredHand,
    rejection,
    usual_bones,
)
from hand_recon_ros.training.recordings import RecordedImage, Recording, open_recordings
from hand_recon_ros.types import HandEstimate, HandState, Side

MODEL = load_hand_model()
OPTIONS = LabelOptions()
CAMERA = Camera.from_fov(1600, 1200, 60.0)
BONES = np.full(20, 0.05)


def hand(side: Side = Side.RIGHT, **changes: object) -> HandEstimate:
    """A flat hand in front of the camera."""
    rotations, translation = np.tile(np.eye(3), (16, 1, 1)), np.array([0.1, 0.05, 0.5])
    joints, _ = MODEL.kinematics(side).forward(rotations, np.zeros(10), translation)
    return dataclasses.replace(
        HandEstimate.lost(side), state=HandState.TRACKED, score=0.99, side_score=0.99, joints=joints,
        rotations=rotations, betas=np.zeros(10), translation=translation, **changes,
    )  # fmt: skip


def measured(estimate: HandEstimate | None = None, **changes: object) -> MeasuredHand:
    """A hand that is a label."""
    estimate = estimate or hand()
    values = {
        "hand": estimate, "keypoints": CAMERA.project(estimate.joints), "presence": 0.95,
        "right": 0.97 if estimate.side == Side.RIGHT else 0.03, "spread": 0.02, "disagreement": 0.05,
        "disagreement_3d": 0.1, "beyond_limits": 0.0, "bones": BONES, "outside": 0,
    }  # fmt: skip
    return MeasuredHand(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (measured(), ""),
        (measured(hand(Side.LEFT)), ""),
        (measured(dataclasses.replace(hand(), state=HandState.PREDICTED)), "not measured"),
        (measured(presence=0.79), "presence"),
        (measured(presence=0.81), ""),
        (measured(dataclasses.replace(hand(), side_score=0.85)), "side"),
        (measured(right=0.79), "side"),
        (measured(right=0.81), ""),
        (measured(hand(Side.LEFT), right=0.6), "side"),
        (measured(outside=6), "cut off"),
        (measured(outside=5), ""),
        (measured(spread=0.06), "unsteady landmarks"),
        (measured(disagreement=0.11), "disagreement"),
        (measured(disagreement=float("nan")), "disagreement"),
        (measured(disagreement_3d=0.9), ""),  # its keypoints in the image are a label
        (measured(beyond_limits=np.radians(9.0)), ""),
        (measured(beyond_limits=np.radians(11.0)), "joint limits"),
        (measured(bones=BONES * np.repeat([0.7, 1.3], 10)), "bone lengths"),
        (measured(bones=BONES * np.repeat([0.8, 1.2], 10)), ""),
        (measured(presence=0.1, spread=0.9), "presence"),  # the first that fails
    ],
)
def test_each_filter(made: MeasuredHand, reason: str) -> None:
    assert rejection(made, BONES, OPTIONS) == reason
    assert reason in ("", *REASONS)


def test_bone_lengths_are_learnt_from_the_hands_that_pass_the_other_tests() -> None:
    hands = [measured(bones=BONES * factor) for factor in (0.9, 1.0, 1.0, 1.1, 1.0)]
    wrong = [measured(bones=BONES * 3, presence=0.1)] * 20
    np.testing.assert_allclose(usual_bones([*hands, *wrong], OPTIONS), BONES)
    assert usual_bones([*hands[:4], *wrong], OPTIONS) is None
    assert rejection(measured(bones=BONES * 3), None, OPTIONS) == ""


def test_the_last_part_of_a_recording_is_held_out_and_a_gap_is_left() -> None:
    times = [float(time) for time in range(11)]
    assert time_parts(times, 0.3, 0.0) == ["train"] * 7 + ["val"] * 4
    assert time_parts(times, 0.3, 2.0) == ["train"] * 6 + ["gap"] * 2 + ["val"] * 3
    assert time_parts([100.0 + time for time in times], 0.3, 2.0) == time_parts(times, 0.3, 2.0)
    assert time_parts([], 0.3, 1.0) == []


def row_of(folder: Path, hands: list[MeasuredHand], left_out: list[MeasuredHand], posed: list[bool]) -> dict:
    image = np.full((600, 800, 3), 120, dtype=np.uint8)
    cv2.imwrite(str(folder / "a.png"), image)
    item = RecordedImage(np.zeros((0, 0, 3), dtype=np.uint8), CAMERA, 7, 1.5, None)
    return label_row(item, folder / "a.png", (800, 600), hands, left_out, "video.mp4", "train", posed)


def test_a_label_of_a_reduced_image_is_a_sample_whose_pose_projects_to_its_keypoints(tmp_path: Path) -> None:
    hands = [measured(hand(side)) for side in Side]
    sample = recorded_sample(json.loads(json.dumps(row_of(tmp_path, hands, [], [True, True]))))
    assert sample.camera.width == 800 and sample.present.all()
    for side in Side:
        np.testing.assert_allclose(sample.camera.project(sample.joints[side]), sample.keypoints_2d[side], atol=0.02)
        np.testing.assert_allclose(sample.keypoints_2d[side], (hands[side].keypoints + 0.5) / 2 - 0.5, atol=0.01)


def test_what_is_not_known_of_a_recorded_hand_is_not_trained(tmp_path: Path) -> None:
    def arrays(*row: object) -> dict[str, np.ndarray]:
        (tmp_path / "labels.json").write_text(json.dumps([row_of(tmp_path, *row)]))  # type: ignore[arg-type]
        return RecordedHands(tmp_path / "labels.json", "train").arrays(0, np.random.default_rng(0), varied=False)

    right, left = measured(), measured(hand(Side.LEFT))
    both = arrays([left, right], [], [True, True])
    assert both["posed"].tolist() == both["both"].tolist() == both["other_valid"].tolist() == [1, 1]
    assert (both["segmentation"] == UNKNOWN_CLASS).all()
    in_image = arrays([left, right], [], [True, False])
    assert in_image["posed"].tolist() == [1, 0] and in_image["both"].tolist() == [0, 0]
    assert in_image["present"].tolist() == [1, 1] and in_image["keypoint_weights"].sum() == 42
    one = arrays([right], [left], [True])
    assert one["has_crop"].tolist() == one["present"].tolist() == [0, 1]
    assert one["other_valid"].tolist() == [0, 0]  # the left hand is there, without a label


def test_labels_are_those_of_photographs_too(tmp_path: Path) -> None:
    row = row_of(tmp_path, [measured(hand(side)) for side in Side], [], [True, True])
    (tmp_path / "labels.json").write_text(json.dumps([row, {**row, "split": "val"}]))
    (picture,) = list(map(Photographs(tmp_path / "labels.json", "train").__getitem__, range(1)))
    assert picture.sided.all() and picture.known.all()
    for side in Side:
        shown = (np.array(row["hands"][side]["keypoints"]) + 0.5) * 0.8 - 0.5  # photographs are reduced to 640 pixels
        np.testing.assert_allclose(picture.keypoints[side], shown)
    with pytest.raises(ConfigError, match="has no hand of split 'val'"):
        (tmp_path / "labels.json").write_text(json.dumps([row]))
        RecordedHands(tmp_path / "labels.json", "val")
    (tmp_path / "a.png").unlink()
    with pytest.raises(ConfigError, match="a.png: missing, or not an image"):
        recorded_sample(row)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(ConfigError, match="is 40x30, but was labelled as 800x600"):
        recorded_sample(row)


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


class ScriptedLabeller:
    """Finds in every image the hands that ``shown`` gives for its number."""

    def __init__(self, shown: Callable[[int], list[MeasuredHand]]) -> None:
        self.shown = shown

    def __call__(self, recording: Recording) -> Iterator[tuple[RecordedImage, list[MeasuredHand]]]:
        for item in recording:
            yield item, self.shown(item.number)


def video(path: Path, images: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (1600, 1200))
    for number in range(images):
        writer.write(np.full((1200, 1600, 3), 4 * number, dtype=np.uint8))
    writer.release()


def label_video(tmp_path: Path, shown: Callable[[int], list[MeasuredHand]], **options: object) -> tuple[dict, list]:
    recordings = open_recordings([str(tmp_path / "clip.avi")], None, None, tmp_path / "out")
    (tmp_path / "out").mkdir(exist_ok=True)
    labels = LabelOptions(held_out=0.3, **options)  # type: ignore[arg-type]
    (report,) = label_recordings(ScriptedLabeller(shown), recordings, labels, tmp_path / "out", KeptFiles([]))  # type: ignore[arg-type]
    return report, json.loads((tmp_path / "out" / "labels.json").read_text())


def test_images_of_a_video_are_stored_where_hands_are_kept_and_the_others_are_counted(tmp_path: Path) -> None:
    video(tmp_path / "clip.avi", 21)

    def shown(number: int) -> list[MeasuredHand]:
        if number == 3:
            return [measured(presence=0.5), measured(hand(Side.LEFT), spread=0.2)]
        return [measured(), measured(hand(Side.LEFT), disagreement=0.3)] if number % 2 == 0 else []

    report, rows = label_video(tmp_path, shown, gap=0.2)
    assert [row["number"] for row in rows] == [0, 2, 4, 6, 8, 10, 12, 16, 18, 20]
    assert [row["split"] for row in rows] == ["train"] * 7 + ["val"] * 3
    assert report["kept"] == {"train": 7, "val": 3} and report["images"] == 21
    counted = {reason: count for reason, count in report["left_out_hands"].items() if count}
    assert counted == {"presence": 1, "unsteady landmarks": 1, "disagreement": 10, "between the parts": 2}
    assert report["held_out"] == [15, 16, 17, 18, 19, 20]
    stored = sorted((tmp_path / "out" / "frames").iterdir())
    assert [str(path.resolve()) for path in stored] == [row["file"] for row in rows]
    assert cv2.imread(str(stored[3])).shape == (960, 1280, 3) and rows[3]["width"] == 1280
    assert abs(int(cv2.imread(str(stored[3])).mean()) - 24) <= 2  # it is that image
    assert len(rows[0]["unlabelled"]) == 2 and not rows[0]["complete"]


def test_long_recordings_are_thinned_and_cut_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    video(path, 20)
    report, rows = label_video(tmp_path, lambda _: [measured()], gap=0.0, most=6)
    assert [row["number"] for row in rows] == [0, 4, 8, 12, 16] and report["images"] == 5
    assert len(list((tmp_path / "out" / "frames").iterdir())) == 5
    assert report["not_read"] == {}
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    report, _ = label_video(tmp_path, lambda _: [measured()], gap=0.0)
    ((name, reason),) = report["not_read"].items()
    assert name == str(path) and "of 20 images could be read (cut off?)" in reason
    with pytest.raises(
        ConfigError, match=r"no hand of the first part .*\(presence \d+, between the parts \d\): record more"
    ):
        label_video(tmp_path, lambda _: [measured(presence=0.1)])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered clip, its labels, and a folder of pictures of which one is damaged."""
    folder = tmp_path_factory.mktemp("distill")
    write_clip(folder / "clip", frames=30, seed=3, rate=10.0, progress=False)
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in (0, 29):
        (pictures / f"{number}.png").write_bytes((folder / "clip" / "images" / f"{number:06d}.png").read_bytes())
    (pictures / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:2000])
    options = LabelOptions(every=0.2, gap=0.2)
    recordings = open_recordings([str(folder / "clip"), str(pictures)], None, None, folder / "out")
    (folder / "out").mkdir()
    reports = label_recordings(Labeller("small", options), recordings, options, folder / "out", KeptFiles([]))
    (folder / "out" / "reports.json").write_text(json.dumps(reports))
    return folder


def test_labels_of_a_rendered_clip_are_right(labelled: Path) -> None:
    truth = load_clip(labelled / "clip").truth
    rows = [row for row in json.loads((labelled / "out" / "labels.json").read_text()) if "clip" in row["source"]]
    clip, pictures = json.loads((labelled / "out" / "reports.json").read_text())
    errors, poses = [], []
    for row in rows:
        for label in row["hands"]:
            side = Side[label["side"].upper()]
            true, joints = truth["keypoints_2d"][row["number"], side], truth["joints"][row["number"], side]
            distance = np.linalg.norm(np.array(label["keypoints"]) - true, axis=1).mean()
            errors.append(distance / np.ptp(true, axis=0).max())
            estimated = np.array(label["joints"])
            poses.append(np.linalg.norm((estimated - estimated[0]) - (joints - joints[0]), axis=1).mean())
    assert len(errors) == sum(clip["kept"].values()) > 10
    assert np.mean(errors) < 0.06 and np.max(errors) < 0.15
    assert np.mean(poses) < 0.025
    assert {row["split"] for row in rows} == {"train", "val"}
    assert max(row["time"] for row in rows if row["split"] == "train") + 0.2 <= min(
        row["time"] for row in rows if row["split"] == "val"
    )
    assert clip["images"] == 15 and clip["held_out"] == [18, 20, 22, 24, 26, 28]
    # A picture that is damaged is named, and the others are labelled where they are.
    ((name, reason),) = pictures["not_read"].items()
    assert Path(name).name == "broken.png" and reason
    assert pictures["images"] == 2
    files = {row["file"] for row in json.loads((labelled / "out" / "labels.json").read_text())}
    assert not (labelled / "out" / "frames").exists() and all(os.path.isfile(file) for file in files)


@pytest.mark.slow
def test_hands_that_are_kept_are_more_accurate_than_those_left_out(labelled: Path, tmp_path: Path) -> None:
    """A clip whose images get coarser and noisier: hands are left out as the errors grow."""
    shutil.copytree(labelled / "clip", tmp_path / "clip")
    rng = np.random.default_rng(0)
    for number, path in enumerate(sorted((tmp_path / "clip" / "images").iterdir())):
        image, coarser = cv2.imread(str(path)), 1 + 0.5 * number
        small = cv2.resize(image, (int(640 / coarser), int(480 / coarser)), interpolation=cv2.INTER_AREA)
        noisy = cv2.resize(small, (640, 480)) + rng.normal(0, 2 * number, image.shape)
        cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
    options = LabelOptions(every=0.2)
    (recording,) = open_recordings([str(tmp_path / "clip")], None, None, tmp_path / "out")
    truth = load_clip(tmp_path / "clip").truth["keypoints_2d"]
    kept, left_out = [], []
    for item, hands in Labeller("small", options)(recording):
        for each in hands:
            true = truth[item.number, each.hand.side]
            error = np.linalg.norm(each.keypoints - true, axis=1).mean() / np.ptp(true, axis=0).max()
            (left_out if rejection(each, None, options) else kept).append(error)
    assert len(kept) >= 12 and len(left_out) >= 4
    assert np.mean(kept) < 0.05 and np.max(kept) < 0.15
    assert np.mean(left_out) > 3 * np.mean(kept)


def test_a_teacher_of_mano_is_lifted_onto_the_own_hand_model(labelled: Path, tmp_path: Path) -> None:
    """One with random weights: what it predicts agrees with nothing, and no hand becomes a label."""
    network = official_state(small_network("hamer"))
    teacher = str(import_checkpoint(write_checkpoint(tmp_path / "hamer.ckpt", network)).path)
    with pytest.raises(ConfigError, match="hand_model"):
        Labeller(teacher, OPTIONS)
    labeller = Labeller(teacher, OPTIONS, hand_model=str(write_mano(tmp_path)))
    (recording,) = open_recordings([str(labelled / "pictures")], None, None, tmp_path / "out")
    found = [each for _, hands in labeller(recording) for each in hands]
    assert found and labeller.hand_model.name == MODEL.name
    for each in found:
        own = each.hand
        joints, _ = MODEL.kinematics(own.side).forward(own.rotations, own.betas, own.translation)
        np.testing.assert_allclose(joints, own.joints, atol=1e-4)
        assert rejection(each, None, dataclasses.replace(OPTIONS, presence=0.0, side=0.5, spread=1.0)) != ""
    assert min(each.disagreement_3d for each in found) > OPTIONS.disagreement_3d


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
