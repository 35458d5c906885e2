"""The recording that is written: an MCAP file with hands, as the node publishes them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from .. import __version__
from ..conversions.frame_names import prefix_fault
from ..conversions.frames import ContinuousPoses, build_transforms
from ..conversions.hands import fill_hands
from ..conversions.stream import InputFrame
from ..image_files import printable
from ..types import Side, TwoHandEstimate
from .messages import BagError, definition, empty, serialized

HANDS = "/hand_recon/hands"
WRISTS = {side: f"/hand_recon/{side.label}/wrist" for side in Side}
TF = "/tf"
KINDS = {
    HANDS: "hand_recon_ros/msg/TwoHands",
    **{topic: "geometry_msgs/msg/PoseStamped" for topic in WRISTS.values()},
    TF: "tf2_msgs/msg/TFMessage",
}
"""The topics of the file, with their types."""
ABOUT = "hand_recon_ros"
"""Name of the metadata record of the file: what it was made from, as text."""


def check_output(source: Path, out: Path) -> None:
    """Raise BagError where ``out`` cannot be written, or would be written over or into the recording ``source``."""
    name = printable(out)
    if out.suffix != ".mcap":
        raise BagError(f"{name}: the output is an MCAP file, its name must end in .mcap")
    if out.resolve() == source.resolve():
        raise BagError(f"{name}: is the recording itself; name another file")
    if out.exists():
        raise BagError(f"{name}: exists already, and is not written over; name another file")
    if source.is_dir() and source.resolve() in out.resolve().parents:
        raise BagError(f"{name}: would be written among the files of the recording itself; name another folder")


class RecordingFile:
    """An MCAP file of ROS 2 messages; a context manager. The file has its name only once it is whole.

    Args:
        path: of the file; its folder is made.
        topics: types by topic; more can be added later.

    Raises BagError and OSError.
    """

    def __init__(self, path: Path, topics: Mapping[str, str]) -> None:
        from mcap.writer import Writer

        self._path, self._part = path, path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = open(self._part, "xb")
        except FileExistsError as error:
            name = printable(self._part)
            raise BagError(f"{name}: exists; another run writes it, or was killed: remove it then") from error
        self._writer = Writer(self._file)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        try:
            self._writer.start(profile="ros2", library=f"hand_recon_ros {__version__}")
            for topic, kind in topics.items():
                self.add_topic(topic, kind)
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._discard()

    def _discard(self) -> None:
        """Remove the file where it is not finished."""
        # After an error the rest of the file cannot be trusted either, for a full disk for example.
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.close()
            self._part.unlink(missing_ok=True)

    def finish(self, about: dict[str, str]) -> None:
        """Write the end of the file, with a record of ``about``, and give it its name."""
        self._writer.add_metadata(ABOUT, about)
        self._writer.finish()
        self._file.close()
        if self._path.exists():
            raise BagError(f"{printable(self._path)}: exists by now; the result is {printable(self._part)}")
        os.replace(self._part, self._path)

    def add_topic(self, topic: str, kind: str) -> None:
        """Announce a topic of messages of type ``kind``."""
        if kind not in self._schemas:
            text = definition(kind).encode("utf-8")
            self._schemas[kind] = self._writer.register_schema(name=kind, encoding="ros2msg", data=text)
        self._channels[topic] = self._writer.register_channel(
            topic=topic,
            message_encoding="cdr",
            schema_id=self._schemas[kind],
            metadata={"offered_qos_profiles": ""},  # rosbag2 looks for it
        )

    def copy(self, topic: str, log_time: int, data: bytes) -> None:
        """Write a message as it is, CDR; ``log_time`` in nanoseconds."""
        self._writer.add_message(self._channels[topic], log_time=log_time, data=data, publish_time=log_time)


class HandsFile(RecordingFile):
    """An MCAP file of hands, as the node publishes them.

    Args:
        path: see :func:`check_output`.
        hand_model: of the reconstructor.
        publish_tf, tf_prefix: as the node's parameters.

    Raises BagError and OSError.
    """

    def __init__(self, path: Path, hand_model: Any, publish_tf: str, tf_prefix: str) -> None:
        fault = prefix_fault(tf_prefix)
        if fault:
            raise BagError(f"--tf-prefix {fault}")
        self._hand_model = hand_model
        self._publish_tf, self._tf_prefix = publish_tf, tf_prefix
        self._poses = ContinuousPoses()
        super().__init__(path, {topic: kind for topic, kind in KINDS.items() if topic != TF or publish_tf != "off"})

    def write(self, frame: InputFrame, estimate: TwoHandEstimate, log_time: int) -> None:
        """Write what the node publishes for an image, recorded at ``log_time``, nanoseconds."""
        header = frame.header
        height, width = frame.frame.image.shape[:2]
        poses = self._poses(estimate)
        message = empty(KINDS[HANDS])
        fill_hands(message, estimate, poses, header, self._hand_model, (width, height), dropped=0)
        message.latency = math.nan  # nothing was published at a time
        self.copy(HANDS, log_time, serialized(message))
        for side, hand in ((Side.LEFT, message.left), (Side.RIGHT, message.right)):
            if side in poses:
                wrist = empty(KINDS[WRISTS[side]])
                wrist.header, wrist.pose = header, hand.wrist
                self.copy(WRISTS[side], log_time, serialized(wrist))
        transforms = build_transforms(
            lambda: empty("geometry_msgs/msg/TransformStamped"),
            header,
            estimate,
            poses,
            self._tf_prefix,
            self._publish_tf,
        )
        if transforms:
            tf = empty(KINDS[TF])
            tf.transforms = transforms
            self.copy(TF, log_time, serialized(tf))
