"""Conversion of HaMeR's and WiLoR's checkpoints to plain .safetensors files, without running code in them.

The published files are Lightning checkpoints: ``state_dict`` beside settings and states of callbacks. Kept is what the
networks of :mod:`models.hamer` and :mod:`models.wilor` have. Dropped are the embedded MANO, the discriminator of the
training, and its flag ``initialized``. Any other key, and any that is missing, is an error.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..runtime.model_files import replacing
from .hamer import DECODER_HEAD_SIZE, HamerConfig
from .hand_networks import CONFIG, NETWORK, SOURCE, Config, config_to_json, make_network, network_name
from .torch_archive import CheckpointError, StoredTensor, TorchArchive
from .vit import VitConfig
from .wilor import WilorConfig

DROPPED_PREFIXES = ("mano.", "discriminator.")
DROPPED_NAMES = ("initialized",)
"""What of a checkpoint is not needed."""


@dataclasses.dataclass(frozen=True)
class ImportedNetwork:
    """What was imported.

    Attributes:
        path: of the .safetensors file.
        network: ``hamer`` or ``wilor``.
        config: of the network, as JSON.
        tensors, bytes: number of tensors that were kept, and their size.
        dropped: names of tensors that were not.
        source_sha256: of the checkpoint.
    """

    path: Path
    network: str
    config: str
    tensors: int
    bytes: int
    dropped: tuple[str, ...]
    source_sha256: str


def import_checkpoint(path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> ImportedNetwork:
    """Convert ``hamer.ckpt`` or ``wilor_final.ckpt``.

    Args:
        path: a checkpoint, or a file with its ``state_dict`` alone.
        out: file to write, ``.safetensors``; None is that of the checkpoint's name, beside it.

    Raises CheckpointError where the file is not the checkpoint of one of the two networks, or wants to run code.
    """
    source = Path(os.path.expanduser(path))
    target = source.with_suffix(".safetensors") if out is None else Path(os.path.expanduser(out))
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the name of the file to write must end in .safetensors")
    if target.exists() and source.exists() and target.samefile(source):
        raise CheckpointError(f"{target} is the checkpoint itself: name another file to write")
    with TorchArchive(source) as archive:
        tensors = _state(source, archive.content())
        dropped = tuple(sorted(name for name in tensors if _is_dropped(name)))
        kept = {name: tensor for name, tensor in tensors.items() if not _is_dropped(name)}
        config = _config(source, {name: tensor.shape for name, tensor in kept.items()})
        _check(source, config, kept)
        digest = _sha256(source)
        notes = {NETWORK: network_name(config), CONFIG: config_to_json(config), SOURCE: digest, "source": source.name}
        size = _write(target, archive, kept, notes)
    return ImportedNetwork(target, notes[NETWORK], notes[CONFIG], len(kept), size, dropped, digest)


def _is_dropped(name: str) -> bool:
    return name.startswith(DROPPED_PREFIXES) or name in DROPPED_NAMES


def _state(path: Path, content: Any) -> dict[str, StoredTensor]:
    """The tensors by name, of a checkpoint or of a state_dict alone."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dictionary with state_dict, got {type(content).__name__}")
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path}: its state_dict is a {type(state).__name__} without tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            known = ", ".join(sorted(str(key) for key in content)[:20])
            raise CheckpointError(f"{path}: {name!r:.60} is a {type(value).__name__}, no tensor; it holds {known}")
    return dict(state)


Shapes = Mapping[str, tuple[int, ...]]


