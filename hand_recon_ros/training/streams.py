"""Published data sets and annotated pictures as streams of training samples, with the labels that each has."""

from __future__ import annotations

import abc
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..config import ConfigError, checked, setting
from ..datasets.annotated import AnnotatedImages, annotated_sample
from ..datasets.annotated_picture import AnnotatedPicture
from ..datasets.annotations import AnnotationError
from ..datasets.crops import PICTURE_FOV, sample_crops
from ..datasets.freihand import FreiHand
from ..datasets.hic import Hic
from ..datasets.interhand26m import InterHand26M
from ..datasets.partial_hands import known_box
from ..datasets.pictures import read_pictures
from ..datasets.priors import CorruptedPriors, PriorProvider
from ..datasets.sample import Sample
from ..hand_model import HandModel, load_hand_model
from ..hand_model.arrays import HandModelError
from ..skeleton import NUM_KEYPOINTS
from ..types import Camera

PICTURES = "pictures"
SPLITS = {
    "interhand26m": ("train", "val", "test"), "freihand": ("training", "evaluation"), "hic": ("test",), PICTURES: (),
}  # fmt: skip
"""Splits of each data set; the first is the one to train on unless another is named. Pictures have none."""
_TRIES = 50
"""Random images after which a stream without a usable one gives up."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """An entry of ``streams`` in a recipe."""

    dataset: str = setting("", "data set", choices=tuple(SPLITS))
    root: str = setting("", "its folder, or, of pictures, a file of COCO-WholeBody")
    share: float = setting(0.0, "of its images among the samples", low=0.0, high=1.0)
    split: str = setting("", "to train on; empty: train of interhand26m, training of freihand, test of hic")
    validation: str = setting("", "split of which figures are computed beside those of the rendered one; empty: none")
    subset: str = setting("", "of interhand26m: single, interacting, human_annot, a file of ids; several with commas")
    hand_model: str = setting("", "of hic: file of the hand model of its meshes, MANO; empty: the encoder's")


def read_streams(entries: Any) -> tuple[StreamOptions, ...]:
    """The checked entries of a recipe's ``streams``; raises ConfigError, which names entry and field."""
    if not isinstance(entries, list):
        raise ConfigError(f"streams: expected a list of data sets, got {type(entries).__name__}")
    return tuple(_checked(entry, f"streams: entry {number}") for number, entry in enumerate(entries, 1))


def _checked(entry: Any, where: str) -> StreamOptions:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected fields such as dataset, root and share, got {entry!r:.80}")
    try:
        options = checked(StreamOptions, entry)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    for name in ("dataset", "root", "share"):
        if not getattr(options, name):
            raise ConfigError(f"{where}: {name} is missing" if name != "share" else f"{where}: share must be above 0")
    splits = SPLITS[options.dataset]
    for name in ("split", "validation"):
        value = getattr(options, name)
        if value and value not in splits:
            known = f"one of {', '.join(splits)}" if splits else f"nothing: {options.dataset} has no splits"
            raise ConfigError(f"{where}: {name}: expected {known}, got {value!r}")
    options = dataclasses.replace(options, split=options.split or next(iter(splits), ""))
    if options.validation and options.validation == options.split:
        raise ConfigError(f"{where}: validation: {options.split} is the split that is trained on")
    for name, dataset in (("subset", "interhand26m"), ("hand_model", "hic")):
        if getattr(options, name) and options.dataset != dataset:
            raise ConfigError(f"{where}: {name} is of {dataset}, not of {options.dataset}")
    return options


