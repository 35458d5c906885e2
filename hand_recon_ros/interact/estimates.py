"""Conversion between the pipeline's hand estimates and the pair that the refinement works on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ..detect.duplicates import box_overlap
from ..hand_model import HandModel
from ..hand_model.hand_pair import HandPair
from ..lift.evidence import PIXEL_SIGMA, spread
from ..lift.normal_equations import MIN_DEPTH
from ..skeleton import WRIST, mirror_points, wrist_pose
from ..types import Camera, HandEstimate, HandState, Side
from .uncertainty import PairUncertainty


def pair_of(hands: Sequence[HandEstimate]) -> HandPair:
    """The pair of a left and a right hand that are both found."""
    return HandPair(
        np.stack([hand.rotations for hand in hands]),
        np.stack([hand.betas for hand in hands]),
        np.stack([hand.joints[WRIST] for hand in hands]),
    )


def uncertainty_of(hands: Sequence[HandEstimate]) -> PairUncertainty:
    """The uncertainty of a left and a right hand that are both found."""
    joints = np.stack([hand.joints for hand in hands])
    points = joints[..., :2] / np.maximum(joints[..., 2:], MIN_DEPTH)
    scores = np.stack([hand.joint_scores for hand in hands])
    return PairUncertainty(
        precision=scores / (PIXEL_SIGMA * np.maximum(2.0 * spread(points), 1e-4))[:, None],
        position_stddev=np.array([hand.position_stddev for hand in hands]),
        scores=scores,
        overlap=box_overlap(points),
    )


def bounding_box(keypoints_2d: np.ndarray) -> tuple[float, float, float, float]:
    """The box (x, y, width, height) around keypoints (21, 2), pixels; those behind the camera are NaN and left out."""
    visible = keypoints_2d[np.isfinite(keypoints_2d).all(axis=1)]
    if not len(visible):
        return 0.0, 0.0, 0.0, 0.0
    (x, y), (right, bottom) = visible.min(axis=0), visible.max(axis=0)
    return float(x), float(y), float(right - x), float(bottom - y)


def with_pair(
    hands: Sequence[HandEstimate],
    pair: HandPair,
    hand_model: HandModel,
    camera: Camera,
    mirrored: bool,
    position_stddev: np.ndarray | None = None,
) -> list[HandEstimate]:
    """The hands with the parameters of a pair, and everything that follows from these.

    The observed keypoints in the image stay; those of a PREDICTED hand are projected from its joints.

    Args:
        hands: left and right, as estimated.
        pair: their new parameters.
        hand_model: of both.
        camera: of the image.
        mirrored: whether the image shows the scene mirrored.
        position_stddev: of each wrist along its ray (2,), metres; the hands' own where None.
    """
    stddevs = [hand.position_stddev for hand in hands] if position_stddev is None else position_stddev
    return [
        dataclasses.replace(
            with_pose(hand, pair.rotations[side], pair.betas[side], pair.wrists[side], hand_model, camera, mirrored),
            position_stddev=float(stddevs[side]),
        )
        for side, hand in zip(Side, hands, strict=True)
    ]


def with_pose(
    hand: HandEstimate,
    rotations: np.ndarray,
    betas: np.ndarray,
    wrist: np.ndarray,
    hand_model: HandModel,
    camera: Camera,
    mirrored: bool,
) -> HandEstimate:
    """A hand with other parameters, as :func:`with_pair`: joint rotations (16, 3, 3), betas (10,) and the position of
    the wrist (3,), metres."""
    side = hand.side
    kinematics = hand_model.kinematics(side)
    translation = wrist - kinematics.rest_keypoints(betas)[WRIST]
    joints, _ = kinematics.forward(rotations, betas, translation)
    changed = dataclasses.replace(
        hand,
        joints=joints,
        rotations=rotations,
        betas=betas,
        translation=translation,
        wrist_pose=wrist_pose(joints, side == Side.RIGHT),
        mesh=functools.partial(hand_model.mesh, side, rotations, betas, translation),
    )
    if hand.state == HandState.PREDICTED:
        pixels = camera.project(mirror_points(joints) if mirrored else joints)
        changed = dataclasses.replace(changed, keypoints_2d=pixels, roi=bounding_box(pixels))
    return changed
