"""A browser without pictures: a client of the viewer that keeps what the scene holds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import cv2
import msgspec
import numpy as np
import viser
import zstandard
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

CAMERA_MESSAGE = {
    "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, 0.0), "fov": 1.0, "near": 0.01,
    "far": 10.0, "image_height": 100, "image_width": 100, "look_at": (0.0, 0.0, 1.0), "up_direction": (0.0, -1.0, 0.0),
}  # fmt: skip


class SceneClient:
    """Connects to a viewer as a browser does; a context manager.

    Args:
        url: of the viewer, http://...
        reads: whether it reads what comes.
        origin: of the page that connects; None: no page, as of a program.
        port: of the loopback to connect to, in place of the one in ``url``.

    Attributes:
        nodes: name -> properties of the nodes of the scene, as they are now.
        visible: name -> whether a node is shown; those not named are.
        poses: name -> position and orientation that were set.
        gui: id -> properties of what is in the panel.
        closed: why the server closed the connection; empty while it is open.
    """

    def __init__(self, url: str, reads: bool = True, origin: str | None = None, port: int = 0) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.visible: dict[str, bool] = {}
        self.poses: dict[str, dict[str, Any]] = {}
        self.gui: dict[str, dict[str, Any]] = {}
        self.closed = ""
        self._socket = connect(
            url.replace("http://", "ws://"),
            subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
            origin=origin,  # type: ignore[arg-type]
            sock=socket.create_connection(("127.0.0.1", port)) if port else None,
            max_size=None,
            max_queue=1,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        try:
            self._socket.send(msgspec.msgpack.encode(CAMERA_MESSAGE))
        except ConnectionClosed as error:
            self.closed = str(error)
        if reads:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.socket.close() if not self._thread.is_alive() else self._socket.close()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message to the server."""
        self._socket.send(msgspec.msgpack.encode(message))

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
        """The condition's value once it is true; fails after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {timeout} s for {what}"
            time.sleep(0.01)
        return value

    def shown(self, name: str) -> bool:
        """Whether a node is there, and neither it nor a node above it is hidden."""
        parts = name.split("/")
        above = ["/".join(parts[: length + 1]) for length in range(1, len(parts))]
        return name in self.nodes and all(self.visible.get(node, True) for node in above)

    def array(self, name: str, key: str, *shape: int) -> np.ndarray:
        """A property of a node as an array."""
        return np.asarray(self.nodes[name][key]).reshape(shape or -1)

    @property
    def image(self) -> np.ndarray:
        """The image in the camera's frustum, BGR."""
        return cv2.imdecode(np.frombuffer(self.nodes["/camera"]["_image_data"], np.uint8), cv2.IMREAD_COLOR)

    @property
    def texts(self) -> str:
        """All texts of the panel that are shown."""
        return "\n".join(str(each.get("_markdown", "")) for each in self.gui.values() if each.get("visible", True))

    @property
    def plots(self) -> list[list[np.ndarray]]:
        """The data of the plots that are shown."""
        plots = [each for each in self.gui.values() if "series" in each and each.get("visible", True)]
        return [[np.asarray(values) for values in each["data"]] for each in plots]

    def _read(self) -> None:
        try:
            for data in self._socket:
                assert isinstance(data, bytes)
                for message in decoded(data):
                    self._take(message)
        except ConnectionClosed:
            pass
        self.closed = f"{self._socket.close_code} {self._socket.close_reason}"

    def _take(self, message: dict[str, Any]) -> None:
        kind, name = message["type"], message.get("name", "")
        if kind == "SetSceneNodeVisibilityMessage":
            self.visible[name] = message["visible"]
        elif kind in ("SetPositionMessage", "SetOrientationMessage"):
            self.poses.setdefault(name, {}).update(message)
        elif kind == "SceneNodeUpdateMessage":
            self.nodes[name] = {**self.nodes[name], **message["updates"]}
        elif kind == "GuiUpdateMessage":
            self.gui[message["uuid"]] = {**self.gui[message["uuid"]], **message["updates"]}
        elif kind.startswith("Gui") and "props" in message:
            self.gui[message["uuid"]] = dict(message["props"])
        elif "props" in message:
            self.nodes[name] = dict(message["props"])


def decoded(data: bytes) -> list[dict[str, Any]]:
    """The messages in what viser sends: compressed msgpack, and behind it the arrays, each at a multiple of 8 bytes."""
    size = int.from_bytes(data[8:16], "little")
    content = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data[16 : 16 + size]))
    buffers, offset = [], 16 + size
    for length in content["binaryBufferLengths"]:
        offset += -offset % 8
        buffers.append(data[offset : offset + length])
        offset += length

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            if "__binary_index" in value:
                raw = buffers[value["__binary_index"]]
                return np.frombuffer(raw, value["dtype"])
            return {key: resolved(item) for key, item in value.items()}
        return [resolved(item) for item in value] if isinstance(value, list) else value

    return [resolved(message) for message in content["messages"]]
