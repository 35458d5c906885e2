"""Our hand as smplx's own layer: the oracle of the hand model's tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import smplx
from smplx.utils import Struct

from hand_recon_ros import Side
from hand_recon_ros.hand_model import HandModel

MANO_PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])


def smplx_layer(model: HandModel, side: Side) -> Any:
    """``smplx.MANOLayer``: rotation matrices in MANO's joint order, the flat hand at identity."""
    arrays = model.arrays(side)
    data = {
        "v_template": arrays.template,
        "shapedirs": arrays.shapedirs,
        "posedirs": arrays.posedirs,
        "J_regressor": arrays.regressor,
        "weights": arrays.weights,
        "kintree_table": np.stack([MANO_PARENTS, np.arange(16)]),
        "f": arrays.faces,
        "hands_components": np.eye(45, dtype=np.float32),
        "hands_mean": arrays.hands_mean,
    }
    return smplx.MANOLayer(
        model_path=f"MANO_{side.name}",
        data_struct=Struct(**data),
        is_rhand=side == Side.RIGHT,
        use_pca=False,
        flat_hand_mean=True,
    )
