"""Photographs of pairs from photographs of single hands: the hand of one is pasted beside or over the hand of another.

Annotated photographs of two hands near each other are rare, and a network that sees photographs of single hands only
learns that photographs have no second hand. The outline of the pasted hand follows from its keypoints, and is rough.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from ..datasets.pair_crops import HandPicture
from ..landmarks.hand_keypoints import hand_box
from ..skeleton import BONES, MIDDLE_MCP, PALM, WRIST
from ..types import Side

_FINGER, _ARM = 0.26, 0.75
"""Widths of a finger and of the wrist, relative to the palm: the distance of the wrist from the middle knuckle."""
_ARM_LENGTH = 0.6
_MOST_GAIN = 3.0
_FARTHEST = 1.1
"""Largest distance of the two hands' boxes, in units of a box."""


def with_second_hand(picture: HandPicture, other: HandPicture, rng: np.random.Generator) -> HandPicture:
    """The picture with the hand of another one as its second hand, mirrored where both are of one side.

    Args:
        picture: with one hand that has keypoints, of known side.
        other: the same.
        rng: of size, direction and position of the second hand.
    """
    side, source = _side_of(picture), _side_of(other)
    own, points = picture.keypoints[side], other.keypoints[source]
    mirror = side == source
    to_center, box = np.eye(3), hand_box(points)
    to_center[:2, 2] = -np.asarray(box.center)
    if mirror:
        to_center = np.diag([-1.0, 1.0, 1.0]) @ to_center
    here = hand_box(own)
    scale = here.size / box.size * math.exp(rng.normal(0, 0.15))
    turn, direction = rng.uniform(-0.8, 0.8), rng.uniform(-math.pi, math.pi)
    distance = here.size * rng.uniform(0.1, _FARTHEST)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    center = np.asarray(here.center) + distance * np.array([math.cos(direction), math.sin(direction)])
    transform = (np.array([[cos, -sin, center[0]], [sin, cos, center[1]], [0, 0, 1]]) @ to_center)[:2]

    height, width = picture.image.shape[:2]
    outline = _outline(points, other.image.shape[:2])
    alpha = cv2.warpAffine(outline, transform, (width, height), flags=cv2.INTER_LINEAR)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.2)[..., None].astype(np.float32) / 255.0
    pasted = cv2.warpAffine(
        other.image, transform, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)
    pasted *= _gain(picture.image, own, other.image, points) ** np.float32(rng.uniform(0.3, 1.0))
    keypoints = np.array(picture.keypoints)
    keypoints[side.other] = points @ transform[:, :2].T + transform[:, 2]
    image = np.rint(np.clip(alpha * pasted + (1 - alpha) * picture.image, 0, 255)).astype(np.uint8)
    return dataclasses.replace(picture, image=image, keypoints=keypoints)


def _side_of(picture: HandPicture) -> Side:
    return Side(int(picture.has_keypoints(1)))


def _outline(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask (H, W) uint8 of a hand with its wrist, from its keypoints (21, 2)."""
    mask = np.zeros(shape[:2], np.uint8)
    palm = float(np.linalg.norm(points[MIDDLE_MCP] - points[WRIST]))
    points = np.clip(points, -4 * palm - 100, 4 * palm + max(shape) + 100)
    width = max(round(_FINGER * palm), 1)
    pixels = np.rint(points).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(pixels[PALM]), 255)
    cv2.polylines(mask, [cv2.convexHull(pixels[PALM])], True, 255, width)
    for start, end in BONES:
        cv2.line(mask, _pixel(points[start]), _pixel(points[end]), 255, width)
    elbow = points[WRIST] + _ARM_LENGTH * (points[WRIST] - points[MIDDLE_MCP])
    cv2.line(mask, _pixel(points[WRIST]), _pixel(elbow), 255, max(round(_ARM * palm), 1))
    return mask


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _gain(image: np.ndarray, points: np.ndarray, other: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Factors (3,) that give the colour of one picture's palm to another's: both hands are of one person. 1 where one
    of the palms is outside its picture."""
    colours = [_palm_colour(picture, keypoints) for picture, keypoints in ((image, points), (other, others))]
    if any(colour is None for colour in colours):
        return np.ones(3, dtype=np.float32)
    own, pasted = (np.asarray(colour) + 8 for colour in colours)
    return np.asarray(np.clip(own / pasted, 1 / _MOST_GAIN, _MOST_GAIN), dtype=np.float32)


def _palm_colour(image: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points[PALM]).astype(np.int32)), 255)
    return np.asarray(cv2.mean(image, mask)[:3]) if mask.any() else None
