"""Teleoperation of a robot arm by a hand: clutch, relative motion, limits and gripper, without ROS."""
