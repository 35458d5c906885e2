"""Where the hands are: detection, landmarks, tracking between frames, and which hand is which."""

from .locator import LandmarkLocator
from .observation import Encoded, Observation, RotatedBox

__all__ = ["Encoded", "LandmarkLocator", "Observation", "RotatedBox"]
