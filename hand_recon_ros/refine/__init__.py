"""From evidence to metric hands: lifting landmarks to the hand model, and repairing two hands together."""
