"""A webcam, the node hand_recon, and optionally RViz."""

from launch.action import Action

from hand_recon_ros.ros.launching import camera_source, description, value
from launch import LaunchContext, LaunchDescription

CAMERA = {
    "source": ("0", "webcam: its index or device file"),
    "camera_info_url": ("", "calibration file of the webcam (camera_calibration's YAML); empty: see fallback_fov"),
    "width": ("640", "width set in the webcam, pixels"),
    "height": ("480", "height set in the webcam, pixels"),
    "rate": ("0.0", "images per second; 0: that of the webcam"),
}
NUMBERS = {"width": int, "height": int, "rate": float}


def camera(context: LaunchContext) -> list[Action]:
    return [camera_source(context, {name: NUMBERS.get(name, str)(value(context, name)) for name in CAMERA})]


def generate_launch_description() -> LaunchDescription:
    return description(__file__, CAMERA, camera, fallback_fov="60.0")
