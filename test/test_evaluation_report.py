"""The report of an evaluation: its figures and images, which images it chooses, and the errors of each keypoint."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.cli import main
from hand_recon_ros.evaluation import images, metrics
from hand_recon_ros.evaluation.cases import ESTIMATED, TRUE, Case, worst_and_median
from hand_recon_ros.evaluation.figures import PER_HAND, PER_JOINT, HandErrors, add_hand, pooled, summary
from hand_recon_ros.evaluation.plots import pck
from hand_recon_ros.evaluation.report import write_report

NAN = np.full((21, 2), np.nan)


def case(number, error, picture=None, **fields):
    """A right hand with an error of ``error`` mm in every joint and keypoints on a diagonal."""
    true = np.stack([NAN, np.linspace((40, 40), (80, 80), 21)])
    errors = {} if error is None else {Side.RIGHT: HandErrors(np.full(21, error), np.full(21, 0.1))}
    black = np.zeros((120, 160, 3), dtype=np.uint8)
    return Case(number, f"test <{number}>", "alone", errors, true + (20, 0), true, picture or black.copy, **fields)


def lists():
    return {name: [] for name in (*PER_HAND, PER_JOINT)}


def report_of(errors):
    values = lists()
    values["mpjpe_mm"] = [np.array([error]) for error in errors]
    values[PER_JOINT] = [np.full((1, 21), error) for error in errors]
    figures = summary(pooled(values), {})
    return {"dataset": "synthetic", "split": "val", "n": len(errors), "protocol": "by hand", **figures}


class Page(HTMLParser):
    """Texts of a page; every element has to be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_a_report_of_four_pictures(tmp_path):
    errors = [10.0, 40.0, 20.0, 30.0]
    cases = [case(number, error) for number, error in enumerate(errors)] + [case(4, None)]
    path = write_report(tmp_path / "new" / "folder", report_of(errors), cases, "hand-recon evaluate 'a <b>'")
    text = path.read_text(encoding="utf-8")
    texts = Page(text).texts
    row = texts.index("mpjpe_mm")
    assert texts[row + 1] == "25.000" and re.fullmatch(r"\[\d+\.\d{3}, \d+\.\d{3}\]", texts[row + 2])
    assert "hand-recon evaluate 'a <b>'" in texts  # escaped in the file, or it would be an element
    numbers = [int(number) for number in re.findall(r"<figcaption><b>(\d+)</b>", text)]
    assert numbers == [1, 3, 2, 0, 4]
    assert "alone: right 40.0 mm" in texts and "alone: right not found" in texts
    for kind, content in re.findall(r"data:image/(\w+);base64,([^\"]+)", text):
        assert cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR) is not None, kind
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_report_without_a_measured_hand(tmp_path):
    path = write_report(tmp_path, report_of([]), [case(0, None)], "")
    assert report_of([])[PER_JOINT] == {"estimate": None}
    assert "Hands not found" in Page(path.read_text(encoding="utf-8")).texts


def test_the_worst_come_first_and_one_of_each_moment():
    errors = [5.0, 90.0, np.nan, 80.0, 30.0, 20.0, 10.0]
    moments = ["a", "b", "c", "b", "d", "e", "f"]
    cases = [case(i, error, moment=moment) for i, (error, moment) in enumerate(zip(errors, moments, strict=True))]
    worst, median = worst_and_median(cases, worst=3, median=2)
    assert [found.number for found in worst] == [2, 1, 4]  # NaN is the worst; 3 is of the same moment as 1
    assert [found.number for found in median] == [5, 6]  # the median is 30


def test_an_image_is_made_only_for_its_overlay(tmp_path):
    made = []

    def picture():
        made.append(1)
        return np.zeros((120, 160, 3), dtype=np.uint8)

    cases = [case(number, float(number + 1), picture) for number in range(40)]
    assert not made
    write_report(tmp_path, report_of([1.0]), cases, "")
    assert len(made) == 12 + 4


def test_keypoints_of_an_overlay_are_at_their_positions():
    picture = np.zeros((400, 560, 3), dtype=np.uint8)
    whole = np.stack([NAN, np.linspace((0, 0), (559, 399), 21)])
    true = np.stack([NAN, np.linspace((100, 300), (500, 300), 21)])
    overlay = Case(0, "", "", {}, whole, true, picture.copy).overlay()
    assert overlay.shape == picture.shape  # the keypoints span it, and its longer side is that of an overlay
    assert overlay[300, 250].tolist() == list(TRUE)
    assert overlay[100, 140].tolist() == list(ESTIMATED) and not overlay[200, 140].any()
    # The box of both lines is 60 x 40 pixels; the overlay has 85 x 65 around its middle (70, 60), from (28, 28) on.
    near, scale = case(0, 1.0).overlay(), 560 / 85
    assert near.shape == (round(65 * scale), 560, 3)
    middle = ((np.array([60.0, 60.0]) - 28 + 0.5) * scale - 0.5).round().astype(int)
    assert near[middle[1], middle[0]].tolist() == list(TRUE)


def test_errors_of_each_keypoint_by_hand():
    joints = np.zeros((2, 21, 3))
    joints[0, 4] = (0.003, 0.0, 0.004)
    joints[1, 4] = (0.0, 0.001, 0.0)
    joints[1] += (0.1, 0.0, 0.0)  # the position does not matter
    truth = np.random.default_rng(0).normal(0.0, 0.05, (21, 3))
    pixels = np.linspace((0, 0), (100, 50), 21)
    off = pixels.copy()
    off[:10] += (8.0, 0.0)
    off[10:] += (0.0, 4.0)
    values = lists()
    counted = np.arange(21) >= 5
    for hand in joints:
        errors = add_hand(values, truth + hand, truth, truth + hand, truth, off, pixels, counted)
    assert errors.joints_mm[4] == pytest.approx(1.0) and np.isnan(errors.shares[:5]).all()
    np.testing.assert_allclose(errors.shares[5:], [0.08] * 5 + [0.04] * 11)
    found = summary(pooled(values), {})
    expected = np.zeros(21)
    expected[4] = 3.0  # of 5 and 1 mm
    np.testing.assert_allclose(found[PER_JOINT]["estimate"], expected, atol=1e-9)
    estimate = found["metrics"]["estimate"]
    assert estimate["mpjpe_mm"] == pytest.approx(3.0 / 21) and estimate["wrist_error_mm"] == pytest.approx(50.0)
    assert estimate["pck_0_05"] == pytest.approx(11 / 16) and estimate["pck_0_1"] == 1.0
    assert estimate["error_2d_px"] == pytest.approx((5 * 8 + 11 * 4) / 16)
    assert PER_JOINT not in estimate and PER_JOINT not in found["ci95"]["estimate"]


def test_joint_errors_average_to_mpjpe():
    predicted, truth = np.random.default_rng(1).normal(size=(2, 5, 21, 3))
    for arguments in ({}, {"root": None}, {"rescale": True}):
        errors = metrics.joint_errors(predicted, truth, **arguments)
        assert errors.shape == (5, 21)
        np.testing.assert_allclose(errors.mean(axis=-1), metrics.mpjpe(predicted, truth, **arguments))


def test_pck_over_thresholds():
    shares = np.full((3, 21), np.nan)
    shares[0, :2] = 0.1, 0.3
    shares[1] = 0.1  # no keypoint of the third hand counts
    np.testing.assert_allclose(pck(shares, np.array([0.0, 0.2, 0.4])), [0.0, 0.75, 1.0])


def test_the_command_writes_a_report_only_when_asked(tmp_path, capsys, monkeypatch):
    calls = []

    def evaluate(reconstructor, split, count, cases):
        calls.append(cases)
        if cases is not None:
            cases.append(case(0, 7.0))
        return report_of([7.0])

    monkeypatch.setattr(images, "evaluate_images", evaluate)
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "--single-images", "--set", "encoder=none"]
    assert main(command) == 0
    assert calls == [None] and not list(tmp_path.iterdir())
    assert main([*command, "--report", "out"]) == 0
    assert "report -> out/report.html" in capsys.readouterr().err
    texts = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).texts
    assert "hand-recon evaluate --single-images --set encoder=none --report out" in texts and "7.000" in texts


@pytest.mark.slow
def test_the_report_of_an_encoder(tmp_path):
    assert main(["evaluate", "--encoder", "small", "--frames", "2", "--report", str(tmp_path)]) == 0
    texts = Page((tmp_path / "report.html").read_text(encoding="utf-8")).texts
    assert {"synthetic/val/90210/0", "synthetic/val/90210/1", "mrrpe_predicted_mm"} <= set(texts)


def test_detection_has_no_report(tmp_path, capsys):
    assert main(["evaluate", "--detection", "--report", str(tmp_path / "out")]) == 1
    assert "--detection does not measure" in capsys.readouterr().err and not (tmp_path / "out").exists()
