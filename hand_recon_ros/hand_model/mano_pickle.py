"""Reading pickles with arrays in them, of NumPy, chumpy, scipy and joblib, without running anything that they name.

A pickle is a program. This unpickler knows the names in MANO's published files and in copies that other tools save, and
replaces each by a holder of its own: neither NumPy's, scipy's nor anybody else's code is called with what a file says.
Every other name is refused, with the name.
"""

from __future__ import annotations

import ast
import io
import math
import pickle
import zlib
from typing import Any

import numpy as np

from .arrays import HandModelError
from .restricted_pickle import plain_module
from .sparse_matrices import LARGEST, SPARSE, Sparse, dense_matrix

LARGEST_FILE = 2**28
"""Bytes of a file, also of what a compressed one unpacks to: MANO's have 4 MB."""
_NPY_MAGIC = b"\x93NUMPY"
_ZLIB_MAGIC = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b")
_COMPRESSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x5d\x00": "lzma", b"\x04\x22\x4d\x18": "lz4"}


def unpickled(data: bytes) -> Any:
    """What is in a pickle (protocols 0 to 5), a joblib file (plain, zlib or gzip), or a .npy file of one object.

    Arrays come as :class:`StoredArray`, scipy's matrices as :class:`Sparse`, chumpy's objects as holders:
    :func:`plain_array` makes arrays of them. Raises HandModelError, and whatever damaged files make pickle raise.
    """
    for magic, name in _COMPRESSED.items():
        if data.startswith(magic):
            raise HandModelError(f"it is compressed with {name}: unpack it first")
    if data.startswith(_ZLIB_MAGIC):
        data = _inflated(data)
    if data.startswith(_NPY_MAGIC):
        return _npy(data)
    return _RestrictedUnpickler(io.BytesIO(data)).load()


def npy_array(data: bytes) -> Any:
    """The content of a member of an .npz file: a :class:`StoredArray`, or what a pickled one holds."""
    if not data.startswith(_NPY_MAGIC):
        raise HandModelError("it is not a .npy file")
    return _npy(data)


def plain_array(value: Any) -> np.ndarray:
    """The array that a stored value stands for; raises TypeError where it is none, ValueError where it is huge."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, StoredArray):
        return value.array()
    if isinstance(value, _Value):
        return plain_array(value.state["x"])
    if isinstance(value, _Selection):
        whole, chosen = plain_array(value.state["a"]).reshape(-1), plain_array(value.state["idxs"]).astype(np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= whole.size):
            raise ValueError(f"it selects elements {chosen.min()} to {chosen.max()} of {whole.size}")
        shape = value.state.get("preferred_shape")
        return whole[chosen] if shape is None else whole[chosen].reshape(_shape(shape))
    if isinstance(value, Sparse):
        return dense_matrix(value, plain_array)
    if isinstance(value, np.generic):
        return np.asarray(value)
    raise TypeError(f"a {type(value).__name__} instead of an array")


class _Type:
    """A dtype as a file states it; its state tells the byte order and nothing else that counts."""

    def __init__(self, code: Any, *_: Any) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin1")
        if not isinstance(code, str):
            raise HandModelError(f"an array of type {type(code).__name__}")
        self.dtype = _simple_dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise HandModelError("an array with fields, which a MANO file does not hold")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise HandModelError(f"an array in the byte order {order!r}")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder("<" if order == "<" else ">")


def _simple_dtype(code: str) -> np.dtype[Any]:
    """The dtype of a code such as 'f8' or '<U4': numbers, text, truth values, or objects."""
    kind = code.lstrip("<>|=")
    if not kind or len(kind) > 8 or kind[0] not in "fiubOSU" or not (kind[1:] or "0").isdigit():
        raise HandModelError(f"an array of type {code!r}")
    return np.dtype("O") if kind[0] == "O" else np.dtype(code)


class StoredArray:
    """An array as a file states it, not made before :meth:`array` has checked it against its bytes."""

    shape: tuple[int, ...] = ()
    dtype: Any = None
    content: Any = None
    fortran = False

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise HandModelError(f"an array with a state of type {type(state).__name__}")
        shape, dtype, self.fortran, self.content = state[-4:]
        self.shape = _shape(shape)
        if not isinstance(dtype, _Type):
            raise HandModelError(f"an array of type {type(dtype).__name__}")
        self.dtype = dtype.dtype

    def array(self) -> np.ndarray:
        """The array, a view of the file's bytes; raises ValueError where these are not as many as its shape says."""
        if self.dtype is None:
            raise ValueError("an array without contents")
        if math.prod(self.shape) > LARGEST:
            raise ValueError(f"an array of shape {self.shape}")
        order = "F" if self.fortran else "C"
        if self.dtype.kind == "O":
            if not isinstance(self.content, list) or len(self.content) != math.prod(self.shape):
                raise ValueError(f"an array of shape {self.shape} with other than as many objects")
            objects = np.empty(len(self.content), dtype=object)
            for i, value in enumerate(self.content):
                objects[i] = value
            return objects.reshape(self.shape, order=order)  # type: ignore[call-overload]
        content = self.content.encode("latin1") if isinstance(self.content, str) else self.content
        if not isinstance(content, (bytes, bytearray)):
            raise ValueError(f"an array of {type(content).__name__}")
        if len(content) != math.prod(self.shape) * self.dtype.itemsize:
            raise ValueError(f"an array of shape {self.shape} and type {self.dtype} in {len(content)} bytes")
        return np.frombuffer(content, dtype=self.dtype).reshape(self.shape, order=order)  # type: ignore[call-overload]

    def single(self) -> Any:
        """The object in an array of objects with one element, or the array itself."""
        if self.dtype is not None and self.dtype.kind == "O" and math.prod(self.shape) == 1:
            return self.array().reshape(-1)[0]
        return self


