"""A webcam, the node hand_recon, and optionally RViz."""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from hand_recon_ros.ros.launching import large_image_transport, parameter_arguments, passed_on, share
from launch import LaunchDescription

CAMERA = {
    "source": ("0", str, "webcam: its index or device file"),
    "camera_info_url": ("", str, "calibration file of the webcam (camera_calibration's YAML); empty: see fallback_fov"),
    "width": ("640", int, "width set in the webcam, pixels"),
    "height": ("480", int, "height set in the webcam, pixels"),
    "rate": ("0.0", float, "images per second; 0: that of the webcam"),
}


def generate_launch_description() -> LaunchDescription:
    cameras = [
        DeclareLaunchArgument(name, default_value=value, description=text) for name, (value, _, text) in CAMERA.items()
    ]
    parameters = parameter_arguments("mirrored_input", "publish_tf")
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes"),
            *cameras,
            DeclareLaunchArgument(
                "fallback_fov",
                default_value="60.0",
                description="field of view of a webcam without calibration, across the longer image side [deg]",
            ),
            *parameters,
            DeclareLaunchArgument("rviz", default_value="false", description="show image, hands and frames in RViz"),
            *large_image_transport(),
            Node(
                package="hand_recon_ros",
                executable="camera_source",
                name="camera_source",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                        for name, (_, kind, _) in CAMERA.items()
                    }
                ],
                output="screen",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(share("launch", "hand_recon.launch.py")),
                launch_arguments=passed_on(
                    "namespace", "params_file", "fallback_fov", "mirrored_input", "publish_tf", "rviz"
                ).items(),
            ),
        ]
    )
