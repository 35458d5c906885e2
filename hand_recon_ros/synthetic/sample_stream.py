"""The endless stream of training samples, each a function of its split, seed and number only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ..datasets.sample import Sample
from ..detect.duplicates import box_overlap
from ..geometry.mesh_queries import TOUCHING
from ..hand_model import HandModel, load_hand_model
from .arrangements import SINGLE
from .identities import SPLITS
from .overlap import vertex_distance
from .sample_rendering import hidden_keypoints, render_crop, render_frame
from .training_scenes import TrainingScene, arrangement_of, sample_scene

SUBSETS = ("test-occluded", "test-interacting")
"""Subsets of ``test``: see :meth:`SampleStream.scene`."""
OCCLUDED_JOINTS = 0.3
"""A hand is occluded where the other hand or an object hides at least this share of its 21 keypoints."""
BOX_OVERLAP = 0.25
"""Hands interact where at least this share of the smaller keypoint box is inside the other one."""

_CANDIDATES = 64


class SampleStream:
    """Samples ``stream[0]``, ``stream[1]``, ... without end.

    A sample depends on (split, seed, number) alone, so that workers can take every k-th number and training can resume.
    Splits share neither random numbers nor people nor backgrounds.

    ``split`` is train, val, test, or one of SUBSETS. ``start`` and ``step`` are the first number and the stride of
    iteration, for workers and for resuming.
    """

    def __init__(
        self, split: str = "train", seed: int = 0, hand_model: HandModel | None = None, start: int = 0, step: int = 1
    ) -> None:
        """Raises ValueError for another split, or numbers that are negative."""
        if split not in (*SPLITS, *SUBSETS):
            raise ValueError(f"unknown split {split!r}, expected one of: {', '.join((*SPLITS, *SUBSETS))}")
        if seed < 0 or start < 0 or step < 1:
            raise ValueError(f"expected seed >= 0, start >= 0 and step >= 1, got {seed}, {start} and {step}")
        self.split, self.seed, self.start, self.step = split, seed, start, step
        self.hand_model = hand_model or load_hand_model()

    def __getitem__(self, number: int) -> Sample:
        """Sample ``number``: the crop around the hands. Raises IndexError where it is negative."""
        return render_crop(self.scene(number), self.hand_model)

    def frame(self, number: int, width: int = 320, height: int = 240) -> Sample:
        """The whole frame that sample ``number`` is a crop of, at most ``width`` x ``height`` pixels."""
        return render_frame(self.scene(number), self.hand_model, width, height)

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in itertools.count(self.start, self.step))

    def scene(self, number: int) -> TrainingScene:
        """Scene ``number``, which :mod:`sample_rendering` renders. Raises IndexError where it is negative.

        A subset's scene ``number`` is the first match among the 64 scenes of ``test`` from 64 x ``number`` on (after
        those, in a range of its own). ``test-occluded``: at least OCCLUDED_JOINTS of one hand's keypoints are in the
        image and hidden by the other hand, its arm or an object. ``test-interacting``: both hands are present, and
        their meshes are closer than TOUCHING or their keypoint boxes overlap by BOX_OVERLAP or more.
        """
        if number < 0:
            raise IndexError(f"samples are numbered from 0, got {number}")
        if self.split not in SUBSETS:
            return sample_scene(self.seed, self.split, number, self.hand_model)
        near = range(_CANDIDATES * number, _CANDIDATES * (number + 1))
        for candidate in itertools.chain(near, itertools.count(10**9 + 10**4 * number)):
            if self.split == "test-interacting" and arrangement_of("test", self.seed, candidate) in SINGLE:
                continue
            scene = sample_scene(self.seed, "test", candidate, self.hand_model)
            matches = interacting if self.split == "test-interacting" else occluded
            if matches(scene, self.hand_model):
                return scene
        raise AssertionError("the candidates are endless")


def occluded(scene: TrainingScene, hand_model: HandModel) -> bool:
    """Whether a scene belongs to ``test-occluded``."""
    if len(scene.hands) < 2 and not scene.objects:
        return False
    return bool((hidden_keypoints(scene, hand_model).mean(axis=1) >= OCCLUDED_JOINTS).any())


def interacting(scene: TrainingScene, hand_model: HandModel) -> bool:
    """Whether a scene belongs to ``test-interacting``."""
    if len(scene.hands) < 2:
        return False
    pixels = scene.camera.project(scene.joints)
    if box_overlap(pixels) >= BOX_OVERLAP:
        return True
    first, second = (hand_model.mesh(h.side, h.rotations, h.betas, h.translation) for h in scene.hands)
    return vertex_distance(first, second) < TOUCHING
