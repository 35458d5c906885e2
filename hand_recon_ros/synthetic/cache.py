"""Rendered clips cached on disk, keyed by a digest of the code and data that make them."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from .clips import write_clip

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = ("synthetic", "hand_model", "assets/hand")


def rendered_clip(clips: Path, frames: int, seed: int, view: str = "webcam") -> Path:
    """The folder of a clip inside ``clips``, rendered now if it is missing; one of older code is deleted.

    Arguments and errors as in :func:`write_clip`. Reports on standard error when it renders.
    """
    digest = hashlib.sha256()
    for part in _SOURCES:
        for file in sorted((_PACKAGE / part).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(file.name.encode() + file.read_bytes())
    name = f"{view}-seed{seed}-{frames}"
    folder = clips / f"{name}-{digest.hexdigest()[:12]}"
    if not (folder / "truth.npz").exists():
        print(f"rendering {frames} frames into {folder} (once)", file=sys.stderr, flush=True)
        started = time.monotonic()
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            write_clip(partial, frames=frames, seed=seed, view=view, progress=sys.stderr.isatty())
            for outdated in clips.glob(f"{name}-*"):
                shutil.rmtree(outdated)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        print(f"rendered in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return folder
