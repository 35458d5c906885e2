"""Forward kinematics of hands, with analytic derivatives by joint angles, for batches.

Joints are the 16 of ``skeleton.JOINT_NAMES``: joint 0 is the wrist, joint 1 + 3 f + l is level l of finger f. Keypoints
are the 21: keypoint 0 is the wrist, keypoint 1 + 4 f + l is the start of level l of finger f, and 4 + 4 f its tip. The
loops are compiled: in NumPy a frame of two hands spends milliseconds on the overhead of hundreds of tiny operations.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..skeleton import NUM_JOINTS, NUM_KEYPOINTS
from .compiled import compiled, compiled_ufunc, float_array
from .joint_angles import angle_axes, joint_rotation, multiply

NUM_BETAS = 10
ROTATION = slice(0, 3)
TRANSLATION = slice(3, 6)
ANGLES = slice(6, 51)
BETAS = slice(51, 61)
NUM_PARAMETERS = 61
"""Global rotation (left increment, rad), wrist position (m), 15 x (flexion, abduction, twist) (rad), betas."""


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """Rest geometry of B hands, float64 and contiguous; raises ValueError for other shapes.

    Attributes:
        bones: from the start of each bone to its end (B, 20, 3), metres.
        bone_shapedirs: per unit of beta (B, 20, 3, 10).
        wrist: (B, 3), metres.
        wrist_shapedirs: per unit of beta (B, 3, 10).
        frames: anatomical joint frames at rest (B, 15, 3, 3).
        parent_frames: of the flat hand, in the coordinates of the joints' parents at rest (B, 15, 3, 3).
        limits: lowest and highest flexion, abduction and twist (B, 15, 3, 2), radians.
    """

    bones: np.ndarray
    bone_shapedirs: np.ndarray
    wrist: np.ndarray
    wrist_shapedirs: np.ndarray
    frames: np.ndarray
    parent_frames: np.ndarray
    limits: np.ndarray

    def __post_init__(self) -> None:
        batch = len(self.bones)
        shapes: dict[str, tuple[int, ...]] = {
            "bones": (20, 3), "bone_shapedirs": (20, 3, NUM_BETAS), "wrist": (3,), "wrist_shapedirs": (3, NUM_BETAS),
            "frames": (15, 3, 3), "parent_frames": (15, 3, 3), "limits": (15, 3, 2),
        }  # fmt: skip
        for name, shape in shapes.items():
            object.__setattr__(self, name, float_array(getattr(self, name), name, batch, *shape))


@dataclasses.dataclass
class Pose:
    """Parameters of B hands: global rotation (B, 3, 3), wrist position (B, 3), angles (B, 15, 3), betas (B, 10)."""

    rotation: np.ndarray
    wrist: np.ndarray
    angles: np.ndarray
    betas: np.ndarray

    def of(self, hand: int) -> Pose:
        """A copy of one hand's, as a batch of its own."""
        parts = (self.rotation, self.wrist, self.angles, self.betas)
        return Pose(*(part[hand : hand + 1].copy() for part in parts))


@dataclasses.dataclass(frozen=True, eq=False)
class Posed:
    """Forward kinematics of a :class:`Pose`, float64 and contiguous.

    Attributes:
        keypoints: (B, 21, 3), metres, camera frame.
        rotations: of the joints relative to their parents (B, 16, 3, 3); the first is the global one.
        orientations: of the joints in the camera frame (B, 16, 3, 3).
        axes: that each angle turns about, in the camera frame (B, 15, 3 xyz, 3 angles).
    """

    keypoints: np.ndarray
    rotations: np.ndarray
    orientations: np.ndarray
    axes: np.ndarray


