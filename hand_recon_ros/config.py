"""Settings of the reconstruction: each one in one place, with its default, range, unit and description.

The node declares its parameters from these fields, the YAML files and the README's tables are made from them, and
keyword arguments of ``TwoHandReconstructor.from_config`` are checked against them.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, its value and what was expected."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Description of a setting beside its default (dataclass field metadata, under the key ``setting``)."""

    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    """Whether it may change while running; the others are read-only once the networks are loaded."""

    def as_meant(self, value: Any) -> Any:
        """``value``, or ``off`` where that is a choice and YAML has read it as false."""
        return "off" if value is False and "off" in self.choices else value

    def check(self, name: str, value: Any, default: Any) -> Any:
        """``value`` in the type of ``default``; raises ConfigError where it is of another kind or out of range."""
        kind = type(default)
        value = self.as_meant(value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise ConfigError(f"{name} must be of type {kind.__name__}, got {value!r}")
        if kind is float and not math.isfinite(value):
            raise ConfigError(f"{name} must be finite, got {value!r}")
        if self.low is not None and value < self.low or self.high is not None and value > self.high:
            raise ConfigError(f"{name} must lie in [{self.low}, {self.high}] {self.unit}".rstrip() + f", got {value!r}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{name} must be one of {', '.join(map(repr, self.choices))}, got {value!r}")
        return value


def setting(default: Any, description: str, **details: Any) -> Any:
    """A dataclass field with a :class:`Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(description, **details)})


def settings_of(config: Any) -> dict[str, tuple[Setting, Any]]:
    """Name -> (setting, default) of a config dataclass or an instance of one, in order."""
    return {field.name: (field.metadata["setting"], field.default) for field in dataclasses.fields(config)}


def same_setting(config: Any, name: str, description: str = "") -> Any:
    """A dataclass field with the setting and default of the field ``name`` of another config dataclass.

    ``description`` replaces the other's where it is not empty.
    """
    entry, default = settings_of(config)[name]
    entry = dataclasses.replace(entry, description=description or entry.description)
    return dataclasses.field(default=default, metadata={"setting": entry})


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the config dataclass ``kind``; raises ConfigError for unknown names and bad values."""
    known = settings_of(kind)
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown setting {name!r}{hint}")
    return kind(**{name: known[name][0].check(name, value, known[name][1]) for name, value in values.items()})


def load_yaml(path: str | os.PathLike[str]) -> Any:
    """What is in a YAML file; raises ConfigError where it cannot be read, or is none."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    # yaml passes on what its constructors raise, as for the date 2001-02-30.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from error


def read_yaml(path: str | os.PathLike[str], node: str = "hand_recon") -> dict[str, Any]:
    """The settings in a YAML file: a plain mapping, or a ROS parameter file.

    Of a parameter file the sections for ``node`` count, in whatever namespace, and those for all nodes (``/**``).
    Raises ConfigError where the file cannot be read or is no mapping.
    """
    content = load_yaml(path) or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(content).__name__}")
    try:
        sections = list(_sections(content))
    except RecursionError as error:
        raise ConfigError(f"{path}: a section contains itself") from error
    for name, values in sections:
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: ros__parameters of {name!r}: expected a mapping, got {type(values).__name__}")
    if not sections:
        return content
    return {key: value for name, values in sections if name in ("**", "*", node) for key, value in values.items()}


def _sections(content: dict[Any, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Node name (without namespace) and what is under ros__parameters of each section of a ROS parameter file."""
    for key, value in content.items():
        if key == "ros__parameters":
            yield name, value or {}
        elif isinstance(value, dict):
            yield from _sections(value, str(key).rsplit("/", 1)[-1])


SHORTEST_HAND, LONGEST_HAND = 0.15, 0.23
"""Lengths, metres, that the embedded hand model can have."""
SMOOTHING = {"off": (0.0, 0.0), "low_lag": (3.0, 40.0), "balanced": (2.0, 15.0), "smooth": (1.2, 8.0)}
"""Cutoff (Hz) and speed coefficient of the filters, by name."""


@dataclasses.dataclass(frozen=True)
class ReconstructorConfig:
    """Settings of :class:`hand_recon_ros.TwoHandReconstructor`."""

    device: str = setting(
        "auto",
        "where the networks run: cpu, cuda (a GPU, in PyTorch), auto (cuda if it can be used, else cpu), or torch (the "
        "code of cuda on the CPU, slow)",
        choices=("auto", "cpu", "cuda", "torch"),
    )
    threads: int = setting(2, "threads of the CPU runtime (device cpu)", low=1, high=64)
    detector: str = setting(
        "small", "detector of pairs of hands, beside the palm detector: none or small", choices=("none", "small")
    )
    body: str = setting(
        "full", "body-pose network that locates the hands of a person: none or full", choices=("none", "full")
    )
    operator: str = setting(
        "largest",
        "whose hands are taken where there are several persons: of the one with the largest body, of the one with the "
        "nearest hands, or of the first one until lost",
        choices=("largest", "nearest", "first"),
        live=True,
    )
    encoder: str = setting(
        "small",
        "encoder beside the landmark network: none, small, or a path (.onnx, or what hand-recon import-checkpoint "
        "wrote)",
    )
    encoder_interval: float = setting(
        0.09, "time between two runs of the encoder while the hands do not overlap; while they do, 0.05 s at most",
        unit="s", low=0.0, high=1.0, live=True,
    )  # fmt: skip
    refiner: str = setting("small", "diffusion prior of two overlapping hands: none, small, or a path (.onnx)")
    hand_model: str = setting(
        "", "path of a hand model in MANO's layout (.npz, .safetensors); empty is the embedded hand"
    )
    model_dir: str = setting(
        "",
        "folder with the networks of hand-recon models fetch; empty: $HAND_RECON_MODEL_DIR, or else the user's cache "
        "and an installed mediapipe",
    )
    model_cache: str = setting(
        "",
        "folder for compiled networks, so that later starts do not compile them again (device cpu); empty: "
        "$HAND_RECON_MODEL_CACHE, or else none",
    )
    mirrored_input: bool = setting(False, "the images are mirrored, as selfie cameras show them", live=True)
    min_detection_score: float = setting(0.5, "palm detections below this are ignored", low=0.0, high=1.0, live=True)
    min_presence: float = setting(0.5, "a tracked hand is lost below this presence", low=0.0, high=1.0, live=True)
    detection_interval: float = setting(
        0.16, "time between two images in which a missing hand is searched for, from a second after its loss; before, "
        "and with 0, every image",
        unit="s", low=0.0, high=4.0, live=True,
    )  # fmt: skip
    solver_iterations: int = setting(
        3, "Gauss-Newton steps of the lifting in a stream; a single image gets more", low=1, high=50, live=True
    )
    refine_steps: int = setting(
        8, "Gauss-Newton steps that separate two interpenetrating hands; 0 switches the two-hand refinement off",
        low=0, high=50, live=True,
    )  # fmt: skip
    refine_budget: float = setting(
        0.015, "time limit of the two-hand refinement in a stream, after which the best result is taken; 0: no limit",
        unit="s", low=0.0, high=1.0, live=True,
    )  # fmt: skip
    smoothing: str = setting(
        "custom", "filter, in order of less jitter and more lag; custom: by smoothing_cutoff and smoothing_speed",
        choices=(*SMOOTHING, "custom"), live=True,
    )  # fmt: skip
    smoothing_cutoff: float = setting(
        2.0, "cutoff frequency of a hand at rest; 0 switches smoothing off", unit="Hz", low=0.0, high=100.0, live=True
    )
    smoothing_speed: float = setting(
        15.0, "by how much the cutoff frequency grows with the speed of the hand", unit="Hz/(m/s)", low=0.0,
        high=1000.0, live=True,
    )  # fmt: skip
    hand_length: float = setting(
        0.0, "length of the operator's hands, from the wrist's crease to the tip of the middle finger; 0: not "
        "known", unit="m", low=0.0, high=LONGEST_HAND, live=True,
    )  # fmt: skip
    hand_calibration: str = setting(
        "",
        "file with the shapes of the operator's hands, which the service calibrate_hand writes; it takes precedence "
        "over hand_length; empty: none",
    )
    max_prediction_time: float = setting(
        0.15, "how long an unseen hand is predicted at constant velocity", unit="s", low=0.0, high=0.15, live=True
    )

    def __post_init__(self) -> None:
        """Raises ConfigError for a hand length that no adult has."""
        if 0.0 < self.hand_length < SHORTEST_HAND:
            raise ConfigError(
                f"hand_length must be 0 or at least {SHORTEST_HAND:g} m, from the wrist's crease to the tip of the "
                f"middle finger, got {self.hand_length:g}"
            )

    @property
    def filter(self) -> tuple[float, float]:
        """Cutoff (Hz) of a hand at rest and speed coefficient of the filters."""
        return SMOOTHING.get(self.smoothing, (self.smoothing_cutoff, self.smoothing_speed))


def reconstructor_config(path: str | os.PathLike[str] | None = None, **overrides: Any) -> ReconstructorConfig:
    """The settings in a YAML file, with ``overrides``: see ``TwoHandReconstructor.from_config``."""
    known = settings_of(ReconstructorConfig)
    values = read_yaml(path) if path else {}
    unknown = [name for name in values if name not in known]
    if unknown:
        warnings.warn(f"{path}: not settings of the reconstruction: {', '.join(unknown)}", stacklevel=3)
    values = {name: value for name, value in values.items() if name in known}
    return checked(ReconstructorConfig, {**values, **overrides})
