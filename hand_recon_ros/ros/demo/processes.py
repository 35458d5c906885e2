"""Nodes as child processes: started with parameters, monitored, and always ended, each by its own process id."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

_PR_SET_PDEATHSIG = 1
PATIENCE = {signal.SIGINT: 10.0, signal.SIGTERM: 5.0, signal.SIGKILL: 5.0}
"""The signals that end a process, in order, and how long each may take, seconds."""
_FAILURES = ("cannot configure", "cannot activate")
"""Log lines of a lifecycle node that runs without working."""
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(RuntimeError):
    """A process ended or hung; the message names it and its last line."""


def config_path(name: str) -> Path | None:
    """A file of the package's ``config`` folder: in the source tree, else where it is installed; None: in neither."""
    prefixes = [sys.prefix, *os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
    folders = [Path(__file__).resolve().parents[3] / "config"]
    folders += [Path(prefix) / "share" / "hand_recon_ros" / "config" for prefix in prefixes if prefix]
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def python_command(module: str) -> list[str]:
    """The command that runs a module with this interpreter and its search path."""
    # Under -P the working folder is not searched: the child does not search it either.
    return [sys.executable, *(["-P"] if getattr(sys.flags, "safe_path", False) else []), "-m", module]


def dds_environment() -> dict[str, str]:
    """Environment of processes that communicate over the loopback only.

    ROS_DOMAIN_ID stays where it is set; else it is one that other such groups on this machine are unlikely to have.
    Large images need the Fast DDS profile of this package: the default transports lose them without an error.
    """
    environment = dict(os.environ)
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    profile = config_path("fastdds.xml")
    if profile is not None:
        environment["FASTDDS_DEFAULT_PROFILES_FILE"] = str(profile)
    return environment


class Process:
    """A module of this package as a child process; ended when the ``with`` block is left.

    Args:
        name: of the process in messages, and of its files in ``folder``: NAME.log, and NAME.yaml with its parameters.
        module: to run.
        parameters: of its node.
        folder: of its files.
        namespace: of its node, different from that of other nodes in the domain.
        environment: see :func:`dds_environment`.
        remappings: of its topics.
    """

    def __init__(
        self,
        name: str,
        module: str,
        parameters: Mapping[str, Any],
        folder: Path,
        namespace: str,
        environment: Mapping[str, str],
        remappings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        file = folder / f"{name}.yaml"
        # A file instead of -p arguments: in those, YAML's quoting rules would apply to every path.
        values = {key: str(value) if isinstance(value, Path) else value for key, value in parameters.items()}
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        rules = {"__ns": namespace, **(remappings or {})}
        arguments = [part for name, new in rules.items() for part in ("-r", f"{name}:={new}")]
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [*python_command(module), "--ros-args", "--params-file", str(file), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=dict(environment),
                # Ctrl-C reaches the parent alone, which ends its children in order.
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.returncode
        return (
            f"was ended by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )

    def text(self) -> str:
        """Its whole output."""
        return self.log.read_text(errors="replace")

    def last_line(self) -> str:
        """The last error in its output, else the last line, and the path of the log."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        errors = [line for line in lines if "[ERROR]" in line or "[FATAL]" in line]
        return f"{(errors or lines or ['no output'])[-1]} (log: {self.log})"

    def wait_for_line(self, line: str, timeout: float, others: Iterable[Process] = ()) -> None:
        """Wait until it has printed ``line``. Raises ProcessFailed when it, or one of ``others``, ends before."""
        end = time.monotonic() + timeout
        while line not in self.text().splitlines():
            _check_alive([self, *others])
            if time.monotonic() > end:
                lines = "; ".join(f"{process.name}: {process.last_line()}" for process in (self, *others))
                raise ProcessFailed(f"{self.name} did not print {line!r} within {timeout:.0f} s; {lines}")
            time.sleep(0.05)

    def wait_for_end(self, timeout: float, others: Iterable[Process] = ()) -> None:
        """Wait until it has ended by itself. Raises ProcessFailed when it fails or hangs, or one of ``others`` ends."""
        others = list(others)
        end = time.monotonic() + timeout
        while self.returncode is None:
            _check_alive(others)
            if time.monotonic() > end:
                raise ProcessFailed(f"{self.name} did not end within {timeout:.0f} s: {self.last_line()}")
            time.sleep(0.05)
        if self.returncode:
            raise ProcessFailed(f"{self.name} {self.ending}: {self.last_line()}")

    def stop(self) -> None:
        """End it where it runs: by SIGINT, then SIGTERM, then SIGKILL."""
        for number, patience in PATIENCE.items():
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            try:
                self._process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                continue


def _check_alive(processes: Iterable[Process]) -> None:
    for process in processes:
        failures = [line for line in process.text().splitlines() if any(text in line for text in _FAILURES)]
        if failures:
            raise ProcessFailed(f"{process.name}: {failures[-1]} (log: {process.log})")
        if process.returncode is not None:
            raise ProcessFailed(f"{process.name} {process.ending} too early: {process.last_line()}")


def _die_with_parent() -> None:
    """Called in the child: it receives SIGTERM when its parent has ended, however that happened (Linux only)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
