#!/usr/bin/env python3
"""Compare the locator with the MediaPipe framework, whose two networks it runs, on the same images.

The framework wants other versions of NumPy and OpenCV than the product, so it usually lives in an environment of its
own. There this script needs nothing of the product:

    python -m venv mp && mp/bin/pip install mediapipe==0.10.21
    mp/bin/python tools/compare_mediapipe.py --write mediapipe.json IMAGES...
    .venv/bin/python tools/compare_mediapipe.py --reference mediapipe.json --json IMAGES...

Without ``--reference`` the framework is imported right here. Reported per image and hand: the mean distance of the 21
keypoints (px) and of the 21 world points (mm), once with everything set as the framework does it ("replica": agreement
of the code) and once as the product does it ("locator": what averaging and second looks change); and
the time for a single image and for a tracked frame.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

REPEATS = 30


def median_ms(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median duration of a call in ms, after three unmeasured ones."""
    durations = []
    for index in range(repeats + 3):
        begin = time.perf_counter()
        call()
        if index >= 3:
            durations.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(durations)


def read_image(path: str) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"{path}: not an image that can be read")
    return image


def framework_results(paths: list[str]) -> dict[str, Any]:
    """What the framework says of each image: hands with label, score, keypoints (21, 3) px and world (21, 3) m."""
    try:
        from mediapipe.python.solutions.hands import Hands
    except ImportError as error:
        raise SystemExit(
            f"the MediaPipe framework cannot be imported here ({error}); install mediapipe==0.10.21 with its "
            "dependencies in another environment, run this script there with --write FILE, and pass --reference FILE"
        ) from error
    results: dict[str, Any] = {}
    for path in paths:
        image = cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB)
        size = np.array([image.shape[1], image.shape[0], image.shape[1]])
        with Hands(static_image_mode=True, max_num_hands=2, min_detection_confidence=0.5) as hands:
            found = hands.process(image)
            single_ms = median_ms(lambda hands=hands, image=image: hands.process(image))
        with Hands(static_image_mode=False, max_num_hands=2, min_detection_confidence=0.5) as hands:
            tracked_ms = median_ms(lambda hands=hands, image=image: hands.process(image))
        listed = []
        for points, world, label in zip(
            found.multi_hand_landmarks or [],
            found.multi_hand_world_landmarks or [],
            found.multi_handedness or [],
            strict=True,
        ):
            listed.append(
                {
                    "label": label.classification[0].label,
                    "score": label.classification[0].score,
                    "keypoints": (np.array([[p.x, p.y, p.z] for p in points.landmark]) * size).tolist(),
                    "world": [[p.x, p.y, p.z] for p in world.landmark],
                }
            )
        name = pathlib.Path(path).name
        results[name] = {"hands": listed, "single_ms": single_ms, "tracked_ms": tracked_ms}
    return results


def replica(palm: Any, landmark: Any, image: np.ndarray) -> list[Any]:
    """The networks used as the framework uses them: plain bilinear sampling, float32, one look."""
    from hand_recon_ros.detect.palm import palms_in
    from hand_recon_ros.landmarks import landmarks as lm
    from hand_recon_ros.landmarks.crops import crop_matrix
    from hand_recon_ros.landmarks.observation import RotatedBox

    def sample(box: RotatedBox, out: np.ndarray, border: int) -> None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(image, crop_matrix(box, len(out)), out.shape[:2], dst=out, flags=flags, borderMode=border)

    view = RotatedBox((image.shape[1] / 2, image.shape[0] / 2), float(max(image.shape[:2])))
    sample(view, palm.inputs[0], cv2.BORDER_CONSTANT)
    hands = []
    for detection in palms_in(*palm.run(1)[0], 0.5, view, palm.size)[:2]:
        sample(detection.roi, landmark.inputs[0], cv2.BORDER_REPLICATE)
        hand = lm.decode(landmark.run(1)[0], detection.roi, landmark.size)
        if hand.presence >= 0.5:
            hands.append(hand)
    return hands


