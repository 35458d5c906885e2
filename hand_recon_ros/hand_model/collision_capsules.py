"""The collision proxies of a hand model: tapered capsules that follow the skeleton and the shape, without torch.

They approximate the skin where a signed distance is needed often or with derivatives; decisions and figures come from
the mesh itself (:mod:`hand_recon_ros.geometry.mesh_queries`).
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np

from ..geometry.capsules import capsules_gap
from ..geometry.hand_kinematics import forward_kinematics
from ..geometry.skinning import skinned
from ..skeleton import NUM_JOINTS, NUM_KEYPOINTS, mirror_points
from ..types import Side
from . import HandModel, load_hand_model
from .capsule_fit import fit_spheres
from .hand_pair import HandPair

EMBEDDED = pathlib.Path(__file__).resolve().parents[1] / "assets" / "hand" / "webxr_generic_proxies.npz"
"""The fit to the embedded hand, made by tools/fit_collision_proxies.py."""
_MIN_RADIUS = 0.001
_SPHERES = ("weights", "centres", "radii", "centre_dirs", "radius_dirs")


@dataclasses.dataclass(frozen=True, eq=False)
class HandProxies:
    """Spheres of both hands, and the pairs of them that bound a capsule; metres, at rest.

    Dimension 0 is the side. The left hand is stored mirrored in x = 0, as a right hand, so that mirrored hands have
    mirrored proxies to the last bit.

    Attributes:
        pairs: (P, 2) int64.
        weights: skinning weights of the spheres (2, S, 16), in the order of skeleton.JOINT_NAMES.
        centres, radii: with betas of zero (2, S, 3) and (2, S).
        centre_dirs, radius_dirs: per unit of beta (2, S, 3, 10) and (2, S, 10).
        keypoints, keypoint_dirs: (2, 21, 3), and per unit of beta (2, 21, 3, 10).
    """

    pairs: np.ndarray
    weights: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    centre_dirs: np.ndarray
    radius_dirs: np.ndarray
    keypoints: np.ndarray
    keypoint_dirs: np.ndarray

    def spheres(self, pair: HandPair) -> np.ndarray:
        """The posed spheres (2, S, 4) of a left and a right hand: centre and radius, metres, the pair's frame."""
        rotations, wrists = pair.as_right_hands()
        rest, spheres = self.shaped(pair.betas)
        keypoints, orientations = forward_kinematics(rotations, rest, wrists)
        spheres[..., :3] = skinned(spheres[..., :3], self.weights, orientations, keypoints, rest)
        spheres[Side.LEFT, :, 0] *= -1.0
        return spheres

    def shaped(self, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (2, 21, 3) and spheres (2, S, 4) at rest, as right hands, metres, of betas (2, 10)."""
        template, shapedirs = self._shape_basis
        values = template + (shapedirs @ betas[..., None])[..., 0]
        keypoints, spheres = values[:, : 3 * NUM_KEYPOINTS], values[:, 3 * NUM_KEYPOINTS :].reshape(2, -1, 4)
        np.maximum(spheres[..., 3], _MIN_RADIUS, out=spheres[..., 3])
        return keypoints.reshape(2, NUM_KEYPOINTS, 3), spheres

    @functools.cached_property
    def _shape_basis(self) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints and spheres one behind the other (2, M), and per unit of beta (2, M, 10)."""
        spheres = np.concatenate([self.centres, self.radii[..., None]], axis=2)
        sphere_dirs = np.concatenate([self.centre_dirs, self.radius_dirs[:, :, None]], axis=2)
        return (
            np.concatenate([self.keypoints.reshape(2, -1), spheres.reshape(2, -1)], axis=1),
            np.concatenate([self.keypoint_dirs.reshape(2, -1, 10), sphere_dirs.reshape(2, -1, 10)], axis=1),
        )

    def gap(self, pair: HandPair, max_distance: float = float("inf")) -> float:
        """The distance between two hands, metres, negative where they overlap, to the proxies' accuracy;
        ``max_distance`` where they are farther apart."""
        left, right = self.spheres(pair)
        return capsules_gap(left, right, self.pairs, max_distance)


@functools.lru_cache(maxsize=4)
def load_proxies(hand_model: HandModel) -> HandProxies:
    """The proxies of a hand model: those of the embedded hand are read from a file, others are fitted (seconds)."""
    if hand_model is load_hand_model():
        with np.load(EMBEDDED, allow_pickle=False) as archive:
            arrays = {name: archive[name].astype(np.int64 if name == "pairs" else np.float64) for name in archive.files}
        right = left = arrays
    else:
        right = fit_spheres(hand_model, Side.RIGHT)
        left = right if _mirrored(hand_model) else _as_right(fit_spheres(hand_model, Side.LEFT))
    both = {name: np.stack([left[name], right[name]]) for name in _SPHERES}
    chains = hand_model.kinematics(Side.LEFT).mirrored(), hand_model.kinematics(Side.RIGHT)
    return HandProxies(
        pairs=right["pairs"],
        **both,
        keypoints=np.stack([chain.keypoint_template for chain in chains]),
        keypoint_dirs=np.stack([chain.keypoint_shapedirs for chain in chains]),
    )


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
