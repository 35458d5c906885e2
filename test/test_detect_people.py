"""Several people in one image: whose hands are taken, in a single image and in a stream. Networks are simulated."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from streams import Stream
from test_track_locator import Shown, SimulatedNetworks, frame

from hand_recon_ros import Side
from hand_recon_ros.batch import reconstruct_source
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.body import BodyDetection, BodyHand, BodyPose
from hand_recon_ros.detect.image_decision import decided_people
from hand_recon_ros.detect.image_hands import FoundHand, FoundHands
from hand_recon_ros.detect.image_search import search, search_people
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.reconstructor import TwoHandReconstructor
from hand_recon_ros.sources import SourceError
from hand_recon_ros.track.locator import HandLocator

CONFIG = ReconstructorConfig(encoder="none")
LARGE, SMALL = RotatedBox((200.0, 300.0), 600.0), RotatedBox((500.0, 300.0), 400.0)


@dataclasses.dataclass
class SimulatedPerson:
    body: RotatedBox
    left: Shown
    right: Shown
    shown: tuple[Side, ...] = (Side.LEFT, Side.RIGHT)

    def hand(self, side: Side) -> Shown:
        return self.right if side == Side.RIGHT else self.left


class SimulatedBodies:
    """The pose networks' results for a group of people."""

    def __init__(self, people: list[SimulatedPerson]) -> None:
        self.people = people

    def _person(self, roi: RotatedBox) -> SimulatedPerson | None:
        return next((person for person in self.people if person.body == roi), None)

    def detect(self, image, threshold=0.5, view=None):
        return [BodyDetection(0.9, person.body) for person in self.people]

    def read(self, image, roi):
        return BodyPose(0.01 if self._person(roi) is None else 0.99, np.zeros((33, 2)), np.ones(33), roi)

    def hands(self, image, pose):
        person = self._person(pose.next_roi)
        return tuple(BodyHand(side, tracking_box(person.hand(side).keypoints), 1.0) for side in Side)


class SimulatedPeople(SimulatedNetworks):
    """All networks' results for a group of people."""

    def __init__(self, people: list[SimulatedPerson]) -> None:
        super().__init__()
        self.body = SimulatedBodies(people)
        self.shown = [person.hand(side) for person in people for side in person.shown]


def two_people() -> list[SimulatedPerson]:
    """The first has the larger body, the second the larger hands."""
    first = SimulatedPerson(LARGE, Shown((80, 300), 0.03, 70.0), Shown((230, 300), 0.97, 70.0))
    second = SimulatedPerson(SMALL, Shown((400, 320), 0.03, 95.0), Shown((560, 320), 0.97, 95.0))
    return [first, second]


def places(hands) -> list[tuple[float, float] | None]:
    return [None if hand is None else tuple(hand.hand.keypoints[0].round()) for hand in hands]


def wrists(person: SimulatedPerson) -> list[tuple[float, float]]:
    return [tuple(person.hand(side).keypoints[0].round()) for side in Side]


@pytest.mark.parametrize(("operator", "chosen"), [("largest", 0), ("first", 0), ("nearest", 1)])
def test_the_hands_of_the_operator_are_taken(operator, chosen):
    people = two_people()
    config = dataclasses.replace(CONFIG, operator=operator)
    assert places(search(SimulatedPeople(people), frame().image, config).hands) == wrists(people[chosen])


def test_another_persons_hand_does_not_fill_the_operators_slot():
    people = two_people()
    people[0].left.presence = 0.8  # less than the other person's
    people[1].left.presence = 0.99
    assert places(search(SimulatedPeople(people), frame().image, CONFIG).hands) == wrists(people[0])
    people[0].shown = (Side.RIGHT,)
    assert places(search(SimulatedPeople(people), frame().image, CONFIG).hands) == [None, wrists(people[0])[1]]


def test_the_hands_of_all_people_the_operator_first():
    people = two_people()
    found = search_people(SimulatedPeople(people), frame().image, CONFIG)
    assert [places(one.hands) for one in found] == [wrists(people[0]), wrists(people[1])]
    people[0].shown = (Side.RIGHT,)
    found = search_people(SimulatedPeople(people), frame().image, CONFIG)
    assert [places(one.hands) for one in found] == [[None, wrists(people[0])[1]], wrists(people[1])]


