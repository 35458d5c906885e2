"""Headless Chromium, driven over its DevTools port, with software rendering."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import cv2
import numpy as np
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


def chromium_path() -> str | None:
    """The program in the environment variable CHROMIUM, or the first that is installed; None without one."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One page of a browser; a context manager.

    Args:
        width, height: of the page, pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        program = chromium_path()
        assert program is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                program,
                *FLAGS,
                f"--window-size={width},{height}",
                f"--user-data-dir={self._profile.name}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._log: list[str] = []
        self._count = 0
        try:
            port = self._wait_for_port()
            pages = json.load(urlopen(f"http://127.0.0.1:{port}/json", timeout=60.0))
            page = next(each for each in pages if each["type"] == "page")
            self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
            self.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()
        self._end()

    def _wait_for_port(self) -> int:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            found = re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line)
            if found:
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return int(found[1])
        raise AssertionError(f"{self._process.args} ended: {''.join(self._log)}")

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol, once the page is there."""
        end = time.monotonic() + 60.0
        while True:
            answer = self._answer(method, parameters)
            if "Not attached" not in answer.get("error", {}).get("message", "") or time.monotonic() > end:
                assert "error" not in answer, answer
                return dict(answer["result"])
            time.sleep(0.2)

    def _answer(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=120.0))
            if answer.get("id") == self._count:
                return dict(answer)

    def open(self, url: str) -> None:
        """Show a page."""
        self.call("Page.navigate", url=url)

    def picture(self, save: Path | None = None) -> np.ndarray:
        """What the page shows, uint8 (H, W, 3), BGR; also written to the file ``save``."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if save is not None:
            save.write_bytes(data)
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
