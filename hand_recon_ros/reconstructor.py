"""The pipeline: one image and its camera in, both hands in metric 3D out. No ROS, no global state."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
import warnings
from typing import Any

import numpy as np

from .config import ConfigError, ReconstructorConfig, checked, read_yaml, settings_of
from .encode.hand_encoder import load_encoder
from .encode.other_hand import with_other_hand
from .hand_model import load_hand_model
from .interact.estimates import pair_of, uncertainty_of, with_pair
from .interact.refinement import load_refiner
from .interact.relative_translation import with_relative_translation
from .landmarks.crops import tracking_box
from .landmarks.observation import Observation
from .lift.lifter import LiftedHand, Lifter, ShapePrior
from .runtime.threads import single_threaded_blas
from .skeleton import mirror_points, wrist_pose
from .track.encoder_schedule import EncoderSchedule
from .track.filter import HandFilter, Life
from .track.locator import LandmarkLocator
from .types import Camera, Frame, HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate

_FRAME_WEIGHT = 1.0 / 30.0
"""What one frame counts for in learning a hand's shape: neighbours repeat each other's errors."""


_STILL_ITERATIONS = 8
"""Gauss-Newton steps for a still image, where nobody waits for the next one."""
_STILL_LOOKS = 3
"""Looks at a hand that only the encoder sees, in a still image."""


class _Track:
    """What one slot remembers: its life, its filter, and what was learnt of its owner's hand shape."""

    def __init__(self, config: ReconstructorConfig) -> None:
        self.life = Life(config.max_prediction_time)
        self.begin(config)

    def begin(self, config: ReconstructorConfig) -> None:
        """A new track: perhaps another person's hand, so nothing of the old one is kept."""
        self.filter = HandFilter(config.smoothing_cutoff, config.smoothing_speed)
        self.shape = ShapePrior.population()
        self.last: tuple[Observation, LiftedHand] | None = None

    def configure(self, config: ReconstructorConfig) -> None:
        self.life.max_prediction_time = config.max_prediction_time
        self.filter.cutoff, self.filter.speed = config.smoothing_cutoff, config.smoothing_speed

    def end(self) -> None:
        """The hand is no longer in this slot."""
        self.life.state, self.last = HandState.LOST, None

    def continues(self, observation: Observation, followed: set[int]) -> bool:
        """Whether ``observation`` is of the hand this slot holds: followed by the locator, or found again nearby.

        ``followed`` are the locator's ids of all hands in this image: a hand that went to the other slot is not here.
        """
        if self.life.state == HandState.LOST or self.last is None:
            return False
        before = self.last[0]
        moved = np.hypot(*np.subtract(observation.roi.center, before.roi.center))
        if before.track_id in followed:
            return observation.track_id == before.track_id
        return bool(moved < before.roi.size)


