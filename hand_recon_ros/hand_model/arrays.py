"""The arrays of a hand model file in MANO's layout: reading, checking, mirroring, closing the mesh."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile

import numpy as np

from ..geometry.rotations import nearest_rotations
from ..skeleton import mirror_points
from .kinematics import mirror_frames
from .refit import FILE_SHAPES, HandRefit

MANO_VERTICES = 778
_MANO_TIPS = np.array([744, 320, 443, 554, 671])
"""Fingertip vertices of MANO, thumb to little finger, as in smplx."""
_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f", "hands_mean")
_LARGEST_NUMBER = 2.0**40
"""Of a hand model file, more than any vertex number, and small enough to compute with in single precision."""
_LARGEST = 2**28
"""Bytes of a hand model file's arrays, at most: MANO's have 5 MB."""
_KINTREE = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)


class HandModelError(ValueError):
    """A hand model file that cannot be used; the message names the file, what is wrong and what was expected."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandArrays:
    """One hand as in MANO's file; joints in MANO's order, vertices V, triangles F.

    Attributes:
        template: vertices of the flat hand (V, 3), metres.
        shapedirs: (V, 3, 10), metres per unit of beta.
        posedirs: (V, 3, 135), metres per element of (R - 1) of the 15 finger joints.
        regressor: joints from vertices (16, V).
        weights: skin weights (V, 16).
        faces: (F, 3) int32, counter-clockwise from outside, wrist closed.
        tips: fingertip vertices, thumb to little finger (5,).
        hands_mean: MANO's mean pose (45,), only for poses given relative to it.
        joint_frames: (16, 3, 3) in the order of skeleton.JOINT_NAMES, or None where the file has none.
        wrist_loop: vertices around the wrist's end, in order.
        shape_names: what each beta does, or empty.
        refit: how the hand relates to the embedded one, or None where the file does not say.
    """

    template: np.ndarray
    shapedirs: np.ndarray
    posedirs: np.ndarray
    regressor: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    tips: np.ndarray
    hands_mean: np.ndarray
    joint_frames: np.ndarray | None
    wrist_loop: np.ndarray
    shape_names: tuple[str, ...]
    refit: HandRefit | None = None

    def mirrored(self) -> HandArrays:
        """The other hand: mirrored in the plane x = 0, with the triangles' orientation reversed."""
        signs = np.array([-1.0, 1.0, 1.0])
        # A mirrored rotation is S R S, so element (a, b) of R - 1 changes sign where exactly one of a and b is x.
        features = np.tile(np.outer(signs, signs).reshape(-1), 15)
        return dataclasses.replace(
            self,
            template=mirror_points(self.template),
            shapedirs=self.shapedirs * signs.astype(np.float32)[:, None],
            posedirs=self.posedirs * (signs[:, None] * features).astype(np.float32),
            faces=np.ascontiguousarray(self.faces[:, ::-1]),
            hands_mean=(self.hands_mean.reshape(-1, 3) * np.array([1.0, -1.0, -1.0])).reshape(-1),
            joint_frames=None if self.joint_frames is None else mirror_frames(self.joint_frames),
            wrist_loop=self.wrist_loop[::-1].copy(),
            refit=None if self.refit is None else self.refit.mirrored(),
        )


def read_arrays(path: pathlib.Path) -> HandArrays:
    """The hand model in ``path`` (.npz or .safetensors); raises HandModelError where it is not one.

    Nothing is unpickled: a file that holds Python objects is refused.
    """
    return checked_arrays(_read_raw(path), path)


def checked_arrays(raw: dict[str, np.ndarray], path: pathlib.Path) -> HandArrays:
    """The hand model that arrays with MANO's names are; raises HandModelError where they are none. ``path`` is the
    file that a message names."""
    missing = [name for name in _NEEDED if name not in raw]
    if missing:
        raise HandModelError(f"{path}: no {', '.join(missing)} in it; expected MANO's arrays {', '.join(_NEEDED)}")
    vertices = raw["v_template"].size // 3
    expected = {
        "v_template": (vertices, 3),
        "posedirs": (vertices, 3, 135),
        "J_regressor": (16, vertices),
        "weights": (vertices, 16),
        "hands_mean": (45,),
        "kintree_table": (2, 16),
    }
    for name, shape in expected.items():
        if raw[name].shape != shape:
            raise HandModelError(f"{path}: {name} has shape {raw[name].shape}, expected {shape}")
    if raw["shapedirs"].ndim != 3 or raw["shapedirs"].shape[:2] != (vertices, 3) or raw["shapedirs"].shape[2] < 10:
        raise HandModelError(f"{path}: shapedirs has shape {raw['shapedirs'].shape}, expected ({vertices}, 3, 10)")
    for name in {*_NEEDED, "joint_frames"} & set(raw):
        if raw[name].dtype.kind not in "fiu":
            raise HandModelError(f"{path}: {name} holds {raw[name].dtype}, expected numbers")
        if not np.all(np.abs(raw[name].astype(np.float64)) < _LARGEST_NUMBER):  # also where it is NaN
            raise HandModelError(f"{path}: {name} holds numbers that are not finite, or huge")
    parents = raw["kintree_table"][0].astype(np.int64)
    if tuple(parents[1:]) != _KINTREE[1:]:
        raise HandModelError(f"{path}: kintree_table has parents {parents.tolist()}, expected MANO's {list(_KINTREE)}")
    if raw["f"].ndim != 2 or raw["f"].shape[1] != 3 or not len(raw["f"]):
        raise HandModelError(f"{path}: f must be (F, 3) triangles of {vertices} vertices, got shape {raw['f'].shape}")
    faces = _vertex_numbers(raw["f"], "f", vertices, path).astype(np.int32)
    if "tip_vertices" in raw:
        tips = _vertex_numbers(raw["tip_vertices"], "tip_vertices", vertices, path)
        if tips.shape != (5,):
            raise HandModelError(f"{path}: tip_vertices has shape {tips.shape}, expected (5,)")
    elif vertices == MANO_VERTICES:
        tips = _MANO_TIPS
    else:
        raise HandModelError(
            f"{path}: {vertices} vertices are not MANO's {MANO_VERTICES}, so the file must name its fingertips: "
            "tip_vertices, five vertex indices from thumb to little finger"
        )
    try:
        loop = boundary_loop(faces)
    except HandModelError as error:
        raise HandModelError(f"{path}: {error}") from None
    if loop.size:
        faces = np.concatenate([faces, _disc(loop)])
    else:
        loop = _vertex_numbers(raw.get("wrist_loop", loop), "wrist_loop", vertices, path).reshape(-1)
    return HandArrays(
        template=raw["v_template"].astype(np.float32),
        shapedirs=raw["shapedirs"][:, :, :10].astype(np.float32),
        posedirs=raw["posedirs"].astype(np.float32),
        regressor=raw["J_regressor"].astype(np.float64),
        weights=raw["weights"].astype(np.float32),
        faces=faces,
        tips=tips,
        hands_mean=raw["hands_mean"].astype(np.float64),
        joint_frames=_frames(raw["joint_frames"], path) if "joint_frames" in raw else None,
        wrist_loop=loop,
        shape_names=tuple(str(name) for name in np.ravel(raw.get("shape_names", ()))),
        refit=_refit(raw, path),
    )


