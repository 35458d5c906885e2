"""Small data sets for training streams: rendered, in the published formats, made with a hand model named as MANO."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import stand_ins
from mano_stand_in import mano_stand_in

from hand_recon_ros import Side
from hand_recon_ros.datasets.freihand_files import write_freihand
from hand_recon_ros.datasets.hic_files import write_hic
from hand_recon_ros.datasets.interhand26m_files import write_interhand26m
from hand_recon_ros.datasets.sample import Sample
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.synthetic.miniatures import freihand_samples, hic_samples
from hand_recon_ros.synthetic.sample_stream import SampleStream

MODEL = load_hand_model()
FRAMES = 5
SHARE = 0.2


@functools.cache
def rendered(seed: int = 3) -> tuple[Sample, ...]:
    """Samples with hands, some with two."""
    stream = SampleStream("test", seed, MODEL)
    return tuple(
        itertools.islice((s for number in itertools.count() if (s := stream[number]).present.any()), FRAMES + 1)
    )


def mano_file(folder: Path) -> Path:
    """The stand-in as a file that is loaded as a hand model named mano."""
    path = folder / "mano.npz"
    np.savez(path, **stand_ins.arrays())  # type: ignore[arg-type]
    return path


def write_pictures(root: Path) -> Path:
    """A folder of annotated pictures, every third keypoint unknown of the first hand of each."""
    root.mkdir()
    entries = []
    for number, sample in enumerate(rendered()):
        file = f"{number}.png"
        cv2.imwrite(str(root / file), sample.image)
        hands: list[dict[str, Any]] = []
        for side in Side:
            if sample.present[side]:
                points = sample.keypoints_2d[side]
                low, high = points.min(axis=0), points.max(axis=0)
                listed: list[Any] = points.tolist()
                if not hands:
                    listed[2::3] = [None] * len(listed[2::3])
                hands.append({"side": side.label, "box": [*low, *high], "keypoints_2d": listed})
        entries.append({"file": file, "kind": "rendered", "hands": hands})
    (root / "annotations.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


def write_folders(root: Path) -> dict[str, dict[str, Any]]:
    """An entry of ``streams`` for each data set, by its name."""
    model_file = mano_file(root)
    model = named_mano(model_file)
    for split in ("train", "val"):
        write_interhand26m(rendered(3 if split == "train" else 4), root / "interhand26m", model, split)
    right = tuple(itertools.islice(freihand_samples("train", 3, MODEL), FRAMES))
    write_freihand(root / "freihand", right, right[:2], mano_stand_in())
    write_hic(root / "hic", itertools.islice(hic_samples("test", 3, MODEL), FRAMES), model)
    write_pictures(root / "pictures")
    entries = {
        name: {"dataset": name, "root": str(root / name), "share": SHARE}
        for name in ("interhand26m", "freihand", "hic", "pictures")
    }
    entries["hic"]["hand_model"] = str(model_file)
    return entries


def named_mano(path: Path) -> HandModel:
    model = load_hand_model(path)
    assert model.name == "mano"
    return model
