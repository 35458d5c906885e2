"""The node hand_teleop: a hand of a running hand_recon moves the target of a robot."""

from hand_recon_ros.ros.launching import checks, hand_teleop, teleop_arguments
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    arguments = teleop_arguments()
    return LaunchDescription([*arguments, checks(__file__, arguments), hand_teleop()])
