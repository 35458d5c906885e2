"""Samples for training and evaluation, of the same type from every data set, and arrays made from them."""

from __future__ import annotations

from .sample import Sample

__all__ = ["Sample"]
