"""Two hands together: relative translation, diffusion prior with guidance, collision and separation."""
