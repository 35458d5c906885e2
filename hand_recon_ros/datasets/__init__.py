"""Where training and evaluation take their samples from: every data set yields the same type."""

from __future__ import annotations

from .sample import Sample

__all__ = ["Sample"]
