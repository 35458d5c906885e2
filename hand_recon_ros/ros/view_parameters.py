"""Parameters of the node hand_recon_view."""

from __future__ import annotations

import dataclasses

from ..config import ReconstructorConfig, same_setting, setting
from .parameters import NodeConfig


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """All parameters of hand_recon_view; most are hand_recon's with the same meaning, so that one file serves both.

    Raises ConfigError where a value cannot be used.
    """

    use_compressed: bool = same_setting(NodeConfig, "use_compressed")
    rectified: bool = same_setting(NodeConfig, "rectified")
    image_reliability: str = same_setting(NodeConfig, "image_reliability")
    fallback_fov: float = same_setting(
        NodeConfig,
        "fallback_fov",
        "field of view across the longer image side, assumed while there is no camera_info, as hand_recon does; 0 waits"
        " for camera_info",
    )
    mirrored_input: bool = same_setting(ReconstructorConfig, "mirrored_input")
    hand_model: str = same_setting(ReconstructorConfig, "hand_model")
    marker_rate: float = same_setting(NodeConfig, "marker_rate")
    debug_image_rate: float = same_setting(NodeConfig, "debug_image_rate")
    debug_image_quality: int = same_setting(NodeConfig, "debug_image_quality")
    diagnostics: bool = same_setting(NodeConfig, "diagnostics")
    niceness: int = setting(
        10,
        "by how much the priority of the process is lowered, so that drawing takes no processor that hand_recon needs",
        low=0,
        high=19,
    )

    def __post_init__(self) -> None:
        NodeConfig(fallback_fov=self.fallback_fov)  # raises
