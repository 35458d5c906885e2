#!/usr/bin/env python3
"""Index photographs with annotated hand boxes and label them with the product's networks.

    .venv/bin/python tools/label_pictures.py ROOT --leave-out DIR

ROOT has one folder per set, named as in ``hand_recon_ros.datasets.hand_boxes.READERS``; sets that are missing are
skipped. Pictures that look like one in DIR, where the detector is measured, are left out. ``ROOT/index.json`` has the
annotation and ``ROOT/labels.json`` the labels (``hand_recon_ros.training.pseudo_labels``). The latter is written as it
grows, and an interrupted run continues where it ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import cv2

from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.datasets.hand_boxes import READERS, BoxedPicture, without_similar, write_index
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.training.pseudo_labels import label_picture, write_labels

_WRITE_EVERY = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="index photographs of hands and label them")
    parser.add_argument("root", type=Path)
    parser.add_argument("--leave-out", type=Path, help="folder of pictures for measuring: none like them is labelled")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    pictures: list[BoxedPicture] = []
    for name, reader in READERS.items():
        if (args.root / name).is_dir():
            pictures += reader(args.root / name)
    if args.leave_out is not None:
        count = len(pictures)
        pictures = without_similar(pictures, sorted(args.leave_out.iterdir()))
        print(f"{count - len(pictures)} of {count} pictures left out", flush=True)
    write_index(pictures, args.root / "index.json")

    output = args.root / "labels.json"
    rows = json.loads(output.read_text()) if output.exists() else []
    done = {row["file"] for row in rows}
    todo = [picture for picture in pictures if str(picture.path.resolve()) not in done]
    # Pairs first, and otherwise in random order: a part of the labels is then a sample of all.
    todo.sort(key=lambda picture: (-min(len(picture.boxes), 2), hashlib.sha256(picture.path.name.encode()).digest()))
    networks = HandNetworks.load(ReconstructorConfig(threads=args.threads, encoder="none"))
    for number, picture in enumerate(todo, 1):
        rows.append(label_picture(networks, cv2.imread(str(picture.path)), picture).as_json())
        if number % _WRITE_EVERY == 0 or number == len(todo):
            write_labels(output, rows)
            print(f"{number} of {len(todo)}", flush=True)


if __name__ == "__main__":
    main()
