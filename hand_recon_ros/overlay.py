"""Overlays of estimates on images: shaded meshes, skeletons, labels; OpenCV and NumPy only, fast enough to run live."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np

from .camera import Camera
from .skeleton import BONES, WRIST, mirror_points
from .types import HandEstimate, HandState, Side, TwoHandEstimate

HAND_COLOURS = {Side.LEFT: (235, 170, 60), Side.RIGHT: (60, 140, 250)}
"""Mesh and label colours, BGR: the left hand blue, the right hand orange."""
FINGER_COLOURS = ((80, 80, 255), (60, 200, 255), (90, 230, 90), (255, 200, 70), (255, 110, 210))
"""Skeleton colours, BGR, thumb to little finger."""

OPACITY = {HandState.TRACKED: 0.62, HandState.PREDICTED: 0.35}
_SHIFT = 4
_FAR = 8000.0
"""Coordinates beyond this many pixels are left out: OpenCV's fixed-point arithmetic overflows."""
_LIGHT = np.array([-0.35, -0.6, -0.72]) / np.linalg.norm([-0.35, -0.6, -0.72])
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(
    image: np.ndarray,
    estimate: TwoHandEstimate,
    camera: Camera,
    mesh: bool = True,
    skeleton: bool = True,
    labels: bool = True,
) -> np.ndarray:
    """A copy of the image with an overlay of the hands, without LOST hands and without what lies behind the camera.

    Args:
        image: uint8 (H, W, 3) BGR, or (H, W) grey.
        estimate: the hands, in the camera frame.
        camera: the image's camera.
        mesh: with translucent, shaded meshes, the nearer hand over the farther.
        skeleton: with bones and keypoints at ``keypoints_2d``.
        labels: with side, state, score and distance beside each wrist.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    if image.ndim == 2:
        picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    else:
        picture = np.ascontiguousarray(image[..., :3]).copy()
    hands = [hand for hand in (estimate.left, estimate.right) if hand.found]
    if estimate.mirrored:  # the geometry is that of the scene, the picture is its mirror image
        hands = [
            dataclasses.replace(hand, mesh=partial(mirror_points, hand.vertices), faces=hand.faces[:, ::-1])
            for hand in hands
        ]
    # The nearer hand's skeleton and label come last, on top.
    hands.sort(key=lambda hand: -np.nan_to_num(hand.joints[WRIST, 2], nan=np.inf))
    if mesh:
        _draw_meshes(picture, hands, camera)
    for hand in hands:
        pixels = _drawable(hand.keypoints_2d)
        if skeleton:
            _draw_skeleton(picture, pixels)
        if labels:
            _draw_label(picture, hand, pixels)
    return picture


def draw_bones(
    picture: np.ndarray, pixels: np.ndarray, colours: Sequence[tuple[int, int, int]], thickness: int = 1
) -> None:
    """Draw a hand's bones into a picture, without those with an end that is NaN or far outside.

    Args:
        picture: uint8 (H, W, 3).
        pixels: keypoints (21, 2).
        colours: of the five fingers, in the picture's channel order.
        thickness: of the lines, pixels.
    """
    pixels = _drawable(pixels)
    fixed = np.rint(np.nan_to_num(pixels) * (1 << _SHIFT)).astype(int).tolist()
    valid = np.isfinite(pixels).all(axis=1)
    for parent, child in BONES:
        if valid[parent] and valid[child]:
            colour = colours[(child - 1) // 4]
            cv2.line(picture, fixed[parent], fixed[child], colour, thickness, cv2.LINE_AA, _SHIFT)


def contact_sheet(images: Sequence[np.ndarray], columns: int = 4, width: int = 1280) -> np.ndarray:
    """Small pictures in rows.

    Args:
        images: uint8 (H, W, 3) BGR, sizes may differ; each is fitted into a cell with the first image's aspect ratio.
        columns: pictures in a row.
        width: of the sheet in pixels.
    """
    if not images:
        raise ValueError("contact_sheet needs at least one image, got none")
    if columns < 1 or width < columns:
        raise ValueError(f"contact_sheet needs columns >= 1 and width >= columns, got {columns} and {width}")
    cell_width = width // columns
    cell_height = max(1, round(cell_width * images[0].shape[0] / images[0].shape[1]))
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * cell_height, width, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        scale = min(cell_width / image.shape[1], cell_height / image.shape[0])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        if small.ndim == 2:
            small = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
        top = (i // columns) * cell_height + (cell_height - size[1]) // 2
        left = (i % columns) * cell_width + (cell_width - size[0]) // 2
        sheet[top : top + size[1], left : left + size[0]] = small
    return sheet


def _drawable(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float (N, 2), with NaN where OpenCV cannot draw."""
    pixels = np.array(pixels, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(pixels) < _FAR).all(axis=-1)
    pixels[bad] = np.nan
    return pixels


