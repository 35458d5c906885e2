"""The nodes' parameters: declared, checked, documented and written as YAML from the settings of config dataclasses.

Nothing here imports rclpy at module level, so that the documents can be made without ROS:
``python -m hand_recon_ros.ros.parameters yaml|markdown``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ..config import ConfigError, ReconstructorConfig, Setting, checked, setting, settings_of
from ..conversions.frame_names import is_frame_name, prefix_fault

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class NodeConfig:
    """Settings of the node hand_recon, beside those of the reconstruction. Raises ConfigError where two contradict."""

    autostart: bool = setting(True, "configure and activate at start; false leaves that to a lifecycle manager")
    use_compressed: bool = setting(False, "subscribe to image/compressed instead of image")
    rectified: bool = setting(False, "the images are rectified: use P of camera_info and no distortion")
    image_reliability: str = setting(
        "auto",
        "reliability requested from the camera: auto is what its publisher offers; reliable loses no large images where"
        " no shared-memory profile is set, and receives none from a best-effort publisher",
        choices=("auto", "best_effort", "reliable"),
    )
    fallback_fov: float = setting(
        0.0,
        "field of view across the longer image side, assumed while there is no camera_info; the estimates then have"
        " calibrated=false, and there is no TF; 0 waits for camera_info",
        unit="deg",
        low=0.0,
        high=175.0,
        live=True,
    )
    max_image_age: float = setting(
        0.0,
        "images older than this are not processed; 0 processes all",
        unit="s",
        low=0.0,
        high=60.0,
        live=True,
    )
    use_depth: bool = setting(
        False, "subscribe to depth, a depth image registered to the images, for the hands' position and size"
    )
    depth_slop: float = setting(
        0.04,
        "a depth image belongs to an image whose stamp differs by no more than this; without one the image alone is"
        " used",
        unit="s",
        low=0.0,
        high=1.0,
        live=True,
    )
    target_frame: str = setting(
        "",
        "frame in which the hands are published, such as the robot's base, by tf2 at the image's stamp; empty: that of"
        " the images",
    )
    tf_wait: float = setting(
        0.02, "how long an image waits for the transform to target_frame", unit="s", low=0.0, high=0.2, live=True
    )
    smoothing_delay: float = setting(
        0.0,
        "publish the hands of each image this much later, smoothed by the images before and after it; 0 at once",
        unit="s",
        low=0.0,
        high=0.5,
        live=True,
    )
    publish_tf: str = setting(
        "wrist",
        "transforms on /tf: none, the two wrists, or the finger joints as well",
        choices=("off", "wrist", "full"),
        live=True,
    )
    tf_prefix: str = setting("human_", "prefix of the name of every frame on /tf", live=True)
    marker_rate: float = setting(15.0, "highest rate of ~/markers", unit="Hz", low=1.0, high=240.0, live=True)
    debug_image_rate: float = setting(15.0, "highest rate of ~/debug_image", unit="Hz", low=0.1, high=240.0, live=True)
    debug_image_quality: int = setting(
        80, "JPEG quality of ~/debug_image/compressed", unit="%", low=1, high=100, live=True
    )

    diagnostics: bool = setting(True, "publish /diagnostics once a second", live=True)

    def __post_init__(self) -> None:
        if 0.0 < self.fallback_fov < 1.0:
            raise ConfigError(f"fallback_fov must be 0 (off) or lie in [1, 175] deg, got {self.fallback_fov!r}")
        fault = prefix_fault(self.tf_prefix)
        if fault:
            raise ConfigError(f"tf_prefix {fault}")
        if not is_frame_name(self.target_frame):
            raise ConfigError(f"target_frame {self.target_frame!r} is no frame name: use letters, digits and _ . ~ - /")


@dataclasses.dataclass(frozen=True)
class Parameters:
    """All parameters of hand_recon at one moment: the worker takes one snapshot for each image."""

    node: NodeConfig
    reconstructor: ReconstructorConfig


_OF_RCLPY = ("use_sim_time", "start_type_description_service")


def _parts(kind: type) -> tuple[type, ...]:
    """The config dataclasses with the settings of ``kind``: itself, unless that is :class:`Parameters`."""
    return (NodeConfig, ReconstructorConfig) if kind is Parameters else (kind,)


def _make(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of ``kind`` from name -> value, missing ones at their defaults; raises ConfigError."""
    configs: list[Any] = [
        checked(part, {name: values[name] for name in settings_of(part) if name in values}) for part in _parts(kind)
    ]
    return kind(*configs) if kind is Parameters else configs[0]


def table(kind: type = Parameters) -> dict[str, tuple[Setting, Any]]:
    """Name -> (setting, default) of the parameters of ``kind``, a config dataclass or :class:`Parameters`, in order."""
    return {name: entry for part in _parts(kind) for name, entry in settings_of(part).items()}


