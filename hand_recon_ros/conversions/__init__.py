"""Between ROS messages and values, without ROS: the messages may be of rclpy or of another implementation."""
