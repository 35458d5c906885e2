"""Miniatures of published data sets: rendered samples in the cameras that those have, in their formats."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from ..camera import Camera
from ..datasets.annotated import annotated_sample
from ..datasets.freihand import SIZE
from ..datasets.freihand_files import freihand_camera, write_freihand
from ..datasets.hic import HIC_CAMERA
from ..datasets.hic_files import write_hic
from ..datasets.interhand26m_files import IMAGE_RATE, write_interhand26m
from ..datasets.sample import Sample
from ..hand_model import HandModel, load_hand_model
from ..types import Side
from .clip_setup import clip_scenes
from .sample_rendering import render_frame
from .sample_stream import SampleStream
from .scene import render_scene


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


def clip_samples(frames: int, seed: int, hand_model: HandModel, rate: float) -> Iterator[Sample]:
    """Both hands as they move in front of a webcam, without maps of depth and occlusion.

    Args:
        frames: number of samples.
        seed: of :func:`clip_scenes`.
        rate: of the samples, Hz.
    """
    camera = Camera.from_fov(320, 240, 65.0)
    motion, scenes = clip_scenes(hand_model, frames, seed, camera, rate)
    for number, scene in enumerate(scenes):
        rendering = render_scene(scene, hand_model)
        yield annotated_sample(
            rendering.image, camera, rendering.joints, f"clip/{seed}/{number}", "clip",
            motion.rotations[number], motion.betas, motion.translation[number],
        )  # fmt: skip


def write_miniature(name: str, root: Path, frames: int, seed: int) -> None:
    """Write rendered images in the format of a published data set.

    Args:
        name: interhand26m, freihand or hic.
        root: folder to write.
        frames: number of images of the test split; FreiHAND's miniature has as many annotations for training, and a
            third of InterHand2.6M's are one sequence.
        seed: of the samples.
    """
    model = load_hand_model()
    root.mkdir(parents=True, exist_ok=True)
    if name == "interhand26m":
        stream = SampleStream("test", seed, model)
        with_hands = (sample for number in itertools.count() if (sample := stream[number]).present.any())
        moving = frames // 3
        sequence = clip_samples(moving, seed, model, IMAGE_RATE) if moving else ()
        single = itertools.islice(with_hands, frames - moving)
        write_interhand26m(single, root, model, "test", seed, sequence=sequence)
    elif name == "freihand":
        training, evaluation = (
            itertools.islice(freihand_samples(split, seed, model), frames) for split in ("train", "test")
        )
        write_freihand(root, training, evaluation, model)
    elif name == "hic":
        write_hic(root, itertools.islice(hic_samples("test", seed, model), frames), model)
    else:
        raise ValueError(f"there are miniatures of interhand26m, freihand and hic, not of {name}")
