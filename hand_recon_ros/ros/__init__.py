"""The ROS 2 nodes: the only subpackage that imports rclpy and messages."""
