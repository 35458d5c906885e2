"""Accuracy on rendered clips with exact ground truth, frame by frame, with tracking."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from ..image_files import read_image
from ..reconstructor import TwoHandReconstructor
from ..runtime.model_files import cache_dir
from ..skeleton import WRIST
from ..synthetic import Clip, load_clip, rendered_clip
from ..synthetic.depth_sensor import sensed_depth, with_wall
from ..track.fixed_lag import FixedLagSmoother
from ..types import HandState, ScaleSource, Side, TwoHandEstimate
from . import metrics
from .cases import Case
from .figures import PER_HAND, PER_JOINT, HandErrors, image_figures, joint_figures, mesh_figures, summary
from .penetration import PENETRATION, Penetrations

SPLITS = {
    "demo": (("webcam", 0),),
    "val": (("webcam", 1001), ("egocentric", 1002)),
    "test": (("webcam", 2001), ("egocentric", 2002), ("webcam", 2003), ("egocentric", 2004)),
}
"""View and seed of each clip of a split; ``demo`` is the demonstration. Seeds below 1000 are for other uses; nothing
is tuned on test."""

_MOMENT = 15
"""Consecutive frames of which a report shows at most one."""

PER_PAIR = ("mrrpe_mm",)
TOUCHING = ("jitter_touching_mm", "pen_depth_touching_mm")
"""Figures over the frames in which the true hands touch; jitter also around them."""


def evaluate_synthetic(
    reconstructor: TwoHandReconstructor,
    split: str = "val",
    frames: int = 300,
    clips: Path | None = None,
    cases: list[Case] | None = None,
    depth: bool = False,
    length: bool = False,
    smoothing_delay: float = 0.0,
) -> dict[str, Any]:
    """Measure a reconstructor on the clips of a split.

    Each clip is a stream with its own stamps. Errors are over TRACKED hands: root-relative ones from the wrist, not
    rescaled; PA with scale and without reflection; MRRPE over frames with both hands TRACKED; PCK relative to the
    larger side of the true box; penetration over the pairs of MRRPE, beside that of the ground truth in the same
    frames; jitter is the length of the third difference of a keypoint's positions, lag that of :func:`metrics.lag` over
    each hand of a clip. Figures are of the hands before the two-hand refinement, and after it unless it is disabled;
    those named ``touching`` are over frames in which the true hands touch, jitter also around them. ``found`` is the
    share of true hands that were TRACKED, ``refined_ratio`` the share of frames with both hands TRACKED that were
    refined. Intervals are 95 % bootstrap percentiles over frames, of the lag over the hands of the clips.

    Args:
        reconstructor: is reset before every clip.
        split: a key of SPLITS.
        frames: length of each clip.
        clips: folder that caches the rendered clips (default: the user's cache).
        cases: where given, gets one entry for each frame.
        depth: whether each image comes with a depth image, rendered and with the noise of a stereo camera. The report
            then has ``depth``: the share of TRACKED hands with the scale source DEPTH, and over these the median of the
            wrist's error, mm, and the share of errors along the ray within one and two ``position_stddev``.
        length: whether the length of each clip's hands is known, to a millimetre, as one who has measured them knows.
        smoothing_delay: seconds by which the estimates are delayed and smoothed, see ``track.fixed_lag``; the lag is
            that of the poses behind their stamps.

    Returns the report that ``hand-recon evaluate --json`` prints; metrics that are not measured are None.
    """
    folder = clips or cache_dir() / "clips"
    rendered = [load_clip(rendered_clip(folder, frames, seed, view)) for view, seed in SPLITS[split]]
    samples = [_measure(reconstructor, clip, cases, depth, length, smoothing_delay) for clip in rendered]
    names = (*PER_HAND, *PER_PAIR, *PENETRATION, "jitter_mm", "lag_ms", *TOUCHING, PER_JOINT)
    values, refined = (
        {name: np.concatenate([sample[when][name] for sample in samples]) for name in samples[0][when]}
        for when in range(2)
    )
    tracked = values["tracked"]
    changed, touching = refined["refined"], refined["touching"]
    measured = tracked.all(axis=1)
    return {
        "dataset": "synthetic",
        "split": split,
        "n": len(tracked),
        "protocol": "wrist root, not rescaled, joints of the mesh's own rig, TRACKED hands only",
        "config": dataclasses.asdict(reconstructor.config),
        "found": {side.label: float(tracked[:, side].mean()) for side in Side},
        **({"depth": _depth_figures(refined)} if depth else {}),
        "refined_ratio": {"all": _share(changed, measured), "touching": _share(changed, measured & touching)},
        **summary(
            {name: values[name] for name in names},
            {name: values[f"true_{name}"] for name in (*PENETRATION, "pen_depth_touching_mm")},
            {name: refined[name] for name in names} if reconstructor.config.refine_steps > 0 else None,
        ),
    }


def _depth_figures(values: dict[str, np.ndarray]) -> dict[str, float | None]:
    """The figures of hands with depth, from the per-frame values (N, 2) after the two-hand refinement."""
    tracked = np.isfinite(values["wrist_error_mm"])
    used = tracked & values["with_depth"]
    if not used.any():
        return {"ratio": 0.0, "wrist_error_median_mm": None, "within_1_stddev": None, "within_2_stddev": None}
    scaled = values["ray_error_stddevs"][used]
    return {
        "ratio": float(used.sum() / tracked.sum()),
        "wrist_error_median_mm": float(np.median(values["wrist_error_mm"][used])),
        "within_1_stddev": float((scaled <= 1.0).mean()),
        "within_2_stddev": float((scaled <= 2.0).mean()),
    }


def _share(true: np.ndarray, of: np.ndarray) -> float | None:
    return float(true[of].mean()) if of.any() else None


class _Hands:
    """The estimated hands of a clip, frame by frame; NaN where a hand was not TRACKED."""

    def __init__(self, count: int, vertices: int) -> None:
        self.joints, self.meshes = np.full((count, 2, 21, 3), np.nan), np.full((count, 2, vertices, 3), np.nan)
        self.pixels, self.tracked = np.full((count, 2, 21, 2), np.nan), np.zeros((count, 2), dtype=bool)
        self.refined = np.zeros(count, dtype=bool)
        self.with_depth, self.stddevs = np.zeros((count, 2), dtype=bool), np.full((count, 2), np.nan)

    def add(self, frame: int, estimate: TwoHandEstimate) -> None:
        self.refined[frame] = estimate.refined
        for side in Side:
            hand = estimate.hand(side)
            if hand.state == HandState.TRACKED:
                self.tracked[frame, side] = True
                self.with_depth[frame, side] = hand.scale_source == ScaleSource.DEPTH
                self.stddevs[frame, side] = hand.position_stddev
                self.joints[frame, side], self.pixels[frame, side] = hand.joints, hand.keypoints_2d
                if len(hand.vertices) == self.meshes.shape[2]:
                    self.meshes[frame, side] = hand.vertices


def _measure(
    reconstructor: TwoHandReconstructor,
    clip: Clip,
    cases: list[Case] | None = None,
    with_depth: bool = False,
    with_length: bool = False,
    smoothing_delay: float = 0.0,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Per-frame values of one clip before and after the two-hand refinement; ``cases`` are those after it."""
    vertices = clip.truth["vertices"].shape[-2]
    before, after = _Hands(len(clip), vertices), _Hands(len(clip), vertices)
    if with_length:
        reconstructor.update_settings(hand_length=round(_length(clip.truth["joints"]), 3))
    reconstructor.reset()
    smoother: FixedLagSmoother[int] = FixedLagSmoother(reconstructor.hand_model)
    for frame, image in enumerate(clip.images()):
        depth = {}
        if with_depth:
            rng = np.random.default_rng([int(clip.truth["seed"]), frame])
            depth["depth"] = sensed_depth(with_wall(clip.depth(frame)), clip.camera, rng)
        estimate = reconstructor(image, clip.camera, stamp=float(clip.truth["stamps"][frame]), **depth)
        for number, smoothed in smoother.add(frame, estimate, clip.camera, smoothing_delay):
            before.add(number, smoothed.before_refinement())
            after.add(number, smoothed)
    for number, smoothed in smoother.rest(smoothing_delay):
        before.add(number, smoothed.before_refinement())
        after.add(number, smoothed)
    faces = [reconstructor.hand_model.faces(side) for side in Side]
    return _values(clip, before, faces), _values(clip, after, faces, cases)


def _length(joints: np.ndarray) -> float:
    """Mean length, metres, of hands (N, 2, 21, 3), along the bones from the wrist to the tip of the middle finger."""
    middle = joints[..., [0, 9, 10, 11, 12], :]
    return float(np.nanmean(np.linalg.norm(np.diff(middle, axis=-2), axis=-1).sum(axis=-1)))


def _values(
    clip: Clip, hands: _Hands, faces: list[np.ndarray], cases: list[Case] | None = None
) -> dict[str, np.ndarray]:
    """Per-frame values of one clip: (N, 2) for hands, (N,) for pairs; NaN where nothing was measured.

    PER_JOINT is (K, 21), of the K hands that were measured, frame by frame, the left one first.
    """
    truth, count = clip.truth, len(clip)
    joints, meshes, pixels, tracked = hands.joints, hands.meshes, hands.pixels, hands.tracked
    present = np.isfinite(truth["joints"]).all(axis=(-2, -1))
    used = tracked & present
    result = {name: np.full((count, 2), np.nan) for name in PER_HAND} | {"tracked": used | ~present}
    known = used & np.isfinite(meshes).all(axis=(-2, -1))
    error_2d = metrics.point_errors(pixels[used], truth["keypoints_2d"][used])
    size = truth["boxes"][used][:, 2:].max(axis=-1)
    of_joints = joint_figures(joints[used], truth["joints"][used])
    result[PER_JOINT] = of_joints.pop(PER_JOINT)
    true_vertices = truth["vertices"][known].astype(np.float64)
    of_meshes = mesh_figures(meshes[known], true_vertices, joints[known][:, 0], truth["joints"][known][:, 0])
    for measured, figures in ((used, of_joints | image_figures(error_2d, size)), (known, of_meshes)):
        for name, figure in figures.items():
            result[name][measured] = figure
    if cases is not None:
        cases += _cases(clip, pixels, used, result[PER_JOINT], error_2d / size[:, None], len(cases))
    both = used.all(axis=1)
    result["mrrpe_mm"] = np.full(count, np.nan)
    pairs = joints[both], truth["joints"][both]
    result["mrrpe_mm"][both] = metrics.mrrpe(pairs[0][:, 0], pairs[0][:, 1], pairs[1][:, 0], pairs[1][:, 1])
    penetrations = Penetrations()
    frames = np.flatnonzero(both & known.all(axis=1))
    for frame in frames:
        penetrations.add(meshes[frame], truth["vertices"][frame], faces, truth["keypoints_2d"][frame])
    for prefix, penetration in zip(("", "true_"), penetrations.pooled(), strict=True):
        result |= {prefix + name: penetration[name] for name in PENETRATION}
    result["jitter_mm"] = np.linalg.norm(np.diff(joints, n=3, axis=0), axis=-1).mean(axis=-1) * 1e3
    result["lag_ms"] = np.array(
        [metrics.lag(joints[:, side], truth["joints"][:, side], truth["stamps"]) for side in Side]
    )
    touching = np.zeros(count, dtype=bool)
    touching[frames] = result["true_contact_ratio"] == 1.0
    result["jitter_touching_mm"] = np.where((touching[3:] | touching[:-3])[:, None], result["jitter_mm"], np.nan)
    for prefix in ("", "true_"):
        result[f"{prefix}pen_depth_touching_mm"] = result[f"{prefix}pen_depth_mm"][touching[frames]]
    rays = truth["joints"][..., WRIST, :] / np.linalg.norm(truth["joints"][..., WRIST, :], axis=-1, keepdims=True)
    along = np.abs(np.sum((joints - truth["joints"])[..., WRIST, :] * rays, axis=-1))
    result |= {"with_depth": hands.with_depth & used, "ray_error_stddevs": along / hands.stddevs}
    return result | {"touching": touching, "refined": hands.refined}


def _cases(
    clip: Clip, pixels: np.ndarray, used: np.ndarray, errors: np.ndarray, shares: np.ndarray, first: int
) -> list[Case]:
    """One case for each frame of a clip, numbered from ``first`` on.

    ``pixels`` are estimated keypoints (N, 2, 21, 2); ``errors`` and ``shares`` (K, 21) are those of HandErrors, of the
    hands that are ``used`` (N, 2).
    """
    measured = iter(map(HandErrors, errors, shares))
    name = f"{clip.folder.name.rpartition('-')[0]} frame"
    return [
        Case(
            number=first + frame,
            name=f"{name} {frame}",
            arrangement=str(clip.truth["phase"][frame]),
            errors={side: next(measured) for side in Side if used[frame, side]},
            estimated=pixels[frame],
            true=clip.truth["keypoints_2d"][frame],
            picture=functools.partial(_picture, clip.folder, frame),
            moment=f"{name} {frame // _MOMENT}",
        )
        for frame in range(len(clip))
    ]


def _picture(folder: Path, frame: int) -> np.ndarray:
    path = folder / "images" / f"{frame:06d}.png"
    return read_image(path)
