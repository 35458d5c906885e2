"""Recordings of the demonstration: messages as estimates, and the images they belong to."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration import read_calibration
from ..camera import Camera
from ..image_files import read_image
from ..skeleton import NUM_KEYPOINTS
from ..sources import open_source
from ..types import HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate

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


def pose_matrix(pose: dict[str, Any]) -> np.ndarray:
    """A recorded geometry_msgs/Pose as a homogeneous matrix (4, 4)."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([pose["orientation"][axis] for axis in "xyzw"]).as_matrix()
    matrix[:3, 3] = [pose["position"][axis] for axis in "xyz"]
    return matrix


def hand_estimate(hand: dict[str, Any], hand_model: Any) -> HandEstimate:
    """The estimate of a recorded Hand message; its mesh is posed from the message's parameters."""
    side, state = Side(hand["side"]), HandState(hand["state"])
    duration = hand["since_measurement"]
    since = duration["sec"] + duration["nanosec"] * 1e-9
    if state == HandState.LOST:
        return HandEstimate.lost(side, since)
    rotations = hand_model.from_mano_pose(np.array(hand["pose"], dtype=np.float64))
    betas = np.array(hand["betas"], dtype=np.float64)
    translation = np.array([hand["translation"][axis] for axis in "xyz"], dtype=np.float64)
    roi = hand["roi"]
    return HandEstimate(
        side=side,
        state=state,
        score=hand["score"],
        side_score=hand["side_score"],
        track_id=hand["track_id"],
        since_measurement=since,
        joints=joints_of(hand),
        joint_scores=np.array(hand["joint_scores"]),
        keypoints_2d=np.array(hand["keypoints_2d"]).reshape(NUM_KEYPOINTS, 2),
        mesh=functools.partial(hand_model.mesh, side, rotations, betas, translation),
        faces=hand_model.faces(side),
        rotations=rotations,
        betas=betas,
        translation=translation,
        wrist_pose=pose_matrix(hand["wrist"]),
        roi=(roi["x_offset"], roi["y_offset"], roi["width"], roi["height"]),
        scale_source=ScaleSource(hand["scale_source"]),
        position_stddev=hand["position_stddev"],
    )


def estimate(record: dict[str, Any], hand_model: Any) -> TwoHandEstimate:
    """The estimate of a recorded TwoHands message."""
    sec, nanosec = stamp_of(record)
    return TwoHandEstimate(
        left=hand_estimate(record["left"], hand_model),
        right=hand_estimate(record["right"], hand_model),
        stamp=sec + nanosec * 1e-9,
        hand_model=record["hand_model"],
        calibrated=record["calibrated"],
        refined=record["refined"],
        timings={"total": record["inference_time"]},
    )


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
