"""Rotations, forward kinematics, distances and mesh queries: each formula once, on plain arrays."""
