#!/usr/bin/env python3
"""Add to labelled photographs what the pair detector takes for hands there: negative examples for its training.

    .venv/bin/python tools/find_mistakes.py ROOT/labels.json [--detector FILE.onnx]

The photographs of split ``train`` get the key ``mistaken``, boxes without a hand, see
``hand_recon_ros.training.mistakes``. ``tools/label_pictures.py`` writes the file.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path

import cv2
from tqdm import tqdm

from hand_recon_ros.detect.pair_detector import detect_pair, pair_detector_file
from hand_recon_ros.runtime.sessions import open_session
from hand_recon_ros.training.mistakes import mistaken_boxes
from hand_recon_ros.training.pseudo_labels import write_labels


def main() -> None:
    parser = argparse.ArgumentParser(description="find what the pair detector takes for hands")
    parser.add_argument("labels", type=Path)
    parser.add_argument("--detector", type=Path, help="weights (.onnx); default: those of the package")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    session = open_session(args.detector or pair_detector_file(), threads=args.threads)
    detect = functools.partial(detect_pair, session)
    rows = json.loads(args.labels.read_text())
    for row in tqdm([row for row in rows if row["split"] == "train"], unit="picture"):
        row["mistaken"] = mistaken_boxes(detect, cv2.imread(row["file"]), row)
    write_labels(args.labels, rows)
    print(f"{sum(len(row.get('mistaken', [])) for row in rows)} boxes")


if __name__ == "__main__":
    main()
