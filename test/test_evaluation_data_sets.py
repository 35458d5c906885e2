"""Published data sets evaluated by their protocols, on miniatures in their formats."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hand_recon_ros import Side, cli
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.interhand26m import InterHand26M
from hand_recon_ros.datasets.interhand26m_files import write_interhand26m
from hand_recon_ros.evaluation import predictions
from hand_recon_ros.evaluation.data_sets import (
    SPLITS,
    evaluate_data_set,
    evaluate_freihand_predictions,
    open_data_set,
)
from hand_recon_ros.evaluation.protocols.rest_pose import rest_hands
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic import SampleStream
from hand_recon_ros.synthetic.miniatures import write_miniature
from hand_recon_ros.types import HandState

MODEL = load_hand_model()
FRAMES = 8
FAST = {"encoder": "none", "body": "none", "detector": "none", "refiner": "none"}
CONFIG = ReconstructorConfig(**FAST)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("miniatures")
    for name in SPLITS:
        write_miniature(name, folder / name, FRAMES, 3)
    return {name: folder / name for name in SPLITS}


class Oracle:
    """In place of the reconstructor: the true hands, ``changed`` by a function of the number of the image, the side and
    the hand's joints and vertices; None is a hand that is not found."""

    def __init__(self, images: Any, changed: Callable[..., Any] = lambda number, side, *points: points) -> None:
        self._samples = [images[index] for index in range(len(images))]
        self._changed, self.hand_model, self.calls = changed, MODEL, 0

    def __call__(self, config: ReconstructorConfig) -> Oracle:
        return self

    def reconstruct_image(self, image: np.ndarray, camera: Any) -> Any:
        self.calls += 1
        number = next(n for n, sample in enumerate(self._samples) if np.array_equal(sample.image, image))
        sample = self._samples[number]
        hands = []
        for side in Side:
            hand = SimpleNamespace(state=HandState.LOST)
            if sample.present[side]:
                changed = self._changed(number, side, sample.joints[side], sample.vertices[side])
                if changed is not None:
                    hand = SimpleNamespace(state=HandState.TRACKED, joints=changed[0], vertices=changed[1])
            hands.append(hand)
        estimate = SimpleNamespace(hand=lambda side: hands[side])
        estimate.before_refinement = lambda: estimate
        return estimate


def install(monkeypatch: pytest.MonkeyPatch, images: Any, *changed: Callable[..., Any]) -> Oracle:
    oracle = Oracle(images, *changed)
    monkeypatch.setattr(predictions, "TwoHandReconstructor", oracle)
    return oracle


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("interhand26m", "interwild"),
        ("interhand26m", "internet"),
        ("interhand26m", "intaghand"),
        ("interhand26m", "wrist-rescaled-mesh"),
        ("freihand", ""),
        ("hic", ""),
    ],
)
def test_the_true_hands_have_no_error(roots, monkeypatch, name, protocol):
    data = open_data_set(name, roots[name], protocol=protocol)
    install(monkeypatch, data.images)
    report = evaluate_data_set(data, CONFIG)
    assert report["dataset"] == name and report["split"] == SPLITS[name][0] and not report["damaged"]
    figures = report["metrics"]["estimate"]
    assert figures["found"] == 1.0 and report["counts"]["hands"] == report["counts"]["hands_found"] > 0
    errors = {key: value for key, value in figures.items() if "_mm" in key and value is not None}
    assert {"mpjpe_mm", "mpvpe_mm"} <= {key.removeprefix("pa_") for key in errors}
    assert max(errors.values()) < 1e-3, errors
    assert (report["metrics"]["refined"] is None) == (name == "freihand")
    assert {row["dataset"] for row in report["published"]} == {name}


