"""Checks a file of hands that :mod:`reconstruct` has written: names, order, finite numbers, rotations, geometry."""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..conversions.frames import tf_name
from ..hand_model import load_hand_model
from ..image_files import printable
from ..types import HandState, Side
from .faults import Faults
from .hand_rules import LEARNING_TIME, POSITION_TOLERANCE, MessageHand, bone_fault, hand_faults, pose_numbers
from .messages import BagError, definition, deserialized
from .output import ABOUT, HANDS, KINDS, TF, WRISTS

_POSE = 8
"""Numbers of a pose: stamp, seconds; x y z, metres; x y z w."""
_Poses = dict[Side, "array.array[float]"]
"""The poses of each hand, one after the other: 64 bytes each, for recordings of hours."""


def _no_poses() -> _Poses:
    return {side: array.array("d") for side in Side}


@dataclasses.dataclass
class _Seen:
    """What the hands say so far, which the other topics have to agree with."""

    images: int = 0
    restarts: int = 0
    stamp: float = 0.0
    models: set[str] = dataclasses.field(default_factory=set)
    found: dict[Side, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(Side, 0))
    ids: dict[Side, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(Side, 0))
    begins: dict[Side, float] = dataclasses.field(default_factory=dict)
    bones: dict[Side, np.ndarray] = dataclasses.field(default_factory=dict)
    tracks: dict[Side, set[int]] = dataclasses.field(default_factory=lambda: {side: set() for side in Side})
    wrists: _Poses = dataclasses.field(default_factory=_no_poses)
    transforms: _Poses = dataclasses.field(default_factory=_no_poses)