def _draw_meshes(picture: np.ndarray, hands: list[HandEstimate], camera: Camera) -> None:
    """Painter's algorithm over the front faces of both hands, then one blend per hand's opacity."""
    corners, depths, colours, opacity = [], [], [], 0.0
    for hand in hands:
        if not len(hand.faces):
            continue
        points, shades, depth = _front_faces(hand, camera)
        corners.append(points)
        depths.append(depth)
        colours.append(np.maximum(shades[:, None] * HAND_COLOURS[hand.side], 1.0))
        opacity = max(opacity, OPACITY[hand.state])
    if not corners or not sum(map(len, corners)):
        return
    order = np.argsort(-np.concatenate(depths), kind="stable")
    points = np.concatenate(corners)[order]
    height, width = picture.shape[:2]
    low = np.clip(np.floor(points.min(axis=(0, 1))).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(points.max(axis=(0, 1))).astype(int) + 2, 0, (width, height))
    if (high <= low).any():
        return
    layer = np.zeros((high[1] - low[1], high[0] - low[0], 3), dtype=np.uint8)
    fixed = np.rint((points - low) * (1 << _SHIFT)).astype(np.int32)
    fill = cv2.fillConvexPoly
    for triangle, colour in zip(fixed, np.concatenate(colours)[order].tolist(), strict=True):
        fill(layer, triangle, colour, cv2.LINE_8, _SHIFT)
    region = picture[low[1] : high[1], low[0] : high[0]]
    blend = cv2.addWeighted(region, 1.0 - opacity, layer, opacity, 0.0)
    # In every channel the colours are greater than 0, so that one channel of the layer is its mask.
    cv2.copyTo(blend, cv2.extractChannel(layer, 0), region)


def _front_faces(hand: HandEstimate, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N, 3, 2), shades (N,) and depths (N,) of the faces that face the camera and lie in reach of OpenCV."""
    pixels = _drawable(camera.project(hand.vertices))[hand.faces]
    a, b = pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0]
    # Counter-clockwise from outside means a negative area where y points down; comparisons with NaN are False.
    front = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0
    triangles = hand.vertices[hand.faces[front]].astype(np.float64)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    shades = 0.35 + 0.65 * np.clip(normals @ _LIGHT, 0.0, 1.0)
    return pixels[front], shades, triangles[:, :, 2].mean(axis=1)


def _draw_skeleton(picture: np.ndarray, pixels: np.ndarray) -> None:
    thickness = max(1, round(min(picture.shape[:2]) / 300))
    draw_bones(picture, pixels, FINGER_COLOURS, thickness)
    fixed = np.rint(np.nan_to_num(pixels) * (1 << _SHIFT)).astype(int)
    for k in np.flatnonzero(np.isfinite(pixels).all(axis=1)):
        colour = (255, 255, 255) if k == WRIST else FINGER_COLOURS[(k - 1) // 4]
        centre = tuple(map(int, fixed[k]))
        cv2.circle(picture, centre, (thickness + 1) << _SHIFT, (30, 30, 30), -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(picture, centre, thickness << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)


def _draw_label(picture: np.ndarray, hand: HandEstimate, pixels: np.ndarray) -> None:
    known = pixels[np.isfinite(pixels).all(axis=1)]
    if not len(known):
        return
    text = f"{'LR'[hand.side]} {hand.state.name.lower()} {hand.score:.2f}"
    distance = float(np.linalg.norm(hand.joints[WRIST]))
    if np.isfinite(distance):
        text += f" {distance:.2f} m"
    height, width = picture.shape[:2]
    scale = max(0.4, min(height, width) / 1000)
    (text_width, text_height), base = cv2.getTextSize(text, _FONT, scale, 1)
    anchor = known[:, 0].mean() - text_width / 2, known[:, 1].max() + 2.2 * text_height
    x = int(np.clip(anchor[0], 2, max(2, width - text_width - 2)))
    y = int(np.clip(anchor[1], text_height + 2, max(text_height + 2, height - base - 2)))
    cv2.putText(picture, text, (x, y), _FONT, scale, (20, 20, 20), 3, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), _FONT, scale, HAND_COLOURS[hand.side], 1, cv2.LINE_AA)
