"""Parameters of the node hand_teleop."""

from __future__ import annotations

import dataclasses

from ..config import ConfigError, same_setting, setting
from ..teleop.settings import TeleopSettings
from .parameters import NodeConfig


@dataclasses.dataclass(frozen=True)
class TeleopConfig(TeleopSettings):
    """All parameters of hand_teleop. Raises ConfigError where two contradict."""

    side: str = setting("right", "the hand that moves the robot", choices=("left", "right"))
    target_frame: str = setting(
        "", "frame of the commands, such as the robot's base; the hand is transformed to it by tf2; empty: the camera's"
    )
    tool_frame: str = setting(
        "",
        "frame of the robot's tool: each time the clutch engages, the target starts at its pose in target_frame; empty:"
        " it starts where it was last, first at ~/start_pose",
    )
    tf_wait: float = setting(
        0.1, "how long a transform at the image's stamp may come later than the hand", unit="s", low=0.0, high=5.0,
        live=True,
    )  # fmt: skip
    rate: float = setting(50.0, "commands per second", unit="Hz", low=1.0, high=500.0)
    diagnostics: bool = same_setting(NodeConfig, "diagnostics")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tool_frame and not self.target_frame:
            raise ConfigError("tool_frame needs target_frame: set it to the frame in which the robot is commanded")
