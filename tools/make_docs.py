#!/usr/bin/env python3
"""Write the tables of README.md and docs/nodes.md anew from the code's own: ``.venv/bin/python tools/make_docs.py``.

With ``--check`` nothing is written; the exit code says whether a file is out of date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hand_recon_ros.ros import parameters, topics
from hand_recon_ros.ros.demo.camera_source import CameraSourceConfig
from hand_recon_ros.ros.demo.recorder import RecorderConfig
from hand_recon_ros.ros.teleop_parameters import TeleopConfig
from hand_recon_ros.ros.view_parameters import ViewConfig

ROOT = Path(__file__).resolve().parents[1]
FILES = ("README.md", "docs/nodes.md")


def blocks() -> dict[str, str]:
    """Name of each block -> its text."""
    return {
        "topics": topics.markdown_tables(),
        "parameters": parameters.markdown_table(),
        "view_topics": topics.markdown_tables(topics.VIEW_INPUTS, topics.VIEW_OUTPUTS, {}),
        "view": parameters.markdown_table(ViewConfig),
        "teleop_topics": topics.markdown_tables(topics.TELEOP_INPUTS, topics.TELEOP_OUTPUTS, topics.TELEOP_SERVICES),
        "teleop": parameters.markdown_table(TeleopConfig),
        "camera_source": parameters.markdown_table(CameraSourceConfig),
        "recorder": parameters.markdown_table(RecorderConfig),
    }


def renewed(text: str) -> str:
    """``text`` with every block between ``<!-- begin NAME: ... -->`` and ``<!-- end NAME -->`` made anew."""
    made = blocks()

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}\n{made[match[2]]}{match[3]}"

    return re.sub(r"(<!-- begin (\w+): [^\n]*-->)\n.*?(<!-- end \2 -->)", replace, text, flags=re.DOTALL)


def main() -> int:
    """Renew or check the files."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print("usage: make_docs.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for name in FILES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            stale.append(name)
            if not check:
                path.write_text(after, encoding="utf-8")
    if stale:
        print(f"{'out of date' if check else 'renewed'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
