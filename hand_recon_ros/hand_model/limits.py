"""Anatomical limits of the hand's joint angles.

Ranges in degrees, as the sources give them:
- American Academy of Orthopaedic Surgeons, "Joint Motion: Method of Measuring and Recording" (1965), and the reference
  values of the Electronic Textbook of Hand Surgery (eatonhand.com): finger MCP 0-90 with up to 45 of hyperextension,
  PIP 0-100, DIP 0-80/90.
- J. Lin, Y. Wu, T. S. Huang, "Modeling the Constraints of Human Hand Motion", Workshop on Human Motion (2000): MCP
  0-90, PIP 0-110, DIP 0-90; MCP abduction -15 to 15, almost none for the middle finger.
- M. J. Barakat, J. Field, J. Taylor, "The Range of Movement of the Thumb", HAND 8 (2013): IP 88 of flexion and 12 of
  extension, MCP 60 and 8, CMC radial abduction 63, anteposition 61, adduction 10.
- W. P. Cooney et al., "The kinesiology of the thumb trapeziometacarpal joint", J. Bone Joint Surg. Am. 63 (1981): 53 of
  flexion-extension, 42 of abduction-adduction and 17 of axial rotation in all.
External forces move a joint a little further, and the estimated joint centres are accurate to a few millimetres, so
margins of 5 to 10 degrees are included.
"""

from __future__ import annotations

import numpy as np

from ..skeleton import JOINT_NAMES

_NO_LIMIT = (-180.0, 180.0)
_LIMITS_DEGREES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    # joint: (flexion, abduction, twist)
    "wrist": (_NO_LIMIT, (-90.0, 90.0), _NO_LIMIT),
    # Zero is the flat hand's thumb, which stands out 44 degrees radially and 12 towards the palm already. Flexion
    # sweeps it across the palm, abduction lifts it out of the palm's plane, twist is the pronation of opposition.
    "thumb_cmc": ((-25.0, 45.0), (-25.0, 50.0), (-15.0, 35.0)),
    "thumb_mcp": ((-15.0, 70.0), (-12.0, 12.0), (-8.0, 12.0)),
    "thumb_ip": ((-20.0, 90.0), (-5.0, 5.0), (-5.0, 5.0)),
    "index_mcp": ((-35.0, 95.0), (-25.0, 30.0), (-10.0, 10.0)),
    "middle_mcp": ((-35.0, 95.0), (-20.0, 20.0), (-10.0, 10.0)),
    "ring_mcp": ((-35.0, 95.0), (-25.0, 25.0), (-10.0, 10.0)),
    "pinky_mcp": ((-35.0, 95.0), (-35.0, 30.0), (-15.0, 15.0)),
    "pip": ((-8.0, 115.0), (-5.0, 5.0), (-5.0, 5.0)),
    "dip": ((-12.0, 90.0), (-5.0, 5.0), (-5.0, 5.0)),
}


def joint_limits() -> np.ndarray:
    """Lowest and highest flexion, abduction and twist of the 16 joints, (16, 3, 2), radians, the same for both hands.

    The wrist is free: its rotation is the orientation of the whole hand.
    """
    rows = [_LIMITS_DEGREES.get(name) or _LIMITS_DEGREES[name.rsplit("_", 1)[1]] for name in JOINT_NAMES]
    return np.radians(np.array(rows))