def forward_kinematics(
    rotations: np.ndarray, rest_keypoints: np.ndarray, wrist: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (..., 21, 3) and joint orientations (..., 16, 3, 3) in the frame of ``wrist``.

    Args:
        rotations: of the joints relative to their parents (..., 16, 3, 3); the first is the global one.
        rest_keypoints: of the hand at rest (..., 21, 3), metres.
        wrist: where the wrist is (..., 3), metres.

    Leading dimensions broadcast. Raises ValueError for other shapes.
    """
    shapes = np.shape(rotations)[-3:], np.shape(rest_keypoints)[-2:], np.shape(wrist)[-1:]
    if shapes != ((NUM_JOINTS, 3, 3), (NUM_KEYPOINTS, 3), (3,)):
        raise ValueError(
            "expected rotations (..., 16, 3, 3), rest keypoints (..., 21, 3) and wrist (..., 3), got shapes "
            f"{np.shape(rotations)}, {np.shape(rest_keypoints)} and {np.shape(wrist)}"
        )
    keypoints, orientations = _forward_kinematics(rotations, rest_keypoints, wrist)
    return keypoints, orientations


def forward(template: Template, pose: Pose) -> Posed:
    """Forward kinematics of hands in joint angles; raises ValueError where a pose does not fit the template."""
    batch = len(template.bones)
    rotation = float_array(pose.rotation, "rotation", batch, 3, 3)
    wrist = float_array(pose.wrist, "wrist", batch, 3)
    angles = float_array(pose.angles, "angles", batch, 15, 3)
    betas = float_array(pose.betas, "betas", batch, NUM_BETAS)
    posed = Posed(
        keypoints=np.empty((batch, NUM_KEYPOINTS, 3)),
        rotations=np.empty((batch, NUM_JOINTS, 3, 3)),
        orientations=np.empty((batch, NUM_JOINTS, 3, 3)),
        axes=np.empty((batch, 15, 3, 3)),
    )
    _forward(
        template.bones, template.bone_shapedirs, template.parent_frames, template.frames,
        rotation, wrist, angles, betas, posed.keypoints, posed.rotations, posed.orientations, posed.axes,
    )  # fmt: skip
    return posed


def jacobian(template: Template, posed: Posed) -> np.ndarray:
    """Derivatives of the keypoints of :func:`forward` by the parameters, (B, 21, 3, NUM_PARAMETERS)."""
    result = np.zeros((posed.keypoints.shape[0], NUM_KEYPOINTS, 3, NUM_PARAMETERS))
    _jacobian(template.bone_shapedirs, posed.keypoints, posed.axes, posed.orientations, result)
    return result


def angles_towards(template: Template, rotation: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Angles (B, 15, 3) that turn each bone, joint by joint, as far as the limits allow towards its direction.

    Args:
        template: of the hands.
        rotation: of the whole hands (B, 3, 3).
        directions: of the bones, unit vectors in the camera frame (B, 20, 3). Those of each finger's first bone, inside
            the palm, have no joint of their own.
    """
    batch = len(template.bones)
    angles = np.zeros((batch, 15, 3))
    _angles_towards(
        template.parent_frames, template.frames, template.limits, float_array(rotation, "rotation", batch, 3, 3),
        float_array(directions, "directions", batch, 20, 3), angles,
    )  # fmt: skip
    return angles


@compiled
def _between(start, end):  # type: ignore[no-untyped-def]
    return end[0] - start[0], end[1] - start[1], end[2] - start[2]


@compiled
def _copy(matrix, out):  # type: ignore[no-untyped-def]
    for i in range(3):
        for j in range(3):
            out[i, j] = matrix[i, j]


@compiled
def _follow_chain(rotations, bones, wrist, keypoints, orientations):  # type: ignore[no-untyped-def]
    """Write the keypoints (21, 3) and orientations (16, 3, 3) of one hand of bones (20, 3)."""
    _copy(rotations[0], orientations[0])
    for i in range(3):
        keypoints[0, i] = wrist[i]
    for bone in range(20):
        finger, level = bone // 4, bone % 4
        joint = 3 * finger + level if level > 0 else 0
        start, parent = keypoints[bone if level > 0 else 0], orientations[joint]
        for i in range(3):
            step = parent[i, 0] * bones[bone, 0] + parent[i, 1] * bones[bone, 1] + parent[i, 2] * bones[bone, 2]
            keypoints[bone + 1, i] = start[i] + step
        if level < 3:
            joint = 3 * finger + level + 1
            multiply(parent, rotations[joint], orientations[joint])


@compiled_ufunc(
    "void(float64[:, :, :], float64[:, :], float64[:], float64[:, :], float64[:, :, :])",
    "(j,n,n),(k,n),(n)->(k,n),(j,n,n)",
)
def _forward_kinematics(rotations, rest, wrist, keypoints, orientations):  # type: ignore[no-untyped-def]
    bones = np.empty((20, 3))
    for bone in range(20):
        for i in range(3):
            bones[bone, i] = rest[bone + 1, i] - rest[bone if bone % 4 > 0 else 0, i]
    _follow_chain(rotations, bones, wrist, keypoints, orientations)


@compiled
def _forward(  # type: ignore[no-untyped-def]
    template, shapedirs, parent_frames, frames, rotation, wrist, angles, betas, keypoints, rotations, orientations, axes
):
    bones, turned, at_rest = np.empty((20, 3)), np.empty((3, 3)), np.empty((15, 3, 3))
    for b in range(wrist.shape[0]):
        for bone in range(20):
            for i in range(3):
                bones[bone, i] = template[b, bone, i]
                for s in range(NUM_BETAS):
                    bones[bone, i] += shapedirs[b, bone, i, s] * betas[b, s]
        _copy(rotation[b], rotations[b, 0])
        for joint in range(15):
            joint_rotation(angles[b, joint], parent_frames[b, joint], frames[b, joint], turned, rotations[b, joint + 1])
            angle_axes(angles[b, joint, 0], parent_frames[b, joint], turned, at_rest[joint])
        _follow_chain(rotations[b], bones, wrist[b], keypoints[b], orientations[b])
        for joint in range(15):
            multiply(orientations[b, joint if joint % 3 > 0 else 0], at_rest[joint], axes[b, joint])


@compiled
def _jacobian(shapedirs, keypoints, axes, orientations, result):  # type: ignore[no-untyped-def]
    for b in range(keypoints.shape[0]):
        for k in range(NUM_KEYPOINTS):
            rows = result[b, k]
            # Turning the whole hand by e moves a point by e x lever.
            x, y, z = _between(keypoints[b, 0], keypoints[b, k])
            rows[0, 1], rows[0, 2], rows[1, 0] = z, -y, -z
            rows[1, 2], rows[2, 0], rows[2, 1] = x, y, -x
            rows[0, 3] = rows[1, 4] = rows[2, 5] = 1.0
            if k == 0:
                continue
            finger, level = (k - 1) // 4, (k - 1) % 4
            for parent in range(level):
                x, y, z = _between(keypoints[b, 4 * finger + parent + 1], keypoints[b, k])
                joint = 3 * finger + parent
                for angle in range(3):
                    column = 6 + 3 * joint + angle
                    ex, ey, ez = axes[b, joint, 0, angle], axes[b, joint, 1, angle], axes[b, joint, 2, angle]
                    rows[0, column] = ey * z - ez * y
                    rows[1, column] = ez * x - ex * z
                    rows[2, column] = ex * y - ey * x
            orientation = orientations[b, 3 * finger + level if level > 0 else 0]
            for i in range(3):
                for s in range(NUM_BETAS):
                    value = result[b, k - 1, i, 51 + s] if level > 0 else 0.0
                    for j in range(3):
                        value += orientation[i, j] * shapedirs[b, k - 1, j, s]
                    rows[i, 51 + s] = value


@compiled
def _angles_towards(parent_frames, frames, limits, rotation, directions, angles):  # type: ignore[no-untyped-def]
    local, turned, parent, direction = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for b in range(rotation.shape[0]):
        for joint in range(15):
            finger, level = joint // 3, joint % 3
            if level == 0:
                _copy(rotation[b], parent)
            multiply(parent, parent_frames[b, joint], turned)
            for i in range(3):
                direction[i] = 0.0
                for j in range(3):
                    direction[i] += turned[j, i] * directions[b, 4 * finger + level + 1, j]
            bend, limit = angles[b, joint], limits[b, joint]
            # A bone's direction does not depend on the twist about it.
            bend[0] = math.atan2(-direction[2], direction[0])
            bend[1] = math.asin(min(max(direction[1], -1.0), 1.0))
            for i in range(3):
                bend[i] = min(max(bend[i], limit[i, 0]), limit[i, 1])
            joint_rotation(bend, parent_frames[b, joint], frames[b, joint], turned, local)
            multiply(parent, local, turned)
            _copy(turned, parent)
