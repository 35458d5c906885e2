"""The MANO-shaped stand-in as files, for the tests of other hand models."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hand_recon_ros import Side
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.hand_model.frames import transfer_frames
from hand_recon_ros.synthetic.mano_stand_in import mano_stand_in


@functools.cache
def arrays() -> dict[str, Any]:
    """The arrays of a right hand; not to be changed."""
    return mano_stand_in(0)


@functools.cache
def stand_in() -> HandModel:
    """The stand-in with its re-fit, as it is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stand_in.npz"
        np.savez(path, **arrays())  # type: ignore[arg-type]
        return load_hand_model(path)


@functools.cache
def without_refit() -> HandModel:
    """The stand-in with joint frames by its bones alone: a file that has some is taken as it is."""
    ours = load_hand_model().kinematics(Side.RIGHT)
    keypoints = stand_in().kinematics(Side.RIGHT).keypoint_template
    frames = transfer_frames(keypoints, ours.keypoint_template, ours.joint_frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stand_in.npz"
        np.savez(path, **arrays(), joint_frames=frames)  # type: ignore[arg-type]
        return load_hand_model(path)
