"""Pseudo-labels of a user's recordings: hands on which landmarks, a teacher and the lifted hand agree.

The pipeline reconstructs the recording with the teacher as its encoder; poses of a stream are smoothed by the images
before and after (:class:`track.fixed_lag.FixedLagSmoother`). Each found hand is then measured again on its own:
landmarks in several crops, the teacher's prediction, and the lifted hand. What these measurements are is a
:class:`MeasuredHand`; which hands become labels is decided at the end of a recording (:func:`rejection`), when the
user's bone lengths are known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..config import ReconstructorConfig, setting
from ..detect.networks import HandNetworks
from ..detect.test_time_augmentation import augmented
from ..encode.hand_encoder import Encoder, load_encoder
from ..hand_model import HandModel
from ..landmarks.crops import tracking_box
from ..landmarks.exposure import normalised
from ..landmarks.hand_keypoints import moved_to_hand_model
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import Observation
from ..reconstructor import TwoHandReconstructor
from ..skeleton import KEYPOINT_PARENTS, WRIST
from ..track.fixed_lag import FixedLagSmoother
from ..track.locator import HandLocator
from ..types import Camera, HandEstimate, HandState, Side, TwoHandEstimate
from .pseudo_labels import LabelledHand, keypoint_box
from .recordings import RecordedImage, Recording

_BONES = np.arange(1, 21)
_MOST = 100000


@dataclasses.dataclass(frozen=True)
class LabelOptions:
    """Section ``labels`` of the settings: which images are labelled, and which hands are kept.

    Lengths are shares of the hand: in the image of the larger side of the box around its keypoints, in space of the
    bones from the wrist to the tip of the middle finger.
    """

    every: float = setting(0.25, "time between labelled images of a stream", unit="s", low=0.001, high=3600.0)
    most: int = setting(2000, "labelled images of a recording; of longer ones every second, fourth ...", low=2,
                        high=_MOST)  # fmt: skip
    smoothing: float = setting(0.2, "images before and after that smooth a pose", unit="s", low=0.0, high=1.0)
    held_out: float = setting(0.4, "last part of each recording, which is measured on", low=0.05, high=0.9)
    gap: float = setting(0.5, "time between the parts of a stream, of which nothing is used", unit="s", low=0.0)
    presence: float = setting(0.8, "lowest presence by the landmark network, mean over the crops", low=0.0, high=1.0)
    side: float = setting(0.9, "lowest probability of the side, by all images of the hand so far", low=0.5, high=1.0)
    side_crops: float = setting(0.8, "the same, mean over the crops of this image", low=0.5, high=1.0)
    spread: float = setting(0.05, "largest standard deviation of the landmarks over the crops", low=0.0)
    disagreement: float = setting(
        0.1, "largest mean distance in the image between landmarks, teacher and lifted hand", low=0.0
    )
    disagreement_3d: float = setting(
        0.2, "largest mean distance in space of teacher and lifted hand; above it only the image's keypoints count",
        low=0.0,
    )  # fmt: skip
    beyond_limits: float = setting(10.0, "by which a joint may exceed its anatomical limits", unit="deg", low=0.0)
    bones: float = setting(
        0.25, "largest mean difference of the teacher's bones from their median in the recording", low=0.0
    )
    outside: int = setting(5, "largest number of keypoints outside of the image", low=0, high=20)


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredHand:
    """A hand of an image, and how far what is known of it agrees.

    Attributes:
        hand: as lifted, of a stream smoothed.
        keypoints: its keypoints in the image (21, 2), pixels.
        presence, right: by the landmark network, mean over the crops.
        spread: of the landmarks over the crops, share of the hand.
        disagreement: the largest of the mean distances between landmarks, teacher and lifted hand, share of the hand.
        disagreement_3d: mean distance of the teacher's keypoints from the lifted ones, both from the wrist, share of
            the hand.
        beyond_limits: by which a joint exceeds its limits, radians.
        bones: of the teacher (20,), shares of their sum.
        outside: number of keypoints outside of the image.
    """

    hand: HandEstimate
    keypoints: np.ndarray
    presence: float
    right: float
    spread: float
    disagreement: float
    disagreement_3d: float
    beyond_limits: float
    bones: np.ndarray
    outside: int

    def labelled(self, side: Side) -> LabelledHand:
        """As a label of a photograph."""
        box = keypoint_box(self.keypoints)
        return LabelledHand(side, tracking_box(self.keypoints), box, self.presence, self.right, self.keypoints)


REASONS = (
    "not measured", "presence", "side", "cut off", "unsteady landmarks", "disagreement", "joint limits", "bone lengths"
)  # fmt: skip
"""Why hands are left out, in the order in which they are tested."""


def rejection(measured: MeasuredHand, usual_bones: np.ndarray | None, options: LabelOptions) -> str:
    """The first of REASONS for which a hand is no label; empty where it is one.

    ``usual_bones`` (20,) are the medians of :attr:`MeasuredHand.bones` in the recording; None where they are not known.
    """
    hand = measured.hand
    by_crops = measured.right if hand.side == Side.RIGHT else 1.0 - measured.right
    different = 0.0
    if usual_bones is not None:
        different = float((np.abs(measured.bones - usual_bones) / usual_bones).mean())
    failed = (
        hand.state != HandState.TRACKED,
        measured.presence < options.presence,
        hand.side_score < options.side or by_crops < options.side_crops,
        measured.outside > options.outside,
        measured.spread > options.spread,
        not measured.disagreement <= options.disagreement,
        measured.beyond_limits > np.radians(options.beyond_limits),
        not different <= options.bones,
    )
    return next((reason for reason, fails in zip(REASONS, failed, strict=True) if fails), "")


def usual_bones(hands: list[MeasuredHand], options: LabelOptions) -> np.ndarray | None:
    """Median share of each bone (20,) over the hands that pass all other tests; None of fewer than five."""
    passing = [hand.bones for hand in hands if not rejection(hand, None, options)]
    return np.median(passing, axis=0) if len(passing) >= 5 else None


class Labeller:
    """Reconstructs recordings and measures the hands found; loads the networks once."""

    def __init__(self, teacher: str, options: LabelOptions, threads: int = 1, hand_model: str = "") -> None:
        """``teacher``: as the setting ``encoder``; ``hand_model``: MANO's file, which HaMeR and WiLoR need.

        Raises ConfigError, SessionError and ModelFileError as the reconstructor does.
        """
        # The whole refinement in each image, so that labels do not depend on the speed of the machine. The poses are
        # of the hand model that the encoder is trained on, whichever the teacher has.
        config = ReconstructorConfig(
            encoder=teacher, threads=threads, hand_model=hand_model, smoothing="off", refine_budget=0.0
        )
        self._options = options
        self._networks = HandNetworks.load(config)
        self._teacher: Encoder = load_encoder(config, self._networks)
        own = dataclasses.replace(config, hand_model="")
        self._reconstructor = TwoHandReconstructor(own, HandLocator(self._networks), self._teacher)

    @property
    def hand_model(self) -> HandModel:
        """Of the labels."""
        return self._reconstructor.hand_model

    def __call__(self, recording: Recording) -> Iterator[tuple[RecordedImage, list[MeasuredHand]]]:
        """The images of a recording that are to be labelled, and their hands."""
        if recording.is_stream:
            for item, estimate in self._stream(recording):
                yield item, self.measured(item.image, estimate, item.camera)
            return
        for item in recording:
            estimate = self._reconstructor.reconstruct_image(item.image, item.camera)
            yield item, self.measured(item.image, estimate, item.camera)

    def _stream(self, recording: Recording) -> Iterator[tuple[RecordedImage, TwoHandEstimate]]:
        smoother: FixedLagSmoother[RecordedImage | None] = FixedLagSmoother(self.hand_model)
        self._reconstructor.reset()
        delay, due = self._options.smoothing, -np.inf
        for item in recording:
            estimate = self._reconstructor(item.image, item.camera, stamp=item.time)
            is_due = item.time >= due - 1e-6
            if is_due:
                due = item.time + self._options.every
            # Images that are not labelled are not stored until their neighbours are smoothed.
            for ready, smoothed in smoother.add(item if is_due else None, estimate, item.camera, delay):
                if ready is not None:
                    yield ready, smoothed
        for ready, smoothed in smoother.rest(delay):
            if ready is not None:
                yield ready, smoothed

    def measured(self, image: np.ndarray, estimate: TwoHandEstimate, camera: Camera) -> list[MeasuredHand]:
        """The found hands of an estimate, measured by landmarks and teacher in the image."""
        image = normalised(image)
        found = [hand for side in Side if (hand := estimate.hand(side)).found]
        crops = [self._crops(image, camera.project(hand.joints)) for hand in found]
        seen = [_observation(hand, each) for hand, each in zip(found, crops, strict=True)]
        predicted = self._teacher(image, seen, camera) if seen else []
        return [
            self._measured(hand, each, observation, camera)
            for hand, each, observation in zip(found, crops, predicted, strict=True)
        ]

    def _crops(self, image: np.ndarray, keypoints: np.ndarray) -> list[HandLandmarks]:
        """The landmarks in several crops around keypoints; without colours where the hand is seen better so."""
        keypoints = np.nan_to_num(keypoints)
        both = self._networks.read(image, [tracking_box(keypoints)] * 2, grey=[False, True])
        (crops,) = augmented(self._networks, image, [max(both, key=lambda hand: hand.presence)])
        return crops

    def _measured(
        self, hand: HandEstimate, crops: list[HandLandmarks], observation: Observation, camera: Camera
    ) -> MeasuredHand:
        lifted = camera.project(hand.joints)
        points = moved_to_hand_model(np.stack([crop.keypoints for crop in crops]))
        landmarks, prediction = points.mean(axis=0), observation.prediction
        assert prediction is not None  # the encoder predicts every observation
        extent = max(float(np.ptp(lifted, axis=0).max()), 1e-6)
        three = landmarks, prediction.keypoints_2d, lifted
        distances = [_distance(three[i], three[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        bones = _bone_lengths(prediction.joints)
        length = float(_bone_lengths(hand.joints)[[8, 9, 10, 11]].sum())
        from_wrist = hand.joints - hand.joints[WRIST]
        angles = self.hand_model.kinematics(hand.side).angles_of(hand.rotations)[1:]
        low, high = np.moveaxis(self.hand_model.kinematics(hand.side).limits[1:], -1, 0)
        inside = ((lifted >= -0.5) & (lifted < (camera.width - 0.5, camera.height - 0.5))).all(axis=1)
        return MeasuredHand(
            hand=hand,
            keypoints=lifted,
            presence=float(np.mean([crop.presence for crop in crops])),
            right=float(np.mean([crop.right for crop in crops])),
            spread=float(np.sqrt(((points - landmarks) ** 2).sum(axis=-1).mean(axis=0)).mean()) / extent,
            disagreement=max(distances) / extent,
            disagreement_3d=_distance(prediction.joints, from_wrist) / max(length, 1e-6),
            beyond_limits=float(np.maximum(low - angles, angles - high).max()),
            bones=bones / max(float(bones.sum()), 1e-9),
            outside=int((~inside).sum()),
        )


def _observation(hand: HandEstimate, crops: list[HandLandmarks]) -> Observation:
    """What the teacher takes of a hand: the box around its landmarks."""
    keypoints = np.mean([crop.keypoints for crop in crops], axis=0)
    return Observation(
        side=hand.side, score=hand.score, side_score=hand.side_score, keypoints_2d=keypoints,
        screen_depth=crops[0].screen_depth, world=crops[0].world, joint_scores=np.ones(21),
        roi=tracking_box(keypoints), detected=True, grey=crops[0].grey,
    )  # fmt: skip


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


def _bone_lengths(joints: np.ndarray) -> np.ndarray:
    """Lengths (20,) of the bones to keypoints 1 to 20 of keypoints (21, 3)."""
    return np.asarray(np.linalg.norm(joints[_BONES] - joints[KEYPOINT_PARENTS[_BONES]], axis=-1))
