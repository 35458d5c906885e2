"""Hands in a browser: a scene for it, and the files, recordings and cameras that it shows."""
