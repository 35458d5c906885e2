"""Which names frames can have; apart from frames.py, so that parameters and launch files load fast."""

from __future__ import annotations

import re

_CHARACTERS = re.compile(r"[A-Za-z0-9_./~-]*")


def is_frame_name(name: str) -> bool:
    """Whether a frame can have this name; an empty one is none, and passes."""
    return bool(_CHARACTERS.fullmatch(name))


def prefix_fault(prefix: str) -> str:
    """Why frames cannot be named with a ``prefix``, to follow the name of the setting; empty where they can."""
    if is_frame_name(prefix) and not prefix.startswith("/"):
        return ""
    return f"{prefix!r} cannot begin a frame name: use letters, digits and _ . ~ - /, not starting with /"
