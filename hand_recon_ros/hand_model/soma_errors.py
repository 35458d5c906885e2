"""How much a converted hand of SOMA-X differs from SOMA's own, in random poses and shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..geometry.rotations import rotation_matrices
from ..skeleton import JOINT_NAMES, NUM_JOINTS
from .kinematics import Kinematics
from .model import HandModel
from .soma_import import NUM_BETAS, SomaHand

_SHARE = 0.85
"""Of the joints' limits that the poses are in."""
CUPPED = {"Ring1": 10.0, "Pinky1": 20.0}
"""Flexion of the metacarpals of a cupped hand, degrees; those of the other fingers hardly move."""


Pose = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""SOMA's vertices (B, V, 3), metres, the wrist at the origin, of orientations (B, 25, 3, 3) and coefficients (B, K).
An orientation turns a joint's frame of the shaped hand's bind pose; all are in the wrist's frame."""


@dataclasses.dataclass(frozen=True)
class SomaErrors:
    """Distances of the converted hand's vertices to SOMA's, metres, in ``poses`` random poses and shapes.

    Attributes:
        poses: how many.
        conversion: largest, in poses of the 16 joints and shapes of the components that are betas.
        components_mean, components_largest: where the components that are left out are random too.
        metacarpals_mean, metacarpals_largest: where the palm is cupped, which no pose of the 16 joints can say; the
            mean is over all vertices. The fingers have SOMA's orientations.
        kept_variance: share of the shape's variance that the betas keep.
    """

    poses: int
    conversion: float
    components_mean: float
    components_largest: float
    metacarpals_mean: float
    metacarpals_largest: float
    kept_variance: float

    def summary(self) -> str:
        """The numbers in millimetres, a line each."""
        cupped = " and ".join(f"{name[:-1].lower()} by {angle:g}" for name, angle in CUPPED.items())
        return "\n".join(
            [
                f"distances of vertices to SOMA's own, in {self.poses} random poses and shapes:",
                f"  same pose and betas: at most {1e3 * self.conversion:.4f} mm",
                f"  with the components that are left out ({1.0 - self.kept_variance:.1%} of the variance): mean "
                f"{1e3 * self.components_mean:.2f} mm, at most {1e3 * self.components_largest:.2f} mm",
                f"  with the palm cupped, metacarpals of {cupped} degrees: mean {1e3 * self.metacarpals_mean:.2f} mm, "
                f"at most {1e3 * self.metacarpals_largest:.2f} mm",
            ]
        )


def random_rotations(rng: np.random.Generator, kinematics: Kinematics, poses: int) -> np.ndarray:
    """Rotations of the joints (poses, 16, 3, 3) within the inner part of their limits, the wrist in any orientation."""
    limits, angles = _SHARE * kinematics.limits[1:], np.zeros((poses, NUM_JOINTS, 3))
    angles[:, 1:] = rng.uniform(limits[..., 0], limits[..., 1], (poses, NUM_JOINTS - 1, 3))
    rotations = kinematics.rotations_of(angles)
    rotations[:, 0] = rotation_matrices(rng.normal(size=(poses, 3)))
    return rotations


def soma_errors(
    hand: SomaHand,
    pose: Pose,
    model: HandModel,
    poses: int = 64,
    seed: int = 0,
) -> SomaErrors:
    """Compare a hand of SOMA with ``model``, which has been made of it.

    Args:
        hand: the arrays that were converted.
        pose: the hand's vertices by linear blend skinning alone.
        model: the converted hand, without pose correctives.
        poses: number of random poses and shapes.
        seed: of these.
    """
    rng, side, kinematics = np.random.default_rng(seed), hand.side, model.kinematics(hand.side)
    rotations = random_rotations(rng, kinematics, poses)
    everything = rng.normal(size=(poses, len(hand.directions)))
    kept = hand.kept_components
    betas = np.zeros((poses, NUM_BETAS))
    betas[:, : len(kept)] = everything[:, kept]
    coefficients = np.zeros_like(everything)
    coefficients[:, kept] = everything[:, kept]

    def ours(local: np.ndarray) -> np.ndarray:
        return model.mesh(side, local, betas, -kinematics.rest_keypoints(betas)[:, 0]).astype(np.float64)

    def orientations(local: np.ndarray) -> np.ndarray:
        turned = kinematics.forward(local, betas, np.zeros(3))[1]
        return turned[:, hand.moved_by]

    def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.linalg.norm(first - second, axis=-1)

    still, posed = orientations(rotations), ours(rotations)
    conversion = distances(posed, pose(still, coefficients))
    components = distances(posed, pose(still, everything))
    # The metacarpals turn their fingers as well.
    cupped, turned = rotations.copy(), _metacarpal_turns(model, hand)
    for name, turn in turned.items():
        joint = JOINT_NAMES.index(f"{name[:-1].lower()}_mcp")
        cupped[:, joint] = turn @ rotations[:, joint]
    cupped_orientations = orientations(cupped)
    for name, turn in turned.items():
        (metacarpal,) = hand.indices(name)
        cupped_orientations[:, metacarpal] = cupped_orientations[:, hand.main_joints[0]] @ turn
    metacarpals = distances(ours(cupped), pose(cupped_orientations, coefficients))
    size = np.sum(hand.directions**2, axis=(1, 2))
    return SomaErrors(
        poses=poses,
        conversion=float(conversion.max()),
        components_mean=float(components.mean()),
        components_largest=float(components.max()),
        metacarpals_mean=float(metacarpals.mean()),
        metacarpals_largest=float(metacarpals.max()),
        kept_variance=float(size[kept].sum() / size.sum()),
    )


def _metacarpal_turns(model: HandModel, hand: SomaHand) -> dict[str, np.ndarray]:
    """Rotations (3, 3) of the metacarpals in the wrist's frame at rest, about the axes by which the knuckles bend."""
    kinematics, result = model.kinematics(hand.side), {}
    for name, flexion in CUPPED.items():
        joint = JOINT_NAMES.index(f"{name[:-1].lower()}_mcp")
        bent = np.zeros((NUM_JOINTS, 3))
        bent[joint, 0] = np.radians(flexion)
        result[name] = kinematics.rotations_of(bent)[joint] @ kinematics.rotations_of(0.0 * bent)[joint].T
    return result
