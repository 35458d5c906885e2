"""Recordings to read: their topics, and the messages of a topic in the order in which they were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from ..image_files import printable
from .messages import BagError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_SUFFIXES = (".mcap", ".db3")


class Recording:
    """A folder or a file of rosbag2, opened for reading; a context manager.

    Args:
        path: folder with metadata.yaml, or a file .mcap or .db3.

    Raises BagError where it is no recording that can be read.
    """

    def __init__(self, path: Path) -> None:
        from rosbags.rosbag2 import Reader

        self._name = printable(path)
        if not path.exists():
            raise BagError(f"{self._name}: there is no such file or folder")
        if path.is_dir() and not (path / "metadata.yaml").exists():
            raise BagError(
                f"{self._name}: the folder is no recording, it has no metadata.yaml (`ros2 bag reindex` makes one); or"
                " name the .mcap or .db3 file in it"
            )
        if path.is_file() and path.suffix not in _SUFFIXES:
            way_out = "; convert it with rosbags-convert" if path.suffix == ".bag" else ""
            raise BagError(
                f"{self._name}: unknown storage {path.suffix!r}, expected a folder of rosbag2, .mcap or .db3{way_out}"
            )
        try:
            self._reader = Reader(path)
            self._reader.open()
        # The file is whatever somebody has: rosbags raises its own errors, and those of the parsers below it.
        except Exception as error:
            raise self._unreadable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._reader.close()

    def topics(self, *kinds: str) -> list[str]:
        """The topics with messages of one of these types, sorted."""
        return sorted({each.topic for each in self._reader.connections if each.msgtype in kinds})

    def kind(self, topic: str) -> str | None:
        """The type of a topic; None where there is no such topic."""
        return next((each.msgtype for each in self._reader.connections if each.topic == topic), None)

    def count(self, topic: str) -> int:
        """How many messages of a topic there are, as the recording says."""
        return sum(each.msgcount for each in self._reader.connections if each.topic == topic)

    def require(self, topic: str, kinds: tuple[str, ...], what: str) -> str:
        """The type of a topic. Raises BagError where it is none of ``kinds``, which are of ``what`` ("images")."""
        kind, others = self.kind(topic), ", ".join(self.topics(*kinds)) or "none"
        if kind is None:
            raise BagError(f"{self._name}: there is no topic {topic}; topics with {what}: {others}")
        if kind not in kinds:
            raise BagError(
                f"{self._name}: {topic} carries {kind}, expected {' or '.join(kinds)}; topics with {what}: {others}"
            )
        return kind

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Time of recording, nanoseconds, and CDR data of each message of a topic. Raises BagError."""
        connections = [each for each in self._reader.connections if each.topic == topic]
        formats = {getattr(each.ext, "serialization_format", "") for each in connections} - {"cdr"}
        if formats:
            raise BagError(f"{self._name}: {topic} is serialized as {formats.pop()!r}, expected cdr")
        messages = self._reader.messages(connections)
        read = 0
        while True:
            try:
                item = next(messages, None)
            except Exception as error:  # as above
                raise self._unreadable(error) from error
            if item is None:
                break
            read += 1
            yield item[1], bytes(item[2])
        if not read and self.count(topic):
            raise BagError(
                f"{self._name}: metadata.yaml names {self.count(topic)} messages of {topic}, but the files have none"
                " with this type and QoS: name the file instead of the folder, or `ros2 bag reindex` the folder"
            )

    def _unreadable(self, error: Exception) -> BagError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return BagError(
            f"{self._name}: cannot be read as a recording: {reason} (cut off? `mcap recover` and `ros2 bag reindex`"
            " repair recordings that were not closed)"
        )
