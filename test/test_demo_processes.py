"""The demonstration's child processes: how they start and end, and their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hand_recon_ros.ros.demo import processes

ROOT = Path(__file__).resolve().parents[1]


def module(folder: Path, text: str) -> tuple[str, dict[str, str]]:
    """A module to be run as a child process, and the environment it is found in."""
    (folder / "child_module.py").write_text(text)
    return "child_module", {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def test_a_process_is_waited_for_and_stopped(tmp_path):
    name, environment = module(tmp_path, "import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    with processes.Process("child", name, {"path": tmp_path, "rate": 1.5}, tmp_path, "/ns", environment) as child:
        child.wait_for_line("ready", timeout=20.0)
        assert child.returncode is None
    assert child.returncode is not None
    assert "rate: 1.5" in (tmp_path / "child.yaml").read_text()


def test_a_process_gets_its_namespace_and_remappings(tmp_path):
    name, environment = module(tmp_path, "import sys\nprint(*sys.argv[1:], sep='\\n')\n")
    remappings = {"hands": "hand_recon/hands", "image": "/image"}
    with processes.Process("child", name, {}, tmp_path, "/ns", environment, remappings) as child:
        child.wait_for_end(timeout=20.0)
    assert child.text().splitlines() == [
        "--ros-args", "--params-file", str(tmp_path / "child.yaml"),
        "-r", "__ns:=/ns", "-r", "hands:=hand_recon/hands", "-r", "image:=/image",
    ]  # fmt: skip


def test_a_process_that_ignores_signals_is_killed(tmp_path, monkeypatch):
    ignore = "import signal, time\nfor n in (2, 15):\n    signal.signal(n, signal.SIG_IGN)\n"
    text = ignore + "print('ready', flush=True)\ntime.sleep(60)\n"
    name, environment = module(tmp_path, text)
    monkeypatch.setattr(processes, "PATIENCE", {signal.SIGINT: 0.2, signal.SIGTERM: 0.2, signal.SIGKILL: 5.0})
    child = processes.Process("child", name, {}, tmp_path, "/ns", environment)
    child.wait_for_line("ready", timeout=20.0)
    child.stop()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise SystemExit('[ERROR] no camera')", r"child ended with exit code 1 too early: \[ERROR\] no camera"),
        ("print('cannot configure: no model', flush=True)\nimport time\ntime.sleep(60)", "cannot configure: no model"),
        ("import time\ntime.sleep(60)", r"child did not print 'ready' within 2 s; child: no output"),
    ],
)
def test_a_process_that_fails_is_named_with_its_last_line(tmp_path, text, words):
    name, environment = module(tmp_path, text)
    with processes.Process("child", name, {}, tmp_path, "/ns", environment) as child:
        with pytest.raises(processes.ProcessFailed, match=words) as error:
            child.wait_for_line("ready", timeout=2.0 if "within" in words else 20.0)
        assert str(child.log) in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_child_does_not_outlive_its_parent(tmp_path):
    name, environment = module(tmp_path, "import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    parent = (
        "import os, sys, pathlib\nfrom hand_recon_ros.ros.demo.processes import Process\n"
        f"child = Process('child', {name!r}, {{}}, pathlib.Path({str(tmp_path)!r}), '/ns', dict(os.environ))\n"
        "child.wait_for_line('ready', 20.0)\nprint(child.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run([sys.executable, "-c", parent], env=environment, capture_output=True, text=True, timeout=60)
    pid = int(result.stdout)
    end = time.monotonic() + 5.0
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_the_environment_is_limited_to_the_loopback(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    environment = processes.dds_environment()
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 100
    assert Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "fastdds.xml"
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert processes.dds_environment()["ROS_DOMAIN_ID"] == "42"
