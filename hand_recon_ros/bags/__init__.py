"""Recordings of ROS 2 (rosbag2: .mcap, .db3), read and written without ROS."""
