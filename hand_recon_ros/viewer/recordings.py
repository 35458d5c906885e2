"""Recordings of ROS 2: the hands in them, or their images reconstructed while they are shown."""

from __future__ import annotations

import contextlib
import functools
import heapq
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..bags.images import ImageOptions, RecordedImages
from ..bags.messages import BagError, deserialized, stamp_of
from ..bags.recording import IMAGE_TYPES, Recording
from ..conversions.estimates import DrawableEstimates
from ..conversions.frames import tf_name
from ..conversions.hands import publishable
from ..conversions.images import InputError
from ..conversions.problems import Problems
from ..conversions.stamp_pairs import Stamp, StampPairs
from ..hand_model import HandModel
from ..reconstructor import TwoHandReconstructor
from .frames import Picture, ViewedFrame, ViewError, no_picture
from .playback import Playback

HANDS_TYPE = "hand_recon_ros/msg/TwoHands"


def topic_of(source: Path, given: str | None, kinds: tuple[str, ...], what: str, option: str) -> str | None:
    """The topic of ``what`` ("images") in a recording: the one that is given, or the only one; None without one.

    Raises BagError where the given one cannot be used, and ViewError where there are several and none is given.
    """
    with Recording(source) as recording:
        if given is not None:
            recording.require(given, kinds, what)
            return given
        topics = [topic for topic in recording.topics(*kinds) if recording.count(topic)]
    if len(topics) > 1:
        raise ViewError(f"the recording has several topics with {what}: name one with {option}: {', '.join(topics)}")
    return topics[0] if topics else None


def hands_topic_of(source: Path, given: str | None) -> str | None:
    """The topic of hands, see :func:`topic_of`."""
    return topic_of(source, given, (HANDS_TYPE,), "hands", "--hands")


def image_topic_of(source: Path, given: str | None) -> str | None:
    """The topic of images, see :func:`topic_of`."""
    return topic_of(source, given, IMAGE_TYPES, "images", "--image")


class ViewedRecording:
    """The images of a recording, reconstructed while they are shown, at its own pace or slower.

    Args:
        source: the recording.
        topic: of the images.
        options: what belongs to them.
        make: makes the reconstructor, once all else is known to be right.

    Raises BagError, CameraError, and what ``make`` raises.
    """

    live = False

    def __init__(
        self, source: Path, topic: str, options: ImageOptions, make: Callable[[], TwoHandReconstructor]
    ) -> None:
        self._open = functools.partial(RecordedImages, source, topic, options)
        self._images = self._open()
        try:
            self._reconstructor = make()
        except BaseException:
            self.close()
            raise

    def frames(self, playback: Playback) -> Iterator[ViewedFrame]:
        """The hands in every image, from the beginning; those that cannot be used are left out. Raises BagError."""
        self.close()
        self._images = images = self._open()  # depth images are read along with the images, once
        self._reconstructor.reset()
        for log_time, data in images.messages():
            try:
                frame, _ = images.frame(log_time, data)
            except (InputError, BagError) as error:
                images.problems.report("image", f"an image is left out: {error}")
                continue
            images.problems.solved("image")
            if not frame.continues:
                self._reconstructor.reset()
            taken = frame.frame
            estimate = self._reconstructor(taken.image, taken.camera, taken.stamp, taken.depth)
            estimate = publishable(estimate, images.problems)
            playback.wait(log_time * 1e-9)
            picture = functools.partial(Picture, taken.image, taken.camera)
            yield ViewedFrame(estimate, picture, frame_id=tf_name(frame.header.frame_id))

    def problems(self) -> list[str]:
        """What is wrong with the messages at present."""
        return self._images.problems.active()

    def close(self) -> None:
        """Close the recording."""
        self._images.__exit__()


class ViewedHands:
    """The hands in a recording, at its own pace, with the images of the same stamps where there are any.

    Args:
        source: the recording.
        topic, image_topic: of the hands, and of the images or None.
        options: what belongs to the images.
        hand_model: whose meshes can be drawn.
        mirrored: whether the images are mirrored.

    Raises BagError and CameraError.
    """

    live = False

    def __init__(
        self,
        source: Path,
        topic: str,
        image_topic: str | None,
        options: ImageOptions,
        hand_model: HandModel,
        mirrored: bool = False,
    ) -> None:
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self._recording = stack.enter_context(Recording(source))
            self._images: RecordedImages | None = None
            if image_topic is not None:
                self._images = stack.enter_context(RecordedImages(source, image_topic, options))
            self._stack = stack.pop_all()
        self._topic, self._mirrored = topic, mirrored
        self._problems = Problems(_warn, _warn)
        self._estimates = DrawableEstimates(topic, hand_model, self._problems)

    def frames(self, playback: Playback) -> Iterator[ViewedFrame]:
        """The hands of every message, from the beginning. Raises BagError."""
        pairs: StampPairs[tuple[int, bytes], Any] = StampPairs()
        hands = ((time, True, data) for time, data in self._recording.messages(self._topic))
        pictures = ((time, False, data) for time, data in (self._images.messages() if self._images else ()))
        # At equal times the image comes first, as in what `hand-recon bag` writes.
        for time, is_hands, data in heapq.merge(pictures, hands, key=lambda item: item[0]):
            if not is_hands:
                pairs.add_image(Stamp(*stamp_of(data)), (time, data))
                continue
            try:
                message = deserialized(data, HANDS_TYPE)
            except BagError as error:
                self._problems.report("hands.data", f"{self._topic}: {error}")
                continue
            estimate = self._estimates.estimate(message, self._mirrored)
            if estimate is None:
                continue
            pair = pairs.add_hands(message.header.stamp, message)
            picture = functools.partial(self._picture, pair[0], message.header) if pair else no_picture
            playback.wait(time * 1e-9)
            yield ViewedFrame(estimate, picture, float(message.latency), tf_name(message.header.frame_id))

    def _picture(self, recorded: tuple[int, bytes], header: Any) -> Picture | None:
        """The picture in an image, for hands with this header; None where it cannot be used, which is reported."""
        assert self._images is not None  # where it comes from
        try:
            frame, _ = self._images.frame(*recorded)
        except (InputError, BagError) as error:
            self._problems.report("image", f"an image is left out: {error}")
            return None
        self._problems.solved("image")
        frames = tf_name(frame.header.frame_id), tf_name(header.frame_id)
        self._problems.check(
            "target_frame",
            frames[0] != frames[1],
            f"the hands are in {frames[1]!r} and not in the frame of the images {frames[0]!r}: these are not shown",
        )
        return Picture(frame.frame.image, frame.frame.camera) if frames[0] == frames[1] else None

    def problems(self) -> list[str]:
        """What is wrong with the messages at present."""
        return self._problems.active()

    def close(self) -> None:
        """Close the recording."""
        self._stack.close()


def _warn(text: str) -> None:
    print(text, file=sys.stderr)
