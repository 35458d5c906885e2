"""HaMeR or WiLoR as the encoder: crops of the located hands in, predictions in the camera frame out.

The networks predict MANO's parameters and a weak-perspective camera for one crop of a right hand. They predict neither
whether there is a hand nor how sure they are nor anything of the other hand: presence is that of the landmark network,
standard deviations are the published errors, and there is no relative translation.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..config import ConfigError, ReconstructorConfig
from ..detect.networks import HandNetworks
from ..geometry.rotations import rotations_towards
from ..hand_model import HandModel, load_hand_model
from ..hand_model.order import FROM_MANO
from ..hand_model.refit import turned_offsets
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import EncoderPrediction, Observation, RotatedBox
from ..runtime.devices import torch_problem
from ..runtime.sessions import SessionError
from ..skeleton import TIPS, WRIST, mirror_points
from ..types import Camera, Side
from .mano_crop import ManoCrop

_MANO = "mano"
_CROP_SIZE = 256
_PUBLISHED_ERROR = {"hamer": 0.0060, "wilor": 0.0055}
"""PA-MPJPE on FreiHAND, metres, as published."""
_MEAN_DISTANCE = 2.0 * math.sqrt(2.0 / math.pi)
"""Mean distance of a normal distribution in space over its standard deviation along each axis."""
_MIDDLE = np.array([WRIST, 9, 10, 11, 12])
"""Keypoints from the wrist to the tip of the middle finger."""
_DISTANCE_STDDEV = 0.06
"""Of the wrist's distance, as a part of it: hands of adults differ by so much in size, which an image does not show."""


class _Pose(Protocol):
    rotations: np.ndarray
    betas: np.ndarray
    camera: np.ndarray


class PoseNetwork(Protocol):
    """A network that predicts MANO's parameters; see ``models.hand_networks.HandNetwork``."""

    @property
    def name(self) -> str: ...

    def __call__(self, crops: np.ndarray) -> Any: ...


def load_mano_encoder(path: Path, config: ReconstructorConfig, device: str, networks: HandNetworks) -> ManoEncoder:
    """The encoder in a file of ``hand-recon import-checkpoint``.

    Raises ConfigError where the hand model of the settings is not MANO, SessionError where PyTorch is missing or the
    file is none, and DeviceError where the GPU has too little memory.
    """
    model = load_hand_model(config.hand_model)
    if model.name != _MANO:
        which = repr(config.hand_model) if config.hand_model else "the embedded hand"
        raise ConfigError(
            f"encoder {path.name} predicts the parameters of MANO, and hand_model is {which}: set hand_model to "
            "MANO_RIGHT.npz, which `hand-recon import-mano MANO_RIGHT.pkl` writes"
        )
    if reason := torch_problem():
        raise SessionError(f"encoder {path.name}: {reason}")
    return ManoEncoder(load_pose_network(path, device, config.threads, model), networks, model)


def load_pose_network(path: Path, device: str, threads: int, model: HandModel) -> PoseNetwork:
    """The network in a file of ``hand-recon import-checkpoint``, on a device as ``resolved_device`` gives it.

    ``model`` is MANO, ``threads`` those of the CPU. Raises SessionError and DeviceError as
    :func:`load_mano_encoder`.
    """
    # Read when torch is loaded. Else its threads spin while they wait for each other: with two threads, and one of two
    # cores busy with something else, a hand took 5 s instead of 0.8 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ..models.hand_networks import load_hand_network

    return load_hand_network(path, device, mano_mesh(model), threads)


def mano_mesh(model: HandModel) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Right hands of a model: rotations (H, 16, 3, 3) in MANO's order and betas (H, 10) -> vertices (H, V, 3)."""
    return lambda rotations, betas: model.mesh(Side.RIGHT, rotations[:, FROM_MANO], betas, np.zeros(3))


class ManoEncoder:
    """The network as a step of the pipeline; holds the networks and the hand model, nothing of any frame."""

    def __init__(self, network: PoseNetwork, networks: HandNetworks, model: HandModel) -> None:
        self._network, self._networks, self._model = network, networks, model

    def __call__(self, image: np.ndarray, observations: Sequence[Observation], camera: Camera) -> list[Observation]:
        """The observations (at most one of a side) of a BGR image, each with the network's prediction."""
        if not observations:
            return []
        crops = [ManoCrop.around(seen.keypoints_2d, seen.shown_side == Side.LEFT) for seen in observations]
        cuts = [crop.cut(image, _CROP_SIZE) for crop in crops]
        cuts = [_without_colours(cut) if seen.grey else cut for cut, seen in zip(cuts, observations, strict=True)]
        pose = self._network(np.stack(cuts))
        return [
            dataclasses.replace(seen, prediction=self._prediction(seen, crops[i], pose, i, camera))
            for i, seen in enumerate(observations)
        ]

    def landmarks(self, image: np.ndarray, box: RotatedBox, mirrored: bool, grey: bool = False) -> HandLandmarks:
        """Landmarks in a box of a BGR image, or in its mirror image; ``grey``: without its colours."""
        return self._networks.read(image, [box], mirrored, grey)[0]

    def _prediction(
        self, seen: Observation, crop: ManoCrop, pose: _Pose, hand: int, camera: Camera
    ) -> EncoderPrediction:
        weak_camera = pose.camera[hand]
        keypoints, orientations = mano_keypoints(self._model, pose.rotations[hand], pose.betas[hand])
        length = float(np.linalg.norm(np.diff(keypoints[_MIDDLE], axis=0), axis=-1).sum())
        refit = self._model.refit(Side.RIGHT)
        if refit is not None:
            # The lifting takes all evidence for that of the embedded hand's keypoints.
            keypoints = keypoints + turned_offsets(refit.keypoint_offsets, orientations)
        wrist = keypoints[0] + crop.translation(weak_camera, camera)
        # The network sees the crop alone: its axes are those of a camera that looks at the hand.
        joints = (keypoints - keypoints[0]) @ rotations_towards(crop.view(camera)[0][None])[0].T
        pixels_per_metre = 0.5 * crop.size * max(float(weak_camera[0]), 1e-6)
        stddev = _PUBLISHED_ERROR[self._network.name] / _MEAN_DISTANCE * pixels_per_metre
        return EncoderPrediction(
            presence=seen.score,
            keypoints_2d=crop.pixels(keypoints, weak_camera),
            stddev_2d=np.full(21, stddev),
            joints=mirror_points(joints) if crop.mirrored else joints,
            wrist=mirror_points(wrist) if crop.mirrored else wrist,
            wrist_stddev=float(np.linalg.norm(wrist)) * _DISTANCE_STDDEV,
            to_other=None,
            other_box=crop.as_box,
            other_visible=0.0,
            hand_length=length,
            trained_on_photographs=True,
        )


def mano_keypoints(model: HandModel, rotations: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (21, 3), metres, of a right hand at MANO's origin, and its joints' orientations (16, 3, 3).

    Fingertips are vertices of the posed mesh.

    Args:
        model: MANO.
        rotations: of the joints (16, 3, 3), in MANO's order.
        betas: (10,).
    """
    keypoints, orientations = model.kinematics(Side.RIGHT).forward(rotations[FROM_MANO], betas, np.zeros(3))
    vertices = model.mesh(Side.RIGHT, rotations[FROM_MANO], betas, np.zeros(3))
    keypoints[TIPS] = vertices[model.tip_vertices(Side.RIGHT)]
    return keypoints, orientations


def _without_colours(crop: np.ndarray) -> np.ndarray:
    return cv2.merge([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)] * 3)
