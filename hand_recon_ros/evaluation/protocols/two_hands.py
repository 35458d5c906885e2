"""Errors of two hands by a protocol, for InterHand2.6M and HIC: per image, and as the figures of a data set.

Images can be measured in parts, whose errors are small and are put together before the report.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...skeleton import MIDDLE_MCP, WRIST
from ...types import Side
from .. import metrics
from .protocol import INTERACTING, HandPairs, Protocol, TrueHandPairs, regressed
from .rest_pose import SUFFIX, with_rest
from .summary import summarised


@dataclasses.dataclass(frozen=True, eq=False)
class PairErrors:
    """Errors in the N images that count; NaN where a hand was not found, is not there, or has no such truth.

    Attributes:
        interacting: whether the image's type is "interacting" (N,) bool.
        joints_mm: of the keypoints (N, 2, 21), mm.
        joints_p_mm: likewise, with a hand at rest for one that was not found.
        vertices_mm: mean over the vertices of a hand (N, 2), mm.
        vertices_p_mm: likewise, with a hand at rest for one that was not found.
        mrrpe_mm: of pairs that were found (N,), mm.
        found: 1 and 0 for a hand that counts and was found, or not (N, 2).
        pair_found: likewise for pairs (N,).
    """

    interacting: np.ndarray
    joints_mm: np.ndarray
    joints_p_mm: np.ndarray
    vertices_mm: np.ndarray
    vertices_p_mm: np.ndarray
    mrrpe_mm: np.ndarray
    found: np.ndarray
    pair_found: np.ndarray

    @classmethod
    def concatenated(cls, parts: Sequence[PairErrors]) -> PairErrors:
        """The errors of all images of several parts."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def measure(
    protocol: Protocol,
    predicted: HandPairs,
    truth: TrueHandPairs,
    rest: HandPairs,
    regressors: np.ndarray | None = None,
) -> PairErrors:
    """The errors of N images by a protocol.

    Args:
        protocol: which images count, and how errors are measured.
        predicted: of the same hand model as the truth; without meshes it has no MPVPE, and keypoints are its own.
        truth: its meshes are needed for MPVPE and for keypoints that are regressed from them.
        rest: of :func:`rest_pose.rest_hands`.
        regressors: of :func:`protocol.joint_regressors`, needed wherever a mesh is.

    Raises ValueError where shapes do not fit, or the protocol needs what is not there.
    """
    if protocol.pairs_only:
        predicted, truth = _pairs_only(predicted, truth)
    joints, true_joints, rest_joints, valid = _keypoints(protocol, predicted, truth, rest, regressors)
    found, interacting = predicted.found, truth.types == INTERACTING
    filled = with_rest(joints, found, rest_joints, np.nan_to_num(true_joints[:, :, WRIST]))
    joints_p = np.where(valid, metrics.joint_errors(filled, true_joints, protocol.root, protocol.rescale), np.nan)
    if not protocol.root_counts:
        joints_p[:, :, protocol.root] = np.nan
    vertices_p = np.full(found.shape, np.nan)
    if predicted.vertices is not None and truth.vertices is not None:
        of_type = truth.of_type & valid.any(axis=2)
        vertex_errors = _mesh_errors(protocol, predicted.vertices, found, truth.vertices, rest.vertices, regressors)
        vertices_p = np.where(of_type, vertex_errors, np.nan)
    roots = valid[:, :, protocol.root].all(axis=1)
    is_pair = roots & interacting if protocol.mrrpe_of_interacting else roots
    both = is_pair & found.all(axis=1)
    (left, right), (true_left, true_right) = ((j[:, Side.LEFT], j[:, Side.RIGHT]) for j in (joints, true_joints))
    mrrpe = metrics.mrrpe(left, right, true_left, true_right, protocol.root)
    counts = np.isfinite(joints_p).any(axis=2) | np.isfinite(vertices_p)
    return PairErrors(
        interacting=interacting,
        joints_mm=np.where(found[..., None], joints_p, np.nan),
        joints_p_mm=joints_p,
        vertices_mm=np.where(found, vertices_p, np.nan),
        vertices_p_mm=vertices_p,
        mrrpe_mm=np.where(both, mrrpe, np.nan),
        found=np.where(counts, found.astype(float), np.nan),
        pair_found=np.where(is_pair, both.astype(float), np.nan),
    )


def report(protocol: Protocol, errors: PairErrors) -> dict[str, Any]:
    """The figures of a data set by a protocol.

    "protocol" is its definition; "counts" has the images, hands and pairs that count and were found; "metrics" and
    "ci95" are as in :func:`summary.summarised`. Figures are over the hands that were found; those that end in "-p" are
    over all, with the error of a hand at rest for one that was not. ``single`` and ``interacting`` are the types of
    image. MRRPE has no such form: the place of a hand that was not found cannot be charged without arbitrariness.
    """
    values = dict(_values(protocol, errors))
    hands = errors.found[np.isfinite(errors.found)]
    pairs = errors.pair_found[np.isfinite(errors.pair_found)]
    counts = {
        "images": len(errors.interacting),
        "interacting": int(errors.interacting.sum()),
        "hands": len(hands),
        "hands_found": int(hands.sum()),
        "pairs": len(pairs),
        "pairs_found": int(pairs.sum()),
    }
    return {"protocol": protocol.title, "n": counts["images"], "counts": counts, **summarised(values)}


