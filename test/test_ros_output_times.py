"""The times of publishing, with a subscriber of each optional output."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from hand_recon_ros.ros.output_times import optional_topics  # noqa: E402


@pytest.mark.slow
def test_optional_outputs_are_published_to_a_subscriber(tmp_path):
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(image, (160, 120), 40, (120, 150, 200), -1)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-m", "hand_recon_ros.ros.output_times", str(tmp_path / "image.npy"), "--count", "3"]
    command += ["--outputs", "~/points", "~/markers"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    times = json.loads(done.stdout)
    expected = ["without optional outputs", "and ~/points", "and ~/markers", "and all keypoints on /tf"]
    assert list(times) == expected and {len(each) for each in times.values()} == {3}


def test_all_outputs_that_are_made_for_a_subscriber_are_measured():
    names = {topic.name for topic in optional_topics()}
    assert {"~/meshes", "~/points", "~/markers", "~/debug_image", "~/joint_states", "~/left/poses"} < names
    assert "~/hands" not in names
