"""The node hand_recon on the topics of a camera, optionally with RViz."""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from hand_recon_ros.ros.launching import large_image_transport, parameter_arguments, parameter_values, share
from launch import LaunchDescription

PARAMETERS = (
    *("autostart", "use_compressed", "use_depth", "depth_slop", "fallback_fov", "publish_tf", "tf_prefix"),
    *("mirrored_input", "hand_model"),
)


def generate_launch_description() -> LaunchDescription:
    image = LaunchConfiguration("image")
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
            DeclareLaunchArgument("image", default_value="image", description="topic of the images"),
            DeclareLaunchArgument("camera_info", default_value="camera_info", description="topic of their calibration"),
            DeclareLaunchArgument(
                "depth", default_value="depth", description="topic of depth registered to the images"
            ),
            *parameter_arguments(*PARAMETERS),
            DeclareLaunchArgument("rviz", default_value="false", description="show image, hands and frames in RViz"),
            *large_image_transport(),
            Node(
                package="hand_recon_ros",
                executable="hand_recon",
                name="hand_recon",
                namespace=LaunchConfiguration("namespace"),
                parameters=parameter_values(*PARAMETERS),
                remappings=[
                    ("image", image),
                    ("image/compressed", [image, "/compressed"]),
                    ("camera_info", LaunchConfiguration("camera_info")),
                    ("depth", LaunchConfiguration("depth")),
                ],
                output="screen",
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=LaunchConfiguration("namespace"),
                arguments=["-d", share("config", "hand_recon.rviz")],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
