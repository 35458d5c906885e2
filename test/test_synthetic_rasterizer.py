"""The rasteriser against geometry computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros import Camera
from hand_recon_ros.synthetic.rasterizer import Raster, Viewport, rasterize

K = np.array([[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]])
CAMERA = Camera(K=K, width=160, height=120)
LENS = Camera(K=K, width=160, height=120, distortion_model="plumb_bob", D=[-0.28, 0.08, 0.002, -0.001, 0.0])


def unproject(pixels: list[list[float]], depth: list[float], camera: Camera = CAMERA) -> np.ndarray:
    return camera.unproject(np.array(pixels)) * np.array(depth)[:, None]


def square(corner: float, size: float, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """A square that faces the camera, in whole-image pixels from ``corner`` on both axes."""
    low, high = corner, corner + size
    vertices = unproject([[low, low], [high, low], [high, high], [low, high]], [depth] * 4)
    return vertices, np.array([[0, 2, 1], [0, 3, 2]])


def test_a_face_covers_exactly_the_pixel_centres_inside_it() -> None:
    vertices, faces = square(20.5, 10.0, 0.5)
    raster = rasterize(vertices, faces, CAMERA)
    rows, columns = np.nonzero(raster.triangle >= 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (21, 30, 21, 30)
    assert len(rows) == 100
    assert np.allclose(raster.depth[25, 25], 0.5, atol=1e-6)
    assert np.isinf(raster.depth[0, 0])


def test_edges_through_pixel_centres_belong_to_one_face_only() -> None:
    # A fan of triangles around the centre of a pixel: every covered sample exactly once, no holes.
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    ring = np.column_stack([80 + 30 * np.cos(angles), 60 + 30 * np.sin(angles)])
    points = unproject([[80.0, 60.0], *ring.tolist()], [0.5] * 9)
    fan = np.array([[0, i % 8 + 1, (i + 1) % 8 + 1] for i in range(8)])
    whole = rasterize(points, fan, CAMERA).triangle >= 0
    count = sum((rasterize(points, fan[i : i + 1], CAMERA).triangle >= 0).astype(int) for i in range(8))
    assert count.max() == 1
    assert np.array_equal(count == 1, whole)


@pytest.mark.parametrize("camera", [CAMERA, LENS], ids=["pinhole", "lens"])
def test_markers_appear_where_the_camera_projects_them(camera: Camera) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        pixel = rng.uniform([15, 15], [145, 105])
        point = camera.unproject(pixel) * rng.uniform(0.2, 1.0)
        # A marker that faces the camera, 4 pixels across.
        size = 2.0 / 200.0 * point[2]
        offsets = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * size
        raster = rasterize(point + offsets, np.array([[0, 2, 1], [0, 3, 2]]), camera, supersampling=8)
        rows, columns = np.nonzero(raster.triangle >= 0)
        centre = (np.array([columns.mean(), rows.mean()]) + 0.5) / 8 - 0.5
        assert np.linalg.norm(centre - camera.project(point)) < 0.15


def test_the_nearer_face_wins_in_any_order() -> None:
    far, faces = square(20.5, 40.0, 0.8)
    near, _ = square(30.5, 10.0, 0.4)
    for first, second, near_faces in ((far, near, (2, 3)), (near, far, (0, 1))):
        raster = rasterize(np.concatenate([first, second]), np.concatenate([faces, faces + 4]), CAMERA)
        assert np.isin(raster.triangle[31:41, 31:41], near_faces).all()
        assert not np.isin(raster.triangle[22:30, 22:30], near_faces).any()


def test_barycentrics_are_perspective_correct() -> None:
    vertices = unproject([[20.0, 20.0], [120.0, 30.0], [50.0, 100.0]], [0.3, 1.5, 0.6])
    raster = rasterize(vertices, np.array([[0, 2, 1]]), CAMERA)
    rows, columns = np.nonzero(raster.triangle >= 0)
    u, v = raster.barycentric[rows, columns].T.astype(float)
    points = (1 - u - v)[:, None] * vertices[0] + u[:, None] * vertices[2] + v[:, None] * vertices[1]
    assert np.allclose(points[:, 2], raster.depth[rows, columns], rtol=1e-5)
    # Vertices are rounded to 1/256 pixel.
    assert np.abs(CAMERA.project(points) - np.column_stack([columns, rows])).max() < 0.02


def test_faces_seen_from_behind_can_be_left_out() -> None:
    vertices, faces = square(20.5, 10.0, 0.5)
    assert (rasterize(vertices, faces, CAMERA, cull=True).triangle >= 0).sum() == 100
    assert (rasterize(vertices, faces[:, ::-1], CAMERA, cull=True).triangle >= 0).sum() == 0
    assert (rasterize(vertices, faces[:, ::-1], CAMERA).triangle >= 0).sum() == 100


def test_a_face_through_the_near_plane_is_clipped() -> None:
    # A floor that runs from behind the camera to 2 m in front of it.
    floor = np.array([[-3.0, 0.1, -1.0], [3.0, 0.1, -1.0], [0.0, 0.1, 2.0]])
    raster = rasterize(floor, np.array([[0, 2, 1]]), CAMERA, near=0.05)
    ray = CAMERA.unproject(np.array([79.0, 110.0]))
    depth = 0.1 / ray[1]
    assert raster.triangle[110, 79] == 0
    assert np.isclose(raster.depth[110, 79], depth, rtol=1e-3)
    u, v = raster.barycentric[110, 79]
    point = (1 - u - v) * floor[0] + u * floor[2] + v * floor[1]
    assert np.allclose(point, ray * depth, atol=2e-3)
    behind = rasterize(floor - [0, 0, 5.0], np.array([[0, 2, 1]]), CAMERA)
    assert (behind.triangle == -1).all()


def test_a_viewport_is_a_part_of_the_whole_image() -> None:
    vertices, faces = square(20.5, 50.0, 0.5)
    whole = rasterize(vertices, faces, CAMERA, supersampling=2)
    viewport = Viewport(30, 40, 60, 35)
    part = rasterize(vertices, faces, CAMERA, viewport, supersampling=2)
    expected = whole.triangle[80:150, 60:180]
    assert np.array_equal(part.triangle, expected)
    assert Viewport.around(CAMERA.project(vertices), CAMERA, margin=0) == Viewport(20, 20, 52, 52)


def test_points_outside_a_lens_do_not_fold_back_into_the_image() -> None:
    strong = Camera(K=K, width=160, height=120, distortion_model="plumb_bob", D=[-0.4, 0.0, 0.0, 0.0, 0.0])
    # At 70 degrees off axis this polynomial has turned around and would put the face inside the image.
    side = np.array([[2.7, 0.0, 1.0], [2.8, 0.0, 1.0], [2.75, 0.1, 1.0]])
    raster = rasterize(side, np.array([[0, 1, 2]]), strong)
    assert (raster.triangle == -1).all()


def test_no_faces_give_an_empty_raster() -> None:
    raster = rasterize(np.zeros((0, 3)), np.zeros((0, 3), dtype=int), CAMERA)
    assert isinstance(raster, Raster)
    assert (raster.triangle == -1).all()
