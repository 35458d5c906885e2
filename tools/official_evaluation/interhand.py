"""InterNet's evaluate(), from a checkout of facebookresearch/InterHand2.6M."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np

from hand_recon_ros.skeleton import WRIST
from hand_recon_ros.types import Side

from .checkouts import imports, load, stubs, variables
from .hands import RandomHands, both_in_interhand_order

_CONFIG = types.SimpleNamespace(
    output_hm_shape=(64, 64, 64), input_img_shape=(256, 256), bbox_3d_size=400.0,
    output_root_hm_shape=64, bbox_3d_size_root=400.0,
)  # fmt: skip
_FOCAL, _CENTRE = np.array([1500.0, 1500.0]), np.array([128.0, 128.0])


def figures(root: Path, hands: RandomHands) -> dict[str, float]:
    """The figures that it prints, mm, of the exact values."""
    with imports(root, ["common"], stubs("pycocotools", "pycocotools.coco", "utils.vis", config={"cfg": _CONFIG})):
        module = load(root / "data" / "InterHand2.6M" / "dataset.py", "interhand_dataset")
        dataset = module.Dataset.__new__(module.Dataset)
        dataset.joint_num, dataset.root_joint_idx = 21, {"right": 20, "left": 41}
        dataset.joint_type = {"right": np.arange(21), "left": np.arange(21, 42)}
        dataset.skeleton = [{"name": str(number)} for number in range(42)]
        dataset.datalist = [_annotation(hands, number) for number in range(len(hands.truth.joints))]
        found = variables(module.Dataset.evaluate, dataset, _predictions(hands))
    return {
        "mpjpe_mm": float(np.mean(found["tot_err"])),
        "mpjpe_single_mm": float(np.mean(found["mpjpe_sh"])),
        "mpjpe_interacting_mm": float(np.mean(found["mpjpe_ih"])),
        "mrrpe_mm": float(np.mean(found["mrrpe"])),
    }


def _annotation(hands: RandomHands, number: int) -> dict:
    joints, valid = 1e3 * hands.truth.joints[number], hands.valid[number].astype(np.float64)
    return {
        "bbox": None,
        "cam_param": {"focal": _FOCAL, "princpt": _CENTRE},
        "joint": {"cam_coord": both_in_interhand_order(joints), "valid": both_in_interhand_order(valid)},
        "hand_type": str(hands.truth.types[number]),
        "hand_type_valid": 1.0,
        "abs_depth": {"right": joints[Side.RIGHT, WRIST, 2], "left": joints[Side.LEFT, WRIST, 2]},
    }


def _predictions(hands: RandomHands) -> dict[str, np.ndarray]:
    """As the network has them: pixels and depths behind the true wrist in units of its heat maps."""
    predicted, roots = 1e3 * hands.predicted.joints, 1e3 * hands.truth.joints[:, :, WRIST, 2]
    pixels = predicted[..., :2] / predicted[..., 2:] * _FOCAL + _CENTRE
    maps = np.empty_like(predicted)
    maps[..., :2] = pixels / _CONFIG.input_img_shape[0] * _CONFIG.output_hm_shape[1]
    maps[..., 2] = _depth_in_map(predicted[..., 2] - roots[..., None])
    count = len(predicted)
    return {
        "joint_coord": np.stack([both_in_interhand_order(each) for each in maps]),
        "rel_root_depth": _depth_in_map(roots[:, Side.LEFT] - roots[:, Side.RIGHT]),
        "hand_type": np.ones((count, 2)),
        "inv_trans": np.tile(np.eye(3)[:2], (count, 1, 1)),
    }


def _depth_in_map(depth: np.ndarray) -> np.ndarray:
    return (depth / (_CONFIG.bbox_3d_size / 2) + 1.0) / 2 * _CONFIG.output_hm_shape[0]
