"""The vertices of meshes in .ply files, ASCII or binary, and files of meshes.

A reader of its own, because loading a data set needs no mesh library, and because libraries may merge vertices and
follow the names of textures in a file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .annotations import AnnotationError

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
_FORMATS = ("ascii", "binary_little_endian")
_LONGEST_HEADER = 1 << 14
_MOST_VERTICES = 100_000
_LARGEST = 1 << 26
"""Bytes of a file, at most."""


def read_vertices(path: Path) -> np.ndarray:
    """The vertices of a mesh (V, 3) float64, in the file's order; raises AnnotationError.

    Vertices are the file's first element, with x, y and z among their properties. What follows them is not looked at.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise AnnotationError(f"{path}: larger than any mesh of a hand")
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror or error}") from error
    text_format, count, properties, start = _header(path, data)
    if text_format == "ascii":
        rows = _ascii_rows(path, data[start:], count, len(properties))
        vertices = rows[:, [list(properties).index(axis) for axis in "xyz"]]
    else:
        dtype = np.dtype([(name, "<" + kind) for name, kind in properties.items()])
        if len(data) - start < count * dtype.itemsize:
            raise AnnotationError(f"{path}: cut off: expected {count} vertices")
        rows = np.frombuffer(data, dtype, count, start)
        vertices = np.stack([rows[axis].astype(np.float64) for axis in "xyz"], axis=1)
    if not np.isfinite(vertices).all():
        raise AnnotationError(f"{path}: a vertex is not finite")
    return vertices


def _header(path: Path, data: bytes) -> tuple[str, int, dict[str, str], int]:
    """Format, number of vertices, NumPy types of their properties, and where the vertices begin."""
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    start = data.find(b"\n", end) + 1
    lines = [line.decode("ascii", "replace").split() for line in data[: max(end, 0)].splitlines()]
    lines = [line for line in lines if line and line[0] not in ("comment", "obj_info")]
    if end < 0 or not start or len(lines) < 3 or lines[0] != ["ply"]:
        raise AnnotationError(f"{path}: no header of a .ply file")
    if len(lines[1]) != 3 or lines[1][0] != "format" or lines[1][1] not in _FORMATS:
        raise AnnotationError(f"{path}: expected format {' or '.join(_FORMATS)}, got {' '.join(lines[1])!r:.80}")
    element = lines[2]
    if element[:2] != ["element", "vertex"] or len(element) != 3 or not element[2].isdecimal() or len(element[2]) > 9:
        raise AnnotationError(f"{path}: expected vertices as the first element, got {' '.join(element)!r:.80}")
    count = int(element[2])
    if not 1 <= count <= _MOST_VERTICES:
        raise AnnotationError(f"{path}: {count} vertices, expected 1 to {_MOST_VERTICES}")
    properties: dict[str, str] = {}
    for line in lines[3:]:
        if line[0] == "element":
            break
        if line[0] != "property" or len(line) != 3 or line[1] not in _TYPES or line[2] in properties:
            raise AnnotationError(f"{path}: expected a property of the vertices, got {' '.join(line)!r:.80}")
        properties[line[2]] = _TYPES[line[1]]
    if not {"x", "y", "z"} <= set(properties):
        raise AnnotationError(f"{path}: vertices without x, y or z")
    return lines[1][1], count, properties, start


def _ascii_rows(path: Path, data: bytes, count: int, columns: int) -> np.ndarray:
    rows = [line.split() for line in data.split(b"\n", count)[:count]]
    if len(rows) < count or any(len(row) != columns for row in rows):
        raise AnnotationError(f"{path}: expected {count} lines of {columns} numbers; cut off?")
    try:
        return np.array([[float(number) for number in row] for row in rows])
    except ValueError as error:
        raise AnnotationError(f"{path}: a vertex that is no row of numbers ({error})") from error


def write_mesh(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a binary .ply file of ``vertices`` (V, 3), as float32, and triangles ``faces`` (F, 3)."""
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("vertices", "<i4", 3)])
    rows["count"], rows["vertices"] = 3, faces
    path.write_bytes(header.encode("ascii") + np.asarray(vertices, dtype="<f4").tobytes() + rows.tobytes())
