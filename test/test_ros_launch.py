"""Launch files, the RViz file and the Fast DDS profile fit the node, and launch starts it where launch is installed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from hand_recon_ros.ros import topics
from hand_recon_ros.ros.parameters import table
from hand_recon_ros.ros.teleop_parameters import TeleopConfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))

HAS_LAUNCH = all(importlib.util.find_spec(name) for name in ("launch", "launch_ros"))
needs_launch = pytest.mark.skipif(not HAS_LAUNCH, reason="launch is not installed: see tools/build_ros_overlay.py")


def test_there_is_a_launch_file_for_each_use() -> None:
    uses = ["demo", "hand_recon", "hand_teleop", "multi_camera", "webcam"]
    assert [file.name for file in LAUNCH_FILES] == [f"{use}.launch.py" for use in uses]


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_launch_files_have_a_docstring_and_compile(file: pathlib.Path) -> None:
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree)
    assert any(isinstance(n, ast.FunctionDef) and n.name == "generate_launch_description" for n in tree.body)


def test_the_profile_holds_a_full_hd_image() -> None:
    root = ElementTree.parse(ROOT / "config" / "fastdds.xml").getroot()
    space = {"dds": "http://www.eprosima.com"}
    (size,) = (int(e.text or 0) for e in root.iterfind(".//dds:maxMessageSize", space))
    (segment,) = (int(e.text or 0) for e in root.iterfind(".//dds:segment_size", space))
    assert size > 1920 * 1080 * 3
    assert segment >= 4 * size
    kinds = {e.text for e in root.iterfind(".//dds:transport_descriptor/dds:type", space)}
    assert kinds == {"SHM", "UDPv4"}
    defined = [e.text for e in root.iterfind(".//dds:transport_descriptor/dds:transport_id", space)]
    assert [e.text for e in root.iterfind(".//dds:userTransports/dds:transport_id", space)] == defined


def test_rviz_shows_topics_the_node_has() -> None:
    config = yaml.safe_load((ROOT / "config" / "hand_recon.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    shown = {d["Class"].split("/")[1]: d["Topic"]["Value"] for d in displays if "Topic" in d and d["Enabled"]}
    published = {t.name.replace("~", "hand_recon"): t.type for t in topics.OUTPUTS}
    of_view = {t.name.replace("~", "hand_recon"): t.type for t in topics.VIEW_OUTPUTS}
    assert {of_view[shown[display]] for display in ("MarkerArray", "Image")} <= set(published.values())
    assert published[shown["MarkerArray"]] == "visualization_msgs/MarkerArray"
    assert published[shown["Image"]] == "sensor_msgs/Image"
    assert any(d["Class"] == "rviz_default_plugins/TF" and d["Enabled"] for d in displays)


def arguments_of(file: pathlib.Path) -> list[Any]:
    from launch.actions import DeclareLaunchArgument

    spec = importlib.util.spec_from_file_location("launch_file", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [e for e in module.generate_launch_description().entities if isinstance(e, DeclareLaunchArgument)]


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_what_launch_files_import_from_the_package_exists(file: pathlib.Path) -> None:
    """Also where launch is not installed, so that a renamed function does not break them unseen."""
    package = ROOT / "hand_recon_ros"
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hand_recon_ros."):
            source = package.joinpath(*node.module.split(".")[1:])
            source = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
            names = set(re.findall(r"\w+", source.read_text()))
            assert {alias.name for alias in node.names} <= names, f"{file.name}: {node.module}"
            if source.name != "launching.py":  # that one needs launch itself
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), f"{file.name}: {node.module}"


@needs_launch
@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_every_parameter_is_a_launch_argument(file: pathlib.Path) -> None:
    arguments = arguments_of(file)
    names = [argument.name for argument in arguments]
    assert len(set(names)) == len(names)
    of_node = {*table(TeleopConfig)} if "teleop" in file.name else {*table(), "fixed_frame"}
    assert {*of_node, "use_sim_time", "namespace", "params_file"} <= set(names)
    assert all(argument.description for argument in arguments)


@needs_launch
def test_only_what_is_given_goes_to_the_node() -> None:
    from hand_recon_ros.ros.launching import given_parameters
    from launch import LaunchContext

    context = LaunchContext()
    arguments = arguments_of(ROOT / "launch" / "hand_recon.launch.py")
    given = {
        "encoder": "none", "threads": "1", "use_sim_time": "true", "rectified": "true", "tf_prefix": "",
        "publish_tf": "off", "fallback_fov": "60", "marker_rate": "5", "tf_wait": "[",
    }  # fmt: skip
    context.launch_configurations.update(given)
    for argument in arguments:
        argument.execute(context)
    assert given_parameters(context) == {
        "encoder": "none", "threads": 1, "use_sim_time": True, "rectified": True, "tf_prefix": "", "publish_tf": "off",
        "fallback_fov": 60.0, "marker_rate": 5.0, "tf_wait": "[",  # refused by the node, with the parameter's name
    }  # fmt: skip


@needs_launch
def test_unknown_arguments_are_refused() -> None:
    from hand_recon_ros.ros.launching import LaunchError, check_names

    arguments = arguments_of(ROOT / "launch" / "hand_recon.launch.py")
    check_names(["namespace", "threads"], arguments)
    with pytest.raises(LaunchError, match="unknown launch argument 'fallback_fow'; did you mean 'fallback_fov'"):
        check_names(["fallback_fow"], arguments)
    with pytest.raises(LaunchError, match="--show-args"):
        check_names(["xyz"], arguments)


SCRIPT = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(argv=sys.argv[2:])
arguments = [tuple(word.split(":=")) for word in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@contextlib.contextmanager
def launched(log: pathlib.Path, file: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A launch file, started as a process of its own."""
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(ROOT / "launch" / file), *arguments],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@needs_launch
@pytest.mark.parametrize(
    ("file", "argument", "text"),
    [
        ("hand_recon.launch.py", "rviz:=true", "rviz:=true needs the package rviz2"),
        ("webcam.launch.py", "rviz:=1", "rviz:=true needs the package rviz2"),
        ("hand_recon.launch.py", "thread:=1", "unknown launch argument 'thread'; did you mean 'threads'?"),
        ("hand_teleop.launch.py", "grippers:=off", "unknown launch argument 'grippers'; did you mean 'gripper'?"),
        ("multi_camera.launch.py", "camera:=left", "unknown launch argument 'camera'; did you mean 'cameras'?"),
        ("multi_camera.launch.py", "cameras:=left left", "cameras must be different names"),
    ],
)
def test_what_cannot_be_launched_is_said_before_anything_starts(tmp_path, file: str, argument: str, text: str) -> None:
    with contextlib.suppress(ImportError):
        from ament_index_python.packages import get_packages_with_prefixes

        if "rviz2" in get_packages_with_prefixes() and "rviz" in argument:
            pytest.skip("rviz2 is installed")
    with launched(tmp_path / "log", file, argument) as process:
        assert process.wait(60.0) == 1
    output = (tmp_path / "log").read_text()
    assert text in output and "process started" not in output


