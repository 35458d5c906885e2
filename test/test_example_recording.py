"""The recording in the source tree: reconstructed, checked, and compared with the true hands that it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import read_hands_file  # noqa: E402

from hand_recon_ros import TwoHandReconstructor  # noqa: E402
from hand_recon_ros.bags.check import check_hands_file  # noqa: E402
from hand_recon_ros.bags.images import ImageOptions, RecordedImages  # noqa: E402
from hand_recon_ros.bags.output import HANDS  # noqa: E402
from hand_recon_ros.bags.reconstruct import reconstruct_recording  # noqa: E402

RECORDING = Path(__file__).resolve().parent.parent / "recordings" / "two_hands.mcap"
IMAGES, TRUTH = "/camera/image/compressed", "/ground_truth"


def joints(hand) -> np.ndarray:
    points = [(pose.position.x, pose.position.y, pose.position.z) for pose in hand.joints]
    return np.array(points) if hand.state == 1 else np.full((21, 3), np.nan)


def hands_of(path: Path, topic: str) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Stamps, and joints (N, 2, 21, 3) in metres, NaN for a hand that is not TRACKED."""
    messages = [message for name, _, message in read_hands_file(path) if name == topic]
    stamps = [(message.header.stamp.sec, message.header.stamp.nanosec) for message in messages]
    return stamps, np.array([[joints(message.left), joints(message.right)] for message in messages])


def test_the_recorded_hands_are_found_where_they_are(tmp_path):
    out = tmp_path / "hands.mcap"
    with RecordedImages(RECORDING, IMAGES, ImageOptions()) as images:
        # The refinement stops after a time, so that its result depends on the load of the machine.
        reconstructor = TwoHandReconstructor.from_config(refine_budget=0.0)
        summary = reconstruct_recording(reconstructor, images, out)
    assert summary["images"] == summary["calibrated"] == 60 and not summary["left_out"]
    report = check_hands_file(out)
    assert not report["faults"] and min(report["found"].values()) >= 55
    stamps, true = hands_of(RECORDING, TRUTH)
    found_stamps, found = hands_of(out, HANDS)
    assert stamps == found_stamps and np.isfinite(true).all()
    wrist = np.linalg.norm((found - true)[:, :, 0], axis=-1)
    relative = np.linalg.norm((found - found[:, :, :1]) - (true - true[:, :, :1]), axis=-1).mean(axis=-1)
    assert np.nanmedian(wrist) < 0.02 and np.nanmedian(relative) < 0.02
