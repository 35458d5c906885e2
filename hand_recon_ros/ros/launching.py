"""Functions of the launch files. Nothing else imports this: it needs ``launch``, and the nodes do not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from launch.action import Action
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.launch_context import LaunchContext
from launch.substitution import Substitution
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from ..config import read_yaml
from .parameters import range_text, table


class FromParameterFile(Substitution):
    """The value of a parameter in the file of the launch argument ``params_file``, else its default.

    As the default of a launch argument it leaves both the file's values and those of the command line as they are.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def describe(self) -> str:
        return f"{self._name} in params_file"

    def perform(self, context: LaunchContext) -> str:
        values = read_yaml(LaunchConfiguration("params_file").perform(context))
        value = values.get(self._name, table()[self._name][1])
        return str(value).lower() if isinstance(value, bool) else str(value)


def share(*parts: str) -> PathJoinSubstitution:
    """The path of a file that is installed with the package."""
    return PathJoinSubstitution([FindPackageShare("hand_recon_ros"), *parts])


def parameter_arguments(*names: str) -> list[Action]:
    """The launch arguments ``params_file`` and one for each of these parameters of hand_recon, with the same name."""
    arguments: list[Action] = [
        DeclareLaunchArgument(
            "params_file", default_value=share("config", "hand_recon.yaml"), description="parameters of hand_recon"
        )
    ]
    for name in names:
        entry, _ = table()[name]
        details = ", ".join(filter(None, [range_text(entry), entry.unit]))
        arguments.append(
            DeclareLaunchArgument(
                name,
                default_value=FromParameterFile(name),
                description=entry.description + (f" [{details}]" if details else ""),
            )
        )
    return arguments


def parameter_values(*names: str) -> list[Any]:
    """The ``parameters`` of the node: the file, overridden by the arguments of :func:`parameter_arguments`."""
    values = {name: ParameterValue(LaunchConfiguration(name), value_type=type(table()[name][1])) for name in names}
    return [LaunchConfiguration("params_file"), values]


def passed_on(*names: str) -> Mapping[str, LaunchConfiguration]:
    """Arguments of this launch file, for a launch file that it includes."""
    return {name: LaunchConfiguration(name) for name in names}


def large_image_transport() -> list[Action]:
    """Fast DDS transports for large images; a profile that the user has set stays."""
    # Fast DDS 3 reads the old variable as well, and fails on a profile that both name.
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    profile = EnvironmentVariable(variable, default_value=share("config", "fastdds.xml"))
    return [SetEnvironmentVariable(variable, profile)]
