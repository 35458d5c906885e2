"""Collision of two hands, differentiable, for batches: posed proxies, skin, penetration and self-collision (torch).

Distances are those of skin points of one hand, posed as its mesh is, to the tapered capsules of the other
(:mod:`hand_recon_ros.hand_model.collision_capsules`): only one of the two surfaces is approximate. The signed distance
to a capsule is a minimum over its axis, and that to a hand a minimum over its capsules, so first derivatives are those
at the nearest sphere held fixed (Danskin's theorem). No sample of a batch depends on another.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from ..geometry.capsules import capsule_distances
from ..hand_model import HandModel
from ..hand_model.collision_capsules import load_proxies
from ..hand_model.order import FROM_MANO, TO_MANO
from ..skeleton import JOINT_KEYPOINTS, JOINT_PARENTS, NUM_JOINTS, WRIST, mirror_points
from ..types import Side
from .hand_kinematics import forward_kinematics, skinned

_REST_DISTANCE = 0.003
"""Skin and a capsule of the same hand can collide where their distance at rest is larger than this, metres."""


def geman_mcclure(values: torch.Tensor, scale: float) -> torch.Tensor:
    """The robust loss ``v^2 / (v^2 + scale^2)`` of Geman & McClure (1987): quadratic below ``scale``, 1 far above."""
    square = values * values
    return square / (square + scale * scale)


def signed_distances(
    points: torch.Tensor, spheres: torch.Tensor, pairs: torch.Tensor, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """Signed distances (B, N), metres, of points (B, N, 3) to the nearest capsule, negative inside.

    Args:
        points: in the frame of the spheres.
        spheres: centres and radii (B, S, 4).
        pairs: the two spheres of each capsule (P, 2).
        allowed: the capsules that count for each point, (N, P) or (B, N, P); all by default. Where none does, the
            distance is infinite.
    """
    starts, ends = pairs.unbind(dim=1)
    with torch.no_grad():
        # On a CPU a few samples at a time, so that intermediate results stay in the cache.
        few = 4 if points.device.type == "cpu" else max(len(points), 1)
        parts = [
            _nearest(
                points[i : i + few], spheres[i : i + few, starts], spheres[i : i + few, ends],
                allowed if allowed is None or allowed.dim() == 2 else allowed[i : i + few],
            )
            for i in range(0, len(points), few)
        ]  # fmt: skip
        nearest, share, none = (torch.cat(part) for part in zip(*parts, strict=True))
    rows = torch.arange(len(spheres), device=spheres.device)[:, None]
    sphere = torch.lerp(spheres[rows, starts[nearest]], spheres[rows, ends[nearest]], share[..., None])
    away = (points - sphere[..., :3]).square().sum(-1)
    # The root's derivative is infinite at a sphere's very centre.
    result = (away + 1e-18).sqrt() - sphere[..., 3]
    return result.masked_fill(none, torch.inf)


def _nearest(
    points: torch.Tensor, a: torch.Tensor, b: torch.Tensor, allowed: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the capsules between spheres ``a`` and ``b`` (B, P, 4) the nearest to each point (B, N): its index, the place
    of its nearest sphere on its axis, 0..1, and whether none counts."""
    axis = b[..., :3] - a[..., :3]
    length = axis.norm(dim=-1).clamp(min=1e-9)
    slope = ((a[..., 3] - b[..., 3]) / length)[:, None]
    unit = axis / length[..., None]
    length = length[:, None]
    # Distances along and across the axes (B, N, P) from matrix products. Rounding moves the nearest sphere a little,
    # which does not change the distance to first order: the caller computes it from the sphere itself.
    middle = a[..., :3].mean(dim=1, keepdim=True)
    centred, start = points - middle, a[..., :3] - middle
    square = centred.square().sum(-1)[..., None] + start.square().sum(-1)[:, None] - 2.0 * (centred @ start.mT)
    along = centred @ unit.mT - (start * unit).sum(-1)[:, None]
    across = (square - along * along).clamp(min=0.0).sqrt()
    # The line to the point leans back by the capsule's half angle, as in capsules.nearest_share.
    lean = slope / (1.0 - slope * slope).clamp(min=1e-9).sqrt()
    share = torch.addcmul(along, across, lean, value=-1.0).div_(length).clamp_(0.0, 1.0)
    if (slope.abs() >= 1.0).any():
        share = torch.where(slope >= 1.0, 0.0, torch.where(slope <= -1.0, 1.0, share))
    shrink = (a[..., 3] - b[..., 3])[:, None]
    distance = (torch.addcmul(along, share, length, value=-1.0).square_() + across.square_()).sqrt_()
    distance = distance.add_(torch.addcmul(-a[:, None, :, 3], share, shrink))
    if allowed is not None:
        distance = distance.masked_fill(~allowed, torch.inf)
    least, nearest = distance.min(dim=-1)
    return nearest, share.gather(-1, nearest[..., None])[..., 0], torch.isinf(least)


