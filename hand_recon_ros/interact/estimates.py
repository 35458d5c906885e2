"""Between the pipeline's hands and the pair that the refinement takes: in, and out again where it changed something."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ..detect.duplicates import box_overlap
from ..hand_model import HandModel
from ..lift.evidence import PIXEL_SIGMA, spread
from ..lift.normal_equations import MIN_DEPTH
from ..skeleton import WRIST, mirror_points, wrist_pose
from ..types import Camera, HandEstimate, HandState, Side
from .pair import HandPair, PairUncertainty


def pair_of(hands: Sequence[HandEstimate]) -> HandPair:
    """The parameters of a left and a right hand that are found."""
    return HandPair(
        np.stack([hand.rotations for hand in hands]),
        np.stack([hand.betas for hand in hands]),
        np.stack([hand.joints[WRIST] for hand in hands]),
    )


def uncertainty_of(hands: Sequence[HandEstimate]) -> PairUncertainty:
    """What is certain of a left and a right hand that are found."""
    joints = np.stack([hand.joints for hand in hands])
    points = joints[..., :2] / np.maximum(joints[..., 2:], MIN_DEPTH)
    scores = np.stack([hand.joint_scores for hand in hands])
    return PairUncertainty(
        precision=scores / (PIXEL_SIGMA * np.maximum(2.0 * spread(points), 1e-4))[:, None],
        position_stddev=np.array([hand.position_stddev for hand in hands]),
        scores=scores,
        overlap=box_overlap(points),
    )


def with_pair(
    hands: Sequence[HandEstimate], pair: HandPair, hand_model: HandModel, camera: Camera, mirrored: bool
) -> list[HandEstimate]:
    """The hands with the parameters of a pair, everything that follows from these made anew.

    Keypoints in the image stay where they were seen; a hand that was not seen has those of its joints, ``mirrored``
    where the image is.
    """
    result = []
    for side, hand in zip(Side, hands, strict=True):
        kinematics = hand_model.kinematics(side)
        rotations, betas = pair.rotations[side], pair.betas[side]
        translation = pair.wrists[side] - kinematics.rest_keypoints(betas)[WRIST]
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
            changed = dataclasses.replace(changed, keypoints_2d=pixels)
        result.append(changed)
    return result
