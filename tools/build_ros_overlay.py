"""Adds to .venv, from source, what the ROS wheels lack: launch, the ros2 command line, tf2 and sensor_msgs_py.

No package index has these packages. SOURCES is a folder with git checkouts that hold them; where some are missing, the
error message lists the commands that get them. The tests that need these packages are skipped in `make test` until this
script has been run. It builds into .venv, which is an ament prefix: there is nothing to source, and `ros2` is
.venv/bin/ros2.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from setup_environment import LOCK, ROOT, SetupError, colcon_build, exclusive, patch_wheel_paths, report, run

BRANCH = "kilted"
REPOSITORIES = {
    "ros2/launch": ("launch", "launch_xml", "launch_yaml"),
    "ros2/launch_ros": ("launch_ros", "ros2launch"),
    "ros2/ros2cli": (
        *("ros2cli", "ros2run", "ros2node", "ros2topic", "ros2service", "ros2param", "ros2lifecycle"),
        *("ros2interface", "ros2pkg"),
    ),
    "ros2/rcl_interfaces": ("composition_interfaces",),
    "ros2/rosidl_runtime_py": ("rosidl_runtime_py",),
    "ros2/geometry2": ("tf2", "tf2_msgs", "tf2_py", "tf2_ros_py"),
    "ros2/common_interfaces": ("sensor_msgs_py",),
}
"""On GitHub, and which of their packages are built."""
FROM_INDEX = (
    "osrf-pycommon==2.0.2",
    "ros-ament-cmake-ros==0.14.5",
    "ros-ament-cmake-gmock==2.7.3",
    "ros-ament-cmake-gtest==2.7.3",
    "ros-ament-cmake-pytest==2.7.3",
)
"""From PyPI: what these packages need beside what the lock file has."""


def package_folders(sources: pathlib.Path) -> list[pathlib.Path]:
    """Folders of all packages of REPOSITORIES; raises SetupError with the commands that get what is not there."""
    found = {path.parent.name: path.parent for path in sources.rglob("package.xml")}
    commands = [
        f"git clone --depth 1 --branch {BRANCH} https://github.com/{repository} {sources / repository.split('/')[1]}"
        for repository, packages in REPOSITORIES.items()
        if not found.keys() >= set(packages)
    ]
    if commands:
        raise SetupError("\n".join([f"not all sources are in {sources}; to get them:", *commands]))
    return [found[package] for packages in REPOSITORIES.values() for package in packages]


def build(sources: pathlib.Path, venv: pathlib.Path) -> None:
    """Builds the packages into the environment; raises SetupError where that does not work."""
    state = venv / "setup"
    if not (state / "build.stamp").exists():
        raise SetupError(f"{venv} is not set up: run `make setup` first")
    folders = package_folders(sources)
    report("building launch, the ros2 command line, tf2 and sensor_msgs_py")
    pip = (venv / "bin" / "python", "-m", "pip", "install", "--no-input", "--progress-bar", "off")
    run([*pip, "-c", LOCK, *FROM_INDEX], venv, state / "pip-overlay.log")
    patch_wheel_paths(venv)
    run(colcon_build(venv, "build-overlay", folders), venv, state / "colcon-overlay.log")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=pathlib.Path, help="folder of the checkouts")
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / ".venv", help="default: .venv")
    options = parser.parse_args(arguments)
    venv = options.venv.resolve()
    try:
        with exclusive(venv):
            build(options.sources.resolve(), venv)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
