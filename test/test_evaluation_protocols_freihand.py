"""FreiHAND's scores against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.evaluation.protocols import freihand
from hand_recon_ros.evaluation.protocols.published import PUBLISHED, beside, published
from hand_recon_ros.evaluation.protocols.rest_pose import rest_hands
from hand_recon_ros.hand_model import load_hand_model

REST = rest_hands(load_hand_model())
TURNS = Rotation.random(6, random_state=0).as_matrix()
JOINTS, VERTICES = (
    points[0, Side.RIGHT] @ np.swapaxes(TURNS, 1, 2) + [0.05, -0.02, 0.7] for points in (REST.joints, REST.vertices)
)


def scores(joints: np.ndarray, vertices: np.ndarray | None) -> dict:
    return freihand.measure(joints, vertices, JOINTS, VERTICES, REST)


def test_a_prediction_of_zeros_costs_the_distance_from_the_camera_and_the_size_of_the_hand():
    # The official values of the real set are 70.79 and 4.73 cm for keypoints, 70.84 and 5.07 cm for meshes, and
    # 0.001 and 0.031 for the aligned F-scores: the same two distances of its hands.
    result = freihand.report(scores(np.zeros_like(JOINTS), np.zeros_like(VERTICES)))
    figures = result["metrics"]
    for points, name in ((JOINTS, "mpjpe_mm"), (VERTICES, "mpvpe_mm")):
        far = 1e3 * np.linalg.norm(points, axis=-1).mean()
        spread = 1e3 * np.linalg.norm(points - points.mean(axis=1, keepdims=True), axis=-1).mean()
        assert figures[f"raw_{name}"] == pytest.approx(far) and 600.0 < far < 800.0
        assert figures[f"pa_{name}"] == pytest.approx(spread) and 30.0 < spread < 80.0
    assert figures["raw_auc"] == figures["raw_f_5"] == figures["raw_f_15"] == 0.0
    # All points are the centre of the hand: their nearest vertex decides the precision, vertices near it the recall.
    centre = np.linalg.norm(VERTICES - VERTICES.mean(axis=1, keepdims=True), axis=-1)
    recall, precision = (centre < 0.015).mean(axis=1), (centre.min(axis=1) < 0.015).astype(float)
    assert (recall > 0.0).all() and (precision == 1.0).all()
    assert figures["pa_f_15"] == pytest.approx((2 * recall * precision / (recall + precision)).mean())
    assert result["counts"] == {"images": 6, "hands": 6, "hands_found": 6}


def test_raw_errors_are_of_the_position_and_aligned_ones_are_not():
    joints, vertices = JOINTS + [0.006, 0.0, 0.008], VERTICES + [0.006, 0.0, 0.008]  # 10 mm
    figures = freihand.report(scores(joints, vertices))["metrics"]
    assert figures["raw_mpjpe_mm"] == pytest.approx(10.0) and figures["raw_mpvpe_mm"] == pytest.approx(10.0)
    assert figures["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-4)
    assert figures["pa_auc"] == pytest.approx(1.0, abs=0.006) and figures["pa_f_5"] == 1.0
    official = freihand.official_scores(figures)
    assert official["xyz_mean3d"] == pytest.approx(1.0) and official["mesh_mean3d"] == pytest.approx(1.0)
    assert official["xyz_auc3d"] == figures["raw_auc"] and official["f_al_score_15"] == 1.0 and len(official) == 12


def test_the_alignment_may_mirror_and_treats_keypoints_and_vertices_by_themselves():
    mirror = np.array([-1.0, 1.0, 1.0])
    figures = freihand.report(scores(1.3 * JOINTS * mirror, 0.8 * VERTICES + 0.1))["metrics"]
    assert figures["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-4)
    assert figures["pa_mpvpe_mm"] == pytest.approx(0.0, abs=1e-4)


def test_the_alignment_is_scipys_with_the_constant_of_the_official_code():
    rng = np.random.default_rng(1)
    # Also of points so close together that the constant counts: their norm is about 1e-7 m.
    for scale in (1.0, 1e-6):
        points = scale * rng.normal(0.0, 0.05, (21, 3))
        target = JOINTS[0]
        a, b = target - target.mean(axis=0), points - points.mean(axis=0)
        norms = np.linalg.norm(a) + 1e-8, np.linalg.norm(b) + 1e-8
        rotation, trace = orthogonal_procrustes(a / norms[0], b / norms[1])
        expected = b / norms[1] @ rotation.T * trace * norms[0] + target.mean(axis=0)
        np.testing.assert_allclose(freihand.aligned(points[None], target[None])[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("distance", "area"),
    [
        (0.0, 1.0),
        (0.05 / 99, 98.5 / 99),  # at the second threshold itself, which counts: "less or equal"
        (0.0501 / 99, 97.5 / 99),
        (0.05, 0.5 / 99),
        (0.051, 0.0),
    ],
)
def test_area_under_the_curve_of_one_distance(distance, area):
    thresholds = np.linspace(0.0, 0.05, 100)
    curve = (distance <= thresholds).astype(float)
    assert (curve[1:] + curve[:-1]).mean() / 2 == pytest.approx(area)
    assert freihand.area_under_curve(np.array([[distance]]))[0] == pytest.approx(area)
    assert freihand.area_under_curve(np.array([[distance, 1.0]]))[0] == pytest.approx(area / 2)


def test_f_score_of_nearest_neighbours():
    target = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.3, 0.0, 0.0]])
    points = np.array([[0.004, 0.0, 0.0], [0.104, 0.0, 0.0], [0.12, 0.0, 0.0]])
    # Within 5 mm: two of three points, and two of four targets.
    assert freihand.f_score(points, target, 0.005) == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert freihand.f_score(points, target, 0.021) == pytest.approx(2 * 1.0 * 0.5 / 1.5)
    assert freihand.f_score(points + 1.0, target, 0.005) == 0.0
    # Not nearer than the threshold: at it.
    assert freihand.f_score(np.array([[0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.0]]), 0.5) == 0.0


def test_a_hand_that_was_not_found_costs_a_hand_at_rest_at_the_true_wrist():
    joints, vertices = JOINTS.copy(), VERTICES.copy()
    joints[2] = vertices[2] = np.nan
    figures = freihand.report(scores(joints, vertices))["metrics"]
    assert figures["found"] == pytest.approx(5 / 6)
    assert figures["raw_mpjpe_mm"] == pytest.approx(0.0, abs=1e-9)
    at_rest = REST.joints[0, Side.RIGHT] + JOINTS[2, 0]
    expected = 1e3 * np.linalg.norm(at_rest - JOINTS[2], axis=-1).mean() / 6
    assert figures["raw_mpjpe_mm-p"] == pytest.approx(expected) and expected > 1.0
    assert figures["pa_mpjpe_mm-p"] == pytest.approx(0.0, abs=1e-4)  # the true hands are at rest as well


def test_hands_that_were_all_found_need_no_hand_at_rest():
    joints, vertices = JOINTS + 0.01, VERTICES + 0.01
    with_rest, without = scores(joints, vertices), freihand.measure(joints, vertices, JOINTS, VERTICES)
    assert with_rest.keys() == without.keys()
    for name, values in with_rest.items():
        np.testing.assert_array_equal(without[name], values, err_msg=name)
    joints[0] = np.nan
    with pytest.raises(ValueError, match="need a hand at rest"):
        freihand.measure(joints, vertices, JOINTS, VERTICES)


def test_without_meshes_there_are_scores_of_keypoints_only():
    result = freihand.report(freihand.concatenated([scores(JOINTS, None), scores(JOINTS, None)]))
    assert result["n"] == 12 and not [name for name in result["metrics"] if "mpvpe" in name or "f_5" in name]
    assert set(freihand.official_scores(result["metrics"])) == {
        "xyz_mean3d", "xyz_auc3d", "xyz_al_mean3d", "xyz_al_auc3d",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"vertices must be \(N, P, 3\)"):
        scores(JOINTS, VERTICES[:, :10])


def test_published_rows_have_the_names_of_the_reports():
    names = set(freihand.report(scores(JOINTS, VERTICES))["metrics"])
    two_hands = {"mpjpe_mm", "mpvpe_mm", "mrrpe_mm"}
    for row in PUBLISHED:
        assert set(row.figures) <= (names if row.dataset == "freihand" else two_hands), row.method
    assert {row.method for row in published("freihand")} == {"HaMeR", "WiLoR", "MobRecon"}
    assert published("freihand")[0].figures == {
        "pa_mpjpe_mm": 6.0, "pa_mpvpe_mm": 5.7, "pa_f_5": 0.785, "pa_f_15": 0.990,
    }  # fmt: skip
    by_intaghand = [row.method for row in published("interhand26m", "intaghand")]
    assert "IntagHand, its code" in by_intaghand and "DIR, its code" not in by_intaghand and "A2P" in by_intaghand


def test_measured_figures_stand_above_the_published_ones():
    report = {
        "metrics": {"found": 0.875, "pa_mpjpe_mm": 7.125, "raw_auc": 0.5, "pa_f_5": None, "pa_mpjpe_mm-p": 9.25},
        "ci95": {"pa_mpjpe_mm": [7.0, 7.25], "pa_f_5": None, "pa_mpjpe_mm-p": [9.0, 9.5]},
    }
    head, measured, charged, *others = beside("freihand", "freihand", report)
    assert head == ("method", "pa_mpjpe_mm", "pa_f_5", "protocol", "source")
    assert measured == ("measured", "7.125 [7.000, 7.250]", "", "freihand", "87.5% of the hands")
    assert charged == ("measured -p", "9.250 [9.000, 9.500]", "", "freihand", "all hands")
    assert ("WiLoR", "5.5", "0.825", "freihand", "arXiv:2409.12259") in others
    assert ("MobRecon", "6.9", "", "freihand", "arXiv:2112.02753") in others
    rows = beside("interhand26m", "interwild", {"metrics": {"mrrpe_mm": 30.0}, "ci95": {}})
    assert rows[1] == ("measured", "30.000", "interwild", "")
    assert ("ACR", "", "not stated", "arXiv:2303.05938") in rows and "DIR, its code" not in [row[0] for row in rows]
