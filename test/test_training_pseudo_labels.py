"""Pseudo-labels of photographs, from made-up networks that detect given hands."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import pytest

from hand_recon_ros.datasets.hand_boxes import BoxedPicture
from hand_recon_ros.detect.body import BodyDetection, BodyHand, BodyPose
from hand_recon_ros.detect.palm import PalmDetection
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.hand_keypoints import moved_to_hand_model
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.training.pseudo_labels import PictureLabels, label_picture, sides_of_bodies, write_labels
from hand_recon_ros.types import Side

SIZE = (640, 480)
IMAGE = np.zeros((480, 640, 3), np.uint8)


def keypoints(x: float, y: float, extent: float = 100.0) -> np.ndarray:
    """An open hand that points up: the wrist at the bottom, five fingers."""
    fingers = [[((finger - 2) * 0.2, -0.4 - 0.2 * joint) for joint in range(4)] for finger in range(5)]
    return np.array([(0.0, 0.0), *(point for finger in fingers for point in finger)]) * extent + [x, y + extent / 2]


@dataclasses.dataclass
class Shown:
    """A hand in the image: ``right`` is the probability in crops and in mirror images of crops."""

    keypoints: np.ndarray
    presence: float = 0.97
    right: tuple[float, float] = (0.98, 0.98)
    palm_score: float = 0.9

    @property
    def roi(self) -> RotatedBox:
        return tracking_box(self.keypoints)

    @property
    def box(self) -> list[float]:
        points = moved_to_hand_model(self.keypoints)
        return [*points.min(axis=0), *points.max(axis=0)]


class Networks:
    """Networks that detect the shown hands in crops near them, and nothing elsewhere."""

    body = None

    def __init__(self, *hands: Shown) -> None:
        self.hands = hands

    def detect_palms(self, image: np.ndarray, threshold: float, view: RotatedBox | None) -> list[PalmDetection]:
        palms = [PalmDetection(hand.palm_score, np.array(hand.box), hand.roi) for hand in self.hands]
        return [palm for palm in palms if palm.score >= threshold]

    def read(
        self,
        image: np.ndarray,
        rois: Sequence[RotatedBox],
        mirrored: bool | Sequence[bool] = False,
        grey: bool | Sequence[bool] = False,
        stems: bool = False,
    ) -> list[HandLandmarks]:
        flags = [mirrored] * len(rois) if isinstance(mirrored, bool) else mirrored
        result = []
        for roi, flag in zip(rois, flags, strict=True):
            near = [hand for hand in self.hands if math.dist(hand.roi.center, roi.center) < 0.25 * roi.size]
            if near:
                hand = near[0]
                values = hand.keypoints, hand.presence, hand.right[flag]
            else:
                values = roi.to_image(keypoints(0.5, 0.5, 0.5)), 0.01, 0.5
            points, presence, right = values
            result.append(HandLandmarks(points, np.zeros(21), np.zeros((21, 3)), presence, right, roi, mirrored=flag))
        return result


def label(
    networks: Networks, boxes: list[list[float]], fingertips: np.ndarray | None = None, all_boxed: bool = True
) -> PictureLabels:
    picture = BoxedPicture(
        pathlib.Path("a.jpg"), *SIZE, np.array(boxes).reshape(-1, 4), "owner/set", "MIT", "a", fingertips, all_boxed
    )
    return label_picture(networks, IMAGE, picture)  # type: ignore[arg-type]


def test_annotated_hands_get_square_keypoints_and_side() -> None:
    right, left = Shown(keypoints(200, 200)), Shown(keypoints(420, 220), right=(0.03, 0.05))
    labels = label(Networks(right, left), [left.box, right.box])
    assert labels.complete
    found = {hand.side: hand for hand in labels.hands}
    for side, shown in ((Side.RIGHT, right), (Side.LEFT, left)):
        np.testing.assert_allclose(found[side].keypoints, moved_to_hand_model(shown.keypoints))
        np.testing.assert_allclose(found[side].box, shown.box)
        assert found[side].roi == shown.roi
        assert found[side].roi.angle == pytest.approx(0.0)
    assert found[Side.RIGHT].right == pytest.approx(0.98)


@pytest.mark.parametrize(
    ("presence", "right"),
    [
        (0.7, (0.98, 0.98)),  # too low a presence
        (0.97, (0.98, 0.6)),  # the mirror images are not certain
        (0.97, (0.98, 0.1)),  # they contradict
        (0.97, (0.85, 0.85)),
    ],
)
def test_a_side_needs_presence_and_agreement_of_crops_and_mirror_images(
    presence: float, right: tuple[float, float]
) -> None:
    hand = Shown(keypoints(200, 200), presence, right)
    labels = label(Networks(hand), [hand.box])
    assert [found.side for found in labels.hands] == [None]
    assert labels.complete


def test_two_hands_of_one_side_lose_it() -> None:
    hands = Shown(keypoints(200, 200)), Shown(keypoints(420, 220))
    labels = label(Networks(*hands), [hand.box for hand in hands])
    assert [found.side for found in labels.hands] == [None, None]


def test_an_annotated_box_without_a_hand_makes_the_picture_incomplete() -> None:
    hand = Shown(keypoints(200, 200))
    labels = label(Networks(hand), [hand.box, [400, 100, 500, 200]])
    assert len(labels.hands) == 1 and not labels.complete
    np.testing.assert_allclose(labels.missed, [[400, 100, 500, 200]])
    np.testing.assert_allclose(labels.unlabelled, labels.missed)


def test_a_hand_without_an_annotated_box_is_unlabelled_and_not_missed() -> None:
    uncertain, box = Shown(keypoints(150, 200), presence=0.6), [400.0, 100.0, 500.0, 200.0]
    labels = label(Networks(uncertain), [box])
    np.testing.assert_allclose(labels.missed, [box])
    np.testing.assert_allclose(labels.unlabelled, [box, uncertain.box])
    assert label(Networks(uncertain), []).missed.shape == (0, 4)


def test_a_hand_whose_palm_is_not_detected_is_found_in_its_box() -> None:
    hand = Shown(keypoints(200, 200), palm_score=0.0)
    labels = label(Networks(hand), [hand.box])
    assert [found.side for found in labels.hands] == [Side.RIGHT]


def test_a_certain_hand_that_nobody_annotated_is_added_and_an_uncertain_one_is_left_unlabelled() -> None:
    annotated = Shown(keypoints(150, 200))
    certain = Shown(keypoints(420, 200), right=(0.02, 0.02))
    labels = label(Networks(annotated, certain), [annotated.box])
    assert labels.complete
    np.testing.assert_allclose(labels.hands[1].box, certain.box)
    for change in ({"presence": 0.6}, {"palm_score": 0.2}, {"right": (0.3, 0.3)}):
        uncertain = dataclasses.replace(certain, **change)
        labels = label(Networks(annotated, uncertain), [annotated.box])
        assert len(labels.hands) == 1 and not labels.complete
        np.testing.assert_allclose(labels.unlabelled, [uncertain.box])


def test_annotated_fingertips_refute_wrong_keypoints() -> None:
    hand = Shown(keypoints(200, 200))
    tips = hand.keypoints[None, [4, 8]]
    assert len(label(Networks(hand), [hand.box], tips + 5).hands) == 1
    refuted = label(Networks(hand), [hand.box], tips + 40)
    assert not refuted.complete and np.allclose(refuted.unlabelled[0], hand.box)
    np.testing.assert_allclose(refuted.missed, [hand.box])


def test_both_hands_in_one_annotated_box_are_labelled() -> None:
    hands = Shown(keypoints(200, 200)), Shown(keypoints(420, 220), right=(0.4, 0.4))
    labels = label(Networks(*hands), [[50, 20, 600, 400]])
    assert [found.side for found in labels.hands] == [Side.RIGHT, None] and not labels.complete


def test_a_picture_without_hands_is_complete_and_empty() -> None:
    labels = label(Networks(), [])
    assert labels.complete and not labels.hands and not len(labels.missed)


def test_the_json_entry_has_all_that_training_reads() -> None:
    hand = Shown(keypoints(200, 200))
    entry = label(Networks(hand), [hand.box]).as_json()
    assert entry["complete"] is True and (entry["width"], entry["height"]) == SIZE
    (found,) = entry["hands"]
    assert found["side"] == "right" and len(found["keypoints"]) == 21
    np.testing.assert_allclose(found["roi"], [*hand.roi.center, hand.roi.size, hand.roi.angle], atol=1e-3)
    assert entry["missed"] == entry["unlabelled"] == []
    without = label(Networks(), [[400, 100, 500, 200]]).as_json()
    assert without["missed"] == without["unlabelled"] == [[400.0, 100.0, 500.0, 200.0]]


@dataclasses.dataclass
class WristsOfBodies:
    """Networks of which only those of bodies are used: each person has wrists with hands at these positions."""

    persons: Sequence[dict[Side, tuple[float, float]]]
    visibility: float = 0.95

    @property
    def body(self) -> WristsOfBodies:
        return self

    def detect(self, image: np.ndarray) -> list[BodyDetection]:
        return [BodyDetection(0.9, RotatedBox((float(n), 0.0), 100.0)) for n in range(len(self.persons))]

    def read(self, image: np.ndarray, roi: RotatedBox) -> BodyPose:
        return BodyPose(0.99, np.zeros((33, 2)), np.ones(33), roi)

    def hands(self, image: np.ndarray, pose: BodyPose) -> list[BodyHand]:
        wrists = self.persons[int(pose.next_roi.center[0])]
        return [BodyHand(side, RotatedBox(center, 80.0), self.visibility) for side, center in wrists.items()]


LEFT_AND_RIGHT = {Side.LEFT: (400.0, 200.0), Side.RIGHT: (200.0, 200.0)}


def box_at(x: float, y: float) -> np.ndarray:
    return np.array([x - 40, y - 40, x + 40, y + 40])


@pytest.mark.parametrize(
    ("persons", "boxes", "sides"),
    [
        ([LEFT_AND_RIGHT], [(210, 200), (390, 210)], [Side.RIGHT, Side.LEFT]),
        ([LEFT_AND_RIGHT], [(390, 210), (210, 200)], [Side.LEFT, Side.RIGHT]),
        ([LEFT_AND_RIGHT], [(210, 200)], [Side.RIGHT]),
        ([LEFT_AND_RIGHT], [(320, 330)], [None]),
        ([{Side.LEFT: (320, 200), Side.RIGHT: (280, 200)}], [(300, 200)], [None]),
        ([{Side.LEFT: (302, 200), Side.RIGHT: (298, 200)}], [(260, 200), (340, 200)], [None, None]),
        ([{Side.LEFT: (400, 200)}], [(395, 200), (210, 200)], [Side.LEFT, None]),
        ([], [(210, 200)], [None]),
    ],
)
def test_sides_of_boxes_follow_from_the_wrists_of_bodies(persons, boxes, sides):
    networks = WristsOfBodies(persons)
    assert sides_of_bodies(networks, IMAGE, [box_at(*center) for center in boxes]) == sides


def test_wrists_that_are_hardly_visible_are_no_evidence_of_sides():
    assert sides_of_bodies(WristsOfBodies([LEFT_AND_RIGHT], 0.5), IMAGE, [box_at(210, 200)]) == [None]


def test_a_missed_box_that_is_long_is_unlabelled_only():
    long, compact = [100.0, 100.0, 300.0, 190.0], [400.0, 100.0, 500.0, 200.0]
    labels = label(Networks(), [long, compact])
    np.testing.assert_allclose(labels.missed, [compact])
    assert len(labels.unlabelled) == 2 and labels.as_json()["missed_sides"] == [None]


def test_where_not_every_hand_has_a_box_the_rest_of_the_picture_is_unknown_until_two_are_found():
    left, right = Shown(keypoints(420, 220), right=(0.03, 0.05)), Shown(keypoints(200, 200))
    both, one = (label(Networks(*hands), [], all_boxed=False) for hands in ((left, right), (left,)))
    assert both.complete and {hand.side for hand in both.hands} == set(Side)
    assert len(one.hands) == 1 and not one.complete
    np.testing.assert_allclose(one.unlabelled, [[0, 0, *SIZE]])
    assert one.missed.shape == (0, 4)


def test_written_labels_replace_those_of_before(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text("[]")
    rows = [{"file": "a.jpg", "hands": []}, {"file": "b.jpg", "missed": [[1.5, 2.0, 3.0, 4.0]]}]
    write_labels(path, rows)
    assert json.loads(path.read_text()) == rows
    assert [entry.name for entry in tmp_path.iterdir()] == ["labels.json"]
    with pytest.raises(TypeError):
        write_labels(path, [{"file": object()}])
    assert json.loads(path.read_text()) == rows
