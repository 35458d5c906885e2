"""How renderings of the gestures of a conformance suite for hands come out: the table in docs/recipes.md.

python tools/measure_gestures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from openxr_gestures import CAMERA, FINGERS, render, script  # noqa: E402

from hand_recon_ros import Side, TwoHandReconstructor  # noqa: E402
from hand_recon_ros.skeleton import TIPS  # noqa: E402


def straightness(joints: np.ndarray) -> float:
    """Mean over the four fingers of knuckle to tip over the lengths of the bones between."""
    fingers = [joints[5 + 4 * finger : 9 + 4 * finger] for finger in range(4)]
    return float(
        np.mean([np.linalg.norm(f[-1] - f[0]) / np.linalg.norm(np.diff(f, axis=0), axis=1).sum() for f in fingers])
    )


def main() -> None:
    """Print a row for each picture and hand."""
    reconstructor = TwoHandReconstructor.from_config(device="cpu")
    print("| Gesture | Hand | Straightness of the fingers | found | Thumb to fingertip, mm | found |")
    print("|---|---|---|---|---|---|")
    for step in script():
        rendering = render(step)
        estimate = reconstructor.reconstruct_image(rendering.image, CAMERA)
        name = step.label.removeprefix("pinch_")
        finger = FINGERS.index(name) if name in FINGERS else None
        for side in Side:
            hand = estimate.hand(side)
            cells = []
            for joints in (rendering.joints[side], hand.joints if hand.found else None):
                if joints is None:
                    cells.append(("LOST", ""))
                    continue
                gap = None if finger is None else np.linalg.norm(joints[TIPS[0]] - joints[TIPS[1 + finger]]) * 1e3
                cells.append((f"{straightness(joints):.2f}", "" if gap is None else f"{gap:.0f}"))
            turn = f", {np.degrees(step.turn):.0f} deg" if step.label == "wrist_rotate" else ""
            (true, true_gap), (found, found_gap) = cells
            print(f"| {step.label}{turn} | {side.label} | {true} | {found} | {true_gap} | {found_gap} |", flush=True)


if __name__ == "__main__":
    main()
