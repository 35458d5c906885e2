"""The node hand_recon on the topics of a camera, optionally with RViz."""

from hand_recon_ros.ros.launching import checks, hand_recon, hand_recon_arguments, large_image_transport
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    arguments = hand_recon_arguments()
    return LaunchDescription([*arguments, checks(__file__, arguments), *large_image_transport(), hand_recon()])
