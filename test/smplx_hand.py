"""Our hand as smplx's own layer: the oracle of the hand model's tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import smplx
import torch
from smplx.utils import Struct

from hand_recon_ros import Side
from hand_recon_ros.hand_model import HandModel

MANO_PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])


def smplx_data(model: HandModel, side: Side) -> Any:
    """One hand as smplx reads it from a file."""
    arrays = model.arrays(side)
    return Struct(
        v_template=arrays.template,
        shapedirs=arrays.shapedirs,
        posedirs=arrays.posedirs,
        J_regressor=arrays.regressor,
        weights=arrays.weights,
        kintree_table=np.stack([MANO_PARENTS, np.arange(16)]),
        f=arrays.faces,
        hands_components=np.eye(45, dtype=np.float32),
        hands_mean=arrays.hands_mean,
    )


def smplx_layer(model: HandModel, side: Side) -> Any:
    """``smplx.MANOLayer``: rotation matrices in MANO's joint order, the flat hand at identity."""
    return smplx.MANOLayer(
        model_path=f"MANO_{side.name}",
        data_struct=smplx_data(model, side),
        is_rhand=side == Side.RIGHT,
        use_pca=False,
        flat_hand_mean=True,
    )


def smplx_vertices(model: HandModel, side: Side, pose: np.ndarray, shape: np.ndarray, trans: np.ndarray) -> np.ndarray:
    """Vertices (V, 3), metres, of ``smplx.MANO(use_pca=False, flat_hand_mean=False)``: ``pose`` (48,) is axis-angle
    relative to the mean pose, with ``shape`` (10,) and ``trans`` (3,)."""
    layer = smplx.MANO(
        model_path=f"MANO_{side.name}",
        data_struct=smplx_data(model, side),
        is_rhand=side == Side.RIGHT,
        use_pca=False,
        flat_hand_mean=False,
        dtype=torch.float64,
    )
    pose, shape, trans = (torch.from_numpy(np.asarray(part, dtype=np.float64))[None] for part in (pose, shape, trans))
    output = layer(global_orient=pose[:, :3], hand_pose=pose[:, 3:], betas=shape, transl=trans)
    return output.vertices[0].detach().numpy()
