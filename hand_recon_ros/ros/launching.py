"""Functions of the launch files. Nothing else imports this: it needs ``launch``, and the nodes do not."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from . import topics
from .parameters import Parameters, as_meant, range_text, table
from .teleop_parameters import TeleopConfig
from .view_parameters import ViewConfig

NOT_GIVEN = "not given"
"""Default of the launch arguments that pass nothing to a node unless they are given: its parameter file and its own
defaults count then."""

VIEW_IN_RVIZ = [
    tuple(topic.name.replace("~", node) for node in ("hand_recon", "hand_recon_view"))
    for topic in topics.VIEW_OUTPUTS
    if topic.lazy
]
"""Remappings of RViz where it shows hand_recon_view: the topics of hand_recon, and those in their place."""


TELEOP_TOPICS = {"hands": topics.HANDS} | {
    f"{topic.name.removeprefix('~/')}_topic": topic
    for topic in (topics.START_POSE, *topics.TELEOP_OUTPUTS)
    if topic.name != "/diagnostics"
}
"""The topics of hand_teleop by the launch argument that remaps them."""

ENCLAVES = DeclareLaunchArgument(
    "enclaves",
    default_value="false",
    description="start each node in the SROS2 enclave of its name, such as /hand_recon; with a namespace, below it",
)


RESPAWN = DeclareLaunchArgument(
    "respawn",
    default_value="false",
    description="start a node of this package again, 2 s after its process has ended by itself",
)
_RESPAWN_DELAY = 2.0


class LaunchError(RuntimeError):
    """Launch arguments that cannot be used; the message has one line."""


def share(*parts: str) -> PathJoinSubstitution:
    """The path of a file that is installed with the package."""
    return PathJoinSubstitution([FindPackageShare("hand_recon_ros"), *parts])


def hand_recon_arguments(**defaults: str) -> list[DeclareLaunchArgument]:
    """The launch arguments of every launch file with the node hand_recon: each of its parameters is one.

    Args:
        defaults: of parameters that a launch file sets where they are not given.
    """
    arguments = [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes"),
        DeclareLaunchArgument("image", default_value="image", description="topic of the images"),
        DeclareLaunchArgument("camera_info", default_value="camera_info", description="topic of their calibration"),
        DeclareLaunchArgument("depth", default_value="depth", description="topic of depth registered to the images"),
        DeclareLaunchArgument(
            "params_file",
            default_value=NOT_GIVEN,
            description="parameters of hand_recon, also of several nodes with a section for each",
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value=NOT_GIVEN, description="the time of all nodes is that on /clock"
        ),
        ENCLAVES,
        RESPAWN,
        DeclareLaunchArgument("rviz", default_value="false", description="show image, hands and frames in RViz"),
        DeclareLaunchArgument(
            "view",
            default_value="false",
            description="start hand_recon_view, which draws in a process of its own; RViz shows what it draws",
        ),
        DeclareLaunchArgument(
            "fixed_frame", default_value=NOT_GIVEN, description="fixed frame of RViz: the frame_id of the images"
        ),
    ]
    return [*arguments, *parameter_arguments(Parameters, **defaults)]


def parameter_arguments(kind: type, **defaults: str) -> list[DeclareLaunchArgument]:
    """A launch argument for each parameter of the config dataclass ``kind``; ``defaults`` as above."""
    arguments = []
    for name, (entry, default) in table(kind).items():
        details = ", ".join(filter(None, [range_text(entry), entry.unit, f"its default: {default!r}"]))
        arguments.append(
            DeclareLaunchArgument(
                name,
                default_value=defaults.get(name, NOT_GIVEN),
                description=f"{entry.description} [{details}]",
            )
        )
    return arguments


def teleop_arguments() -> list[DeclareLaunchArgument]:
    """The launch arguments of the launch file with the node hand_teleop: its parameters and topics."""
    given = {"hands": "hand_recon/hands"}
    return [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("params_file", default_value=NOT_GIVEN, description="parameters of hand_teleop"),
        DeclareLaunchArgument("use_sim_time", default_value=NOT_GIVEN, description="the node's time is that on /clock"),
        ENCLAVES,
        RESPAWN,
        *(
            DeclareLaunchArgument(
                name,
                default_value=given.get(name, NOT_GIVEN),
                description=f"topic in place of {topic.name} ({topic.type})",
            )
            for name, topic in TELEOP_TOPICS.items()
        ),
        *parameter_arguments(TeleopConfig),
    ]


def checks(file: str, arguments: list[DeclareLaunchArgument]) -> Action:
    """What has to be known before anything starts: unknown arguments, and RViz that is not installed.

    Args:
        file: ``__file__`` of the launch file.
        arguments: that it declares.
    """

    def check(context: LaunchContext) -> None:
        # An included launch file has the arguments of the others beside its own.
        if any(Path(word).name == Path(file).name for word in sys.argv):
            check_names([word.partition(":=")[0] for word in context.argv if ":=" in word], arguments)
        if "rviz" in context.launch_configurations and is_set(context, "rviz"):
            try:
                get_package_prefix("rviz2")
            except PackageNotFoundError:
                raise LaunchError(
                    "rviz:=true needs the package rviz2, which is not installed: install it"
                    " (apt install ros-$ROS_DISTRO-rviz2), or leave out rviz"
                ) from None

    return OpaqueFunction(function=check)


def check_names(given: list[str], arguments: list[DeclareLaunchArgument]) -> None:
    """Raise LaunchError for a name that is none of the arguments: launch ignores it in silence."""
    known = [argument.name for argument in arguments]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "--show-args lists those there are"
            raise LaunchError(f"unknown launch argument {name!r}; {hint}")


def value(context: LaunchContext, name: str) -> str:
    """The value of a launch argument."""
    return str(LaunchConfiguration(name).perform(context))


def is_set(context: LaunchContext, name: str) -> bool:
    """The value of a launch argument that is true or false; one that is not given is false."""
    return value(context, name).strip().lower() in ("true", "1", "yes", "on")


def given_parameters(context: LaunchContext, kind: type = Parameters) -> dict[str, Any]:
    """Name -> value of the parameters of ``kind`` that are given as launch arguments, and no others."""
    values: dict[str, Any] = {}
    for name, (entry, default) in table(kind).items():
        text = value(context, name)
        if text != NOT_GIVEN:
            values[name] = text if isinstance(default, str) else as_meant(_parsed(text), entry, default)
    return {**values, **sim_time(context)}


def _parsed(text: str) -> Any:
    """A value in YAML; the text where it is none, which the node refuses by the parameter's name."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def sim_time(context: LaunchContext) -> dict[str, Any]:
    """The parameter use_sim_time, where it is given."""
    return {} if value(context, "use_sim_time") == NOT_GIVEN else {"use_sim_time": is_set(context, "use_sim_time")}


