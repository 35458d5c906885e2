"""A hand over time, and nothing else that remembers anything."""
