"""Accuracy on InterHand2.6M, FreiHAND and HIC, each by the protocol of a published code."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ConfigError, ReconstructorConfig
from ..datasets.annotated import AnnotatedImages
from ..datasets.annotations import AnnotationError
from ..datasets.freihand import FreiHand
from ..datasets.freihand_files import read_freihand_predictions, write_freihand_predictions
from ..datasets.hic import Hic
from ..datasets.interhand26m import FRAME_RATE, InterHand26M
from ..datasets.miniatures import MANO
from ..hand_model import HandModel, load_hand_model
from ..skeleton import WRIST
from ..types import Side
from .predictions import Part, Work, predict
from .protocols import freihand, two_hands
from .protocols.hic import HIC
from .protocols.interhand26m import INTERWILD, interhand26m
from .protocols.protocol import HandPairs, Protocol, TrueHandPairs, joint_regressors
from .protocols.published import published
from .protocols.rest_pose import rest_hands
from .protocols.sequences import jitter

SPLITS = {"interhand26m": ("test", "val", "train"), "freihand": ("evaluation", "training"), "hic": ("test",)}
"""Splits of each data set; the first is the one that is measured unless another is named."""
PROTOCOLS = {"interhand26m": "interwild", "freihand": "freihand", "hic": "hic"}
"""The protocol of each data set unless another is named, which InterHand2.6M alone has."""
_NOT_FOUND = np.array([0.0, 0.0, 0.6])
"""Wrist, metres, of the flat hand that stands for a hand that was not found, in FreiHAND's file of predictions."""