class TwoHandReconstructor:
    """Both hands from camera images; tracks them from call to call.

    One instance serves one camera stream and one thread at a time.
    """

    def __init__(self, config: ReconstructorConfig | None = None, locator: LandmarkLocator | None = None) -> None:
        """Loads the hand model and, unless a locator is given, the networks.

        Raises ModelFileError (``runtime.model_files``) for missing or altered network files and SessionError
        (``runtime.sessions``) where this platform cannot run them; the messages say what to do.
        """
        self.config = config or ReconstructorConfig()
        self.hand_model = load_hand_model(self.config.hand_model)
        self._locator = LandmarkLocator(self.config) if locator is None else locator
        self._encoder = None if self.config.encoder == "none" else load_encoder(self.config, self._locator.networks)
        self._stream = None if self._encoder is None else EncoderSchedule(self._encoder)
        self._lifter = Lifter(self.hand_model, self.config.solver_iterations)
        self._refiner = load_refiner(self.config, self.hand_model)
        self._faces = {side: self.hand_model.faces(side) for side in Side}
        self._next_track_id = 1
        self.reset()

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None, **overrides: Any) -> TwoHandReconstructor:
        """A reconstructor from a YAML file (see ``config/``) and keyword overrides of any field of ReconstructorConfig.

        A node's parameter file works too: settings of the node alone are left aside, with a warning, as a misspelt name
        would be. Raises ConfigError for unknown keyword overrides and for values out of range, naming them.
        """
        known = settings_of(ReconstructorConfig)
        values = read_yaml(path) if path else {}
        unknown = [name for name in values if name not in known]
        if unknown:
            warnings.warn(f"{path}: not settings of the reconstruction: {', '.join(unknown)}", stacklevel=2)
        values = {name: value for name, value in values.items() if name in known}
        return cls(checked(ReconstructorConfig, {**values, **overrides}))

    def update_settings(self, **values: Any) -> None:
        """Change live settings while running; raises ConfigError for others, unknown ones and bad values."""
        known = settings_of(ReconstructorConfig)
        for name, value in values.items():
            if name in known and not known[name][0].live and value != getattr(self.config, name):
                raise ConfigError(
                    f"{name} is read when the networks are loaded: start a new reconstructor to change it"
                )
        before = self.config
        self.config = checked(ReconstructorConfig, {**dataclasses.asdict(self.config), **values})
        self._locator.config = self.config
        if self.config.mirrored_input != before.mirrored_input:
            self.reset()  # everything that was learnt about sides and positions was the other way round
        self._lifter.iterations = self.config.solver_iterations
        for track in self._tracks.values():
            track.configure(self.config)

    def reset(self) -> None:
        """Forget all hands; track ids go on counting."""
        self._tracks = {side: _Track(self.config) for side in Side}
        self._last_stamp = -math.inf
        self._refiner.reset()
        self._locator.reset()
        if self._stream is not None:
            self._stream.reset()

    def warm_up(self) -> None:
        """Use every part once, so that the first image is as fast as the others (the networks are warm once loaded).

        The very first time after an installation the solver is compiled here, which takes some seconds.
        """
        flat, camera = np.tile(np.eye(3), (16, 1, 1)), Camera.from_fov(640, 480, 60.0)
        observations = []
        for side in Side:
            self.hand_model.mesh(side, flat, np.zeros(10), np.zeros(3))
            joints, _ = self.hand_model.kinematics(side).forward(flat, np.zeros(10), np.array([0.0, 0.0, 0.5]))
            pixels = camera.project(joints)
            observations.append(
                Observation(
                    side=side,
                    score=1.0,
                    side_score=1.0,
                    keypoints_2d=pixels,
                    screen_depth=np.zeros(21),
                    world=joints,
                    joint_scores=np.ones(21),
                    roi=tracking_box(pixels),
                    detected=True,
                )  # fmt: skip
            )
        with single_threaded_blas():
            if self._encoder is not None:
                for seen in (observations[:1], observations):
                    self._encoder(np.zeros((480, 640, 3), dtype=np.uint8), seen, camera)
            lifted = self._lifter(observations, camera)
            hands = [
                self._hand(seen, hand, hand.rotations, hand.translation, camera)
                for seen, hand in zip(observations, lifted, strict=True)
            ]
            self._refiner.warm_up(pair_of(hands), uncertainty_of(hands))

    def __call__(self, image_bgr: np.ndarray, camera: Camera, stamp: float = 0.0) -> TwoHandEstimate:
        """Both hands in the next image of a stream.

        Args:
            image_bgr: uint8 (H, W, 3), BGR, of the camera's size.
            camera: the camera that took it.
            stamp: time of exposure, seconds; it has to advance. One before the last starts tracking afresh.

        Raises ValueError where the image does not fit the camera or is of another type.
        """
        with single_threaded_blas():
            return self._next(_checked_frame(image_bgr, camera, stamp))

    def _next(self, frame: Frame) -> TwoHandEstimate:
        begin = time.perf_counter()
        camera, stamp = frame.camera, frame.stamp
        if stamp < self._last_stamp:
            self.reset()
        self._last_stamp = stamp
        observations = [o for o in self._locator.locate(frame) if o is not None]
        located = time.perf_counter()
        if self._stream is not None:
            observations = self._stream(frame, observations, self.config)
        encoded = time.perf_counter()
        followed, sides = {o.track_id for o in observations}, {o.side for o in observations}
        for side, track in self._tracks.items():
            if side not in sides and track.last is not None and track.last[0].track_id in followed:
                track.end()  # what was taken for this hand is now known to be the other one
        for observation in observations:
            track = self._tracks[observation.side]
            if not track.continues(observation, followed):
                track.begin(self.config)
                track.life.track_id = self._next_track_id
                self._next_track_id += 1
            track.life.measured(stamp)
        lifted = self._lifter(observations, camera, [self._tracks[o.side].shape for o in observations])
        lifted = with_relative_translation(lifted, observations)
        seen = {o.side: self._measured(o, hand, camera, stamp) for o, hand in zip(observations, lifted, strict=True)}
        hands = [seen[side] if side in seen else self._unseen(side, camera, stamp) for side in Side]
        # After the filters: what is told shall not penetrate, and what they smooth is what was measured.
        refined = self._refined(hands, camera, stamp)
        return self._estimate(hands, refined, camera, stamp, (begin, located, encoded))

    def reconstruct_image(self, image_bgr: np.ndarray, camera: Camera) -> TwoHandEstimate:
        """Both hands in one still image: a thorough search, and no tracking state used or kept.

        Arguments and errors as in calling the object.
        """
        with single_threaded_blas():
            return self._still(_checked_frame(image_bgr, camera, 0.0))

    def _still(self, frame: Frame) -> TwoHandEstimate:
        begin, camera = time.perf_counter(), frame.camera
        observations = [o for o in self._locator.locate_image(frame) if o is not None]
        located = time.perf_counter()
        if self._encoder is not None and len(observations) == 1:
            observations = with_other_hand(self._encoder, frame.image, observations[0], camera, looks=_STILL_LOOKS)
        elif self._encoder is not None:
            observations = self._encoder(frame.image, observations, camera)
        encoded = time.perf_counter()
        iterations = max(self.config.solver_iterations, _STILL_ITERATIONS)
        lifted = with_relative_translation(self._lifter(observations, camera, iterations=iterations), observations)
        hands = [HandEstimate.lost(side) for side in Side]
        for observation, hand in zip(observations, lifted, strict=True):
            hands[observation.side] = self._hand(observation, hand, hand.rotations, hand.translation, camera)
        refined = self._refined(hands, camera, None)
        return self._estimate(hands, refined, camera, 0.0, (begin, located, encoded))

    def _refined(self, hands: list[HandEstimate], camera: Camera, stamp: float | None) -> list[HandEstimate] | None:
        """The hands after the two-hand refinement, None where nothing was changed.

        Without a ``stamp`` it is a picture by itself, and no time counts.
        """
        steps, budget = self.config.refine_steps, self.config.refine_budget
        if steps == 0 or not all(hand.found for hand in hands):
            return None
        pair = pair_of(hands)
        refined = self._refiner(
            pair, uncertainty_of(hands), steps,
            budget if stamp is not None and budget > 0.0 else math.inf, stamp, tuple(hand.track_id for hand in hands),
        )  # fmt: skip
        if refined is pair:
            return None
        return with_pair(hands, refined, self.hand_model, camera, self.config.mirrored_input)

    def _estimate(
        self, hands: list[HandEstimate], refined: list[HandEstimate] | None, camera: Camera, stamp: float,
        times: tuple[float, float, float],
    ) -> TwoHandEstimate:  # fmt: skip
        """``times`` are those at which work began, hands were located and hands were encoded."""
        end = time.perf_counter()
        begin, located, encoded = times
        left, right = hands if refined is None else refined
        return TwoHandEstimate(
            left=left,
            right=right,
            refined=refined is not None,
            unrefined=None if refined is None else (hands[Side.LEFT], hands[Side.RIGHT]),
            stamp=stamp,
            hand_model=self.hand_model.name,
            calibrated=camera.calibrated,
            mirrored=self.config.mirrored_input,
            timings={
                "locate": located - begin,
                "encode": encoded - located if self._encoder is not None else 0.0,
                "refine": end - encoded,
                "total": end - begin,
            },  # fmt: skip
        )

    def _measured(self, observation: Observation, hand: LiftedHand, camera: Camera, stamp: float) -> HandEstimate:
        track = self._tracks[observation.side]
        track.shape = track.shape.updated(hand, _FRAME_WEIGHT * observation.score)
        wrist, rotations = track.filter.update(hand.keypoints[0], hand.rotations, stamp)
        track.last = observation, hand
        translation = hand.translation + (wrist - hand.keypoints[0])
        return self._hand(observation, hand, rotations, translation, camera, track)

    def _unseen(self, side: Side, camera: Camera, stamp: float) -> HandEstimate:
        track = self._tracks[side]
        since = stamp - track.life.last_measured
        if track.life.unseen(stamp) == HandState.LOST or track.last is None:
            track.last = None
            return HandEstimate.lost(side, since if math.isfinite(since) else 0.0)
        observation, hand = track.last
        wrist, rotations = track.filter.predict(stamp)
        translation = hand.translation + (wrist - hand.keypoints[0])
        return self._hand(observation, hand, rotations, translation, camera, track, since)

    def _hand(
        self,
        observation: Observation,
        hand: LiftedHand,
        rotations: np.ndarray,
        translation: np.ndarray,
        camera: Camera,
        track: _Track | None = None,
        since_measurement: float = 0.0,
    ) -> HandEstimate:
        side = observation.side
        joints, _ = self.hand_model.kinematics(side).forward(rotations, hand.betas, translation)
        predicted = since_measurement > 0.0
        shown = mirror_points(joints) if observation.mirrored else joints
        keypoints_2d = camera.project(shown) if predicted else hand.keypoints_2d
        # What is carried on may leave the view, and then has no pixels.
        lowest, highest = (np.nanmin, np.nanmax) if predicted else (np.min, np.max)
        low, high = lowest(keypoints_2d, axis=0), highest(keypoints_2d, axis=0)
        fading = math.exp(-since_measurement / 0.1)
        return HandEstimate(
            side=side,
            state=HandState.PREDICTED if predicted else HandState.TRACKED,
            score=float(observation.score) * fading,
            side_score=float(observation.side_score),
            track_id=track.life.track_id if track else 1 + int(side),
            since_measurement=since_measurement,
            joints=joints,
            joint_scores=hand.joint_scores * fading,
            keypoints_2d=keypoints_2d,
            mesh=functools.partial(self.hand_model.mesh, side, rotations, hand.betas, translation),
            faces=self._faces[side],
            rotations=rotations,
            betas=hand.betas,
            translation=translation,
            wrist_pose=wrist_pose(joints, side == Side.RIGHT),
            roi=(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])),
            scale_source=ScaleSource.PRIOR,
            position_stddev=hand.position_stddev,
        )


def _checked_frame(image: np.ndarray, camera: Camera, stamp: float) -> Frame:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image must be a uint8 array (height, width, 3) in BGR order, got {what}")
    if not camera.matches(image):
        raise ValueError(
            f"the camera is {camera.width}x{camera.height} but the image is {image.shape[1]}x{image.shape[0]}: "
            "pass the intrinsics of this image size"
        )
    return Frame(image=image, camera=camera, stamp=stamp)