def check_hands_file(path: Path) -> dict[str, Any]:
    """Check a file of hands.

    Returns:
        {"file", "images", "found": {"left", "right"}, "tracks": {"left", "right"}, "restarts", "fault_count",
        "faults"}: TwoHands messages, those with each hand, ids of each hand, how often stamps jump back, the number of
        faults, and a line for each of them, for the first ones of each kind where there are many.

    Raises BagError where the file cannot be read as MCAP.
    """
    name = printable(path)
    try:
        with open(path, "rb") as file:
            return {"file": str(path), **_check(file)}
    except (OSError, BagError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BagError(f"{name}: {reason}") from error
    except Exception as error:  # mcap raises its own errors, and those of the parsers below it
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BagError(f"{name}: cannot be read as MCAP: {reason} (cut off?)") from error


def _check(file: Any) -> dict[str, Any]:
    from mcap.reader import make_reader

    reader = make_reader(file, validate_crcs=True)
    summary = reader.get_summary()
    if summary is None:
        raise BagError("the file has no summary (cut off?)")
    channels = {each.topic: each for each in summary.channels.values()}
    faults = Faults()
    faults.add(_name_faults(channels, summary.schemas))
    if faults.count:
        return _report(_Seen(), faults)
    seen = _Seen()
    wrists, transforms = _no_poses(), _no_poses()
    sides = {topic: side for side, topic in WRISTS.items()}
    model = load_hand_model()
    times: dict[str, int] = {}
    for _, channel, record in reader.iter_messages(topics=list(KINDS), log_time_order=False):
        topic = channel.topic
        try:
            message = deserialized(record.data, KINDS[topic])
        except BagError as error:
            faults.add([f"{topic}: {error}"])
            continue
        if record.log_time < times.get(topic, 0):
            faults.add([f"{topic}: a message recorded at {record.log_time * 1e-9:.3f} s comes after a later one"])
        times[topic] = record.log_time
        if topic == HANDS:
            faults.add(f"stamp {_seconds(message):.3f}: {text}" for text in _hands_faults(message, seen, model))
        elif topic in sides:
            wrists[sides[topic]].extend((_seconds(message), *pose_numbers(message.pose)))
        else:
            faults.add(_add_transforms(message, transforms))
    for side in Side:
        faults.add(_pose_faults(WRISTS[side], seen.wrists[side], wrists[side]))
        if TF in channels:
            faults.add(_pose_faults(f"{TF} of {side.label}_wrist", seen.transforms[side], transforms[side]))
    faults.add(_count_faults(reader.iter_metadata(), seen))
    return _report(seen, faults)


def _report(seen: _Seen, faults: Faults) -> dict[str, Any]:
    return {
        "images": seen.images,
        "found": {side.label: seen.found[side] for side in Side},
        "tracks": {side.label: len(seen.tracks[side]) for side in Side},
        "restarts": seen.restarts,
        "fault_count": faults.count,
        "faults": faults.lines(),
    }


def _name_faults(channels: dict[str, Any], schemas: dict[int, Any]) -> list[str]:
    """Topics that are missing, or of another type, or with another definition than this package's."""
    faults = []
    for topic, kind in KINDS.items():
        if topic not in channels:
            faults += [f"there is no topic {topic}"] if topic != TF else []
            continue
        channel = channels[topic]
        schema = schemas.get(channel.schema_id)
        if schema is None or schema.name != kind:
            faults.append(f"{topic} is of type {schema.name if schema else 'none'}, expected {kind}")
        elif (schema.encoding, schema.data.decode("utf-8", "replace")) != ("ros2msg", definition(kind)):
            faults.append(f"{topic}: the definition of {kind} is not that of this package")
        elif channel.message_encoding != "cdr":
            faults.append(f"{topic}: messages are encoded as {channel.message_encoding!r}, expected cdr")
    return faults


def _seconds(message: Any) -> float:
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


def _hands_faults(message: Any, seen: _Seen, model: Any) -> Iterator[str]:
    """What is wrong with a TwoHands message, by itself and after those that were seen."""
    stamp, last = _seconds(message), seen.stamp
    back = 0.0 < stamp < last
    seen.stamp = stamp
    seen.images += 1
    seen.restarts += back
    seen.models.add(message.hand_model)
    if not message.hand_model:
        yield "hand_model is empty"
    if not 0.0 <= message.inference_time < np.inf:
        yield f"inference_time is {message.inference_time}"
    for side, slot in zip(Side, (message.left, message.right), strict=True):
        same_model = message.hand_model == model.name
        faults = hand_faults(slot, side, model if same_model else None)
        yield from (f"{side.label} hand {text}" for text in faults)
        found = slot.state != HandState.LOST
        if back and found and slot.track_id == seen.ids[side]:
            yield f"{side.label} hand: the stamp goes back by {last - stamp:.3f} s while track {slot.track_id} lasts"
        hand = MessageHand.of(slot)
        if slot.track_id != seen.ids[side]:
            seen.begins[side] = stamp
            seen.bones.pop(side, None)
        if found and not faults and side in seen.bones and stamp - seen.begins[side] > LEARNING_TIME:
            fault = bone_fault(seen.bones[side], hand.bones)
            if fault:
                yield f"{side.label} hand: {fault}"
        seen.ids[side] = slot.track_id if found else 0
        seen.bones.pop(side, None)
        if not found:
            continue
        if not faults:
            seen.bones[side] = hand.bones
        seen.found[side] += 1
        seen.tracks[side].add(slot.track_id)
        seen.wrists[side].extend((stamp, *hand.wrist))
        if message.calibrated and tf_name(message.header.frame_id):
            seen.transforms[side].extend((stamp, *hand.wrist))


def _add_transforms(message: Any, transforms: _Poses) -> Iterator[str]:
    """Sort the wrists of a TFMessage by side; what is wrong with its transforms."""
    for each in message.transforms:
        move, turn = each.transform.translation, each.transform.rotation
        numbers = np.array([move.x, move.y, move.z, turn.x, turn.y, turn.z, turn.w])
        if not np.isfinite(numbers).all() or abs(np.linalg.norm(numbers[3:]) - 1.0) > POSITION_TOLERANCE:
            yield f"{TF}: {each.child_frame_id} is not finite, or its quaternion not of unit length"
        for side in Side:
            if each.child_frame_id.endswith(f"{side.label}_wrist"):
                transforms[side].extend((_seconds(each), *numbers))


def _pose_faults(topic: str, expected: array.array[float], given: array.array[float]) -> Iterator[str]:
    """Where poses on a topic are not those of the hands."""
    right, found = (np.array(poses).reshape(-1, _POSE) for poses in (expected, given))
    if len(right) != len(found):
        yield f"{topic}: {len(found)} poses, expected {len(right)}: one for each hand that is found"
        return
    for wrong in np.flatnonzero((right != found).any(axis=1)):
        yield f"{topic}: the pose at {found[wrong, 0]:.3f} is not that of the hand at {right[wrong, 0]:.3f}"


def _count_faults(records: Any, seen: _Seen) -> Iterator[str]:
    """Whether the file has as many hands as its own record says."""
    about = next((each.metadata for each in records if each.name == ABOUT), None)
    if about is None:
        yield f"the record {ABOUT} of what the file was made from is missing"
    elif about.get("images") != str(seen.images):
        yield f"{HANDS}: {seen.images} messages, expected {about.get('images')}"
    if len(seen.models) > 1:
        yield f"{HANDS}: hands of several hand models: {', '.join(sorted(seen.models))}"
