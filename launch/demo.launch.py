"""Photos, a video or a rendered clip, played in a loop to the node hand_recon, optionally with RViz.

``make demo`` plays once and makes figures and pictures; this one plays for RViz and ``ros2 topic``.
"""

from pathlib import Path

from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from hand_recon_ros.ros.demo.launcher import clip_source
from hand_recon_ros.ros.launching import large_image_transport, parameter_arguments, passed_on, share
from hand_recon_ros.synthetic import rendered_clip
from launch import LaunchContext, LaunchDescription


def camera_source(context: LaunchContext) -> list[Action]:
    """The player; renders the clip where there is no input."""

    def value(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    source, calibration = value("input"), value("camera_info_url")
    rate = float(value("rate"))
    if not source:
        clip = rendered_clip(Path(value("clips")).expanduser(), int(value("frames")), int(value("seed")))
        source, calibration, rate = str(clip_source(clip)), str(clip / "camera.yaml"), rate or 30.0
    return [
        Node(
            package="hand_recon_ros",
            executable="camera_source",
            name="camera_source",
            parameters=[{"source": source, "camera_info_url": calibration, "rate": rate, "loop": True}],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "input", default_value="", description="photo, folder of photos or video; empty: a clip"
            ),
            DeclareLaunchArgument(
                "camera_info_url",
                default_value="",
                description="calibration file of the input; empty: see fallback_fov",
            ),
            DeclareLaunchArgument(
                "rate",
                default_value="0.0",
                description="images per second; 0: that of a video, 1 for photos, 30 for the clip",
            ),
            DeclareLaunchArgument("frames", default_value="300", description="length of the rendered clip"),
            DeclareLaunchArgument("seed", default_value="0", description="which clip is rendered"),
            DeclareLaunchArgument(
                "clips", default_value="~/.cache/hand_recon/clips", description="folder of rendered clips"
            ),
            DeclareLaunchArgument(
                "fallback_fov",
                default_value="60.0",
                description="field of view of an input without calibration, across the longer image side [deg]",
            ),
            *parameter_arguments("publish_tf"),
            DeclareLaunchArgument("rviz", default_value="false", description="show image, hands and frames in RViz"),
            *large_image_transport(),
            OpaqueFunction(function=camera_source),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(share("launch", "hand_recon.launch.py")),
                launch_arguments=passed_on("params_file", "fallback_fov", "publish_tf", "rviz").items(),
            ),
        ]
    )
