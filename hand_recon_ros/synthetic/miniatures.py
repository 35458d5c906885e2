"""Rendered samples for miniatures of published data sets, in the cameras that those have."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from ..datasets.freihand import SIZE
from ..datasets.freihand_files import freihand_camera
from ..datasets.hic import HIC_CAMERA
from ..datasets.sample import Sample
from ..hand_model import HandModel
from ..types import Side
from .sample_rendering import render_frame
from .sample_stream import SampleStream


def freihand_samples(split: str, seed: int, hand_model: HandModel) -> Iterator[Sample]:
    """Right hands without a left one, as FreiHAND's images show them; without end.

    Args:
        split, seed: of :class:`SampleStream`.
    """
    stream = SampleStream(split, seed, hand_model)
    for number in itertools.count():
        scene = stream.scene(number)
        if [hand.side for hand in scene.hands] == [Side.RIGHT]:
            camera = freihand_camera(scene.joints[Side.RIGHT])
            yield render_frame(dataclasses.replace(scene, camera=camera), hand_model, *SIZE)


def hic_samples(split: str, seed: int, hand_model: HandModel) -> Iterator[Sample]:
    """One hand or two of which all keypoints are in HIC's camera's image; without end.

    Args:
        split, seed: of :class:`SampleStream`.
    """
    stream = SampleStream(split, seed, hand_model)
    size = HIC_CAMERA.width, HIC_CAMERA.height
    for number in itertools.count():
        scene = stream.scene(number)
        pixels = HIC_CAMERA.project(scene.joints[[hand.side for hand in scene.hands]])
        if ((pixels > 0) & (pixels < (size[0] - 1, size[1] - 1))).all():
            yield render_frame(dataclasses.replace(scene, camera=HIC_CAMERA), hand_model, *size)
