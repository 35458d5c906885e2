"""Reads the skinned mesh of a binary glTF 2.0 file (Khronos glTF 2.0 specification, section 4.4)."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np

_DTYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MAGIC, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclasses.dataclass(frozen=True)
class SkinnedMesh:
    """Vertices (V, 3), faces (F, 3), weights (V, J) and, per joint, its name and world pose (J, 4, 4) at rest."""

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    joint_names: tuple[str, ...]
    joint_poses: np.ndarray


def read_skinned_mesh(content: bytes) -> SkinnedMesh:
    """The only mesh of a .glb file, with vertices that differ in nothing but texture or normal merged.

    Raises ValueError where the content is not a binary glTF 2.0 file with one skinned triangle mesh.
    """
    document, binary = _chunks(content)
    primitives = [primitive for mesh in document["meshes"] for primitive in mesh["primitives"]]
    skins = document.get("skins", [])
    if len(primitives) != 1 or len(skins) != 1:
        raise ValueError(f"expected one skinned mesh, got {len(primitives)} meshes and {len(skins)} skins")
    attributes, skin = primitives[0]["attributes"], skins[0]

    def read(accessor: int) -> np.ndarray:
        return _accessor(document, binary, accessor)

    positions = read(attributes["POSITION"]).astype(np.float64)
    slots, slot_weights = read(attributes["JOINTS_0"]), read(attributes["WEIGHTS_0"]).astype(np.float64)
    weights = np.zeros((len(positions), len(skin["joints"])))
    for slot in range(4):
        np.add.at(weights, (np.arange(len(positions)), slots[:, slot]), slot_weights[:, slot])
    faces = read(primitives[0]["indices"]).reshape(-1, 3).astype(np.int64)

    _, first, merged = np.unique(positions, axis=0, return_index=True, return_inverse=True)
    keep = np.sort(first)
    position_of = np.empty(len(keep), np.int64)
    position_of[np.argsort(first)] = np.arange(len(keep))
    merged = position_of[merged.reshape(-1)]
    # The rest pose of a joint is the inverse of its inverse bind matrix (stored column by column).
    poses = np.linalg.inv(read(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64))
    names = tuple(document["nodes"][node]["name"] for node in skin["joints"])
    return SkinnedMesh(positions[keep], merged[faces], weights[keep], names, poses)


def _chunks(content: bytes) -> tuple[dict, bytes]:
    if len(content) < 20 or struct.unpack_from("<II", content) != (_MAGIC, 2):
        raise ValueError("not a binary glTF 2.0 file")
    chunks, offset = {}, 12
    while offset + 8 <= len(content):
        length, kind = struct.unpack_from("<II", content, offset)
        chunks[kind] = content[offset + 8 : offset + 8 + length]
        offset += 8 + length
    if _JSON_CHUNK not in chunks or _BINARY_CHUNK not in chunks:
        raise ValueError("binary glTF file without a JSON or a binary chunk")
    return json.loads(chunks[_JSON_CHUNK]), chunks[_BINARY_CHUNK]


def _accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    if "byteStride" in view or "sparse" in accessor:
        raise ValueError(f"accessor {index}: interleaved and sparse accessors are not supported")
    width = _WIDTHS[accessor["type"]]
    offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    values = np.frombuffer(binary, _DTYPES[accessor["componentType"]], accessor["count"] * width, offset)
    return values.reshape(-1, width) if width > 1 else values
