"""Settings of the teleoperation, and what contradicts what."""

from __future__ import annotations

import dataclasses

from ..config import ConfigError, setting


@dataclasses.dataclass(frozen=True)
class TeleopSettings:
    """Settings of the teleoperation. Raises ConfigError where two contradict."""

    scale: float = setting(1.0, "translation of the target over that of the hand", low=0.01, high=10.0, live=True)
    clutch: str = setting(
        "service",
        "what lets the target follow the hand: ~/engage, the pinch of thumb and index finger while it lasts, or always"
        " while the hand is tracked",
        choices=("service", "pinch", "always"),
    )
    clutch_hand: str = setting("same", "whose pinch it is: of the same hand or the other", choices=("same", "other"))
    pinch_engage: float = setting(
        0.025, "fingertips nearer than this engage the clutch", unit="m", low=0.0, high=0.2, live=True
    )
    pinch_release: float = setting(
        0.045, "fingertips further apart than this release it", unit="m", low=0.0, high=0.2, live=True
    )
    max_linear_velocity: float = setting(
        0.5, "highest velocity of the target", unit="m/s", low=0.001, high=10.0, live=True
    )
    max_angular_velocity: float = setting(
        1.5, "highest angular velocity of the target", unit="rad/s", low=0.001, high=20.0, live=True
    )
    max_linear_step: float = setting(
        0.02, "how far the target moves at most from one output to the next, also when that comes late",
        unit="m", low=0.0001, high=1.0, live=True,
    )  # fmt: skip
    max_angular_step: float = setting(0.06, "the same of its rotation", unit="rad", low=0.0001, high=3.0, live=True)
    max_hand_speed: float = setting(
        3.0, "a hand that is faster than this from image to image has jumped, and the target stops",
        unit="m/s", low=0.1, high=100.0, live=True,
    )  # fmt: skip
    timeout: float = setting(
        0.3, "the target stops where the image of the last hand is older than this", unit="s", low=0.01, high=5.0,
        live=True,
    )  # fmt: skip
    gripper: str = setting(
        "pinch", "what closes the gripper: thumb and index finger, or nothing", choices=("pinch", "off")
    )
    gripper_open_distance: float = setting(
        0.08, "distance of the fingertips at which the gripper is open", unit="m", low=0.0, high=0.3, live=True
    )
    gripper_closed_distance: float = setting(
        0.025, "distance of the fingertips at which it is closed", unit="m", low=0.0, high=0.3, live=True
    )
    gripper_hysteresis: float = setting(
        0.05, "share of that range by which the fingers move before the gripper does", low=0.0, high=0.5, live=True
    )

    def __post_init__(self) -> None:
        if self.pinch_release <= self.pinch_engage:
            raise ConfigError(
                f"pinch_release ({self.pinch_release:g}) must be larger than pinch_engage ({self.pinch_engage:g})"
            )
        if self.gripper_open_distance < self.gripper_closed_distance + 0.01:
            raise ConfigError(
                f"gripper_open_distance ({self.gripper_open_distance:g}) must be larger than gripper_closed_distance"
                f" ({self.gripper_closed_distance:g}) by 0.01 m or more"
            )
        if self.clutch == "pinch" and self.clutch_hand == "same" and self.gripper == "pinch":
            raise ConfigError(
                "clutch pinch and gripper pinch of one hand contradict each other: set clutch_hand to other, or gripper"
                " to off"
            )
