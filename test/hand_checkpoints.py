"""Small networks of HaMeR's and WiLoR's architecture, their checkpoints in the official layout, and MANO stand-ins."""

from __future__ import annotations

import collections
import sys
import types
from pathlib import Path

import numpy as np
import torch

from hand_recon_ros import Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.arrays import MANO_VERTICES
from hand_recon_ros.models.hamer import HamerConfig
from hand_recon_ros.models.hand_networks import Config, make_network
from hand_recon_ros.models.vit import VitConfig
from hand_recon_ros.models.wilor import WilorConfig

VIT = VitConfig(dim=80, depth=2, mlp_dim=96)
CONFIGS: dict[str, Config] = {
    "hamer": HamerConfig(VIT, dim=64, depth=2, heads=2, mlp_dim=48),
    "wilor": WilorConfig(VIT),
}


def small_network(name: str, seed: int = 0) -> torch.nn.Module:
    """A network with random weights, buffers included, whose camera looks like that of a hand."""
    torch.manual_seed(seed)
    network = make_network(CONFIGS[name]).eval()
    with torch.no_grad():
        for entry, value in network.state_dict().items():
            if value.is_floating_point() and "norm" not in entry and "deconv" not in entry and ".net." not in entry:
                value.normal_(0.0, 0.1)
            if entry.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            if entry.endswith("init_cam"):
                value.copy_(torch.tensor([[0.9, 0.01, -0.02]]))
    return network


def official_state(network: torch.nn.Module) -> collections.OrderedDict[str, torch.Tensor]:
    """The state_dict as in a published file: with an embedded MANO, a discriminator and the flag of the training."""
    state = network.state_dict()
    state["mano.v_template"] = torch.zeros(778, 3)
    state["mano.J_regressor"] = torch.zeros(16, 778)
    state["discriminator.D_conv1.weight"] = torch.zeros(32, 9, 1, 1)
    state["initialized"] = torch.tensor(False)
    return state


def write_checkpoint(path: Path, state: dict[str, torch.Tensor], **changes: object) -> Path:
    """A Lightning checkpoint with pickled settings: a yacs node, and states of callbacks by class."""
    kinds = {"yacs.config": "CfgNode", "pytorch_lightning.callbacks.model_checkpoint": "ModelCheckpoint"}
    made = {}
    packages = {".".join(name.split(".")[:depth]) for name in kinds for depth in range(1, name.count(".") + 2)}
    before = {name: sys.modules.get(name) for name in packages}
    try:
        sys.modules.update({name: types.ModuleType(name) for name in packages})
        for module, name in kinds.items():
            bases = (dict,) if name == "CfgNode" else ()
            made[name] = type(name, bases, {"__module__": module})
            setattr(sys.modules[module], name, made[name])
        settings = made["CfgNode"](MODEL=made["CfgNode"](IMAGE_SIZE=256, IMAGE_MEAN=[0.485, 0.456, 0.406]))
        settings.__dict__["__immutable__"] = True
        content = {
            "epoch": 3,
            "global_step": np.int64(1000),
            "pytorch-lightning_version": "1.8.1",
            "state_dict": state,
            "callbacks": {made["ModelCheckpoint"]: {"best_model_score": torch.tensor(1.0), "dirpath": Path("logs")}},
            "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-5}]}],
            "hyper_parameters": {"cfg": settings, "dtype": torch.float32, "tags": {"dev"}},
            **changes,
        }
        torch.save(content, path)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return path


MANO_TIPS = np.array([744, 320, 443, 554, 671])
_PARENTS = np.array([2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])


def write_mano(folder: Path) -> Path:
    """MANO_RIGHT.npz: the embedded hand with MANO's number of vertices and MANO's fingertips.

    Its closed surface is simplified; 16 more vertices, of no triangle, are the joints. Their frames are in the file.
    """
    arrays = load_hand_model().arrays(Side.RIGHT)
    fixed = {*arrays.tips.tolist(), *arrays.wrist_loop.tolist()}
    kept, faces = simplified(arrays.template, arrays.faces, MANO_VERTICES - 16, fixed)
    kept = [vertex for vertex in kept if vertex not in arrays.tips]
    free = [place for place in range(MANO_VERTICES) if place not in MANO_TIPS]
    places = np.array([*free[: len(kept)], *MANO_TIPS])
    joints = np.array(free[len(kept) :])
    order = np.array([*kept, *arrays.tips])
    place_of = dict(zip(order.tolist(), places.tolist(), strict=True))
    stored = {"v_template": arrays.template, "shapedirs": arrays.shapedirs, "posedirs": arrays.posedirs}
    stored = {name: value.astype(np.float64) for name, value in {**stored, "weights": arrays.weights}.items()}
    at_joints = {name: np.tensordot(arrays.regressor, value, 1) for name, value in stored.items()}
    at_joints["posedirs"][:], at_joints["weights"] = 0.0, np.eye(16)
    result = {}
    for name, value in stored.items():
        result[name] = np.zeros((MANO_VERTICES, *value.shape[1:]))
        result[name][places], result[name][joints] = value[order], at_joints[name]
    regressor = np.zeros((16, MANO_VERTICES))
    regressor[np.arange(16), joints] = 1.0
    triangles = np.array([[place_of[vertex] for vertex in face] for face in faces])
    path = folder / "MANO_RIGHT.npz"
    loop = np.array([place_of[vertex] for vertex in arrays.wrist_loop.tolist()])
    np.savez(path, **result, J_regressor=regressor, kintree_table=np.array([_PARENTS, np.arange(16)]), f=triangles,
             hands_mean=np.zeros(45), wrist_loop=loop, joint_frames=arrays.joint_frames)  # fmt: skip
    return path


def simplified(
    template: np.ndarray, faces: np.ndarray, count: int, fixed: set[int]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Vertices and triangles of a closed surface after its shortest edges were collapsed; it stays closed."""
    triangles = {tuple(face) for face in faces.tolist()}
    around: dict[int, set[tuple[int, ...]]] = {vertex: set() for vertex in range(len(template))}
    for face in triangles:
        for vertex in face:
            around[vertex].add(face)

    def neighbours(vertex: int) -> set[int]:
        return {other for face in around[vertex] for other in face} - {vertex}

    edges = sorted(
        {tuple(sorted(edge)) for a, b, c in triangles for edge in ((a, b), (b, c), (c, a))},
        key=lambda edge: float(np.linalg.norm(template[edge[0]] - template[edge[1]])),
    )
    while len(around) > count:
        for a, b in edges:
            if a in around and b in around and b not in fixed and len(neighbours(a) & neighbours(b)) == 2:
                if b in neighbours(a):
                    break
        else:
            raise AssertionError("no edge can be collapsed")
        for face in around.pop(b):
            triangles.discard(face)
            for vertex in set(face) - {b}:
                around[vertex].discard(face)
            moved = tuple(a if vertex == b else vertex for vertex in face)
            if len(set(moved)) == 3:
                triangles.add(moved)
                for vertex in moved:
                    around[vertex].add(moved)
    return sorted(around), sorted(triangles)
