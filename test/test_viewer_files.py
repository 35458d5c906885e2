"""The files for other viewers, RViz and Foxglove, fit the topics of the node and the fields of its messages."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hand_recon_ros.ros import topics

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYOUT = json.loads((ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8"))
RVIZ = yaml.safe_load((ROOT / "config" / "hand_recon.rviz").read_text(encoding="utf-8"))
PUBLISHED = {topic.name.replace("~", "/hand_recon"): topic for topic in topics.OUTPUTS}

# What each panel of Foxglove can show.
OF_PANELS = {
    "3D": {"visualization_msgs/MarkerArray", "geometry_msgs/PoseStamped", "geometry_msgs/PoseArray",
           "sensor_msgs/PointCloud2"},
    "Image": {"sensor_msgs/Image", "sensor_msgs/CompressedImage"},
    "DiagnosticSummary": {"diagnostic_msgs/DiagnosticArray"},
}  # fmt: skip
# What each display of RViz shows.
OF_DISPLAYS = {"MarkerArray": "visualization_msgs/MarkerArray", "Image": "sensor_msgs/Image"}


def panels(tree: Any) -> Iterator[str]:
    """The panels that a layout places."""
    if isinstance(tree, str):
        yield tree
    else:
        assert tree["direction"] in ("row", "column") and 0 < tree["splitPercentage"] < 100
        yield from panels(tree["first"])
        yield from panels(tree["second"])


def topics_of(panel: str) -> list[str]:
    config = LAYOUT["configById"][panel]
    named = [config.get("topicToRender"), config.get("imageMode", {}).get("imageTopic")]
    return [*config.get("topics", {}), *filter(None, named)]


def message_paths() -> list[str]:
    return [path["value"] for config in LAYOUT["configById"].values() for path in config.get("paths", [])]


def test_every_panel_of_the_foxglove_layout_is_placed_once() -> None:
    assert sorted(panels(LAYOUT["layout"])) == sorted(LAYOUT["configById"])


@pytest.mark.parametrize("panel", LAYOUT["configById"])
def test_panels_of_foxglove_show_topics_of_the_node(panel: str) -> None:
    shown = topics_of(panel)
    kind = panel.partition("!")[0]
    assert shown or LAYOUT["configById"][panel].get("paths")
    assert {PUBLISHED[topic].type for topic in shown} <= OF_PANELS.get(kind, set())


@pytest.mark.parametrize("path", message_paths())
def test_paths_of_foxglove_are_numbers_in_messages_of_the_node(path: str) -> None:
    pytest.importorskip("rosbags")
    from rosbags.interfaces import Nodetype

    from hand_recon_ros.bags.messages import message_store

    topic, *fields = path.split(".")
    kind = PUBLISHED[topic].type.replace("/", "/msg/")
    for field in fields:
        tag, content = dict(message_store().fielddefs[kind][1])[field]
        kind = content if tag == Nodetype.NAME else content[0]
    assert tag == Nodetype.BASE and kind != "string"


def test_the_foxglove_layout_shows_both_hands_alike() -> None:
    text = json.dumps(LAYOUT)
    assert text.count("left") == text.count("right") > 0


def displays() -> list[dict[str, Any]]:
    return [each for each in RVIZ["Visualization Manager"]["Displays"] if "Topic" in each]


@pytest.mark.parametrize("display", displays(), ids=lambda display: display["Name"])
def test_displays_of_rviz_show_topics_of_the_node_with_a_qos_that_it_offers(display: dict[str, Any]) -> None:
    """Hidden displays as well; that of the camera's own images is on the topic to which the node subscribes."""
    shown, kind = display["Topic"], display["Class"].partition("/")[2]
    inputs = {topic.name: topic for topic in topics.INPUTS}
    topic = inputs.get(shown["Value"]) or PUBLISHED[f"/{shown['Value']}"]
    assert topic.type == OF_DISPLAYS[kind]
    assert shown["Reliability Policy"] == "Best Effort" or topic.reliable
    assert shown["Durability Policy"] == "Volatile" or topic.latched


def test_the_version_of_viser_is_the_same_everywhere() -> None:
    """One version: what is read of its connections is not public."""
    found = {
        name: set(re.findall(r"viser==([0-9.]+[0-9])", (ROOT / name).read_text(encoding="utf-8")))
        for name in ("setup.py", "requirements.in", "requirements.lock", "docs/viewing.md")
    }
    assert len(set().union(*found.values())) == 1 and all(found.values()), found
