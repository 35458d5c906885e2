"""Bad input over real DDS: each kind is logged once, nothing wrong is published, and the node continues."""

from __future__ import annotations

import array
import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from hand_recon_ros.msg import TwoHands  # noqa: E402
from ros_support import HEIGHT, WIDTH, K, NodeOnDds, camera_info, estimate_of, image_message  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from hand_recon_ros.camera import Camera  # noqa: E402


@pytest.fixture(scope="module")
def shared() -> Iterator[NodeOnDds]:
    with NodeOnDds() as dds:
        # Each case below is to be logged, however soon it comes after one of the same kind.
        dds.node.problems.rearm_after = 0.0
        yield dds


@pytest.fixture
def dds(shared: NodeOnDds) -> NodeOnDds:
    """The shared node, with a good camera_info, in working order."""
    shared.send_info(camera_info())
    shared.process()
    return shared


def refused(dds: NodeOnDds, message: object, words: list[str], topic: str = "image") -> None:
    """Three times the same bad image: one log line with the words, no result; then a good image works."""
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    before = len(dds.warnings())
    processed = dds.node.counters.processed
    for _ in range(3):
        dds.process(message, topic=topic)
    new = dds.warnings()[before:]
    assert len(new) == 1, new
    for word in words:
        assert word in new[0], new[0]
    assert "\n" not in new[0]
    assert dds.node.counters.processed == processed
    assert not hands
    recovers(dds, hands)
    dds.unlisten(hands)


def recovers(dds: NodeOnDds, hands: list[TwoHands]) -> None:
    count, before = len(hands), len(dds.warnings())
    stamp = dds.process() if not dds.node.get_parameter("use_compressed").value else None
    dds.wait(lambda: len(hands) == count + 1, "the next good image")
    assert hands[-1].header.stamp == stamp
    assert dds.warnings()[before:] == []


