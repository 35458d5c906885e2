"""Training of detector, encoder and two-hand prior; never imported at run time."""
