"""A small data set in the format of InterHand2.6M, its annotations written out by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 64, 48
TURN = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
"""World to camera: by 90 degrees about the optical axis."""


def parameters(seed: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {
        "pose": rng.normal(0.0, 0.5, 48).tolist(),
        "shape": rng.normal(0.0, 1.0, 10).tolist(),
        "trans": [0.1, -0.2, 0.3],
    }


def image(number: int, camera: str, frame: int) -> dict[str, Any]:
    return {
        "id": 70 + number, "file_name": f"Capture3/0007_sh_fist/cam{camera}/image{frame}.jpg", "width": WIDTH,
        "height": HEIGHT, "capture": 3, "subject": 5, "seq_name": "0007_sh_fist", "camera": camera, "frame_idx": frame,
    }  # fmt: skip


def annotation(number: int, hand_type: str, valid: list[int]) -> dict[str, Any]:
    return {
        "id": 900 + number, "image_id": 70 + number, "bbox": [1.5, 2.0, 30.0, 40.0],
        "joint_valid": [[flag] for flag in valid], "hand_type": hand_type, "hand_type_valid": 1,
    }  # fmt: skip


def frame(hand_type: str, valid: list[int]) -> dict[str, Any]:
    """Joint i at (i, 2 i, i / 10) mm; one that is not annotated at (1, 1, 1), as in the published files."""
    world = [[float(i), 2.0 * i, i / 10] if flag else [1.0, 1.0, 1.0] for i, flag in enumerate(valid)]
    return {
        "world_coord": world, "joint_valid": [[bool(flag)] for flag in valid], "hand_type": hand_type,
        "hand_type_valid": True,
    }  # fmt: skip


ALL, RIGHT, LEFT = [1] * 42, [1] * 21 + [0] * 21, [0] * 21 + [1] * 21

CONTENTS: dict[str, Any] = {
    # Two cameras see frame 12, the images are not in the order of the annotations.
    "data": {
        "images": [image(2, "400263", 18), image(0, "400262", 12), image(3, "400262", 24), image(1, "400263", 12)],
        "annotations": [
            annotation(0, "interacting", ALL),
            annotation(1, "interacting", ALL),
            annotation(2, "right", RIGHT),
            annotation(3, "left", LEFT),
        ],
    },
    "camera": {
        "3": {
            "campos": {"400262": [10.0, -20.0, -1000.0], "400263": [0.0, 0.0, -500.0]},
            "camrot": {"400262": TURN, "400263": np.eye(3).tolist()},
            "focal": {"400262": [500.0, 600.0], "400263": [400.0, 400.0]},
            "princpt": {"400262": [30.0, 20.0], "400263": [31.5, 23.5]},
        }
    },
    "joint_3d": {
        "3": {"12": frame("interacting", ALL), "18": frame("right", RIGHT), "24": frame("left", LEFT)},
    },
    "MANO_NeuralAnnot": {
        "3": {
            "12": {"right": parameters(1), "left": parameters(2)},
            "18": {"right": parameters(3), "left": None},
        }
    },
}


def path_of(root: Path, kind: str) -> Path:
    return root / "annotations" / "test" / f"InterHand2.6M_test_{kind}.json"


def contents() -> dict[str, Any]:
    """CONTENTS, to be changed."""
    return copy.deepcopy(CONTENTS)


def write(root: Path, files: dict[str, Any] = CONTENTS) -> Path:
    """Write the annotation files and a grey picture for each image; returns ``root``."""
    for kind, content in files.items():
        path_of(root, kind).parent.mkdir(parents=True, exist_ok=True)
        path_of(root, kind).write_text(json.dumps(content), encoding="utf-8")
    for each in CONTENTS["data"]["images"]:
        picture = root / "images" / "test" / each["file_name"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return root
