#!/usr/bin/env python3
"""Write docs/images/frames_overview.png: ``.venv/bin/python tools/make_frames_figure.py``.

The optical frame of a camera with both hands in front of it, and on the right hand the wrist frame, dex-retargeting's
operator frame and the frame of OpenXR's wrist. The axes are those that the code uses; nothing is drawn by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from hand_recon_ros import Camera, HandEstimate, Side
from hand_recon_ros.adapters import JOINT_FROM_OPENXR, OPERATOR_FROM_WRIST
from hand_recon_ros.hand_model import load_hand_model

sys.path.insert(0, str(Path(__file__).resolve().parent))
from make_figures import upright_hand

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "frames_overview.png"
COLOURS = {"x": "#d62728", "y": "#2ca02c", "z": "#1f77b4"}
SKIN = "#e8b89a"


def shown(points: np.ndarray) -> np.ndarray:
    """Points of the optical frame (..., 3) on matplotlib's axes, whose third one is up."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def draw_hand(axes, hand: HandEstimate) -> None:
    """The mesh of a hand."""
    x, y, z = shown(hand.vertices).T
    axes.plot_trisurf(x, y, z, triangles=hand.faces, color=SKIN, alpha=0.6, linewidth=0.0, shade=True, zorder=1)


def draw_axes(axes, origin: np.ndarray, directions: np.ndarray, length: float) -> None:
    """Arrows along the columns of ``directions`` (3, 3), in the optical frame, with their names."""
    for name, direction in zip(COLOURS, directions.T, strict=True):
        start, way = shown(origin), shown(length * direction)
        axes.quiver(*start, *way, color=COLOURS[name], linewidth=2.2, arrow_length_ratio=0.18, zorder=5)
        label = start + (1.0 + 0.02 / length) * way
        axes.text(*label, name, color=COLOURS[name], fontsize=13, weight="bold", ha="center", va="center", zorder=6)


def draw_camera(axes, camera: Camera, depth: float) -> None:
    """The pyramid that the image sees, from the camera to ``depth`` metres."""
    w, h = camera.width, camera.height
    pixels = np.array([[0, 0, 1], [w, 0, 1], [w, h, 1], [0, h, 1]])
    corners = depth * pixels @ np.linalg.inv(camera.K).T
    for corner, following in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        for line in ((np.zeros(3), corner), (corner, following)):
            axes.plot(*shown(np.array(line)).T, color="#888888", linewidth=0.8)


def framed(axes, points: np.ndarray, elevation: float, azimuth: float, title: str, zoom: float) -> None:
    """Equal scales around ``points`` (N, 3) of the optical frame, without a grid."""
    points = shown(points)
    low, high = points.min(axis=0), points.max(axis=0)
    axes.set_box_aspect(high - low, zoom=zoom)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.view_init(elev=elevation, azim=azimuth)
    axes.set_axis_off()
    axes.set_title(title, fontsize=12, y=1.1)
    for artist in (*axes.collections, *axes.lines):
        artist.set_clip_on(False)  # a 3D plot is drawn beyond the square that it is clipped to


def figure() -> plt.Figure:
    """The four panels."""
    camera = Camera.from_fov(640, 480, 55.0)
    model = load_hand_model("")
    left = upright_hand(model, Side.LEFT, [-0.16, 0.06, 0.46], 20.0, camera)
    right = upright_hand(model, Side.RIGHT, [0.16, 0.06, 0.46], -20.0, camera)
    made = plt.figure(figsize=(11.0, 8.0), dpi=80)
    grid = made.add_gridspec(
        2, 3, height_ratios=(1.3, 1), wspace=0.02, hspace=0.16, left=0.01, right=0.99, top=0.9, bottom=0.09
    )

    scene = made.add_subplot(grid[0, :], projection="3d", computed_zorder=False)
    draw_camera(scene, camera, 0.14)
    draw_axes(scene, np.zeros(3), np.eye(3), 0.1)
    scene.text(*shown(np.array([-0.02, 0.02, 0.0])), "camera (frame_id)  ", fontsize=11, ha="right")
    for hand in (left, right):
        draw_hand(scene, hand)
        draw_axes(scene, hand.wrist_pose[:3, 3], hand.wrist_pose[:3, :3], 0.1)
        below = shown(hand.wrist_pose[:3, 3] + np.array([0.0, 0.075, 0.0]))
        scene.text(*below, f"human_{hand.side.label}_wrist", fontsize=11, ha="center", zorder=6)
    around = np.concatenate([left.vertices, right.vertices, [[-0.1, 0.14, 0.0], [0.1, -0.1, 0.0]]])
    framed(scene, around, 22.0, -40.0, "Optical frame of the camera, and the wrist frames of both hands", 1.75)

    R = right.wrist_pose[:3, :3]
    frames = {
        "Wrist frame": R,
        "Operator frame of dex-retargeting": R @ OPERATOR_FROM_WRIST.T,
        "OpenXR, joint wrist": R @ JOINT_FROM_OPENXR,
    }
    for column, (title, directions) in enumerate(frames.items()):
        panel = made.add_subplot(grid[1, column], projection="3d", computed_zorder=False)
        draw_hand(panel, right)
        draw_axes(panel, right.wrist_pose[:3, 3], directions, 0.09)
        framed(panel, right.vertices, 24.0, -30.0, title, 0.95)
    return made


def main() -> int:
    """Write the figure."""
    made = figure()
    made.savefig(OUT)
    print(OUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
