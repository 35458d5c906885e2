"""Training of the encoder and the refiner; never imported at run time."""