def _vertex_numbers(stored: np.ndarray, name: str, vertices: int, path: pathlib.Path) -> np.ndarray:
    """Indices of vertices as int64."""
    if stored.dtype.kind not in "fiu" or not np.all((stored >= 0) & (stored < vertices)):
        raise HandModelError(f"{path}: {name} must hold numbers of {vertices} vertices")
    return stored.astype(np.int64)


def _refit(raw: dict[str, np.ndarray], path: pathlib.Path) -> HandRefit | None:
    """The re-fit that ``hand-recon import-mano`` has stored, if any."""
    if "parent_frames" not in raw:
        return None
    arrays = {}
    for name, shape in FILE_SHAPES.items():
        if name not in raw or raw[name].shape != shape or raw[name].dtype.kind != "f":
            raise HandModelError(f"{path}: {name} of the re-fit is missing or not of shape {shape}: import it again")
        arrays[name] = raw[name].astype(np.float64)
        if not np.all(np.abs(arrays[name]) < _LARGEST_NUMBER):
            raise HandModelError(f"{path}: {name} holds numbers that are not finite, or huge")
    for name in ("joint_frames", "parent_frames"):
        arrays[name] = _frames(arrays[name], path, name)
    return HandRefit(**arrays)


def _frames(stored: np.ndarray, path: pathlib.Path, name: str = "joint_frames") -> np.ndarray:
    """The stored frames as rotations, orthonormal in double precision."""
    if stored.shape != (16, 3, 3):
        raise HandModelError(f"{path}: {name} has shape {stored.shape}, expected (16, 3, 3)")
    frames = nearest_rotations(stored)
    if not np.allclose(frames, stored, atol=1e-3) or np.any(np.linalg.det(frames) < 0.0):
        raise HandModelError(f"{path}: {name} must be rotation matrices with the axes as columns")
    return frames


def _read_raw(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise HandModelError(f"{path}: no such hand model file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise HandModelError(f"{path}: not a .safetensors file ({error})") from error
    if path.suffix != ".npz":
        raise HandModelError(
            f"{path}: expected a hand model as .npz or .safetensors; `hand-recon import-mano` converts MANO's .pkl"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                raise HandModelError(f"{path}: holds more than {_LARGEST >> 20} MB, which no hand model does")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except HandModelError:
        raise
    # Of a damaged archive zipfile, zlib and NumPy raise errors of many kinds.
    except Exception as error:
        raise HandModelError(f"{path}: not a plain .npz of arrays ({' '.join(str(error).split())})") from error


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """Vertices of the only hole of a mesh, in the direction that closes it; empty for a closed mesh.

    Raises HandModelError for more than one hole.
    """
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    following = {b: a for a, b in edges if (b, a) not in edges}
    if not following:
        return np.zeros(0, np.int64)
    loop = [min(following)]
    while (vertex := following.get(loop[-1])) not in (loop[0], None):
        loop.append(vertex)
        if len(loop) > len(following):
            break
    if len(loop) != len(following):
        raise HandModelError(f"the mesh has more than one hole: {len(following)} open edges, one rim has {len(loop)}")
    return np.array(loop)


def _disc(loop: np.ndarray) -> np.ndarray:
    """Triangles (N - 2, 3) that close a convex rim, as a zigzag strip, without new vertices."""
    triangles, low, high = [], 0, len(loop) - 1
    while high - low >= 2:
        triangles.append((loop[low], loop[low + 1], loop[high]))
        low += 1
        if high - low >= 2:
            triangles.append((loop[low], loop[high - 1], loop[high]))
            high -= 1
    return np.array(triangles, np.int32)