def _shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, StoredArray):
        shape = shape.array().reshape(-1).tolist()
    if not isinstance(shape, (tuple, list)) or len(shape) > 8:
        raise HandModelError("an array whose shape is none")
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise HandModelError(f"an array of shape {sizes}")
    return sizes


class _Holder:
    """Placeholder for an object of chumpy: has its saved state and no behaviour."""

    kind = ""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __new__(cls, *_: Any) -> _Holder:
        holder = super().__new__(cls)
        holder.state = {}
        return holder

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            state = {key: value for part in state if isinstance(part, dict) for key, value in part.items()}
        if not isinstance(state, dict):
            raise HandModelError(f"a {self.kind} object with a state of type {type(state).__name__}")
        self.state = state


class _Value(_Holder):
    kind = "chumpy.ch.Ch"


class _Selection(_Holder):
    kind = "chumpy.reordering.Select"


class _Wrapper(_Holder):
    """joblib's announcement that the next bytes of the file are an array's."""

    kind = "joblib.numpy_pickle.NumpyArrayWrapper"


_HOLDERS = (_Holder, Sparse, StoredArray, _Type)


def _buffer_array(buffer: Any, dtype: Any, shape: Any, order: Any = "C") -> StoredArray:
    """numpy's _frombuffer, by which protocol 5 makes an array of bytes."""
    if order not in ("C", "F") or not isinstance(dtype, _Type):
        raise HandModelError(f"an array in the order {order!r}")
    result = StoredArray()
    result.__setstate__((shape, dtype, order == "F", buffer))
    return result


def _number(dtype: Any, content: Any = b"") -> Any:
    """numpy's scalar: one number or truth value."""
    if not isinstance(dtype, _Type) or dtype.dtype.kind == "O":
        raise HandModelError("a number of no type")
    result = StoredArray()
    result.__setstate__(((1,), dtype, False, content))
    return result.array()[0]


def _new_holder(kind: Any, base: Any = None, state: Any = None) -> Any:
    """copyreg._reconstructor for holders only: how Python 2 makes an object without calling its constructor."""
    if not (isinstance(kind, type) and issubclass(kind, (_Holder, Sparse))):
        raise HandModelError(f"it makes an object of {kind!r}, which a MANO file does not hold")
    holder = kind()
    if isinstance(holder, Sparse) and isinstance(state, dict):  # a dok_matrix, which is a dict of its elements
        holder.items.update(state)
    return holder


