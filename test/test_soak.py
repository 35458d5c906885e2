"""The parts of tools/soak.py: what its camera sends wrong is wrong, and its limits see what they are for."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from ros_support import CAMERA, HEIGHT, WIDTH, camera_info, image_message  # noqa: E402
from soaking.camera import Sent, Stamps, read_log  # noqa: E402
from soaking.checks import Matcher, latencies, log_faults  # noqa: E402
from soaking.client import Hands  # noqa: E402
from soaking.faults import FAULTS  # noqa: E402
from soaking.memory import growth  # noqa: E402
from soaking.rounds import check_counts, check_total, merged, table  # noqa: E402
from soaking.soak import Outcome  # noqa: E402

from hand_recon_ros.conversions.cameras import CameraInfos  # noqa: E402
from hand_recon_ros.conversions.images import InputError  # noqa: E402
from hand_recon_ros.ros.images import decode  # noqa: E402


def refused(image: Any, info: Any) -> bool:
    infos = CameraInfos("/image", "/camera_info")
    infos.add(info)
    try:
        height, width = decode(image).shape[:2]
        infos.camera(image.header.stamp, width, height, False, 0.0)
    except InputError:
        return True
    return False


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_refused_as_it_says(name: str) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (WIDTH, HEIGHT))
    assert not refused(image_message(picture), camera_info(CAMERA))
    changed = 0
    for _ in range(30):
        image, info = image_message(picture), camera_info(CAMERA)
        FAULTS[name].change(rng, image, info)
        outcome = refused(image, info)
        assert FAULTS[name].refused in (outcome, None)
        changed += image != image_message(picture) or not same(info, camera_info(CAMERA))
    assert changed == 30


def same(one: Any, other: Any) -> bool:
    fields = one.get_fields_and_field_types()
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def sent(stamp: int, **fields: Any) -> Sent:
    return dataclasses.replace(Sent(stamp, 10 * stamp, 0, "camera", "", False), **fields)


def hands(stamp: int, **fields: Any) -> Hands:
    found = Hands(stamp, 10 * stamp + 5, "camera", (True, True), (True, True), np.zeros((2, 3)), 0.01)
    return dataclasses.replace(found, **fields)


def last_word(stamp: int) -> Hands:
    return hands(stamp, found=(False, False), tracked=(False, False), latency=math.nan)


def test_hands_are_matched_with_their_images() -> None:
    matcher = Matcher()
    pairs = matcher.match([sent(1), sent(2), sent(3)], [hands(1), hands(3), last_word(3)])
    assert [(a.stamp, b.stamp) for a, b in pairs] == [(1, 1), (3, 3)]
    assert latencies(pairs).tolist() == [5e-9, 5e-9]
    # Time may jump back where images do.
    assert len(matcher.match([sent(2), sent(4)], [hands(2), last_word(4)])) == 1
    assert matcher.faults == []


@pytest.mark.parametrize(
    ("images", "messages", "words"),
    [
        ([sent(1)], [hands(2)], "of no image"),
        ([sent(1), sent(2)], [hands(2), hands(1)], "not in the order"),
        ([sent(1)], [hands(1), hands(1)], "not in the order"),
        ([sent(1)], [hands(1, frame_id="other")], "frame_id 'other'"),
        ([sent(1, refused=True, fault="step")], [hands(1)], "has to be refused (step)"),
    ],
)
def test_wrong_stamps_and_frames_are_seen(images: list[Sent], messages: list[Hands], words: str) -> None:
    matcher = Matcher()
    matcher.match(images, messages)
    (fault,) = matcher.faults
    assert words in fault


def test_the_slope_of_memory_has_its_error() -> None:
    times = np.arange(0.0, 120.0, 0.5)
    noise = np.random.default_rng(0).normal(0.0, 2.0, len(times))
    flat, leak = growth(times, 800.0 + noise), growth(times, 800.0 + 6.0 * times / 60.0 + noise)
    assert abs(flat.slope) < 3.0 * flat.error and abs(leak.slope - 6.0) < 3.0 * leak.error
    assert 0.1 < leak.error < 1.0 and flat.at_least < 3.0 < leak.at_least
    assert math.isnan(growth(times[:5], noise[:5]).slope)


def test_a_log_with_a_crash_or_an_error_is_seen() -> None:
    text = "[INFO] fine\n[ERROR] cannot configure\nTraceback (most recent call last)\n[WARN] an image"
    assert len(log_faults(text)) == 2
    assert log_faults(text.replace("Traceback", ""), expected="cannot configure") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"received": 100, "processed": 60}, "are missing"),
        ({"received": 101}, "101 images received of 100"),
        ({"received": 99, "processed": 69, "hands": 70}, "70 messages of 69 images"),
        ({"refused": 20, "processed": 80, "hands": 80}, "20 images are counted as refused, 30 were wrong, and 0"),
        ({"sent": 150, "wrong": 30}, "too many"),
    ],
)
def test_counts_that_do_not_agree_are_seen(change: dict[str, int], words: str) -> None:
    counts = {"sent": 100, "received": 100, "processed": 70, "refused": 30, "wrong": 30, "hands": 70}
    outcome = Outcome("bad input", **{**counts, **change})  # type: ignore[arg-type]
    check_counts(outcome)
    assert words in "; ".join(outcome.faults) and bool(words) == bool(outcome.faults)


def test_memory_that_is_larger_at_the_end_is_seen() -> None:
    before, after = Outcome("steady, before", memory=800.0), Outcome("steady, after", memory=990.0)
    check_total([before, after])
    assert not after.faults
    check_total([before, dataclasses.replace(after, memory=1010.0, faults=after.faults)])
    assert "1010 MB, 800 at the begin" in after.faults[0]


def test_rounds_are_added_up_in_the_table() -> None:
    one = Outcome("flood", seconds=10.0, sent=100, p95=0.2, memory=800.0, slope=1.0, slope_error=0.5)
    two = dataclasses.replace(one, p95=0.1, memory=810.0, faults=["a fault"])
    (both,) = merged([one, two])
    assert (both.sent, both.p95, both.memory, both.faults) == (200, 0.2, 810.0, ["a fault"])
    lines = table([both], growth(np.arange(60.0), np.full(60, 800.0)), 20.0).splitlines()
    assert lines[2].startswith("| flood | 20 |") and lines[2].endswith("| no |") and "+1.0 ± 0.5" in lines[2]


def test_a_log_that_is_cut_off_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('[1, 2, 0, "camera", "", false]\n[2, 3, 0, "cam')
    assert read_log(tmp_path / "log") == [sent(1, wall=2)]
    assert read_log(tmp_path / "none") == []


def test_stamps_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("soaking.camera.time.monotonic", lambda: now[0])
    monkeypatch.setattr("soaking.camera.time.time_ns", lambda: int(1e9 * now[0]))
    stamps = Stamps("jumps", np.random.default_rng(0))
    made = []
    for _ in range(600):
        now[0] += 0.1
        made.append(stamps.now())
    steps = np.diff(made)
    assert 0 in made and (steps == 0).any() and (steps < -(10**9)).any() and (steps > 10**9).any()
