"""Synthetic images of two hands with exact ground truth: poses, motion, rendering, clips on disk."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import rendered_clip
    from .clips import Clip, load_clip, write_clip
    from .motion import Motion, sample_motion
    from .scene import HandPose, Rendering, Scene, render_scene
    from .staging import clip_scenes

_HOMES = {
    "Clip": "clips",
    "HandPose": "scene",
    "Motion": "motion",
    "Rendering": "scene",
    "Scene": "scene",
    "clip_scenes": "staging",
    "load_clip": "clips",
    "render_scene": "scene",
    "rendered_clip": "cache",
    "sample_motion": "motion",
    "write_clip": "clips",
}

__all__ = [
    "Clip",
    "HandPose",
    "Motion",
    "Rendering",
    "Scene",
    "clip_scenes",
    "load_clip",
    "render_scene",
    "rendered_clip",
    "sample_motion",
    "write_clip",
]


def __getattr__(name: str) -> Any:
    # The renderer's compiler takes a second to import: only whoever renders pays for it.
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
