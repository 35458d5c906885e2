"""Overlay video, contact sheet and figures of a demonstration, from its recording.

``python -m hand_recon_ros.evaluation.demo_report out/demo`` writes them again without running the demonstration.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.mesh_queries import touching
from ..image_files import VideoWriter, write_image
from ..types import HandState, Side
from . import metrics
from .recording import Recording, estimate, joints_of

_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_WIDTH = 4, 3, 1600


class ReportError(RuntimeError):
    """The recording has no hands; the message gives the reason in one line."""


def summarise(recording: Recording, truth: dict[str, np.ndarray] | None) -> dict[str, Any]:
    """The figures of summary.json.

    Ratios are over the processed images; ``apart`` are those in which the true boxes around the two hands' pixels
    do not overlap, ``touching`` those in which the true hands are nearer than 5 mm. Errors are over TRACKED hands,
    root-relative ones from the wrist, not rescaled. Latency is from an image's stamp to publishing its hands. Figures
    without a value (without ground truth) are null.

    Raises ReportError where no hands were recorded.
    """
    records = list(recording.hands.values())
    if not records:
        raise ReportError("the node published no hands message: see run/hand_recon.log")
    dropped = int(records[-1]["dropped"])
    latency = np.array([record["latency"] for record in records]) * 1e3
    seconds = records[-1]["received"] - records[0]["received"]
    tracked = {
        side: np.array([record[side.label]["state"] == HandState.TRACKED for record in records]) for side in Side
    }
    summary: dict[str, Any] = {
        "input": recording.plan["kind"],
        "frames_sent": len(recording.sent),
        "frames_received": len(records) + dropped if recording.received is None else recording.received,
        "frames_processed": len(records),
        "frames_dropped": dropped,
        "tracked_ratio": {side.label: _rounded(tracked[side].mean()) for side in Side},
        "tracked_ratio_apart": {side.label: None for side in Side},
        "refined_ratio": _rounded(np.mean([record["refined"] for record in records])),
        "latency_ms": {"p50": _rounded(np.percentile(latency, 50)), "p95": _rounded(np.percentile(latency, 95))},
        "fps": _rounded((len(records) - 1) / seconds if seconds > 0 else None),
        "calibrated": bool(records[-1]["calibrated"]),
    }
    if truth is not None:
        summary.update(score(recording, truth, tracked))
    return summary


def score(recording: Recording, truth: dict[str, np.ndarray], tracked: dict[Side, np.ndarray]) -> dict[str, Any]:
    """The part of the summary that needs ground truth.

    ``truth`` holds joints (N, 2, 21, 3) and vertices (N, 2, V, 3) in metres, faces (2, F, 3) and overlap (N,), as in a
    rendered clip of N frames; ``tracked`` is true for each processed image in which the hand was TRACKED.
    """
    numbers = {tuple(line["stamp"]): line["number"] for line in recording.sent}
    frames = np.array([numbers[stamp] for stamp in recording.hands])
    apart = ~truth["overlap"][frames].astype(bool)
    left_faces, right_faces = truth["faces"]
    touch = np.array([touching(left, left_faces, right, right_faces) for left, right in truth["vertices"][frames]])
    refined = np.array([record["refined"] for record in recording.hands.values()])
    joints = {side: np.stack([joints_of(record[side.label]) for record in recording.hands.values()]) for side in Side}
    true_joints = {side: truth["joints"][frames, side] for side in Side}
    found = [(joints[side][tracked[side]], true_joints[side][tracked[side]]) for side in Side]
    predicted, true = (np.concatenate(parts) for parts in zip(*found, strict=True))
    both = tracked[Side.LEFT] & tracked[Side.RIGHT]
    hands = [joints[side][both] for side in Side] + [true_joints[side][both] for side in Side]
    return {
        "frames_apart": int(apart.sum()),
        "tracked_ratio_apart": {
            side.label: _rounded(tracked[side][apart].mean() if apart.any() else None) for side in Side
        },
        "frames_touching": int(touch.sum()),
        "refined_ratio_touching": _mean(refined[touch]),
        "mpjpe_mm": _mean(metrics.mpjpe(predicted, true)),
        "pa_mpjpe_mm": _mean(metrics.pa_mpjpe(predicted, true)),
        "mrrpe_mm": _mean(metrics.mrrpe(*hands)),
        "wrist_error_mm": _mean(metrics.wrist_error(predicted, true)),
    }


def _rounded(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def _mean(values: np.ndarray) -> float | None:
    return _rounded(values.mean()) if values.size else None


def draw(recording: Recording, out: Path) -> int:
    """Write overlay.mp4 and contact_sheet.png into ``out``; returns the number of frames of the video."""
    from ..hand_model import load_hand_model
    from ..overlay import contact_sheet, draw_overlay

    hand_model = load_hand_model("")
    drawable = [line for line in recording.sent if tuple(line["stamp"]) in recording.hands]
    wanted = {tuple(line["stamp"]) for line in _sheet_lines(drawable, recording.plan["kind"])}
    rate = playing_rate([tuple(line["stamp"]) for line in drawable])
    writer, size, count, sheet = None, (0, 0), 0, []
    for line, image in recording.images():
        record = recording.hands.get(tuple(line["stamp"]))
        if record is None:
            continue
        picture = draw_overlay(image, estimate(record, hand_model), recording.camera(image))
        if writer is None:
            size = (picture.shape[1], picture.shape[0])
            writer = VideoWriter(out / "overlay.mp4", rate, size)
        writer.write(fitted(picture, *size))
        count += 1
        if tuple(line["stamp"]) in wanted:
            sheet.append(picture)
    if writer is not None:
        writer.close()
    if sheet:
        write_image(out / "contact_sheet.png", contact_sheet(sheet, _SHEET_COLUMNS, _SHEET_WIDTH))
    return count


def playing_rate(stamps: list[tuple[int, int]]) -> float:
    """Images per second at which images with these stamps play as long as they took to be sent."""
    seconds = stamps[-1][0] - stamps[0][0] + 1e-9 * (stamps[-1][1] - stamps[0][1]) if stamps else 0.0
    return min(max((len(stamps) - 1) / seconds, 1.0), 240.0) if seconds > 0 else 30.0


def _sheet_lines(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The sent images of the contact sheet: of photos each once, when it was sent last; else evenly spaced ones."""
    if kind == "photos":
        lines = list({line["number"]: line for line in lines}.values())
    count = min(len(lines), _SHEET_COLUMNS * _SHEET_ROWS)
    return [lines[index] for index in np.linspace(0, len(lines) - 1, count).round().astype(int)] if count else []


def fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image`` resized to fit into ``width`` x ``height``, with black bars where its aspect differs."""
    from ..sources import resized

    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    small = resized(
        image, max(1, min(width, round(image.shape[1] * scale))), max(1, min(height, round(image.shape[0] * scale)))
    )
    result = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


def table(summary: dict[str, Any]) -> str:
    """The summary as a text table."""

    def text(value: Any, unit: str = "", factor: float = 1.0) -> str:
        return "-" if value is None else f"{value * factor:.1f}{unit}"

    def sides(name: str) -> str:
        return " ".join(f"{side} {text(summary[name][side], ' %', 100.0):9}" for side in ("left", "right")).rstrip()

    rows = [
        ("images", f"sent {summary['frames_sent']}  received {summary['frames_received']}"
                   f"  processed {summary['frames_processed']}  dropped {summary['frames_dropped']}"),
        ("tracked", sides("tracked_ratio")),
        ("tracked, hands apart", sides("tracked_ratio_apart")),
        ("refined", text(summary["refined_ratio"], " %", 100.0)),
        ("latency", "  ".join(f"{name} {text(value, ' ms')}" for name, value in summary["latency_ms"].items())),
        ("rate", text(summary["fps"], " images/s")),
    ]  # fmt: skip
    if "mpjpe_mm" in summary:
        rows += [
            ("refined, hands touching", text(summary["refined_ratio_touching"], " %", 100.0)),
            ("joints, from the wrist", text(summary["mpjpe_mm"], " mm")),
            ("joints, aligned", text(summary["pa_mpjpe_mm"], " mm")),
            ("wrist to wrist", text(summary["mrrpe_mm"], " mm")),
            ("wrist in the camera frame", text(summary["wrist_error_mm"], " mm")),
        ]
    return "\n".join(f"{name:26} {value}" for name, value in rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the report; returns 1, with a reason on standard error, where there are no hands."""
    parser = argparse.ArgumentParser(prog="demo_report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the demonstration")
    out = parser.parse_args(arguments).out.resolve()
    try:
        recording = Recording(out / "run")
        summary = summarise(recording, read_truth(recording.plan["folder"]))
        files = [out / name for name in ("hands.jsonl", "hands.mcap") if (out / "run" / name).exists()]
        for file in files:
            shutil.copyfile(out / "run" / file.name, file)
        (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        frames = draw(recording, out)
    except (ReportError, OSError) as error:
        print(f"demo_report: {error}", file=sys.stderr)
        return 1
    print(table(summary))
    print(f"{'pictures':26} {out / 'overlay.mp4'} ({frames} frames), {out / 'contact_sheet.png'}")
    print(f"{'numbers':26} {', '.join(map(str, [out / 'summary.json', *files]))}")
    if not any(summary["tracked_ratio"].values()):
        print("demo_report: no hand was tracked in any image: see the pictures", file=sys.stderr)
        return 1
    return 0


def read_truth(folder: str) -> dict[str, np.ndarray] | None:
    """The ground truth of the rendered clip in ``folder``; None where there is no clip."""
    if not folder:
        return None
    with np.load(Path(folder) / "truth.npz") as arrays:
        return {name: arrays[name] for name in ("joints", "overlap", "vertices", "faces")}


if __name__ == "__main__":
    sys.exit(main())