def _config(path: Path, shapes: Shapes) -> Config:
    """The network whose checkpoint it is, and its size, by the shapes of its tensors.

    What the shapes do not say is as published: heads of 80 channels in the transformer and of 64 in the decoder.
    """
    hamer, wilor = (any(name.startswith(prefix) for name in shapes) for prefix in ("mano_head.", "refine_net."))
    if hamer == wilor:
        names = ", ".join(sorted({name.split(".")[0] for name in shapes}))
        which = "both mano_head (HaMeR) and refine_net (WiLoR)" if hamer else "neither mano_head nor refine_net"
        raise CheckpointError(f"{path}: not a checkpoint of HaMeR or WiLoR: it has {which}, but {names}")

    def size(name: str, axis: int, default: int) -> int:
        shape = shapes.get(name, ())
        return shape[axis] if len(shape) > axis else default

    try:
        vit = VitConfig(
            dim=size("backbone.patch_embed.proj.weight", 0, VitConfig.dim),
            depth=_layers(shapes, "backbone.blocks.", VitConfig.depth),
            mlp_dim=size("backbone.blocks.0.mlp.fc1.weight", 0, VitConfig.mlp_dim),
        )
        if wilor:
            return WilorConfig(vit)
        layers = "mano_head.transformer.transformer.layers."
        inner = size(layers + "0.1.fn.to_q.weight", 0, HamerConfig.heads * DECODER_HEAD_SIZE)
        return HamerConfig(
            vit,
            dim=size("mano_head.decpose.weight", 1, HamerConfig.dim),
            depth=_layers(shapes, layers, HamerConfig.depth),
            heads=inner // DECODER_HEAD_SIZE,
            mlp_dim=size(layers + "0.2.fn.net.0.weight", 0, HamerConfig.mlp_dim),
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _layers(shapes: Shapes, prefix: str, default: int) -> int:
    """The number of layers whose tensors' names begin with ``prefix``, at most that of the tensors."""
    found = {int(match[1]) for name in shapes if (match := re.match(rf"{re.escape(prefix)}([0-9]{{1,4}})\.", name))}
    return min(max(found) + 1, len(shapes)) if found else default


def _check(path: Path, config: Config, kept: Mapping[str, StoredTensor]) -> None:
    """Raises CheckpointError where a tensor is missing, unexpected, or of another shape or kind."""
    with torch.device("meta"):
        expected = make_network(config).state_dict()
    faults = [f"missing: {name}" for name in expected if name not in kept]
    faults += [f"unexpected: {name}" for name in kept if name not in expected]
    for name, tensor in kept.items():
        if name in expected:
            shape, is_float = tuple(expected[name].shape), expected[name].is_floating_point()
            if tensor.shape != shape or tensor.is_float != is_float:
                faults.append(f"{name} is {tensor.dtype} {tensor.shape}, expected {expected[name].dtype} {shape}")
    if faults:
        raise CheckpointError("\n".join([f"{path}: does not fit {network_name(config)}:", *faults]))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_TYPES = {"f": ("F32", 4), "i": ("I64", 8), "u": ("I64", 8), "b": ("BOOL", 1)}
"""Kind of numbers -> type and bytes in the file, which is float32 or int64 whatever they were."""


def _kind(tensor: StoredTensor) -> str:
    return "f" if tensor.is_float else tensor.dtype[1]


def _header(kept: Mapping[str, StoredTensor], notes: Mapping[str, str]) -> tuple[bytes, int]:
    """The header of a .safetensors file, and the bytes that follow it."""
    entries: dict[str, Any] = {"__metadata__": dict(notes)}
    end = 0
    for name, tensor in kept.items():
        kind, size = _TYPES[_kind(tensor)]
        begin, end = end, end + size * math.prod(tensor.shape)
        entries[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, end


def _write(path: Path, archive: TorchArchive, kept: Mapping[str, StoredTensor], notes: Mapping[str, str]) -> int:
    """Write the file, tensor by tensor, so that never more than one is in memory; returns the bytes of all tensors."""
    header, size = _header(kept, notes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch, scratch.open("wb") as file:
        file.write(header)
        for data in _contents(archive, kept):
            file.write(data)
    return size


def _contents(archive: TorchArchive, kept: Mapping[str, StoredTensor]) -> Iterator[bytes]:
    for name, tensor in kept.items():
        array = archive.array(tensor)
        if tensor.is_float and not np.isfinite(array).all():
            raise CheckpointError(f"{archive.path}: {name} holds numbers that are not finite")
        kind = _kind(tensor)
        yield (array.astype("<i8") if kind in "iu" else array).tobytes()
