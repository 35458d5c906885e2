"""Official evaluation codes, imported from the user's own checkouts and run on arrays."""
