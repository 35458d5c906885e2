"""From the 25 WebXR joints to MANO's 16: axes, skin weights, flat rest pose, fingertips and closed wrist.

Arrays over joints are in MANO's order: wrist, then three joints each of index, middle, little, ring finger and thumb.
MANO's right hand at rest has the fingers along -x, the back of the hand at +y and the thumb at +z.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .glb import SkinnedMesh

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
_FINGER_PARTS = ("finger-phalanx-proximal", "finger-phalanx-intermediate", "finger-phalanx-distal")
_THUMB_PARTS = ("metacarpal", "phalanx-proximal", "phalanx-distal")
_JOINTS = ("wrist",) + tuple(
    f"{finger}-{part}" for finger in FINGERS for part in (_THUMB_PARTS if finger == "thumb" else _FINGER_PARTS)
)
_TIPS = tuple("thumb-tip" if finger == "thumb" else f"{finger}-finger-tip" for finger in FINGERS)
_AXES = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
"""WebXR's mesh has its fingers along -y, the back of the hand at +x and the thumb at -z."""


@dataclasses.dataclass
class Rig:
    """The hand at rest: vertices (V, 3), faces (F, 3), weights (V, 16), joints (16, 3), frames (16, 3, 3).

    Columns of a frame are x along the bone, z dorsal, y = z cross x. ``tips`` (5,) are vertices, in the order of
    FINGERS; ``wrist_loop`` are the vertices around the cut, in order, and ``cap`` is the vertex that closes it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    joints: np.ndarray
    frames: np.ndarray
    tips: np.ndarray
    wrist_loop: np.ndarray
    cap: int

    @property
    def ends(self) -> np.ndarray:
        """Where each joint's bone ends (16, 3): the next joint, a tip, or for the wrist the middle MCP."""
        ends = np.empty_like(self.joints)
        ends[0] = self.joints[4]
        for finger in range(5):
            first = 1 + 3 * finger
            ends[first : first + 2] = self.joints[first + 1 : first + 3]
            ends[first + 2] = self.vertices[self.tips[finger]]
        return ends


def build_rig(mesh: SkinnedMesh) -> Rig:
    """The hand of the file at MANO's flat rest pose, with closed wrist and fingertips that are vertices."""
    index = {name: i for i, name in enumerate(mesh.joint_names)}
    vertices = mesh.vertices @ _AXES.T
    chosen = [index[name] for name in _JOINTS]
    joints = mesh.joint_poses[chosen, :3, 3] @ _AXES.T
    dorsal = mesh.joint_poses[chosen, :3, 1] @ _AXES.T
    aims = mesh.joint_poses[[index[name] for name in _TIPS], :3, 3] @ _AXES.T
    weights = _merge_weights(mesh, index)

    turn = _palm_rotation(joints)
    origin = joints[4]
    vertices, joints, aims = ((points - origin) @ turn.T for points in (vertices, joints, aims))
    dorsal = dorsal @ turn.T

    faces, vertices, weights, loop, cap = _close_wrist(mesh.faces, vertices, weights)
    tips = _place_tips(vertices, faces, joints, aims)
    weights = _smooth_weights(weights, faces, vertices, tips, cap)
    rig = Rig(vertices, faces, weights, joints, np.tile(np.eye(3), (16, 1, 1)), tips, loop, cap)
    _flatten(rig, dorsal)
    return rig


def _merge_weights(mesh: SkinnedMesh, index: dict[str, int]) -> np.ndarray:
    """Weights of the 16 joints: the fingers' metacarpals belong to the wrist, the tips to the last joint."""
    target = dict(zip(_JOINTS, range(16), strict=True))
    for finger, tip in zip(range(5), _TIPS, strict=True):
        target[tip] = 3 + 3 * finger
    weights = np.zeros((len(mesh.weights), 16))
    for name, column in index.items():
        weights[:, target.get(name, 0)] += mesh.weights[:, column]
    return weights


def _palm_rotation(joints: np.ndarray) -> np.ndarray:
    """Rotation that lays the plane of wrist and knuckles into y = 0, the middle metacarpal along -x."""
    knuckles = joints[[0, 1, 4, 7, 10]]
    normal = np.linalg.svd(knuckles - knuckles.mean(0))[2][2]
    normal *= np.sign(normal[1])
    x = joints[0] - joints[4]
    x -= normal * (x @ normal)
    x /= np.linalg.norm(x)
    return np.stack([x, normal, np.cross(x, normal)])


