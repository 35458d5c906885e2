"""Clips on disk: images or a video of moving hands, and their ground truth."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ..calibration import read_calibration, write_calibration
from ..camera import Camera
from ..hand_model import HandModel, load_hand_model
from ..image_files import VideoWriter, open_video, read_image, write_image
from ..runtime.model_files import replacing
from ..types import Side
from .clip_setup import clip_scenes
from .motion import PHASES
from .scene import Rendering, Scene, render_scene

DEPTH_UNIT = 1e-4
"""Metres per level of the depth images (uint16; 0 is no surface)."""
VISIBLE_BIT, AMODAL_BIT = 0, 2
"""Bits of the mask images: 0 and 1 where the left and the right hand are visible, 2 and 3 where they would be alone."""

_FORMATS = ("png", "mp4")


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A clip on disk. Arrays have one row per frame, then two slots: left, right.

    Attributes:
        folder: of the clip.
        camera: of all its images.
        truth: ground truth, the arrays of truth.npz: stamps (N,), joints (N, 2, 21, 3), vertices (N, 2, V, 3),
            rotations (N, 2, 16, 3, 3), betas (2, 10), translation (N, 2, 3), bends (N, 2, 2) of the wrists,
            keypoints_2d (N, 2, 21, 2), keypoint_visible (N, 2, 21), boxes (N, 2, 4) x y width height of the hand's
            pixels, visible_share (N, 2), overlap (N,), phase (N,), faces (2, F, 3), K, D, distortion_model, size,
            hand_model, rate, seed.
    """

    folder: Path
    camera: Camera
    truth: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.truth["stamps"])

    def images(self) -> Iterator[np.ndarray]:
        """The images in order, uint8 (H, W, 3) BGR. Raises OSError where one cannot be read."""
        if (self.folder / "images").is_dir():
            for i in range(len(self)):
                yield _read(self.folder / "images" / f"{i:06d}.png", cv2.IMREAD_COLOR)
            return
        video = open_video(self.folder / "clip.mp4")
        try:
            for i in range(len(self)):
                ok, image = video.read()
                if not ok:
                    raise OSError(f"{self.folder / 'clip.mp4'} ends after {i} of {len(self)} frames")
                yield image
        finally:
            video.release()

    def depth(self, frame: int) -> np.ndarray:
        """Depth (H, W) float32, metres, rounded to 0.1 mm; infinite where there is neither hand nor arm."""
        levels = _read(self.folder / "depth" / f"{frame:06d}.png", cv2.IMREAD_UNCHANGED)
        return np.where(levels > 0, levels * np.float32(DEPTH_UNIT), np.float32(np.inf))

    def visible(self, frame: int) -> np.ndarray:
        """Where each hand is visible (2, H, W) bool."""
        return self._masks(frame, VISIBLE_BIT)

    def amodal(self, frame: int) -> np.ndarray:
        """Where each hand would be visible if it were alone (2, H, W) bool."""
        return self._masks(frame, AMODAL_BIT)

    def _masks(self, frame: int, bit: int) -> np.ndarray:
        bits = _read(self.folder / "masks" / f"{frame:06d}.png", cv2.IMREAD_UNCHANGED)
        return np.stack([(bits >> (bit + side)) & 1 for side in Side]).astype(bool)


def _read(path: Path, flags: int) -> np.ndarray:
    return read_image(path, flags)


def load_clip(folder: str | os.PathLike[str]) -> Clip:
    """Load a clip that :func:`write_clip` wrote. Raises FileNotFoundError where ``folder`` holds none."""
    folder = Path(folder)
    if not (folder / "truth.npz").is_file():
        raise FileNotFoundError(
            f"{folder}: no truth.npz, so no rendered clip (hand-recon synth --out {folder} makes one)"
        )
    with np.load(folder / "truth.npz") as arrays:
        truth = {name: arrays[name] for name in arrays.files}
    return Clip(folder, read_calibration(folder / "camera.yaml"), truth)