@dataclasses.dataclass(frozen=True, eq=False)
class PosedHands:
    """Both hands of B samples; dimension 1 is the side.

    Attributes:
        spheres: (B, 2, S, 4), metres, the hands' frame.
        skin: points of the skin (B, 2, N, 3), metres, the same frame.
        joints: the 16 joints (B, 2, 16, 3), metres.
    """

    spheres: torch.Tensor
    skin: torch.Tensor
    joints: torch.Tensor


class CollisionModel(nn.Module):
    """Poses proxies and skin of both hands and measures their collisions; buffers only, no parameters."""

    pairs: torch.Tensor
    self_allowed: torch.Tensor

    def __init__(self, hand_model: HandModel, skin_points: int = 320, dtype: torch.dtype = torch.float32) -> None:
        """``skin_points``: number of vertices that represent the skin of a hand, spread evenly, at most all of them."""
        super().__init__()
        proxies = load_proxies(hand_model)
        chosen = _spread(hand_model, min(skin_points, hand_model.num_vertices))

        def keep(name: str, array: np.ndarray) -> None:
            kind = torch.long if array.dtype == np.int64 else torch.bool if array.dtype == bool else dtype
            self.register_buffer(name, torch.as_tensor(array).to(kind), persistent=False)

        keep("pairs", proxies.pairs)
        for name in ("weights", "centres", "radii", "centre_dirs", "radius_dirs", "keypoints", "keypoint_dirs"):
            keep(f"proxy_{name}", getattr(proxies, name))
        skin = [_skin(hand_model, side, chosen) for side in Side]
        for name, arrays in zip(("template", "shapedirs", "posedirs", "weights"), zip(*skin, strict=True), strict=True):
            keep(f"skin_{name}", np.stack(arrays))
        keep("self_allowed", _able_to_collide(hand_model, chosen))
        mirror = np.ones((2, 1, 3))
        mirror[Side.LEFT, 0, 0] = -1.0
        keep("mirror", mirror)

    def pose(
        self,
        rotations: torch.Tensor,
        betas: torch.Tensor,
        translation: torch.Tensor,
        chosen: torch.Tensor | None = None,
    ) -> PosedHands:
        """Pose both hands.

        Args:
            rotations: (B, 2, 16, 3, 3) of the joints relative to their parents, in the order of skeleton.JOINT_NAMES.
            betas: (B, 2, 10).
            translation: (B, 2, 3), metres: all as :meth:`HandModel.mesh` takes them.
            chosen: indices of skin points (B, 2, K); all of them by default.
        """
        # The left hand is posed as its mirror image, a right hand, so that mirrored hands give mirrored results.
        mirror = self.mirror[:, 0]
        rotations = rotations * (mirror[:, None, :, None] * mirror[:, None, None, :])
        rest = self.proxy_keypoints + (self.proxy_keypoint_dirs @ betas[:, :, None, :, None])[..., 0]
        keypoints, orientations = forward_kinematics(rotations, rest, rest[:, :, WRIST] + translation * mirror)

        def posed(points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return skinned(points, weights, orientations, keypoints, rest) * self.mirror

        centres = self.proxy_centres + (self.proxy_centre_dirs @ betas[:, :, None, :, None])[..., 0]
        radii = self.proxy_radii + (self.proxy_radius_dirs @ betas[..., None])[..., 0]
        features = (rotations[:, :, TO_MANO[1:]] - torch.eye(3).to(rotations)).flatten(-3)
        shaped = torch.einsum("hvs,bhs->bhv", self.skin_shapedirs, betas)
        shaped = shaped + torch.einsum("hvf,bhf->bhv", self.skin_posedirs, features)
        skin, skin_weights = self.skin_template + shaped.unflatten(-1, (-1, 3)), self.skin_weights
        if chosen is not None:
            skin = skin.gather(2, chosen[..., None].expand(-1, -1, -1, 3))
            skin_weights = skin_weights[torch.arange(2, device=skin.device)[:, None], chosen]
        spheres = torch.cat([posed(centres, self.proxy_weights), radii.clamp(min=0.001)[..., None]], dim=-1)
        return PosedHands(spheres, posed(skin, skin_weights), keypoints[:, :, JOINT_KEYPOINTS] * self.mirror)

    def between(self, hands: PosedHands) -> torch.Tensor:
        """Signed distances (B, 2, N), metres, of each hand's skin to the other hand's capsules, negative inside."""
        spheres, skin = hands.spheres.flip(1), hands.skin
        return signed_distances(skin.flatten(0, 1), spheres.flatten(0, 1), self.pairs).unflatten(0, (-1, 2))

    def within(self, hands: PosedHands) -> torch.Tensor:
        """Signed distances (B, 2, N), metres, of each hand's skin to those of its own capsules that it can collide
        with."""
        spheres, skin = hands.spheres.flatten(0, 1), hands.skin.flatten(0, 1)
        return signed_distances(skin, spheres, self.pairs, self.self_allowed).unflatten(0, (-1, 2))

    def gap(self, hands: PosedHands) -> torch.Tensor:
        """Smallest distance (B,), metres, of one hand's skin to the other's capsules; negative where they overlap."""
        return self.between(hands).flatten(1).amin(dim=1)


def penetration_loss(distances: torch.Tensor, tolerance: float = 0.0, scale: float | None = None) -> torch.Tensor:
    """Sum (B,) over all points of their depths beyond a tolerance.

    Args:
        distances: signed, (B, ...), metres, of :meth:`CollisionModel.between` or :meth:`CollisionModel.within`.
        tolerance: depth without loss, metres.
        scale: of :func:`geman_mcclure`, metres; None gives squared depths, in square metres.
    """
    depth = (-distances - tolerance).clamp(min=0.0)
    return (depth.square() if scale is None else geman_mcclure(depth, scale)).flatten(1).sum(dim=1)


def _spread(hand_model: HandModel, count: int) -> np.ndarray:
    """Vertices (N,) spread over the hand by farthest-point sampling (Gonzalez 1985), fingertips first."""
    flat = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    vertices = hand_model.mesh(Side.RIGHT, flat, np.zeros(10), np.zeros(3)).astype(np.float64)
    chosen = list(hand_model.tip_vertices(Side.RIGHT)[:count])
    near = np.linalg.norm(vertices[:, None] - vertices[chosen], axis=-1).min(axis=1)
    while len(chosen) < count:
        chosen.append(int(near.argmax()))
        near = np.minimum(near, np.linalg.norm(vertices - vertices[chosen[-1]], axis=1))
    return np.array(chosen, dtype=np.int64)


def _skin(hand_model: HandModel, side: Side, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Template (N, 3), shapedirs (3 N, 10), posedirs (3 N, 135) and weights (N, 16) of vertices as of a right hand."""
    arrays = hand_model.arrays(side)
    template, shapedirs, posedirs, weights = (
        getattr(arrays, name)[chosen].astype(np.float64) for name in ("template", "shapedirs", "posedirs", "weights")
    )
    shapedirs = shapedirs[..., :10]
    if side == Side.LEFT:
        signs = np.array([-1.0, 1.0, 1.0])
        template, shapedirs = mirror_points(template), shapedirs * signs[:, None]
        posedirs = posedirs * signs[:, None] * np.tile(np.outer(signs, signs).reshape(-1), 15)
    return (
        template, shapedirs.reshape(-1, shapedirs.shape[-1]), posedirs.reshape(-1, 135),
        weights[:, FROM_MANO],
    )  # fmt: skip


def _able_to_collide(hand_model: HandModel, chosen: np.ndarray) -> np.ndarray:
    """Whether each skin point can collide with each capsule (N, P) of the same hand: not where they are close in the
    flat hand, nor on the same bone or the next."""
    proxies, flat = load_proxies(hand_model), np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    vertices = hand_model.mesh(Side.RIGHT, flat, np.zeros(10), np.zeros(3))[chosen]
    spheres = np.concatenate([proxies.centres[Side.RIGHT], proxies.radii[Side.RIGHT][:, None]], axis=1)
    separate = capsule_distances(vertices, spheres, proxies.pairs) > _REST_DISTANCE
    related = np.eye(NUM_JOINTS, dtype=bool)
    related[np.arange(1, NUM_JOINTS), JOINT_PARENTS[1:]] = related[JOINT_PARENTS[1:], np.arange(1, NUM_JOINTS)] = True
    owner = hand_model.weights(Side.RIGHT)[chosen].argmax(axis=1)
    joints = proxies.weights[Side.RIGHT].argmax(axis=1)[proxies.pairs]
    return separate & ~related[owner][:, joints].any(axis=2)
