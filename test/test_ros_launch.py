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
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from hand_recon_ros.ros import topics
from hand_recon_ros.ros.parameters import table

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))

HAS_LAUNCH = all(importlib.util.find_spec(name) for name in ("launch", "launch_ros"))
needs_launch = pytest.mark.skipif(not HAS_LAUNCH, reason="launch is not installed: see tools/build_ros_overlay.py")


def test_there_is_a_launch_file_for_each_use() -> None:
    assert [file.name for file in LAUNCH_FILES] == ["demo.launch.py", "hand_recon.launch.py", "webcam.launch.py"]


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
def test_launch_arguments_are_few_and_described(file: pathlib.Path) -> None:
    arguments = arguments_of(file)
    assert 0 < len(arguments) <= 12
    assert len({argument.name for argument in arguments}) == len(arguments)
    assert all(argument.description for argument in arguments)


@needs_launch
def test_defaults_of_launch_arguments_come_from_the_parameter_file(tmp_path: pathlib.Path) -> None:
    from launch.utilities import perform_substitutions

    from launch import LaunchContext

    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    fallback_fov: 71.5\n    publish_tf: 'off'\n    autostart: false\n")
    context = LaunchContext()
    context.launch_configurations["params_file"] = str(file)
    values = {
        argument.name: perform_substitutions(context, argument.default_value)
        for argument in arguments_of(ROOT / "launch" / "hand_recon.launch.py")
        if argument.name in table()
    }
    assert (values["fallback_fov"], values["publish_tf"], values["autostart"]) == ("71.5", "off", "false")
    assert (values["tf_prefix"], values["mirrored_input"]) == ("human_", "false")


@needs_launch
def test_a_real_launch_starts_the_node_and_ends_it(tmp_path: pathlib.Path) -> None:
    """autostart:=false, so that no network is loaded."""
    script = (
        "import sys; from launch import LaunchDescription, LaunchService;"
        "from launch.actions import IncludeLaunchDescription as I;"
        "from launch.launch_description_sources import PythonLaunchDescriptionSource as P;"
        "service = LaunchService();"
        "service.include_launch_description(LaunchDescription([I(P(sys.argv[1]),"
        " launch_arguments=[('autostart', 'false'), ('fallback_fov', '60'), ('publish_tf', 'off')])]));"
        "sys.exit(service.run())"
    )
    log = tmp_path / "log"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(ROOT / "launch" / "hand_recon.launch.py")],
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        import rclpy
        from rcl_interfaces.srv import GetParameters
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        context = Context()
        rclpy.init(context=context)
        node = rclpy.create_node("client", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        client = node.create_client(GetParameters, "/hand_recon/get_parameters")
        assert client.wait_for_service(60.0), log.read_text()
        names = ["autostart", "fallback_fov", "publish_tf", "marker_rate"]
        future = client.call_async(GetParameters.Request(names=names))
        executor.spin_until_future_complete(future, timeout_sec=10.0)
        autostart, fov, tf, rate = future.result().values
        assert (autostart.bool_value, fov.double_value, tf.string_value) == (False, 60.0, "off")
        assert rate.double_value == table()["marker_rate"][1]
        node.destroy_node()
        context.try_shutdown()
        # A terminal interrupts the whole process group: launch and the node.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60.0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    text = log.read_text()
    assert "Error" not in text and "Traceback" not in text, text
    assert "process has finished cleanly" in text
