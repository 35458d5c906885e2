"""Solids: inside, distance and depth of closed meshes against primitives with known answers."""

import math

import manifold3d
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.geometry.mesh_queries import (
    gap_between,
    penetrating_points,
    penetration_depth,
    signed_distances,
    surface_distances,
    winding_numbers,
)
from hand_recon_ros.hand_model import load_hand_model

MODEL = load_hand_model()


def box(extents=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0), turned=None):
    mesh = trimesh.creation.box(extents)
    turn = np.eye(3) if turned is None else turned.as_matrix()
    return np.asarray(mesh.vertices) @ turn.T + centre, np.asarray(mesh.faces)


def box_distance(points, extents):
    beyond = np.abs(points) - np.array(extents) / 2
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


def fist():
    angles = np.zeros((16, 3))
    angles[4::3, 0], angles[5::3, 0], angles[6::3, 0] = 1.5, 1.9, 1.3
    return MODEL.mesh(Side.RIGHT, MODEL.kinematics(Side.RIGHT).rotations_of(angles), np.zeros(10), np.zeros(3))


def solid_angle_number(points, vertices, faces):
    """The generalised winding number by solid angles (van Oosterom & Strackee 1983)."""
    a, b, c = np.moveaxis(vertices[faces][None] - points[:, None, None], 2, 0)
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2((a * np.cross(b, c)).sum(-1), below).sum(-1) / (2 * math.pi)


def test_signed_distance_of_a_box():
    extents, rng = (0.4, 1.0, 1.6), np.random.default_rng(0)
    turn = Rotation.random(random_state=1)
    vertices, faces = box(extents, (3.0, -2.0, 1.0), turn)
    points = rng.uniform(-1.2, 1.2, (2000, 3))
    found = signed_distances(turn.apply(points) + (3.0, -2.0, 1.0), vertices, faces)
    np.testing.assert_allclose(found, box_distance(points, extents), atol=1e-12)


def test_rays_through_edges_and_corners_count_once():
    vertices, faces = box()
    grid = np.stack(np.meshgrid(*[[-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75]] * 3), axis=-1).reshape(-1, 3)
    inside = (np.abs(grid) < 0.5).all(axis=1)
    outside = (np.abs(grid) > 0.5).any(axis=1)
    numbers = winding_numbers(grid, vertices, faces)
    assert (numbers[inside] == 1).all() and (numbers[outside] == 0).all()


def test_winding_number_is_that_of_solid_angles_also_where_a_fist_overlaps_itself():
    vertices, faces = fist().astype(np.float64), MODEL.faces(Side.RIGHT)
    rng = np.random.default_rng(2)
    points = vertices[rng.integers(len(vertices), size=600)] + rng.normal(0, 0.006, (600, 3))
    expected = solid_angle_number(points, vertices, faces)
    np.testing.assert_array_equal(winding_numbers(points, vertices, faces), np.round(expected))
    assert set(np.round(expected)) >= {0.0, 1.0, 2.0}


def test_distance_to_a_triangle_is_the_smallest_of_many_points_on_it():
    rng = np.random.default_rng(3)
    share = rng.dirichlet((1, 1, 1), 40000)
    share[:3000, 0], share[3000:6000, 1] = 0.0, 0.0
    share /= share.sum(axis=1, keepdims=True)
    for _ in range(20):
        triangle, point = rng.normal(size=(3, 3)), 2 * rng.normal(size=(1, 3))
        near = np.linalg.norm(share @ triangle - point, axis=1).min()
        assert surface_distances(point, triangle, np.array([[0, 1, 2]]))[0] == pytest.approx(near, abs=0.02)
    assert surface_distances(np.full((1, 3), 9.0), triangle, np.array([[0, 1, 2]]), 0.5)[0] == 0.5


def test_depth_and_gap_of_two_boxes():
    first, second = box(), box((1.0, 0.5, 0.5), (0.9, 0.0, 0.0))
    assert penetration_depth(*first, *second) == pytest.approx(0.1)
    assert penetration_depth(*second, *first) == pytest.approx(0.1)
    apart = box((1.0, 0.5, 0.5), (1.3, 0.0, 0.0))
    assert penetration_depth(*first, *apart) == 0.0
    assert gap_between(*first, *apart, 1.0) == pytest.approx(0.3)
    assert gap_between(*first, *apart, 0.2) == 0.2


