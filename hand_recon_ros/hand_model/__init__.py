"""The parametric hand: MANO's layout and arithmetic, an embedded hand of free licence, anatomical joint angles."""

from __future__ import annotations

from .arrays import HandModelError
from .kinematics import Kinematics
from .mano_import import import_mano
from .model import HandModel, load_hand_model
from .order import from_mano_pose, to_mano_pose

__all__ = [
    "HandModel",
    "HandModelError",
    "Kinematics",
    "from_mano_pose",
    "import_mano",
    "load_hand_model",
    "to_mano_pose",
]