class Images(abc.ABC):
    """Images with annotated hands by number."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def sample(self, index: int, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
        """The sample of an image, and which hands (2,) bool are certainly not in it.

        ``rng`` draws what is not known and does not matter. Raises AnnotationError.
        """


class DataSetImages(Images):
    """The images of a published data set."""

    def __init__(self, images: AnnotatedImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
        """See :meth:`Images.sample`. A hand of InterHand2.6M without joints is only absent where another hand is named
        as the only one."""
        sample = self._images.sample(index)
        absent = ~sample.present
        if isinstance(self._images, InterHand26M):
            entry = self._images.entry(index)
            absent &= entry.hand_type_valid and entry.hand_type != "interacting"
        return sample, absent


class PictureHands(Images):
    """Annotated pictures, one item for each person with a hand of known side with keypoints. Hands without annotation
    may be in a picture all the same."""

    def __init__(self, root: Path) -> None:
        """See :func:`read_pictures`; raises AnnotationError also where no hand has enough keypoints."""
        self._items = [item for picture in read_pictures(root) for item in _people(picture)]
        if not self._items:
            raise AnnotationError(f"{root}: no picture has keypoints of a hand of known side")

    def __len__(self) -> int:
        return len(self._items)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Sample, np.ndarray]:
        """See :meth:`Images.sample`. Without intrinsics the field of view is random: no label depends on it."""
        picture, keypoints = self._items[index]
        frame = picture.frame()
        height, width = frame.image.shape[:2]
        camera = frame.camera
        if picture.K is None:
            camera = Camera.from_fov(width, height, float(rng.uniform(*PICTURE_FOV)))
        present = np.isfinite(keypoints).any(axis=(1, 2))
        unknown = np.full((2, NUM_KEYPOINTS, 3), np.nan)
        sample = annotated_sample(frame.image, camera, unknown, f"{PICTURES}/{picture.file}", present=present)
        visible = np.all((keypoints >= -0.5) & (keypoints < (width - 0.5, height - 0.5)), axis=-1)
        sample = dataclasses.replace(sample, keypoints_2d=keypoints, keypoint_visible=visible)
        return sample, np.zeros(2, dtype=bool)


def _people(picture: AnnotatedPicture) -> list[tuple[AnnotatedPicture, np.ndarray]]:
    """The picture with the keypoints (2, 21, 2) of each person that has some; not where two are of the same side."""
    items = []
    for person in sorted({hand.person for hand in picture.hands}):
        keypoints = np.full((2, NUM_KEYPOINTS, 2), np.nan)
        hands = [hand for hand in picture.hands if hand.person == person and hand.side is not None]
        for hand in hands:
            if hand.keypoints_2d is not None and hand.side is not None:
                keypoints[hand.side] = hand.keypoints_2d
        if len({hand.side for hand in hands}) == len(hands) and any(known_box(hand) is not None for hand in keypoints):
            items.append((picture, keypoints))
    return items


class DataStream:
    """An endless stream of samples from the images of a data set.

    Attributes:
        name: of the data set.
        images: that it draws from.
        share: of the stream among the samples.
    """

    def __init__(self, name: str, images: Images, share: float = 0.0) -> None:
        self.name, self.images, self.share = name, images, share
        self._damaged: set[str] = set()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def arrays(
        self, rng: np.random.Generator, provider: PriorProvider | None = None, augment: bool = True
    ) -> dict[str, np.ndarray]:
        """A random image as arrays of :func:`crops.sample_crops`, which follow from the state of ``rng``.

        In place of an image that cannot be read, which is named once in a warning, or in which no hand has enough known
        keypoints for a crop, another random one is taken. Raises AnnotationError where none is found.
        """
        reason = "no hand has enough keypoints"
        for _ in range(_TRIES):
            try:
                sample, absent = self.images.sample(int(rng.integers(len(self.images))), rng)
            except AnnotationError as error:
                reason = str(error)
                if reason not in self._damaged:
                    self._damaged.add(reason)
                    _log.warning("%s; another image is taken", error)
                continue
            if any(known_box(hand) is not None for hand in sample.keypoints_2d[sample.present]):
                return sample_crops(sample, rng, provider, absent=absent, augment=augment).arrays
        raise AnnotationError(f"{self.name}: no usable image among {_TRIES} random ones; the last reason: {reason}")


class StreamSamples(Dataset[dict[str, np.ndarray]]):
    """Numbered samples of a stream without augmentation, for a validation."""

    def __init__(self, stream: DataStream, seed: int, provider: PriorProvider | None = None) -> None:
        """``provider`` predicts prior maps from the images; None: they are those of the ground truth."""
        self._stream, self._seed, self._provider = stream, seed, provider

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self._seed, number, 83])
        return self._stream.arrays(rng, self._provider or CorruptedPriors(rng, 0.0), augment=False)


def open_streams(options: Sequence[StreamOptions], hand_model: HandModel) -> list[DataStream]:
    """The streams of a recipe for an encoder of a hand model.

    Raises ConfigError where a folder is not the data set's, its keypoints need another hand model, or none of its
    images can be used.
    """
    return [_opened(entry, number, entry.split, entry.share, hand_model) for number, entry in enumerate(options, 1)]


def open_validation(options: Sequence[StreamOptions], hand_model: HandModel) -> dict[str, DataStream]:
    """The validation splits that a recipe names, by the name of the data set, with a number where it is there again.

    Raises as :func:`open_streams`.
    """
    streams: dict[str, DataStream] = {}
    for number, entry in enumerate(options, 1):
        if entry.validation:
            name = f"{entry.dataset}_{number}" if entry.dataset in streams else entry.dataset
            streams[name] = _opened(entry, number, entry.validation, 0.0, hand_model)
    return streams


def _opened(options: StreamOptions, number: int, split: str, share: float, hand_model: HandModel) -> DataStream:
    where = f"streams: entry {number} ({options.dataset})"
    try:
        stream = DataStream(options.dataset, _images(options, split, hand_model), share)
        stream.arrays(np.random.default_rng(0))
    except (ConfigError, AnnotationError, HandModelError) as error:
        raise ConfigError(f"{where}: {error}") from error
    return stream


def _images(options: StreamOptions, split: str, hand_model: HandModel) -> Images:
    root = Path(options.root).expanduser()
    if options.dataset == PICTURES:
        return PictureHands(root)
    if options.dataset == "interhand26m":
        # Joints outside of the image as well: they bound the hand's box.
        return DataSetImages(InterHand26M(root, split, hand_model, options.subset, truncated=True))
    if options.dataset == "freihand":
        return DataSetImages(FreiHand(root, split, hand_model))
    images = Hic(root, load_hand_model(options.hand_model) if options.hand_model else hand_model)
    if images.hand_model is None:
        raise ConfigError("hand_model: expected the file of its meshes' hand model, MANO: it gives their keypoints")
    return DataSetImages(images)
