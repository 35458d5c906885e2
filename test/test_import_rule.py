"""The layers of the package: a module imports only what lies below it, and only ros/ knows ROS."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

PACKAGE = "hand_recon_ros"
ROOT = pathlib.Path(__file__).resolve().parent.parent / PACKAGE

# From the bottom to the top. A module imports from its own layer and from those below.
LAYERS = (
    {"types", "skeleton", "camera", "config", "runtime", "calibration", "sources"},
    {"hand_model"},
    {"locate", "encode", "refine", "smooth", "synthetic", "datasets"},
    {"reconstructor"},
    {"overlay", "adapters"},
    {"ros", "cli", "batch", "training", "evaluation"},
)
LAYER = {name: index for index, names in enumerate(LAYERS) for name in names}

# The top layer has an order of its own: who may import whom there.
AT_THE_TOP = {
    "ros": set(),
    "batch": set(),
    "training": {"evaluation"},
    "evaluation": set(),
    "cli": {"batch", "training", "evaluation"},
}

ROS_MODULES = {
    *(
        "rclpy",
        "rcl_interfaces",
        "ament_index_python",
        "launch",
        "launch_ros",
        "cv_bridge",
        "tf2_ros",
        "message_filters",
    ),
    *(
        "sensor_msgs_py",
        "tf_transformations",
        "rosbag2_py",
        "rosidl_runtime_py",
        "lifecycle_msgs",
        "builtin_interfaces",
    ),
}


def is_ros(module: str) -> bool:
    top = module.split(".")[0]
    return top in ROS_MODULES or top.endswith(("_msgs", "_srvs")) or module.startswith(f"{PACKAGE}.msg")


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything imported in ``source``, in functions too.

    ``package`` is what relative imports are relative to. Names taken from a package count as its modules
    (``from . import camera`` is an import of ``camera``); a literal in ``import_module("...")`` counts as an import.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def violation(importer: str, module: str) -> str:
    """Why the room ``importer`` may not import ``module``; empty where it may."""
    if is_ros(module) and importer != "ros":
        return f"{module}: only ros/ knows ROS"
    parts = module.split(".")
    if parts[0] != PACKAGE or len(parts) < 2 or parts[1] == "msg":
        return ""
    imported = parts[1]
    if imported not in LAYER or imported == importer:
        return ""  # a name of the package itself (__version__), or the same room
    if LAYER[imported] > LAYER[importer]:
        return f"{imported} lies above {importer}"
    if importer in AT_THE_TOP and imported in AT_THE_TOP and imported not in AT_THE_TOP[importer]:
        return f"{importer} must not depend on {imported}"
    return ""


def room(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(path for path in ROOT.rglob("*.py") if room(path) != "__init__")


def test_every_module_has_a_layer() -> None:
    # The package itself is a facade over types and reconstructor and takes part in no layer.
    unknown = {room(path) for path in FILES} - set(LAYER)
    assert not unknown, f"add {sorted(unknown)} to LAYERS in {pathlib.Path(__file__).name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: pathlib.Path) -> None:
    package = ".".join((PACKAGE, *path.relative_to(ROOT).parts[:-1]))
    found = [
        f"line {line}: {reason}"
        for line, module in imports(path.read_text(encoding="utf-8"), package)
        if (reason := violation(room(path), module))
    ]
    assert not found, f"{path.relative_to(ROOT)}: " + "; ".join(found)


@pytest.mark.parametrize(
    ("importer", "source", "allowed"),
    [
        ("locate", "from ..types import Side", True),
        ("locate", "from .. import skeleton", True),
        ("refine", "from ..locate.observation import Observation", True),
        ("locate", "def later():\n    from ..reconstructor import TwoHandReconstructor", False),
        ("hand_model", "from .. import locate", False),
        ("runtime", "import hand_recon_ros.hand_model", False),
        ("hand_model", "from hand_recon_ros.refine.lifting import lift", False),
        ("ros", "from ..evaluation import metrics", False),
        ("cli", "from .evaluation import metrics", True),
        ("cli", "import importlib\nimportlib.import_module('hand_recon_ros.ros.node')", False),
        ("ros", "from sensor_msgs.msg import Image", True),
        ("ros", "from ..msg import Hand", True),
        ("locate", "from ..msg import Hand", False),
        ("cli", "import rclpy", False),
    ],
)
def test_the_rule_itself(importer: str, source: str, allowed: bool) -> None:
    package = PACKAGE if importer == "cli" else f"{PACKAGE}.{importer}"
    assert allowed == (not any(violation(importer, module) for _, module in imports(source, package)))