def declare(node: Any, kind: type[T], ignore_unknown: bool = False) -> T:
    """Declare the parameters of ``kind`` on a node made with :func:`node_options`; returns their start values.

    Raises ConfigError for a value of the wrong type or out of range, and for an unknown name unless
    ``ignore_unknown``: then that is logged, except for a parameter of hand_recon.
    """
    entries = table(kind)
    given = {name: each.value for name, each in node.get_parameters_by_prefix("").items() if name not in _OF_RCLPY}
    for name in given:  # declared again below, with description, range and type; qos_overrides.* by rclpy
        node.undeclare_parameter(name)
    for name in given:
        if name not in entries and not name.startswith("qos_overrides."):
            if ignore_unknown and name in table():
                continue  # a section for all nodes has hand_recon's
            if not ignore_unknown:
                raise ConfigError(f"unknown parameter {name!r}{suggestion(name, entries)}")
            node.get_logger().warning(f"unknown parameter {name!r} is ignored{suggestion(name, entries)}")
    values = {name: as_meant(given[name], *entries[name]) for name in given if name in entries}
    made = _make(kind, values)
    for name, (entry, default) in entries.items():
        node.declare_parameter(name, values.get(name, default), descriptor(name, entry, default), ignore_override=True)
    return made


def node_options() -> dict[str, Any]:
    """Arguments of rclpy's Node that :func:`declare` needs.

    rclpy is strict about types: it refuses ``fallback_fov:=60`` for being an integer. The start values have to be read
    before the parameters are declared, and only as parameters of that kind are they accessible.
    """
    return {"automatically_declare_parameters_from_overrides": True}


def refused_arguments(name: str, error: Exception) -> int:
    """Log in one line why rcl refuses the arguments of the node ``name``; returns the exit status, 1."""
    import rclpy

    reason = str(error) if isinstance(error, ConfigError) else f"{error}: check the arguments and parameter files"
    rclpy.logging.get_logger(name).fatal(" ".join(reason.split()))
    return 1


def snapshot(values: Mapping[str, Any]) -> Parameters:
    """Parameters of hand_recon from name -> value, missing ones at their defaults; raises ConfigError."""
    for name in values:
        if name not in table():
            raise ConfigError(f"unknown parameter {name!r}{suggestion(name, table())}")
    return _make(Parameters, values)


def changed(current: T, parameters: Iterable[Any]) -> T:
    """``current``, a config dataclass or :class:`Parameters`, with those of the rclpy ``parameters`` that it has.

    Raises ConfigError.
    """
    parts: tuple[Any, ...] = (current.node, current.reconstructor) if isinstance(current, Parameters) else (current,)
    values = {name: value for part in parts for name, value in dataclasses.asdict(part).items()}
    values.update({parameter.name: parameter.value for parameter in parameters if parameter.name in values})
    return _make(type(current), values)


def live_changes(old: ReconstructorConfig, new: ReconstructorConfig) -> dict[str, Any]:
    """The live settings of the reconstruction that differ from ``old`` to ``new``, with their new values."""
    if old == new:
        return {}
    return {
        name: getattr(new, name)
        for name, (entry, _) in settings_of(new).items()
        if entry.live and getattr(new, name) != getattr(old, name)
    }


def suggestion(name: str, known: Iterable[str]) -> str:
    """Text after a misspelt name: the closest known one."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


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


def as_meant(value: Any, entry: Setting, default: Any) -> Any:
    """``value`` in the type of a setting where YAML has read it as another, else unchanged.

    YAML reads ``60`` as an integer and ``off`` as a boolean, also where a number with a point or a text is meant.
    """
    value = entry.as_meant(value)
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(default, float | str):
        return type(default)(value)
    return value


def as_meant_parameters(parameters: Iterable[Any], kind: type = Parameters) -> list[Any]:
    """rclpy parameters with values :func:`as_meant` for those of ``kind`` (the node's pre-set callback)."""
    from rclpy.parameter import Parameter

    entries, result = table(kind), []
    for parameter in parameters:
        value = parameter.value
        if parameter.name in entries:
            value = as_meant(value, *entries[parameter.name])
        result.append(parameter if value is parameter.value else Parameter(parameter.name, value=value))
    return result


def range_text(entry: Setting) -> str:
    """The allowed values in words: ``0 .. 1``, ``a, b``, or nothing."""
    if entry.choices:
        return ", ".join(entry.choices)
    if entry.low is not None and entry.high is not None:
        return f"{entry.low:g} .. {entry.high:g}"
    return ""


def markdown_table(kind: type = Parameters) -> str:
    """The parameters of ``kind`` as a table in Markdown; the column Live is left out where no parameter is live."""
    entries = table(kind)
    live = any(entry.live for entry, _ in entries.values())
    header = ["Parameter", "Default", "Range", "Unit", *(["Live"] if live else []), "Meaning"]
    rows = [header, ["---"] * len(header)]
    for name, (entry, default) in entries.items():
        row = [f"`{name}`", f"`{_literal(default)}`", range_text(entry), entry.unit]
        rows.append([*row, *(["yes" if entry.live else ""] if live else []), entry.description])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines[1] = lines[1].replace(" ", "")
    return "\n".join(lines) + "\n"


def yaml_text() -> str:
    """The parameter file ``config/hand_recon.yaml``: every parameter of hand_recon at its default, with its meaning."""
    lines = [
        "# Parameters of the node hand_recon, at their defaults. Generated from the code by",
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
    """``value`` as YAML: its scalars include JSON's, and floats keep their point."""
    return json.dumps(value)


def main() -> int:
    """Print a document: ``python -m hand_recon_ros.ros.parameters yaml|markdown``."""
    documents = {"yaml": yaml_text, "markdown": markdown_table}
    if len(sys.argv) != 2 or sys.argv[1] not in documents:
        print("usage: python -m hand_recon_ros.ros.parameters yaml|markdown", file=sys.stderr)
        return 2
    print(documents[sys.argv[1]](), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
