"""Protocols of InterHand2.6M: those of published codes, by name, and any other of the same kind."""

from __future__ import annotations

import dataclasses
import itertools

from ...skeleton import MIDDLE_MCP, WRIST
from .protocol import INTAGHAND_TIPS, INTERHAND_TIPS, Protocol

HUMAN, ALL = "images annotated by humans, Test (H)", "images annotated by humans and machine, Test (H+M)"

INTERNET = Protocol("internet", WRIST, rescale=False, from_mesh=False, tips=INTERHAND_TIPS, images=HUMAN)
"""InterNet, Moon et al., "InterHand2.6M", ECCV 2020."""
INTERWILD = dataclasses.replace(INTERNET, name="interwild", mean_of_types=True, mrrpe_of_interacting=False)
"""InterWild, Moon, "Bringing Inputs to Shared Domains for 3D Interacting Hands Recovery in the Wild", CVPR 2023. It is
InterNet's but for two averages, and has meshes."""
INTAGHAND = Protocol(
    "intaghand",
    MIDDLE_MCP,
    rescale=True,
    from_mesh=True,
    tips=INTAGHAND_TIPS,
    pairs_only=True,
    images=f"{ALL}, interacting, with both meshes",
)
"""IntagHand, Li et al., "Interacting Attention Graph for Single Image Two-Hand Reconstruction", CVPR 2022, and DIR, Ren
et al., "Decoupled Iterative Refinement Framework for Interacting Hands Reconstruction", ICCV 2023. MRRPE, in DIR's code
only, is between the roots, here the middle MCPs."""
DIR_WRIST = dataclasses.replace(INTAGHAND, name="dir-wrist", root=WRIST)
"""DIR's code with its default options, by which its page of results was made."""


def _variant(root: int, rescale: bool, from_mesh: bool) -> Protocol:
    parts = "wrist" if root == WRIST else "mcp", "rescaled" if rescale else "metric"
    tips = INTAGHAND_TIPS if from_mesh else INTERHAND_TIPS
    return Protocol(
        "-".join((*parts, "mesh" if from_mesh else "annotated")), root, rescale, from_mesh, tips, images=HUMAN
    )


VARIANTS = tuple(_variant(*choice) for choice in itertools.product((WRIST, MIDDLE_MCP), (False, True), (False, True)))
"""Every combination of root, scale and keypoints over the images of Test (H), such as "wrist-metric-mesh"."""
PROTOCOLS = {each.name: each for each in (INTERNET, INTERWILD, INTAGHAND, DIR_WRIST, *VARIANTS)}
_ALIASES = {"internet/interwild": "interwild", "dir": "intaghand", "intaghand/dir": "intaghand"}
NAMES = (*PROTOCOLS, *_ALIASES)


def interhand26m(name: str) -> Protocol:
    """A protocol by the name of the code that it is from, or of a variant; raises ValueError for another name."""
    key = _ALIASES.get(name, name)
    if key not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r} of InterHand2.6M: expected one of {', '.join(NAMES)}")
    return dataclasses.replace(PROTOCOLS[key], name=name)