RVIZ = """#!{python}
import rclpy
rclpy.init()
node = rclpy.create_node("rviz2")
with open("{file}", "w") as file:
    print(*(node.resolve_topic_name("hand_recon/" + topic) for topic in ("markers", "debug_image")), file=file)
"""


@needs_launch
@pytest.mark.parametrize(("view", "node"), [("false", "hand_recon"), ("true", "hand_recon_view")])
def test_rviz_shows_what_the_view_draws(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, view: str, node: str
) -> None:
    """A node in the place of RViz writes the topics that it would subscribe to."""
    shown = tmp_path / "shown"
    for file, text in (
        ("share/ament_index/resource_index/packages/rviz2", ""),
        ("lib/rviz2/rviz2", RVIZ.format(python=sys.executable, file=shown)),
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(tmp_path), os.environ["AMENT_PREFIX_PATH"]]))
    arguments = ("rviz:=true", f"view:={view}", "autostart:=false", "namespace:=cam")
    with launched(tmp_path / "log", "hand_recon.launch.py", *arguments) as process:
        end = time.monotonic() + 60.0
        while not (shown.exists() and shown.read_text()):
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60.0)
    assert shown.read_text().split() == [f"/cam/{node}/markers", f"/cam/{node}/debug_image"]


@needs_launch
def test_the_view_starts_beside_the_node_with_the_same_parameters(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("/**:\n  ros__parameters:\n    autostart: false\n    debug_image_quality: 33\n")
    names = ["marker_rate", "fallback_fov", "debug_image_quality", "use_sim_time"]
    arguments = ("view:=true", f"params_file:={file}", "marker_rate:=5", "fallback_fov:=60", "threads:=1",
                 "namespace:=cam", "image:=/camera/image", "use_sim_time:=true")  # fmt: skip
    with launched(tmp_path / "log", "hand_recon.launch.py", *arguments) as process:
        for node in ("hand_recon", "hand_recon_view"):
            assert parameters_of(f"/cam/{node}", names) == [5.0, 60.0, 33, True]
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60.0)
    text = (tmp_path / "log").read_text()
    assert "hands from /cam/hand_recon/hands, images from /camera/image" in text
    assert "Error" not in text and "Traceback" not in text and "is ignored" not in text, text
    assert text.count("process has finished cleanly") == 2


@needs_launch
def test_one_parameter_file_for_two_cameras(tmp_path: pathlib.Path) -> None:
    """Each node has its own section, as with ros2 run."""
    file = tmp_path / "two.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    autostart: false\n    publish_tf: full\n"
        "/left_cam/hand_recon:\n  ros__parameters:\n    tf_prefix: left_\n    publish_tf: wrist\n"
        "/right_cam/hand_recon:\n  ros__parameters:\n    tf_prefix: right_\n"
    )
    names = ["tf_prefix", "publish_tf", "autostart", "threads"]
    with contextlib.ExitStack() as stack:
        for side in ("left", "right"):
            arguments = (f"namespace:={side}_cam", f"params_file:={file}", "threads:=1")
            stack.enter_context(launched(tmp_path / side, "hand_recon.launch.py", *arguments))
        values = {side: parameters_of(f"/{side}_cam/hand_recon", names) for side in ("left", "right")}
    assert values == {"left": ["left_", "wrist", False, 1], "right": ["right_", "full", False, 1]}


