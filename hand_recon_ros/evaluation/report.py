"""An evaluation as one self-contained HTML file: figures, curves, and overlays of the worst images."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .. import __version__
from . import plots
from .cases import Case, distinct, worst_and_median
from .figures import PER_JOINT

FILE = "report.html"
_MISSED = 8
_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 1320px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .15em .9em; text-align: right }
td:first-child, th:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
pre, code { background: #f3f3f3; padding: .2em .4em; white-space: pre-wrap } .tables { display: flex; gap: 4em }
.gallery { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start } figure { margin: 0; width: 420px }
figure img { width: 100% } figcaption { font-size: 13px } h2 { margin-top: 1.6em } .plot { max-width: 100% }
"""


def write_report(folder: Path, report: dict[str, Any], cases: Sequence[Case], command: str) -> Path:
    """Write ``report.html`` into a folder, which is made where it is missing, and return its path.

    Args:
        folder: an earlier report in it is replaced.
        report: of an evaluation: metrics, intervals, per-joint errors, and the protocol.
        cases: its images.
        command: the command line of the evaluation.
    """
    title = f"{report['dataset']}, {report['split']}: {report['n']} images"
    return write_page(folder, title, report, _body(report, cases), command)


def write_page(folder: Path, title: str, report: dict[str, Any], body: Iterable[str], command: str) -> Path:
    """Write ``report.html`` of any evaluation: title, protocol, command and settings, then the lines of ``body``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    lines = [*_head(escape(title), report, command), *body, "</body></html>"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _head(title: str, report: dict[str, Any], command: str) -> Iterator[str]:
    yield f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head><body>\n<h1>{title}</h1>"
    yield f"<p>{escape(report['protocol'])}; hand_recon_ros {__version__}, made by</p>\n<pre>{escape(command)}</pre>"
    if "config" in report:
        settings = escape(json.dumps(report["config"], indent=1, default=str))
        yield f"<details><summary>Settings</summary><pre>{settings}</pre></details>"


def _body(report: dict[str, Any], cases: Sequence[Case]) -> Iterator[str]:
    yield '<div class="tables">'
    yield from table(("", "mean", "95 % interval", "refined"), _figures(report))
    yield from table(("arrangement", "hands", "not found", "MPJPE, mm", "median"), _arrangements(cases))
    yield "</div>"
    hands = [errors for case in cases for errors in case.errors.values()]
    if hands:
        yield "<h2>Errors</h2>"
        yield _plot(plots.joint_bars(report[PER_JOINT]["estimate"]), "mean error of each keypoint")
        yield _plot(plots.pck_curves(hands), "PCK over thresholds")
        yield _plot(plots.distribution(hands), "distribution of errors")
    yield (
        "<p>Below, estimated keypoints are green and true ones white; an image's error is that of its worse hand. "
        "Where crops are shown, the left hand's is on the left, and mirrored as it is for the encoder.</p>"
    )
    worst, median = worst_and_median(cases)
    missed = distinct(case for case in cases if case.missed)[:_MISSED]
    for name, chosen in (("Largest errors", worst), ("Around the median", median), ("Hands not found", missed)):
        if chosen:
            yield from gallery(name, map(_figure, chosen))


def _figures(report: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for side, share in report.get("found", {}).items():
        yield f"found, {side}", f"{share:.3f}", "", ""
    refined = report["metrics"]["refined"] or {}
    for name, value in report["metrics"]["estimate"].items():
        after = "" if refined.get(name) is None else f"{refined[name]:.3f}"
        if value is None:
            yield name, "&ndash;", "", after
        else:
            low, high = report["ci95"]["estimate"][name]
            yield name, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]", after


def _arrangements(cases: Sequence[Case]) -> Iterator[tuple[str, str, str, str, str]]:
    for arrangement in sorted({case.arrangement for case in cases}):
        of = [case for case in cases if case.arrangement == arrangement]
        errors = [hand.joints_mm.mean() for case in of for hand in case.errors.values()]
        missed = sum(len(case.missed) for case in of)
        mean_and_median = (f"{np.mean(errors):.1f}", f"{np.median(errors):.1f}") if errors else ("&ndash;",) * 2
        yield arrangement, str(len(errors) + missed), str(missed), *mean_and_median


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table; the first cell of a row is text, the others are HTML."""
    yield "<table><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"
    for first, *others in rows:
        yield f"<tr><td>{escape(first)}</td>" + "".join(f"<td>{text}</td>" for text in others) + "</tr>"
    yield "</table>"


def _figure(case: Case) -> str:
    errors = [f"{side.label} {hand.joints_mm.mean():.1f} mm" for side, hand in case.errors.items()]
    errors += [f"{side.label} not found" for side in case.missed]
    caption = f"<b>{case.number}</b> {escape(case.arrangement)}: {', '.join(errors)}"
    return figure(case.overlay(), caption, case.name)


def gallery(title: str, figures: Iterable[str]) -> Iterator[str]:
    """Lines of a section of figures."""
    yield f'<h2>{escape(title)}</h2>\n<div class="gallery">'
    yield from figures
    yield "</div>"


def figure(picture: np.ndarray, caption: str, name: str) -> str:
    """A picture, uint8 (H, W, 3) BGR, as a figure. The caption is HTML, the name below it is text."""
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return (
        f'<figure><img src="{_data(encoded, "jpeg")}" alt="{escape(name)}"><figcaption>{caption}<br>'
        f"<small>{escape(name)}</small></figcaption></figure>"
    )


def _plot(png: bytes, text: str) -> str:
    return f'<p><img class="plot" src="{_data(png, "png")}" alt="{text}"></p>'


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
