"""The pipeline: one image and its camera in, both hands in metric 3D out. No ROS, no files, no globals."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from .config import ConfigError, ReconstructorConfig, checked, reconstructor_config, settings_of
from .conversions.placing import shifted
from .detect.networks import HandNetworks
from .encode.hand_encoder import Encoder, load_encoder
from .hand_model import load_hand_model
from .interact.estimates import pair_of, uncertainty_of, with_pair
from .interact.refinement import load_refiner
from .interact.relative_translation import with_relative_translation
from .landmarks.frames import checked_frame
from .landmarks.observation import Observation
from .lift.evidence import in_view
from .lift.hand_calibration import HandCalibration, HandShape, known_shapes, read_shapes, write_shapes
from .lift.lifted_hand import LiftedHand
from .lift.lifter import Lifter
from .runtime.devices import DeviceError, choose_device
from .runtime.sessions import SessionError
from .track.encoder_schedule import encode, encode_image, encode_left
from .track.estimates import measured_estimate, unseen_estimate
from .track.locator import HandLocator, Located
from .track.tracks import Tracks
from .track.warm_up import flat_mesh, warm_up
from .types import Camera, Frame, HandEstimate, Side, TwoHandEstimate

_SINGLE_IMAGE_ITERATIONS = 8
"""Gauss-Newton steps of the lifting in a single image, where no next one waits."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Locator(Protocol):
    """Finds hands; see :class:`hand_recon_ros.track.locator.HandLocator`."""

    networks: Any

    def locate(self, frame: Frame, tracks: Tracks, config: ReconstructorConfig) -> Located: ...

    def search(self, frame: Frame, config: ReconstructorConfig) -> Located: ...

    def search_people(self, frame: Frame, config: ReconstructorConfig) -> list[Located]: ...


