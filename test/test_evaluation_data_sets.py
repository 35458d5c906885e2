"""Published data sets evaluated by their protocols, on miniatures in their formats."""

from __future__ import annotations

import json
import re
import shutil
from itertools import islice
from typing import Any

import numpy as np
import pytest
from data_set_support import CONFIG, FAST, FRAMES, MODEL, install
from hand_checkpoints import write_mano

from hand_recon_ros import Side, cli
from hand_recon_ros.config import ConfigError, ReconstructorConfig
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.freihand_files import read_freihand_predictions, write_freihand, write_freihand_predictions
from hand_recon_ros.datasets.hic_files import write_hic
from hand_recon_ros.datasets.interhand26m_files import write_interhand26m
from hand_recon_ros.evaluation.data_sets import (
    SPLITS,
    evaluate_data_set,
    evaluate_freihand_predictions,
    open_data_set,
)
from hand_recon_ros.evaluation.protocols.rest_pose import rest_hands
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.miniatures import freihand_samples, hic_samples, write_miniature


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
def test_the_true_hands_have_no_error(miniatures, monkeypatch, name, protocol):
    data = open_data_set(name, miniatures[name], protocol=protocol)
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


@pytest.mark.parametrize("name", SPLITS)
def test_published_sets_are_measured_with_mano(monkeypatch, tmp_path, name):
    """The path of MANO's file as the setting, and data without the marker of a miniature."""
    path, root = write_mano(tmp_path), tmp_path / "set"
    mano, changes = load_hand_model(path), {**FAST, "hand_model": str(path)}
    if name == "interhand26m":
        write_interhand26m(islice(hic_samples("test", 4, MODEL), 2), root, mano)
    elif name == "freihand":
        right = list(islice(freihand_samples("test", 4, MODEL), 2))
        write_freihand(root, right[:1], right, mano)
    else:
        write_hic(root, islice(hic_samples("test", 4, MODEL), 2), mano)
    (root / "hand_model.json").unlink()
    data = open_data_set(name, root, hand_model=str(path))
    assert data.images.hand_model is not None and data.images[0].vertices.shape == (2, 778, 3)
    install(monkeypatch, data.images).hand_model = mano
    report = evaluate_data_set(data, ReconstructorConfig(**changes))
    figures = report["metrics"]["estimate"]
    assert figures["found"] == 1.0 and not report["miniature"]
    for figure in ("pa_mpjpe_mm", "pa_mpvpe_mm") if name == "freihand" else ("mpjpe_mm", "mpvpe_mm"):
        assert figures[figure] < 1e-3
    if name == "freihand":  # a file of predictions has its own meshes: MANO is not needed to measure them
        evaluate_data_set(data, ReconstructorConfig(**changes), save_predictions=tmp_path / "pred.zip")
        again = evaluate_freihand_predictions(open_data_set(name, root), tmp_path / "pred.zip")["metrics"]["estimate"]
        assert again == pytest.approx(figures, abs=1e-3)


def test_missing_and_moved_hands_cost_what_they_should(miniatures, monkeypatch):
    data = open_data_set("interhand26m", miniatures["interhand26m"], protocol="internet")
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


