"""Where and how networks run: devices, inference sessions, and the files of the networks."""
