"""Messages of ROS 2 without ROS: their classes, made from definitions, and empty messages to fill."""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import Any

import numpy as np

_OWN = ("Hand", "TwoHands")
_PACKAGE = "hand_recon_ros"
_IDENTITY = ("geometry_msgs/msg/Quaternion", "w")
"""The only field of these messages whose default is not zero: that is 1."""


class BagError(RuntimeError):
    """A recording that cannot be read, reconstructed or written; the message names the file."""


def definition_folder() -> Path:
    """The folder with the .msg files of this package. Raises BagError where they are not installed."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "message_definitions", package.parent / "msg"):  # installed, and in the source tree
        if all((folder / f"{name}.msg").is_file() for name in _OWN):
            return folder
    raise BagError(f"{package / 'message_definitions'}: the message definitions are missing; install the package again")


@functools.cache
def message_store() -> Any:
    """rosbags' store of types: the common interfaces of ROS 2 Jazzy, and the messages of this package.

    Images, camera_info, poses and transforms have the same fields in every distribution from Foxy on. Definitions that
    a recording holds are not used: rosbags makes Python code from definitions.
    """
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name in _OWN:
        text = (definition_folder() / f"{name}.msg").read_text(encoding="utf-8")
        types.update(get_types_from_msg(text, f"{_PACKAGE}/msg/{name}"))
    store.register(types)
    return store


def definition(kind: str) -> str:
    """The definition of a message type and of all types in it, as MCAP's ``ros2msg`` has it."""
    return str(message_store().generate_msgdef(kind, ros_version=2)[0])


def serialized(message: Any) -> bytes:
    """A message in CDR."""
    return bytes(message_store().serialize_cdr(message, message.__msgtype__))


def deserialized(data: bytes, kind: str) -> Any:
    """The message of type ``kind`` in ``data``, CDR. Raises BagError where it is not whole, or no such message."""
    from rosbags.serde import SerdeError

    try:
        return message_store().deserialize_cdr(data, kind)
    except (SerdeError, AssertionError, IndexError, MemoryError, TypeError) as error:
        raise BagError(f"{len(data)} bytes are no whole {kind} ({error})") from error


def stamp_of(data: bytes) -> tuple[int, int]:
    """Seconds and nanoseconds in the std_msgs/Header at the start of a message in CDR; zeros where it is cut off."""
    if len(data) < 12:
        return 0, 0
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] else ">iI", data, 4)
    return seconds, nanoseconds


def empty(kind: str) -> Any:
    """A message as a constructor of rclpy makes it: numbers are zero, orientations the identity, sequences empty."""
    from rosbags.interfaces import Nodetype

    store = message_store()

    def value(node: Any, owner: str, name: str) -> Any:
        tag, content = node
        if tag == Nodetype.NAME:
            return empty(content)
        if tag == Nodetype.BASE:
            zero = {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(content[0], 0)
            return 1.0 if (owner, name) == _IDENTITY else zero
        (item, item_content), count = content
        count = count if tag == Nodetype.ARRAY else 0
        if item == Nodetype.BASE and item_content[0] != "string":
            return np.zeros(count, dtype=item_content[0])
        return [value((item, item_content), owner, name) for _ in range(count)]

    fields = store.fielddefs[kind][1]
    return store.types[kind](**{name: value(node, kind, name) for name, node in fields})
