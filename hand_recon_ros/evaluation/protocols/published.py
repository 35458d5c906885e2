"""Published figures, as data, to stand beside measured ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..picture_tables import Rows
from .rest_pose import SUFFIX

A2P = "A2P (arXiv:2503.17788v3)"


@dataclasses.dataclass(frozen=True)
class Published:
    """The figures of one method on one data set.

    Attributes:
        dataset: as ``hand-recon evaluate --dataset`` has it.
        method: its name, with what distinguishes this row.
        figures: under the names of the protocols' reports.
        source: where the figures stand.
        protocol: by which they were measured, a name of the protocols; empty where the source's code is not public, or
            a table of others repeats them, so that it is not known.
    """

    dataset: str
    method: str
    figures: Mapping[str, float]
    source: str
    protocol: str = ""


def _two_hands(mrrpe: float | None, mpjpe: float, mpvpe: float) -> dict[str, float]:
    relative = {} if mrrpe is None else {"mrrpe_mm": mrrpe}
    return {**relative, "mpjpe_mm": mpjpe, "mpvpe_mm": mpvpe}


def _one_hand(pa_mpjpe: float, pa_mpvpe: float, f_5: float, f_15: float) -> dict[str, float]:
    return {"pa_mpjpe_mm": pa_mpjpe, "pa_mpvpe_mm": pa_mpvpe, "pa_f_5": f_5, "pa_f_15": f_15}


PUBLISHED = (
    Published("interhand26m", "A2P", _two_hands(21.60, 5.36, 5.58), A2P),
    Published("interhand26m", "4DHands", _two_hands(24.58, 7.49, 7.72), "arXiv:2405.20330"),
    Published("interhand26m", "InterWild", _two_hands(26.74, 7.85, 8.16), "CVPR 2023"),
    Published("interhand26m", "DIR", _two_hands(28.98, 7.51, 7.72), "arXiv:2302.02410"),
    Published("interhand26m", "ACR", _two_hands(None, 8.09, 8.29), "arXiv:2303.05938"),
    Published("interhand26m", "IntagHand", _two_hands(None, 9.95, 10.29), "CVPR 2022, as repeated by others"),
    Published(
        "interhand26m", "DIR, its code", _two_hands(29.26, 10.23, 10.00), "github.com/PengfeiRen96/DIR", "dir-wrist"
    ),
    Published(
        "interhand26m", "IntagHand, its code", _two_hands(None, 8.80, 9.03), "github.com/Dw1010/IntagHand", "intaghand"
    ),
    Published("hic", "A2P", _two_hands(22.24, 6.67, 6.93), A2P),
    Published("hic", "InterWild", _two_hands(26.43, 15.62, 15.17), "CVPR 2023"),
    Published("freihand", "HaMeR", _one_hand(6.0, 5.7, 0.785, 0.990), "arXiv:2312.05251", "freihand"),
    Published("freihand", "WiLoR", _one_hand(5.5, 5.1, 0.825, 0.993), "arXiv:2409.12259", "freihand"),
    Published("freihand", "MobRecon", {"pa_mpjpe_mm": 6.9}, "arXiv:2112.02753", "freihand"),
)


def beside(dataset: str, protocol: str, report: Mapping[str, Any]) -> Rows:
    """A table of a report's figures above the published ones: those by its protocol, and those without a known one.

    The first row is of the hands that were found, with their share; the second, where there are such figures, of all
    hands, see :mod:`rest_pose`. ``report`` has "metrics" and "ci95" of figures, as those of the protocols.
    """
    rows, metrics = published(dataset, protocol), report["metrics"]
    names = [name for name in metrics if any(name in row.figures for row in rows)]
    found = "" if metrics.get("found") is None else f"{metrics['found']:.1%} of the hands"
    table: Rows = [("method", *names, "protocol", "source")]
    for method, suffix, source in (("measured", "", found), (f"measured {SUFFIX}", SUFFIX, "all hands")):
        if any(name + suffix in metrics for name in names):
            cells = [_with_interval(metrics.get(name + suffix), report["ci95"].get(name + suffix)) for name in names]
            table.append((method, *cells, protocol, source))
    for row in rows:
        figures = (f"{row.figures[name]:g}" if name in row.figures else "" for name in names)
        table.append((row.method, *figures, row.protocol or "not stated", row.source))
    return table


def published(dataset: str, protocol: str = "") -> list[Published]:
    """The rows of a data set; with a protocol, those measured by it and those of which that is not known."""
    rows = [row for row in PUBLISHED if row.dataset == dataset]
    return [row for row in rows if not protocol or row.protocol in ("", protocol)]


def _with_interval(value: float | None, bounds: list[float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if bounds is None else f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"
