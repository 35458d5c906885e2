"""The SROS2 policy: each node opens over DDS what its enclave may open, and nothing else; sros2 takes the file."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hand_recon_ros.ros import security, topics
from hand_recon_ros.ros.security import NODES, policy

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "config" / "security" / "policy.xml"
ACCESS = {node.executable: node for node in NODES}
NAMESPACE = f"/test_{os.getpid()}"  # another run on this machine may have the same domain

Opened = dict[str, set[str]]
"""``publish``, ``subscribe``, ``reply`` and ``request`` -> full names."""


def allowed(executable: str, text: str, namespace: str = "/") -> Opened:
    """What a policy allows the node in an enclave, resolved as sros2 does it."""
    enclaves = ElementTree.fromstring(text).findall("enclaves/enclave")
    path = namespace.rstrip("/") + "/" + executable
    (profile,) = next(each for each in enclaves if each.get("path") == path).findall("profiles/profile")
    base = profile.get("ns", "").rstrip("/") + "/"
    found: Opened = {right: set() for right in ("publish", "subscribe", "reply", "request")}
    for rules in profile:
        for right in rules.attrib:
            assert rules.get(right) == "ALLOW"
            for entry in rules:
                name = entry.text or ""
                if name.startswith("~"):
                    name = base + profile.get("node", "") + name[1:]
                found[right].add(name if name.startswith("/") else base + name)
    return found


def opened(node: Any, name: str, namespace: str = "/") -> Opened:
    """What the node of that name has open, as ``node`` sees it in the graph."""
    asked: dict[str, Callable[[str, str], Any]] = {
        "publish": node.get_publisher_names_and_types_by_node,
        "subscribe": node.get_subscriber_names_and_types_by_node,
        "reply": node.get_service_names_and_types_by_node,
        "request": node.get_client_names_and_types_by_node,
    }
    return {right: {topic for topic, _ in ask(name, namespace)} for right, ask in asked.items()}


def union(found: list[Opened]) -> Opened:
    return {right: set().union(*(each[right] for each in found)) for right in found[0]}


def typed(node: Any, name: str, namespace: str = "/") -> dict[str, list[str]]:
    both = [
        *node.get_publisher_names_and_types_by_node(name, namespace),
        *node.get_subscriber_names_and_types_by_node(name, namespace),
    ]
    return dict(both)


class Tf2Subscriptions:
    """In place of tf2_ros, where it is not installed: subscribes to what it subscribes to, on the same node."""

    def __init__(self, node: Any) -> None:
        from tf2_msgs.msg import TFMessage

        self._node = node
        self._subscriptions = [
            node.create_subscription(TFMessage, topic.name, lambda _: None, 10) for topic in topics.TRANSFORMS
        ]

    def clear(self) -> None:
        pass

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


def transforms() -> Any:
    """What makes a node's transforms: tf2 where it is there."""
    if importlib.util.find_spec("tf2_ros") is None:
        return Tf2Subscriptions
    from hand_recon_ros.ros.transforms import Transforms

    return Transforms


def needs_ros() -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    pytest.importorskip("tf2_msgs")


def test_the_installed_policy_is_that_of_the_tables() -> None:
    assert FILE.read_text(encoding="utf-8") == policy(), (
        f"run python -m hand_recon_ros.ros.security > {FILE.relative_to(ROOT)}"
    )


def test_every_executable_has_an_enclave() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    executables = re.findall(r"^add_node\((\w+)", cmake, re.MULTILINE)
    assert sorted(executables) == sorted(ACCESS)
    assert re.search(r'^install\(DIRECTORY launch config DESTINATION "share/', cmake, re.MULTILINE)


def test_hand_recon_opens_what_its_policy_allows() -> None:
    needs_ros()
    from ros_support import NodeOnDds

    found = []
    for parameters in (
        {"use_compressed": False, "use_depth": True},
        {"use_compressed": True, "target_frame": "base", "use_sim_time": True},
    ):
        with NodeOnDds(make_transforms=transforms(), **parameters) as dds:
            # Services that wait have a node of their own, in the same process and enclave.
            found.append(union([opened(dds.node, name) for name in ("hand_recon", "_hand_recon_services")]))
            if parameters["use_compressed"] is False:
                types = typed(dds.node, "hand_recon")
                for topic in topics.OUTPUTS:
                    full = topic.name.replace("~", "/hand_recon")
                    assert types[full] == [topic.type.replace("/", "/msg/")]
    assert union(found) == allowed("hand_recon", policy())
    assert found[0] != found[1]


