"""Tables of an evaluation on annotated pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Rows = list[tuple[str, ...]]
"""Cells of a table, text; the first row is its head."""


def kind_rows(report: dict[str, Any]) -> Rows:
    """A row of figures for each kind of picture, for all, and for each tag in brackets."""
    rows: Rows = [("kind", "pictures", "hands", "95 %", "both", "95 %", "of", "wrong side", "false", "px")]
    tags = {f"[{tag}]": part for tag, part in report["tags"].items()}
    for name, part in {**report["results"], **tags}.items():
        shares = [text for key in ("hands", "both") for text in (_share(part[key]), _interval(part["ci95"][key]))]
        counts = (str(part[key]) for key in ("pairs", "wrong_side", "false"))
        rows.append((name, str(part["pictures"]), *shares, *counts, _share(part["px"])))
    return rows


def comparison_rows(report: dict[str, Any]) -> Rows:
    """A row for each setting of a comparison: pairs found by kind, with their number in the head, and all figures."""
    kinds = {kind: part["pairs"] for kind, part in report["results"].items() if part["pairs"] and kind != "all"}
    head = [f"{kind} ({pairs})" for kind, pairs in kinds.items()]
    pairs = f"all pairs ({report['results']['all']['pairs']})"
    rows: Rows = [("setting", *head, pairs, "95 %", "hands", "95 %", "wrong side", "false", "ms")]
    for name, other in report["comparison"].items():
        every = other["results"]["all"]
        shares = [text for key in ("both", "hands") for text in (_share(every[key]), _interval(every["ci95"][key]))]
        by_kind = (_share(other["results"][kind]["both"]) for kind in kinds)
        rows.append(
            (name, *by_kind, *shares, str(every["wrong_side"]), str(every["false"]), f"{other['median_ms']:.0f}")
        )
    return rows


def lines(rows: Rows) -> Iterator[str]:
    """A table as text, its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(bounds: list[float] | None) -> str:
    return "" if bounds is None else f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"
