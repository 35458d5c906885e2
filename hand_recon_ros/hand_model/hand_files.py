"""Writing hand model files: those of both hands, with their re-fit."""

from __future__ import annotations

import pathlib

import numpy as np

from ..types import Side
from .arrays import checked_arrays
from .model import HandModel


def write_hands(
    name: str,
    hands: dict[Side, dict[str, np.ndarray]],
    sources: dict[Side, pathlib.Path],
    targets: dict[Side, pathlib.Path],
) -> HandModel:
    """Write the arrays of one hand or both, with MANO's names, as .npz files; returns the model that they are.

    Nothing is written unless all are as a hand model needs them. The re-fit (:mod:`refit`) is written with them, so
    that it is not made at every start.

    Args:
        name: of the model.
        hands: the arrays of the right hand, and of the left one if there is one.
        sources: the files that messages name.
        targets: where to write; folders are made.

    Raises:
        HandModelError: the arrays of a hand are no hand model.
    """
    checked = {side: checked_arrays(dict(arrays), sources[side]) for side, arrays in hands.items()}
    model = HandModel(name, checked[Side.RIGHT], checked.get(Side.LEFT))
    for side, arrays in hands.items():
        refit = model.refit(side)
        targets[side].parent.mkdir(parents=True, exist_ok=True)
        content = {**arrays, **({} if refit is None else refit.arrays())}
        np.savez_compressed(targets[side], **content)  # type: ignore[arg-type]
    return model