def test_hand_recon_view_opens_what_its_policy_allows() -> None:
    needs_ros()
    from view_support import DEBUG_IMAGE, MARKERS, View

    found = []
    wanted = {"/hand_recon/hands", "/camera_info"}
    for compressed, simulated in ((False, False), (True, True)):
        remapped = ("-r", "hands:=hand_recon/hands")
        with View(remapped, use_compressed=compressed, use_sim_time=simulated) as dds:
            dds.listen(*MARKERS)
            dds.listen(*DEBUG_IMAGE)
            dds.wait(lambda: wanted <= opened(dds.node, "hand_recon_view")["subscribe"], "the subscriptions")
            found.append(opened(dds.node, "hand_recon_view"))
    assert union(found) == allowed("hand_recon_view", policy())


def test_hand_teleop_opens_what_its_policy_allows() -> None:
    needs_ros()
    from rclpy.parameter import Parameter
    from ros_support import OnDds

    from hand_recon_ros.ros.teleop import HandTeleopNode

    given = [Parameter("target_frame", value="base"), Parameter("use_sim_time", value=True)]
    with OnDds(
        lambda context: HandTeleopNode(
            transforms(),
            context=context,
            parameter_overrides=given,
            cli_args=["--ros-args", "-r", "hands:=hand_recon/hands"],
        )
    ) as dds:
        assert opened(dds.node, "hand_teleop") == allowed("hand_teleop", policy())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executable", "module", "parameters"),
    [
        (
            "camera_source",
            "hand_recon_ros.ros.demo.camera_source",
            [["source:=PHOTO", "exit_at_end:=false", f"compressed:={each}"] for each in ("false", "true")],
        ),
        ("demo_recorder", "hand_recon_ros.ros.demo.recorder", [["out:=OUT", "save_images:=true"]]),
    ],
)
def test_the_nodes_of_the_demonstration_open_what_their_policy_allows(
    tmp_path: Path, executable: str, module: str, parameters: list[list[str]]
) -> None:
    needs_ros()
    import rclpy

    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((48, 64, 3), np.uint8))
    access = ACCESS[executable]
    expected = allowed(executable, policy(NAMESPACE), NAMESPACE)
    types = {topic.name: topic.type.replace("/", "/msg/") for topic in (*access.inputs, *access.outputs)}
    context = rclpy.Context()
    rclpy.init(context=context)
    watcher = rclpy.create_node("watcher", context=context)
    found: list[Opened] = []
    try:
        for each in parameters:
            words = [f"__ns:={NAMESPACE}"], [*each, "use_sim_time:=true"]
            arguments = [part for word in words[0] for part in ("-r", word)]
            for word in words[1]:
                word = word.replace("PHOTO", str(photo)).replace("OUT", str(tmp_path / "out"))
                arguments += ["-p", word]
            path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
            process = subprocess.Popen(
                [sys.executable, "-m", module, "--ros-args", *arguments],
                env={**os.environ, "PYTHONPATH": path},
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
            )
            try:
                found.append(settled(watcher, access.node, process))
                for name, kinds in typed(watcher, access.node, NAMESPACE).items():
                    if name.removeprefix(f"{NAMESPACE}/") in types:
                        assert kinds == [types[name.removeprefix(f"{NAMESPACE}/")]]
            finally:
                process.terminate()
                assert process.wait(timeout=30) == 0
    finally:
        watcher.destroy_node()
        context.try_shutdown()
    assert union(found) == expected


