"""The initial spheres of a hand's collision proxies, and the pairs of them that bound a tapered capsule."""

from __future__ import annotations

import numpy as np

from ..skeleton import INDEX_MCP, MCPS, THUMB_CMC, THUMB_IP, THUMB_MCP, THUMB_TIP, WRIST

_FINGER_RADIUS = 0.3
"""Distance of the last sphere's centre from the fingertip, relative to the last bone's length."""


def sphere_layout(keypoints: np.ndarray, wrist_end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (S, 3), metres, of spheres in a hand at rest, and the pairs (P, 2) of them that bound a capsule.

    Fingers are chains along their bones; the palm is a sheet of chains along and between the metacarpals, and the web
    and ball of the thumb are fans between the thumb's chain and the palm.

    Args:
        keypoints: of the hand at rest (21, 3), metres.
        wrist_end: middle of the mesh's end behind the wrist (3,), metres.
    """
    centres: list[np.ndarray] = []
    pairs: list[tuple[int, int]] = []

    def chain(points: np.ndarray, start: int | None = None) -> list[int]:
        """Spheres at the points, each joined to the one before; returns their indices."""
        numbers = [] if start is None else [start]
        for point in points:
            centres.append(point)
            if numbers:
                pairs.append((numbers[-1], len(centres) - 1))
            numbers.append(len(centres) - 1)
        return numbers

    def bone(start: int | np.ndarray, end: int | np.ndarray, *shares: float) -> np.ndarray:
        a, b = (keypoints[p] if isinstance(p, int) else p for p in (start, end))
        return a + np.array(shares)[:, None] * (b - a)

    # The palm, from the little finger's side to the index finger's, metacarpals and what is between them.
    knuckles = [keypoints[k] for k in MCPS[::-1]]
    columns = [*knuckles[:1], *(p for a, b in zip(knuckles, knuckles[1:], strict=False) for p in ((a + b) / 2, b))]
    across = knuckles[-1] - knuckles[0]
    end = keypoints[WRIST] + 0.5 * (wrist_end - keypoints[WRIST])
    palm = []
    for share, knuckle in zip(np.linspace(-0.5, 0.5, len(columns)), columns, strict=True):
        palm.append(chain(bone(end + 0.45 * share * across, knuckle, 0.0, 0.4, 0.75, 1.0)))
    # Each finger continues a metacarpal's chain.
    for knuckle, column in zip(MCPS[::-1], palm[::2], strict=True):
        base, tip = int(knuckle), int(knuckle) + 3
        proximal = bone(base, base + 1, 0.4, 1.0)
        middle, distal = bone(base + 1, base + 2, 0.5, 1.0), bone(base + 2, tip, 0.4, 1.0 - _FINGER_RADIUS)
        chain(np.concatenate([proximal, middle, distal]), column[-1])
    thumb = chain(
        np.concatenate(
            [
                bone(THUMB_CMC, THUMB_MCP, 0.0, 0.5, 1.0),
                bone(THUMB_MCP, THUMB_IP, 0.5, 1.0),
                bone(THUMB_IP, THUMB_TIP, 0.4, 1.0 - _FINGER_RADIUS),
            ]
        )
    )
    index, middle_finger = palm[-1], palm[-3]
    # The ball of the thumb, then the web.
    ball = chain((keypoints[THUMB_CMC] + keypoints[THUMB_MCP] + 0.5 * (keypoints[INDEX_MCP] + end))[None] / 3)[0]
    pairs += [(thumb[0], index[0]), (thumb[0], index[1]), (thumb[0], middle_finger[1]), (ball, thumb[0])]
    pairs += [(ball, thumb[1]), (ball, index[1]), (ball, middle_finger[1]), (thumb[1], index[2])]
    web = chain((keypoints[THUMB_MCP] + 0.9 * keypoints[INDEX_MCP] + 0.3 * keypoints[THUMB_CMC])[None] / 2.2)[0]
    pairs += [(web, thumb[1]), (web, index[2]), (web, ball), (web, thumb[2])]
    # Across the palm at its ends, so that there are no gaps between its chains.
    for one, other in zip(palm, palm[1:], strict=False):
        pairs += [(one[0], other[0]), (one[-1], other[-1])]
    return np.array(centres), np.array(pairs)
