"""The node hand_recon_view over DDS, where something is wrong: what it says, and how it goes on or ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from ros_support import CAMERA, estimate_of, image_message  # noqa: E402
from view_support import DEBUG_IMAGE, MARKERS, View  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from hand_recon_ros.camera import Camera  # noqa: E402
from hand_recon_ros.config import ConfigError  # noqa: E402
from hand_recon_ros.ros import monitor  # noqa: E402


@pytest.fixture
def view() -> Iterator[View]:
    with View() as running:
        yield running


def test_hands_that_cannot_be_drawn_are_left_out(view: View) -> None:
    markers = view.listen(*MARKERS)
    message = view.hands(estimate_of(), 1.0)
    for fields, reason in (
        ({"left": changed(message.left, betas=np.full(10, np.nan, np.float32))}, "the left hand holds values"),
        ({"right": changed(message.right, state=7)}, "cannot be drawn: 7 is not a valid HandState"),
        ({"hand_model": "mano"}, "of the hand model 'mano', and 'webxr_generic' is loaded"),
    ):
        before = len(markers)
        view.hands(estimate_of(), 2.0, **fields)
        view.wait(lambda reason=reason: [text for text in view.node.problems.active() if reason in text], f"{reason!r}")
        view.settle()
        actions = [(m.ns, m.id, m.action) for array in markers[before:] for m in array.markers]
        if "left" in fields:
            assert {("left", 0, Marker.DELETE), ("right", 0, Marker.ADD)} <= set(actions)
        elif "right" in fields:
            assert actions == []
        else:
            assert {(side, part, Marker.ADD) for side in ("left", "right") for part in (1, 2)} == set(actions)
    view.hands(estimate_of(), 3.0)
    view.wait(lambda: not view.node.problems.active(), "the end of the problems")


def changed(message: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def test_what_is_wrong_with_images_is_said(view: View) -> None:
    raw = view.listen(*DEBUG_IMAGE)

    def problem(*words: str) -> None:
        view.wait(lambda: [t for t in view.node.problems.active() if all(word in t for word in words)], f"{words}")

    def both(number: int, message: Any = None) -> None:
        view.image(number, message)
        view.hands(estimate_of(), number)

    both(1)
    view.settle()
    assert view.node.problems.active() == [], "the camera_info may be on its way"
    time.sleep(1.0)
    both(2)
    problem("there is no /camera_info for the images on /image", "fallback_fov")
    view.info(Camera(K=CAMERA.K, width=640, height=480))
    both(3)
    problem("/camera_info 640x480 does not match image 320x240")
    view.info()
    both(4, image_message(step=5))
    problem("step is 5 bytes")
    assert not raw
    both(5)
    view.wait(lambda: raw, "a good image")
    assert view.node.problems.active() == []
    assert len([text for text in view.warnings() if "step is 5" in text]) == 1


def test_hands_in_another_frame_are_not_drawn_on_the_image(view: View) -> None:
    raw, markers = view.listen(*DEBUG_IMAGE), view.listen(*MARKERS)
    view.info()
    view.image(1)
    view.hands(estimate_of(), 1, frame_id="base")
    view.wait(lambda: [t for t in view.node.problems.active() if "'base'" in t and "target_frame" in t], "the report")
    view.wait(lambda: markers, "the markers")
    assert not raw and {marker.header.frame_id for marker in markers[0].markers} == {"base"}
    view.image(2)
    view.hands(estimate_of(), 2)
    view.wait(lambda: raw, "an image of hands in its frame")
    assert view.node.problems.active() == []


def test_a_fault_of_the_drawing_does_not_end_the_node(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no ink")

    raw = view.listen(*DEBUG_IMAGE)
    view.info()
    with monkeypatch.context() as patched:
        patched.setattr("hand_recon_ros.overlay.draw_overlay", broken)
        for number in (1, 2):
            view.image(number)
            view.hands(estimate_of(), number)
        view.wait(lambda: view.node.problems.active(error=True), "the report")
        (text,) = view.node.problems.active(error=True)
        assert "RuntimeError: no ink" in text and "test_ros_view_faults.py" in text
    view.image(3)
    view.hands(estimate_of(), 3)
    view.wait(lambda: raw, "the next image")
    view.wait(lambda: not view.node.problems.active(), "the end of the problem")
    assert len([text for text in view.warnings() if "no ink" in text]) == 1


def test_why_nothing_is_drawn_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "SILENCE", 1)
    with View() as view:

        def problem(text: str) -> None:
            view.wait(lambda: [t for t in view.node.problems.active() if text in t], text)

        time.sleep(2.5)
        assert view.node.problems.active() == [], "nobody watches"
        raw = view.listen(*DEBUG_IMAGE)
        problem("nobody publishes on /hands: start hand_recon, or remap hands to its topic")
        problem("nobody publishes on /image: start the camera driver, or remap image to its topic")
        view.info()
        end = time.monotonic() + 10.0
        reason = "no image on /image has the stamp of hands on /hands"
        number = 0
        while time.monotonic() < end and not any(reason in text for text in view.node.problems.active()):
            number += 1
            view.image(number)
            view.hands(estimate_of(), number + 0.5)
            time.sleep(0.1)
        problem(reason)
        view.image(1000)
        view.hands(estimate_of(), 1000)
        view.wait(lambda: raw and not view.node.problems.active(), "all is well")
        view.unlisten(raw)


def test_parameters_that_cannot_be_used_are_refused(view: View) -> None:
    for values, words in (
        ({"marker_rate": 0.0}, "marker_rate"),
        ({"fallback_fov": 0.5}, "fallback_fov must be 0 (off)"),
        ({"use_compressed": True}, "read-only"),
    ):
        result = view.set_parameters(**values)
        assert not result.successful and words in result.reason
    assert view.set_parameters(debug_image_quality=50, fallback_fov=70).successful


def test_start_parameters_that_cannot_be_used_are_refused() -> None:
    for values, words in (
        ({"hand_model": "/no/such.npz"}, "no such hand model"),
        ({"marker_rate": 0.5}, "marker_rate"),
    ):
        with pytest.raises(ConfigError, match=words):
            View(**values)


def test_markers_are_deleted_when_the_node_ends() -> None:
    with View() as view:
        markers = view.listen(*MARKERS)
        view.hands(estimate_of(), 1.0)
        view.wait(lambda: markers, "markers")
        view.node.close()
        view.wait(lambda: len(markers) == 2, "the last message")
        assert {(m.ns, m.action) for m in markers[1].markers} == {("left", Marker.DELETE), ("right", Marker.DELETE)}


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["SIGINT", "SIGTERM"])
def test_the_process_has_a_low_priority_and_ends_by_a_signal(signals: tuple[signal.Signals, ...]) -> None:
    command = [sys.executable, "-m", "hand_recon_ros.ros.view", "--ros-args", "-p", "niceness:=3"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "hands from /hands" in process.stderr.readline()
    expected = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)
    end = time.monotonic() + 10.0
    while os.getpriority(os.PRIO_PROCESS, process.pid) != expected:
        assert time.monotonic() < end, "its priority is not lowered"
        time.sleep(0.02)
    for number in signals:
        process.send_signal(number)
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_the_process_refuses_bad_arguments() -> None:
    command = [sys.executable, "-m", "hand_recon_ros.ros.view", "--ros-args", "-p", "marker_rate:=0"]
    bad = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1 and "marker_rate must lie in" in bad.stderr and "Traceback" not in bad.stderr
