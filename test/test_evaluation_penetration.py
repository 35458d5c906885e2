"""Penetration and contact of two meshes: boxes and spheres with known answers, and hands."""

import math

import numpy as np
import pytest
import trimesh

from hand_recon_ros import Side
from hand_recon_ros.evaluation.figures import PER_JOINT, summary
from hand_recon_ros.evaluation.penetration import PENETRATION, Penetrations, contact, figures, intersection_volume
from hand_recon_ros.hand_model import load_hand_model

MODEL = load_hand_model()
FACES = [MODEL.faces(side) for side in Side]


def box(extents, centre=(0.0, 0.0, 0.0)):
    mesh = trimesh.creation.box(extents)
    return np.asarray(mesh.vertices) + centre, np.asarray(mesh.faces)


def sphere(radius, centre=(0.0, 0.0, 0.0)):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return np.asarray(mesh.vertices) + centre, np.asarray(mesh.faces)


def flat_hands(apart):
    rotations = np.tile(np.eye(3), (16, 1, 1))
    left, right = (MODEL.mesh(side, rotations, np.zeros(10), np.zeros(3)).astype(np.float64) for side in Side)
    # Fingertips towards each other.
    return [left - [left[:, 0].max() + apart / 2, 0.0, 0.0], right - [right[:, 0].min() - apart / 2, 0.0, 0.0]]


def test_boxes_that_share_a_known_volume():
    measured = contact(*box((0.1, 0.1, 0.1)), *box((0.1, 0.04, 0.04), (0.09, 0.0, 0.0)))
    assert measured.depth == pytest.approx(0.01) and measured.touching
    assert measured.volume == pytest.approx(0.01 * 0.04 * 0.04)
    values = figures(measured, interacting=True)
    assert values["pen_depth_mm"] == pytest.approx(10.0) and values["pen_vol_cm3"] == pytest.approx(16.0)
    assert [values[f"pen_rate_{mm}mm"] for mm in (0, 2, 5)] == [1.0, 1.0, 1.0] and values["contact_ratio"] == 1.0


def test_spheres_that_share_a_lens():
    r, d = 0.05, 0.094
    measured = contact(*sphere(r), *sphere(r, (d, 0.0, 0.0)))
    lens = math.pi * (2 * r - d) ** 2 * (d * d + 4 * d * r) / (12 * d)
    assert measured.volume == pytest.approx(lens, rel=0.03)
    assert measured.depth == pytest.approx(2 * r - d, abs=2e-4)
    values = figures(measured, interacting=False)
    assert [values[f"pen_rate_{mm}mm"] for mm in (0, 2, 5)] == [1.0, 1.0, float(6.0 > 5.0)]
    assert math.isnan(values["contact_ratio"])


@pytest.mark.parametrize(("gap", "touching"), [(0.004, True), (0.006, False)])
def test_contact_ends_at_five_millimetres(gap, touching):
    measured = contact(*sphere(0.05), *sphere(0.05, (0.1 + gap, 0.0, 0.0)))
    assert (measured.depth, measured.volume, measured.touching) == (0.0, 0.0, touching)


def test_a_contained_mesh_counts_with_its_whole_volume():
    measured = contact(*box((0.1, 0.1, 0.1)), *box((0.02, 0.02, 0.02), (0.01, 0.0, 0.0)))
    assert measured.volume == pytest.approx(8e-6) and measured.depth == pytest.approx(0.04)


def test_a_mesh_with_a_hole_is_a_failure_and_not_zero():
    vertices, faces = box((0.1, 0.1, 0.1))
    volume = intersection_volume(vertices, faces[1:], *box((0.1, 0.04, 0.04), (0.09, 0.0, 0.0)))
    assert math.isnan(volume)
    values = {name: np.array([1.0, np.nan]) for name in PENETRATION}
    found = summary({**values, PER_JOINT: np.zeros((0, 21))}, {})
    assert found["boolean_failures"] == {"estimate": 1, "ground_truth": 0}
    assert found["metrics"]["estimate"]["pen_vol_cm3"] == 1.0
    assert found["metrics"]["ground_truth"]["pen_vol_cm3"] is None and found["metrics"]["refined"] is None


def test_the_intersection_of_a_hand_with_itself_is_its_volume():
    vertices = flat_hands(0.0)[1]
    whole = trimesh.Trimesh(vertices, FACES[1], process=False).volume
    assert intersection_volume(vertices, FACES[1], vertices, FACES[1]) == pytest.approx(whole, rel=1e-6)


def test_frames_of_hands_are_pooled_beside_the_truth():
    apart = np.stack([np.zeros((21, 2)), np.full((21, 2), 500.0)]) + np.arange(21)[:, None]
    over = np.stack([np.zeros((21, 2)), np.full((21, 2), 5.0)]) + np.arange(21)[:, None]
    pen = Penetrations()
    pen.add(flat_hands(-0.1), flat_hands(0.3), FACES, apart)  # penetrates where the true hands do not interact
    pen.add(flat_hands(0.3), flat_hands(0.3), FACES, over)  # boxes overlap, hands do not touch
    estimate, truth = pen.pooled()
    assert estimate["pen_depth_mm"][0] > 5.0 and estimate["pen_vol_cm3"][0] > 1.0
    np.testing.assert_array_equal(estimate["pen_rate_5mm"], [1.0, 0.0])
    np.testing.assert_array_equal(truth["pen_rate_0mm"], [0.0, 0.0])
    np.testing.assert_array_equal(estimate["contact_ratio"], [np.nan, 0.0])
