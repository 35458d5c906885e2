"""Pose correctives: what MANO's pose blend shapes have to add where linear blend skinning collapses a bent joint.

For each joint a set of rotations inside its range is posed twice: by linear blend skinning, and with the volume of the
hand preserved. The second turns every vertex about the joint by its share of the angle, which keeps its distance from
the joint (the spherical blending of Kavan & Zara, "Spherical Blend Skinning", I3D 2005), lets the two sides of a crease
meet in the plane that halves the angle instead of passing through each other, and bulges the skin until the volume is
what it was at rest. The difference, taken back to the rest pose, is fitted to the nine elements of (R - 1) by least
squares.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from .rig import PARENTS, Rig

_FLEXIONS = np.radians([-30.0, -15.0, 0.0, 20.0, 40.0, 60.0, 75.0, 90.0, 105.0])
_ABDUCTIONS = np.radians([-20.0, 0.0, 20.0])
_TWISTS = np.radians([-10.0, 0.0, 10.0])
_RIDGE = 0.02
_MAX_BULGE = 0.0015
_BASES = (1, 4, 7, 10, 13)
_THUMB_BASE = 13


def pose_correctives(rig: Rig) -> np.ndarray:
    """Pose blend shapes (V, 3, 135): displacement at rest per element of (R - 1) of the 15 joints, metres."""
    result = np.zeros((len(rig.vertices), 3, 135))
    by_finger = np.stack([subtree_weights(rig, base) for base in _BASES])
    for joint in range(1, 16):
        share = subtree_weights(rig, joint)
        moved = np.flatnonzero((share > 1e-3) & (share < 1.0 - 1e-3))
        features, displacements = [], []
        for rotation in _sampled_rotations(rig.frames[joint], joint in _BASES):
            linear = blend(rig, joint, share, rotation)
            goal = volume_preserving(rig, joint, share, rotation)
            mixed = np.eye(3) + share[moved, None, None] * (rotation - np.eye(3))
            features.append((rotation - np.eye(3)).reshape(-1))
            displacements.append(np.linalg.solve(mixed, (goal - linear)[moved][..., None]).reshape(-1))
        a, b = np.array(features), np.array(displacements)
        solution = np.linalg.solve(a.T @ a + _RIDGE * np.eye(9), a.T @ b)
        block = solution.reshape(9, len(moved), 3).transpose(1, 2, 0)
        # Skin between two fingers gets its part from each of them, so that it is right when both bend.
        own = by_finger[(joint - 1) // 3, moved] / by_finger[:, moved].sum(axis=0)
        block = block * own[:, None, None]
        result[moved, :, 9 * (joint - 1) : 9 * joint] = block
    return result


def subtree_weights(rig: Rig, joint: int) -> np.ndarray:
    """How much each vertex (V,) follows when ``joint`` turns: the weights of the joint and of all after it."""
    total = np.zeros(len(rig.vertices))
    for other in range(joint, 16):
        above = other
        while above > joint:
            above = PARENTS[above]
        if above == joint:
            total += rig.weights[:, other]
    return total


def blend(rig: Rig, joint: int, share: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Vertices with one joint turned, by linear blend skinning."""
    local = rig.vertices - rig.joints[joint]
    return rig.vertices + share[:, None] * (local @ rotation.T - local)


def volume_preserving(rig: Rig, joint: int, share: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Vertices with one joint rotated, the volume of the hand preserved."""
    centre, frame = rig.joints[joint], rig.frames[joint]
    local = rig.vertices - centre
    turns = Rotation.from_rotvec(share[:, None] * Rotation.from_matrix(rotation).as_rotvec())
    posed = turns.apply(local)
    crease = _crease(local, posed, frame, rotation) if joint != _THUMB_BASE else None
    if crease is not None:
        posed = crease(posed)
    kernel = 4.0 * share * (1.0 - share)
    target = signed_volume(rig.vertices, rig.faces)
    for _ in range(3):
        normals = vertex_normals(posed, rig.faces)
        area = float(kernel @ np.linalg.norm(normals, axis=1))
        height = np.clip((target - signed_volume(posed, rig.faces)) / area, -_MAX_BULGE, _MAX_BULGE)
        lengths = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        posed = posed + height * kernel[:, None] * normals / lengths
        if crease is not None:
            posed = crease(posed)
    return posed + centre


def _crease(local, posed, frame, rotation):
    """What keeps the palmar skin on its own side of the plane that halves a flexed joint; None where it is straight."""
    forward = frame[:, 0]
    plane = forward + rotation @ forward
    plane /= np.linalg.norm(plane)
    if (rotation @ forward) @ frame[:, 2] > -np.sin(np.radians(10.0)):
        return None
    side = np.sign(local @ forward)
    # Only this finger's palmar skin close to the joint meets there.
    near = (np.linalg.norm(local, axis=1) < 0.022) & (local @ frame[:, 2] < 0.0) & (np.abs(local @ frame[:, 1]) < 0.012)

    def keep(points: np.ndarray) -> np.ndarray:
        beyond = np.minimum(side * (points @ plane), 0.0) * near
        return points - (side * beyond)[:, None] * plane

    return keep


def _sampled_rotations(frame: np.ndarray, is_base: bool):
    for flexion, abduction, twist in itertools.product(
        _FLEXIONS, _ABDUCTIONS if is_base else [0.0], _TWISTS if is_base else [0.0]
    ):
        local = Rotation.from_euler("YZX", [flexion, abduction, twist]).as_matrix()
        yield frame @ local @ frame.T
    if not is_base:
        for axis in ("z", "x"):
            for angle in np.radians([-8.0, 8.0]):
                yield frame @ Rotation.from_euler(axis, angle).as_matrix() @ frame.T


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume enclosed by a closed mesh, by the divergence theorem."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Outward normals (V, 3) whose length is the area that belongs to the vertex."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a) / 6.0
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, faces[:, corner], normals)
    return total
