"""The collision proxies of a hand model: tapered capsules that follow the skeleton and the shape, without torch.

They stand for the skin where a signed distance is needed often or with derivatives; decisions and figures come from the
mesh itself (:mod:`solids`).
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np

from ..geometry.capsules import capsules_gap
from ..geometry.compiled import compiled
from ..skeleton import JOINT_KEYPOINTS, JOINT_PARENTS, NUM_JOINTS, mirror_points, mirror_rotations
from ..types import Side
from . import HandModel, load_hand_model
from .capsule_fit import fit_spheres

EMBEDDED = pathlib.Path(__file__).resolve().parents[1] / "assets" / "hand" / "webxr_generic_proxies.npz"
"""The fit to the embedded hand, made by tools/fit_collision_proxies.py."""
_SKELETON = ("joints", "joint_dirs")
_SPHERES = ("weights", "centres", "radii", "centre_dirs", "radius_dirs")


@dataclasses.dataclass(frozen=True, eq=False)
class HandProxies:
    """Spheres of both hands, and the pairs of them that bound a capsule.

    Arrays begin with the side; the left hand is stored mirrored in x = 0, as a right hand, so that mirrored hands give
    mirrored proxies to the last bit. Metres, at rest.

    Attributes:
        pairs: (P, 2) int64.
        weights: how much each sphere follows each of the 16 joints (2, S, 16), in the order of skeleton.JOINT_NAMES.
        centres, radii: with betas of zero (2, S, 3) and (2, S).
        centre_dirs, radius_dirs: per unit of beta (2, S, 3, 10) and (2, S, 10).
        joints, joint_dirs: the joints (2, 16, 3), and per unit of beta (2, 16, 3, 10).
    """

    pairs: np.ndarray
    weights: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    centre_dirs: np.ndarray
    radius_dirs: np.ndarray
    joints: np.ndarray
    joint_dirs: np.ndarray

    def spheres(self, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """The posed spheres (2, S, 4) of a left and a right hand: centre and radius, metres, the hands' frame.

        Args:
            rotations: (2, 16, 3, 3) of the joints relative to their parents; betas (2, 10); translation (2, 3) metres:
                as :meth:`HandModel.mesh` takes them.

        Raises ValueError for other shapes.
        """
        rotations, betas, translation = (
            np.array(array, dtype=np.float64, order="C") for array in (rotations, betas, translation)
        )
        if (rotations.shape, betas.shape, translation.shape) != ((2, 16, 3, 3), (2, 10), (2, 3)):
            raise ValueError(
                "expected rotations (2, 16, 3, 3), betas (2, 10) and translation (2, 3) of a left and a right hand, "
                f"got {rotations.shape}, {betas.shape} and {translation.shape}"
            )
        rotations[Side.LEFT], translation[Side.LEFT] = (
            mirror_rotations(rotations[Side.LEFT]), mirror_points(translation[Side.LEFT]),
        )  # fmt: skip
        posed = np.empty((2, self.radii.shape[1], 4))
        _pose(
            rotations, betas, translation, self.weights, self.centres, self.radii, self.centre_dirs, self.radius_dirs,
            self.joints, self.joint_dirs, _PARENTS, posed,
        )  # fmt: skip
        posed[Side.LEFT, :, 0] *= -1.0
        return posed

    def gap(
        self, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, most: float = float("inf")
    ) -> float:
        """The distance between two hands, metres, negative where they overlap, to the proxies' accuracy.

        Arguments as for :meth:`spheres`; ``most`` is returned where the hands are farther apart.
        """
        left, right = self.spheres(rotations, betas, translation)
        return capsules_gap(left, right, self.pairs, most)


@functools.lru_cache(maxsize=4)
def load_proxies(hand_model: HandModel) -> HandProxies:
    """The proxies of a hand model: those of the embedded hand are on file, those of another are fitted (seconds)."""
    if hand_model is load_hand_model():
        with np.load(EMBEDDED, allow_pickle=False) as archive:
            arrays = {name: archive[name].astype(np.int64 if name == "pairs" else np.float64) for name in archive.files}
        right = left = arrays
    else:
        right = fit_spheres(hand_model, Side.RIGHT)
        left = right if _mirrored(hand_model) else _as_right(fit_spheres(hand_model, Side.LEFT))
    both = {name: np.stack([left[name], right[name]]) for name in _SPHERES}
    return HandProxies(pairs=right["pairs"], **both, **_skeleton(hand_model))


def _skeleton(hand_model: HandModel) -> dict[str, np.ndarray]:
    hands = (hand_model.kinematics(Side.LEFT).mirrored(), hand_model.kinematics(Side.RIGHT))
    joints = np.stack([hand.keypoint_template[JOINT_KEYPOINTS] for hand in hands])
    joint_dirs = np.stack([hand.keypoint_shapedirs[JOINT_KEYPOINTS] for hand in hands])
    return dict(zip(_SKELETON, (joints.astype(np.float64), np.ascontiguousarray(joint_dirs, np.float64)), strict=True))


def _mirrored(hand_model: HandModel) -> bool:
    """Whether the left hand is the right one's mirror image."""
    flat = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for betas in np.concatenate([np.zeros((1, 10)), np.eye(10)]):
        left, right = (hand_model.mesh(side, flat, betas, np.zeros(3)) for side in Side)
        if left.shape != right.shape or not np.allclose(mirror_points(left), right, atol=1e-7):
            return False
    return True


