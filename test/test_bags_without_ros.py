"""`hand-recon bag` where ROS is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import image_of, info_of, write_bag  # noqa: E402
from test_import_rule import ROS_MODULES  # noqa: E402

from hand_recon_ros.synthetic import load_clip, rendered_clip  # noqa: E402

# Imported before anything else: what ROS installs is then not found, nor the messages of this package.
WITHOUT_ROS = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {ROS_MODULES!r} or top.endswith(("_msgs", "_srvs")) or name.startswith("hand_recon_ros.msg"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_ROS + code], capture_output=True, text=True, cwd=folder, timeout=300.0
    )


@pytest.mark.parametrize("module", ["rclpy", "hand_recon_ros.msg", "sensor_msgs.msg"])
def test_ros_is_absent(module: str, tmp_path: Path) -> None:
    done = run(f"import {module}", tmp_path)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


@pytest.mark.slow
def test_a_recording_is_reconstructed_and_checked(tmp_path: Path) -> None:
    clip = load_clip(rendered_clip(tmp_path / "clips", 2, 5))
    recorded = []
    for number, picture in enumerate(clip.images()):
        stamp = 7.0 + number / 30.0
        recorded += [("/image", stamp, image_of(picture, stamp)), ("/camera_info", stamp, info_of(clip.camera, stamp))]
    write_bag(tmp_path / "recording", recorded)
    main = "from hand_recon_ros.cli import main\n"
    line = ["bag", "recording", "--image", "/image", "--out", "hands.mcap", "--json"]
    done = run(f"{main}sys.exit(main({line!r}))", tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["images"], summary["calibrated"]) == (2, 2) and max(summary["found"].values()) == 2
    done = run(f"{main}sys.exit(main(['bag', '--check', 'hands.mcap', '--json']))", tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images"] == 2 and report["found"] == summary["found"] and report["faults"] == []