def _close_wrist(faces, vertices, weights):
    """Replace the cap of the wrist by a fan around one new vertex; also returns its ring and that vertex."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    seed = int(np.argmax(corners.mean(1)[:, 0] + 1e-3 * normals[:, 0]))
    flat = np.flatnonzero(normals @ normals[seed] > np.cos(np.radians(8.0)))
    is_cap = np.zeros(len(faces), bool)
    reached = set(faces[seed])
    is_cap[seed] = True
    grown = True
    while grown:
        grown = False
        for face in flat:
            if not is_cap[face] and len(reached.intersection(faces[face])) >= 2:
                is_cap[face], grown = True, True
                reached.update(faces[face])
    edges = {(int(a), int(b)) for f in faces[is_cap] for a, b in zip(f, np.roll(f, -1), strict=True)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    if len(loop) != len(reached):
        raise ValueError(f"the wrist's cap is not a simple disc: {len(loop)} of {len(reached)} vertices on its rim")
    cap = len(vertices)
    fan = [(a, following[a], cap) for a in loop]
    faces = np.concatenate([faces[~is_cap], np.array(fan)])
    vertices = np.concatenate([vertices, vertices[loop].mean(0, keepdims=True)])
    weights = np.concatenate([weights, weights[loop].mean(0, keepdims=True)])
    return faces, vertices, weights, np.array(loop), cap


def _place_tips(vertices, faces, joints, aims) -> np.ndarray:
    """The vertex at the end of each finger, moved (in place) to where the last bone's line leaves the skin."""
    tips = []
    for finger in range(5):
        start = joints[3 + 3 * finger]
        direction = (aims[finger] - start) / np.linalg.norm(aims[finger] - start)
        exit_point = start + direction * _last_hit(vertices[faces], start, direction)
        tip = int(np.argmin(np.linalg.norm(vertices - exit_point, axis=1)))
        vertices[tip] = exit_point
        tips.append(tip)
    return np.array(tips)


def _last_hit(triangles: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> float:
    """Distance to the farthest triangle (N, 3, 3) hit by a ray (Moeller & Trumbore 1997) within 5 cm."""
    edge1, edge2 = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p = np.cross(direction, edge2)
    determinant = (edge1 * p).sum(1)
    safe = np.where(np.abs(determinant) > 1e-15, determinant, np.inf)
    t = origin - triangles[:, 0]
    u = (t * p).sum(1) / safe
    q = np.cross(t, edge1)
    v = (q @ direction) / safe
    distance = (edge2 * q).sum(1) / safe
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0) & (distance < 0.05)
    return float(distance[hit].max())


def edge_list(faces: np.ndarray) -> np.ndarray:
    """Every edge once, (E, 2)."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0)


def _smooth_weights(weights, faces, vertices, tips, cap, rounds: int = 2, influences: int = 4) -> np.ndarray:
    """Even out the painted weights over the mesh, keep the strongest four, and nail the tips to their bone."""
    edges = edge_list(faces)
    for _ in range(rounds):
        total, count = np.zeros_like(weights), np.zeros(len(weights))
        for a, b in (edges.T, edges.T[::-1]):
            np.add.at(total, a, weights[b])
            np.add.at(count, a, 1.0)
        weights = 0.5 * weights + 0.5 * total / count[:, None]
    dropped = np.argsort(-weights, axis=1, kind="stable")[:, influences:]
    weights = weights.copy()
    np.put_along_axis(weights, dropped, 0.0, axis=1)
    weights[weights < 5e-3] = 0.0
    weights[tips] = 0.0
    weights[tips, 3 + 3 * np.arange(5)] = 1.0
    return weights / weights.sum(1, keepdims=True)


def _flatten(rig: Rig, dorsal: np.ndarray) -> None:
    """Straighten every finger (in place): the four fingers into the plane of the palm, keeping their spread.

    Zero joint angles then mean what a goniometer calls zero, and a flat hand.
    """
    ends = rig.ends
    turns = np.tile(np.eye(3), (16, 1, 1))
    for finger in range(5):
        chain = 1 + 3 * finger + np.arange(3)
        aim = ends[chain[2]] - rig.joints[chain[0]]
        if FINGERS[finger] != "thumb":
            aim[1] = 0.0
        aim /= np.linalg.norm(aim)
        # The nail of the last phalanx says where "dorsal" is for the whole thumb; the palm says so for the fingers.
        back = dorsal[chain[2]] if FINGERS[finger] == "thumb" else np.array([0.0, 1.0, 0.0])
        for joint in chain:
            bone = ends[joint] - rig.joints[joint]
            turns[joint] = _rotation_between(bone / np.linalg.norm(bone), aim)
        if FINGERS[finger] == "thumb":
            back = turns[chain[2]] @ back
        rig.frames[chain] = _frame(aim, back)
    joints = rig.joints.copy()
    for joint in range(1, 16):
        parent = PARENTS[joint]
        joints[joint] = joints[parent] + turns[parent] @ (rig.joints[joint] - rig.joints[parent])
    offsets = joints - np.einsum("jab,jb->ja", turns, rig.joints)
    moved = np.einsum("jab,vb->vja", turns, rig.vertices) + offsets
    rig.vertices = np.einsum("vj,vja->va", rig.weights, moved)
    rig.joints = joints
    across = rig.joints[1] - rig.joints[0]
    along = rig.joints[4] - rig.joints[0]
    rig.frames[0] = _frame(along, np.cross(along, across))


def _frame(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    x = x / np.linalg.norm(x)
    z = z - x * (x @ z)
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes the unit vector a to b."""
    v, c = np.cross(a, b), float(a @ b)
    skew = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    return np.eye(3) + skew + skew @ skew / (1.0 + c)