def write_clip(
    out: str | os.PathLike[str],
    frames: int = 300,
    seed: int = 0,
    fmt: str = "png",
    size: tuple[int, int] = (640, 480),
    fov: float = 65.0,
    rate: float = 30.0,
    view: str = "webcam",
    hand_model: HandModel | None = None,
    progress: bool = True,
    camera: Camera | None = None,
    glove: tuple[int, int, int] | None = None,
) -> Path:
    """Render a clip with its ground truth into a folder.

    Writes images/NNNNNN.png (``fmt`` "png") or clip.mp4 ("mp4", lossy), masks/ and depth/ (see Clip), camera.yaml (ROS
    calibration) and at last truth.npz: a folder with it is complete.

    Args:
        out: folder; files of an earlier clip in it are replaced.
        frames: number of frames.
        seed: of everything random; the same seed gives the same clip.
        fmt: "png" or "mp4".
        size: width and height, pixels.
        fov: across the longer side of the image, degrees.
        rate: frames per second.
        view: "webcam" or "egocentric".
        hand_model: the embedded hand by default.
        progress: show a progress bar on stderr.
        camera: takes the images, with any lens; None: one without distortion, of ``size`` and ``fov``.
        glove: sRGB colour of gloves on both hands; None for bare hands.

    Returns the folder. Raises ValueError for bad arguments, OSError where files cannot be written.
    """
    if fmt not in _FORMATS:
        raise ValueError(f"unknown clip format {fmt!r}, expected one of: {', '.join(_FORMATS)}")
    from tqdm import tqdm

    hand_model = hand_model or load_hand_model()
    camera = camera or Camera.from_fov(size[0], size[1], fov)
    motion, scenes = clip_scenes(hand_model, frames, seed, camera, rate, view)
    if glove is not None:
        scenes = [
            dataclasses.replace(scene, appearance=dataclasses.replace(scene.appearance, glove=glove))
            for scene in scenes
        ]
    writer = _Writer(Path(out), fmt, camera, rate)
    rows = []
    try:
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            renderings = _render_ahead(pool, scenes, hand_model)
            bar = tqdm(renderings, total=frames, desc="synth", unit="frame", disable=not progress)
            for i, rendering in enumerate(bar):
                writer.add(i, rendering)
                rows.append(_row(rendering))
    finally:
        writer.close()
    truth = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    truth |= {
        "stamps": motion.stamps,
        "rotations": motion.rotations,
        "betas": motion.betas,
        "translation": motion.translation,
        "bends": motion.bends,
        "phase": np.array(PHASES)[motion.phases],
        "faces": np.stack([hand_model.faces(side) for side in Side]),
        "K": camera.K,
        "D": camera.D,
        "distortion_model": np.array(camera.distortion_model),
        "size": np.array([camera.width, camera.height]),
        "hand_model": np.array(hand_model.name),
        "rate": np.array(float(rate)),
        "seed": np.array(seed),
    }
    with replacing(writer.folder / "truth.npz") as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **truth)
    return writer.folder


def _render_ahead(pool: ThreadPoolExecutor, scenes: list[Scene], hand_model: HandModel) -> Iterator[Rendering]:
    """Renderings in order, a few frames computed ahead (the compiled loops release the interpreter's lock)."""
    ahead = 2 * pool._max_workers
    pending = [pool.submit(render_scene, scene, hand_model) for scene in scenes[:ahead]]
    for i in range(len(scenes)):
        rendering = pending.pop(0).result()
        if i + ahead < len(scenes):
            pending.append(pool.submit(render_scene, scenes[i + ahead], hand_model))
        yield rendering


def _row(rendering: Rendering) -> dict[str, np.ndarray]:
    """One frame's rows of truth.npz."""
    boxes = np.stack([_box(mask) for mask in rendering.amodal])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    both = (boxes[:, 2] > 0).all()
    overlap = bool(both and (np.minimum(high[0], high[1]) > np.maximum(low[0], low[1])).all())
    amodal_pixels = np.maximum(rendering.amodal.sum(axis=(1, 2)), 1)
    return {
        "joints": rendering.joints,
        "vertices": rendering.vertices,
        "keypoints_2d": rendering.keypoints_2d,
        "keypoint_visible": rendering.keypoint_visible,
        "boxes": boxes,
        "visible_share": rendering.visible.sum(axis=(1, 2)) / amodal_pixels,
        "overlap": np.array(overlap),
    }


def _box(mask: np.ndarray) -> np.ndarray:
    """x, y, width and height (4,) of a mask's pixels; zeros where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(4)
    return np.array([columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1], dtype=np.float64)


class _Writer:
    """Writes the files of a clip frame by frame."""

    def __init__(self, folder: Path, fmt: str, camera: Camera, rate: float) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if any((folder / "images").glob("*.png")) and not (folder / "camera.yaml").exists():
            raise FileExistsError(f"{folder / 'images'}: has pictures that are no clip's; name another folder")
        write_calibration(folder / "camera.yaml", camera, "synthetic")
        # An interrupted run must not leave the ground truth of other images.
        for name in ("truth.npz", "clip.mp4"):
            (folder / name).unlink(missing_ok=True)
        for name in ("images", "masks", "depth"):
            for old in (folder / name).glob("*.png"):
                old.unlink()
        for name in ("masks", "depth", *(("images",) if fmt == "png" else ())):
            (folder / name).mkdir(exist_ok=True)
        if fmt == "mp4" and (folder / "images").is_dir():
            (folder / "images").rmdir()
        self._video = None
        if fmt == "mp4":
            self._video = VideoWriter(folder / "clip.mp4", rate, (camera.width, camera.height))

    def add(self, index: int, rendering: Rendering) -> None:
        if self._video is not None:
            self._video.write(rendering.image)
        else:
            self._write("images", index, rendering.image)
        bits = np.zeros(rendering.depth.shape, dtype=np.uint8)
        for side in Side:
            bits |= rendering.visible[side].astype(np.uint8) << np.uint8(VISIBLE_BIT + side)
            bits |= rendering.amodal[side].astype(np.uint8) << np.uint8(AMODAL_BIT + side)
        self._write("masks", index, bits)
        levels = np.where(np.isfinite(rendering.depth), np.rint(rendering.depth / DEPTH_UNIT), 0)
        self._write("depth", index, np.clip(levels, 0, 65535).astype(np.uint16))

    def _write(self, kind: str, index: int, image: np.ndarray) -> None:
        path = self.folder / kind / f"{index:06d}.png"
        write_image(path, image, [cv2.IMWRITE_PNG_COMPRESSION, 2])

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
