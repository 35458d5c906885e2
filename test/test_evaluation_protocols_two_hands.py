"""The protocols for two hands against values computed by hand: roots, scale, masks, types, hands not found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.evaluation.intervals import columns_interval, interval
from hand_recon_ros.evaluation.protocols.hic import HIC
from hand_recon_ros.evaluation.protocols.interhand26m import NAMES, PROTOCOLS, VARIANTS, interhand26m
from hand_recon_ros.evaluation.protocols.protocol import HandPairs, TrueHandPairs, joint_regressors, regressed
from hand_recon_ros.evaluation.protocols.rest_pose import rest_hands
from hand_recon_ros.evaluation.protocols.samples import predicted_pairs
from hand_recon_ros.evaluation.protocols.sequences import jitter
from hand_recon_ros.evaluation.protocols.two_hands import PairErrors, measure, report
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.skeleton import MIDDLE_MCP, TIPS, WRIST

MODEL = load_hand_model()
REST = rest_hands(MODEL)
REGRESSORS = joint_regressors(MODEL, ())
LEFT, RIGHT = Side.LEFT, Side.RIGHT
SHIFT = np.array([0.003, 0.0, 0.004])  # 5 mm


def pairs(types: list[str]) -> TrueHandPairs:
    """Hands at rest half a metre away, the left one 0.2 m beside the right one; absent where the type says so."""
    place = np.array([[-0.1, 0.0, 0.5], [0.1, 0.0, 0.5]])[None, :, None]
    joints, vertices = (np.tile(each + place, (len(types), 1, 1, 1)) for each in (REST.joints, REST.vertices))
    for number, name in enumerate(types):
        if name in ("left", "right"):
            other = LEFT if name == "right" else RIGHT
            joints[number, other] = vertices[number, other] = np.nan
    return TrueHandPairs(joints, vertices, np.array(types))


def moved(truth: TrueHandPairs, shift: np.ndarray, *index) -> HandPairs:
    """A prediction that differs from the truth in the keypoints at an index, and is the same mesh."""
    joints = truth.joints.copy()
    joints[index] += shift
    return HandPairs(joints, truth.vertices)


def figures(name: str, predicted: HandPairs, truth: TrueHandPairs) -> dict:
    protocol = interhand26m(name)
    return report(protocol, measure(protocol, predicted, truth, REST, REGRESSORS))


def test_the_regressed_keypoints_of_a_hand_at_rest_are_its_own():
    np.testing.assert_allclose(regressed(REST.vertices, REGRESSORS), REST.joints, atol=1e-6)
    np.testing.assert_allclose(REST.joints[:, :, WRIST], 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="10 vertices, but joint regressors for 1160"):
        regressed(np.zeros((1, 2, 10, 3)), REGRESSORS)


def test_fingertips_of_a_protocol_are_manos_vertices():
    class Arrays:
        regressor = np.eye(16, 778)

    class Mano:
        num_vertices = 778

        def arrays(self, side):
            return Arrays

    for name, tips in {"interwild": [745, 317, 445, 556, 673], "intaghand": [745, 317, 444, 556, 673]}.items():
        rows = joint_regressors(Mano(), interhand26m(name).tips)
        assert rows.shape == (2, 21, 778)
        assert rows[:, TIPS].argmax(axis=-1).tolist() == [tips, tips]
        # MANO's own order is index, middle, little, ring, thumb: the ring finger's first joint is its tenth.
        assert rows[RIGHT, [0, 1, 5, 9, 13, 17]].argmax(axis=-1).tolist() == [0, 13, 1, 4, 10, 7]


def test_the_roots_error_of_zero_is_averaged_in():
    truth = pairs(["interacting"])
    predicted = moved(truth, SHIFT, slice(None), RIGHT, slice(1, None))  # 20 keypoints of one hand
    result = figures("internet", predicted, truth)
    assert result["metrics"]["mpjpe_mm"] == pytest.approx(5.0 * 20 / 42)
    without = dataclasses.replace(interhand26m("internet"), root_counts=False)
    result = report(without, measure(without, predicted, truth, REST, REGRESSORS))
    assert result["metrics"]["mpjpe_mm"] == pytest.approx(2.5)
    assert "root does not count" in result["protocol"]


def test_the_middle_mcp_as_root():
    truth = pairs(["interacting"])
    predicted = moved(truth, SHIFT, slice(None), RIGHT, MIDDLE_MCP)  # moves all others of the hand, relative to it
    assert figures("wrist-metric-annotated", predicted, truth)["metrics"]["mpjpe_mm"] == pytest.approx(5.0 / 42)
    assert figures("mcp-metric-annotated", predicted, truth)["metrics"]["mpjpe_mm"] == pytest.approx(5.0 * 20 / 42)
    assert figures("mcp-metric-annotated", predicted, truth)["metrics"]["mrrpe_mm"] == pytest.approx(5.0)
    assert figures("wrist-metric-annotated", predicted, truth)["metrics"]["mrrpe_mm"] == pytest.approx(0.0)


def test_rescaled_protocols_do_not_see_the_size_of_the_hand():
    truth = pairs(["interacting"])
    predicted = HandPairs(1.1 * truth.joints, 1.1 * truth.vertices)
    for name in ("intaghand", "dir-wrist", "wrist-rescaled-annotated", "mcp-rescaled-annotated"):
        result = figures(name, predicted, truth)["metrics"]
        assert result["mpjpe_mm"] == pytest.approx(0.0, abs=1e-4) and result["mpvpe_mm"] == pytest.approx(0.0, abs=1e-4)
        # Roots are at +-(0.1 + x) on the x axis, and MRRPE is not rescaled.
        between = truth.joints[0, LEFT, interhand26m(name).root] - truth.joints[0, RIGHT, interhand26m(name).root]
        assert result["mrrpe_mm"] == pytest.approx(100.0 * np.linalg.norm(between), rel=1e-5)
    expected = 100.0 * np.linalg.norm(REST.joints[0], axis=-1).mean()
    assert figures("internet", predicted, truth)["metrics"]["mpjpe_mm"] == pytest.approx(expected)
    flat = HandPairs(np.zeros_like(truth.joints), np.zeros_like(truth.vertices))
    with pytest.raises(ValueError, match="cannot be rescaled"):
        figures("intaghand", flat, truth)


def test_types_of_images_are_averaged_as_internet_and_as_interwild_do():
    truth = pairs(["right", "right", "interacting"])
    joints = truth.joints.copy()
    joints[:2, RIGHT, 1:] += SHIFT
    joints[2, RIGHT, 1:] += 4 * SHIFT
    predicted = HandPairs(joints, truth.vertices)
    pooled, of_types = (figures(name, predicted, truth)["metrics"] for name in ("internet", "interwild"))
    right, both = 5.0 * 20 / 21, 20.0 * 20 / 42
    for result in (pooled, of_types):
        assert result["mpjpe_single_mm"] == pytest.approx(right)
        assert result["mpjpe_interacting_mm"] == pytest.approx(both)
    # InterNet: of each keypoint over all images, (5 + 5 + 20) / 3 on the right hand and 0 on the left.
    assert pooled["mpjpe_mm"] == pytest.approx(10.0 * 20 / 42)
    # InterWild: the 21 keypoints of single hands and the 42 of interacting ones, of equal weight.
    assert of_types["mpjpe_mm"] == pytest.approx((21 * right + 42 * both) / 63)


def test_vertex_errors_of_each_type():
    truth = pairs(["right", "left", "interacting"])
    vertices = truth.vertices.copy()
    vertices[0, RIGHT, 0] += SHIFT * MODEL.num_vertices  # a mean of 5 mm, if the vertex moves no wrist
    assert REGRESSORS[RIGHT, WRIST, 0] == 0.0
    result = figures("internet", HandPairs(truth.joints, vertices), truth)
    assert result["metrics"]["mpvpe_mm"] == pytest.approx(5.0 / 4)
    assert result["metrics"]["mpvpe_single_mm"] == pytest.approx(5.0 / 2)
    assert result["metrics"]["mpvpe_interacting_mm"] == pytest.approx(0.0, abs=1e-9)
    assert result["counts"] == {
        "images": 3, "interacting": 1, "hands": 4, "hands_found": 4, "pairs": 1, "pairs_found": 1,
    }  # fmt: skip
    low, high = result["ci95"]["mpvpe_mm"]
    assert low <= 5.0 / 4 <= high


def test_keypoints_that_are_not_valid_do_not_count():
    truth = pairs(["interacting", "interacting"])
    valid = np.ones((2, 2, 21), dtype=bool)
    valid[0, RIGHT, 4] = False
    valid[1, LEFT, WRIST] = False  # without its root none of the hand's keypoints counts
    truth = dataclasses.replace(truth, joint_valid=valid)
    joints = truth.joints.copy()
    joints[0, RIGHT, 4] += 100.0 * SHIFT
    joints[1, LEFT] += 100.0 * SHIFT
    result = figures("internet", HandPairs(joints, truth.vertices), truth)
    assert result["metrics"]["mpjpe_mm"] == pytest.approx(0.0, abs=1e-9)
    assert result["counts"]["hands"] == 3 and result["counts"]["pairs"] == 1
    assert result["metrics"]["mrrpe_mm"] == pytest.approx(0.0)


def test_which_images_count():
    truth = pairs(["right", "interacting", "interacting", "interacting"])
    truth.vertices[2, LEFT] = np.nan  # no mesh
    truth = dataclasses.replace(truth, type_valid=np.array([True, True, True, False]))
    predicted = HandPairs(truth.joints, np.nan_to_num(truth.vertices))
    assert figures("intaghand", predicted, truth)["n"] == 1
    result = figures("interwild", HandPairs(truth.joints), truth)
    assert result["n"] == 4 and result["counts"]["interacting"] == 3
    assert result["metrics"]["mpvpe_mm"] is None and result["ci95"]["mpvpe_mm"] is None


def test_mrrpe_of_images_that_are_not_interacting():
    both = pairs(["interacting", "interacting"])
    truth = dataclasses.replace(both, types=np.array(["interacting", "right"]))
    predicted = moved(truth, SHIFT, 1, LEFT)
    assert figures("internet", predicted, truth)["metrics"]["mrrpe_mm"] == pytest.approx(0.0)
    assert figures("interwild", predicted, truth)["metrics"]["mrrpe_mm"] == pytest.approx(2.5)


def test_a_hand_that_was_not_found_costs_a_hand_at_rest_in_the_figures_that_say_so():
    truth = pairs(["interacting", "right"])
    joints, vertices = truth.joints.copy(), truth.vertices.copy()
    joints[0, RIGHT] = vertices[0, RIGHT] = np.nan
    # The truth is the hand at rest, but the right hands have bent a finger.
    truth.joints[:, RIGHT, 8] += 21 * SHIFT
    joints[1, RIGHT] = truth.joints[1, RIGHT]
    result = figures("internet", HandPairs(joints, vertices), truth)
    found = result["metrics"]
    assert found["mpjpe_mm"] == pytest.approx(0.0, abs=1e-9)
    assert found["mpjpe_interacting_mm-p"] == pytest.approx(2.5)  # 105 mm on one of 42 keypoints
    assert found["mpjpe_mm-p"] == pytest.approx(105.0 / 2 / 42)
    assert found["mpvpe_mm-p"] == pytest.approx(0.0, abs=1e-4)
    assert found["found"] == pytest.approx(2 / 3) and found["found_interacting"] == 0.5
    assert found["pairs_found"] == 0.0 and found["mrrpe_mm"] is None
    assert result["counts"]["hands_found"] == 2
    nothing = HandPairs(np.full_like(joints, np.nan))
    empty = figures("internet", nothing, truth)["metrics"]
    assert empty["mpjpe_mm"] is None and empty["found"] == 0.0 and empty["mpjpe_interacting_mm-p"] == pytest.approx(2.5)


def test_hic_takes_wrists_and_keypoints_from_meshes():
    truth = pairs(["right", "interacting"])
    truth = dataclasses.replace(truth, joints=np.full_like(truth.joints, np.nan))
    vertices = np.nan_to_num(truth.vertices.copy())
    vertices[1, LEFT] += 2 * SHIFT
    result = report(HIC, measure(HIC, HandPairs(np.zeros_like(truth.joints), vertices), truth, REST, REGRESSORS))
    assert result["metrics"]["mrrpe_mm"] == pytest.approx(10.0, rel=1e-4)
    for name in ("mpvpe_mm", "mpvpe_single_mm", "mpvpe_interacting_mm", "mpjpe_mm"):
        assert result["metrics"][name] == pytest.approx(0.0, abs=1e-4)
    assert result["counts"]["hands"] == 3 and result["counts"]["pairs"] == 1


def test_parts_put_together_are_the_whole():
    rng = np.random.default_rng(0)
    truth = pairs(["right", "interacting", "left", "interacting"])
    predicted = HandPairs(*(each + rng.normal(0.0, 0.005, each.shape) for each in (truth.joints, truth.vertices)))
    protocol = interhand26m("interwild")
    whole = measure(protocol, predicted, truth, REST, REGRESSORS)
    parts = [
        measure(
            protocol,
            HandPairs(predicted.joints[part], predicted.vertices[part]),
            TrueHandPairs(truth.joints[part], truth.vertices[part], truth.types[part]),
            REST,
            REGRESSORS,
        )
        for part in (slice(0, 1), slice(1, 4))
    ]
    assert report(protocol, PairErrors.concatenated(parts)) == report(protocol, whole)


def test_what_does_not_fit_is_refused():
    truth = pairs(["interacting"])
    with pytest.raises(ValueError, match="10 vertices and the true ones 1160"):
        figures("internet", HandPairs(truth.joints, np.zeros((1, 2, 10, 3))), truth)
    with pytest.raises(ValueError, match="own_keypoints"):
        figures("intaghand", HandPairs(truth.joints), truth)
    with pytest.raises(ValueError, match="regressors"):
        measure(interhand26m("intaghand"), truth, truth, REST)
    with pytest.raises(ValueError, match="2 images are predicted, but 1"):
        figures("internet", HandPairs(np.zeros((2, 2, 21, 3))), truth)
    with pytest.raises(ValueError, match="got none"):
        TrueHandPairs(truth.joints, types=np.array(["none"]))
    with pytest.raises(ValueError, match="joint_valid must have shape"):
        TrueHandPairs(truth.joints, types=truth.types, joint_valid=np.ones((1, 42)))
    with pytest.raises(ValueError, match="expected one of internet"):
        interhand26m("nobody")


def test_own_keypoints_are_named_where_the_protocol_regresses_them():
    truth = pairs(["interacting"])
    protocol = dataclasses.replace(interhand26m("intaghand"), own_keypoints=True)
    result = report(protocol, measure(protocol, HandPairs(truth.joints), truth, REST, REGRESSORS))
    assert result["metrics"]["mpjpe_mm"] == pytest.approx(0.0, abs=1e-4)
    assert "predicted ones as estimated" in result["protocol"]


def test_names_of_protocols():
    assert len(VARIANTS) == 8 and len({(v.root, v.rescale, v.from_mesh) for v in VARIANTS}) == 8
    titles = {name: interhand26m(name).title for name in NAMES}
    assert all(title.startswith(f"{name}: ") for name, title in titles.items())
    assert titles["internet/interwild"].split(": ")[1] == titles["interwild"].split(": ")[1]
    assert interhand26m("dir").root == interhand26m("intaghand/dir").root == MIDDLE_MCP
    assert PROTOCOLS["dir-wrist"].root == WRIST and PROTOCOLS["dir-wrist"].rescale


def test_intervals_of_keypoints():
    rng = np.random.default_rng(0)
    table = rng.normal(5.0, 1.0, (200, 4))
    assert columns_interval(table) == pytest.approx(interval(table.mean(axis=1)))
    table[:, 1] = np.nan  # a keypoint that is never valid
    assert columns_interval(table) == pytest.approx(interval(table[:, [0, 2, 3]].mean(axis=1)))
    table[100:, 0] = np.nan
    low, high = columns_interval(table)
    assert low < np.mean([np.nanmean(table[:, k]) for k in (0, 2, 3)]) < high


def test_acceleration_jitter_in_millimetres_per_frame():
    times = np.arange(12.0)
    joints = np.zeros((12, 2, 21, 3))
    joints[..., 0] = 0.001 * times[:, None, None] ** 2  # an acceleration of 2 mm/frame^2
    shaking = joints.copy()
    shaking[1::2, LEFT, :, 1] += 0.003  # second differences of 0, +-6 mm
    result = jitter(shaking, joints, rate=30.0)
    assert result["rate_hz"] == 30.0
    assert result["metrics"]["true_acceleration_jitter_mm_per_frame2"] == pytest.approx(2.0)
    expected = (2.0 + np.hypot(2.0, 6.0)) / 2
    assert result["metrics"]["acceleration_jitter_mm_per_frame2"] == pytest.approx(expected)
    shaking[5] = np.nan
    lost = jitter(shaking, joints, rate=30.0)["metrics"]
    assert lost["jitter_share"] == pytest.approx(0.7)
    assert lost["acceleration_jitter_mm_per_frame2"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="rate"):
        jitter(joints, joints, rate=0.0)


def test_estimates_as_arrays():
    from ros_support import estimate_of

    estimates = [estimate_of(), estimate_of(right=False)]
    predicted = predicted_pairs(estimates, MODEL.num_vertices)
    assert predicted.found.tolist() == [[True, True], [True, False]]
    np.testing.assert_array_equal(predicted.joints[1, LEFT], estimates[1].left.joints)
    np.testing.assert_array_equal(predicted.vertices[0, RIGHT], estimates[0].right.vertices)
    assert predicted_pairs(estimates, 778).vertices is None and predicted_pairs(estimates).vertices is None