def test_images_without_any_mesh_do_not_count(miniatures, monkeypatch, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(miniatures["hic"], root)
    content = json.loads((root / "HIC.json").read_text())
    for each in content["annotations"]:
        each |= {"left_mano_path": None, "right_mano_path": None}
    (root / "HIC.json").write_text(json.dumps(content))
    install(monkeypatch, open_data_set("hic", miniatures["hic"]).images)
    report = evaluate_data_set(open_data_set("hic", root), CONFIG, count=2)
    assert report["n"] == 2 and report["counts"]["hands"] == report["counts"]["pairs"] == 0
    assert report["metrics"]["estimate"]["mpvpe_mm"] is None and report["metrics"]["estimate"]["mpvpe_mm-p"] is None


def test_some_images_are_spaced_out(miniatures, monkeypatch):
    data = open_data_set("freihand", miniatures["freihand"])
    seen = []
    install(monkeypatch, data.images, lambda number, side, *points: seen.append(number) or points)
    report = evaluate_data_set(data, CONFIG, count=3)
    assert seen == [0, 4, 7] and report["n"] == 3  # 3.5 is rounded to even


def test_damaged_images_are_left_out_by_name_or_end_the_run(miniatures, monkeypatch, tmp_path):
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
    with pytest.raises(AnnotationError, match="has no keypoints: expected .*/evaluation_xyz.json"):
        evaluate_data_set(open_data_set("freihand", tmp_path / "other"), CONFIG)


def test_the_official_file_of_predictions_has_the_same_scores(miniatures, monkeypatch, tmp_path):
    data = open_data_set("freihand", miniatures["freihand"])

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


def test_the_official_file_of_predictions_has_all_images_in_order(miniatures, monkeypatch, tmp_path):
    root, path = tmp_path / "set", tmp_path / "pred.zip"
    shutil.copytree(miniatures["freihand"], root)
    data = open_data_set("freihand", root)
    true = [data.images[index].joints[Side.RIGHT] for index in range(FRAMES)]
    install(monkeypatch, data.images)
    (root / "evaluation" / "rgb" / "00000003.jpg").write_bytes(b"damaged")
    evaluate_data_set(data, CONFIG, save_predictions=path)
    joints, vertices = read_freihand_predictions(path)
    assert joints.shape == (FRAMES, 21, 3) and vertices.shape == (FRAMES, MODEL.num_vertices, 3)
    np.testing.assert_allclose(joints[3, 0], [0.0, 0.0, 0.6], atol=1e-9)
    for index in set(range(FRAMES)) - {3}:
        np.testing.assert_allclose(joints[index], true[index], atol=1e-9)
    with pytest.raises(ValueError, match="leave out the number of frames"):
        evaluate_data_set(data, CONFIG, count=3, save_predictions=path)
    write_freihand_predictions(path, joints[1:], vertices[1:])
    with pytest.raises(AnnotationError, match="predictions of 7 images, the data set has 8"):
        evaluate_freihand_predictions(data, path)
    (root / "hand_model.json").unlink()
    with pytest.raises(ConfigError, match="needs meshes of the hand model mano, not of webxr_generic"):
        evaluate_data_set(open_data_set("freihand", root), CONFIG, save_predictions=path)


def test_meshes_of_another_hand_model_are_refused_where_the_protocol_needs_them(miniatures, tmp_path):
    path = miniatures["interhand26m"] / "annotations" / "test" / "InterHand2.6M_test_data.json"
    root = tmp_path / "set"
    (root / "annotations" / "test").mkdir(parents=True)
    for each in path.parent.iterdir():  # without the hand_model.json of the miniature
        (root / "annotations" / "test" / each.name).write_bytes(each.read_bytes())
    for each in miniatures["interhand26m"].glob("*.txt"):
        (root / each.name).write_bytes(each.read_bytes())
    with pytest.raises(ValueError, match=r"intaghand takes keypoints from the data set's meshes.*hand_model=PATH"):
        open_data_set("interhand26m", root, protocol="intaghand")
    assert open_data_set("interhand26m", root).images.hand_model is None
    with pytest.raises(ValueError, match="freihand has one protocol"):
        open_data_set("freihand", miniatures["freihand"], protocol="interwild")


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
    assert report["miniature"] and not report["damaged"]
    *table, note = text.rstrip().splitlines()[-len(report["published"]) - 4 :]
    assert note == "measured on a rendered miniature: the published figures are of the real images"
    methods = ["method", "measured", "measured -p", *(row["method"] for row in report["published"])]
    assert [line.split("  ")[0] for line in table] == methods


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
        (
            ["--dataset", "freihand", "--root", "nowhere", "--save-predictions", "a.zip", "--frames", "3"],
            "of all images",
        ),
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
