"""Package metadata agree with each other and with the code, and importing the package stays cheap."""

from __future__ import annotations

import ast
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from test_import_rule import FILES, RUN_TIME, USE_TORCH, is_ros, layer_of
from test_import_rule import ROOT as PACKAGE_ROOT

import hand_recon_ros

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEAVY = ("torch", "openvino", "cv2", "numba", "scipy", "smplx", "rclpy", "matplotlib", "trimesh", "mediapipe", "yaml")


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    """Package -> version of a lock file; every line must be an exact pin."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line.strip())
        assert match, f"{name}: not an exact pin: {line!r}"
        assert normalized(match[1]) not in found, f"{name}: {match[1]} is pinned twice"
        found[normalized(match[1])] = match[2]
    return found


def requirement_names(lines: list[str]) -> set[str]:
    """Names of requirement lines, comments and versions taken off."""
    names = [re.match(r"[A-Za-z0-9._-]+", line.strip()) for line in lines if not line.strip().startswith("#")]
    return {normalized(name[0]) for name in names if name}


def literal(path: pathlib.Path, name: str) -> object:
    """The value of a module-level constant, or of a keyword of the call of setup(), without running the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [name]:
            return ast.literal_eval(node.value)
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path.name} has no {name}")


def setup_list(name: str) -> list[str]:
    value = literal(ROOT / "setup.py", name)
    assert isinstance(value, list)
    return value


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_versions_agree() -> None:
    version = hand_recon_ros.__version__
    assert manifest().findtext("version") == version
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    installed = {d.version for d in importlib.metadata.distributions() if d.metadata["Name"] == "hand_recon_ros"}
    assert installed <= {version}


def test_names_and_licence_agree() -> None:
    root = manifest()
    assert root.findtext("name") == literal(ROOT / "setup.py", "name") == "hand_recon_ros"
    assert root.findtext("license") == literal(ROOT / "setup.py", "license") == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert root.findtext("export/build_type") == "ament_cmake"


def test_every_message_is_built_and_its_dependencies_are_declared() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    declared = {element.text for element in manifest().findall("depend")}
    for path in (ROOT / "msg").glob("*.msg"):
        assert f'"msg/{path.name}"' in cmake
        for package in re.findall(r"^([a-z][a-z0-9_]*)/[A-Z]", path.read_text(), re.MULTILINE):
            assert package in declared and re.search(rf"find_package\({package} REQUIRED\)", cmake), package


