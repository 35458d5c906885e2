"""The node's process ends by a signal at any moment of its start, without errors in the log."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

SLOW = """
import sys, time
from hand_recon_ros.ros import node
from ros_support import ScriptedReconstructor

def load(config):
    print("loading", file=sys.stderr, flush=True)
    # In steps: a signal that comes just before a sleep does not end it.
    for _ in range({steps}):
        time.sleep(0.01)
    return ScriptedReconstructor(config)

node.HandReconNode.__init__.__defaults__ = (load, *node.HandReconNode.__init__.__defaults__[1:])
sys.exit(node.main(["--ros-args"]))
"""


@pytest.mark.parametrize("signals", [("SIGINT",), ("SIGTERM",), ("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM")])
@pytest.mark.parametrize(("steps", "line"), [(100_000, "loading\n"), (0, "active: images from")])
def test_signals(signals: tuple[str, ...], steps: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the networks are loaded, which would take a thousand seconds here, and afterwards."""
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    process = subprocess.Popen([sys.executable, "-c", SLOW.format(steps=steps)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for text in process.stderr:
            if line in text:
                break
        for name in signals:
            process.send_signal(getattr(signal, name))
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, rest
    assert "ERROR" not in rest and "Traceback" not in rest and "Failed" not in rest, rest


@pytest.mark.parametrize("error", ["RuntimeError('of a compiled library')", "None"])
def test_an_interrupt_that_compiled_code_swallows_ends_the_loading(error: str) -> None:
    code = f"""
import os, signal
from hand_recon_ros.ros import running
running.start([])
try:
    with running.interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
        except KeyboardInterrupt:
            if {error} is not None:
                raise {error}
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted\n", done.stderr