def test_hands_of_people_whose_bodies_are_not_visible_follow_in_pairs():
    people = two_people()
    networks = SimulatedPeople(people)
    networks.body = None
    found = search_people(networks, frame().image, CONFIG)
    assert sorted(place for one in found for place in places(one.hands)) == sorted(
        wrists(people[0]) + wrists(people[1])
    )
    assert len(found) == 2
    assert search_people(SimulatedPeople([]), frame().image, CONFIG) == []


def test_in_a_stream_a_stranger_does_not_take_the_operators_slot():
    people = two_people()
    # The operator's right hand is a fist that no network finds. Both wrists are visible to the pose network.
    people[0].shown, people[1].shown = (Side.LEFT,), ()
    networks = SimulatedPeople(people)
    stream = Stream(CONFIG, networks)
    for _ in range(12):
        left, right = stream.locate(frame())
    assert left is not None and right is None
    # A stranger's right hand comes in, far from both wrists of the operator.
    far = Shown((560, 120), 0.97, 60.0)
    networks.shown.append(far)
    seen = [stream.locate(frame())[1] for _ in range(40)]
    assert seen == [None] * 40
    networks.body.people = []
    seen = [stream.locate(frame())[1] for _ in range(40)]
    assert seen[-1] is not None


@pytest.mark.parametrize(("interval", "rate"), [(0.3, 30.0), (2.0, 30.0), (0.16, 2.5)])
def test_the_pose_is_read_also_where_turns_are_rare(interval, rate):
    people = two_people()[:1]
    people[0].right.palm = 0.0  # only the body's pose locates it
    networks = SimulatedPeople(people)
    networks.shown = [people[0].left]
    stream = Stream(dataclasses.replace(CONFIG, detection_interval=interval), networks, rate)
    for _ in range(round(3.0 * rate)):
        assert stream.locate(frame())[1] is None
    networks.shown.append(people[0].right)
    turns = 2 * 2 * interval + 1.0  # a detection and a reading, with two kinds of steps
    seen = [stream.locate(frame())[1] for _ in range(round(turns * rate) + 8)]
    assert seen[-1] is not None


@pytest.mark.parametrize(("operator", "same"), [("first", True), ("largest", False)])
def test_the_first_person_remains_the_operator_when_a_larger_one_comes_in(operator, same):
    first, other = two_people()
    first.right.palm = other.left.palm = other.right.palm = 0.0
    other = dataclasses.replace(other, body=dataclasses.replace(other.body, size=2 * LARGE.size))
    networks = SimulatedPeople([first])
    stream = Stream(dataclasses.replace(CONFIG, operator=operator), networks)
    for _ in range(120):  # for seconds both hands are followed and no body is read
        left, right = stream.locate(frame())
    assert left is not None and right is not None
    networks.body.people = [first, other]
    networks.shown = [first.left, other.left, other.right]
    for _ in range(20):
        _, right = stream.locate(frame())
    assert (right is None) == same


def test_the_search_for_all_people_ends_where_a_hand_moves_between_crops():
    networks = SimulatedNetworks()
    networks.shown = [Shown((380.0, 300.0), 0.97)]
    hand = networks.read(None, [RotatedBox((350.0, 300.0), 300.0)])[0]
    moved = dataclasses.replace(hand, keypoints=hand.keypoints - [60.0, 0.0])
    found = FoundHands([FoundHand(moved, [3.0])])
    assert len(decided_people(networks, frame().image, found, CONFIG)) <= 1


def test_all_people_of_a_photo_in_files(tmp_path):
    people = two_people()
    reconstructor = TwoHandReconstructor(CONFIG, HandLocator(SimulatedPeople(people)))
    photo = tmp_path / "group.png"
    cv2.imwrite(str(photo), frame().image)
    summary = reconstruct_source(reconstructor, str(photo), tmp_path / "out", 60.0, all_people=True)
    assert summary["results"][0]["people"] == 2
    records = json.loads((tmp_path / "out" / "group.json").read_text())
    for record, person in zip(records, people, strict=True):
        for side in Side:
            wrist = np.array(record[side.label]["keypoints_2d"][0])
            assert np.linalg.norm(wrist - person.hand(side).keypoints[0]) < 0.3 * person.hand(side).size
    reconstruct_source(reconstructor, str(photo), tmp_path / "one", 60.0)
    assert isinstance(json.loads((tmp_path / "one" / "group.json").read_text()), dict)


def test_all_people_of_a_video_are_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    reconstructor = TwoHandReconstructor(CONFIG, HandLocator(SimulatedPeople([])))
    with pytest.raises(SourceError, match="not in videos"):
        reconstruct_source(reconstructor, str(path), tmp_path / "out", 60.0, all_people=True)