def _as_right(fit: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        **fit,
        "centres": mirror_points(fit["centres"]),
        "centre_dirs": fit["centre_dirs"] * np.array([-1.0, 1.0, 1.0])[:, None],
    }


_PARENTS = JOINT_PARENTS.astype(np.int64)


@compiled
def _pose(  # type: ignore[no-untyped-def]
    rotations, betas, translation, weights, centres, radii, centre_dirs, radius_dirs, joints, joint_dirs, parents, out
):
    turned, place, rest = np.empty((16, 3, 3)), np.empty((16, 3)), np.empty((16, 3))
    for hand in range(2):
        for j in range(16):
            for i in range(3):
                rest[j, i] = joints[hand, j, i]
                for s in range(10):
                    rest[j, i] += joint_dirs[hand, j, i, s] * betas[hand, s]
        for j in range(16):
            up = parents[j]
            for i in range(3):
                if up < 0:
                    place[j, i] = rest[j, i] + translation[hand, i]
                else:
                    place[j, i] = place[up, i]
                    for k in range(3):
                        place[j, i] += turned[up, i, k] * (rest[j, k] - rest[up, k])
                for k in range(3):
                    if up < 0:
                        turned[j, i, k] = rotations[hand, j, i, k]
                    else:
                        turned[j, i, k] = 0.0
                        for m in range(3):
                            turned[j, i, k] += turned[up, i, m] * rotations[hand, j, m, k]
        for s in range(radii.shape[1]):
            radius = radii[hand, s]
            x, y, z = centres[hand, s, 0], centres[hand, s, 1], centres[hand, s, 2]
            for b in range(10):
                radius += radius_dirs[hand, s, b] * betas[hand, b]
                x += centre_dirs[hand, s, 0, b] * betas[hand, b]
                y += centre_dirs[hand, s, 1, b] * betas[hand, b]
                z += centre_dirs[hand, s, 2, b] * betas[hand, b]
            out[hand, s, 3] = max(radius, 0.001)
            for i in range(3):
                out[hand, s, i] = 0.0
            for j in range(16):
                weight = weights[hand, s, j]
                if weight > 0.0:
                    u, v, w = x - rest[j, 0], y - rest[j, 1], z - rest[j, 2]
                    for i in range(3):
                        carried = turned[j, i, 0] * u + turned[j, i, 1] * v + turned[j, i, 2] * w
                        out[hand, s, i] += weight * (carried + place[j, i])