Progress = Callable[[Iterable[Part]], Iterable[Part]]


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set, and how it is measured.

    Attributes:
        images: of one split; for InterHand2.6M those that the protocol counts.
        hand_model: whose meshes the reconstructor has.
        protocol: for two hands; None for FreiHAND.
    """

    images: AnnotatedImages
    hand_model: HandModel
    protocol: Protocol | None = None


def open_data_set(name: str, root: Path, split: str = "", protocol: str = "", hand_model: str = "") -> DataSet:
    """A data set by its name, one of SPLITS.

    Args:
        name: of the data set.
        root: its folder.
        split: of SPLITS; empty: the first.
        protocol: of InterHand2.6M, see ``protocols.interhand26m``; empty: that of PROTOCOLS.
        hand_model: the setting; the data sets' meshes are MANO's.

    Raises ValueError for another split or protocol and where the protocol needs meshes of the hand model, and
    AnnotationError where the folder is not the data set's.
    """
    split, protocol = split or SPLITS[name][0], protocol or PROTOCOLS[name]
    if split not in SPLITS[name]:
        raise ValueError(f"{name} has the splits {', '.join(SPLITS[name])}, not {split}")
    model = load_hand_model(hand_model)
    if name != "interhand26m" and protocol != PROTOCOLS[name]:
        raise ValueError(f"{name} has one protocol, not {protocol}")
    if name == "freihand":
        return DataSet(FreiHand(root, split, model), model)
    if name == "hic":
        images: AnnotatedImages = Hic(root, model)
        return _with_protocol(images, model, HIC)
    chosen = interhand26m(protocol)
    human = "human_annot" if chosen.images == INTERWILD.images else ""
    # InterWild's code has all annotated keypoints of the hands whose wrist is in the image.
    truncated = protocol in ("interwild", "internet/interwild")
    return _with_protocol(InterHand26M(root, split, model, human, truncated), model, chosen)


def _with_protocol(images: AnnotatedImages, model: HandModel, protocol: Protocol) -> DataSet:
    if (protocol.from_mesh or protocol.pairs_only) and images.hand_model is None:
        raise ValueError(
            f"the protocol {protocol.name} takes keypoints from the data set's meshes, which are not of the hand model "
            f"{model.name}: load theirs, for the published data sets MANO, with --set hand_model=PATH"
        )
    return DataSet(images, model, protocol)


def evaluate_data_set(
    data: DataSet,
    config: ReconstructorConfig,
    count: int | None = None,
    cache: Path | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    skip_damaged: bool = True,
    save_predictions: Path | None = None,
    streams: bool = False,
) -> dict[str, Any]:
    """Measure the reconstructor on the images of a data set.

    Args:
        data: of :func:`open_data_set`.
        config: of the reconstructor, its hand model that of ``data``.
        count: of the images, evenly spaced; None: all.
        cache, processes: see :func:`predictions.predict`.
        progress: shows how many parts are done.
        skip_damaged: whether images that cannot be read are left out, and listed under "damaged".
        save_predictions: for FreiHAND, the .zip that its official evaluation takes, of all images; where no hand was
            found, or the image cannot be read, it is a flat hand there.
        streams: whether images of InterHand2.6M are streams, with tracking, and not single ones: each sequence by each
            camera. The report then has the acceleration jitter as well, and "rate_hz".

    Returns the report that ``hand-recon evaluate --json`` prints: figures of the protocol before and after the two-hand
    refinement, which FreiHAND's single hands do not have; "published" figures, which are of other images where
    "miniature" is true; "damaged" images.
    """
    if save_predictions is not None:
        _check_official(data, count)
    indices = np.unique(np.linspace(0, len(data.images) - 1, count or len(data.images)).round().astype(int))
    if streams and not isinstance(data.images, InterHand26M):
        raise ValueError(f"{data.images.name} has no sequences of known order: streams are of interhand26m")
    parts = predict(Work(data.images, tuple(indices.tolist()), config, skip_damaged, streams), cache, processes)
    sequences: list[Part] = []
    measured: dict[str, list[Any]] = {"before": [], "after": []}
    damaged: list[str] = []
    others: dict[str, Any] = {"config": dataclasses.asdict(config), "damaged": damaged, "streams": streams}
    hands: list[Part] = []
    measure = functools.partial(_single_hands if data.protocol is None else _pairs, data, rest_hands(data.hand_model))
    for part in progress(parts) if progress else parts:
        damaged += part["damaged"].tolist()
        if not len(part["index"]):
            continue
        for when, errors in measured.items():
            errors.append(measure(part, when))
        if streams:
            sequences.append({name: part[name] for name in ("index", "joints", "before_joints", "after_joints")})
        if save_predictions is not None:
            right = {name: part[f"after_{name}"][:, Side.RIGHT] for name in ("joints", "vertices")}
            hands.append({"index": part["index"], **right})
    if not measured["before"]:
        raise AnnotationError(f"{data.images.name} {data.images.split}: no image can be read: {damaged[0]}")
    if save_predictions is not None:
        write_freihand_predictions(save_predictions, *_complete(hands, len(data.images), data.hand_model))
    before, after = (_report(data, errors) for errors in measured.values())
    if streams:
        for when, report in (("before", before), ("after", after)):
            moved = _jitter(data, sequences, when)
            report |= {key: report[key] | moved[key] for key in ("metrics", "ci95")}
            others["rate_hz"] = moved["rate_hz"]
    refined = after if data.protocol is not None and config.refine_steps > 0 else None
    return _assembled(data, before, refined, others)


def evaluate_freihand_predictions(data: DataSet, path: Path) -> dict[str, Any]:
    """Measure a file of predictions, of any method, for all images of FreiHAND's evaluation; as
    :func:`evaluate_data_set`. Raises AnnotationError."""
    joints, vertices = read_freihand_predictions(path)
    if len(joints) != len(data.images):
        raise AnnotationError(f"{path}: predictions of {len(joints)} images, the data set has {len(data.images)}")
    scores = []
    for index in range(len(joints)):
        sample = data.images[index]
        _check_annotated(data, sample.joints)
        meshes = None if sample.vertices is None else sample.vertices[Side.RIGHT][None]
        own = None if meshes is None or meshes.shape != vertices[index][None].shape else vertices[index][None]
        scores.append(freihand.measure(joints[index][None], own, sample.joints[Side.RIGHT][None], meshes))
    return _assembled(data, freihand.report(freihand.concatenated(scores)), None, {"predictions": str(path)})


def _pairs(data: DataSet, rest: HandPairs, part: Part, when: str) -> two_hands.PairErrors:
    """The errors of a part ``when``, before or after the refinement, by the protocol for two hands."""
    assert data.protocol is not None
    meshes = true_meshes = regressors = None
    if data.images.hand_model is not None:
        meshes = part[f"{when}_vertices"].astype(np.float64)
        # No image of a part may have a mesh.
        true_meshes = part.get("vertices", np.full_like(meshes, np.nan))
        regressors = joint_regressors(data.hand_model, data.protocol.tips)
    truth = TrueHandPairs(part["joints"], true_meshes, part["arrangement"], *_valid(data, part))
    return two_hands.measure(data.protocol, HandPairs(part[f"{when}_joints"], meshes), truth, rest, regressors)


def _valid(data: DataSet, part: Part) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Which keypoints (N, 2, 21) count besides being annotated, and for which images (N,) the type is certain."""
    if not isinstance(data.images, InterHand26M):
        return None, None
    entries = [data.images.entry(int(index)) for index in part["index"]]
    certain = np.array([entry.hand_type_valid for entry in entries])
    if not data.images.truncated:
        return None, certain
    wrists = np.stack([entry.joint_valid[:, WRIST] for entry in entries])
    return np.broadcast_to(wrists[..., None], part["joints"].shape[:3]), certain