def hand_recon() -> Action:
    """The node hand_recon, and view and RViz where they are wanted, by :func:`hand_recon_arguments`."""

    def nodes(context: LaunchContext) -> list[Action]:
        given = given_parameters(context)
        actions: list[Action] = [_node(context, "hand_recon", given, _topics())]
        if is_set(context, "view"):
            for_view = {name: given[name] for name in given if name in (*table(ViewConfig), "use_sim_time")}
            actions.append(_node(context, "hand_recon_view", for_view, [*_topics(), ("hands", "hand_recon/hands")]))
        if is_set(context, "rviz"):
            actions.append(_rviz(context))
        return actions

    return OpaqueFunction(function=nodes)


def hand_teleop() -> Action:
    """The node hand_teleop, by the launch arguments of its launch file."""

    def node(context: LaunchContext) -> list[Action]:
        outputs = [
            (topic.name, value(context, argument))
            for argument, topic in TELEOP_TOPICS.items()
            if value(context, argument) != NOT_GIVEN
        ]
        return [_node(context, "hand_teleop", given_parameters(context, TeleopConfig), outputs)]

    return OpaqueFunction(function=node)


def _node(
    context: LaunchContext, name: str, parameters: Mapping[str, Any], remappings: Sequence[tuple[str, Any]]
) -> Node:
    """A node of this package; its executable has its name."""
    file = value(context, "params_file")
    return Node(
        package="hand_recon_ros",
        executable=name,
        name=name,
        namespace=LaunchConfiguration("namespace"),
        # The file goes to the node as it is: rcl finds the sections that are for it.
        parameters=[*([file] if file != NOT_GIVEN else []), *([_typed(parameters)] if parameters else [])],
        remappings=list(remappings),
        ros_arguments=_enclave(context, name),
        respawn=is_set(context, "respawn"),
        respawn_delay=_RESPAWN_DELAY,
        output="screen",
    )