def settled(watcher: Any, name: str, process: Any) -> Opened:
    """What a node has open once it has had the same open for a second."""
    end, since, last = time.monotonic() + 60.0, 0.0, None
    while time.monotonic() < end:
        assert process.poll() is None, "the node has ended"
        if (name, NAMESPACE) in watcher.get_node_names_and_namespaces():
            now = opened(watcher, name, NAMESPACE)
            if now != last:
                last, since = now, time.monotonic()
            elif now["subscribe"] and time.monotonic() > since + 1.0:
                return now
        time.sleep(0.05)
    raise AssertionError(f"no {name} within a minute; last seen: {last}")


def test_remappings_and_a_namespace() -> None:
    text = policy("/left", {"image": "/camera/color/image_raw", "~/twist": "/servo_node/delta_twist_cmds"})
    recon, teleop = allowed("hand_recon", text, "/left"), allowed("hand_teleop", text, "/left")
    assert {"/camera/color/image_raw", "/camera/color/image_raw/compressed", "/left/camera_info"} <= recon["subscribe"]
    assert {"/left/hand_recon/hands", "/tf", "/rosout"} <= recon["publish"]
    assert "/servo_node/delta_twist_cmds" in teleop["publish"] and "/left/hand_teleop/twist" not in teleop["publish"]
    assert "/left/hand_recon/hands" in teleop["subscribe"]
    assert "/left/recorder/get_parameters" in allowed("demo_recorder", text, "/left")["reply"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["imge:=/camera/image"], "no node has the topic or service 'imge'"),
        (["image"], "not a remapping: 'image'"),
        (["--namespace", "left"], "namespace must be absolute"),
        (["--namespace", "/left/"], "namespace must be absolute"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as end:
        security.main(arguments)
    assert end.value.code == 2 and reason in capsys.readouterr().err


def test_names_are_written_as_xml(capsys: pytest.CaptureFixture[str]) -> None:
    assert security.main(["image:=/a&b"]) == 0
    assert "/a&b" in allowed("hand_recon", capsys.readouterr().out)["subscribe"]


def test_sros2_makes_permissions_of_it(tmp_path: Path) -> None:
    needs_ros()
    pytest.importorskip("sros2", reason="sros2 is not installed")
    from sros2 import keystore

    keystore.create_keystore(tmp_path)
    for node in NODES:
        keystore.create_enclave(tmp_path, f"/{node.executable}")
        keystore.create_permission(tmp_path, f"/{node.executable}", FILE)
        folder = tmp_path / "enclaves" / node.executable
        assert (folder / "permissions.p7s").stat().st_size > 0
        root = ElementTree.parse(folder / "permissions.xml").getroot()
        for right, kind in (("publish", "publish"), ("subscribe", "subscribe")):
            topics_of = {each.text for each in root.iterfind(f".//allow_rule/{kind}/topics/topic")}
            wanted = {f"rt{name}" for name in allowed(node.executable, policy())[right]}
            assert wanted <= topics_of, node.executable


@pytest.mark.slow
@pytest.mark.parametrize(("wanted", "enclaves"), [("true", ["/cell/hand_recon", "/cell/hand_recon_view"]), ("", ["/"])])
def test_launch_puts_each_node_into_its_enclave(tmp_path: Path, wanted: str, enclaves: list[str]) -> None:
    needs_ros()
    pytest.importorskip("launch_ros", reason="launch is not installed: see tools/build_ros_overlay.py")
    import rclpy
    from test_ros_launch import launched

    arguments = ["namespace:=cell", "view:=true", "autostart:=false", *([f"enclaves:={wanted}"] if wanted else [])]
    context = rclpy.Context()
    rclpy.init(context=context)
    watcher = rclpy.create_node("watcher", context=context)
    names = {"hand_recon", "hand_recon_view"}
    try:
        with launched(tmp_path / "log", "hand_recon.launch.py", *arguments):
            end, seen = time.monotonic() + 60.0, []
            while {name for name, _, _ in seen} != names:
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.1)
                nodes = watcher.get_node_names_and_namespaces_with_enclaves()
                seen = [each for each in nodes if each[0] in names and each[1] == "/cell"]
    finally:
        watcher.destroy_node()
        context.try_shutdown()
    assert sorted({enclave for _, _, enclave in seen}) == enclaves