def difference(reference: dict[str, Any], hands: list[tuple[np.ndarray, np.ndarray, float]]) -> dict[str, float] | None:
    """Distance to the nearest of our hands (keypoints (21, 2), world (21, 3), probability of right), if it is near."""
    keypoints, world = np.array(reference["keypoints"])[:, :2], np.array(reference["world"])
    extent = float(np.ptp(keypoints, axis=0).max())
    best: dict[str, float] | None = None
    for ours, our_world, right in hands:
        pixels = float(np.linalg.norm(ours - keypoints, axis=1).mean())
        if pixels < 0.25 * extent and (best is None or pixels < best["px"]):
            # The framework's labels are those of a mirrored image: its Left is an anatomical right hand.
            same_side = (right > 0.5) == (reference["label"] == "Left")
            mm = 1e3 * float(np.linalg.norm(our_world - world, axis=1).mean())
            best = {"px": pixels, "part_of_extent": pixels / extent, "mm": mm, "same_side": float(same_side)}
    return best


def compare(reference: dict[str, Any], paths: list[str], threads: int) -> dict[str, Any]:
    """Our results beside the framework's."""
    from hand_recon_ros import Camera, Frame
    from hand_recon_ros.config import ReconstructorConfig
    from hand_recon_ros.detect.networks import HandNetworks
    from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, PALM_DETECTION, find_model
    from hand_recon_ros.runtime.sessions import open_session
    from hand_recon_ros.track.locator import HandLocator
    from hand_recon_ros.track.tracks import Tracks

    config = ReconstructorConfig(threads=threads)
    locator, tracks = HandLocator(HandNetworks.load(config)), Tracks()
    sessions = [open_session(find_model(model), threads=threads) for model in (PALM_DETECTION, HAND_LANDMARKS)]
    report: dict[str, Any] = {}

    def followed(frame: Frame) -> None:
        tracks.advance(frame)
        tracks.update(locator.locate(frame, tracks, config).observations)

    for path in paths:
        image = read_image(path)
        frame = Frame(image, Camera.from_fov(image.shape[1], image.shape[0], 60.0))
        theirs = reference[pathlib.Path(path).name]
        exact = [(hand.keypoints, hand.world, hand.right) for hand in replica(*sessions, image)]
        found = locator.search(frame, config).observations
        ours = [(hand.keypoints_2d, hand.world, float(hand.side)) for hand in found]
        tracks.reset()
        report[pathlib.Path(path).name] = {
            "hands": {"framework": len(theirs["hands"]), "replica": len(exact), "locator": len(ours)},
            "replica": [difference(hand, exact) for hand in theirs["hands"]],
            "locator": [difference(hand, ours) for hand in theirs["hands"]],
            "single_ms": {
                "framework": theirs["single_ms"],
                "locator": median_ms(lambda frame=frame: locator.search(frame, config), 5),
            },
            "tracked_ms": {
                "framework": theirs["tracked_ms"],
                "locator": median_ms(lambda frame=frame: followed(frame)),
            },
        }
    return report


def print_table(report: dict[str, Any]) -> None:
    print(
        f"{'image':16} {'hands':>9} {'replica px / mm':>18} {'locator px / mm':>18} {'image ms':>15} {'tracked ms':>13}"
    )
    for name, row in report.items():
        counts = row["hands"]
        lines = max(1, len(row["replica"]))
        for index in range(lines):
            cells = []
            for kind in ("replica", "locator"):
                value = row[kind][index] if row[kind] else None
                cells.append("-" if value is None else f"{value['px']:.2f} / {value['mm']:.2f}")
            head = (name, f"{counts['framework']} | {counts['locator']}") if index == 0 else ("", "")
            times = ["", ""]
            if index == 0:
                times = [
                    f"{row[key]['framework']:.1f} | {row[key]['locator']:.1f}" for key in ("single_ms", "tracked_ms")
                ]
            print(f"{head[0]:16} {head[1]:>9} {cells[0]:>18} {cells[1]:>18} {times[0]:>15} {times[1]:>13}")
    print("hands and times: framework | ours; our search of single images goes on where the framework's stops")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="photographs")
    parser.add_argument("--write", metavar="FILE", help="only run the framework and write what it says to FILE")
    parser.add_argument("--reference", metavar="FILE", help="output of the framework, written by --write")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the locator")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    if options.write:
        pathlib.Path(options.write).write_text(json.dumps(framework_results(options.images)), encoding="utf-8")
        return 0
    if options.reference:
        reference = json.loads(pathlib.Path(options.reference).read_text(encoding="utf-8"))
    else:
        reference = framework_results(options.images)
    report = compare(reference, options.images, options.threads)
    if options.json:
        print(json.dumps(report))
    else:
        print_table(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