class TwoHandReconstructor:
    """Both hands from camera images; tracks them from call to call.

    One instance serves one camera stream and one thread at a time. All that it remembers is in its ``Tracks``.

    Attributes:
        config: the settings; replaced by :meth:`update_settings`.
        device: that the networks run on.
        hand_model: of both hands.
    """

    def __init__(
        self, config: ReconstructorConfig | None = None, locator: Locator | None = None, encoder: Encoder | None = None
    ) -> None:
        """Load the hand model and, unless a locator is given, the networks; an ``encoder`` replaces that of the config.

        Raises DeviceError (``runtime.devices``) for a device that cannot be used, ModelFileError
        (``runtime.model_files``) for missing or altered network files and SessionError (``runtime.sessions``) where
        this platform cannot run them; the messages name the way out.
        """
        self.config = config or ReconstructorConfig()
        self.device = choose_device(self.config.device)
        self.hand_model = load_hand_model(self.config.hand_model)
        self._lifter = Lifter(self.hand_model)
        path = self.config.hand_calibration
        self._measured = read_shapes(path, self.hand_model) if path else {}
        self._shapes = known_shapes(self.config, self._measured, self.hand_model)
        self._tracks = Tracks(self._shapes)
        self._calibration: HandCalibration | None = None
        self._given_locator, self._given_encoder = locator, encoder
        try:
            self._load()
        except (DeviceError, SessionError) as error:  # the latter: an operation that the GPU does not know
            self._fall_back(error)

    def _load(self) -> None:
        """Load the networks on the device."""
        config = dataclasses.replace(self.config, device=self.device)
        with ThreadPoolExecutor() as pool:  # compiling uses one core for each network
            refiner = pool.submit(load_refiner, config, self.hand_model)
            # The machine code of the geometry is loaded at its first use.
            geometry = pool.submit(flat_mesh, self.hand_model, Side.LEFT)
            self._locator = self._given_locator or HandLocator(HandNetworks.load(config))
            self._encoder = self._given_encoder
            if self._encoder is None and config.encoder != "none":
                self._encoder = load_encoder(config, self._locator.networks)
            self._refiner = refiner.result()
            geometry.result()

    def _or_on_the_cpu(self, step: Callable[[], _Result]) -> _Result:
        """The result of a step; with the setting ``auto``, where the GPU fails, of the same step on the CPU."""
        try:
            return step()
        except DeviceError as error:
            self._fall_back(error)
            return step()

    def _fall_back(self, error: DeviceError | SessionError) -> None:
        """Load the networks on the CPU where the setting allows it; raises ``error`` where it does not."""
        if self.config.device != "auto" or self.device == "cpu":
            raise error
        _log.warning("%s; device is 'auto', so networks run on the CPU from now on", error)
        self.device = "cpu"
        self._tracks.reset()  # the image may have been a part of the way through
        self._load()

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None, **overrides: Any) -> TwoHandReconstructor:
        """A reconstructor from a YAML file (see ``config/``) and keyword overrides of any field of ReconstructorConfig.

        A node's parameter file works too: settings of the node alone are left out, with a warning, as is a misspelt
        name. Raises ConfigError for unknown keyword overrides and for values out of range, naming them.
        """
        return cls(reconstructor_config(path, **overrides))

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
        if self.config.mirrored_input != before.mirrored_input:
            self.reset()  # handedness and positions were those of the mirror image
        if self.config.hand_length != before.hand_length:
            self._use_shapes()

    def start_calibration(self, side: Side, images: int) -> HandCalibration:
        """Learn the shape of a hand from the next ``images`` images of the stream in which it is measured; returns what
        learns it. The user shows the hand from several directions, fingers straight. One calibration at a time: another
        one replaces it."""
        self._calibration = HandCalibration(side, images)
        return self._calibration

    def use_calibration(self, length: float = 0.0) -> HandShape:
        """End the calibration that was started: its result is the shape of the hand from now on.

        It is written to the file of the setting ``hand_calibration``, if that is set, beside what is there of the other
        hand. ``length`` is that of the hand, measured by the user, metres; 0: the setting ``hand_length``.

        Raises ValueError for a length that the hand model cannot have, OSError where the file cannot be written, and
        RuntimeError where no calibration was started.
        """
        if self._calibration is None:
            raise RuntimeError("no calibration was started")
        side, path = self._calibration.side, self.config.hand_calibration
        shape = self._calibration.result(self.hand_model, length or self.config.hand_length)
        self._measured[side] = shape
        if path:
            write_shapes(path, self.hand_model, self._measured)
        self._calibration = None
        self._use_shapes()
        return shape

    def _use_shapes(self) -> None:
        self._shapes = known_shapes(self.config, self._measured, self.hand_model)
        self._tracks.set_shapes(self._shapes)

    def reset(self) -> None:
        """Forget all hands; track ids are not used again."""
        self._tracks.reset()

    def __call__(
        self, image_bgr: np.ndarray, camera: Camera, stamp: float = 0.0, depth: np.ndarray | None = None
    ) -> TwoHandEstimate:
        """Both hands in the next image of a stream.

        Args:
            image_bgr: uint8 (H, W, 3), BGR, of the camera's size.
            camera: the camera that took it, in whose frame the hands are, see Camera.center. A camera of another size,
                lens or view starts tracking afresh.
            stamp: time of exposure, seconds. One before the last starts tracking afresh; where it does not advance, the
                time of the call is used.
            depth: of the same view, registered to the image: floats (H, W), metres along the optical axis; NaN, 0 or
                infinite where it is not known. A hand that it shows has the scale source DEPTH.

        Raises ValueError where image or depth do not fit the camera or are of another type.
        """
        frame = checked_frame(image_bgr, camera, stamp, depth)
        self.finish_image()
        self._tracks.advance(frame)
        return _in_frame_of(camera, self._or_on_the_cpu(lambda: self._reconstruct(frame, self._tracks)))

    def finish_image(self, hurried: bool = False) -> None:
        """Do what the last image of the stream left for after its estimate: some runs of the encoder and of the
        two-hand prior, whose results serve from the next image on.

        The next call does it first. A caller that has handed on the estimate can do it meanwhile, so that the next one
        comes earlier. ``hurried``: the next image waits already, so runs that can be postponed a little are left out.
        """
        self._or_on_the_cpu(lambda: self._finish(hurried))

    def _finish(self, hurried: bool) -> None:
        tracks = self._tracks
        if self._encoder is not None:
            encode_left(self._encoder, tracks, hurried)
        if tracks.refinement is not None:
            tracks.refinement = self._refiner.finished(tracks.refinement, self._budget, hurried)

    @property
    def _budget(self) -> float:
        """Of the two-hand refinement in an image of a stream, seconds."""
        return self.config.refine_budget or math.inf

    def reconstruct_image(
        self, image_bgr: np.ndarray, camera: Camera, depth: np.ndarray | None = None
    ) -> TwoHandEstimate:
        """Both hands in a single image: a thorough search, and no tracking state used or kept.

        Arguments and errors as in calling the object.
        """
        frame = checked_frame(image_bgr, camera, 0.0, depth)
        return _in_frame_of(camera, self._or_on_the_cpu(lambda: self._reconstruct(frame)))

    def reconstruct_people(self, image_bgr: np.ndarray, camera: Camera) -> list[TwoHandEstimate]:
        """Both hands of each person in a single image, the operator first; a person without hands is left out.

        Hands at the wrists of a visible body are that person's. Those of people whose bodies are not visible follow in
        pairs. Arguments and errors as in calling the object.
        """
        frame = checked_frame(image_bgr, camera, 0.0)

        def reconstruct() -> list[TwoHandEstimate]:
            people = self._locator.search_people(frame, self.config)
            return [_in_frame_of(camera, self._reconstruct(frame, located=hands)) for hands in people]

        return self._or_on_the_cpu(reconstruct)

    def _reconstruct(
        self, frame: Frame, tracks: Tracks | None = None, located: Located | None = None
    ) -> TwoHandEstimate:
        """Both hands in the next image of the stream of ``tracks``, or in a single image; ``located`` where the hands
        of that were searched already."""
        single_image, tracks = tracks is None, tracks or Tracks(self._shapes)
        steps = _Stopwatch()
        if located is None:
            located = (
                self._locator.search(frame, self.config)
                if single_image
                else self._locator.locate(frame, tracks, self.config)
            )
        usable = [hand for hand in located.observations if _is_usable(hand.side, hand.is_finite, "landmarks")]
        located = located._replace(observations=usable)
        steps.done("locate")
        observations = located.observations
        if self._encoder is not None:
            observations = self._encoded(frame, tracks, located, single_image)
        observations = in_view(observations, frame.camera)
        tracks.update(observations)
        steps.done("encode")
        lifted = self._lifted(frame, tracks, observations, single_image)
        steps.done("lift")
        hands = [self._estimate(side, lifted.get(side), frame, tracks) for side in Side]
        steps.done("smooth")
        # After the filters, so that what is published does not penetrate, and what they filter was measured.
        refined = self._refined(hands, frame, tracks, single_image)
        steps.done("refine")
        left, right = hands if refined is None else refined
        return TwoHandEstimate(
            left=left,
            right=right,
            refined=refined is not None,
            unrefined=None if refined is None else (hands[Side.LEFT], hands[Side.RIGHT]),
            stamp=frame.stamp,
            hand_model=self.hand_model.name,
            calibrated=frame.camera.calibrated,
            mirrored=self.config.mirrored_input,
            timings=steps.seconds,
        )

    def _encoded(self, frame: Frame, tracks: Tracks, located: Located, single_image: bool) -> list[Observation]:
        """The observations with the encoder's predictions, and the hands that only the encoder sees."""
        assert self._encoder is not None
        if single_image:
            found = encode_image(self._encoder, frame, located, self.config)
        else:
            found = encode(self._encoder, frame, tracks, located, self.config)
        return [
            observation
            if observation.prediction is None
            or _is_usable(observation.side, observation.prediction.is_finite, "encoder's prediction")
            else dataclasses.replace(observation, prediction=None)
            for observation in found
            if observation.is_finite
        ]

    def _lifted(
        self, frame: Frame, tracks: Tracks, observations: list[Observation], single_image: bool
    ) -> dict[Side, LiftedHand]:
        """The metric pose of each observed hand, with the predicted relative translation of both."""
        iterations = self.config.solver_iterations
        hands = self._lifter(
            observations,
            frame.camera,
            [tracks.hands[observation.side].shape for observation in observations],
            max(iterations, _SINGLE_IMAGE_ITERATIONS) if single_image else iterations,
            frame.depth,
        )
        memories = [tracks.hands[hand.side].depth for hand in hands]
        hands = [
            hand if memory is None else memory.applied(hand, tracks.time)
            for hand, memory in zip(hands, memories, strict=True)
        ]
        hands = with_relative_translation(hands, observations)
        return {hand.side: hand for hand in hands if _is_usable(hand.side, hand.finite, "pose")}

    def _estimate(self, side: Side, hand: LiftedHand | None, frame: Frame, tracks: Tracks) -> HandEstimate:
        """The hand of a slot: measured and filtered, or predicted from earlier images, or LOST."""
        track = tracks.hands[side]
        if hand is None:
            return unseen_estimate(track, tracks.time, self.config.max_prediction_time, self.hand_model, frame.camera)
        if self._calibration is not None and self._calibration.side == side and track.observation is not None:
            self._calibration.add(track.shape, hand, tracks.step, track.observation.score)
        wrist, rotations = track.measure(hand, tracks.time, tracks.step, self.config)
        return measured_estimate(track, wrist, rotations, self.hand_model, frame.camera)

    def _refined(
        self, hands: list[HandEstimate], frame: Frame, tracks: Tracks, single_image: bool
    ) -> list[HandEstimate] | None:
        """The hands after the two-hand refinement; None where it changed nothing."""
        steps = self.config.refine_steps
        if steps == 0 or not all(hand.found for hand in hands):
            return None
        pair = pair_of(hands)
        result = self._refiner(
            pair,
            uncertainty_of(hands),
            steps,
            math.inf if single_image else self._budget,
            None if single_image else tracks.time,
            tuple(hand.track_id for hand in hands),
            tracks.refinement,
            tracks.encoded,
        )
        tracks.refinement = result.memory
        if result.pair is pair:
            return None
        mirrored = self.config.mirrored_input
        return with_pair(hands, result.pair, self.hand_model, frame.camera, mirrored, result.position_stddev)

    def warm_up(self) -> None:
        """Use every part once, so that the first image is as fast as the others (the networks are warm once loaded).

        The very first time after an installation the solver is compiled here, which takes some seconds (the geometry of
        the hand model already in the constructor).
        """
        warm_up(self.hand_model, self._encoder, self._lifter, self._refiner, self.config.solver_iterations)


class _Stopwatch:
    """Seconds of each step, and in total."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def done(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = now - self._last
        self.seconds["total"] = now - self._begin
        self._last = now


def _is_usable(side: Side, finite: bool, what: str) -> bool:
    """Whether numbers of one hand are finite; reported where they are not, so that the other hand goes on."""
    if not finite:
        _log.warning("the %s hand is left out of this image: its %s has values that are not finite", side.label, what)
    return finite


def _in_frame_of(camera: Camera, estimate: TwoHandEstimate) -> TwoHandEstimate:
    """The estimate of a camera's own frame in that of its images: they differ by its centre."""
    return shifted(estimate, camera.center) if np.any(camera.center) else estimate
