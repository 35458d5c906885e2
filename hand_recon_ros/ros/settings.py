"""Parameters of the small nodes: read-only, from a config dataclass, checked before anything starts."""

from __future__ import annotations

from typing import Any, TypeVar

from ..config import ConfigError, Setting, checked, settings_of
from .parameters import as_meant, descriptor, range_text

T = TypeVar("T")


def declare_settings(node: Any, kind: type[T]) -> T:
    """Declare the fields of the config dataclass ``kind`` as parameters of an rclpy node; return their values.

    Raises ConfigError for an unknown name, a value of the wrong kind or out of range.
    """
    known = settings_of(kind)
    values = {}
    for name, parameter in node._parameter_overrides.items():
        if node.has_parameter(name) or name.startswith("qos_overrides."):  # rclpy's own
            continue
        values[name] = _coerced(parameter.value, *known[name]) if name in known else parameter.value
    config = checked(kind, values)
    for name, (entry, default) in known.items():
        description = descriptor(name, entry, default)
        description.read_only = True
        node.declare_parameter(name, getattr(config, name), description, ignore_override=True)
    return config


def _coerced(value: Any, entry: Setting, default: Any) -> Any:
    """As :func:`as_meant`, and ``source:=0``, which YAML takes for a number, is text."""
    if isinstance(default, str) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return as_meant(value, entry, default)


def settings_table(kind: type) -> str:
    """The parameters of a small node as a table in Markdown."""
    lines = ["| Parameter | Default | Range | Unit | Meaning |", "|---|---|---|---|---|"]
    for name, (entry, default) in settings_of(kind).items():
        value = str(default).lower() if isinstance(default, bool) else repr(default).replace("'", '"')
        lines.append(f"| `{name}` | `{value}` | {range_text(entry)} | {entry.unit} | {entry.description} |")
    return "\n".join(lines) + "\n"


__all__ = ["ConfigError", "declare_settings", "settings_table"]