def _jitter(data: DataSet, sequences: Sequence[Part], when: str) -> dict[str, Any]:
    """The acceleration jitter over sequences, see ``protocols.sequences``, of neighbouring images only."""
    assert isinstance(data.images, InterHand26M)
    frames = [np.array([data.images.entry(int(index)).frame for index in part["index"]]) for part in sequences]
    steps = np.concatenate([np.diff(each) for each in frames])
    step = int(np.bincount(steps).argmax()) if len(steps) else 1
    gap = np.full((1, 2, 21, 3), np.nan)
    both: dict[str, list[np.ndarray]] = {f"{when}_joints": [], "joints": []}
    for part, numbers in zip(sequences, frames, strict=True):
        ends = np.flatnonzero(np.diff(numbers) != step) + 1
        for name, pieces in both.items():
            for piece in np.split(part[name], ends):
                pieces += [piece, gap]
    estimated, true = (np.concatenate(pieces) for pieces in both.values())
    return jitter(estimated, true, FRAME_RATE / step)


def _check_annotated(data: DataSet, joints: np.ndarray) -> None:
    """Raise AnnotationError where FreiHAND's true keypoints are all NaN."""
    if not np.isfinite(joints).any():
        near, split = data.images.annotation_files[0], data.images.split
        raise AnnotationError(f"{data.images.name} {split} has no keypoints: expected {near.with_name(split)}_xyz.json")


def _single_hands(data: DataSet, rest: HandPairs, part: Part, when: str) -> freihand.Scores:
    """The scores of a part of FreiHAND ``when``, before or after the refinement."""
    joints, true_joints = (part[name][:, Side.RIGHT] for name in (f"{when}_joints", "joints"))
    _check_annotated(data, true_joints)
    meshes = true_meshes = None
    if data.images.hand_model is not None and "vertices" in part:
        meshes, true_meshes = (
            part[f"{when}_vertices"][:, Side.RIGHT].astype(np.float64),
            part["vertices"][:, Side.RIGHT],
        )
    return freihand.measure(joints, meshes, true_joints, true_meshes, rest)


def _check_official(data: DataSet, count: int | None) -> None:
    """Raise ValueError, or ConfigError for the hand model, where predictions would not be what FreiHAND's official
    evaluation takes."""
    if count is not None:
        raise ValueError("the file of predictions is of all images: leave out the number of frames")
    if data.hand_model.name != data.images.stored_model:
        raise ConfigError(
            f"the file of predictions needs meshes of the hand model {data.images.stored_model}, not of "
            f"{data.hand_model.name}: load it with --set hand_model=PATH"
        )


def _complete(hands: Sequence[Part], count: int, model: HandModel) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 21, 3) and vertices (N, V, 3) of the right hands of all ``count`` images, with a flat hand where
    none was found."""
    rest = rest_hands(model)
    assert rest.vertices is not None
    joints, vertices = (
        np.tile(each[0, Side.RIGHT] + _NOT_FOUND, (count, 1, 1)) for each in (rest.joints, rest.vertices)
    )
    for part in hands:
        found = np.isfinite(part["joints"]).all(axis=(1, 2))
        joints[part["index"][found]] = part["joints"][found]
        vertices[part["index"][found]] = part["vertices"][found]
    return joints, vertices


def _report(data: DataSet, errors: Sequence[Any]) -> dict[str, Any]:
    if data.protocol is None:
        return freihand.report(freihand.concatenated(errors))
    return two_hands.report(data.protocol, two_hands.PairErrors.concatenated(errors))


def _assembled(
    data: DataSet, estimate: dict[str, Any], refined: dict[str, Any] | None, others: dict[str, Any]
) -> dict[str, Any]:
    """The report of both, in the form of the other data sets' reports."""
    protocol = "freihand" if data.protocol is None else data.protocol.name
    rows = published(data.images.name, protocol)
    both = {"estimate": estimate, "refined": refined}
    return {
        "dataset": data.images.name,
        "split": data.images.split,
        "n": estimate["n"],
        "protocol": estimate["protocol"],
        "protocol_name": protocol,
        "counts": estimate["counts"],
        **{
            key: {**{name: part and part[key] for name, part in both.items()}, "ground_truth": {}}
            for key in ("metrics", "ci95")
        },
        "miniature": data.images.stored_model != MANO,
        "published": [dataclasses.asdict(row) | {"figures": dict(row.figures)} for row in rows],
        **others,
    }
