"""A webcam, the node hand_recon, and optionally RViz."""

from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction

from hand_recon_ros.ros.launching import (
    camera_source,
    checks,
    hand_recon,
    hand_recon_arguments,
    large_image_transport,
    value,
)
from launch import LaunchContext, LaunchDescription

CAMERA = {
    "source": ("0", str, "webcam: its index or device file"),
    "camera_info_url": ("", str, "calibration file of the webcam (camera_calibration's YAML); empty: see fallback_fov"),
    "width": ("640", int, "width set in the webcam, pixels"),
    "height": ("480", int, "height set in the webcam, pixels"),
    "rate": ("0.0", float, "images per second; 0: that of the webcam"),
}


def camera(context: LaunchContext) -> list[Action]:
    return [camera_source(context, {name: kind(value(context, name)) for name, (_, kind, _) in CAMERA.items()})]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        *hand_recon_arguments(fallback_fov="60.0"),
        *(
            DeclareLaunchArgument(name, default_value=default, description=text)
            for name, (default, _, text) in CAMERA.items()
        ),
    ]
    return LaunchDescription(
        [
            *arguments,
            checks(__file__, arguments),
            *large_image_transport(),
            OpaqueFunction(function=camera),
            hand_recon(),
        ]
    )
