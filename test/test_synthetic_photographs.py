"""Photographs as backgrounds: their split, and the error where they are missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from hand_recon_ros.config import ConfigError
from hand_recon_ros.synthetic import photographs
from hand_recon_ros.synthetic.backgrounds import background
from hand_recon_ros.synthetic.identities import SPLITS
from hand_recon_ros.synthetic.photographs import PHOTOGRAPHS
from hand_recon_ros.synthetic.training_scenes import background_image, background_kind


def test_no_photograph_is_in_two_splits() -> None:
    names = [name for split in SPLITS for name in PHOTOGRAPHS[split]]
    assert set(PHOTOGRAPHS) == set(SPLITS) and len(set(names)) == len(names)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_uses_all_of_its_photographs_and_no_others(split: str, monkeypatch) -> None:
    opened, read = set(), photographs.read_photograph
    monkeypatch.setattr(photographs, "read_photograph", lambda name: opened.add(name) or read(name))
    for seed in range(60):
        image = background("photograph", 60, 80, seed, split=split)
        assert image.shape == (60, 80, 3) and image.max() > 0.002 and np.isfinite(image).all()
    assert opened == set(PHOTOGRAPHS[split])


def test_backgrounds_of_a_split_show_its_photographs(monkeypatch) -> None:
    opened, read = set(), photographs.read_photograph
    monkeypatch.setattr(photographs, "read_photograph", lambda name: opened.add(name) or read(name))
    for number, split in enumerate(SPLITS, start=1):
        places = [p for p in range(10**6 * number + 500, 10**6 * number + 2500) if background_kind(p) == "photograph"]
        assert 0.12 < len(places) / 2000 < 0.18
        opened.clear()
        for place in places[:12]:
            background_image(place)
        assert opened and opened <= set(PHOTOGRAPHS[split])


def test_without_scikit_image_the_error_names_what_to_install(monkeypatch) -> None:
    photographs.read_photograph.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'hand_recon_ros\[train\]'"):
        background("photograph", 60, 80, 1)
    with pytest.raises(ValueError, match="unknown split 'holdout', expected one of: train, val, test"):
        background("photograph", 60, 80, 1, split="holdout")
