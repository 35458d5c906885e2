"""The networks that detect bodies, their poses and the boxes of their hands."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.crops import crop
from ..landmarks.observation import RotatedBox
from ..runtime.devices import resolved_device
from ..runtime.model_files import HAND_RECROP, POSE_DETECTION, POSE_LANDMARKS, find_model
from ..runtime.sessions import Session, cache_folder, open_session
from ..types import Side
from .body import MIN_PRESENCE, BodyDetection, BodyHand, BodyPose, bodies_in, corrected, hand_from_pose, pose_in
from .ssd import fill_input

_POSE_OUTPUTS = (0, 1, 3)
"""Points, presence and heatmaps; without the mask of the person the network takes about half of the time."""


@dataclasses.dataclass(frozen=True, eq=False)
class BodyNetworks:
    """Pose detector, pose landmark network and the network that corrects the boxes of hands.

    Not for use by two threads at once: the input buffers are shared.
    """

    detector: Session
    pose: Session
    recrop: Session

    @classmethod
    def load(cls, config: ReconstructorConfig) -> BodyNetworks:
        """Load and check the networks, and run each once, so that the first image takes no longer than the others.

        Raises DeviceError for a device that cannot be used, ModelFileError where a file is missing or altered, and
        SessionError where it cannot be run.
        """
        detector, pose, recrop = (
            find_model(model, config.model_dir) for model in (POSE_DETECTION, POSE_LANDMARKS, HAND_RECROP)
        )
        device, cache = resolved_device(config.device), cache_folder(config.model_cache)
        open_with = functools.partial(open_session, device=device, threads=config.threads, cache=cache)
        networks = cls(
            detector=open_with(detector, input_range=(-1.0, 1.0)),
            pose=open_with(pose, outputs=_POSE_OUTPUTS),
            recrop=open_with(recrop, capacity=len(Side)),
        )
        for session in (networks.detector, networks.pose, networks.recrop):
            for count in range(1, len(session.inputs) + 1):
                session.run(count)
        return networks

    def detect(self, image: np.ndarray, threshold: float = 0.5, view: RotatedBox | None = None) -> list[BodyDetection]:
        """Persons above ``threshold`` in a BGR image, or in one view of it, best first."""
        view = fill_input(self.detector, image, view)
        raw, logits = self.detector.run(1)[0]
        return bodies_in(raw, logits, threshold, view, self.detector.size)

    def read(self, image: np.ndarray, roi: RotatedBox) -> BodyPose:
        """The pose of the person in a box of a BGR image.

        The box is that of a detection or, in a stream, ``next_roi`` of the pose in the image before.
        """
        crop(image, roi, self.pose.inputs[0])
        return pose_in(self.pose.run(1)[0], roi, self.pose.size)

    def hands(self, image: np.ndarray, pose: BodyPose) -> tuple[BodyHand | None, BodyHand | None]:
        """Left and right hand of a person with the boxes of their crops; None where the wrist is not visible."""
        hands = [hand_from_pose(pose, side) for side in Side]
        visible = [hand for hand in hands if hand is not None]

        def fill(index: int) -> None:
            crop(image, visible[index].roi, self.recrop.inputs[index])

        outputs = iter(self.recrop.run(len(visible), fill))
        left, right = (None if hand is None else corrected(hand, next(outputs)[0], self.recrop.size) for hand in hands)
        return left, right


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
    """A person in an image.

    Attributes:
        pose: of the body.
        hands: those with visible wrists.
    """

    pose: BodyPose
    hands: list[BodyHand]


def persons_in(
    networks: BodyNetworks, image: np.ndarray, most: int | None = None, operator: str = "largest"
) -> list[Person]:
    """The persons in a BGR image, at most ``most``, the operator first.

    The operator is the person with the largest body, or with ``nearest`` the one whose hands are largest.
    """
    bodies = sorted(networks.detect(image), key=lambda body: -body.roi.size)[:most]
    persons = [person for body in bodies if (person := person_in(networks, image, body.roi)) is not None]
    if operator == "nearest":
        persons.sort(key=lambda person: -max((hand.roi.size for hand in person.hands), default=0.0))
    return persons


def person_in(networks: BodyNetworks, image: np.ndarray, roi: RotatedBox) -> Person | None:
    """The person in a box of a BGR image (see :meth:`BodyNetworks.read`); None where there is none."""
    pose = networks.read(image, roi)
    if pose.presence < MIN_PRESENCE:
        return None
    return Person(pose, [hand for hand in networks.hands(image, pose) if hand is not None])
