"""Synthetic images of two hands with exact ground truth: poses, motion, rendering, clips, a training stream."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import rendered_clip
    from .clip_setup import clip_scenes
    from .clips import Clip, load_clip, write_clip
    from .interactions import Interactions, interaction_stream, sample_interactions
    from .motion import Motion, sample_motion
    from .sample_rendering import render_crop, render_frame
    from .sample_stream import SampleStream
    from .scene import HandPose, Rendering, Scene, render_scene
    from .training_scenes import TrainingScene, sample_scene

_HOMES = {
    "Clip": "clips",
    "HandPose": "scene",
    "Interactions": "interactions",
    "Motion": "motion",
    "Rendering": "scene",
    "SampleStream": "sample_stream",
    "Scene": "scene",
    "TrainingScene": "training_scenes",
    "clip_scenes": "clip_setup",
    "interaction_stream": "interactions",
    "load_clip": "clips",
    "render_frame": "sample_rendering",
    "render_scene": "scene",
    "render_crop": "sample_rendering",
    "rendered_clip": "cache",
    "sample_interactions": "interactions",
    "sample_motion": "motion",
    "sample_scene": "training_scenes",
    "write_clip": "clips",
}

__all__ = [
    "Clip",
    "HandPose",
    "Interactions",
    "Motion",
    "Rendering",
    "SampleStream",
    "Scene",
    "TrainingScene",
    "clip_scenes",
    "interaction_stream",
    "load_clip",
    "render_frame",
    "render_scene",
    "render_crop",
    "rendered_clip",
    "sample_interactions",
    "sample_motion",
    "sample_scene",
    "write_clip",
]


def __getattr__(name: str) -> Any:
    # The renderer's compiler takes a second to import: only whoever renders pays for it.
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
