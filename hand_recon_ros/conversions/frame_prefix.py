"""Which prefixes the names of frames can have; apart from frames.py, so that parameters and launch files load fast."""

from __future__ import annotations

import re

_CHARACTERS = re.compile(r"[A-Za-z0-9_./~-]*")


def prefix_fault(prefix: str) -> str:
    """Why frames cannot be named with a ``prefix``, to follow the name of the setting; empty where they can."""
    if _CHARACTERS.fullmatch(prefix) and not prefix.startswith("/"):
        return ""
    return f"{prefix!r} cannot begin a frame name: use letters, digits and _ . ~ - /, not starting with /"
