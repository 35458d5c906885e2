"""Faults of the node over real DDS: a worker that hangs or ends, failed transitions, bad stamps and frame names."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from hand_recon_ros.msg import TwoHands  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.lifecycle import LifecyclePublisher  # noqa: E402
from ros_support import NodeOnDds, ScriptedReconstructor, camera_info, image_message  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from hand_recon_ros.ros.outputs import Outputs  # noqa: E402
from hand_recon_ros.ros.worker import Worker  # noqa: E402
from hand_recon_ros.runtime.devices import DeviceError  # noqa: E402
from hand_recon_ros.types import TwoHandEstimate  # noqa: E402


def change(dds: NodeOnDds, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(dds.call(ChangeState, "/hand_recon/change_state", request).success)


def status_where(
    dds: NodeOnDds, diagnostics: list[DiagnosticArray], condition: Callable[[DiagnosticStatus], bool]
) -> DiagnosticStatus:
    """The first status from now on that fulfils the condition."""
    begin = len(diagnostics)
    return dds.wait(
        lambda: next((s for message in diagnostics[begin:] for s in message.status if condition(s)), None), "the status"
    )


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


@pytest.fixture
def dds() -> Iterator[NodeOnDds]:
    with NodeOnDds() as made:
        made.send_info(camera_info())
        yield made


@pytest.fixture
def release(dds: NodeOnDds) -> Iterator[threading.Event]:
    """From now on the reconstruction takes until this is set."""
    works, event = dds.reconstructor.estimate, threading.Event()

    def hangs(*arguments: Any) -> TwoHandEstimate:
        event.wait(60.0)
        return works(*arguments)

    dds.reconstructor.estimate = hangs
    yield event
    event.set()


def test_a_hanging_worker_is_an_error_and_everything_else_answers(
    dds: NodeOnDds, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hand_recon_ros.ros.node.STOP_TIMEOUT", 0.3)
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    dds.send(image_message())
    status = status_where(dds, diagnostics, lambda status: status.level == DiagnosticStatus.ERROR)
    assert "the image in work has taken" in status.message and "restart the node" in status.message
    assert len(dds.logged("ERROR")) == 1

    response = dds.call(Trigger, "/hand_recon/reset_tracking", Trigger.Request())
    assert not response.success and "after it" in response.message
    response = dds.call(SetBool, "/hand_recon/set_enabled", SetBool.Request(data=False))
    assert response.success and "paused" in response.message
    assert change(dds, Transition.TRANSITION_DEACTIVATE) and dds.node.state == "inactive"
    assert "the worker has not ended within" in dds.logged("ERROR")[-1]

    assert not change(dds, Transition.TRANSITION_ACTIVATE), "its reconstructor is in use"
    assert dds.logged("ERROR")[-1].startswith(
        "cannot activate: the last worker has not ended, its image takes long: clean up"
    )
    assert change(dds, Transition.TRANSITION_CLEANUP) and change(dds, Transition.TRANSITION_CONFIGURE)
    assert change(dds, Transition.TRANSITION_ACTIVATE)
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    dds.send_info(camera_info())
    dds.process()
    release.set()
    time.sleep(0.2)
    assert len(hands) == 1, "the old worker publishes nothing more"
    assert dds.node.problems.active() == []


def test_a_worker_that_has_ended_is_an_error(dds: NodeOnDds) -> None:
    def ends(*_: Any) -> TwoHandEstimate:
        raise SystemExit("out of luck")

    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    works, dds.reconstructor.estimate = dds.reconstructor.estimate, ends
    dds.send(image_message())
    status = status_where(dds, diagnostics, lambda status: status.level == DiagnosticStatus.ERROR)
    assert "the worker thread has ended (SystemExit: out of luck" in status.message
    assert change(dds, Transition.TRANSITION_DEACTIVATE) and change(dds, Transition.TRANSITION_ACTIVATE)
    dds.reconstructor.estimate = works
    dds.send_info(camera_info())
    dds.process()
    assert dds.node.counters.processed == 1
    assert dds.node.problems.active() == []


def test_images_of_which_none_can_be_used_are_an_error_after_a_while(dds: NodeOnDds) -> None:
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    end = time.monotonic() + 4.0
    while time.monotonic() < end:
        dds.process(image_message(step=1))
        time.sleep(0.05)
    levels = [message.status[0].level for message in diagnostics]
    assert levels[0] == DiagnosticStatus.WARN and levels[-1] == DiagnosticStatus.ERROR
    assert "step is 1 bytes" in diagnostics[-1].status[0].message
    dds.process()
    status_where(dds, diagnostics, lambda status: status.level != DiagnosticStatus.ERROR)


@pytest.mark.parametrize("broken", [(Outputs, "publish_topology"), (Worker, "start")], ids=["topology", "worker"])
def test_a_failed_activation_leaves_the_node_inactive(
    broken: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any) -> None:
        raise RuntimeError("no such luck")

    with NodeOnDds(activate=False) as dds:
        assert change(dds, Transition.TRANSITION_CONFIGURE)
        with monkeypatch.context() as patch:
            patch.setattr(*broken, fails)
            assert not change(dds, Transition.TRANSITION_ACTIVATE)
        publishers = [each for each in dds.node.publishers if isinstance(each, LifecyclePublisher)]
        assert dds.node.state == "inactive"
        assert len(publishers) > 10 and not any(each.is_activated for each in publishers)
        assert dds.node.count_subscribers("/image") == 0
        (text,) = dds.logged("ERROR")
        assert text.startswith("cannot activate: RuntimeError: no such luck")
        assert change(dds, Transition.TRANSITION_ACTIVATE)
        assert all(each.is_activated for each in publishers)
        assert dds.node.problems.active() == []


def test_stamps_of_zero_have_no_latency(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    for _ in range(5):
        dds.process(stamp=0.0)
    dds.wait(lambda: len(hands) == 5, "five results")
    assert all(math.isnan(message.latency) for message in hands)
    assert {(m.header.stamp.sec, m.header.stamp.nanosec) for m in hands} == {(0, 0)}
    (text,) = dds.warnings()
    assert "the stamp is zero" in text and "in the driver" in text
    status = status_where(dds, diagnostics, lambda status: values_of(status)["images processed"] == "5")
    assert values_of(status)["latency p50 (ms)"] == values_of(status)["latency p95 (ms)"] == "unknown"
    assert status.level == DiagnosticStatus.WARN


def test_stamps_of_a_recording_are_a_warning(dds: NodeOnDds) -> None:
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    for step in range(5):
        dds.process(stamp=1.6e9 + step / 30)
    (text,) = dds.warnings()
    assert "s in the past: set use_sim_time for recordings" in text
    status = status_where(dds, diagnostics, lambda status: values_of(status)["images processed"] == "5")
    assert status.level == DiagnosticStatus.WARN and "use_sim_time" in status.message


def test_a_frame_id_with_a_slash_is_stripped_on_tf(dds: NodeOnDds) -> None:
    hands, tf = dds.listen(TwoHands, "/hand_recon/hands"), dds.listen(TFMessage, "/tf")
    assert dds.set_parameters(publish_tf="full").successful
    for _ in range(3):
        dds.process(image_message(frame_id="/camera/optical"))
    dds.wait(lambda: len(hands) == 3 and len(tf) == 3, "three results")
    assert {message.header.frame_id for message in hands} == {"/camera/optical"}
    sent = [transform for message in tf for transform in message.transforms]
    parents = {t.header.frame_id for t in sent if t.child_frame_id.endswith("_wrist")}
    assert parents == {"camera/optical"}
    assert not any(name.startswith("/") for t in sent for name in (t.header.frame_id, t.child_frame_id))
    (text,) = dds.warnings()
    assert "frame_id '/camera/optical' starts with a slash" in text


def test_transitions_and_pauses_are_logged() -> None:
    with NodeOnDds(activate=False) as dds:
        for transition in ("CONFIGURE", "ACTIVATE"):
            assert change(dds, getattr(Transition, f"TRANSITION_{transition}"))
        for data in (False, True):
            dds.call(SetBool, "/hand_recon/set_enabled", SetBool.Request(data=data))
        for transition in ("DEACTIVATE", "CLEANUP", "UNCONFIGURED_SHUTDOWN"):
            assert change(dds, getattr(Transition, f"TRANSITION_{transition}"))
        words = [text.split(":")[0].split(" ")[0] for text in dds.logged("INFO")]
        assert words == [
            *("loading", "configured", "active", "paused", "enabled", "inactive", "unconfigured", "finalized")
        ]


def test_the_device_is_logged_and_one_that_is_not_there_is_an_error() -> None:
    def make(config: Any) -> ScriptedReconstructor:
        if config.device == "cuda":
            raise DeviceError("device 'cuda' was asked for, but torch finds no CUDA device; use device 'cpu' or 'auto'")
        return ScriptedReconstructor(config)

    with NodeOnDds(activate=False, make=make) as dds:
        assert change(dds, Transition.TRANSITION_CONFIGURE)
        (text,) = [text for text in dds.logged("INFO") if "configured in" in text]
        assert "networks run on the CPU: device is 'auto'" in text
    with NodeOnDds(activate=False, make=make, device="cuda") as dds:
        assert not change(dds, Transition.TRANSITION_CONFIGURE)
        assert dds.node.state == "unconfigured"
        assert dds.logged("ERROR") == [
            "cannot configure: device 'cuda' was asked for, but torch finds no CUDA device; use device 'cpu' or 'auto'"
        ]


SIGNALS = """
import os, signal, sys
from hand_recon_ros.msg import TwoHands
from rclpy.node import Node
from hand_recon_ros.ros import node

class Made(Node):
    def __init__(self):
        super().__init__("made")
        self.create_timer(0.0, self.work)

    def work(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        self.create_publisher(TwoHands, "hands", 1).publish(TwoHands())
        print("published")
        if {fails}:
            raise RuntimeError("out of luck")

    def close(self):
        print("closed")
        self.destroy_node()

node.HandReconNode = Made
try:
    status = node.main([])
finally:
    # Until the process has ended: Python would take handlers of its own away, and the next signal kill it.
    print([signal.getsignal(number).name for number in (signal.SIGINT, signal.SIGTERM)])
sys.exit(status)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_signals_let_the_callback_in_work_finish(fails: bool) -> None:
    code = SIGNALS.format(fails=fails)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n") == ["published", "closed", "['SIG_IGN', 'SIG_IGN']", ""], done.stderr
    assert done.returncode == fails and ("RuntimeError: out of luck" in done.stderr) == fails, done.stderr
