"""The node hand_recon on the topics of a camera, optionally with RViz."""

from hand_recon_ros.ros.launching import description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return description(__file__)
