"""The check of a file of hands finds what is wrong with it, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import Recorded, image_of, info_of, rewrite, write_bag  # noqa: E402
from mcap.writer import Writer  # noqa: E402
from ros_support import CAMERA, HEIGHT, WIDTH, ScriptedReconstructor, estimate_of, hand_estimate  # noqa: E402

from hand_recon_ros import cli  # noqa: E402
from hand_recon_ros.bags.check import check_hands_file  # noqa: E402
from hand_recon_ros.bags.faults import KEPT_OF_A_KIND, Faults  # noqa: E402
from hand_recon_ros.bags.hand_rules import BONE_CHANGE  # noqa: E402
from hand_recon_ros.bags.images import ImageOptions, RecordedImages  # noqa: E402
from hand_recon_ros.bags.messages import BagError, definition  # noqa: E402
from hand_recon_ros.bags.output import HANDS, KINDS, TF, WRISTS  # noqa: E402
from hand_recon_ros.bags.reconstruct import reconstruct_recording  # noqa: E402
from hand_recon_ros.types import HandEstimate, HandState, Side  # noqa: E402

PICTURE = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
STAMPS = [10.0, 10.2, 10.4, 10.6]


class Moving(ScriptedReconstructor):
    """Both hands of moving wrists; the left one is LOST in the second image and predicted in the last."""

    def __init__(self) -> None:
        super().__init__()
        self.estimate = self.hands

    def hands(self, image: Any, camera: Any, stamp: float) -> Any:
        estimate = estimate_of(camera=camera, stamp=stamp)
        if stamp == pytest.approx(10.2):
            return dataclasses.replace(estimate, left=HandEstimate.lost(Side.LEFT, 0.1))
        if stamp == pytest.approx(10.6):
            return dataclasses.replace(estimate, left=hand_estimate(Side.LEFT, HandState.PREDICTED))
        return estimate


def reconstruct(folder: Path, stamps: list[float]) -> Path:
    recorded: list[Recorded] = [("/camera_info", 9.0, info_of(CAMERA, 9.0))]
    recorded += [("/image", 20.0 + number, image_of(PICTURE, stamp)) for number, stamp in enumerate(stamps)]
    source = write_bag(folder / "recording", recorded)
    with RecordedImages(source, "/image", ImageOptions()) as images:
        reconstruct_recording(Moving(), images, folder / "hands.mcap")  # type: ignore[arg-type]
    return folder / "hands.mcap"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reconstruct(tmp_path_factory.mktemp("good"), STAMPS)


def hands_of(recorded: list[Recorded]) -> list[Any]:
    return [message for topic, _, message in recorded if topic == HANDS]


def place(recorded: list[Recorded], topic: str, number: int = 0) -> int:
    return [index for index, each in enumerate(recorded) if each[0] == topic][number]


def test_a_good_file_has_no_fault(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (good, rewrite(good, tmp_path / "again.mcap", lambda recorded: None)):
        report = check_hands_file(path)
        assert report["faults"] == []
        assert (report["images"], report["found"], report["restarts"]) == (4, {"left": 3, "right": 4}, 0)
        assert report["tracks"] == {"left": 1, "right": 1}
    assert cli.main(["bag", "--check", str(good)]) == 0
    assert "4 images, left hand in 3, right hand in 4: no fault" in capsys.readouterr().err


def not_finite(recorded: list[Recorded]) -> None:
    hands_of(recorded)[1].right.joints[7].position.y = np.nan


def quaternion(recorded: list[Recorded]) -> None:
    hands_of(recorded)[1].right.joints[7].orientation.w += 0.01


def wrong_slot(recorded: list[Recorded]) -> None:
    hands = hands_of(recorded)[0]
    hands.left, hands.right = hands.right, hands.left


def unknown_state(recorded: list[Recorded]) -> None:
    hands_of(recorded)[0].left.state = 7


def lost_with_pose(recorded: list[Recorded]) -> None:
    hands_of(recorded)[0].left.state = 0


def score(recorded: list[Recorded]) -> None:
    left = hands_of(recorded)[0].left
    left.joint_scores = left.joint_scores + 0.6


def moved_joint(recorded: list[Recorded]) -> None:
    hands_of(recorded)[2].right.joints[8].position.x += 0.002


def betas(recorded: list[Recorded]) -> None:
    right = hands_of(recorded)[2].right
    right.betas = right.betas + 1.0


def pinch(recorded: list[Recorded]) -> None:
    hands_of(recorded)[2].right.pinch_distance += 0.01


def mirrored(recorded: list[Recorded]) -> None:
    hand = hands_of(recorded)[2].right
    wrist = hand.joints[0].orientation
    wrist.x, wrist.y, wrist.z, wrist.w = wrist.w, wrist.z, -wrist.y, -wrist.x
    hand.wrist = hand.joints[0]


def behind(recorded: list[Recorded]) -> None:
    for joint in hands_of(recorded)[0].left.joints:
        joint.position.z -= 2.0


def larger_hand(recorded: list[Recorded]) -> None:
    """A hand that grows about the camera, as a whole: each message is right by itself but for the model."""
    hand = hands_of(recorded)[2].right
    for pose in hand.joints:
        p = pose.position
        p.x, p.y, p.z = (value * (1.0 + 1.5 * BONE_CHANGE) for value in (p.x, p.y, p.z))
    hand.wrist = hand.joints[0]
    hand.pinch_distance *= 1.0 + 1.5 * BONE_CHANGE
    for message in hands_of(recorded):
        message.hand_model = "another"


def swapped(recorded: list[Recorded]) -> None:
    first, second = place(recorded, HANDS, 2), place(recorded, HANDS, 3)
    (topic, time, one), (_, other_time, other) = recorded[first], recorded[second]
    recorded[first], recorded[second] = (topic, time, other), (topic, other_time, one)


def later_first(recorded: list[Recorded]) -> None:
    recorded.reverse()


def without_one(recorded: list[Recorded]) -> None:
    del recorded[place(recorded, HANDS, 3)]


def without_wrist(recorded: list[Recorded]) -> None:
    del recorded[place(recorded, WRISTS[Side.LEFT], 1)]


def other_wrist(recorded: list[Recorded]) -> None:
    recorded[place(recorded, WRISTS[Side.RIGHT], 1)][2].pose.position.x += 1e-6


def other_transform(recorded: list[Recorded]) -> None:
    recorded[place(recorded, TF, 1)][2].transforms[0].transform.translation.x += 1e-6


def other_frame(recorded: list[Recorded]) -> None:
    recorded[place(recorded, TF, 1)][2].transforms[0].child_frame_id = "human_elbow"


def no_inference_time(recorded: list[Recorded]) -> None:
    hands_of(recorded)[3].inference_time = np.inf


FAULTS: list[tuple[Callable[[list[Recorded]], None], str]] = [
    (not_finite, "stamp 10.200: right hand holds values that are not finite"),
    (quaternion, "stamp 10.200: right hand quaternions are not of unit length"),
    (wrong_slot, "side is 1 in the slot of the left hand"),
    (unknown_state, "left hand unknown state 7"),
    (lost_with_pose, "left hand is LOST and not zero"),
    (score, "scores do not lie in 0..1"),
    (moved_joint, "mm off those of pose, betas and translation"),
    (betas, "mm off those of pose, betas and translation"),
    (pinch, "pinch_distance is not that of the fingertips"),
    (mirrored, "the wrist frame is not that of keypoints 0, 5 and 9"),
    (behind, "left hand lies behind the camera"),
    (larger_hand, "a bone changes its length by 15% from image to image"),
    (swapped, "the stamp goes back by 0.200 s while track 4 lasts"),
    (later_first, "comes after a later one"),
    (without_one, "3 messages, expected 4"),
    (without_wrist, "/hand_recon/left/wrist: 2 poses, expected 3"),
    (other_wrist, "/hand_recon/right/wrist: the pose at 10.200 is not that of the hand at 10.200"),
    (other_transform, "/tf of right_wrist: the pose at 10.200"),
    (other_frame, "/tf of right_wrist: 3 poses, expected 4"),
    (no_inference_time, "inference_time is inf"),
]


@pytest.mark.parametrize(("change", "text"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[Recorded]], None],
    text: str,
) -> None:
    path = rewrite(good, tmp_path / "bad.mcap", change)
    report = check_hands_file(path)
    faults = report["faults"]
    assert any(text in fault for fault in faults) and report["fault_count"] == len(faults), faults
    assert cli.main(["bag", "--check", str(path)]) == 1
    assert f"bad.mcap: faults: {len(faults)}\n{faults[0]}\n" in capsys.readouterr().err


def test_many_faults_are_counted_and_few_of_each_kind_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 3 * KEPT_OF_A_KIND
    path = reconstruct(tmp_path, [10.0 + 0.1 * number for number in range(count)])

    def spoil(recorded: list[Recorded]) -> None:
        for number, message in enumerate(hands_of(recorded)):
            message.right.pinch_distance += 0.01 + 0.001 * number
        hands_of(recorded)[-1].inference_time = -1.0

    path = rewrite(path, tmp_path / "bad.mcap", spoil)
    report = check_hands_file(path)
    pinches = [line for line in report["faults"] if "pinch_distance" in line]
    assert report["fault_count"] == count + 1 and len(report["faults"]) == KEPT_OF_A_KIND + 1
    assert len(pinches) == KEPT_OF_A_KIND and pinches[-1].endswith(f"(and {count - KEPT_OF_A_KIND} more of this kind)")
    assert any("inference_time is -1.0" in line for line in report["faults"])
    assert cli.main(["bag", "--check", str(path)]) == 1
    assert f"bad.mcap: faults: {count + 1}\n" in capsys.readouterr().err


def test_the_kinds_of_faults_are_bounded_too() -> None:
    faults = Faults()
    faults.add(f"frame {chr(number)} is wrong" for number in range(0x4E00, 0x4E00 + 1000))
    assert faults.count == 1000 and len(faults.lines()) < 300
    assert sum(int(line.split("(and ")[1].split()[0]) for line in faults.lines() if "(and" in line) > 700


def test_a_recording_that_starts_again_is_no_fault(tmp_path: Path) -> None:
    path = reconstruct(tmp_path, [10.0, 10.3, 10.0, 10.3])
    assert check_hands_file(path)["faults"], "the scripted hands keep their ids"

    def new_ids(recorded: list[Recorded]) -> None:
        for message in hands_of(recorded)[2:]:
            message.left.track_id, message.right.track_id = 7, 8

    report = check_hands_file(rewrite(path, tmp_path / "new.mcap", new_ids))
    assert report["faults"] == [] and report["restarts"] == 1 and report["tracks"] == {"left": 2, "right": 2}


def write_topics(path: Path, topics: dict[str, tuple[str, str, str]]) -> Path:
    """An MCAP file without messages, with these topics: type, definition and encoding."""
    with open(path, "wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        for topic, (kind, text, encoding) in topics.items():
            schema = writer.register_schema(kind, "ros2msg", text.encode())
            writer.register_channel(topic, encoding, schema)
        writer.finish()
    return path


def test_names_types_and_definitions(tmp_path: Path) -> None:
    right = {topic: (kind, definition(kind), "cdr") for topic, kind in KINDS.items()}
    cases = [
        ({**right, HANDS: ("std_msgs/msg/String", "string data\n", "cdr")}, f"{HANDS} is of type std_msgs/msg/String"),
        ({**right, HANDS: (KINDS[HANDS], "uint8 side\n", "cdr")}, "is not that of this package"),
        ({**right, TF: (*right[TF][:2], "json")}, "encoded as 'json'"),
        ({topic: entry for topic, entry in right.items() if topic != HANDS}, f"there is no topic {HANDS}"),
        (right, "the record hand_recon_ros of what the file was made from is missing"),
    ]
    for number, (topics, text) in enumerate(cases):
        (fault,) = check_hands_file(write_topics(tmp_path / f"{number}.mcap", topics))["faults"]
        assert text in fault


def test_files_that_are_cut_off_or_no_mcap(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    path = tmp_path / "cut.mcap"
    for size in (0, 5, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(BagError, match="cut.mcap: .*cut off"):
            check_hands_file(path)
    spoiled = bytearray(data)
    spoiled[len(data) // 3] ^= 0xFF
    path.write_bytes(spoiled)
    with pytest.raises(BagError, match="cut.mcap: "):
        check_hands_file(path)
    with pytest.raises(BagError, match="missing.mcap: No such file"):
        check_hands_file(tmp_path / "missing.mcap")