@needs_launch
def test_each_camera_has_a_node_in_its_namespace_with_frames_of_its_own(tmp_path: pathlib.Path) -> None:
    arguments = ("cameras:=left right", "namespace:=robot", "autostart:=false", "publish_tf:=full")
    names = ["tf_prefix", "publish_tf", "autostart"]
    with launched(tmp_path / "log", "multi_camera.launch.py", *arguments):
        values = {name: parameters_of(f"/robot/{name}/hand_recon", names) for name in ("left", "right")}
    assert values == {name: [f"{name}_human_", "full", False] for name in ("left", "right")}


@needs_launch
def test_teleoperation_on_the_topics_of_a_robot(tmp_path: pathlib.Path) -> None:
    arguments = (
        "namespace:=cell", "side:=left", "gripper:=off", "scale:=0.5", "twist_topic:=/servo_node/delta_twist_cmds",
    )  # fmt: skip
    with launched(tmp_path / "log", "hand_teleop.launch.py", *arguments):
        values = parameters_of("/cell/hand_teleop", ["side", "gripper", "scale"])
        topics = topics_of("hand_teleop", "/cell")
    assert values == ["left", "off", 0.5]
    assert {"/servo_node/delta_twist_cmds", "/cell/hand_teleop/target", "/cell/hand_recon/hands"} <= topics


def topics_of(name: str, namespace: str) -> set[str]:
    """The topics that a running node publishes or subscribes to."""
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("client", context=context)
    try:
        found: set[str] = set()
        for _ in range(100):
            with contextlib.suppress(Exception):  # the node is not known yet
                found = {
                    topic
                    for get in (node.get_publisher_names_and_types_by_node, node.get_subscriber_names_and_types_by_node)
                    for topic, _ in get(name, namespace)
                }
            if any("hands" in topic for topic in found):
                break
            time.sleep(0.1)
        return found
    finally:
        node.destroy_node()
        context.try_shutdown()


def parameters_of(node_name: str, names: list[str]) -> list[Any]:
    """Parameters of a running node."""
    import rclpy
    from rcl_interfaces.srv import GetParameters
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import parameter_value_to_python

    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("client", context=context)
    try:
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        client = node.create_client(GetParameters, f"{node_name}/get_parameters")
        assert client.wait_for_service(60.0), node_name
        future = client.call_async(GetParameters.Request(names=names))
        executor.spin_until_future_complete(future, timeout_sec=10.0)
        return [parameter_value_to_python(value) for value in future.result().values]
    finally:
        node.destroy_node()
        context.try_shutdown()


@needs_launch
@pytest.mark.parametrize(
    ("file", "arguments"), [("hand_recon.launch.py", ("autostart:=false",)), ("hand_teleop.launch.py", ())]
)
def test_a_node_that_was_killed_starts_again_where_that_is_wanted(
    tmp_path: pathlib.Path, file: str, arguments: tuple[str, ...]
) -> None:
    log = tmp_path / "log"

    def started(number: int) -> int:
        """The process id of the node's start of that number."""
        end = time.monotonic() + 60.0
        while len(found := re.findall(r"process started with pid \[(\d+)\]", log.read_text())) < number:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        return int(found[number - 1])

    with launched(log, file, "respawn:=true", *arguments) as process:
        os.kill(started(1), signal.SIGKILL)
        started(2)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60.0)
    assert len(re.findall("process started with pid", log.read_text())) == 2  # an interrupt is no fault


@needs_launch
def test_a_camera_that_ends_ends_the_launch(tmp_path: pathlib.Path) -> None:
    """A photo that cannot be read ends it at once; both nodes are in the namespace."""
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    arguments = ("autostart:=false", f"input:={tmp_path / 'bad.jpg'}", "namespace:=cam")
    with launched(tmp_path / "log", "demo.launch.py", *arguments) as process:
        process.wait(60.0)
    output = (tmp_path / "log").read_text()
    assert "bad.jpg cannot be decoded" in output
    assert output.count("__ns:=/cam ") == 2 and "process has died" in output


@needs_launch
def test_a_real_launch_starts_the_node_and_ends_it(tmp_path: pathlib.Path) -> None:
    """autostart:=false, so that no network is loaded."""
    log = tmp_path / "log"
    names = ["autostart", "fallback_fov", "publish_tf", "marker_rate", "use_sim_time", "encoder"]
    arguments = ("autostart:=false", "fallback_fov:=60", "publish_tf:=off", "use_sim_time:=true", "encoder:=none")
    with launched(log, "hand_recon.launch.py", *arguments) as process:
        values = parameters_of("/hand_recon", names)
        assert values == [False, 60.0, "off", table()["marker_rate"][1], True, "none"]
        # A terminal interrupts the whole process group: launch and the node.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60.0)
    text = log.read_text()
    assert "Error" not in text and "Traceback" not in text, text
    assert "process has finished cleanly" in text
