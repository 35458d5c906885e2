#!/usr/bin/env python3
"""Compare HaMeR and WiLoR with their public code, on random weights and random images.

    git clone https://github.com/geopavlakos/hamer && git clone https://github.com/rolpotamias/WiLoR
    .venv/bin/pip install einops        # the only package of theirs that is needed
    .venv/bin/python tools/compare_hand_networks.py --hamer hamer --wilor WiLoR

For each network and depth: the public class is built with random weights and saved as a Lightning checkpoint with
its settings; `hand-recon import-checkpoint` converts that, and our network is loaded from the result. Printed is the
largest difference of pose (16 rotation matrices), betas and camera between the public `forward_step` and ours, in
float32, and beside it how far these numbers vary from image to image. What the public code imports and does not need
here (Lightning, renderers, smplx, timm, yacs) is replaced by small stand-ins, and MANO by the embedded hand in both.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hand_recon_ros.encode.mano_encoder import mano_mesh
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.checkpoint_import import import_checkpoint
from hand_recon_ros.models.hand_networks import network_from
from hand_recon_ros.models.rotations import matrix_from_6d
from hand_recon_ros.models.wilor import WilorNetwork

FULL_DEPTH = 32
TOLERANCE = 1e-4
MESH = mano_mesh(load_hand_model())


def vertices(rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    """The embedded hand instead of MANO, for both."""
    return torch.from_numpy(np.asarray(MESH(rotations.detach().numpy(), betas.detach().numpy())))


class Settings(dict):
    """yacs' CfgNode: a dictionary whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


Settings.__module__, Settings.__qualname__, Settings.__name__ = "yacs.config", "CfgNode", "CfgNode"


class LightningModule(nn.Module):
    """Lightning's, without a trainer."""

    def save_hyperparameters(self, **_: Any) -> None:
        """Nothing."""


class Mano(nn.Module):
    """Their MANO layer, with a buffer that a checkpoint has as well."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.register_buffer("v_template", torch.zeros(778, 3))

    def forward(self, global_orient: Any, hand_pose: Any, betas: Any, pose2rot: bool) -> Any:
        shown = vertices(torch.cat([global_orient, hand_pose], dim=1), betas)
        return types.SimpleNamespace(vertices=shown, joints=shown[:, :21])


def module(name: str, **values: Any) -> types.ModuleType:
    result = types.ModuleType(name)
    result.__dict__.update(values)
    sys.modules[name] = result
    return result


def pair(value: Any) -> tuple[Any, Any]:
    """timm's to_2tuple."""
    return value if isinstance(value, tuple) else (value, value)


@contextlib.contextmanager
def stand_ins(checkout: Path, package: str) -> Iterator[None]:
    """Modules that the public code imports; everything that was imported meanwhile is forgotten afterwards."""
    before = dict(sys.modules)
    pass_on = types.SimpleNamespace(rank_zero_only=lambda function: function)
    utilities = module("pytorch_lightning.utilities", rank_zero=pass_on, rank_zero_only=lambda function: function)
    module("pytorch_lightning", LightningModule=LightningModule, utilities=utilities)
    module("yacs", config=module("yacs.config", CfgNode=Settings))
    module("timm.models.layers", drop_path=None, to_2tuple=pair, trunc_normal_=nn.init.trunc_normal_)
    for name in ("timm", "timm.models"):
        module(name)
    folder = checkout / package
    if not (folder / "models").is_dir():
        raise SystemExit(f"{checkout}: no {package}/models in it")
    # Packages without running their __init__, which imports everything.
    module(package, __path__=[str(folder)])
    module(f"{package}.models", __path__=[str(folder / "models")], MANO=Mano)
    module(f"{package}.utils", __path__=[str(folder / "utils")], SkeletonRenderer=None, MeshRenderer=None)
    try:
        yield
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


def settings(mean_parameters: Path) -> Settings:
    """The part of the published settings that the networks read."""
    decoder = Settings(depth=6, heads=8, mlp_dim=1024, dim_head=64, dropout=0.0, emb_dropout=0.0, norm="layer",
                       context_dim=1280)  # fmt: skip
    return Settings(
        MODEL=Settings(
            IMAGE_SIZE=256,
            BACKBONE=Settings(TYPE="vit"),
            MANO_HEAD=Settings(TYPE="transformer_decoder", TRANSFORMER_DECODER=decoder),
        ),
        MANO=Settings(NUM_HAND_JOINTS=15, MEAN_PARAMS=str(mean_parameters)),
        EXTRA=Settings(FOCAL_LENGTH=5000),
        LOSS_WEIGHTS=Settings(ADVERSARIAL=0.0005),
    )


