"""From the evidence of one hand to its metric pose, by Gauss-Newton."""
