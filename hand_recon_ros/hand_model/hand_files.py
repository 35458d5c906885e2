"""Writing hand model files: those of both hands, with their re-fit."""

from __future__ import annotations

import pathlib

import numpy as np

from ..types import Side
from .arrays import checked_arrays
from .model import HandModel


def checked_model(name: str, hands: dict[Side, dict[str, np.ndarray]], sources: dict[Side, pathlib.Path]) -> HandModel:
    """The model that arrays with MANO's names are, with its re-fit (:mod:`refit`).

    Args:
        name: of the model.
        hands: the arrays of the right hand, and of the left one if there is one.
        sources: the files that messages name.

    Raises:
        HandModelError: the arrays of a hand are no hand model.
    """
    checked = {side: checked_arrays(dict(arrays), sources[side]) for side, arrays in hands.items()}
    return HandModel(name, checked[Side.RIGHT], checked.get(Side.LEFT))


def write_hands(model: HandModel, hands: dict[Side, dict[str, np.ndarray]], targets: dict[Side, pathlib.Path]) -> None:
    """Write the arrays that ``model`` was made of as .npz files; folders are made.

    The re-fit is written with them, so that it is not made at every start.
    """
    for side, arrays in hands.items():
        refit = model.refit(side)
        targets[side].parent.mkdir(parents=True, exist_ok=True)
        content = {**arrays, **({} if refit is None else refit.arrays())}
        np.savez_compressed(targets[side], **content)  # type: ignore[arg-type]
