#!/usr/bin/env python3
"""Compare poses and boxes of hands with those of the MediaPipe framework's Holistic, whose networks they are from.

    HAND_RECON_PEER_PYTHON=mp/bin/python .venv/bin/python tools/compare_body_pose.py FOLDER [--json]

The framework needs other versions of NumPy and OpenCV than this package, so it is usually in an environment of its own
(``python -m venv mp && mp/bin/pip install mediapipe==0.10.21``), which the variable names. Reported over all images in
a folder: in how many both detect a person; the distance of wrists, index and little fingers in pixels and as a part of
the image's longer side; for how many hands both return a box; and the overlap of these boxes. Once with crops sampled
as the framework samples them ("replica": agreement of the code), and once as the package samples them ("ours": without
aliasing, which moves points).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import cv2
import numpy as np

from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.body import (
    INDEX_FINGERS,
    LITTLE_FINGERS,
    WRISTS,
    BodyHand,
    BodyPose,
    bodies_in,
    corrected,
    hand_from_pose,
    pose_in,
)
from hand_recon_ros.detect.body_networks import BodyNetworks
from hand_recon_ros.evaluation.benchmark import PEER_VARIABLE
from hand_recon_ros.landmarks.crops import crop_matrix
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.runtime.sessions import Session
from hand_recon_ros.types import Side

POINTS = [*WRISTS, *LITTLE_FINGERS, *INDEX_FINGERS]
Result = tuple[BodyPose | None, list[BodyHand | None]]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

# The boxes of hands are inner streams of the framework's graph.
_PEER = """
import json, sys
import cv2
from mediapipe.python.solution_base import SolutionBase
streams = [f"handlandmarksleftandrightcpu__{side}_hand_roi_from_recrop" for side in ("left", "right")]
settings = dict.fromkeys(("smooth_landmarks", "enable_segmentation", "smooth_segmentation", "refine_face_landmarks",
                          "use_prev_landmarks"), False)
result = {}
with SolutionBase(
    binary_graph_path="mediapipe/modules/holistic_landmark/holistic_landmark_cpu.binarypb",
    side_inputs={"model_complexity": 1, **settings},
    outputs=["pose_landmarks", *streams],
) as holistic:
    for path in json.load(sys.stdin):
        image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        found = holistic.process(image)
        height, width = image.shape[:2]
        points = found.pose_landmarks and [[p.x * width, p.y * height] for p in found.pose_landmarks.landmark]
        boxes = [getattr(found, stream) for stream in streams]
        result[path] = {
            "points": points,
            "hands": [box and [box.x_center * width, box.y_center * height, box.width * width, box.rotation]
                      for box in boxes],
        }
print(json.dumps(result))
"""


def framework_results(paths: list[str]) -> dict[str, Any]:
    """Points (33, 2) and the two boxes (x, y, size, angle) of each image, in pixels; null where there are none."""
    python = os.environ.get(PEER_VARIABLE, sys.executable)
    run = subprocess.run([python, "-c", _PEER], input=json.dumps(paths), capture_output=True, text=True)
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"the MediaPipe framework cannot be run: {last}; {PEER_VARIABLE} names a Python that has it")
    return dict(json.loads(run.stdout.strip().splitlines()[-1]))


def overlap(first: RotatedBox, second: RotatedBox) -> float:
    """Intersection over union of two rotated boxes."""
    corners = [box.corners().astype(np.float32) for box in (first, second)]
    shared = float(cv2.intersectConvexConvex(*corners)[0])
    return shared / (first.size**2 + second.size**2 - shared)


def replica(networks: BodyNetworks, image: np.ndarray) -> Result:
    """The networks used as the framework uses them, with bilinear sampling also where the crop is much smaller."""

    def sample(session: Session, box: RotatedBox, border: int = cv2.BORDER_REPLICATE) -> tuple[np.ndarray, ...]:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = session.inputs[0]
        matrix = crop_matrix(box, session.size)
        cv2.warpAffine(image, matrix, out.shape[:2], dst=out, flags=flags, borderMode=border)
        return session.run(1)[0]

    view = RotatedBox((image.shape[1] / 2, image.shape[0] / 2), float(max(image.shape[:2])))
    raw, logits = sample(networks.detector, view, cv2.BORDER_CONSTANT)
    detections = bodies_in(raw, logits, 0.5, view)
    if not detections:
        return None, [None, None]
    pose = pose_in(sample(networks.pose, detections[0].roi), detections[0].roi)
    hands = [hand_from_pose(pose, side) for side in Side]
    return pose, [hand and corrected(hand, sample(networks.recrop, hand.roi)[0]) for hand in hands]


def ours(networks: BodyNetworks, image: np.ndarray) -> Result:
    """The networks as the package uses them: the image is averaged down where the crop is much smaller."""
    detections = networks.detect(image)
    if not detections:
        return None, [None, None]
    pose = networks.read(image, detections[0].roi)
    return pose, list(networks.hands(image, pose))


def agreement(result: dict[str, Result], reference: dict[str, Any], longer_sides: dict[str, int]) -> dict[str, Any]:
    """Agreement with the framework over all images."""
    persons, boxes = np.zeros((2, 2), int), np.zeros((2, 2), int)
    pixels: list[float] = []
    parts: list[float] = []
    overlaps: list[float] = []
    for path, (pose, hands) in result.items():
        theirs = reference[path]
        if pose is not None and pose.presence < 0.5:
            pose, hands = None, [None, None]
        persons[int(theirs["points"] is not None), int(pose is not None)] += 1
        for hand, box in zip(hands, theirs["hands"], strict=True):
            boxes[int(box is not None), int(hand is not None)] += 1
            if hand is not None and box is not None:
                overlaps.append(overlap(hand.roi, RotatedBox((box[0], box[1]), box[2], box[3])))
        if pose is not None and theirs["points"] is not None:
            distances = np.linalg.norm(pose.points[POINTS] - np.array(theirs["points"])[POINTS], axis=1)
            pixels += distances.tolist()
            parts += (distances / longer_sides[path]).tolist()
    return {
        "persons": _counts(persons),
        "points_px": _spread(pixels),
        "points_part_of_image": _spread(parts),
        "hands": _counts(boxes),
        "overlap": {
            "mean": float(np.mean(overlaps)),
            "above_0.7": float(np.mean(np.array(overlaps) > 0.7)),
            "above_0.9": float(np.mean(np.array(overlaps) > 0.9)),
        },
    }


def _counts(table: np.ndarray) -> dict[str, int]:
    return {"both": int(table[1, 1]), "framework_only": int(table[1, 0]), "ours_only": int(table[0, 1])}


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "median": float(np.median(values)), "p95": float(np.quantile(values, 0.95))}


def print_report(report: dict[str, Any]) -> None:
    for name, values in report.items():
        print(name)
        for quantity, row in values.items():
            cells = (
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
            print(f"  {quantity:22} {'  '.join(cells)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="folder with images")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    paths = sorted(str(path) for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"{options.folder}: no images")
    networks = BodyNetworks.load(ReconstructorConfig(threads=options.threads))
    reference = framework_results(paths)
    images = {path: cv2.imread(path, cv2.IMREAD_COLOR) for path in paths}
    longer_sides = {path: max(image.shape[:2]) for path, image in images.items()}
    report = {
        run.__name__: agreement({path: run(networks, images[path]) for path in paths}, reference, longer_sides)
        for run in (replica, ours)
    }
    if options.json:
        print(json.dumps(report))
    else:
        print_report(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