def public_network(package: str, depth: int, folder: Path) -> tuple[nn.Module, Settings]:
    """The public class with random weights; its transformer is cut to ``depth`` blocks."""
    generator = np.random.default_rng(0)
    mean = folder / "mean.npz"
    pose = generator.normal(size=96).astype(np.float32)
    np.savez(mean, pose=pose, shape=generator.normal(size=10) * 0.3, cam=np.array([0.9, 0.02, -0.03]))
    config = settings(mean)
    name = {"hamer": "HAMER", "wilor": "WiLoR"}[package]
    network = getattr(importlib.import_module(f"{package}.models.{package}"), name)(config, init_renderer=False).eval()
    network.backbone.blocks = network.backbone.blocks[:depth]
    for block in network.backbone.blocks:
        block.drop_path = nn.Identity()
    with torch.no_grad():
        for entry, value in network.named_buffers():
            if entry.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
        for entry, value in network.named_parameters():
            if entry.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                value.uniform_(0.5, 1.5)
            # Larger than by default, so that the outputs depend on the image and an error would show.
            if ".dec" in entry and entry.endswith("weight") and "deconv" not in entry:
                value.mul_(3.0)
    return network, config


def compared(package: str, checkout: Path, depth: int, images: int) -> float:
    """Largest difference for one network and depth; prints a row."""
    with tempfile.TemporaryDirectory() as scratch, stand_ins(checkout, package):
        folder = Path(scratch)
        torch.manual_seed(0)
        public, config = public_network(package, depth, folder)
        checkpoint = folder / f"{package}.ckpt"
        torch.save({"epoch": 0, "state_dict": public.state_dict(), "hyper_parameters": {"cfg": config}}, checkpoint)
        imported = import_checkpoint(checkpoint)
        checkpoint.unlink()
        crops = torch.randn(images, 3, 256, 256)
        with torch.inference_mode():
            output = public.forward_step({"img": crops})
            del public
            ours = network_from(imported.path)
            shown = crops[..., 32:-32]
            hand = ours(shown, vertices) if isinstance(ours, WilorNetwork) else ours(shown)
    theirs = output["pred_mano_params"]
    pairs = {
        "pose": (torch.cat([theirs["global_orient"], theirs["hand_pose"]], dim=1),
                 matrix_from_6d(hand.pose.unflatten(1, (16, 6)))),
        "betas": (theirs["betas"], hand.betas),
        "camera": (output["pred_cam"], hand.camera),
    }  # fmt: skip
    differences = {name: float((a - b).abs().max()) for name, (a, b) in pairs.items()}
    spreads = {name: float(a.std(dim=0).mean()) for name, (a, _) in pairs.items()}
    cells = "  ".join(f"{name} {differences[name]:.1e} (varies by {spreads[name]:.1e})" for name in pairs)
    print(
        f"{package:6} {depth:2} blocks, {imported.tensors} tensors, {len(imported.dropped)} left out:  {cells}",
        flush=True,
    )
    return max(differences.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hamer", type=Path, help="checkout of geopavlakos/hamer")
    parser.add_argument("--wilor", type=Path, help="checkout of rolpotamias/WiLoR")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, FULL_DEPTH], help="blocks (default: %(default)s)")
    parser.add_argument("--images", type=int, default=3, help="random images (default: %(default)s)")
    options = parser.parse_args()
    begin = time.monotonic()
    checkouts = {"hamer": options.hamer, "wilor": options.wilor}
    largest = [
        compared(package, checkout, depth, options.images)
        for package, checkout in checkouts.items()
        if checkout is not None
        for depth in options.depths
    ]
    if not largest:
        parser.error("give --hamer, --wilor or both")
    print(f"largest difference {max(largest):.1e}, limit {TOLERANCE:.0e}; {time.monotonic() - begin:.0f} s")
    return 0 if max(largest) < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
