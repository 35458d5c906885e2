#!/bin/bash
# The environment of ROS and of this package, for whatever command the container is started with.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /workspace/install/setup.bash
exec "$@"
