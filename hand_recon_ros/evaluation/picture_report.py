"""The report page of an evaluation on annotated pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..overlay import HAND_COLOURS, draw_bones
from .picture_tables import Rows
from .pictures import MeasuredPicture
from .report import figure, gallery, table, write_page

_SIDE = 720
"""Longer side of an overlay, pixels."""
_ANNOTATED = (255, 255, 255)


def write_picture_report(
    folder: Path, report: dict[str, Any], tables: Sequence[Rows], measured: Sequence[MeasuredPicture], command: str
) -> Path:
    """Write ``report.html`` with the tables and every picture that is not right; returns its path."""
    title = f"Annotated pictures: {report['n']}"
    return write_page(folder, title, report, _body(report, tables, measured), command)


def _body(report: dict[str, Any], tables: Sequence[Rows], measured: Sequence[MeasuredPicture]) -> Iterator[str]:
    for head, *rows in tables:
        yield from table([escape(cell) for cell in head], rows)
    yield (
        "<p>Below, every picture that is not right. White boxes are annotated, with L, R or ? for the side, and a "
        "number for another person; blue keypoints are in the left slot, orange ones in the right slot.</p>"
    )
    wrong = [one for one in measured if one.score.faults]
    for kind in sorted({one.picture.kind for one in wrong}):
        chosen = [one for one in wrong if one.picture.kind == kind]
        figures = (figure(overlay(one), escape(", ".join(one.score.faults)), _name(one)) for one in chosen)
        yield from gallery(f"{kind}: {len(chosen)} of {report['results'][kind]['pictures']}", figures)


def _name(one: MeasuredPicture) -> str:
    return " ".join((one.picture.file, *(f"[{tag}]" for tag in one.picture.tags)))


def overlay(one: MeasuredPicture) -> np.ndarray:
    """The picture with annotated boxes and estimated keypoints, uint8 (H, W, 3) BGR."""
    image = one.picture.frame().image
    scale = _SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for hand in one.picture.hands:
        x0, y0, x1, y1 = np.rint((hand.box + 0.5) * scale - 0.5).astype(int).tolist()
        text = ("?" if hand.side is None else hand.side.name[0]) + (f" {hand.person}" if hand.person else "")
        corner = int(np.clip(x0 + 3, 0, size[0] - 20)), int(np.clip(y0 + 20, 18, size[1] - 3))
        for ink, width in (((0, 0, 0), 3), (_ANNOTATED, 1)):
            cv2.rectangle(image, (x0, y0), (x1, y1), ink, width)
            cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.7, ink, width + 1, cv2.LINE_AA)
    for side, keypoints in one.keypoints.items():
        draw_bones(image, (keypoints + 0.5) * scale - 0.5, (HAND_COLOURS[side],) * 5, 2)
    return image
