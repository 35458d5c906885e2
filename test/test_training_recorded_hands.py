"""Labelled hands as samples: their poses and keypoints, and what is not known of them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from distill_support import CAMERA, hand, measured

from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.crops import UNKNOWN_CLASS
from hand_recon_ros.training.photographs import Photographs
from hand_recon_ros.training.recorded_hands import RecordedHands, label_row, recorded_sample
from hand_recon_ros.training.recording_labels import MeasuredHand
from hand_recon_ros.training.recordings import RecordedImage
from hand_recon_ros.types import Side


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
