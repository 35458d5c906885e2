"""Penetration and contact of two hands, measured on their closed meshes.

PenDepth: the largest distance of a vertex of either hand that is inside the other to the other's surface; 0 where none
is. PenRate: share of two-hand frames whose PenDepth is above a threshold. PenVol: volume of the intersection, an exact
boolean. ContactRatio: share of interacting frames in which the hands are nearer than 5 mm; it falls where hands are
merely moved apart. Inside is decided by winding numbers, see :mod:`hand_recon_ros.geometry.mesh_queries`.
"""

from __future__ import annotations

import dataclasses

import manifold3d
import numpy as np

from ..detect.duplicates import box_overlap
from ..geometry.mesh_queries import TOUCHING, gap_between, penetration_depth
from ..synthetic.sample_stream import BOX_OVERLAP

PENETRATION = (
    "pen_rate_0mm", "pen_rate_2mm", "pen_rate_5mm", "pen_depth_mm", "pen_vol_cm3", "contact_ratio",
)  # fmt: skip
_THRESHOLDS = (0.0, 2.0, 5.0)


@dataclasses.dataclass(frozen=True)
class Contact:
    """Contact of two closed meshes.

    Attributes:
        depth: PenDepth, metres.
        volume: of the intersection, cubic metres; NaN where the boolean failed.
        touching: whether they are nearer than 5 mm or one is inside the other.
    """

    depth: float
    volume: float
    touching: bool


def contact(first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray) -> Contact:
    """Measure two closed meshes: vertices (V, 3), metres, and triangles (F, 3), counter-clockwise from outside."""
    depth = penetration_depth(first, first_faces, second, second_faces)
    if depth > 0.0:
        return Contact(depth, intersection_volume(first, first_faces, second, second_faces), True)
    return Contact(0.0, 0.0, gap_between(first, first_faces, second, second_faces, TOUCHING) < TOUCHING)


def intersection_volume(
    first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray
) -> float:
    """Intersection volume of two closed meshes, in the cubed unit of their vertices; NaN where the boolean fails.

    Where a mesh intersects itself, the volume counts with its multiplicity.
    """
    middle = np.mean(first, axis=0)
    manifolds = [
        manifold3d.Manifold(
            manifold3d.Mesh64(
                np.ascontiguousarray(vertices - middle, dtype=np.float64), np.ascontiguousarray(faces, dtype=np.uint64)
            )
        )
        for vertices, faces in ((first, first_faces), (second, second_faces))
    ]
    intersection = manifolds[0] ^ manifolds[1]
    if any(manifold.status() != manifold3d.Error.NoError for manifold in (*manifolds, intersection)):
        return float("nan")
    return float(intersection.volume())


def truly_interacting(keypoints_2d: np.ndarray, truth: Contact) -> bool:
    """Whether a frame counts for ContactRatio: its true hands touch, or the boxes of their keypoints (2, 21, 2) overlap
    as in ``test-interacting``."""
    return truth.touching or box_overlap(keypoints_2d) >= BOX_OVERLAP


def figures(measured: Contact, interacting: bool) -> dict[str, float]:
    """A pair's value of each of PENETRATION, to be averaged; NaN where it has none."""
    depth = 1e3 * measured.depth
    rates = [float(depth > threshold) for threshold in _THRESHOLDS]
    touching = float(measured.touching) if interacting else float("nan")
    return dict(zip(PENETRATION, (*rates, depth, 1e6 * measured.volume, touching), strict=True))


class Penetrations:
    """Figures of estimated and of true pairs, frame by frame."""

    def __init__(self) -> None:
        self.estimate: list[dict[str, float]] = []
        self.ground_truth: list[dict[str, float]] = []

    def add(self, estimate: list[np.ndarray], truth: list[np.ndarray], faces: list[np.ndarray],
            keypoints_2d: np.ndarray) -> None:  # fmt: skip
        """Measure one frame.

        Args:
            estimate, truth: vertices (V, 3) of the left and the right hand, metres.
            faces: (F, 3) of both.
            keypoints_2d: the true ones (2, 21, 2), pixels.
        """
        true = contact(truth[0], faces[0], truth[1], faces[1])
        interacting = truly_interacting(keypoints_2d, true)
        self.ground_truth.append(figures(true, interacting))
        self.estimate.append(figures(contact(estimate[0], faces[0], estimate[1], faces[1]), interacting))

    def pooled(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values (N,) by name, of the estimates and of the ground truth; NaN where a pair has none."""
        return tuple({name: np.array([row[name] for row in rows]) for name in PENETRATION}
                     for rows in (self.estimate, self.ground_truth))  # type: ignore[return-value]  # fmt: skip
