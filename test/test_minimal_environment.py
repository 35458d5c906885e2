"""The command line and the node in an environment that has only what `pip install .` installs."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time

import cv2
import pytest
from test_packaging import ROOT, literal, requirement_names

from hand_recon_ros.synthetic import load_clip, write_clip

# Imported before anything else; names in `absent` are then not found, as where they are not installed.
WITHOUT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def absent_modules() -> set[str]:
    """Modules that only an extra of setup.py installs."""
    extras, required = literal(ROOT / "setup.py", "EXTRAS"), literal(ROOT / "setup.py", "install_requires")
    assert isinstance(extras, dict) and isinstance(required, list)
    optional = requirement_names([line for lines in extras.values() for line in lines]) - requirement_names(required)
    modules = {"scikit-image": "skimage", "hand-recon-ros": ""}
    names = {modules.get(name, name) for name in optional} - {""} | {"threadpoolctl"}
    assert {"torch", "smplx", "transformers", "diffusers", "accelerate", "scipy", "skimage", "trimesh"} <= names
    return names


def command(*statements: str) -> list[str]:
    return [sys.executable, "-c", WITHOUT.format(absent=absent_modules()) + "\n".join(statements)]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A rendered picture of two hands."""
    folder = tmp_path_factory.mktemp("picture")
    clip = load_clip(write_clip(folder / "clip", frames=1, seed=0, progress=False))
    path = folder / "hands.png"
    cv2.imwrite(str(path), next(iter(clip.images())))
    return path


@pytest.mark.parametrize("module", ["torch", "scipy", "trimesh.proximity"])
def test_the_modules_are_absent(module: str) -> None:
    done = subprocess.run(command(f"import {module}"), capture_output=True, text=True)
    assert done.returncode == 1 and f"ModuleNotFoundError: No module named {module.split('.')[0]!r}" in done.stderr


def test_hand_recon_reconstructs_a_picture(picture: pathlib.Path, tmp_path: pathlib.Path) -> None:
    main = "from hand_recon_ros.cli import main"
    run = f"sys.exit(main(['reconstruct', {str(picture)!r}, '--out', {str(tmp_path)!r}, '--json']))"
    done = subprocess.run(command(main, run), capture_output=True, text=True, timeout=300.0)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert [result["left"], result["right"]] == ["TRACKED", "TRACKED"]
    assert (tmp_path / "hands.png").exists() and json.loads((tmp_path / "hands.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["synth", "--frames", "1"], "scipy", "eval"),
        (["evaluate", "--encoder", "small", "--frames", "1"], "torch", "train"),
        (["bag", "recording.mcap", "--image", "/image"], "rosbags", "bags"),
        (["view", "recording.mcap"], "viser", "view"),
        (["train", "detector", "--config", str(ROOT / "config" / "train" / "detector.yaml")], "torch", "train"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(
    arguments: list[str], package: str, extra: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "recording.mcap").touch()
    outputs = {"synth": "clip", "bag": "hands.mcap"}
    out = ["--out", str(tmp_path / outputs[arguments[0]])] if arguments[0] in outputs else []
    run = f"sys.exit(main({[*arguments, *out]!r}))"
    done = subprocess.run(
        command("from hand_recon_ros.cli import main", run), capture_output=True, text=True, cwd=tmp_path, timeout=300.0
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"needs {package}, which is not installed: pip install 'hand_recon_ros[{extra}]'" in done.stderr


def test_the_node_publishes_hands(picture: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from hand_recon_ros.msg import Hand
    from ros_support import camera_info
    from test_ros_end_to_end import Peer, stop

    from hand_recon_ros import Camera

    image = cv2.imread(str(picture))
    info = camera_info(Camera.from_fov(image.shape[1], image.shape[0], 60.0))
    log = tmp_path / "log"
    with open(log, "wb") as file:
        node = "from hand_recon_ros.ros.node import main"
        process = subprocess.Popen([*command(node, "sys.exit(main())"), "--ros-args"], stdout=file, stderr=file)
    peer = Peer()
    try:
        end = time.monotonic() + 120.0
        while not peer.connected():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        time.sleep(0.3)
        hands = peer.process(image, info, timeout=20.0)
        assert hands is not None, log.read_text()
        assert (hands.left.state, hands.right.state) == (Hand.TRACKED, Hand.TRACKED)
    finally:
        code = stop(process)
        peer.close()
    assert code == 0, log.read_text()
