"""Where hands are in an image, and whose: palms, hands, handedness and duplicates."""
