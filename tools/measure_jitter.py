"""How steady the hands of a video are: python tools/measure_jitter.py OUT..., each --out of `hand-recon reconstruct`.

Prints for each hand its numbers of images and ids, and the mean and median length of the second difference of a
keypoint's positions, mm/frame^2, in space and in the image plane (x, y), over images in which it is TRACKED.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hand_recon_ros import Side


def jitter(rows: list[dict[str, Any]], side: Side) -> str:
    """The figures of one side, as the end of a line."""
    hands = [row[side.label] for row in rows]
    found = [hand["state"] != "LOST" for hand in hands]
    ids = {hand["track_id"] for hand, there in zip(hands, found, strict=True) if there}
    joints = np.array([hand["joints"] if hand["state"] == "TRACKED" else np.full((21, 3), np.nan) for hand in hands])
    change = np.diff(joints.astype(np.float64), n=2, axis=0) * 1e3
    whole, image = (np.linalg.norm(each, axis=-1) for each in (change, change[..., :2]))
    known = np.isfinite(whole)
    text = f"{side.label}: found in {sum(found)} of {len(rows)} images, {len(ids)} ids"
    if known.any():
        text += (
            f"; {whole[known].mean():.2f} mean, {np.median(whole[known]):.2f} median, x and y {image[known].mean():.2f}"
        )
    return text


def main(folders: list[str]) -> int:
    """Print the lines of each folder."""
    for folder in folders:
        rows = [json.loads(line) for line in (Path(folder) / "hands.jsonl").read_text().splitlines()]
        for side in Side:
            print(f"{folder}: {jitter(rows, side)}")
    return 0 if folders else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