def _enclave(context: LaunchContext, name: str) -> list[str]:
    """What puts a node into the enclave that has its namespace and name, where that is wanted."""
    if not is_set(context, "enclaves"):
        return []
    return ["--enclave", "/" + "/".join(filter(None, [*value(context, "namespace").split("/"), name]))]


def _rviz(context: LaunchContext) -> Node:
    """RViz with markers and image of hand_recon, or of the view where there is one."""
    frame = value(context, "fixed_frame")
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        parameters=[sim_time(context)] if sim_time(context) else [],
        remappings=VIEW_IN_RVIZ if is_set(context, "view") else [],
        arguments=["-d", share("config", "hand_recon.rviz"), *(["-f", frame] if frame != NOT_GIVEN else [])],
    )


def camera_source(context: LaunchContext, parameters: Mapping[str, Any]) -> Node:
    """The node camera_source on the topics that hand_recon subscribes to; where it ends, everything ends."""
    return Node(
        package="hand_recon_ros",
        executable="camera_source",
        name="camera_source",
        namespace=LaunchConfiguration("namespace"),
        parameters=[_typed({**parameters, "compressed": is_set(context, "use_compressed"), **sim_time(context)})],
        remappings=_topics(),
        ros_arguments=_enclave(context, "camera_source"),
        output="screen",
        on_exit=Shutdown(reason="camera_source has ended"),
    )


def _typed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Launch reads a plain text as YAML: the source "0" would be a number."""
    return {
        name: ParameterValue(each, value_type=str) if isinstance(each, str) else each
        for name, each in parameters.items()
    }


def _topics() -> list[tuple[str, Any]]:
    image = LaunchConfiguration("image")
    return [
        ("image", image),
        ("image/compressed", [image, "/compressed"]),
        ("camera_info", LaunchConfiguration("camera_info")),
        ("depth", LaunchConfiguration("depth")),
    ]


def description(
    file: str,
    own: Mapping[str, tuple[str, str]] | None = None,
    source: Callable[[LaunchContext], list[Action]] | None = None,
    **defaults: str,
) -> LaunchDescription:
    """A launch file with the node hand_recon.

    Args:
        file: ``__file__`` of the launch file.
        own: arguments beside those of hand_recon: name -> default and description.
        source: makes the actions that start where the images come from; None: they are there already.
        defaults: of parameters that the launch file sets where they are not given.
    """
    arguments = hand_recon_arguments(**defaults)
    for name, (default, text) in (own or {}).items():
        arguments.append(DeclareLaunchArgument(name, default_value=default, description=text))
    sources = [] if source is None else [OpaqueFunction(function=source)]
    return LaunchDescription([*arguments, checks(file, arguments), *large_image_transport(), *sources, hand_recon()])


def large_image_transport() -> list[Action]:
    """Fast DDS transports for large images; a profile that the user has set stays."""
    # Fast DDS 3 reads the old variable as well, and fails on a profile that both name.
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    profile = EnvironmentVariable(variable, default_value=share("config", "fastdds.xml"))
    return [SetEnvironmentVariable(variable, profile)]