BAD_IMAGES = {
    "truncated": (lambda: image_message(data=array.array("B", bytes(100))), ["/image", "truncated", "100 bytes"]),
    "too long": (lambda: image_message(data=array.array("B", bytes(WIDTH * HEIGHT * 4))), ["too long", "307200"]),
    "empty": (lambda: image_message(data=array.array("B")), ["truncated", " 0 bytes", "230400"]),
    "zero size": (lambda: image_message(width=0, height=0, data=array.array("B")), ["0x0"]),
    "wrong step": (lambda: image_message(step=WIDTH), ["step is 320", "960"]),
    "unknown encoding": (lambda: image_message(encoding="xyz9"), ["'xyz9'", "bgr8", "set the driver"]),
    "depth": (lambda: image_message(np.zeros((HEIGHT, WIDTH), np.float32), "32FC1"), ["32FC1", "depth", "remap"]),
    "1x1": (lambda: image_message(np.zeros((1, 1, 3), np.uint8)), ["1x1", "16x16"]),
    "another size": (lambda: image_message(np.zeros((48, 64, 3), np.uint8)), ["320x240", "64x48", "/camera_info"]),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images(dds: NodeOnDds, name: str) -> None:
    make, words = BAD_IMAGES[name]
    refused(dds, make(), words)


BAD_INFOS = {
    "another size": ({"width": 640, "height": 480}, ["/camera_info 640x480 does not match image 320x240 on /image"]),
    "K of zeros": ({"k": [0.0] * 9}, ["K of /camera_info is all zeros", "fallback_fov"]),
    "NaN in K": ({"k": np.where(np.eye(3) > 0, np.nan, K).reshape(-1)}, ["/camera_info", "not finite"]),
    "unknown distortion": ({"distortion_model": "weird"}, ["'weird'", "plumb_bob", "equidistant"]),
    "no size": ({"width": 0, "height": 0}, ["/camera_info", "0x0"]),
}


@pytest.mark.parametrize("name", BAD_INFOS)
def test_bad_camera_info(dds: NodeOnDds, name: str) -> None:
    fields, words = BAD_INFOS[name]
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    before = len(dds.warnings())
    dds.send_info(camera_info(**fields))
    for _ in range(3):
        dds.process()
    new = dds.warnings()[before:]
    assert len(new) == 1, new
    for word in words:
        assert word in new[0]
    assert not hands
    dds.send_info(camera_info())
    recovers(dds, hands)
    dds.unlisten(hands)


@pytest.mark.parametrize("big", [0, 1])
def test_sixteen_bits_in_either_byte_order_are_read(dds: NodeOnDds, big: int) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    seen: list[np.ndarray] = []

    def look(image: np.ndarray, camera: Camera, stamp: float) -> object:
        seen.append(image.copy())
        return estimate_of(stamp=stamp)

    dds.reconstructor.estimate = look
    wide = np.full((HEIGHT, WIDTH), 0x80FF, ">u2" if big else "<u2")
    dds.process(image_message(wide, "mono16", is_bigendian=big))
    dds.wait(lambda: hands, "a result")
    assert seen[0].shape == (HEIGHT, WIDTH, 3)
    assert (seen[0] == 0x80).all()
    dds.unlisten(hands)


def test_an_8k_image_is_processed(dds: NodeOnDds) -> None:
    camera = Camera.from_fov(7680, 4320, 60.0)
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    dds.send_info(camera_info(camera))
    dds.process(image_message(np.zeros((4320, 7680, 3), np.uint8)))
    dds.wait(lambda: hands, "a result")
    assert dds.reconstructor.calls[-1][0] == (4320, 7680, 3)
    dds.send_info(camera_info())
    recovers(dds, hands)
    dds.unlisten(hands)


def test_an_empty_frame_id_gives_hands_but_no_transforms(dds: NodeOnDds) -> None:
    hands, tf = dds.listen(TwoHands, "/hand_recon/hands"), dds.listen(TFMessage, "/tf")
    before = len(dds.warnings())
    for _ in range(3):
        dds.process(image_message(frame_id=""))
    dds.wait(lambda: len(hands) == 3, "three results")
    new = dds.warnings()[before:]
    assert len(new) == 1 and "frame_id is empty" in new[0]
    assert not tf
    recovers(dds, hands)
    dds.wait(lambda: tf, "transforms again")


def test_stamps_that_jump_back_reset_the_filters(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    now = time.time()
    dds.process(stamp=now)
    resets, before = dds.reconstructor.resets, len(dds.warnings())
    for step in (-5.0, -4.9, -4.8):  # a recording that starts again
        dds.process(stamp=now + step)
    dds.wait(lambda: len(hands) == 4, "all results")
    assert dds.reconstructor.resets == resets + 1
    new = dds.warnings()[before:]
    assert len(new) == 1 and "jumps back by 5.000 s" in new[0]
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in hands]
    np.testing.assert_allclose(stamps, [now, now - 5.0, now - 4.9, now - 4.8], atol=1e-6)


def test_stamps_in_the_future_are_processed_and_reported(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    before = len(dds.warnings())
    now = time.time()
    for step in (60.0, 60.1, 60.2):
        dds.process(stamp=now + step)
    dds.wait(lambda: len(hands) == 3, "all results")
    new = dds.warnings()[before:]
    assert len(new) == 1 and "s in the future" in new[0] and "clock" in new[0]
    assert all(np.isnan(m.latency) for m in hands)
    dds.process()


def test_old_images_are_discarded_where_that_is_asked_for(dds: NodeOnDds) -> None:
    assert dds.set_parameters(max_image_age=1.0).successful
    before, processed = len(dds.warnings()), dds.node.counters.processed
    for _ in range(3):
        dds.process(stamp=time.time() - 5.0)
    new = dds.warnings()[before:]
    assert len(new) == 1 and "max_image_age = 1 s" in new[0]
    assert dds.node.counters.processed == processed
    assert dds.set_parameters(max_image_age=0.0).successful
