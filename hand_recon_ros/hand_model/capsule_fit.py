"""Fitting the spheres of a hand's collision proxies to its mesh, over poses and shapes.

The spheres' centres and radii minimise the squared distances of the skin to the surface of the capsules between them,
over several poses (as in Tkach, Pauly & Tagliasacchi, "Sphere-Meshes for Real-Time Hand Modeling and Tracking", 2016,
where a template is fitted to one person). The solver is Levenberg-Marquardt; the distance to a capsule is a minimum
over the axis, so its derivatives are those at the fixed nearest point.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.capsules import capsule_distances, distance_at, length_of, nearest_share
from ..geometry.compiled import compiled
from ..geometry.mesh_queries import surface_distances
from ..geometry.skinning import skinning_transforms
from ..types import Side
from . import HandModel
from .capsule_layout import sphere_layout

_POSES = 10
_ITERATIONS = 24
_MAX_EXTRA_DISTANCE = 0.012
"""A point of the skin may belong to capsules that are farther from it at rest than the nearest by at most this,
metres."""
_END_WEIGHT = 0.02
"""Weight of the flat end behind the wrist, where the arm continues."""
_REGULARISATION = 2e-4
"""Weight of the deviation from the initial spheres, relative to the skin's."""


def fit_spheres(hand_model: HandModel, side: Side) -> dict[str, np.ndarray]:
    """Spheres of one hand: ``pairs`` (P, 2), skinning ``weights`` (S, 16), and at rest, in metres,
    ``centres`` (S, 3), ``radii`` (S,), ``centre_dirs`` (S, 3, 10) and ``radius_dirs`` (S, 10) per unit of beta.

    Deterministic; takes about two seconds.
    """
    kinematics, faces = hand_model.kinematics(side), hand_model.faces(side).astype(np.int64)
    poses = _poses(hand_model, side)
    zero, origin = np.zeros(10), np.zeros(3)

    def skin(betas: np.ndarray) -> np.ndarray:
        vertices = hand_model.mesh(side, poses, betas, origin).astype(np.float64)
        return np.concatenate([vertices, vertices[:, faces].mean(axis=2)], axis=1)

    def transforms(betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and shift (K, S, ...) of every sphere in every pose."""
        keypoints, orientations = kinematics.forward(poses, betas, origin)
        return skinning_transforms(weights, orientations, keypoints, kinematics.rest_keypoints(betas))

    points = skin(zero)
    rest, importance = points[0], _importance(points[0], faces, hand_model.wrist_loop(side))
    vertices = rest[: hand_model.num_vertices]
    loop = vertices[hand_model.wrist_loop(side)].mean(axis=0)
    centres, pairs = sphere_layout(kinematics.keypoint_template, loop)
    radii = 0.9 * surface_distances(centres, vertices, faces)
    weights = _skin_weights(centres, radii, vertices, hand_model.weights(side).astype(np.float64))
    matrices, shifts = transforms(zero)
    start = np.concatenate([centres, radii[:, None]], axis=1)
    spheres, damping, best = start.copy(), 1e-3, math.inf
    regularisation = _REGULARISATION * importance.sum() * len(poses) / len(centres)

    def linearised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        near = _candidates(rest, values, pairs)
        hessian, gradient = np.zeros((values.size, values.size)), np.zeros(values.size)
        cost = _accumulate(points, importance, near, pairs, values, matrices, shifts, hessian, gradient)
        deviation = (values - start).reshape(-1)
        gradient += regularisation * deviation
        hessian[np.diag_indices_from(hessian)] += regularisation
        return hessian, gradient, cost + 0.5 * regularisation * float(deviation @ deviation)

    hessian, gradient, best = linearised(spheres)
    for _ in range(_ITERATIONS):
        damped = hessian + damping * np.diag(np.diag(hessian))
        tried = spheres - np.linalg.solve(damped, gradient).reshape(spheres.shape)
        tried[:, 3] = np.maximum(tried[:, 3], 0.002)
        step = linearised(tried)
        if step[2] < best:
            spheres, (hessian, gradient, best), damping = tried, step, damping * 0.3
        else:
            damping *= 5.0
    dirs = np.zeros((*spheres.shape, 10))
    near = _candidates(rest, spheres, pairs)
    for beta in range(10):
        step = np.eye(10)[beta]
        displacement = (skin(step) - skin(-step)) / 2
        carried = (transforms(step)[1] - transforms(-step)[1]) / 2
        local = _local_mean(spheres, vertices, displacement[0, : len(vertices)])
        initial = np.concatenate([local, np.zeros((len(local), 1))], axis=1)
        right = np.zeros(spheres.size)
        _accumulate_displacement(
            points, importance, near, pairs, spheres, matrices, shifts, displacement, carried, initial, right
        )
        ridge = hessian + 4.0 * regularisation * np.eye(spheres.size)
        dirs[..., beta] = initial + np.linalg.solve(ridge, right).reshape(spheres.shape)
    return {
        "pairs": pairs, "weights": weights, "centres": spheres[:, :3], "radii": spheres[:, 3],
        "centre_dirs": dirs[:, :3], "radius_dirs": dirs[:, 3],
    }  # fmt: skip


def _poses(hand_model: HandModel, side: Side) -> np.ndarray:
    """The flat hand and random poses (K, 16, 3, 3) between it and four fifths of the joints' limits."""
    kinematics, rng = hand_model.kinematics(side), np.random.default_rng(5)
    low, high = kinematics.limits[..., 0], kinematics.limits[..., 1]
    angles = rng.uniform(0.8 * low, 0.8 * high, (_POSES, 16, 3))
    # Fingers bend more often than they bend back.
    angles[..., 0] = np.where(rng.random((_POSES, 16)) < 0.7, np.abs(angles[..., 0]), angles[..., 0])
    angles[:, 0], angles[0] = 0.0, 0.0
    return kinematics.rotations_of(angles)


def _importance(points: np.ndarray, faces: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Weights of vertices and triangle centres by the area around them, small at the end behind the wrist."""
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    ended = np.isin(faces, loop).all(axis=1)
    share = np.where(ended, _END_WEIGHT * area, area)
    importance = np.zeros(len(points))
    np.add.at(importance, faces, share[:, None] / 6)
    importance[-len(faces) :] += share / 2
    return importance / importance.sum()


def _skin_weights(centres: np.ndarray, radii: np.ndarray, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean skinning weights of the skin around each sphere, weighted by nearness."""
    distance = np.linalg.norm(centres[:, None] - vertices, axis=-1) / radii[:, None]
    nearness = np.exp(-0.5 * ((distance - distance.min(axis=1, keepdims=True)) / 0.25) ** 2)
    mean = nearness @ weights
    mean[mean < 0.02 * mean.sum(axis=1, keepdims=True)] = 0.0
    return mean / mean.sum(axis=1, keepdims=True)


def _local_mean(spheres: np.ndarray, vertices: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(spheres[:, None, :3] - vertices, axis=-1) / spheres[:, 3:]
    nearness = np.exp(-0.5 * ((distance - distance.min(axis=1, keepdims=True)) / 0.25) ** 2)
    return nearness @ displacement / nearness.sum(axis=1, keepdims=True)


def _candidates(rest: np.ndarray, spheres: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether each point may belong to each capsule (N, P)."""
    distances = capsule_distances(rest, spheres, pairs)
    return distances < distances.min(axis=1, keepdims=True) + _MAX_EXTRA_DISTANCE


@compiled
def _nearest(point, near, pairs, posed, lengths, normal):  # type: ignore[no-untyped-def]
    """The nearest of the capsules that count: its index, place on the axis and distance; writes ``normal``."""
    best, found, share = 1e9, -1, 0.0
    for c in range(pairs.shape[0]):
        if not near[c]:
            continue
        a, b = posed[pairs[c, 0]], posed[pairs[c, 1]]
        h = nearest_share(point[0], point[1], point[2], a, b, lengths[c], (a[3] - b[3]) / lengths[c])
        distance = distance_at(point, a, b, h)
        if distance < best:
            best, found, share = distance, c, h
    a, b = posed[pairs[found, 0]], posed[pairs[found, 1]]
    size = max(best + a[3] + share * (b[3] - a[3]), 1e-9)
    for k in range(3):
        normal[k] = (point[k] - a[k] - share * (b[k] - a[k])) / size
    return found, share, best


@compiled
def _posed(spheres, pairs, matrices, shifts, posed, lengths):  # type: ignore[no-untyped-def]
    for s in range(spheres.shape[0]):
        posed[s, 3] = spheres[s, 3]
        for i in range(3):
            posed[s, i] = shifts[s, i]
            for j in range(3):
                posed[s, i] += matrices[s, i, j] * spheres[s, j]
    for c in range(pairs.shape[0]):
        lengths[c] = length_of(posed[pairs[c, 0]], posed[pairs[c, 1]])


@compiled
def _row(found, share, normal, pairs, matrices, columns, row):  # type: ignore[no-untyped-def]
    """Write the derivatives of a distance by the two spheres' centres at rest and radii."""
    for end in range(2):
        s, part = pairs[found, end], share if end == 1 else 1.0 - share
        for j in range(3):
            columns[4 * end + j] = 4 * s + j
            row[4 * end + j] = 0.0
            for i in range(3):
                row[4 * end + j] -= part * normal[i] * matrices[s, i, j]
        columns[4 * end + 3], row[4 * end + 3] = 4 * s + 3, -part


@compiled
def _accumulate(points, importance, near, pairs, spheres, matrices, shifts, hessian, gradient):  # type: ignore[no-untyped-def]
    posed, lengths, normal = np.empty(spheres.shape), np.empty(pairs.shape[0]), np.empty(3)
    columns, row, cost = np.empty(8, dtype=np.int64), np.empty(8), 0.0
    for pose in range(points.shape[0]):
        _posed(spheres, pairs, matrices[pose], shifts[pose], posed, lengths)
        for i in range(points.shape[1]):
            found, share, distance = _nearest(points[pose, i], near[i], pairs, posed, lengths, normal)
            _row(found, share, normal, pairs, matrices[pose], columns, row)
            cost += 0.5 * importance[i] * distance * distance
            for m in range(8):
                gradient[columns[m]] += importance[i] * row[m] * distance
                for n in range(8):
                    hessian[columns[m], columns[n]] += importance[i] * row[m] * row[n]
    return cost


@compiled
def _accumulate_displacement(  # type: ignore[no-untyped-def]
    points, importance, near, pairs, spheres, matrices, shifts, displacement, carried, initial, right
):
    """Add the right-hand side for spheres that follow skin which moves by ``displacement``, of which the joints
    give the spheres ``carried``, beyond ``initial``."""
    posed, lengths, normal = np.empty(spheres.shape), np.empty(pairs.shape[0]), np.empty(3)
    columns, row = np.empty(8, dtype=np.int64), np.empty(8)
    for pose in range(points.shape[0]):
        _posed(spheres, pairs, matrices[pose], shifts[pose], posed, lengths)
        for i in range(points.shape[1]):
            found, share, _ = _nearest(points[pose, i], near[i], pairs, posed, lengths, normal)
            _row(found, share, normal, pairs, matrices[pose], columns, row)
            change = 0.0
            for k in range(3):
                between = (1.0 - share) * carried[pose, pairs[found, 0], k] + share * carried[pose, pairs[found, 1], k]
                change += normal[k] * (displacement[pose, i, k] - between)
            for m in range(8):
                change += row[m] * initial[columns[m] // 4, columns[m] % 4]
            for m in range(8):
                right[columns[m]] -= importance[i] * row[m] * change
