"""The hands of one stream of images: one clock, one counter of identities, one reset."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..interact.refinement import RefinementMemory
from ..landmarks.observation import Observation
from ..lift.shape_prior import ShapePrior
from ..types import Camera, Frame, Side
from .hand_track import HandTrack
from .image_track import ImageTrack
from .search import Search

_FIRST_STEP = 1.0 / 30.0
"""Duration (s) that the first image counts for."""
_MAX_CAMERA_CHANGE = 0.03
"""Change of the focal lengths, relative, and of the principal point, per image width, above which it is another view.
Autofocus changes them by less than one per cent."""

_SELDOM = 2.0
"""Factor on the time between two encodings while a detector searches the other hand."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class UnencodedHands:
    """Hands of the current image that are encoded after its estimate, for the next one.

    Attributes:
        image: uint8 (H, W, 3) BGR.
        camera: of the image.
        observations: of the hands, without predictions.
    """

    image: np.ndarray
    camera: Camera
    observations: Sequence[Observation]


class Tracks:
    """What is known from earlier images; a single image has Tracks of its own.

    Attributes:
        hands: the track of each slot.
        time: of the current image, seconds. It advances with the stamps, or with the clock where stamps stand still.
        step: seconds since the image before.
        last_encoding: time of the image whose hands were last encoded, seconds; None: never.
        unencoded: hands of the current image that are due to be encoded, after its estimate.
        last_box: when a detector last predicted a hand without landmarks, seconds.
        search: the search for missing hands.
        refinement: how the two-hand refinement changed the last image.
    """

    def __init__(
        self, shapes: Mapping[Side, ShapePrior] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``shapes``: priors of the hands' betas, the population's by default; ``clock`` gives the arrival times (s)
        that are used where stamps do not advance."""
        self._shapes = shapes or {side: ShapePrior.population() for side in Side}
        self._clock = clock
        self._ids = itertools.count(1)
        self._warned = False
        self.time = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget all hands; identities are not used again."""
        self.hands = {side: HandTrack(side, prior=self._shapes[side], shape=self._shapes[side]) for side in Side}
        self.step = _FIRST_STEP
        self.last_encoding: float | None = None
        self.unencoded: UnencodedHands | None = None
        self.last_box: float | None = None
        self.search = Search()
        self.refinement: RefinementMemory | None = None
        self._last: tuple[float, float, Camera] | None = None

    def set_shapes(self, shapes: Mapping[Side, ShapePrior]) -> None:
        """Replace the priors of the hands' betas; what was learnt of the shapes is forgotten."""
        self._shapes = shapes
        for side, track in self.hands.items():
            track.prior = track.shape = shapes[side]

    def advance(self, frame: Frame) -> None:
        """Go on to the next image. Everything is forgotten where it does not continue the last one: where its stamp is
        earlier, or where it is of another size, lens or view."""
        arrival = self._clock()
        if self._last is not None:
            stamp, _, camera = self._last
            if frame.stamp < stamp or not same_view(camera, frame.camera):
                self.reset()
        self.step = _FIRST_STEP
        if self._last is not None:
            stamp, last_arrival, _ = self._last
            self.step = frame.stamp - stamp
            if self.step <= 0.0:
                self.step = max(arrival - last_arrival, 1e-3)
                self._warn_of_stamps(frame.stamp)
        self.time += self.step
        self._last = frame.stamp, arrival, frame.camera

    def due(self, last: float | None, interval: float) -> bool:
        """Whether ``interval`` seconds have passed since ``last``, a time of this object."""
        return last is None or self.time - last >= interval - 1e-6

    @property
    def encoded(self) -> bool:
        """Whether hands of the current image were encoded, or are due to be after its estimate."""
        return self.last_encoding == self.time or self.unencoded is not None

    def encoding_due(self, interval: float, searching: bool) -> bool:
        """Whether the hands with landmarks are due to be encoded, every ``interval`` seconds: half as often while a
        detector is ``searching``."""
        return self.due(self.last_encoding, interval * (_SELDOM if searching else 1.0))

    def encoding_is_first(self, config: ReconstructorConfig) -> bool:
        """Whether the search has to leave this image to the encoder, so that none has both. At low frame rates, where
        hands are encoded in every image, it has not."""
        encoded = self.last_encoding is not None and self.step < config.encoder_interval
        return encoded and self.encoding_due(config.encoder_interval, searching=True)

    @property
    def followed(self) -> list[HandTrack]:
        """The tracks whose landmarks are followed, left before right."""
        return [track for track in self.hands.values() if track.image is not None]

    def place(self, images: Mapping[Side, ImageTrack]) -> None:
        """Put followed landmarks into slots; those of no slot are dropped.

        Where the evidence of handedness moves a hand to the other slot, both slots end: its pose so far was that of a
        hand of the other side.
        """
        held = {id(track.image): side for side, track in self.hands.items() if track.image is not None}
        for side, image in images.items():
            before = held.get(id(image), side)
            if before != side:
                self.hands[before].end()
                self.hands[side].end()
        for side, track in self.hands.items():
            track.image = images.get(side)

    def update(self, observations: Sequence[Observation]) -> None:
        """Give the observations of the current image, at most one of a side, to their tracks.

        A hand that does not continue its slot's track begins a new one.
        """
        for observation in observations:
            track = self.hands[observation.side]
            if not track.continues(observation):
                track.begin(next(self._ids))
            track.observation = observation

    def _warn_of_stamps(self, stamp: float) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("stamps do not advance (%s s twice): arrival times are used instead", stamp)


def same_view(a: Camera, b: Camera) -> bool:
    """Whether two images are of one view: the same size and lens, and nearly the same intrinsics."""
    if (a.width, a.height, a.distortion_model) != (b.width, b.height, b.distortion_model):
        return False
    focal = np.abs(np.diag(b.K)[:2] / np.diag(a.K)[:2] - 1.0).max()
    centre = np.abs(b.K[:2, 2] - a.K[:2, 2]).max() / a.width
    return bool(max(focal, centre) < _MAX_CAMERA_CHANGE)
