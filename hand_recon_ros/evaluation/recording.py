"""Recordings of the demonstration: messages as estimates, and the images they belong to."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration import read_calibration
from ..camera import Camera
from ..conversions.estimates import two_hand_estimate
from ..hand_model import HandModel
from ..image_files import read_image
from ..skeleton import NUM_KEYPOINTS
from ..sources import open_source
from ..types import TwoHandEstimate

Stamp = tuple[int, int]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; an incomplete last line, of a writer that was killed, is skipped."""
    objects = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            objects.append(json.loads(line))
    return objects


def stamp_of(record: dict[str, Any]) -> Stamp:
    """The image's stamp (seconds, nanoseconds) of a recorded message."""
    stamp = record["header"]["stamp"]
    return int(stamp["sec"]), int(stamp["nanosec"])


def joints_of(hand: dict[str, Any]) -> np.ndarray:
    """Keypoints (21, 3) of a recorded hand, metres."""
    points = [[joint["position"][axis] for axis in "xyz"] for joint in hand["joints"]]
    return np.array(points, dtype=np.float64).reshape(NUM_KEYPOINTS, 3)


def as_message(value: Any) -> Any:
    """What was recorded of a message, with its fields as attributes."""
    if isinstance(value, dict):
        return types.SimpleNamespace(**{name: as_message(part) for name, part in value.items()})
    return [as_message(part) for part in value] if isinstance(value, list) else value


def estimate(record: dict[str, Any], hand_model: HandModel) -> TwoHandEstimate:
    """The estimate of a recorded TwoHands message; its meshes are posed from the message's parameters."""
    return two_hand_estimate(as_message(record), hand_model)


def received_by_node(path: Path, namespace: str) -> int | None:
    """Number of received images in the last diagnostics of the node in ``namespace``; None where there are none."""
    received = None
    for message in read_lines(path) if path.exists() else []:
        for status in message["status"]:
            if not status["hardware_id"].startswith(f"{namespace}/"):  # /diagnostics is shared by all nodes
                continue
            for entry in status["values"]:
                if entry["key"] == "images received":
                    received = int(entry["value"])
    return received


class Recording:
    """The folder ``run`` of a demonstration.

    Attributes:
        plan: what was played (run.json).
        sent: one object per published image, in order: stamp, number in the source, name.
        hands: the recorded TwoHands messages by the stamp of their image.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.plan: dict[str, Any] = json.loads((run / "run.json").read_text())
        self.sent = read_lines(run / "sent.jsonl")
        self.hands = {stamp_of(record): record for record in read_lines(run / "hands.jsonl")}
        self.received = received_by_node(run / "diagnostics.jsonl", self.plan["namespace"])
        self._calibration = read_calibration(self.plan["camera_info"]) if self.plan["camera_info"] else None

    def camera(self, image: np.ndarray) -> Camera:
        """The camera that the node used for ``image`` (H, W, 3)."""
        if self._calibration is not None and self._calibration.matches(image):
            return self._calibration
        return Camera.from_fov(image.shape[1], image.shape[0], self.plan["fov"])

    def images(self) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Every sent image with its line of ``sent``, in order."""
        if self.plan["kind"] == "live":
            yield from self._saved_images()
            return
        source = open_source(self.plan["source"])
        items, item = iter(source), None
        for line in self.sent:
            while item is None or item.number < line["number"]:
                item = next(items, None)
                if item is None:
                    return
            if item.number == line["number"]:
                yield line, item.image

    def _saved_images(self) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        for line in self.sent:
            sec, nanosec = line["stamp"]
            path = self.run / "images" / f"{sec}.{nanosec:09d}.jpg"
            if path.is_file():  # of the images that were received
                yield line, read_image(path)