def _encode(text: Any, encoding: Any = "") -> bytes:
    """_codecs.encode for the one encoding in which Python 3 writes old bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise HandModelError(f"it encodes {type(text).__name__} as {encoding!r}, which a MANO file does not")
    return text.encode("latin1")


def _bytes(*content: Any) -> bytes:
    """bytes and bytearray of what is bytes already, or of nothing: of a number they would allocate."""
    if len(content) > 1 or not all(isinstance(part, (bytes, bytearray)) for part in content):
        raise HandModelError("it makes bytes of what is none")
    return bytes(content[0]) if content else b""


def _dictionary(*pairs: Any) -> dict[Any, Any]:
    return dict(*pairs)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): StoredArray,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy.core.numeric", "_frombuffer"): _buffer_array,
    ("numpy", "ndarray"): StoredArray,
    ("numpy", "matrix"): StoredArray,
    ("numpy.matrixlib.defmatrix", "matrix"): StoredArray,
    ("numpy", "dtype"): _Type,
    # The type of a matrix's elements, where it is stored beside them.
    **{("numpy", f"{kind}{bits}"): None for kind in ("float", "int", "uint") for bits in (8, 16, 32, 64)},
    ("chumpy.ch", "Ch"): _Value,
    ("chumpy.reordering", "Select"): _Selection,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
    **{
        (module, f"{kind}_{name}"): holder
        for kind, holder in SPARSE.items()
        for module in ("scipy.sparse", f"scipy.sparse.{kind}", f"scipy.sparse._{kind}")
        for name in ("matrix", "array")
    },
    ("builtins", "object"): object,
    ("builtins", "dict"): dict,
    ("builtins", "set"): set,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("collections", "OrderedDict"): _dictionary,
    ("copyreg", "_reconstructor"): _new_holder,
    ("_codecs", "encode"): _encode,
}


class _RestrictedUnpickler(pickle._Unpickler):
    """Knows the names in ``_ALLOWED`` and no others, and gives a state to holders only.

    Written in Python: joblib's arrays lie between the pickle's own bytes, and its memo has no size that a file states.
    """

    stack: list[Any]
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        """The holder of an allowed name; raises HandModelError for any other one."""
        plain = plain_module(module)
        try:
            return _ALLOWED[plain, name]
        except KeyError:
            raise HandModelError(
                f"it refers to {plain}.{name}, which a MANO file does not; refused, since a pickle could run anything"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        """No object lies outside of the file."""
        raise HandModelError(f"it refers to an object outside of the file, {str(pid)[:40]!r}; refused")

    def get_extension(self, code: int) -> None:
        """No name has a number."""
        raise HandModelError(f"it refers to the extension {code} of another program; refused")

    def load_build(self) -> None:
        state, holder = self.stack.pop(), self.stack[-1]
        if not isinstance(holder, _HOLDERS):
            raise HandModelError(
                f"it changes the state of {getattr(holder, '__name__', type(holder).__name__)}; refused"
            )
        holder.__setstate__(state)
        if isinstance(holder, _Wrapper):
            self.stack[-1] = self._inline_array(holder.state)

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        self.append(self.read(size))  # type: ignore[attr-defined]

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8  # type: ignore[assignment]

    def _inline_array(self, state: dict[str, Any]) -> StoredArray:
        """The array whose bytes follow in a joblib file."""
        shape, dtype = _shape(state.get("shape")), state.get("dtype")
        if not isinstance(dtype, _Type):
            raise HandModelError(f"an array of type {type(dtype).__name__}")
        if dtype.dtype.kind == "O":
            content: Any = _RestrictedUnpickler(self._file).load()
            return content if isinstance(content, StoredArray) else _wrong("an array of objects")
        if state.get("numpy_array_alignment_bytes") is not None:
            self._file.read(self._file.read(1)[0])
        result = StoredArray()
        result.__setstate__((shape, dtype, state.get("order") == "F", b""))
        result.content = self._file.read(min(math.prod(shape), LARGEST) * dtype.dtype.itemsize)
        return result


def _wrong(what: str) -> Any:
    raise HandModelError(f"{what} that is none")


def _inflated(data: bytes) -> bytes:
    """The content of zlib's or gzip's compression, of at most LARGEST_FILE bytes."""
    packed = zlib.decompressobj(wbits=47)  # either header
    content = packed.decompress(data, LARGEST_FILE)
    if packed.unconsumed_tail:
        raise HandModelError(f"it unpacks to more than {LARGEST_FILE >> 20} MB, which no hand model does")
    if not packed.eof:
        raise HandModelError("it is cut off: its compressed data have no end")
    return content


def _npy(data: bytes) -> Any:
    """The array of a .npy file (NumPy's format 1 to 3), or the single object in it."""
    width = 2 if data[6:7] == b"\x01" else 4
    size = int.from_bytes(data[8 : 8 + width], "little")
    start = 8 + width
    if size > 10_000:
        raise HandModelError(f"its header has {size} bytes")
    header = ast.literal_eval(data[start : start + size].decode("latin1"))
    if not isinstance(header, dict) or not {"descr", "fortran_order", "shape"} <= set(header):
        raise HandModelError("its header does not describe an array")
    if not isinstance(header["descr"], str):
        raise HandModelError("an array with fields, which a MANO file does not hold")
    dtype = _Type(header["descr"])
    if dtype.dtype.kind == "O":
        content = unpickled(data[start + size :])
        return content.single() if isinstance(content, StoredArray) else content
    result = StoredArray()
    result.__setstate__((header["shape"], dtype, bool(header["fortran_order"]), data[start + size :]))
    return result
