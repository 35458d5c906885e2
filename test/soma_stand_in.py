"""A left hand of SOMA-X's kind, made of the embedded hand, whose mirror image in x = 0 is the right one.

The mesh "low" is the embedded hand's without the wrist's cap, "mid" that with every triangle divided into four. Beside
the joints that MANO has too there are metacarpals and finger ends with skin of their own, a bind pose, another T-pose,
and a mean shape that is not the shape of the bind pose.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.arrays import boundary_loop

FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
HAND_JOINTS = ("", *(f"{finger}{part}" for finger in FINGERS for part in (*range(1, 4 + (finger != "Thumb")), "End")))
"""The 25 joints, without the side's prefix."""
PARENTS = np.array([0, 0, 1, 2, 3, *(p for f in range(4) for p in (0, *range(5 + 5 * f, 9 + 5 * f)))])
COMPONENTS = 20


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A left hand at one level of detail.

    Attributes:
        points: (V, 3), centimetres, in the wrist's frame; of the shape of the bind pose.
        mean: the same of the mean shape.
        directions: (20, V, 3), centimetres per standard deviation, of decreasing size.
        weights: of the 25 joints (V, 25).
        faces: (F, 3), counter-clockwise from outside.
        rim: vertices around the open end, in order.
    """

    points: np.ndarray
    mean: np.ndarray
    directions: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    rim: np.ndarray


@dataclasses.dataclass(frozen=True)
class Hand:
    """The left hand, whose mirror image in x = 0 is the right one.

    Attributes:
        low, mid: its meshes; the vertices of low are the first ones of mid.
        joints: where the 25 joints are in the bind pose (25, 3), centimetres, in the wrist's frame.
        bind: orientations of the joints in the bind pose, in the wrist's frame (25, 3, 3).
        t_pose: those of the T-pose (25, 3, 3).
        wrist: orientation of the wrist in the world (3, 3).
    """

    low: Mesh
    mid: Mesh
    joints: np.ndarray
    bind: np.ndarray
    t_pose: np.ndarray
    wrist: np.ndarray


def stand_in(seed: int = 0) -> Hand:
    """The left hand of the assets; the same for the same seed."""
    rng, model = np.random.default_rng(seed), load_hand_model()
    arrays, kinematics = model.arrays(Side.LEFT), model.kinematics(Side.LEFT)
    wrist = Rotation.from_euler("xyz", [20, -35, 15], degrees=True).as_matrix()
    origin = kinematics.keypoint_template[0]

    def local(points: np.ndarray) -> np.ndarray:
        return 100.0 * (points - origin) @ wrist

    keypoints = local(kinematics.keypoint_template)
    joints = np.zeros((25, 3))
    for finger in range(5):
        chain = keypoints[1 + 4 * finger : 5 + 4 * finger]
        if finger:  # the metacarpal begins a quarter of the way to the knuckle
            chain = np.concatenate([0.25 * chain[:1], chain])
        start = 1 if finger == 0 else 5 * finger
        joints[start : start + len(chain)] = chain
        joints[start + len(chain) - 1] -= 0.15 * (chain[-1] - chain[-2])  # the end lies under the skin
    kept, faces = _open(arrays.faces.astype(np.int64), arrays.wrist_loop)
    template, shapedirs = arrays.template[kept].astype(np.float64), arrays.shapedirs[kept].astype(np.float64)
    coarse = Mesh(
        points=local(template),
        mean=local(template + shapedirs @ rng.normal(0.0, 0.6, 10)),
        directions=_fields(rng, local(template), 100.0 * np.moveaxis(shapedirs, 2, 0) @ wrist),
        weights=_weights(local(template), joints, model.weights(Side.LEFT)[kept].astype(np.float64)),
        faces=faces,
        rim=boundary_loop(faces),
    )
    bind = _orientations(joints)
    bend = Rotation.from_rotvec(rng.normal(0.0, 0.12, (25, 3))).as_matrix()
    bend[0] = np.eye(3)
    mid = _divided(coarse)
    # Principal components are orthogonal.
    _, sizes, basis = np.linalg.svd(mid.directions.reshape(COMPONENTS, -1), full_matrices=False)
    mid = dataclasses.replace(mid, directions=(sizes[:, None] * basis).reshape(mid.directions.shape))
    low = dataclasses.replace(coarse, directions=mid.directions[:, : len(coarse.points)])
    return Hand(low, mid, joints, bind, bend @ bind, wrist)


def _open(faces: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All vertices but the one behind the loop around the wrist, and the triangles without it, renumbered."""
    beside = faces[np.isin(faces, loop).sum(axis=1) == 2]
    vertices, counts = np.unique(beside[~np.isin(beside, loop)], return_counts=True)
    (centre,) = vertices[counts == len(loop)]
    kept = np.delete(np.arange(faces.max() + 1), centre)
    open_faces = faces[(faces != centre).all(axis=1)]
    return kept, open_faces - (open_faces > centre)


