"""The protocol of HIC (Tzionas et al., IJCV 2016) with the MANO fits of InterWild, whose code defines it."""

from __future__ import annotations

from ...skeleton import WRIST
from .protocol import INTERHAND_TIPS, Protocol

HIC = Protocol("hic", WRIST, rescale=False, from_mesh=True, tips=INTERHAND_TIPS)
"""Wrists are regressed from the meshes. MRRPE is over images of type "interacting" that have both meshes. InterWild's
code has no MPJPE; here it is of the keypoints from the meshes."""
