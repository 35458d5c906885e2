"""The demonstration: a camera, a recorder, and the launcher that starts both beside the node."""