def _fields(rng: np.random.Generator, points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The ten shapes of the embedded hand, and ten that are smooth random fields of half a millimetre (20, V, 3)."""
    fields = []
    for _ in range(COMPONENTS - len(known)):
        waves, phase = rng.normal(0.0, 0.3, (6, 3)), rng.uniform(0.0, 2.0 * np.pi, 6)
        values = np.sin(points @ waves.T + phase) @ rng.normal(size=(6, 3))
        fields.append(0.05 * values / np.sqrt(np.mean((values**2).sum(axis=1))))
    return np.concatenate([known, fields])


def _weights(points: np.ndarray, joints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Skin weights of the 25 joints (V, 25), of those of the 16 that the embedded hand has (V, 16)."""
    result = np.zeros((len(points), 25))
    result[:, 0] = known[:, 0]
    for finger in range(5):
        start = 1 if finger == 0 else 5 * finger + 1
        result[:, start : start + 3] = known[:, 1 + 3 * finger : 4 + 3 * finger]
        # The last centimetre of a finger follows its end as well.
        end, last = start + 3, start + 2
        axis = (joints[end] - joints[last]) / np.linalg.norm(joints[end] - joints[last])
        share = 0.4 * np.clip(1.0 + (points - joints[end]) @ axis, 0.0, 1.0)
        result[:, end], result[:, last] = share * result[:, last], (1.0 - share) * result[:, last]
    # The palm's share of the metacarpals: the wrist's weight near each.
    nearness = np.zeros((len(points), 4))
    for finger in range(4):
        base, knuckle = joints[5 + 5 * finger], joints[6 + 5 * finger]
        along = np.clip((points - base) @ (knuckle - base) / ((knuckle - base) @ (knuckle - base)), 0.0, 1.0)
        distance = np.linalg.norm(points - base - along[:, None] * (knuckle - base), axis=1)
        nearness[:, finger] = along * np.exp(-((distance / 1.2) ** 2))
    share = nearness / np.maximum(1.0, nearness.sum(axis=1, keepdims=True))
    result[:, [5, 10, 15, 20]] = share * result[:, :1]
    result[:, 0] *= 1.0 - share.sum(axis=1)
    return result


def _orientations(joints: np.ndarray) -> np.ndarray:
    """Orientations (25, 3, 3) with x along the bone; the wrist's is that of its own frame."""
    result = np.tile(np.eye(3), (25, 1, 1))
    for joint in range(1, 25):
        parent = PARENTS[joint]
        ends = HAND_JOINTS[joint].endswith("End")
        bone = joints[joint] - joints[parent] if ends else joints[joint + 1] - joints[joint]
        x = bone / np.linalg.norm(bone)
        y = np.cross([0.2, 0.3, 1.0], x)
        y /= np.linalg.norm(y)
        result[joint] = np.stack([x, y, np.cross(x, y)], axis=1)
    return result


def _divided(mesh: Mesh) -> Mesh:
    """Every triangle in four: vertices of ``mesh``, then the middles of its edges."""
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (number.reshape(3, -1) + len(mesh.points)).astype(np.int64)
    a, b, c = mesh.faces.T
    faces = np.concatenate([np.stack(each, axis=1) for each in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])

    def middles(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, 0.5 * (values[unique[:, 0]] + values[unique[:, 1]])])

    return Mesh(
        points=middles(mesh.points),
        mean=middles(mesh.mean),
        directions=np.stack([middles(each) for each in mesh.directions]),
        weights=middles(mesh.weights),
        faces=faces,
        rim=boundary_loop(faces),
    )