def _values(protocol: Protocol, errors: PairErrors) -> Iterator[tuple[str, np.ndarray]]:
    groups = {"": np.ones(len(errors.interacting), dtype=bool)}
    if not protocol.pairs_only:
        groups |= {"_single": ~errors.interacting, "_interacting": errors.interacting}
    for group, chosen in groups.items():
        yield f"found{group}", errors.found[chosen].reshape(-1)
        for suffix, joints, vertices in (
            ("", errors.joints_mm, errors.vertices_mm),
            (SUFFIX, errors.joints_p_mm, errors.vertices_p_mm),
        ):
            table = joints.reshape(len(joints), -1)
            if protocol.mean_of_types and not group:
                types = errors.interacting[:, None]
                table = np.concatenate([np.where(types, np.nan, table), np.where(types, table, np.nan)], axis=1)
            yield f"mpjpe{group}_mm{suffix}", table[chosen]
            yield f"mpvpe{group}_mm{suffix}", vertices[chosen].reshape(-1)
    yield "mrrpe_mm", errors.mrrpe_mm
    yield "pairs_found", errors.pair_found


def _pairs_only(predicted: HandPairs, truth: TrueHandPairs) -> tuple[HandPairs, TrueHandPairs]:
    """The images of type "interacting", if that is certain, with both true meshes."""
    if truth.vertices is None:
        raise ValueError("the protocol counts the images that have both meshes, but the ground truth has none")
    chosen = (truth.types == INTERACTING) & np.isfinite(truth.vertices).all(axis=(1, 2, 3))
    if truth.type_valid is not None:
        chosen &= np.asarray(truth.type_valid, dtype=bool)
    vertices = None if predicted.vertices is None else predicted.vertices[chosen]
    pairs = TrueHandPairs(
        truth.joints[chosen],
        truth.vertices[chosen],
        truth.types[chosen],
        None if truth.joint_valid is None else truth.joint_valid[chosen],
    )
    return HandPairs(predicted.joints[chosen], vertices), pairs


def _keypoints(
    protocol: Protocol,
    predicted: HandPairs,
    truth: TrueHandPairs,
    rest: HandPairs,
    regressors: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and true keypoints (N, 2, 21, 3), those at rest (1, 2, 21, 3), and which of them count (N, 2, 21)."""
    if predicted.joints.shape != truth.joints.shape:
        raise ValueError(f"{len(predicted.joints)} images are predicted, but {len(truth.joints)} annotated")
    joints, true_joints, rest_joints, valid = predicted.joints, truth.joints, rest.joints, truth.valid
    if protocol.from_mesh:
        if truth.vertices is None or regressors is None:
            raise ValueError(f"{protocol.name} takes keypoints from meshes: it needs those of the truth and regressors")
        true_joints = regressed(truth.vertices, regressors)
        valid = np.isfinite(true_joints).all(axis=-1) & truth.of_type[..., None]
        if not protocol.own_keypoints:
            if predicted.vertices is None or rest.vertices is None:
                raise ValueError(f"{protocol.name} takes keypoints from meshes, but none are predicted: own_keypoints")
            joints, rest_joints = (regressed(vertices, regressors) for vertices in (predicted.vertices, rest.vertices))
    # Without its root a hand has no relative positions, and without the bone's ends no scale.
    needed = [protocol.root, *((WRIST, MIDDLE_MCP) if protocol.rescale else ())]
    return joints, true_joints, rest_joints, valid & valid[:, :, needed].all(axis=2, keepdims=True)


def _mesh_errors(
    protocol: Protocol,
    vertices: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray,
    rest: np.ndarray | None,
    regressors: np.ndarray | None,
) -> np.ndarray:
    """Mean vertex errors (N, 2), mm, of meshes (N, 2, V, 3), with a hand at rest for one that was not found."""
    if regressors is None or rest is None:
        raise ValueError("errors of meshes need joint regressors for their root, and the mesh at rest")
    if vertices.shape != truth.shape:
        raise ValueError(
            f"predicted meshes have {vertices.shape[-2]} vertices and the true ones {truth.shape[-2]}: use the hand "
            "model of the data set, or predict no meshes"
        )
    true_joints = regressed(truth, regressors)
    filled = with_rest(vertices, found, rest, np.nan_to_num(true_joints[:, :, WRIST]))
    joints = regressed(filled, regressors)
    return metrics.mpvpe(filled, truth, joints, true_joints, protocol.root, protocol.rescale)