def test_missing_and_moved_hands_cost_what_they_should(roots, monkeypatch):
    data = open_data_set("interhand26m", roots["interhand26m"], protocol="internet")
    shift = np.array([0.0, 0.0, 0.03])
    rest = rest_hands(MODEL)

    def changed(number: int, side: Side, joints: np.ndarray, vertices: np.ndarray) -> Any:
        if number == 0:
            return None
        return joints + shift * side, vertices + shift * side

    install(monkeypatch, data.images, changed)
    report = evaluate_data_set(data, CONFIG)
    figures, counts = report["metrics"]["estimate"], report["counts"]
    lost = int(data.images[0].present.sum())
    assert counts["hands"] - counts["hands_found"] == lost
    assert figures["mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)  # relative to each wrist
    assert figures["mrrpe_mm"] == pytest.approx(30.0, abs=1e-3)
    # A hand that was not found is a flat one at the true wrist.
    first, costs = data.images[0], []
    for side in np.flatnonzero(first.present):
        known = np.isfinite(first.joints[side]).all(axis=-1)
        flat = rest.joints[0, side] - rest.joints[0, side, 0] + first.joints[side, 0]
        costs.append(np.linalg.norm(flat - first.joints[side], axis=-1)[known])
    share = lost / counts["hands"]
    assert figures["mpjpe_mm-p"] == pytest.approx(1e3 * np.mean(np.concatenate(costs)) * share, rel=0.25)


def test_a_run_goes_on_with_the_stored_parts(roots, monkeypatch, tmp_path):
    monkeypatch.setattr(predictions, "PART", 3)
    data = open_data_set("hic", roots["hic"])
    oracle = install(monkeypatch, data.images)
    whole = evaluate_data_set(data, CONFIG)
    oracle.calls = 0

    def stopped(number: int, side: Side, *points: np.ndarray) -> Any:
        if number == 4:
            raise RuntimeError("switched off")
        return points

    first = install(monkeypatch, data.images, stopped)
    with pytest.raises(RuntimeError, match="switched off"):
        evaluate_data_set(data, CONFIG, cache=tmp_path)
    assert first.calls == 5
    second = install(monkeypatch, data.images)
    report = evaluate_data_set(data, CONFIG, cache=tmp_path)
    assert second.calls == FRAMES - 3 and report == whole
    # Other settings are other predictions.
    third = install(monkeypatch, data.images)
    evaluate_data_set(data, ReconstructorConfig(**FAST, min_presence=0.6), cache=tmp_path)  # type: ignore[arg-type]
    assert third.calls == FRAMES
    assert len(list(tmp_path.iterdir())) == 2


def test_some_images_are_spaced_out(roots, monkeypatch):
    data = open_data_set("freihand", roots["freihand"])
    seen = []
    install(monkeypatch, data.images, lambda number, side, *points: seen.append(number) or points)
    report = evaluate_data_set(data, CONFIG, count=3)
    assert seen == [0, 4, 7] and report["n"] == 3  # 3.5 is rounded to even


def test_damaged_images_are_left_out_by_name_or_end_the_run(roots, monkeypatch, tmp_path):
    write_miniature("freihand", tmp_path, 3, 1)
    data = open_data_set("freihand", tmp_path)
    install(monkeypatch, data.images)
    picture = tmp_path / "evaluation" / "rgb" / "00000001.jpg"
    picture.write_bytes(picture.read_bytes()[:400])
    report = evaluate_data_set(data, CONFIG)
    assert report["n"] == 2 and len(report["damaged"]) == 1 and str(picture) in report["damaged"][0]
    with pytest.raises(AnnotationError, match=r"00000001\.jpg"):
        evaluate_data_set(data, CONFIG, skip_damaged=False)
    for path in picture.parent.iterdir():
        path.unlink()
    with pytest.raises(AnnotationError, match="no image can be read"):
        evaluate_data_set(data, CONFIG)
    (tmp_path / "evaluation_xyz.json").unlink()
    write_miniature("freihand", tmp_path / "other", 2, 1)
    for name in ("xyz", "verts", "mano"):
        (tmp_path / "other" / f"evaluation_{name}.json").unlink()
    monkeypatch.undo()
    with pytest.raises(AnnotationError, match="has no keypoints"):
        evaluate_data_set(open_data_set("freihand", tmp_path / "other"), CONFIG)


def test_the_official_file_of_predictions_has_the_same_scores(roots, monkeypatch, tmp_path):
    data = open_data_set("freihand", roots["freihand"])

    def changed(number: int, side: Side, joints: np.ndarray, vertices: np.ndarray) -> Any:
        return None if number == 2 else (joints * 1.05, vertices * 1.05)

    install(monkeypatch, data.images, changed)
    path = tmp_path / "pred.zip"
    report = evaluate_data_set(data, CONFIG, save_predictions=path)
    figures = evaluate_freihand_predictions(data, path)["metrics"]["estimate"]
    own = report["metrics"]["estimate"]
    assert own["found"] == 1 - 1 / FRAMES and figures["found"] == 1.0
    # Aligned, the flat hand that stands for the missing one is that of the "-p" figures.
    for name in ("pa_mpjpe_mm", "pa_mpvpe_mm", "pa_f_5", "pa_auc"):
        assert figures[name] == pytest.approx(own[f"{name}-p"], rel=1e-5), name
        assert own[name] != own[f"{name}-p"]


class OracleOfStreams(Oracle):
    """The same for streams; remembers the stamps of each."""

    def __init__(self, images: Any, changed: Callable[..., Any]) -> None:
        super().__init__(images, changed)
        self.stamps: list[list[float]] = []

    def reset(self) -> None:
        self.stamps.append([])

    def __call__(self, *arguments: Any) -> Any:
        if len(arguments) == 1:
            return self
        image, camera, stamp = arguments
        self.stamps[-1].append(stamp)
        return self.reconstruct_image(image, camera)


def test_sequences_are_streams_and_have_a_jitter(roots, monkeypatch, tmp_path):
    """Two sequences of a hand that moves evenly, of which one lacks an image; estimates go to and fro by 2 mm."""
    sample = next(s for s in SampleStream("test", 4, MODEL) if s.present.all())
    samples = []
    for number in range(13):
        step = np.array([0.001 * number, 0.0, 0.0])
        image = sample.image.copy()
        image[:8, :8] = 20 * number  # each image is another
        samples.append(
            dataclasses.replace(sample, image=image, joints=sample.joints + step, translation=sample.translation + step)
        )
    write_interhand26m(samples, tmp_path, MODEL, captures=1)
    data = open_data_set("interhand26m", tmp_path, protocol="wrist-metric-annotated")
    images = data.images
    assert isinstance(images, InterHand26M)
    assert images.sequences() == [tuple(range(13))]
    monkeypatch.setattr(images, "sequences", lambda: [(0, 1, 2, 3, 4, 6, 7, 8), (9, 10, 11, 12)])

    def changed(number: int, side: Side, *points: np.ndarray) -> Any:
        return tuple(each + [0.0, 0.001 * (-1) ** number, 0.0] for each in points)

    oracle = OracleOfStreams(images, changed)
    monkeypatch.setattr(predictions, "TwoHandReconstructor", oracle)
    report = evaluate_data_set(data, CONFIG, streams=True)
    first = images.entry(0).frame / 30.0
    expected = [first + np.array([0, 1, 2, 3, 4, 6, 7, 8]) / 5.0, first + np.array([9, 10, 11, 12]) / 5.0]
    for stamps, right in zip(oracle.stamps, expected, strict=True):
        np.testing.assert_allclose(stamps, right)
    assert report["rate_hz"] == 5.0 and report["streams"]
    figures = report["metrics"]["estimate"]
    # |a - 2 b + a| of +-1 mm is 4 mm; the gap counts nowhere: 3 + 1 + 2 accelerations.
    assert figures["acceleration_jitter_mm_per_frame2"] == pytest.approx(4.0, rel=1e-6)
    assert figures["true_acceleration_jitter_mm_per_frame2"] == pytest.approx(0.0, abs=1e-6)
    assert figures["jitter_share"] == 1.0
    with pytest.raises(ValueError, match="no sequences"):
        evaluate_data_set(open_data_set("hic", roots["hic"]), CONFIG, streams=True)


def test_several_processes_predict_the_same(roots, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "PART", 4)
    data = open_data_set("interhand26m", roots["interhand26m"], protocol="intaghand")
    one = evaluate_data_set(data, CONFIG)
    two = evaluate_data_set(data, CONFIG, cache=tmp_path, processes=2)
    assert one == two and one["counts"]["hands_found"] > 0


def test_meshes_of_another_hand_model_are_refused_where_the_protocol_needs_them(roots, tmp_path):
    path = roots["interhand26m"] / "annotations" / "test" / "InterHand2.6M_test_data.json"
    root = tmp_path / "set"
    (root / "annotations" / "test").mkdir(parents=True)
    for each in path.parent.iterdir():
        text = each.read_text().replace(MODEL.name, "mano")
        (root / "annotations" / "test" / each.name).write_text(text)
    for each in roots["interhand26m"].glob("*.txt"):
        (root / each.name).write_bytes(each.read_bytes())
    with pytest.raises(ValueError, match=r"intaghand takes keypoints from the data set's meshes.*hand_model=PATH"):
        open_data_set("interhand26m", root, protocol="intaghand")
    assert open_data_set("interhand26m", root).images.hand_model is None
    with pytest.raises(ValueError, match="freihand has one protocol"):
        open_data_set("freihand", roots["freihand"], protocol="interwild")


@pytest.mark.parametrize("name", SPLITS)
def test_a_miniature_is_made_and_evaluated_by_command(name, tmp_path, capsys):
    root = str(tmp_path / "set")
    settings = [text for key, value in FAST.items() for text in ("--set", f"{key}={value}")]
    assert cli.main(["synth", "--format", name, "--out", root, "--frames", "4", "--seed", "8"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "--dataset", name, "--root", root, "--json", *settings]) == 0
    out, text = capsys.readouterr()
    report = json.loads(out)
    assert report["dataset"] == name and set(report["metrics"]) == {"estimate", "refined", "ground_truth"}
    assert report["config"]["encoder"] == "none"
    last = text.rstrip().splitlines()[-len(report["published"]) - 2 :]
    assert last[0].startswith("method") and last[1].startswith("measured")
    assert [line.split("  ")[0] for line in last[2:]] == [row["method"] for row in report["published"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "freihand"], "needs --root DIR"),
        (["--dataset", "freihand", "--root", "nowhere"], "is not the folder of"),
        (
            ["--dataset", "interhand26m", "--root", "nowhere"],
            r"expected nowhere/annotations/test/InterHand",
        ),
        (["--dataset", "hic", "--root", "nowhere", "--split", "train"], "hic has the splits test, not train"),
        (["--dataset", "hic", "--root", "nowhere", "--predictions", "a.zip"], "are of --dataset freihand"),
        (["--dataset", "hic", "--root", "nowhere", "--depth"], "are of --dataset synthetic"),
        (["--dataset", "hic", "--root", "nowhere", "--processes", "0"], "must be at least 1"),
        (["--dataset", "hic", "--root", "nowhere", "--report", "out"], "not of the published data sets"),
        (["--dataset", "hic", "--root", "nowhere", "--streams"], "--streams is of --dataset interhand26m"),
        (["--protocol", "interwild"], "are of --dataset interhand26m"),
        (["--split", "training"], "--split of synthetic is one of"),
        (["--root", "here"], "--root of the published data sets"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message, capsys):
    assert cli.main(["evaluate", *options]) != 0
    assert re.search(message, capsys.readouterr().err)
