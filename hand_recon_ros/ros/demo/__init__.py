"""What only the demonstration needs: a camera, a recorder, and what starts both beside the node."""
