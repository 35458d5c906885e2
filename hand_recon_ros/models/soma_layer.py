"""The hand layer of SOMA-X, from its package and a local folder of its assets, and its conversion to a hand model.

The layer is made by the package itself (py-soma-x, 0.3.4): it reads a rig in USD, leaves joints out of it and derives
what moves the joints with the shape, none of which should be made twice. It then hands out plain arrays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..geometry.rotations import nearest_rotations
from ..hand_model import HandModel, HandModelError
from ..hand_model.hand_files import checked_model, write_hands
from ..hand_model.refit import HandRefit
from ..hand_model.soma_correctives import CorrectiveErrors, fitted_correctives
from ..hand_model.soma_errors import SomaErrors, soma_errors
from ..hand_model.soma_import import SomaHand, check_joints, soma_arrays
from ..types import Side

LODS = ("low", "mid")
"""Levels of detail: 718 and 2859 vertices."""
_HAND, _NEUTRAL, _RIG = "SOMAHand.npz", "SOMA_neutral.npz", "SOMA_template_rig.usda"
_DEFINITION, _CORRECTIVES = "SOMA_procedural_transforms.json", "correctives_model.pt"
_OF_SIDE = (
    *("vert_ids", "triangles", "boundary_loop", "hand_joint_ids_global", "joint_parent_ids"),
    "wrist_global_id",
)
_NEEDED = {
    _HAND: (
        *(f"{side.label}_{name}" for side in Side for name in _OF_SIDE),
        *("left_mean", "left_shapedirs", "left_eigenvalues"),
    ),
    _NEUTRAL: ("lod_mid_to_low",),
}
"""The arrays that the layer reads of each file; the right hand's shapes are the left one's, mirrored."""
_POINTER = b"version https://git-lfs"
_PACKAGE = "py-soma-x"


@dataclasses.dataclass(frozen=True)
class ImportedSoma:
    """What was imported.

    Attributes:
        path: of soma_right.npz, for ``load_hand_model``.
        vertices, components: of SOMA's hand.
        errors: of the converted hands without pose correctives, by ``right`` and ``left``.
        correctives: of the pose correctives; None where the folder has none.
        refit: for each hand what its re-fit to the embedded hand leaves, metres and radians; None where there is none.
    """

    path: Path
    vertices: int
    components: int
    errors: dict[str, SomaErrors]
    correctives: dict[str, CorrectiveErrors | None]
    refit: dict[str, tuple[float, float] | None]


def import_soma(
    folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, lod: str = "low"
) -> ImportedSoma:
    """Convert both hands of SOMA-X, and measure how much the converted ones differ from them.

    Args:
        folder: of SOMA-X's assets, with SOMAHand.npz in it. Nothing is downloaded.
        out: folder for soma_right.npz and soma_left.npz; None is the folder of the assets.
        lod: level of detail, of ``LODS``.

    Raises:
        HandModelError: a file is missing or not as expected, or the package is not installed.
    """
    folder = Path(folder).expanduser()
    check_assets(folder)
    layers = {side: SomaLayer(folder, side, lod) for side in (Side.RIGHT, Side.LEFT)}
    target = folder if out is None else Path(out).expanduser()
    targets = {side: target / f"soma_{side.label}.npz" for side in layers}
    arrays = {side: soma_arrays(layer.hand) for side, layer in layers.items()}
    correctives: dict[str, CorrectiveErrors | None] = {side.label: None for side in layers}
    for side, layer in layers.items():
        if layer.has_correctives:
            arrays[side]["posedirs"], correctives[side.label] = fitted_correctives(
                layer.hand, layer.vertices, layer.corrected_vertices
            )
    try:
        model = checked_model("soma", arrays, dict.fromkeys(layers, folder / _HAND))
    except HandModelError as error:
        raise HandModelError(f"{error} (lod {lod}; {' and '.join(LODS)} are other meshes)") from None
    for side in layers:
        check_joints(model, side)
    write_hands(model, arrays, targets)
    return ImportedSoma(
        path=targets[Side.RIGHT],
        vertices=model.num_vertices,
        components=len(layers[Side.RIGHT].hand.directions),
        errors={
            side.label: soma_errors(layer.hand, layer.vertices, _skinned_only(model)) for side, layer in layers.items()
        },
        correctives=correctives,
        refit={side.label: _left_over(model.refit(side)) for side in layers},
    )


def check_assets(folder: Path) -> None:
    """Raise HandModelError, which names them, where files or arrays that the hand layer reads are missing."""
    if not folder.is_dir():
        raise HandModelError(f"{folder}: no such folder; expected SOMA-X's assets, with {_HAND} in it")
    missing = [name for name in (_HAND, _NEUTRAL, _RIG) if not (folder / name).is_file()]
    # Without the definition of the twist joints, an older SOMA_neutral.npz must name the joints of the skeleton.
    if not (folder / _DEFINITION).is_file() and (_NEUTRAL in missing or "joint_names" not in _names(folder / _NEUTRAL)):
        missing.append(_DEFINITION)
    if missing:
        raise HandModelError(f"{folder}: no {', '.join(missing)} in it; nothing is downloaded")
    for name, needed in _NEEDED.items():
        absent = sorted(set(needed) - _names(folder / name))
        if absent:
            raise HandModelError(f"{folder / name}: no {', '.join(absent)} in it; expected the assets of SOMA-X 0.3")
    for name in (_RIG, _DEFINITION, _CORRECTIVES):
        if (folder / name).is_file():
            _refuse_pointer(folder / name)


def _names(path: Path) -> set[str]:
    """Names of the arrays of an .npz file."""
    _refuse_pointer(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise HandModelError(f"{path}: not an .npz file ({error})") from error


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise HandModelError(f"{path}: a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`")


class SomaLayer:
    """One hand of the package's layer.

    Attributes:
        hand: what it is made of.
        has_correctives: whether the folder has its pose correctives.
    """

    def __init__(self, folder: Path, side: Side, lod: str) -> None:
        """Raises HandModelError where the package cannot be used or refuses the assets; see :func:`check_assets`."""
        if lod not in LODS:
            raise HandModelError(f"lod must be one of {', '.join(LODS)}, got {lod!r}")
        if importlib.util.find_spec("soma") is None:
            raise HandModelError(f"needs the package {_PACKAGE}, which is not installed: pip install {_PACKAGE}")
        correctives = folder / _CORRECTIVES if (folder / _CORRECTIVES).is_file() else None
        self.has_correctives = correctives is not None
        with _prints_to_stderr(), torch.no_grad():
            try:
                from soma import SOMAHandLayer
            except ImportError as error:
                raise HandModelError(f"the package soma cannot be used: expected {_PACKAGE} 0.3 ({error})") from error
            try:
                self._layer = SOMAHandLayer(
                    data_root=folder, hand_type=side.label, device="cpu", mode="dense", lod=lod,
                    correctives_model_path=correctives,
                )  # fmt: skip
                self.hand = self._arrays(side)
            # The package raises what NumPy, USD and torch do of files that are damaged.
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise HandModelError(
                    f"{folder}: {_PACKAGE} cannot make the {side.label} hand of it ({reason})"
                ) from error

    def _arrays(self, side: Side) -> SomaHand:
        layer, transfer = self._layer, self._layer.skeleton_transfer
        count = layer.num_shape_components
        shapes = layer.get_rest_shape(torch.cat([torch.zeros(1, count), torch.eye(count)])).double().numpy()
        regressor = np.zeros((transfer.num_joints, shapes.shape[1]))
        for row, used, weights, place in zip(
            regressor, transfer.regressor_mask.T, transfer.joint_pos_regressors, transfer.bind_world_transforms,
            strict=True,
        ):  # fmt: skip
            row[used.numpy()] = weights.get_basis_weights(place[:3, 3]).double().numpy()
        return SomaHand(
            side=side,
            joint_names=tuple(layer.rig_data["joint_names"]),
            template=shapes[0],
            directions=shapes[1:] - shapes[0],
            regressor=regressor,
            weights=layer.skinning_weights.double().numpy(),
            faces=layer.faces.numpy(),
        )

    def bind_rotations(self, coefficients: np.ndarray) -> np.ndarray:
        """Orientations (B, 25, 3, 3) of the joints in the bind pose of shapes (B, K), in the wrist's frame."""
        with _prints_to_stderr(), torch.no_grad():
            shapes = self._layer.get_rest_shape(torch.as_tensor(coefficients, dtype=torch.float32))
            fitted = self._layer.skeleton_transfer.fit(shapes)
        return np.asarray(nearest_rotations(fitted[..., :3, :3].double().numpy()))

    def vertices(self, orientations: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """The layer's vertices (B, V, 3), metres, the wrist at the origin, by linear blend skinning alone.

        Args:
            orientations: of the joints (B, 25, 3, 3), which turn their frames of the bind pose of the shaped hand, in
                the wrist's frame; the wrist's is the hand's.
            coefficients: of the shape (B, K).
        """
        return self._posed(orientations, coefficients, correctives=False)

    def corrected_vertices(self, orientations: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """The same with pose correctives."""
        return self._posed(orientations, coefficients, correctives=True)

    def _posed(self, orientations: np.ndarray, coefficients: np.ndarray, correctives: bool) -> np.ndarray:
        turned = orientations @ self.bind_rotations(coefficients)
        parents = self._layer.joint_parent_ids.numpy()
        local = np.swapaxes(turned[:, parents], -1, -2) @ turned
        root = parents == np.arange(len(parents))
        local[:, root] = turned[:, root]
        with _prints_to_stderr(), torch.no_grad():
            posed = self._layer(
                torch.as_tensor(local, dtype=torch.float32), torch.as_tensor(coefficients, dtype=torch.float32),
                pose2rot=False, absolute_pose=True, apply_correctives=correctives,
            )  # fmt: skip
        return np.asarray(posed.vertices.double().numpy())


@contextlib.contextmanager
def _prints_to_stderr() -> Iterator[None]:
    """What warp prints when it starts and compiles is no result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _skinned_only(model: HandModel) -> HandModel:
    """The same hands without pose correctives."""
    right, left = (
        dataclasses.replace(
            model.arrays(side),
            posedirs=np.zeros_like(model.arrays(side).posedirs),
            joint_frames=model.kinematics(side).joint_frames,
            refit=model.refit(side),
        )
        for side in (Side.RIGHT, Side.LEFT)
    )
    return HandModel(model.name, right, left)


def _left_over(refit: HandRefit | None) -> tuple[float, float] | None:
    return None if refit is None else (float(refit.refit_errors[0]), float(refit.refit_errors[1]))
