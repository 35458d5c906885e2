"""Photos, a video or a rendered clip, played in a loop to the node hand_recon, optionally with RViz.

``make demo`` plays once and makes figures and pictures; this one plays for RViz and ``ros2 topic``.
"""

from pathlib import Path

from launch.action import Action

from hand_recon_ros.ros.demo.launcher import clip_source
from hand_recon_ros.ros.launching import camera_source, description, value
from hand_recon_ros.runtime.model_files import cache_dir
from hand_recon_ros.synthetic import rendered_clip
from launch import LaunchContext, LaunchDescription

PLAYER = {
    "input": ("", "photo, folder of photos or video; empty: a clip"),
    "camera_info_url": ("", "calibration file of the input; empty: see fallback_fov"),
    "rate": ("0.0", "images per second; 0: that of a video, 1 for photos, 30 for the clip"),
    "frames": ("300", "length of the rendered clip"),
    "seed": ("0", "which clip is rendered"),
    "clips": ("", "folder of rendered clips; empty: in the user's cache"),
}


def player(context: LaunchContext) -> list[Action]:
    """The player; renders the clip where there is no input."""
    source, calibration = value(context, "input"), value(context, "camera_info_url")
    rate = float(value(context, "rate"))
    if not source:
        folder = Path(value(context, "clips") or cache_dir() / "clips")
        clip = rendered_clip(folder, int(value(context, "frames")), int(value(context, "seed")))
        source, calibration, rate = str(clip_source(clip)), str(clip / "camera.yaml"), rate or 30.0
    parameters = {"source": source, "camera_info_url": calibration, "rate": rate, "loop": True}
    return [camera_source(context, parameters)]


def generate_launch_description() -> LaunchDescription:
    return description(__file__, PLAYER, player, fallback_fov="60.0")
