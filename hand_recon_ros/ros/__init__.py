"""The ROS 2 side: the only part of the package that knows rclpy and messages."""
