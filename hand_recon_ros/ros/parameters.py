"""The node's parameters: one table, from which they are declared, checked, documented and written as YAML.

Nothing here imports rclpy at module level, so that the table can be read, and its documents made, without ROS:
``python -m hand_recon_ros.ros.parameters yaml|markdown``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ..config import ConfigError, ReconstructorConfig, Setting, checked, setting, settings_of

_FRAME_CHARACTERS = re.compile(r"[A-Za-z0-9_./~-]*")


@dataclasses.dataclass(frozen=True)
class NodeConfig:
    """Settings of the node itself, beside those of the reconstruction. Raises ConfigError where two contradict."""

    autostart: bool = setting(True, "configure and activate at start; false leaves that to a lifecycle manager")
    use_compressed: bool = setting(False, "subscribe to image/compressed instead of image")
    rectified: bool = setting(False, "the images are rectified: use P of camera_info and no distortion")
    image_reliability: str = setting(
        "best_effort",
        "reliability asked of the camera; reliable brings large images through where no shared-memory profile is set,"
        " and gets nothing from a best-effort publisher",
        choices=("best_effort", "reliable"),
    )
    fallback_fov: float = setting(
        0.0,
        "field of view across the longer image side, assumed while there is no camera_info; the estimates then say"
        " calibrated=false and there is no TF; 0 waits for camera_info",
        unit="deg",
        low=0.0,
        high=175.0,
        live=True,
    )
    max_image_age: float = setting(
        0.0,
        "images older than this when they are taken up are discarded; 0 takes all",
        unit="s",
        low=0.0,
        high=60.0,
        live=True,
    )
    publish_tf: str = setting(
        "wrist",
        "transforms on /tf: none, the two wrists, or the finger joints as well",
        choices=("off", "wrist", "full"),
        live=True,
    )
    tf_prefix: str = setting("human_", "put before the name of every frame on /tf", live=True)
    marker_rate: float = setting(15.0, "most messages on ~/markers", unit="Hz", low=1.0, high=240.0, live=True)
    debug_image_rate: float = setting(15.0, "most messages on ~/debug_image", unit="Hz", low=0.1, high=240.0, live=True)
    debug_image_quality: int = setting(
        80, "JPEG quality of ~/debug_image/compressed", unit="%", low=1, high=100, live=True
    )

    def __post_init__(self) -> None:
        if 0.0 < self.fallback_fov < 1.0:
            raise ConfigError(f"fallback_fov must be 0 (off) or lie in [1, 175] deg, got {self.fallback_fov!r}")
        if not _FRAME_CHARACTERS.fullmatch(self.tf_prefix) or self.tf_prefix.startswith("/"):
            raise ConfigError(
                f"tf_prefix {self.tf_prefix!r} cannot begin a frame name: use letters, digits and _ . ~ - /, not"
                " starting with /"
            )


@dataclasses.dataclass(frozen=True)
class Parameters:
    """All parameters at one moment; the worker takes one of these per image, so that they never change under it."""

    node: NodeConfig
    reconstructor: ReconstructorConfig


_PARTS: dict[str, type] = {"node": NodeConfig, "reconstructor": ReconstructorConfig}


def table() -> dict[str, tuple[Setting, Any]]:
    """Name -> (setting, default) of every parameter, in the order they are documented."""
    return {name: entry for kind in _PARTS.values() for name, entry in settings_of(kind).items()}


def snapshot(values: Mapping[str, Any]) -> Parameters:
    """Parameters from name -> value (missing ones at their default), every value and combination checked.

    Raises ConfigError, whose message names the parameter, its value and what was expected.
    """
    rest, parts = dict(values), dict[str, Any]()
    for part, kind in _PARTS.items():
        parts[part] = checked(kind, {name: rest.pop(name) for name in settings_of(kind) if name in rest})
    for name in rest:
        raise ConfigError(f"unknown parameter {name!r}{suggestion(name)}")
    return Parameters(**parts)


def live_changes(old: Parameters, new: Parameters) -> dict[str, Any]:
    """The settings of the reconstruction that may change while it runs and do so from ``old`` to ``new``."""
    return {
        name: getattr(new.reconstructor, name)
        for name, (entry, _) in settings_of(ReconstructorConfig).items()
        if entry.live and getattr(new.reconstructor, name) != getattr(old.reconstructor, name)
    }


def suggestion(name: str) -> str:
    """Text after a misspelt parameter's name: the closest known one."""
    close = difflib.get_close_matches(name, table(), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def range_text(entry: Setting) -> str:
    """What values are allowed, for people: ``0 .. 1``, ``a, b``, or nothing."""
    if entry.choices:
        return ", ".join(entry.choices)
    if entry.low is not None and entry.high is not None:
        return f"{entry.low:g} .. {entry.high:g}"
    return ""


def markdown_table() -> str:
    """The parameter table of the README."""
    lines = ["| Parameter | Default | Range | Unit | Live | Meaning |", "|---|---|---|---|---|---|"]
    for name, (entry, default) in table().items():
        cells = [
            f"`{name}`",
            f"`{_literal(default)}`",
            range_text(entry),
            entry.unit,
            "yes" if entry.live else "",
            entry.description,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def yaml_text() -> str:
    """The parameter file ``config/hand_recon.yaml``: every parameter at its default, explained."""
    lines = [
        "# Parameters of the node hand_recon, at their defaults. Made from the code's own table by",
        "# `python -m hand_recon_ros.ros.parameters yaml`; those marked (live) may change while the node runs.",
        "/**:",
        "  ros__parameters:",
    ]
    for name, (entry, default) in table().items():
        details = ", ".join(filter(None, [range_text(entry), entry.unit]))
        details = f" [{details}]" if details else ""
        live = " (live)" if entry.live else ""
        lines += [f"    # {entry.description}{details}{live}", f"    {name}: {_literal(default)}"]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    """``value`` as YAML and as people write it; JSON's scalars are YAML's, and floats keep their point."""
    return json.dumps(value)


def declare(node: Any) -> Parameters:
    """Declare every parameter of the table on an rclpy node; return the values it was started with.

    Raises ConfigError for a value of the wrong kind or out of range.
    """
    # Left to itself rclpy would refuse `fallback_fov:=60` for being an integer: the start values are read here.
    overrides = {name: coerced(name, parameter.value) for name, parameter in node._parameter_overrides.items()}
    values = {
        name: entry.check(name, overrides.get(name, default), default) for name, (entry, default) in table().items()
    }
    parameters = snapshot(values)
    for name, (entry, default) in table().items():
        node.declare_parameter(name, values[name], descriptor(name, entry, default), ignore_override=True)
    for name in overrides:
        if not node.has_parameter(name) and not name.startswith("qos_overrides."):  # the others are rclpy's own
            node.get_logger().warning(f"unknown parameter {name!r} is ignored{suggestion(name)}")
    return parameters


def descriptor(name: str, entry: Setting, default: Any) -> Any:
    """The rcl_interfaces/ParameterDescriptor of a parameter."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    message = ParameterDescriptor(name=name, description=entry.description, read_only=not entry.live)
    if entry.unit:
        message.description += f" ({entry.unit})"
    if entry.choices:
        message.additional_constraints = f"one of: {', '.join(entry.choices)}"
    if entry.low is not None and entry.high is not None:
        if isinstance(default, float):
            message.floating_point_range = [FloatingPointRange(from_value=float(entry.low), to_value=float(entry.high))]
        else:
            message.integer_range = [IntegerRange(from_value=int(entry.low), to_value=int(entry.high))]
    return message


def coerced(name: str, value: Any) -> Any:
    """``value`` as :func:`as_meant` has it for the parameter ``name``; unchanged where there is none of that name."""
    return as_meant(value, *table().get(name, (Setting(""), None)))


def as_meant(value: Any, entry: Setting, default: Any) -> Any:
    """``value`` in the type of a setting where YAML's reading of it lost that type, else unchanged.

    YAML reads ``60`` as an integer and ``off`` as a boolean, and rclpy is strict about both.
    """
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if value is False and "off" in entry.choices:
        return "off"
    return value


def coerced_parameters(parameters: Iterable[Any]) -> list[Any]:
    """rclpy parameters with :func:`coerced` values (the node's pre-set callback)."""
    from rclpy.parameter import Parameter

    return [
        parameter
        if coerced(parameter.name, parameter.value) is parameter.value
        else Parameter(parameter.name, value=coerced(parameter.name, parameter.value))
        for parameter in parameters
    ]


def changed(current: Parameters, parameters: Iterable[Any]) -> Parameters:
    """``current`` with the rclpy ``parameters`` of the table set; others are ignored. Raises ConfigError as above."""
    values = {**dataclasses.asdict(current.node), **dataclasses.asdict(current.reconstructor)}
    entries = table()
    values.update({parameter.name: parameter.value for parameter in parameters if parameter.name in entries})
    return snapshot(values)


def main() -> int:
    """Print the table's documents: ``python -m hand_recon_ros.ros.parameters yaml|markdown``."""
    documents = {"yaml": yaml_text, "markdown": markdown_table}
    if len(sys.argv) != 2 or sys.argv[1] not in documents:
        print("usage: python -m hand_recon_ros.ros.parameters yaml|markdown", file=sys.stderr)
        return 2
    print(documents[sys.argv[1]](), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
