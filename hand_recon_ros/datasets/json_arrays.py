"""Large JSON files of many arrays of numbers, which are parsed one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .annotations import AnnotationError

CHUNK = 1 << 22
_LONGEST = 1 << 22
"""Bytes of an array's text, at most: a mesh of 778 vertices has 60 kB."""
_OPEN, _CLOSE = b"[]"
_EXPECTED = "expected a list of arrays of numbers"
_ALLOWED = b"0123456789+-.eE[], \t\r\nNaInfity"


class JsonArrays:
    """A JSON file with a list of arrays of numbers, such as [[[1, 2], [3, 4]], [[5, 6], [7, 8]]].

    Of the file only the places of the arrays are kept, so that the 32,560 meshes of FreiHAND take no memory and any
    process may read any of them.
    """

    def __init__(self, path: Path, chunk: int = CHUNK) -> None:
        """Look for the arrays, reading ``chunk`` bytes at a time; raises AnnotationError where the file is missing, cut
        off, or holds anything else."""
        self.path = path
        try:
            self._begins, self._ends = _places(path, chunk)
        except OSError as error:
            raise AnnotationError(f"{path}: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self._begins)

    def numbers(self, index: int, *shapes: tuple[int, ...]) -> np.ndarray:
        """Array ``index``, float64; raises AnnotationError where it has none of the shapes, of which -1 is any extent,
        or holds a number that is not finite."""
        begin, end = int(self._begins[index]), int(self._ends[index])
        name = f"{self.path}: array {index}"
        if end - begin > _LONGEST:
            raise AnnotationError(f"{name}: {end - begin} bytes, more than any annotation has")
        try:
            with self.path.open("rb") as file:
                file.seek(begin)
                numbers = np.array(json.loads(file.read(end - begin)), dtype=np.float64)
        except OSError as error:
            raise AnnotationError(f"{self.path}: {error.strerror or error}") from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise AnnotationError(f"{name}: no numbers of one shape ({error})") from error
        if not any(_fits(numbers.shape, shape) for shape in shapes):
            expected = " or ".join(" x ".join("N" if n < 0 else str(n) for n in shape) for shape in shapes)
            got = " x ".join(map(str, numbers.shape))
            raise AnnotationError(f"{name}: expected {expected} numbers, got {got}")
        if not np.isfinite(numbers).all():
            raise AnnotationError(f"{name}: holds a number that is not finite")
        return numbers


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(e in (-1, n) for n, e in zip(shape, expected, strict=True))


def _places(path: Path, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """First byte and end of every array in the outermost list (N,) int64."""
    begins, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    depth, offset = 0, 0
    with path.open("rb") as file:
        while text := file.read(chunk):
            if others := text.translate(None, _ALLOWED):
                place = offset + text.index(others[:1])
                raise AnnotationError(f"{path}: {_EXPECTED}, got something else at byte {place}")
            data = np.frombuffer(text, dtype=np.uint8)
            places = np.flatnonzero((data == _OPEN) | (data == _CLOSE))
            opens = data[places] == _OPEN
            after = depth + np.cumsum(np.where(opens, 1, -1))
            begins.append(places[opens & (after == 2)] + offset)
            ends.append(places[~opens & (after == 1)] + offset + 1)
            depth = int(after[-1]) if len(after) else depth
            offset += len(text)
    first, last = np.concatenate(begins), np.concatenate(ends)
    if depth != 0 or len(first) != len(last) or not len(first):
        raise AnnotationError(f"{path}: {_EXPECTED}; it is empty, or cut off")
    _check_between(path, first, last)
    return first, last


def _check_between(path: Path, begins: np.ndarray, ends: np.ndarray) -> None:
    """Raise AnnotationError where anything but a comma is between two arrays, or but brackets around all."""
    gaps = zip([0, *ends.tolist()], [*begins.tolist(), path.stat().st_size], strict=True)
    expected = [b"[", *[b","] * (len(begins) - 1), b"]"]
    with path.open("rb") as file:
        for (begin, end), text in zip(gaps, expected, strict=True):
            file.seek(begin)
            if end - begin > _LONGEST or file.read(max(end - begin, 0)).strip() != text:
                raise AnnotationError(f"{path}: {_EXPECTED}, got something else at byte {begin}")
