"""Inference sessions, the device they run on, and the files of the networks."""
