"""A hand with MANO's number of vertices and a mean pose, made of the embedded one, for files in MANO's layout."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from hand_recon_ros import Side
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.hand_model.arrays import MANO_VERTICES


@functools.cache
def mano_stand_in() -> HandModel:
    """Some vertices of the embedded hand; each joint is the weighted average of its regressor's vertices among them."""
    arrays = load_hand_model().arrays(Side.RIGHT)
    averaged = np.flatnonzero((arrays.regressor != 0).any(axis=0))
    wanted = np.unique(np.concatenate([averaged, arrays.tips]))
    others = np.setdiff1d(np.arange(len(arrays.template)), wanted)
    kept = np.sort(np.concatenate([wanted, others[: MANO_VERTICES - len(wanted)]]))
    right = dataclasses.replace(
        arrays,
        template=arrays.template[kept],
        shapedirs=arrays.shapedirs[kept],
        posedirs=arrays.posedirs[kept],
        weights=arrays.weights[kept],
        regressor=arrays.regressor[:, kept],
        faces=np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32),
        tips=np.searchsorted(kept, arrays.tips),
        hands_mean=np.random.default_rng(1).normal(0, 0.2, 45),
        wrist_loop=np.zeros(0, np.int64),
    )
    return HandModel("mano", right)
