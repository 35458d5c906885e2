"""A recording reconstructed offline: every image in order, into an MCAP file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..conversions.hands import publishable
from ..conversions.images import InputError
from ..conversions.stream import InputFrame
from ..image_files import printable
from ..reconstructor import TwoHandReconstructor
from ..track.fixed_lag import FixedLagSmoother
from ..types import Side, TwoHandEstimate
from .images import RecordedImages
from .inputs import INFO_TYPE
from .messages import BagError, stamp_of
from .output import HandsFile, check_output


def reconstruct_recording(
    reconstructor: TwoHandReconstructor,
    images: RecordedImages,
    out: Path,
    publish_tf: str = "wrist",
    tf_prefix: str = "human_",
    with_images: bool = False,
    smoothing_delay: float = 0.0,
) -> dict[str, Any]:
    """Reconstruct every image of a recording into the MCAP file ``out``.

    Stamps are those of the images; tracking starts again where they jump back, and where the frame_id changes.
    ``publish_tf`` and ``tf_prefix`` are as the node's parameters; ``with_images`` also copies the images and their
    camera_info. Poses are smoothed by the images up to ``smoothing_delay`` seconds before and after them.

    Returns:
        {"out", "image", "camera_info", "images", "images_expected", "left_out": [{"image", "stamp", "reason"}],
        "found": {"left", "right"}, "restarts", "calibrated", "with_depth", "duration", "seconds"}: images that were
        reconstructed, and that the recording has; number, stamp and fault of those that cannot be used; in how many
        images each hand was found; how often tracking started again; in how many images the camera was calibrated, and
        depth was there; from the first to the last image of the recording, and for the work, seconds.

    Raises BagError, CameraError, and OSError where the result cannot be written.
    """
    check_output(images.source, out)
    with HandsFile(out, reconstructor.hand_model, publish_tf, tf_prefix) as file:
        if with_images:
            file.add_topic(images.topic, images.kind)
            if images.info_topic:
                file.add_topic(images.info_topic, INFO_TYPE)
        summary = _reconstruct(reconstructor, images, file, with_images, smoothing_delay)
        if not summary["images"]:
            reason = summary["left_out"][0]["reason"] if summary["left_out"] else f"{images.topic} has no messages"
            raise BagError(f"{printable(images.source)}: no image can be used: {reason}")
        about = {"image": images.topic, "images": summary["images"], "left_out": len(summary["left_out"])}
        file.finish({name: str(value) for name, value in about.items()})
    return {"out": str(out), "image": images.topic, "camera_info": images.info_topic, **summary}


def _reconstruct(
    reconstructor: TwoHandReconstructor,
    images: RecordedImages,
    file: HandsFile,
    with_images: bool,
    smoothing_delay: float,
) -> dict[str, Any]:
    """Write the hands of all images; returns the figures of :func:`reconstruct_recording`."""
    from tqdm import tqdm

    begin = time.perf_counter()
    counts = dict.fromkeys(("images", "restarts", "calibrated", "with_depth"), 0)
    found = {side.label: 0 for side in Side}
    left_out: list[dict[str, Any]] = []
    times: list[int] = []
    smoother: FixedLagSmoother[tuple[InputFrame, int]] = FixedLagSmoother(reconstructor.hand_model)

    def write(smoothed: Iterable[tuple[tuple[InputFrame, int], TwoHandEstimate]]) -> None:
        for (frame, log_time), estimate in smoothed:
            file.write(frame, estimate, log_time)
            for side in Side:
                found[side.label] += estimate.hand(side).found

    reconstructor.reset()
    progress = tqdm(images.messages(), desc="bag", total=images.expected, unit="image", disable=None)
    for number, (log_time, data) in enumerate(progress):
        times = [*times[:1], log_time]
        if with_images:
            file.copy(images.topic, log_time, data)
        try:
            frame, info = images.frame(log_time, data)
        except (InputError, BagError) as error:
            sec, nanosec = stamp_of(data)
            left_out.append({"image": number, "stamp": sec + nanosec * 1e-9, "reason": str(error)})
            continue
        if with_images and images.info_topic and info is not None:
            file.copy(images.info_topic, log_time, info)
        if not frame.continues:
            write(smoother.rest(smoothing_delay))
            reconstructor.reset()
        taken = frame.frame
        estimate = reconstructor(taken.image, taken.camera, taken.stamp, taken.depth)
        estimate = publishable(estimate, images.problems)
        write(smoother.add((frame, log_time), estimate, taken.camera, smoothing_delay))
        counts["images"] += 1
        counts["restarts"] += not frame.continues
        counts["calibrated"] += taken.camera.calibrated
        counts["with_depth"] += taken.depth is not None
    write(smoother.rest(smoothing_delay))
    return {
        **counts,
        "images_expected": max(images.expected, counts["images"] + len(left_out)),
        "left_out": left_out,
        "found": found,
        "duration": (times[-1] - times[0]) * 1e-9 if len(times) > 1 else 0.0,
        "seconds": time.perf_counter() - begin,
    }
