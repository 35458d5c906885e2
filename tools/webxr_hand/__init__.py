"""Turns the rigged hand of @webxr-input-profiles/assets into a parametric hand in MANO's file layout."""
