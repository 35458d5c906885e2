"""Single-shot detectors of MediaPipe: anchors, decoding and weighted non-maximum suppression."""

from __future__ import annotations

import functools

import numpy as np

from ..landmarks.crops import crop, letterbox
from ..landmarks.observation import RotatedBox
from ..runtime.sessions import Session

NMS_IOU = 0.3


@functools.cache
def anchors(grids: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Anchor centres (n, 2) in 0..1, in the order of the network's outputs; all anchors have unit size.

    Args:
        grids: cells per side and anchors per cell of each of the detector's layers.
    """
    layers = []
    for cells, per_cell in grids:
        centers = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centers, centers, indexing="ij")
        layers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), per_cell, axis=0))
    result = np.concatenate(layers)
    result.setflags(write=False)
    return result


def decode(
    raw: np.ndarray, logits: np.ndarray, centers: np.ndarray, threshold: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Detections above a score, from the network's outputs.

    Args:
        raw: (n, 4 + 2 k): centre offset, width and height, k points, all in pixels of the network's input.
        logits: (n,) or (n, 1).
        centers: of the anchors (n, 2), see :func:`anchors`.
        threshold: lowest score, 0..1.
        size: side of the network's input, pixels.

    Returns:
        scores (m,) in descending order and values (m, 4 + 2 k): x0, y0, x1, y1 and k points (x, y), all in 0..1.
    """
    logits = logits.reshape(-1)
    # Compared as logits: the sigmoid is then needed for the few that pass only.
    threshold = min(max(threshold, 1e-9), 1 - 1e-9)
    kept = np.flatnonzero(logits >= np.log(threshold / (1 - threshold)))
    kept = kept[np.argsort(-logits[kept], kind="stable")]
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits[kept].astype(np.float64), -100, 100)))
    values = raw[kept].astype(np.float64) / size
    values[:, :2] += centers[kept]
    values[:, 4:] += np.tile(centers[kept], values.shape[1] // 2 - 2)
    half = values[:, 2:4] / 2
    values[:, :4] = np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)
    return scores, values


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (n,) of one box (4,) with boxes (n, 4), as x0, y0, x1, y1."""
    overlap = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    union = np.clip(box[2:] - box[:2], 0, None).prod() + areas - overlap
    return overlap / np.maximum(union, 1e-12)


def weighted_nms(scores: np.ndarray, values: np.ndarray, iou: float = NMS_IOU) -> tuple[np.ndarray, np.ndarray]:
    """Merge detections of the same thing: each group becomes its score-weighted mean with its best score.

    Args:
        scores: (n,), descending.
        values: (n, k), the first four columns a box x0, y0, x1, y1.
        iou: overlap with a group's best box above which a detection belongs to it.

    Returns:
        scores (m,) and values (m, k) of the groups, best first. This is the "blended" suppression of BlazeFace
        (arXiv 1907.05047): averaging is steadier from frame to frame than picking one box.
    """
    merged_scores, merged_values = [], []
    rest = np.arange(len(scores))
    while len(rest):
        same = box_iou(values[rest[0], :4], values[rest, :4]) > iou
        same[0] = True
        group = rest[same]
        merged_scores.append(scores[rest[0]])
        merged_values.append(np.average(values[group], axis=0, weights=scores[group]))
        rest = rest[~same]
    if not merged_scores:
        return np.zeros(0), np.zeros((0, values.shape[1]))
    return np.array(merged_scores), np.stack(merged_values)


def fill_input(session: Session, image: np.ndarray, view: RotatedBox | None = None) -> RotatedBox:
    """Put a view of a BGR image into the network's input; returns the view.

    ``view`` may be rotated and reach beyond the image; without it, the whole image is letterboxed.
    """
    if view is None:
        return letterbox(image, session.inputs[0])
    crop(image, view, session.inputs[0], repeat_border=False)
    return view
