#!/usr/bin/env python3
"""Write what the documentation takes from the code anew: ``.venv/bin/python tools/make_docs.py``.

These are the tables of README.md, docs/nodes.md and the page of each node, and the SROS2 policy. With ``--check``
nothing is written; the exit code says whether a file is out of date.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

from hand_recon_ros.ros import parameters, security, topics
from hand_recon_ros.ros.demo.camera_source import CameraSourceConfig
from hand_recon_ros.ros.demo.recorder import RecorderConfig
from hand_recon_ros.ros.teleop_parameters import TeleopConfig
from hand_recon_ros.ros.view_parameters import ViewConfig
from hand_recon_ros.skeleton import KEYPOINT_NAMES

ROOT = Path(__file__).resolve().parents[1]
POLICY = "config/security/policy.xml"
PREFIX = parameters.table()["tf_prefix"][1]
IMAGES = "the camera's optical frame (x right, y down, z forward)"


@dataclasses.dataclass(frozen=True)
class Page:
    """What the page of a node is made of, beside its topics and services (``security.NODES``).

    Attributes:
        config: its parameters, a config dataclass or ``parameters.Parameters``.
        purpose: in a few words, for the list of nodes.
        services: name -> type and meaning.
        frames: rows of name and meaning.
    """

    config: type
    purpose: str
    services: dict[str, tuple[str, str]]
    frames: tuple[tuple[str, str], ...]


PAGES = {
    "hand_recon": Page(
        parameters.Parameters,
        "reconstructs both hands in every image",
        topics.SERVICES,
        (
            ("frame_id of the images", f"{IMAGES}; that of all outputs, unless `target_frame` is set"),
            (
                f"`{PREFIX}left_wrist`, `{PREFIX}right_wrist`",
                "on `/tf` below the camera's: origin at the wrist, x to the knuckle of the middle finger, z out of the"
                " back of the hand; with `publish_tf` wrist or full",
            ),
            (
                f"`{PREFIX}left_{KEYPOINT_NAMES[1]}` .. `{PREFIX}right_{KEYPOINT_NAMES[-1]}`",
                "on `/tf` below the wrist: the 20 other keypoints of a hand, x along the bone to the next one; with"
                " `publish_tf` full",
            ),
            ("`target_frame`", "looked up on `/tf` and `/tf_static` at the image's stamp, where it is set"),
        ),
    ),
    "hand_recon_view": Page(
        ViewConfig,
        "draws markers and debug image, in a process of its own",
        {},
        (("frame_id of the hands", "that of the markers; the debug image has that of the images"),),
    ),
    "hand_teleop": Page(
        TeleopConfig,
        "turns a hand's motion into commands for a robot arm and a gripper",
        topics.TELEOP_SERVICES,
        (
            ("frame_id of the hands", f"{IMAGES}, or `target_frame` of hand_recon"),
            (
                "`target_frame`",
                "that of the commands; from that of the hands by `/tf` and `/tf_static`, at the image's stamp; empty:"
                " the frame of the hands",
            ),
            ("`tool_frame`", "the robot's tool; its pose in `target_frame` is where the target starts"),
        ),
    ),
    "camera_source": Page(
        CameraSourceConfig,
        "publishes a photo, a video or a webcam as a camera",
        {},
        (("`frame_id`", f"that of images and camera_info, {IMAGES}; it is not on `/tf`"),),
    ),
    "demo_recorder": Page(RecorderConfig, "writes hands and diagnostics as JSON, for the demonstration", {}, ()),
}
FILES = ("README.md", "docs/nodes.md", *(f"docs/nodes/{name}.md" for name in PAGES))


def interface(node: security.NodeAccess) -> str:
    """The sections of a node's page that come from the code: each is there, also where it is empty."""
    page = PAGES[node.executable]
    inputs = [topic for topic in node.inputs if topic not in topics.TRANSFORMS]
    tf2 = node.inputs != tuple(inputs)
    services = [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in page.services.items()]
    frames = [f"| {name} | {meaning} |" for name, meaning in page.frames]
    sections = {
        "Subscribed topics": topics.input_rows([*inputs, *(topics.TRANSFORMS if tf2 else ())]),
        "Published topics": topics.output_rows(node.outputs),
        "Services": ["| Service | Type | Meaning |", "|---|---|---|", *services] if services else [],
        "Parameters": parameters.markdown_table(page.config).splitlines(),
        "Frames": ["| Frame | Meaning |", "|---|---|", *frames] if frames else [],
    }
    more = {"Services": _standard(node), "Parameters": _common_parameters(node)}
    lines: list[str] = []
    for title, rows in sections.items():
        lines += [f"## {title}", "", *(rows or ([] if title in more else ["None."])), *([""] if rows else [])]
        lines += [more[title], ""] if title in more else [] if rows else [""]
    return "\n".join(lines).rstrip() + "\n"


def _common_parameters(node: security.NodeAccess) -> str:
    overridable = any(topic.overridable for topic in (*node.inputs, *node.outputs))
    return "Beside them: `use_sim_time`" + (
        ", and `qos_overrides.*` for the QoS of its topics." if overridable else "."
    )


def _standard(node: security.NodeAccess) -> str:
    own = "Those" if not node.services else "And those"
    lifecycle = " and of lifecycle nodes" if node.lifecycle else ""
    return f"{own} of the parameters{lifecycle}, as every node has them."


def node_list() -> str:
    """The table of the nodes."""
    rows = [
        f"| [{node.executable}](nodes/{node.executable}.md) | {PAGES[node.executable].purpose} |"
        for node in security.NODES
    ]
    return "\n".join(["| Node | What it does |", "|---|---|", *rows]) + "\n"


def blocks() -> dict[str, str]:
    """Name of each block -> its text."""
    return {
        "topics": topics.markdown_tables(),
        "parameters": parameters.markdown_table(),
        "nodes": node_list(),
        **{f"interface_{node.executable}": interface(node) for node in security.NODES},
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
    for name in (*FILES, POLICY):
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = security.policy() if name == POLICY else renewed(before)
        if after != before:
            stale.append(name)
            if not check:
                path.write_text(after, encoding="utf-8")
    if stale:
        print(f"{'out of date' if check else 'renewed'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
