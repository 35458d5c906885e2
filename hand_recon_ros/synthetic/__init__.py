"""Synthetic images of two hands with exact ground truth: poses, motion, rendering, clips and training samples."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import rendered_clip as rendered_clip
    from .clip_setup import clip_scenes as clip_scenes
    from .clips import Clip as Clip
    from .clips import load_clip as load_clip
    from .clips import write_clip as write_clip
    from .interactions import Interactions as Interactions
    from .interactions import interaction_stream as interaction_stream
    from .interactions import sample_interactions as sample_interactions
    from .motion import Motion as Motion
    from .motion import sample_motion as sample_motion
    from .sample_rendering import render_crop as render_crop
    from .sample_rendering import render_frame as render_frame
    from .sample_stream import SampleStream as SampleStream
    from .scene import HandPose as HandPose
    from .scene import Rendering as Rendering
    from .scene import Scene as Scene
    from .scene import render_scene as render_scene
    from .training_scenes import TrainingScene as TrainingScene
    from .training_scenes import sample_scene as sample_scene

_MODULES = {
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
    "render_crop": "sample_rendering",
    "render_frame": "sample_rendering",
    "render_scene": "scene",
    "rendered_clip": "cache",
    "sample_interactions": "interactions",
    "sample_motion": "motion",
    "sample_scene": "training_scenes",
    "write_clip": "clips",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    # Importing the renderer and its compiler takes a second, which code that only reads clips should not pay.
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
