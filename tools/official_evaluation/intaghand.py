"""The evaluation scripts of IntagHand (Dw1010/IntagHand) and DIR (PengfeiRen96/DIR), from checkouts.

They are scripts for a GPU, which read single precision: here they run on the CPU in double precision, with a network
that returns given meshes and a data set that returns given hands.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from hand_recon_ros.evaluation.protocols.protocol import INTAGHAND_TIPS, joint_regressors, regressed
from hand_recon_ros.skeleton import WRIST
from hand_recon_ros.types import Side

from .checkouts import CheckoutError, imports, stubs
from .hands import VERTICES, RandomHands

_OFFSET_UNIT = 0.15
"""Metres of DIR's predicted offset between the hands."""


def intaghand(root: Path, hands: RandomHands) -> dict[str, float]:
    """The figures that IntagHand prints, mm."""

    class Network(_Network):
        def result(self, meshes: dict[str, Any], offset: Any) -> Any:
            return {"verts3d": meshes}, None, None, None

    found = _run(root / "apps" / "eval_interhand.py", hands, Network(hands), [])
    return _means(found)


def dir_(root: Path, hands: RandomHands, joint: int) -> dict[str, float]:
    """The figures that DIR prints with a root joint, 0 or 9, mm."""

    class Network(_Network):
        def result(self, meshes: dict[str, Any], offset: Any) -> Any:
            stage = {f"pd_mesh_xyz_{side}": mesh for side, mesh in meshes.items()}
            return [None, None, {**stage, "pd_offset": offset / _OFFSET_UNIT}], None

    found = _run(root / "apps" / "eval.py", hands, Network(hands), ["--root_joint", str(joint)])
    return {**_means(found), "mrrpe_mm": float(found["root_mean_loss"])}


def _means(found: dict[str, Any]) -> dict[str, float]:
    return {
        "mpjpe_mm": float(found["joints_mean_loss_left"] + found["joints_mean_loss_right"]) / 2,
        "mpvpe_mm": float(found["verts_mean_loss_left"] + found["verts_mean_loss_right"]) / 2,
    }


class _Network:
    """Returns the predicted meshes in order, each with its wrist at the origin, and the place of the right wrist."""

    def __init__(self, hands: RandomHands) -> None:
        assert hands.predicted.vertices is not None
        wrists = regressed(hands.predicted.vertices, joint_regressors(hands.model, INTAGHAND_TIPS))[:, :, WRIST]
        self._vertices, self._wrists = hands.predicted.vertices - wrists[:, :, None], wrists
        self._done = 0

    def __call__(self, images: Any, *others: Any) -> Any:
        import torch

        count = len(images["img"] if isinstance(images, dict) else images)
        chosen = slice(self._done, self._done + count)
        self._done += count
        meshes = {side.label: torch.from_numpy(self._vertices[chosen, side]) for side in Side}
        offset = torch.from_numpy(self._wrists[chosen, Side.RIGHT] - self._wrists[chosen, Side.LEFT])
        return self.result(meshes, offset)

    def result(self, meshes: dict[str, Any], offset: Any) -> Any:
        raise NotImplementedError

    def cuda(self) -> Any:
        return self

    def eval(self) -> Any:
        return self

    def load_state_dict(self, state: Any, strict: bool = True) -> None:
        pass


class _Data:
    """The data set's class: hands without pictures."""

    def __init__(self, hands: RandomHands) -> None:
        self._hands = hands

    def __len__(self) -> int:
        return len(self._hands.truth.joints)

    def __getitem__(self, number: int) -> Any:
        truth = self._hands.truth
        assert truth.vertices is not None
        picture = np.zeros((8, 8, 3), dtype=np.uint8)
        hands = {
            side.label: {
                "joints3d": truth.joints[number, side], "verts3d": truth.vertices[number, side],
                "joints2d": np.zeros((21, 2)), "verts2d": np.zeros((VERTICES, 2)), "camera": np.eye(3),
            }
            for side in Side
        }  # fmt: skip
        return picture, picture, picture, hands


def _run(script: Path, hands: RandomHands, network: _Network, options: list[str]) -> dict[str, Any]:
    """The global variables with which a script ends."""
    import torch

    if not script.is_file():
        raise CheckoutError(f"no such file in the checkout: {script}")

    class Layer:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.J_regressor = torch.from_numpy(hands.regressor)

        def get_faces(self) -> None:
            return None

    paths = {side.label: "" for side in Side}
    data = {"fix_shape": lambda layers: None, "InterHand_dataset": lambda *arguments, **named: _Data(hands)}
    replaced = stubs(
        "models", "utils", "dataset", "utils.config", "utils.vis_utils",
        torchvision={}, torchvision__transforms={"Normalize": lambda **named: lambda picture: picture},
        models__model={"load_model": lambda path: network}, models__dir={"DIR": lambda *arguments: network},
        models__manolayer={"ManoLayer": Layer}, utils__utils={"get_mano_path": lambda: paths},
        dataset__dataset_utils={"IMG_SIZE": 8, "cut_img": None}, dataset__interhand=data,
    )  # fmt: skip
    replaced["torchvision"].transforms = replaced["torchvision.transforms"]
    with imports(script.parents[1], [], replaced), _on_cpu_in_double_precision():
        with mock.patch.object(sys, "argv", [str(script), *options]):
            return runpy.run_path(str(script), run_name="__main__")


@contextlib.contextmanager
def _on_cpu_in_double_precision() -> Iterator[None]:
    import torch

    loader = torch.utils.data.DataLoader

    def in_this_process(data: Any, **options: Any) -> Any:
        return loader(data, **{**options, "num_workers": 0, "pin_memory": False})

    with (
        mock.patch.object(torch.Tensor, "cuda", lambda self: self),
        mock.patch.object(torch.Tensor, "to", lambda self, device: self),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        mock.patch.object(torch.utils.data, "DataLoader", in_this_process),
        mock.patch.object(torch, "load", lambda *arguments, **named: {"net": {}}),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield
