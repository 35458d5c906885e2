"""Scores of annotated pictures: hand-made hands and estimates with known counts, intervals, tables, report, command."""

import base64
import dataclasses
import json
import re

import cv2
import numpy as np
import pytest

from hand_recon_ros import HandEstimate, HandState, Side, TwoHandEstimate, TwoHandReconstructor
from hand_recon_ros.cli import main
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.datasets.pictures import AnnotatedHand, AnnotatedPicture
from hand_recon_ros.evaluation import pictures as evaluation
from hand_recon_ros.evaluation.intervals import ratio_interval
from hand_recon_ros.evaluation.picture_report import overlay
from hand_recon_ros.evaluation.pictures import MeasuredPicture, estimated_keypoints, figures, score_picture, summary

LEFT, RIGHT = Side.LEFT, Side.RIGHT
A, B = (100, 100, 200, 200), (300, 100, 400, 200)


def hand(side, box, **fields):
    return AnnotatedHand(side, np.array(box, float), **fields)


def points(x0, y0, x1, y1):
    """Keypoints on the diagonal of a box."""
    return np.linspace((x0, y0), (x1, y1), 21)


def score(hands, **slots):
    return score_picture(hands, {Side[name.upper()]: points(*box) for name, box in slots.items()})


def test_a_pair_that_is_right():
    found = score([hand(LEFT, A), hand(RIGHT, B)], left=A, right=B)
    assert (found.hands, found.found, found.slots, found.faults) == (2, 2, 2, [])


def test_sides_that_are_exchanged():
    found = score([hand(LEFT, A), hand(RIGHT, B)], left=B, right=A)
    assert (found.found, found.missed, found.exchanged, found.false) == (0, (), (LEFT, RIGHT), ())
    assert found.faults == ["left found as right", "right found as left"]


def test_a_missed_hand_and_a_false_slot():
    found = score([hand(LEFT, A)], left=B)
    assert (found.found, found.missed, found.exchanged, found.false) == (0, (LEFT,), (), (LEFT,))
    assert found.faults == ["left missed", "left is false"]


@pytest.mark.parametrize(
    ("width", "occluded", "hit"),
    [(31, False, True), (29, False, False), (29, True, True), (21, True, True), (19, True, False)],
)
def test_the_overlap_that_counts(width, occluded, hit):
    found = score([hand(LEFT, A, occluded=occluded)], left=(100, 100, 100 + width, 200))
    assert bool(found.found) == hit and bool(found.false) != hit


def test_of_two_slots_on_one_hand_that_of_its_side_counts():
    # The right slot overlaps the left hand more, but the left slot is the one that found it.
    found = score([hand(LEFT, A)], left=(100, 100, 160, 200), right=A)
    assert (found.found, found.exchanged, found.false) == (1, (), (RIGHT,))


def test_of_two_hands_a_slot_hits_the_one_it_overlaps_more():
    hands = [hand(LEFT, A), hand(LEFT, (110, 100, 210, 200), person=1)]
    assert score(hands, left=A).found == 1
    assert score(hands, left=(112, 100, 212, 200)).missed == (LEFT,)


def test_a_slot_of_the_other_side_takes_what_is_left_over():
    # Clasped hands, both boxes in reach of either slot: sides first, so that nothing is exchanged.
    found = score([hand(LEFT, A), hand(RIGHT, (110, 100, 210, 200))], left=(110, 100, 210, 200), right=A)
    assert found.faults == []


def test_hands_of_others_and_of_unknown_side_do_not_count_but_may_be_hit():
    hands = [hand(LEFT, A), hand(None, B), hand(RIGHT, (500, 100, 600, 200), person=1)]
    for box in (B, (500, 100, 600, 200)):
        found = score(hands, left=A, right=box)
        assert (found.hands, found.found, found.slots, found.faults) == (1, 1, 2, [])


def test_keypoint_errors_are_of_annotated_keypoints_of_found_hands():
    annotated = np.full((21, 2), np.nan)
    annotated[4] = points(*A)[4] + (3, 4)
    annotated[8] = points(*A)[8]
    box = (100, 100, 200, 250)
    assert score([hand(LEFT, box, keypoints_2d=annotated)], left=A).errors == pytest.approx([2.5 / 150])
    assert score([hand(LEFT, box, keypoints_2d=annotated)], right=A).errors == ()


def test_keypoints_without_a_place_are_a_false_slot():
    found = score_picture([hand(LEFT, A)], {LEFT: np.full((21, 2), np.nan)})
    assert (found.missed, found.false) == ((LEFT,), (LEFT,))


def estimate(**boxes):
    """An estimate with hands whose keypoints span the boxes."""

    def of(side):
        lost = HandEstimate.lost(side)
        if side.label not in boxes:
            return lost
        keypoints = points(*boxes[side.label])
        return dataclasses.replace(lost, state=HandState.TRACKED, joints=np.zeros((21, 3)), keypoints_2d=keypoints)

    return TwoHandEstimate(of(LEFT), of(RIGHT))


def test_lost_hands_and_poses_that_are_not_finite_are_no_slots():
    both = estimate(left=A, right=B)
    assert sorted(estimated_keypoints(both)) == [LEFT, RIGHT]
    assert list(estimated_keypoints(dataclasses.replace(both, left=HandEstimate.lost(LEFT)))) == [RIGHT]
    infinite = dataclasses.replace(both.left, joints=np.full((21, 3), np.inf))
    assert list(estimated_keypoints(dataclasses.replace(both, left=infinite))) == [RIGHT]


PAIR = [hand(LEFT, A), hand(RIGHT, B)]


def test_figures_over_pictures():
    scores = [score(PAIR, left=A, right=B), score(PAIR, left=A), score(PAIR, left=B), score([], right=A)]
    found = figures(scores)
    assert (found["pictures"], found["pairs"], found["slots"], found["wrong_side"], found["false"]) == (4, 3, 5, 1, 1)
    assert found["hands"] == 3 / 6 and found["both"] == 1 / 3 and found["px"] is None
    assert found["ci95"]["hands"][0] == 0.0 and found["ci95"]["both"] == [0.0, 1.0]
    nothing = figures(scores[3:])
    assert nothing["hands"] is nothing["both"] is None and nothing["ci95"] == {"hands": None, "both": None}


def test_the_interval_of_a_ratio():
    assert ratio_interval(np.array([2, 0]), np.array([2, 0])) == [1.0, 1.0]  # nothing of nothing does not count
    rng = np.random.default_rng(1)
    wholes = rng.integers(1, 3, 400)
    parts = rng.binomial(wholes, 0.7)
    low, high = ratio_interval(parts, wholes)
    share = parts.sum() / wholes.sum()
    deviation = np.sqrt(share * (1 - share) / wholes.sum())
    assert low == pytest.approx(share - 1.96 * deviation, abs=0.01)
    assert high == pytest.approx(share + 1.96 * deviation, abs=0.01)


def measured(path, kind, tags=(), hands=PAIR, seconds=0.1, **boxes):
    picture = AnnotatedPicture(path, path.name, kind, tags, tuple(hands))
    keypoints = estimated_keypoints(estimate(**boxes))
    return MeasuredPicture(picture, keypoints, score_picture(hands, keypoints), seconds)


def test_the_summary_is_by_kind_and_by_tag(tmp_path):
    report = summary(
        [
            measured(tmp_path / "a.png", "near", ("dark",), left=A, right=B),
            measured(tmp_path / "b.png", "near", left=A, seconds=0.3),
            measured(tmp_path / "c.png", "apart", ("dark", "small"), left=A, right=B, seconds=9.0),
        ]
    )
    assert list(report["results"]) == ["apart", "near", "all"] and list(report["tags"]) == ["dark", "small"]
    assert [report["results"][kind]["both"] for kind in report["results"]] == [1.0, 0.5, pytest.approx(2 / 3)]
    assert report["tags"]["dark"]["pictures"] == 2 and report["tags"]["dark"]["both"] == 1.0
    assert report["not_right"] == ["b.png"] and report["median_ms"] == pytest.approx(300.0)


def test_an_overlay_has_boxes_and_keypoints_at_their_places(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((240, 360, 3), np.uint8))
    one = measured(tmp_path / "a.png", "near", hands=[hand(LEFT, (100, 50, 200, 150))], right=(220, 40, 320, 140))
    picture = overlay(one)  # twice as large
    assert picture.shape == (480, 720, 3)
    assert picture[200, 200].tolist() == [255, 255, 255]  # the left edge of the box
    blue, green, red = picture[180, 540]  # the middle of the keypoints: the right slot is orange
    assert red > green > blue
    assert not picture[300:].any(axis=(1, 2)).all()


class Fake:
    """A reconstructor that finds the hands of the first picture and nothing in others."""

    def __init__(self, config):
        self.config = config

    def reconstruct_image(self, image, camera):
        assert camera.matches(image)
        if self.config.encoder == "none" or image[0, 0, 0] != 80:
            return estimate()
        return estimate(left=A, right=B)


@pytest.fixture
def root(tmp_path, monkeypatch):
    def fake(path=None, **settings):
        return Fake(ReconstructorConfig(**settings))

    monkeypatch.setattr(TwoHandReconstructor, "from_config", fake)
    folder = tmp_path / "pictures"
    folder.mkdir()
    entries = []
    for name, grey, kind in (("a.png", 80, "near"), ("b.png", 90, "apart")):
        cv2.imwrite(str(folder / name), np.full((240, 440, 3), grey, np.uint8))
        hands = [{"side": "left", "box": A}, {"side": "right", "box": B}]
        entries.append({"file": name, "kind": kind, "tags": ["<dark>"], "hands": hands})
    (folder / "annotations.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


COMMAND = ["evaluate", "--dataset", "pictures", "--json", "--root"]


def test_the_command_prints_figures_and_a_table(root, capsys):
    assert main([*COMMAND, str(root)]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["dataset"], report["n"], report["protocol"]) == ("pictures", 2, evaluation.PROTOCOL)
    assert report["config"]["encoder"] == "small" and report["not_right"] == ["b.png"]
    assert {kind: part["hands"] for kind, part in report["results"].items()} == {"apart": 0, "near": 1, "all": 0.5}
    assert report["results"]["all"]["ci95"]["hands"] == [0.0, 1.0] and "comparison" not in report
    row = next(line for line in captured.err.splitlines() if line.startswith("all "))
    assert row.split() == ["all", "2", "0.500", "[0.00,", "1.00]", "0.500", "[0.00,", "1.00]", "2", "0", "0"]


def test_the_command_compares_settings(root, capsys):
    compare = ["--compare", "encoder=none", "--compare", "refiner=none", "refine_steps=0"]
    assert main([*COMMAND, str(root), "--set", "threads=1", *compare]) == 0
    captured = capsys.readouterr()
    comparison = json.loads(captured.out)["comparison"]
    assert list(comparison) == ["as given", "encoder=none", "refiner=none refine_steps=0"]
    assert [part["results"]["all"]["both"] for part in comparison.values()] == [0.5, 0.0, 0.5]
    assert [part["config"]["refine_steps"] for part in comparison.values()] == [8, 8, 0]
    assert all(part["config"]["threads"] == 1 for part in comparison.values())
    table = captured.err[captured.err.index("setting ") :].splitlines()
    assert re.split(r"  +", table[0])[:4] == ["setting", "apart (1)", "near (1)", "all pairs (2)"]
    assert table[2].startswith("encoder=none") and table[2].split()[1:4] == ["0.000"] * 3


def test_the_command_draws_what_is_not_right(root, tmp_path, capsys):
    out = tmp_path / "report"
    assert main([*COMMAND, str(root), "--report", str(out), "--compare", "encoder=none"]) == 0
    assert f"report -> {out / 'report.html'}" in capsys.readouterr().err
    text = (out / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["apart: 1 of 1"]
    assert "<figcaption>left missed, right missed<br><small>b.png [&lt;dark&gt;]</small>" in text
    (content,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR).shape == (393, 720, 3)
    assert text.count("<table>") == 2 and "<dark>" not in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dataset", "pictures"], "needs --root"),
        (["--dataset", "pictures", "--root", "/no/folder"], "expected /no/folder/annotations.json"),
        (["--dataset", "pictures", "--root", "x", "--detection"], "are of --dataset synthetic"),
        (["--root", "x"], "are of --dataset pictures"),
        (["--compare", "encoder=none"], "are of --dataset pictures"),
    ],
)
def test_arguments_that_do_not_fit(arguments, text, capsys):
    assert main(["evaluate", *arguments]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(("setting", "text"), [("encoder", "--compare takes NAME=VALUE"), ("x=1", "unknown setting")])
def test_a_comparison_of_no_setting(tmp_path, setting, text, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "annotations.json").write_text('[{"file": "a.png", "kind": "none", "hands": []}]', encoding="utf-8")
    assert main([*COMMAND, str(tmp_path), "--compare", setting]) == 1
    assert text in capsys.readouterr().err


def test_a_rendered_pair_through_the_whole_command(tmp_path, capsys):
    from hand_recon_ros.hand_model import load_hand_model
    from hand_recon_ros.synthetic.sample_stream import SampleStream

    sample = SampleStream("val", 0, load_hand_model()).frame(0, 320, 240)
    boxes = [np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]) for pixels in sample.keypoints_2d]
    hands = [
        {"side": side.label, "box": boxes[side].tolist(), "keypoints_2d": sample.keypoints_2d[side].tolist()}
        for side in Side
        if sample.present[side]
    ]
    cv2.imwrite(str(tmp_path / "hands.png"), sample.image)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((240, 320, 3), 128, np.uint8))
    entries = [
        {"file": "hands.png", "kind": "rendered", "hands": hands, "K": sample.camera.K.tolist()},
        {"file": "grey.png", "kind": "none", "hands": []},
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(entries), encoding="utf-8")
    assert main([*COMMAND, str(tmp_path)]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert results["none"]["slots"] == 0 and results["none"]["hands"] is None
    rendered = results["rendered"]
    assert rendered["both"] == rendered["hands"] == 1.0 and rendered["false"] == 0 and rendered["px"] < 0.1
