"""The parts of tools/soak.py: a camera with faults, what listens to the node, the scenarios and their limits."""
