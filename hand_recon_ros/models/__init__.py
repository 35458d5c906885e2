"""Network definitions in torch, for training and export; the CPU node imports none of them."""