def test_the_message_definitions_are_installed_with_the_library(tmp_path: pathlib.Path) -> None:
    build = [
        "setup.py",
        "-q",
        "egg_info",
        "--egg-base",
        str(tmp_path),
        "build_py",
        "--build-lib",
        str(tmp_path / "lib"),
    ]
    done = subprocess.run([sys.executable, *build], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "from hand_recon_ros.bags.messages import definition_folder; print(definition_folder())"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "lib", capture_output=True, text=True)
    folder = tmp_path / "lib" / "hand_recon_ros" / "message_definitions"
    assert found.stdout.strip() == str(folder), found.stderr
    for path in (ROOT / "msg").glob("*.msg"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def imported_packages(path: pathlib.Path) -> set[str]:
    """Top-level names of what a file imports, in functions too; relative imports left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


DISTRIBUTIONS = {"cv2": "opencv-python-headless", "yaml": "pyyaml", "skimage": "scikit-image"}
"""Names of distributions that differ from the modules they install."""
EXTRAS_OF = {
    "datasets": ("train",),
    "models": ("train",),
    "synthetic": ("train",),
    "training": ("train",),
    # The figures of a trained network before its export need what trains it.
    "evaluation": ("eval", "train"),
    "gpu": ("cuda",),
    "bags": ("bags",),
    "viewer": ("view", "bags"),
}
"""Extras that a layer may use beside the run-time packages; every other layer runs without any."""


WHERE_INSTALLED = {"mediapipe", "soma"}
"""Packages that only the comparison with them, or the conversion of their model, asks for: py-soma-x is soma."""


def third_party_imports() -> list[tuple[str, str, str]]:
    """Layer, file and top-level name of each import of a package that is neither Python's, ours nor ROS's.

    The layer of torch is ``gpu`` in the modules of the run time that may use it.
    """
    found = []
    for path in FILES:
        for name in imported_packages(path) - set(sys.stdlib_module_names) - {"hand_recon_ros"}:
            if not is_ros(name) and name not in WHERE_INSTALLED:
                on_gpu = name == "torch" and str(path.relative_to(PACKAGE_ROOT)) in USE_TORCH
                found.append(("gpu" if on_gpu else layer_of(path), path.name, name))
    return found


def test_the_run_time_imports_only_what_setup_installs() -> None:
    required = requirement_names(setup_list("install_requires"))
    by_pip = requirement_names((ROOT / "requirements-ros.txt").read_text().splitlines())
    by_rosdep = {element.text for element in manifest() if element.tag in ("depend", "exec_depend")}
    keys = {"cv2": "python3-opencv", "yaml": "python3-yaml"}
    imported = set()
    for layer, file, name in third_party_imports():
        if layer in {*RUN_TIME, "cli"}:
            imported.add(DISTRIBUTIONS.get(name, name))
            assert DISTRIBUTIONS.get(name, name) in required, f"{file} imports {name}: not in install_requires"
            assert name in by_pip or keys.get(name, f"python3-{name}") in by_rosdep, f"{file} imports {name}"
    assert required == imported, f"installed but not imported: {sorted(required - imported)}"


def test_an_extra_installs_what_training_and_evaluation_import() -> None:
    extras = literal(ROOT / "setup.py", "EXTRAS")
    assert isinstance(extras, dict) and set(extras) == {"cuda", "train", "eval", "bags", "view", "dev"}
    for layer, file, name in third_party_imports():
        lines = [line for extra in EXTRAS_OF.get(layer, ()) for line in extras[extra]]
        declared = requirement_names([*setup_list("install_requires"), *lines])
        assert DISTRIBUTIONS.get(name, name) in declared, f"{file} imports {name}: no extra of {layer} installs it"


def test_a_robot_gets_no_training_packages() -> None:
    text = (ROOT / "requirements-ros.txt").read_text()
    assert requirement_names(text.splitlines()) <= requirement_names(setup_list("install_requires"))


def test_every_ros_import_is_declared() -> None:
    declared = {element.text for element in manifest() if element.tag in ("depend", "exec_depend")}
    # Features that are off, and say so, where these are missing.
    declared |= {"sensor_msgs_py", "tf_transformations", "tf2_ros", "message_filters"}
    sources = [*(ROOT / "hand_recon_ros" / "ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    imported = set().union(*map(imported_packages, sources))
    ros = re.compile(
        r"(rclpy|rcl_interfaces|cv_bridge|launch.*|tf2_ros|ament_index_python|builtin_interfaces|.*_(msgs|srvs)(_py)?)"
    )
    assert {name for name in imported if ros.fullmatch(name)} <= declared


def test_lock_pins_everything() -> None:
    locked = pins("requirements.lock")
    wanted = requirement_names((ROOT / "requirements.in").read_text().splitlines())
    assert wanted <= set(locked), f"run `make lock`: {sorted(wanted - set(locked))}"
    extras = literal(ROOT / "setup.py", "EXTRAS")
    assert isinstance(extras, dict)
    optional = [line for lines in extras.values() for line in lines]
    assert requirement_names([*setup_list("install_requires"), *optional]) - {"hand-recon-ros"} <= set(locked)
    assert requirement_names((ROOT / "requirements-ros.txt").read_text().splitlines()) <= set(locked)
    assert locked["torch"] == "2.13.0"
    assert int(locked["opencv-python-headless"].split(".")[0]) < 5
    assert pins("requirements-nodeps.lock") == {"mediapipe": "0.10.21"}


def test_environment_matches_the_lock() -> None:
    if not (pathlib.Path(sys.prefix) / "setup" / "packages.stamp").exists():
        pytest.skip("this interpreter's environment was not set up by make")
    for name, version in {**pins("requirements.lock"), **pins("requirements-nodeps.lock")}.items():
        assert importlib.metadata.version(name).partition("+")[0] == version, f"{name}: run `make setup`"


def test_import_is_light() -> None:
    # Modules that the interpreter loads by itself at start (.pth files) are not the package's.
    code = "import sys; before = set(sys.modules); import hand_recon_ros; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {module.split(".")[0] for module in done.stdout.split()} & set(HEAVY)


def test_the_facade_names_what_it_offers() -> None:
    for name in hand_recon_ros.__all__:
        assert hasattr(hand_recon_ros, name), name
    with pytest.raises(AttributeError, match="no_such_name"):
        hand_recon_ros.no_such_name  # noqa: B018


@pytest.mark.parametrize("command", ["hand_recon", "hand_recon_view", "hand_teleop", "camera_source", "demo_recorder"])
def test_executables_are_where_ros2_run_looks(command: str) -> None:
    prefixes = pytest.importorskip("ament_index_python.packages")
    try:
        prefix = pathlib.Path(prefixes.get_package_prefix("hand_recon_ros"))
    except prefixes.PackageNotFoundError:
        pytest.skip("the package is not installed as a ROS package")
    path = prefix / "lib" / "hand_recon_ros" / command
    assert path.stat().st_mode & 0o111, f"{path} is not executable"
    module = re.search(r"^from hand_recon_ros\.([\w.]+) import main$", path.read_text(), re.MULTILINE)
    assert module and (ROOT / "hand_recon_ros" / (module[1].replace(".", "/") + ".py")).exists()


def test_command_is_beside_the_interpreter() -> None:
    if not (pathlib.Path(sys.prefix) / "setup" / "build.stamp").exists():
        pytest.skip("this interpreter's environment was not set up by make")
    path = pathlib.Path(sys.prefix) / "bin" / "hand-recon"
    done = subprocess.run([path, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "reconstruct" in done.stdout, done.stderr
