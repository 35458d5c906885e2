"""The layers of the package: a module imports only from the layers below it, and only ros/ imports ROS."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

PACKAGE = "hand_recon_ros"
ROOT = pathlib.Path(__file__).resolve().parent.parent / PACKAGE

# From the bottom to the top, every subpackage a layer of its own: a module imports from its own layer and those below.
LAYERS = (
    *("skeleton", "camera", "types", "config", "image_files", "calibration", "sources"),
    *("geometry", "hand_model", "runtime", "landmarks", "detect", "encode", "lift", "interact", "track"),
    *("adapters", "teleop", "conversions", "reconstructor", "overlay", "batch"),
    *("datasets", "models", "synthetic", "evaluation", "training"),
    *("bags", "viewer", "commands", "evaluate_command", "cli", "ros"),
)
LAYER = {name: index for index, name in enumerate(LAYERS)}

# What a robot runs. Nothing here imports what is for training or measuring, and nothing a package it can do without.
RUN_TIME = {*LAYERS[: LAYERS.index("datasets")], "ros"}
NOT_AT_RUN_TIME = {"datasets", "models", "synthetic", "evaluation", "training"}
TRAINING_PACKAGES = {"torch", "smplx", "transformers", "diffusers", "accelerate"}
# Inference on a GPU, and the question whether there is one; imported where the setting ``device`` asks for it.
USE_TORCH = {f"runtime/{name}.py" for name in ("devices", "torch_graph", "torch_operations", "torch_session")}
# HaMeR and WiLoR, whose networks are in torch: an import in a function, where the setting ``encoder`` names one.
IMPORTED_NETWORKS = {"encode/mano_encoder.py": f"{PACKAGE}.models.hand_networks"}
# What makes samples and networks does not know the pipeline.
KNOW_NO_PIPELINE = {"datasets", "models", "synthetic"}
PIPELINE = {"track", "reconstructor", "overlay", "batch"}
# The demonstration renders its clip.
DEMONSTRATION = "ros/demo/"
# `hand-recon view` without a source shows the ROS graph: an import in a function, after the check that ROS is there.
LIVE_VIEW = {"viewer/command.py": f"{PACKAGE}.ros.browsing"}

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
    """Why the layer ``importer`` may not import ``module``; empty where it may."""
    if is_ros(module) and importer != "ros":
        return f"{module}: only ros/ knows ROS"
    parts = module.split(".")
    if parts[0] in TRAINING_PACKAGES and importer in RUN_TIME | {"bags", "viewer"}:
        return f"{parts[0]} is not installed on a robot"
    if parts[0] != PACKAGE or len(parts) < 2 or parts[1] == "msg":
        return ""
    imported = parts[1]
    if imported not in LAYER or imported == importer:
        return ""  # a name of the package itself (__version__), or the same layer
    if LAYER[imported] > LAYER[importer]:
        return f"{imported} lies above {importer}"
    if importer in ("ros", "bags", "viewer") and imported in NOT_AT_RUN_TIME | {"cli"}:
        return f"{importer} must not depend on {imported}"
    if importer in KNOW_NO_PIPELINE and imported in PIPELINE:
        return f"{importer} must not depend on {imported}"
    return ""


def layer_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(path for path in ROOT.rglob("*.py") if layer_of(path) != "__init__")


@pytest.mark.parametrize("exception", [LIVE_VIEW, IMPORTED_NETWORKS])
def test_exceptions_are_imported_only_where_they_are_wanted(exception: dict[str, str]) -> None:
    """ROS by the live view, networks in torch by an encoder of them: in a function, which others never reach."""
    ((name, module),) = exception.items()
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and f"{PACKAGE}.{node.module}" == module and node.level == 2
    ]
    assert len(found) == 1 and found[0] not in tree.body


def test_every_module_has_a_layer() -> None:
    # The package itself is a facade over types and reconstructor and takes part in no layer.
    unknown = {layer_of(path) for path in FILES} - set(LAYER)
    assert not unknown, f"add {sorted(unknown)} to LAYERS in {pathlib.Path(__file__).name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: pathlib.Path) -> None:
    name = str(path.relative_to(ROOT))
    package = ".".join((PACKAGE, *path.relative_to(ROOT).parts[:-1]))
    found = [
        f"line {line}: {reason}"
        for line, module in imports(path.read_text(encoding="utf-8"), package)
        if (reason := violation(layer_of(path), module))
        and not (name in USE_TORCH and module.split(".")[0] == "torch")
        and not (name.startswith(DEMONSTRATION) and module == f"{PACKAGE}.synthetic.rendered_clip")
        and module.rpartition(".")[0] not in (LIVE_VIEW.get(name), IMPORTED_NETWORKS.get(name))
    ]
    assert not found, f"{path.relative_to(ROOT)}: " + "; ".join(found)


@pytest.mark.parametrize(
    ("importer", "source", "allowed"),
    [
        ("detect", "from ..types import Side", True),
        ("detect", "from .. import skeleton", True),
        ("detect", "from ..landmarks.crops import crop", True),
        ("landmarks", "from ..detect.palm import PalmDetection", False),
        ("encode", "from ..lift.lifter import Lifter", False),
        ("interact", "from ..track.filter import HandFilter", False),
        ("detect", "def later():\n    from ..reconstructor import TwoHandReconstructor", False),
        ("hand_model", "from .. import detect", False),
        ("geometry", "import hand_recon_ros.hand_model", False),
        ("hand_model", "from hand_recon_ros.lift.lifter import Lifter", False),
        ("interact", "def later():\n    import torch", False),
        ("track", "from ..models.encoder import FusionAlignmentEncoder", False),
        ("models", "import torch", True),
        ("models", "from ..track.filter import HandFilter", False),
        ("ros", "from ..evaluation import metrics", False),
        ("ros", "from ..models import encoder", False),
        ("cli", "from .evaluation import metrics", True),
        ("cli", "import importlib\nimportlib.import_module('hand_recon_ros.ros.node')", False),
        ("ros", "from sensor_msgs.msg import Image", True),
        ("ros", "from ..msg import Hand", True),
        ("detect", "from ..msg import Hand", False),
        ("cli", "import rclpy", False),
        ("bags", "from ..conversions.images import decode", True),
        ("bags", "from sensor_msgs.msg import Image", False),
        ("bags", "from ..evaluation import metrics", False),
        ("viewer", "from ..bags.images import RecordedImages", True),
        ("viewer", "from ..ros.watching import HandsAndImages", False),
        ("viewer", "from ..evaluation import plots", False),
        ("ros", "from ..viewer.browser import Browser", True),
        ("conversions", "from cv_bridge import CvBridge", False),
    ],
)
def test_the_rule_itself(importer: str, source: str, allowed: bool) -> None:
    package = PACKAGE if importer == "cli" else f"{PACKAGE}.{importer}"
    assert allowed == (not any(violation(importer, module) for _, module in imports(source, package)))
