"""Labelled photographs made for tests."""

from __future__ import annotations

import json

import cv2
import numpy as np

KEYPOINTS = np.stack([np.linspace(40, 80, 21), np.linspace(60, 20, 21)], axis=1)
GREEN = (20, 120, 30)
RED = (10, 10, 250)
BOX = [100, 40, 180, 90]


def hand(side="left", right=0.0, presence=0.99, shift=0.0, box=(30, 10, 90, 70)):
    return {
        "side": side, "right": right, "presence": presence, "keypoints": (KEYPOINTS + (shift, 0)).tolist(), "box": box,
    }  # fmt: skip


def labels(folder, *entries, size=(320, 240)):
    """Green photographs with red hands, complete unless they have boxes without a label."""
    rows = []
    for number, entry in enumerate(entries):
        image = np.full((size[1], size[0], 3), GREEN, np.uint8)
        for x0, y0, x1, y1 in (one["box"] for one in entry["hands"]):
            image[y0 : y1 + 1, x0 : x1 + 1] = RED
        file = str(folder / f"{number}.png")
        cv2.imwrite(file, image)
        missed = entry.get("missed", [])
        unlabelled = entry.get("unlabelled", missed)
        sides = entry.get("missed_sides", [None] * len(missed))
        rows.append({
            "split": "train", **entry, "missed": missed, "missed_sides": sides, "unlabelled": unlabelled,
            "complete": not unlabelled, "file": file,
        })  # fmt: skip
    path = folder / "labels.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