def test_depth_of_two_spheres():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    assert penetration_depth(vertices, faces, vertices + (0.09, 0, 0), faces) == pytest.approx(0.01, abs=2e-4)
    assert gap_between(vertices, faces, vertices + (0.103, 0, 0), faces, 0.01) == pytest.approx(0.003, abs=2e-4)


def test_depth_of_mirrored_hands_is_the_same():
    left, right = (MODEL.mesh(s, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3)) for s in Side)
    right = right + (0.0, 0.012, 0.005)
    depth = penetration_depth(left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT))
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = penetration_depth(right * flip, MODEL.faces(Side.LEFT), left * flip, MODEL.faces(Side.RIGHT))
    assert 0.002 < depth < 0.03 and mirrored == pytest.approx(depth, abs=1e-9)


def test_distances_to_a_hand_are_trimeshs():
    vertices, faces = fist().astype(np.float64), MODEL.faces(Side.RIGHT)
    rng = np.random.default_rng(5)
    points = vertices[rng.integers(len(vertices), size=30)] + rng.normal(0, 0.01, (30, 3))
    triangles = vertices[faces]
    for point, found in zip(points, surface_distances(points, vertices, faces), strict=True):
        nearest = trimesh.triangles.closest_point(triangles, np.tile(point, (len(triangles), 1)))
        assert found == pytest.approx(np.linalg.norm(nearest - point, axis=1).min(), abs=1e-12)


@pytest.mark.parametrize("shift", np.linspace(-0.02, 0.03, 6))
def test_gap_and_depth_of_two_hands_agree_with_exact_booleans(shift):
    """The exact gap also has crossing edges, so that it is smaller by less than a third of a millimetre."""
    hands = [MODEL.mesh(s, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3)).astype(float) for s in Side]
    hands[Side.RIGHT] += (0.01, 0.02 + shift, 0.0)
    both = hands[0], MODEL.faces(Side.LEFT), hands[1], MODEL.faces(Side.RIGHT)
    solids = [
        manifold3d.Manifold(manifold3d.Mesh64(vertices, faces.astype(np.uint64)))
        for vertices, faces in zip(both[::2], both[1::2], strict=True)
    ]
    volume, depth = (solids[0] ^ solids[1]).volume(), penetration_depth(*both)
    assert (volume > 1e-9) == (depth > 1e-4)
    if depth == 0.0:
        exact = solids[0].min_gap(solids[1], 0.05)
        assert exact <= gap_between(*both, 0.05) + 1e-6 and gap_between(*both, 0.05) < exact + 0.0003


def test_points_inside_have_their_depth_and_their_nearest_place():
    vertices, faces = box()
    points = np.array([[0.0, 0.0, 0.4], [0.7, 0.0, 0.0], [0.1, -0.45, 0.0], [0.0, 0.0, 0.0]])
    found = penetrating_points(points, vertices, faces, max_depth=0.3)
    assert found.index.tolist() == [0, 2]
    np.testing.assert_allclose(found.depth, [0.1, 0.05], atol=1e-12)
    np.testing.assert_allclose(found.surface, [[0.0, 0.0, 0.5], [0.1, -0.5, 0.0]], atol=1e-12)
    corners = vertices[faces[found.triangle]]
    np.testing.assert_allclose(corners[0, :, 2], 0.5)
    np.testing.assert_allclose(corners[1, :, 1], -0.5)


def test_other_shapes_and_faces_without_vertices_are_refused():
    vertices, faces = box()
    with pytest.raises(ValueError, match=r"points must have shape \(\*, 3\), got \(4, 2\)"):
        winding_numbers(np.zeros((4, 2)), vertices, faces)
    with pytest.raises(ValueError, match=r"vertices must have shape \(\*, 3\)"):
        surface_distances(np.zeros((4, 3)), vertices[:, :2], faces)
    for broken in (faces + 1, faces - 1):
        with pytest.raises(ValueError, match="faces must be indices of 8"):
            winding_numbers(np.zeros((4, 3)), vertices, broken)


def test_types_and_layouts_do_not_matter():
    vertices, faces = box()
    points = np.random.default_rng(6).uniform(-1, 1, (50, 3)).astype(np.float32)
    expected = signed_distances(points.astype(np.float64), vertices, faces)
    found = signed_distances(np.asfortranarray(points), np.asfortranarray(vertices), faces[::-1].astype(np.int32))
    np.testing.assert_allclose(found, expected, atol=1e-12)
