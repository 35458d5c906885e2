"""The tensors in a file of ``torch.save``, read without torch and without running anything that is in the file.

Such a file is a zip archive (torch 1.6 and later) of a pickle and of one uncompressed member for each storage. The
pickle is read by a restricted unpickler: tensors become descriptions of where their numbers are, objects of the
packages that write settings and callbacks into checkpoints become placeholders, and every other name is refused.
"""

from __future__ import annotations

import collections
import math
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ..hand_model.restricted_pickle import PickleError, restricted_load

_LARGEST_PICKLE = 2**26
"""Bytes of the pickle, at most: that of a network of 1000 tensors has 0.2 MB."""
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}  # fmt: skip
_SETTINGS = {
    "yacs", "omegaconf", "hydra", "argparse", "typing", "pathlib", "datetime", "enum",
    "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "hamer", "wilor",
}  # fmt: skip
"""Packages whose objects checkpoints hold beside the weights: settings, and states of callbacks."""
_VALUES = {
    "builtins": {"bool", "bytes", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "object", "set",
                 "slice", "str", "tuple"},
    "collections": {"defaultdict", "Counter", "deque"},
    "copyreg": {"_reconstructor"},
    "numpy": {"dtype", "ndarray", "float64", "float32", "int64", "bool_"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "_codecs": {"encode"},
    "torch": {"Size", "device", "float16", "float32", "float64", "bfloat16", "int64", "int32", "bool"},
}  # fmt: skip
"""Names of plain values in such settings, of which a placeholder will do as well."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what is wrong and what was expected."""


class StoredTensor(NamedTuple):
    """Where the numbers of a tensor are; ``offset`` and ``strides`` are in numbers, not bytes."""

    dtype: str
    member: str
    numel: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether its numbers are floats, of any precision."""
        return self.dtype == "bfloat16" or self.dtype[1] == "f"


class _Storage(NamedTuple):
    dtype: str
    member: str
    numel: int


class Placeholder:
    """Stands for an object of the file that is not needed: takes any arguments and states, keeps and does nothing."""

    __slots__ = ()

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Nothing."""

    def extend(self, _: Any) -> None:
        """Nothing."""

    def add(self, _: Any) -> None:
        """Nothing."""


class _RebuildTensor:
    """torch._utils._rebuild_tensor_v2. Objects, not functions, so that a pickle cannot set attributes of them."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
        if not isinstance(storage, _Storage):
            raise PickleError(f"a tensor of {type(storage).__name__} instead of a storage")
        shape, strides = _whole_numbers(size), _whole_numbers(stride)
        if len(shape) != len(strides):
            raise PickleError(f"a tensor of {len(shape)} sizes and {len(strides)} strides")
        (start,) = _whole_numbers((offset,))
        last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        count = math.prod(shape)
        if count > storage.numel or (count > 0 and last >= storage.numel):
            raise PickleError(f"a tensor of shape {shape} in a storage of {storage.numel} numbers")
        return StoredTensor(storage.dtype, storage.member, storage.numel, start, shape, strides)


class _RebuildParameter:
    """torch._utils._rebuild_parameter."""

    __slots__ = ()

    def __call__(self, data: Any, *_: Any) -> Any:
        return data


_CALLABLES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
}


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(value) is int and value >= 0 for value in values):
        raise PickleError(f"{values!r:.60} instead of sizes")
    return values


def _resolve(module: str, name: str) -> Any:
    """What stands for a name in the pickle; raises PickleError for those that no checkpoint needs."""
    if (module, name) in _CALLABLES:
        return _CALLABLES[module, name]
    if module == "torch" and name in _STORAGES:
        return _STORAGES[name]
    if module.partition(".")[0] in _SETTINGS or name in _VALUES.get(module, ()):
        return Placeholder
    raise PickleError(f"it refers to {module}.{name}, which a checkpoint does not need; refused, since a pickle could "
                      "run anything")  # fmt: skip


def _number_type(dtype: str) -> np.dtype[Any]:
    return np.dtype("<u2" if dtype == "bfloat16" else dtype)


class TorchArchive:
    """An opened file of ``torch.save``; a context manager."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises CheckpointError where the file is no such archive, or one that was tampered with."""
        self.path = Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise CheckpointError(f"{self.path}: no such file") from None
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise CheckpointError(
                f"{self.path}: not a checkpoint of torch 1.6 or later, which is a zip archive ({error}); the download "
                "may be incomplete"
            ) from error
        try:
            self._prefix = self._checked_members()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _checked_members(self) -> str:
        """The folder that all members are in."""
        members = self._zip.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise CheckpointError(
                    f"{self.path}: {member.filename} is compressed, {member.compress_size} to {member.file_size} bytes;"
                    " torch.save writes uncompressed archives"
                )
        total, size = sum(member.file_size for member in members), self.path.stat().st_size
        if total > size or len({member.filename for member in members}) < len(members):
            raise CheckpointError(f"{self.path}: {total} bytes of members in a file of {size}, or members twice")
        pickles = [member.filename for member in members if member.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(f"{self.path}: no data.pkl in it; not a checkpoint of torch.save")
        prefix = pickles[0].removesuffix("data.pkl")
        self._sizes = {member.filename: member.file_size for member in members}
        if prefix + "byteorder" in self._sizes and self._read(prefix + "byteorder", 16).strip() != b"little":
            raise CheckpointError(f"{self.path}: was saved on a big-endian machine; save it again on another one")
        return prefix

    def _read(self, name: str, limit: int) -> bytes:
        """A member, whole; raises CheckpointError where it is missing, damaged or larger than ``limit`` bytes."""
        try:
            if self._zip.getinfo(name).file_size > limit:
                raise CheckpointError(f"{self.path}: {name} has more than {limit} bytes")
            return self._zip.read(name)
        except KeyError:
            raise CheckpointError(f"{self.path}: no {name} in it") from None
        # Of a damaged archive zipfile raises errors of many kinds.
        except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(f"{self.path}: {name} is damaged ({error})") from error

    def content(self) -> Any:
        """What was saved, with StoredTensor for tensors and Placeholder for objects that are not needed."""
        data = self._read(self._prefix + "data.pkl", _LARGEST_PICKLE)
        try:
            return restricted_load(data, _resolve, self._storage)
        except PickleError as error:
            raise CheckpointError(f"{self.path}: {error}") from error

    def _storage(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise PickleError(f"it refers to {pid!r:.60}, which is no storage")
        _, dtype, key, _, numel = pid
        if dtype not in _STORAGES.values() or not isinstance(key, str):
            raise PickleError(f"a storage of {dtype!r:.40} by the name {key!r:.40}")
        member, (count,) = f"{self._prefix}data/{key}", _whole_numbers((numel,))
        expected = count * _number_type(dtype).itemsize
        if member not in self._sizes or self._sizes[member] != expected:
            raise PickleError(f"{member} has {self._sizes.get(member, 'no')} bytes, expected {expected}")
        return _Storage(dtype, member, count)

    def array(self, tensor: StoredTensor) -> np.ndarray:
        """The numbers of a tensor: floats of any precision as float32, others in their own type.

        Raises CheckpointError where they are missing or damaged.
        """
        stored = _number_type(tensor.dtype)
        data = self._read(tensor.member, tensor.numel * stored.itemsize)
        strides = [step * stored.itemsize for step in tensor.strides]
        array = np.ndarray(tensor.shape, stored, data, tensor.offset * stored.itemsize, strides)
        if tensor.dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(array, dtype=np.float32 if tensor.is_float else stored).reshape(tensor.shape)
