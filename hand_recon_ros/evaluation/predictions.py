"""Predictions for the images of a data set, part by part: by several processes, and stored so that a run can go on."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import multiprocessing
import multiprocessing.queues
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np

from .. import __version__
from ..config import ReconstructorConfig
from ..datasets.annotated import AnnotatedImages
from ..datasets.annotations import AnnotationError
from ..datasets.cached import read_arrays, write_arrays
from ..datasets.interhand26m import FRAME_RATE, InterHand26M
from ..datasets.sample import Sample
from ..detect.pair_detector import pair_detector_file
from ..hand_model.model import hand_model_files
from ..reconstructor import TwoHandReconstructor
from ..runtime.bundled_networks import bundled_network
from ..runtime.devices import VISIBLE_GPUS, gpus_of
from ..types import TwoHandEstimate
from .protocols.samples import predicted_pairs

PART = 100
"""Images of a part."""
Part = dict[str, np.ndarray]
"""Of N images that could be read, in metres in the camera frame, NaN where there is none: ``index`` (N,); the true
``joints`` (N, 2, 21, 3), ``vertices`` (N, 2, V, 3) where the data set has meshes, and ``arrangement`` (N,);
``before_joints``, ``before_vertices``, ``after_joints`` and ``after_vertices`` of the estimates before and after the
two-hand refinement; and ``damaged``, the messages of the images that could not be read."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What is predicted.

    Attributes:
        images: of a data set.
        indices: which of them.
        config: of the reconstructor.
        skip_damaged: as of ``AnnotatedImages.readable``.
        streams: whether the images of InterHand2.6M are reconstructed as streams, with tracking: each sequence by each
            camera; otherwise every image by itself.
    """

    images: AnnotatedImages
    indices: tuple[int, ...]
    config: ReconstructorConfig
    skip_damaged: bool = True
    streams: bool = False

    def parts(self) -> list[tuple[int, ...]]:
        """The numbers of the images of each part: a sequence, or PART single images."""
        if self.streams:
            assert isinstance(self.images, InterHand26M)
            chosen = set(self.indices)
            sequences = (tuple(i for i in sequence if i in chosen) for sequence in self.images.sequences())
            return [sequence for sequence in sequences if sequence]
        return [self.indices[start : start + PART] for start in range(0, len(self.indices), PART)]


def predict(work: Work, cache: Path | None = None, processes: int = 1) -> Iterator[Part]:
    """The parts of a data set in order.

    Args:
        work: what is predicted.
        cache: folder in which parts are stored, below one for the data set, the settings and the networks; parts that
            are there already are not predicted again.
        processes: how many predict at the same time; with 1 it is this one. Several of them use the GPUs of this
            machine by turns, each one of them, where ``device`` is a GPU.

    Raises AnnotationError for a damaged image that may not be skipped.
    """
    folder = None
    if cache is not None:
        folder = cache / f"{work.images.name}-{work.images.split}-{_digest(work)}"
        folder.mkdir(parents=True, exist_ok=True)
    parts = work.parts()
    if processes == 1:
        worker: _Worker | None = None
        for indices in parts:
            path = _path(folder, indices)
            part = _stored(path)
            if part is None:
                worker = worker or _Worker(work)
                part = worker(indices, path)
            yield part
        return
    # Spawned, because OpenVINO's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    gpus, turns = gpus_of(work.config.device), context.SimpleQueue()
    for number in range(processes):
        turns.put(gpus[number % len(gpus)] if gpus else "")
    with ProcessPoolExecutor(processes, context, _start, (work, turns)) as pool:
        waiting: collections.deque[Future[Part]] = collections.deque()
        try:
            for indices in parts:
                waiting.append(pool.submit(_run, indices, _path(folder, indices)))
                if len(waiting) > 2 * processes:  # parts are large: few of them wait
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """A reconstructor, and what it works on."""

    def __init__(self, work: Work) -> None:
        self.work, self.reconstructor = work, TwoHandReconstructor(work.config)

    def __call__(self, indices: Sequence[int], path: Path | None) -> Part:
        work = self.work
        part = predicted(self.reconstructor, work.images, indices, work.skip_damaged, work.streams)
        if path is not None:
            write_arrays(path, part)
        return part


_work: Work | None = None
_worker: _Worker | None = None
"""Of a process that :func:`predict` has started; its networks are loaded for the first part that is not stored."""


def _start(work: Work, gpus: multiprocessing.queues.SimpleQueue[str]) -> None:
    """``gpus``: the one of each process, empty where there is none."""
    global _work
    _work = work
    if gpu := gpus.get():
        os.environ[VISIBLE_GPUS] = gpu  # CUDA reads it when it is first used
    # Ctrl-C ends it at once: as an exception it would end this part only, and the next one would be begun.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run(indices: Sequence[int], path: Path | None) -> Part:
    global _worker
    part = _stored(path)
    if part is None:
        assert _work is not None
        _worker = _worker or _Worker(_work)
        part = _worker(indices, path)
    return part


def _stored(path: Path | None) -> Part | None:
    """The part in a file; None where there is none, or where images were damaged, which may have been mended."""
    if path is None or not path.exists():
        return None
    part = read_arrays(path)
    return None if len(part["damaged"]) else part


def _path(folder: Path | None, indices: Sequence[int]) -> Path | None:
    if folder is None:
        return None
    digest = hashlib.sha256(np.array(indices, dtype=np.int64).tobytes()).hexdigest()[:8]
    return folder / f"{indices[0]:07d}-{len(indices)}-{digest}.npz"


def _digest(work: Work) -> str:
    """Of everything that parts depend on, but for the pictures themselves, and meshes in files of their own."""
    config = work.config
    files = [
        bundled_network(kind, name)
        for kind, name in (("encoder", config.encoder), ("refiner", config.refiner))
        if name != "none"
    ]
    files += [pair_detector_file()] if config.detector != "none" else []
    files += hand_model_files(config.hand_model) if config.hand_model else ()
    files += [Path(config.hand_calibration).expanduser()] if config.hand_calibration else []
    content = {
        "version": __version__,
        "images": work.images.digest(),
        "streams": work.streams,
        "config": dataclasses.asdict(config),
        "files": [_sha256(path) for path in files if path.is_file()],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def predicted(
    reconstructor: TwoHandReconstructor,
    images: AnnotatedImages,
    indices: Sequence[int],
    skip_damaged: bool,
    stream: bool = False,
) -> Part:
    """The part with these images, each reconstructed by itself, or one after the other as a stream."""
    number: list[int] = []
    samples: list[Sample] = []
    estimates: list[TwoHandEstimate] = []
    damaged = []
    if stream:
        reconstructor.reset()
    for index in indices:
        try:
            sample = images[index]
        except AnnotationError as error:
            if not skip_damaged:
                raise
            damaged.append(str(error))
            continue
        number.append(index)
        # Its arrays of the picture's size are not needed any more.
        none = {name: getattr(sample, name)[:0] for name in ("image", "labels", "depth")}
        samples.append(dataclasses.replace(sample, **none))
        if stream:
            assert isinstance(images, InterHand26M)
            estimates.append(reconstructor(sample.image, sample.camera, images.entry(index).frame / FRAME_RATE))
        else:
            estimates.append(reconstructor.reconstruct_image(sample.image, sample.camera))
    part: Part = {
        "index": np.array(number, dtype=np.int64),
        "joints": _stacked([sample.joints for sample in samples], (2, 21, 3)),
        "arrangement": np.array([sample.arrangement for sample in samples], dtype=str),
        "damaged": np.array(damaged, dtype=str),
    }
    counts = {sample.vertices.shape[1] for sample in samples if sample.vertices is not None}
    if len(counts) > 1:
        raise AnnotationError(f"{images.name} {images.split}: meshes of {sorted(counts)} vertices in one data set")
    if counts:
        shape = (2, counts.pop(), 3)
        missing = np.full(shape, np.nan)
        meshes = [missing if sample.vertices is None else sample.vertices for sample in samples]
        part["vertices"] = _stacked(meshes, shape)
    for name, chosen in (("before", [each.before_refinement() for each in estimates]), ("after", estimates)):
        hands = predicted_pairs(chosen, reconstructor.hand_model.num_vertices)
        assert hands.vertices is not None  # of the reconstructor's own hand model
        part |= {f"{name}_joints": hands.joints, f"{name}_vertices": hands.vertices.astype(np.float32)}
    return part


def _stacked(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros((0, *shape))
