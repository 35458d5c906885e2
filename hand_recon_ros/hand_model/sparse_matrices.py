"""The sparse matrices of scipy as pickles hold them, made dense with every index checked; scipy is not needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import HandModelError

LARGEST = 2**24
"""Elements of an array, at most: MANO's have less than a million."""


class Sparse:
    """Placeholder for a matrix of ``scipy.sparse``: has its saved state and no behaviour."""

    kind = ""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}
        self.items: dict[Any, Any] = {}

    def __new__(cls, *_: Any) -> Sparse:
        holder = super().__new__(cls)
        holder.state, holder.items = {}, {}
        return holder

    def __setitem__(self, key: Any, value: Any) -> None:
        """One element of a dok_matrix of old versions, which is a dict."""
        self.items[key] = value

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            state = {key: value for part in state if isinstance(part, dict) for key, value in part.items()}
        if not isinstance(state, dict):
            raise HandModelError(f"a scipy.sparse matrix with a state of type {type(state).__name__}")
        self.state = state


SPARSE = {kind: type(kind, (Sparse,), {"kind": kind}) for kind in ("csc", "csr", "coo", "lil", "bsr", "dok", "dia")}


def dense_matrix(matrix: Sparse, plain: Callable[[Any], np.ndarray]) -> np.ndarray:
    """The matrix (N, M) float64; elements stored twice are summed, as scipy does.

    Args:
        matrix: as it was stored.
        plain: makes an array of what the matrix's parts are stored as.

    Raises ValueError where an index lies outside of the matrix, and whatever the parts of damaged ones raise.
    """
    state = matrix.state
    shape = tuple(int(n) for n in state["_shape"] if not isinstance(n, str))
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] > LARGEST:
        raise ValueError(f"a matrix of shape {shape}")
    rows, columns, data = _READERS[matrix.kind](matrix, shape, plain)
    rows, columns, data = np.asarray(rows), np.asarray(columns), np.asarray(data)
    if not len(rows) == len(columns) == len(data):
        raise ValueError(f"{len(data)} elements at {len(rows)} rows and {len(columns)} columns")
    if data.dtype.kind not in "fiub":
        raise ValueError(f"elements of type {data.dtype}")
    for name, index, size in (("rows", rows, shape[0]), ("columns", columns, shape[1])):
        if len(index) and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= size):
            raise ValueError(f"{name} that are not of the {size} there are")
    dense = np.zeros(shape)
    np.add.at(dense, (rows.astype(np.int64), columns.astype(np.int64)), data)
    return dense


_Elements = tuple[Any, Any, Any]


def _coo(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    state = matrix.state
    rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
    return plain(rows), plain(columns), plain(state["data"])


def _lil(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    columns, values = (plain(matrix.state[name]) for name in ("rows", "data"))
    lists = [*columns.ravel(), *values.ravel()]
    if len(columns) != shape[0] or not all(isinstance(each, list) for each in lists):
        raise ValueError(f"{len(columns)} lists of columns for {shape[0]} rows")
    if sum(len(each) for each in lists) > 2 * LARGEST:
        raise ValueError("more elements than a hand has")
    counts = [len(each) for each in columns]
    flat = [
        np.array(list(itertools.chain.from_iterable(part)), dtype=kind)
        for part, kind in ((columns, int), (values, float))
    ]
    return np.repeat(np.arange(shape[0]), counts), flat[0], flat[1]


def _starts(
    matrix: Sparse, count: int, plain: Callable[[Any], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many elements each of ``count`` rows (or columns) has, their indices, and the elements."""
    starts, index, data = (plain(matrix.state[name]) for name in ("indptr", "indices", "data"))
    starts = starts.astype(np.int64)
    if len(starts) != count + 1:
        raise ValueError(f"{len(starts)} starts for {count} rows or columns")
    if starts[0] != 0 or starts[-1] > len(data) or np.any(np.diff(starts) < 0):
        raise ValueError(f"starts that are not of {len(data)} elements")
    return np.repeat(np.arange(count), np.diff(starts)), index[: starts[-1]], data[: starts[-1]]


def _csr(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    return _starts(matrix, shape[0], plain)


def _csc(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    columns, rows, data = _starts(matrix, shape[1], plain)
    return rows, columns, data


def _bsr(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    blocks = plain(matrix.state["data"])
    if blocks.ndim != 3 or min(blocks.shape[1:]) < 1 or shape[0] % blocks.shape[1] or shape[1] % blocks.shape[2]:
        raise ValueError(f"blocks of shape {blocks.shape} in a matrix of {shape}")
    height, width = blocks.shape[1:]
    rows, columns, blocks = _starts(matrix, shape[0] // height, plain)
    across = np.broadcast_arrays(
        rows[:, None, None] * height + np.arange(height)[:, None],
        columns.astype(np.int64)[:, None, None] * width + np.arange(width),
        blocks,
    )
    return tuple(each.reshape(-1) for each in across)  # type: ignore[return-value]


def _dok(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    items = matrix.state.get("_dict", matrix.items)
    if not isinstance(items, dict) or not all(isinstance(key, tuple) and len(key) == 2 for key in items):
        raise ValueError("elements without a row and a column")
    places = np.array([[int(n) for n in key] for key in items], dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1], np.array([float(value) for value in items.values()])


def _dia(matrix: Sparse, shape: tuple[int, ...], plain: Callable[[Any], np.ndarray]) -> _Elements:
    diagonals, offsets = plain(matrix.state["data"]), plain(matrix.state["offsets"]).astype(np.int64)
    if diagonals.ndim != 2 or offsets.shape != (len(diagonals),) or diagonals.size > LARGEST:
        raise ValueError(f"diagonals of shape {diagonals.shape} with {offsets.size} offsets")
    columns = np.broadcast_to(np.arange(diagonals.shape[1]), diagonals.shape)
    rows = columns - offsets[:, None]
    # What a diagonal has outside of the matrix is no element of it.
    inside = (rows >= 0) & (rows < shape[0]) & (columns < shape[1])
    return rows[inside], columns[inside], diagonals[inside]


_READERS: dict[str, Callable[[Sparse, tuple[int, ...], Callable[[Any], np.ndarray]], _Elements]] = {
    "coo": _coo, "lil": _lil, "csr": _csr, "csc": _csc, "bsr": _bsr, "dok": _dok, "dia": _dia,
}  # fmt: skip
