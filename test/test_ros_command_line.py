"""The tools people use with the node read it: the ros2 command line, and transforms looked up with tf2_ros."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from hand_recon_ros.msg import Hand, TwoHands  # noqa: E402
from ros_support import NodeOnDds, camera_info, estimate_of  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 60.0

ROS2 = shutil.which("ros2", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
needs_ros2 = pytest.mark.skipif(not ROS2, reason="ros2 is not installed: see tools/build_ros_overlay.py")
needs_tf2 = pytest.mark.skipif(
    not importlib.util.find_spec("tf2_ros"), reason="tf2_ros is not installed: see tools/build_ros_overlay.py"
)


# A command discovers by itself, so that no daemon outlives the tests.
DISCOVERY = ("--no-daemon", "--spin-time", "3")


def ros2(*arguments: str) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run([str(ROS2), *arguments], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dds() -> Iterator[NodeOnDds]:
    with NodeOnDds() as node:
        node.send_info(camera_info())
        yield node


@needs_ros2
@pytest.mark.parametrize("file", sorted((ROOT / "launch").glob("*.launch.py")), ids=lambda file: file.name)
def test_launch_shows_the_arguments_of_each_file(file: Path) -> None:
    text = ros2("launch", "hand_recon_ros", file.name, "--show-args")
    assert "'fallback_fov':" in text and "'publish_tf':" in text and "(default: " in text


@needs_ros2
def test_the_package_offers_its_executables() -> None:
    assert {"hand_recon", "camera_source"} <= set(ros2("pkg", "executables", "hand_recon_ros").split())


@needs_ros2
def test_run_starts_the_node_and_an_interrupt_ends_it(dds: NodeOnDds) -> None:
    command = [str(ROS2), "run", "hand_recon_ros", "hand_recon", "--ros-args", "-p", "autostart:=false"]
    # A terminal interrupts the whole process group: ros2 run and the node.
    process = subprocess.Popen(
        [*command, "-r", "__node:=started_by_run"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        dds.wait(lambda: "started_by_run" in dds.client.get_node_names(), "the node", TIMEOUT)
        assert ros2("lifecycle", "get", "/started_by_run", *DISCOVERY).startswith("unconfigured")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0 and "Traceback" not in output, output


@needs_ros2
def test_echo_prints_the_hands(dds: NodeOnDds) -> None:
    printed: list[str] = []
    topic = ("/hand_recon/hands", "hand_recon_ros/msg/TwoHands")
    echo = threading.Thread(target=lambda: printed.append(ros2("topic", "echo", "--once", *topic, *DISCOVERY)))
    before = dds.node.count_subscribers("/hand_recon/hands")
    echo.start()
    dds.wait(lambda: dds.node.count_subscribers("/hand_recon/hands") > before, "echo", TIMEOUT)
    while echo.is_alive():
        dds.process()
    (text,) = printed
    (message,) = filter(None, yaml.safe_load_all(text))
    assert message["header"]["frame_id"] == "camera"
    for name in ("left", "right"):
        joints = [list(pose["position"].values()) for pose in message[name]["joints"]]
        np.testing.assert_allclose(joints, getattr(estimate_of(), name).joints, atol=1e-9)


@needs_ros2
def test_parameters_are_read_and_set(dds: NodeOnDds) -> None:
    assert ros2("param", "get", *DISCOVERY, "/hand_recon", "tf_prefix") == "String value is: human_\n"
    assert "successful" in ros2("param", "set", *DISCOVERY, "/hand_recon", "min_presence", "0.25")
    assert dds.node.get_parameter("min_presence").value == 0.25


@needs_tf2
def test_tf2_looks_up_the_wrists_at_the_stamp_of_the_image(dds: NodeOnDds) -> None:
    from rclpy.time import Time
    from tf2_ros import Buffer, TransformListener

    buffer = Buffer()
    listener = TransformListener(buffer, dds.client)
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    dds.wait(lambda: dds.node.count_subscribers("/tf"), "the listener")
    count = len(hands)
    for _ in range(3):
        dds.process()
    dds.wait(lambda: len(hands) == count + 3, "three results")
    for message in hands[count:]:
        for name in ("left", "right"):
            hand: Hand = getattr(message, name)
            frame, stamp = f"human_{name}_wrist", Time.from_msg(message.header.stamp)
            dds.wait(lambda frame=frame, stamp=stamp: buffer.can_transform("camera", frame, stamp), f"{frame} on /tf")
            found = buffer.lookup_transform("camera", frame, stamp)
            assert found.header.stamp == message.header.stamp
            place, position = found.transform.translation, hand.wrist.position
            np.testing.assert_allclose(
                [place.x - position.x, place.y - position.y, place.z - position.z], 0, atol=1e-12
            )
            q, p = found.transform.rotation, hand.wrist.orientation  # q and -q are one rotation
            assert abs(q.x * p.x + q.y * p.y + q.z * p.z + q.w * p.w) == pytest.approx(1.0, abs=1e-12)
    listener.unregister()
    dds.unlisten(hands)
