"""Labels of recordings: the filters, the parts of a recording, which images are stored, and how right labels are."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from distill_support import BONES, MODEL, OPTIONS, hand, measured
from hand_checkpoints import official_state, small_network, write_checkpoint, write_mano

from hand_recon_ros.config import ConfigError
from hand_recon_ros.image_files import KeptFiles
from hand_recon_ros.models.checkpoint_import import import_checkpoint
from hand_recon_ros.synthetic import load_clip
from hand_recon_ros.training.label_recordings import label_recordings, time_parts
from hand_recon_ros.training.recording_labels import (
    REASONS,
    Labeller,
    LabelOptions,
    MeasuredHand,
    rejection,
    usual_bones,
)
from hand_recon_ros.training.recordings import RecordedImage, Recording, open_recordings
from hand_recon_ros.types import HandState, Side


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
