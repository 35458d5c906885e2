"""Recordings reconstructed offline: what is written, from which camera, depth and time."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import (  # noqa: E402
    INFO_TOPIC,
    PICTURE,
    TOPIC,
    Bench,
    Recorded,
    compressed_of,
    grey,
    image_of,
    info,
    info_of,
    read_hands_file,
    write_bag,
)
from mcap.reader import make_reader  # noqa: E402
from ros_support import CAMERA, HEIGHT, WIDTH, estimate_of, hand_model  # noqa: E402
from rosbags.rosbag2 import Reader  # noqa: E402

from hand_recon_ros import cli  # noqa: E402
from hand_recon_ros.bags.inputs import info_topic_of  # noqa: E402
from hand_recon_ros.bags.messages import BagError, message_store  # noqa: E402
from hand_recon_ros.bags.output import HANDS, KINDS, TF, WRISTS  # noqa: E402
from hand_recon_ros.calibration import write_calibration  # noqa: E402
from hand_recon_ros.camera import Camera  # noqa: E402
from hand_recon_ros.interact.estimates import with_pose  # noqa: E402
from hand_recon_ros.reconstructor import TwoHandReconstructor  # noqa: E402
from hand_recon_ros.synthetic import Clip, load_clip, rendered_clip  # noqa: E402
from hand_recon_ros.types import HandState, Side  # noqa: E402

# The refinement stops after a time, so that its result depends on the load of the machine.
SETTINGS = {"encoder": "none", "refine_steps": 0}
FRAMES = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return load_clip(rendered_clip(tmp_path_factory.mktemp("clips"), FRAMES, 5))


@functools.cache
def real_reconstructor() -> TwoHandReconstructor:
    return TwoHandReconstructor.from_config(**SETTINGS)


def recorded_clip(clip: Clip, compressed: bool) -> Iterator[Recorded]:
    """The images of a clip and their camera_info, which is recorded a little later, as by many drivers."""
    for number, picture in enumerate(clip.images()):
        stamp = 100.0 + number / 30.0
        if compressed:
            yield f"{TOPIC}/compressed", stamp + 0.002, compressed_of(picture, stamp)
        else:
            yield TOPIC, stamp + 0.002, image_of(picture, stamp)
        yield INFO_TOPIC, stamp + 0.004, info_of(clip.camera, stamp)


def joints_of(hand: Any) -> np.ndarray:
    return np.array([[pose.position.x, pose.position.y, pose.position.z] for pose in hand.joints])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "compressed", "as_file"), [("mcap", True, True), ("db3", False, False), ("db3", True, True)]
)
def test_every_image_has_the_hands_of_the_reconstructor(
    clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str], storage: str, compressed: bool, as_file: bool
) -> None:
    file = write_bag(tmp_path / "recording", recorded_clip(clip, compressed), storage)
    topic = f"{TOPIC}/compressed" if compressed else TOPIC
    out = tmp_path / "new" / "hands.mcap"
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    source = str(file if as_file else file.parent)
    assert cli.main(["bag", source, "--image", topic, "--out", str(out), "--json", *settings]) == 0
    summary = json.loads(capsys.readouterr().out)

    reference = real_reconstructor()
    reference.reset()
    hands = [message for name, _, message in read_hands_file(out) if name == HANDS]
    assert len(hands) == summary["images"] == summary["images_expected"] == FRAMES
    found = dict.fromkeys(Side, 0)
    for number, (picture, message) in enumerate(zip(clip.images(), hands, strict=True)):
        stamp = 100.0 + number / 30.0
        if compressed:
            picture = cv2.imdecode(cv2.imencode(".jpg", picture)[1], cv2.IMREAD_COLOR)
        estimate = reference(picture, clip.camera, stamp=stamp)
        header = message.header
        assert (header.frame_id, header.stamp.sec) == ("camera", 100)
        assert header.stamp.nanosec == pytest.approx(number / 30.0 * 1e9, abs=1.0)
        assert message.calibrated and message.hand_model == hand_model().name and message.dropped == 0
        assert np.isnan(message.latency) and message.inference_time > 0.0
        for side, slot in zip(Side, (message.left, message.right), strict=True):
            hand = estimate.hand(side)
            assert (slot.side, slot.state) == (side, hand.state)
            if hand.found:
                found[side] += 1
                np.testing.assert_allclose(joints_of(slot), hand.joints, atol=1e-6)
                np.testing.assert_allclose(slot.betas, hand.betas, atol=1e-5)
    assert found[Side.LEFT] + found[Side.RIGHT] >= FRAMES
    assert summary["found"] == {side.label: found[side] for side in Side}
    assert summary["calibrated"] == FRAMES and summary["left_out"] == [] and summary["restarts"] == 0
    assert summary["camera_info"] == INFO_TOPIC and summary["duration"] == pytest.approx((FRAMES - 1) / 30.0)
    assert cli.main(["bag", "--check", str(out)]) == 0
    assert f"{FRAMES} images" in capsys.readouterr().err


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_topics_have_the_names_types_and_definitions_that_foxglove_reads(bench: Bench) -> None:
    bench.run(bench.write([grey(1.0), grey(1.1), info(1.0)]))
    with open(bench.out, "rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary is not None
        channels = {each.topic: each for each in summary.channels.values()}
        assert {topic: summary.schemas[each.schema_id].name for topic, each in channels.items()} == KINDS
        assert {each.encoding for each in summary.schemas.values()} == {"ros2msg"}
        assert {each.message_encoding for each in channels.values()} == {"cdr"}
        counts = summary.statistics.channel_message_counts
        assert {topic: counts[each.id] for topic, each in channels.items()} == dict.fromkeys(KINDS, 2)


def test_another_implementation_reads_the_file_by_its_definitions(bench: Bench) -> None:
    decoder = pytest.importorskip("mcap_ros2.decoder")
    bench.run(bench.write([grey(1.5), info(1.5)]))
    estimate = estimate_of()
    with open(bench.out, "rb") as file:
        reader = make_reader(file, decoder_factories=[decoder.DecoderFactory()])
        decoded = {channel.topic: message for _, channel, _, message in reader.iter_decoded_messages()}
    hands = decoded[HANDS]
    assert (hands.header.stamp.sec, hands.header.stamp.nanosec) == (1, 500_000_000)
    np.testing.assert_allclose(joints_of(hands.right), estimate.right.joints, atol=1e-12)
    np.testing.assert_allclose(hands.left.pose, hand_model().to_mano_pose(estimate.left.rotations), atol=1e-6)
    wrist, (left, right) = decoded[WRISTS[Side.RIGHT]].pose.position, decoded[TF].transforms
    np.testing.assert_allclose([wrist.x, wrist.y, wrist.z], estimate.right.joints[0])
    assert (left.child_frame_id, right.child_frame_id) == ("human_left_wrist", "human_right_wrist")
    assert left.header.frame_id == "camera" and right.transform.translation.x == wrist.x


def test_rosbags_reads_the_file(bench: Bench) -> None:
    bench.run(bench.write([grey(1.5), info(1.5)]))
    with Reader(bench.out) as reader:
        kinds = {each.topic: each.msgtype for each in reader.connections}
        times = [time for _, time, _ in reader.messages()]
    assert kinds == KINDS and times == [1_500_000_000] * 4


def test_the_example_of_the_documentation_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run(bench.write([grey(1.5), info(1.5)]))
    monkeypatch.chdir(bench.folder)
    page = Path(__file__).resolve().parent.parent / "docs" / "recordings.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(example, {})
    x, y, z = estimate_of().right.joints[8]
    assert capsys.readouterr().out == f"1 {x} {y} {z}\n"


def test_the_definitions_are_those_of_the_package() -> None:
    msg = pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    for name in ("Hand", "TwoHands"):
        names = [field for field, _ in message_store().fielddefs[f"hand_recon_ros/msg/{name}"][1]]
        assert names == list(getattr(msg, name).get_fields_and_field_types())


def test_ros_reads_the_messages_as_those_of_the_node(bench: Bench) -> None:
    msg = pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from rclpy.serialization import deserialize_message, serialize_message
    from std_msgs.msg import Header

    from hand_recon_ros.conversions.frames import hand_poses
    from hand_recon_ros.ros.messages import build_hands_message

    bench.reconstructor.estimate = lambda *_: estimate_of(left=False)
    bench.run(bench.write([grey(1.5), info(1.5)]))
    estimate = estimate_of(left=False)
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 1, 500_000_000
    message = build_hands_message(estimate, hand_poses(estimate), header, hand_model(), (WIDTH, HEIGHT), 0)
    with open(bench.out, "rb") as file:
        (data,) = [record.data for _, _, record in make_reader(file).iter_messages(topics=[HANDS])]
    written = deserialize_message(data, msg.TwoHands)
    assert np.isnan(written.latency)
    written.latency = message.latency
    # Of which half the numbers are float32 only once it is serialized.
    assert written == deserialize_message(serialize_message(message), msg.TwoHands)


def test_stamps_that_jump_back_and_another_frame_id_start_tracking_again(bench: Bench) -> None:
    recorded = [grey(stamp, 50.0 + number) for number, stamp in enumerate((10.0, 10.1, 10.0, 10.1, 10.2))]
    recorded += [grey(10.3, 60.0, frame_id="other"), info(10.0, 49.0)]
    summary = bench.run(bench.write(recorded))
    assert (summary["images"], summary["restarts"], bench.reconstructor.resets) == (6, 2, 1 + 2)
    assert [hands.header.stamp.nanosec // 10**8 for hands in bench.hands] == [0, 1, 0, 1, 2, 3]


def test_images_without_stamp_have_the_times_of_the_recording(bench: Bench) -> None:
    bench.run(bench.write([grey(0.0, 5.0), grey(0.0, 5.5), grey(0.0, 6.5), info(0.0, 5.0)]))
    times = [stamp for _, _, stamp in bench.reconstructor.calls]
    np.testing.assert_allclose(times, [5.0, 5.5, 6.5])
    assert {hands.header.stamp.sec for hands in bench.hands} == {0}


def test_an_image_has_the_camera_info_of_its_stamp_else_the_newest_before(bench: Bench) -> None:
    recorded = [grey(1.0), grey(2.0, 2.0), grey(3.0), grey(4.0)]
    # Of the second image it comes later; of the third and fourth there is none.
    recorded += [info(1.0, 1.1, 1.0), info(2.0, 2.2, 1.1), info(3.5, 3.6, 1.2), info(9.0, 9.0, 1.3)]
    summary = bench.run(bench.write(recorded))
    np.testing.assert_allclose([camera.K[0, 0] / CAMERA.K[0, 0] for camera in bench.cameras], [1.0, 1.1, 1.1, 1.2])
    assert summary["calibrated"] == 4


def test_a_camera_info_that_was_recorded_once_holds_for_the_images_before(bench: Bench) -> None:
    bench.run(bench.write([grey(1.0), grey(2.0), info(0.0, 1.5)]))
    assert all(camera.calibrated and camera.K[0, 0] == CAMERA.K[0, 0] for camera in bench.cameras)


def test_other_sources_of_the_intrinsics(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    file = bench.write([grey(1.0), ("/elsewhere", 0.9, info_of(CAMERA, 0.9))])
    assert bench.run(file, fov_deg=70.0)["calibrated"] == 0
    error = capsys.readouterr().err
    assert f"{INFO_TOPIC} was not recorded" in error and "/elsewhere" in error and "70 degrees" in error
    assert bench.cameras[-1].K[0, 0] == pytest.approx(WIDTH / 2 / np.tan(np.radians(35.0)))
    assert not any(topic == TF for topic, _, _ in read_hands_file(bench.out)), "no transforms of a guess"
    bench.out = bench.folder / "second.mcap"
    assert bench.run(file, camera_info="/elsewhere")["calibrated"] == 1
    assert bench.cameras[-1].K[0, 0] == CAMERA.K[0, 0]
    twice = Camera(K=CAMERA.K * [[2.0], [2.0], [1.0]], width=2 * WIDTH, height=2 * HEIGHT)
    write_calibration(bench.folder / "camera.yaml", twice)
    bench.out = bench.folder / "third.mcap"
    assert bench.run(file, calibration=str(bench.folder / "camera.yaml"))["calibrated"] == 1
    assert bench.cameras[-1].K[0, 0] == pytest.approx(CAMERA.K[0, 0]) and bench.cameras[-1].width == WIDTH
    assert capsys.readouterr().err == ""
    with pytest.raises(BagError, match="exclude each other"):
        bench.run(file, calibration=str(bench.folder / "camera.yaml"), camera_info="/elsewhere")


def test_an_image_that_does_not_fit_the_calibration_is_left_out(bench: Bench) -> None:
    write_calibration(bench.folder / "camera.yaml", CAMERA)
    tall = (TOPIC, 1.1, image_of(np.zeros((2 * HEIGHT, WIDTH, 3), np.uint8), 1.1))
    summary = bench.run(bench.write([grey(1.0), tall, grey(1.2)]), calibration=str(bench.folder / "camera.yaml"))
    assert summary["images"] == 2 and [each["image"] for each in summary["left_out"]] == [1]


def test_a_camera_info_of_zeros_is_said_once(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    zeros = info_of(CAMERA, 1.0)
    zeros.k, zeros.p = np.zeros(9), np.zeros(12)
    summary = bench.run(bench.write([(INFO_TOPIC, 1.0, zeros), grey(1.0), grey(1.1)]))
    assert (summary["images"], summary["calibrated"]) == (2, 0)
    assert capsys.readouterr().err.count(f"{INFO_TOPIC} is all zeros (not calibrated): intrinsics are guessed") == 1


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("/cam/image_raw", "/cam/camera_info"),
        ("/cam/image_raw/compressed", "/cam/camera_info"),
        ("/image", "/camera_info"),
    ],
)
def test_camera_info_is_beside_the_images(topic: str, expected: str) -> None:
    assert info_topic_of(topic) == expected


def test_depth_images_of_the_nearest_stamp(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def depth(stamp: float, recorded: float, metres: float) -> Recorded:
        pixels = np.full((HEIGHT, WIDTH), metres, "<f4")
        return "/cam/depth", recorded, image_of(pixels, stamp, "32FC1")

    recorded = [info(1.0), grey(1.0), grey(1.1), grey(1.2), grey(3.0)]
    # Recorded after the images, one far off, one cut off.
    recorded += [depth(1.0, 1.25, 0.5), depth(1.11, 1.3, 0.6), depth(3.03, 3.2, 0.7)]
    broken = image_of(np.zeros((HEIGHT, WIDTH), "<f4"), 1.2, "32FC1")
    broken.data = broken.data[:100]
    summary = bench.run(bench.write([*recorded, ("/cam/depth", 1.35, broken)]), depth="/cam/depth", depth_slop=0.04)
    values = [None if each is None else float(each[5, 5]) for each in bench.reconstructor.depths]
    assert values == [pytest.approx(0.5), pytest.approx(0.6), None, pytest.approx(0.7)]
    assert summary["with_depth"] == 3 and summary["images"] == 4
    assert "/cam/depth: data is truncated" in capsys.readouterr().err


def test_images_that_cannot_be_used_are_counted_and_named(bench: Bench) -> None:
    cut = image_of(PICTURE, 1.1)
    cut.data = cut.data[:1000]
    summary = bench.run(bench.write([info(1.0), grey(1.0), (TOPIC, 1.1, cut), grey(1.2)]))
    assert (summary["images"], summary["images_expected"], len(bench.hands)) == (2, 3, 2)
    (left_out,) = summary["left_out"]
    assert (left_out["image"], left_out["stamp"]) == (1, pytest.approx(1.1))
    assert "truncated: 1000 bytes" in left_out["reason"]


def test_nothing_is_written_where_no_image_can_be_used(bench: Bench) -> None:
    file = bench.write([info(1.0), (TOPIC, 1.0, image_of(np.zeros((HEIGHT, WIDTH), np.uint16), 1.0, "16UC1"))])
    with pytest.raises(BagError, match="no image can be used.*looks like a depth image"):
        bench.run(file)
    assert sorted(path.name for path in bench.folder.iterdir()) == ["recording"]


def test_a_hand_that_cannot_be_published_is_lost(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(image: Any, camera: Any, stamp: float) -> Any:
        estimate = estimate_of(stamp=stamp)
        joints = np.where(np.arange(21)[:, None] == 7, np.nan, estimate.left.joints)
        return dataclasses.replace(estimate, left=dataclasses.replace(estimate.left, joints=joints))

    bench.reconstructor.estimate = broken
    assert bench.run(bench.write([info(1.0), grey(1.0), grey(1.1)]))["found"] == {"left": 0, "right": 2}
    assert {hands.left.state for hands in bench.hands} == {HandState.LOST}
    assert capsys.readouterr().err.count("not finite") == 1


def test_with_images_the_file_has_images_and_camera_info_as_they_were(bench: Bench) -> None:
    recorded = [info(1.0, 1.01), grey(1.0), grey(1.1)]
    bench.run(bench.write(recorded, "db3"), with_images=True, publish_tf="off")
    written = read_hands_file(bench.out)
    assert [topic for topic, _, _ in written].count(INFO_TOPIC) == 2
    images = [(time, message) for topic, time, message in written if topic == TOPIC]
    assert [time for time, _ in images] == [1.0, 1.1]
    np.testing.assert_array_equal(images[0][1].data, PICTURE.reshape(-1))
    assert TF not in {topic for topic, _, _ in written}


def test_full_transforms_with_a_prefix(bench: Bench) -> None:
    bench.run(bench.write([info(1.0), grey(1.0)]), publish_tf="full", tf_prefix="cam1_")
    (tf,) = [message for topic, _, message in read_hands_file(bench.out) if topic == TF]
    names = {each.child_frame_id for each in tf.transforms}
    assert len(names) == 42 and {"cam1_left_wrist", "cam1_right_index_tip"} <= names


def test_poses_are_smoothed_by_the_images_around_them_and_none_is_lost(bench: Bench) -> None:
    """The last ones too, and those before time jumps back; each with its own stamp and time of recording."""
    stamps = [*(5.0 + np.arange(10) / 30.0), *(2.0 + np.arange(8) / 30.0)]
    source = bench.write([grey(stamp, recorded=5.0 + number / 30.0) for number, stamp in enumerate(stamps)])
    shake = iter(np.tile([0.01, -0.01], 9))

    def shaking(image: np.ndarray, camera: Camera, stamp: float) -> Any:
        still = estimate_of(camera=camera, stamp=stamp)
        step = np.array([next(shake), 0.0, 0.0])
        left, right = (
            with_pose(hand, hand.rotations, hand.betas, hand.joints[0] + step, hand_model(), camera, False)
            for hand in (still.left, still.right)
        )
        return dataclasses.replace(still, left=left, right=right)

    bench.reconstructor.estimate = shaking
    summary = bench.run(source, smoothing_delay=0.1)
    assert summary["images"] == 18 and summary["restarts"] == 1 and summary["found"] == {"left": 18, "right": 18}
    hands = bench.hands
    np.testing.assert_allclose([m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in hands], stamps, atol=1e-6)
    still = estimate_of().right.joints[0, 0]
    away = np.abs([m.right.wrist.position.x - still for m in hands])
    assert away[3:7].max() < 0.004 and away[13:15].max() < 0.004
    recorded = [time for topic, time, _ in read_hands_file(bench.out) if topic == HANDS]
    np.testing.assert_allclose(recorded, 5.0 + np.arange(18) / 30.0, atol=1e-6)
