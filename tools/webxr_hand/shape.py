"""Ten shape components, one population standard deviation each, as smooth fields over the rest pose.

Every bone gets a linear map per component (stretched along itself, thickened across); a child bone moves with the
end of its parent, and skin weights blend the maps over the mesh. Joints move by the same maps, so bone lengths
change by exactly what a component says, and the wrist joint stays where it is.
"""

from __future__ import annotations

import numpy as np

from .rig import PARENTS, Rig

COMPONENTS = (
    "size",
    "finger_length",
    "palm_width",
    "palm_thickness",
    "wrist_thickness",
    "finger_thickness",
    "thumb_length",
    "index_length",
    "ring_length",
    "little_length",
)
"""What one unit of each beta changes; one unit is one standard deviation of adults, men and women alike.

From the individual data of ANSUR II (Gordon et al., "2012 Anthropometric Survey of U.S. Army Personnel",
NATICK/TR-15/007; 4082 men, 1986 women, both sexes with equal weight): hand length 187.2 mm, SD 11.7 mm (6.3 %). At
given hand length: middle finger (hand less palm length, 74.6 mm) 5.0 %, palm shorter by as much; hand breadth (83.2 mm)
5.5 %. At given breadth: hand circumference 2.1 % (2.1 mm of thickness), wrist circumference 3.9 %.
The survey has no other finger lengths. The ratio of index to ring finger has an SD of about 3 % within a population
(Manning et al., Human Reproduction 13 (1998) 3000-3004), hence 2.2 % for each against the middle finger; the little
finger and the thumb vary more. Finger thickness is taken to vary at given length as hand breadth does.
"""
SIZE = 0.063
FINGER_TRADE = 0.0037
PALM_WIDTH = 0.066  # its edges follow the fingers' bases in part: breadth grows by 5.5 %
PALM_THICKNESS = 0.075
WRIST_THICKNESS = 0.039
FINGER_THICKNESS = 0.055
THUMB_LENGTH = 0.040
INDEX_LENGTH = RING_LENGTH = 0.022
LITTLE_LENGTH = 0.035
_INDEX, _MIDDLE, _LITTLE, _RING, _THUMB = ([1 + 3 * finger + i for i in range(3)] for finger in range(5))
_FINGERS = _INDEX + _MIDDLE + _LITTLE + _RING


def _bone_maps(rig: Rig, name: str) -> np.ndarray:
    """Linear map minus identity (16, 3, 3) of each bone for one unit of a component, in rest coordinates."""
    along = np.einsum("ja,jb->jab", rig.frames[:, :, 0], rig.frames[:, :, 0])
    across = np.eye(3) - along
    # The flat hand lies in the plane y = 0 with the middle metacarpal along x: length, width and thickness of the palm.
    length, width, thickness = (np.diag(np.eye(3)[axis]) for axis in (0, 2, 1))
    maps = np.zeros((16, 3, 3))
    if name == "size":
        maps[:] = SIZE * np.eye(3)
    elif name == "finger_length":
        middle = np.linalg.norm(rig.vertices[rig.tips[1]] - rig.joints[4])
        maps[_FINGERS] = FINGER_TRADE / middle * along[_FINGERS]
        maps[0] = -FINGER_TRADE / np.linalg.norm(rig.joints[4] - rig.joints[0]) * length
    elif name == "palm_width":
        maps[0] = PALM_WIDTH * width
    elif name == "palm_thickness":
        maps[0] = PALM_THICKNESS * thickness
        maps[_THUMB[0]] = 0.5 * PALM_THICKNESS * across[_THUMB[0]]
    elif name == "wrist_thickness":
        pass  # lies within one bone: see _wrist_field
    elif name == "finger_thickness":
        maps[1:] = FINGER_THICKNESS * across[1:]
        maps[_THUMB[0]] *= 0.5  # most of the volume there is the ball of the thumb, part of the palm
    elif name == "thumb_length":
        maps[_THUMB] = THUMB_LENGTH * along[_THUMB]
    elif name == "index_length":
        maps[_INDEX] = INDEX_LENGTH * along[_INDEX]
    elif name == "ring_length":
        maps[_RING] = RING_LENGTH * along[_RING]
    elif name == "little_length":
        maps[_LITTLE] = LITTLE_LENGTH * along[_LITTLE]
    else:
        raise ValueError(f"unknown shape component {name!r}")
    return maps


def displacements(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """What one unit of each component does to the vertices (V, 3, 10) and to the joints (16, 3, 10), metres."""
    vertex_dirs = np.zeros((*rig.vertices.shape, len(COMPONENTS)))
    joint_dirs = np.zeros((*rig.joints.shape, len(COMPONENTS)))
    for k, name in enumerate(COMPONENTS):
        maps = _bone_maps(rig, name)
        for joint in range(1, 16):
            parent = PARENTS[joint]
            offset = rig.joints[joint] - rig.joints[parent]
            joint_dirs[joint, :, k] = joint_dirs[parent, :, k] + maps[parent] @ offset
        local = np.einsum("jab,vjb->vja", maps, rig.vertices[:, None] - rig.joints) + joint_dirs[:, :, k]
        vertex_dirs[:, :, k] = np.einsum("vj,vja->va", rig.weights, local)
        if name == "wrist_thickness":
            vertex_dirs[:, :, k] += WRIST_THICKNESS * _wrist_field(rig)
    return vertex_dirs, joint_dirs


def _wrist_field(rig: Rig) -> np.ndarray:
    """Away from the forearm's axis at the wrist, fading out over the first third of the palm."""
    x_axis = rig.frames[0][:, 0]
    local = rig.vertices - rig.joints[0]
    along = local @ x_axis
    fade = np.clip((0.035 - along) / 0.04, 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade)
    centre = rig.vertices[rig.wrist_loop].mean(0)
    radial = rig.vertices - centre
    radial -= np.outer(radial @ x_axis, x_axis)
    return fade[:, None] * rig.weights[:, :1] * radial
