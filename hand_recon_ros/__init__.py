"""Both hands in metric 3D from camera images, for ROS 2 and for plain Python."""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

from .types import Camera, Frame, HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate

if TYPE_CHECKING:
    from .reconstructor import TwoHandReconstructor

# The generated messages (hand_recon_ros.msg) are installed: found also where the code is imported from the source tree.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
__all__ = [
    "Camera",
    "Frame",
    "HandEstimate",
    "HandState",
    "ScaleSource",
    "Side",
    "TwoHandEstimate",
    "TwoHandReconstructor",
]


def __getattr__(name: str) -> Any:
    # The reconstructor pulls in the networks' runtime: it is imported when first asked for.
    if name == "TwoHandReconstructor":
        from .reconstructor import TwoHandReconstructor

        return TwoHandReconstructor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
