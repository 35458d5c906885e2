"""InterWild's evaluate() of InterHand2.6M and of HIC, from a checkout of facebookresearch/InterWild."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np

from hand_recon_ros.evaluation.protocols.protocol import INTERHAND_TIPS, joint_regressors, regressed
from hand_recon_ros.skeleton import WRIST
from hand_recon_ros.types import Side

from .checkouts import imports, load, stubs, variables
from .hands import RandomHands, both_in_interhand_order

_CONFIG = types.SimpleNamespace(human_model_path="", input_body_shape=(256, 192), input_img_shape=(512, 384))
_BOX = np.array([0.0, 0.0, 100.0, 100.0])


def figures(root: Path, hands: RandomHands, dataset: str) -> dict[str, float]:
    """The figures that it prints of "InterHand26M" or "HIC", mm, of the exact values."""
    import torch

    def layer(*arguments: Any, **options: Any) -> Any:
        regressor = torch.tensor(hands.regressor, dtype=torch.float32)
        return types.SimpleNamespace(J_regressor=regressor, shapedirs=torch.zeros(778, 3, 10), faces=None)

    replaced = stubs(
        "pycocotools", "pycocotools.coco", "plyfile", "utils.vis", config={"cfg": _CONFIG}, smplx={"create": layer}
    )
    with imports(root, ["common"], replaced):
        kind = getattr(load(root / "data" / dataset / f"{dataset}.py", f"interwild_{dataset.lower()}"), dataset)
        data = kind.__new__(kind)
        data.focal, data.princpt = (525.0, 525.0), (319.5, 239.5)
        data.joint_set = {
            "joint_num": 42,
            "joints_name": tuple(both_in_interhand_order(_names())),
            "joint_type": {"right": np.arange(21), "left": np.arange(21, 42)},
            "root_joint_idx": {"right": 20, "left": 41},
        }
        data.datalist = [_annotation(hands, number) for number in range(len(hands.truth.joints))]
        errors = data.evaluate(_outputs(hands, from_mesh=dataset == "HIC"), 0)
        found = variables(kind.print_eval_result, data, errors)["tot_eval_result"]
    means = {
        "mpvpe_mm": found["mpvpe_sh"] + found["mpvpe_ih"], "mpvpe_single_mm": found["mpvpe_sh"],
        "mpvpe_interacting_mm": found["mpvpe_ih"], "mrrpe_mm": found["mrrpe"],
    }  # fmt: skip
    if dataset == "InterHand26M":
        means |= {
            "mpjpe_mm": found["mpjpe_sh"] + found["mpjpe_ih"], "mpjpe_single_mm": found["mpjpe_sh"],
            "mpjpe_interacting_mm": found["mpjpe_ih"],
        }  # fmt: skip
    return {name: float(np.mean(values)) for name, values in means.items()}


def _names() -> np.ndarray:
    """InterWild's names of the keypoints (2, 21), left and right."""
    fingers = ("Thumb", "Index", "Middle", "Ring", "Pinky")
    hand = ["Wrist", *(f"{finger}_{number}" for finger in fingers for number in (1, 2, 3, 4))]
    return np.array([[f"{side}_{name}" for name in hand] for side in ("L", "R")])


def _annotation(hands: RandomHands, number: int) -> dict[str, Any]:
    kind, valid = str(hands.truth.types[number]), hands.valid[number]
    present = {
        side.label: valid[side].any() and bool(np.isfinite(hands.truth.vertices[number, side]).all()) for side in Side
    }
    return {
        "aid": number,
        "hand_type": kind,
        "joint_cam": 1e3 * both_in_interhand_order(hands.truth.joints[number]),
        "joint_trunc": both_in_interhand_order(valid.astype(np.float64))[:, None],
        "mano_param": {side: {} if there else None for side, there in present.items()},
        "rhand_bbox": _BOX.copy(),
        "lhand_bbox": _BOX.copy(),
        "right_mano_path": "right.ply" if kind != "left" else None,
        "left_mano_path": "left.ply" if kind != "right" else None,
    }


def _outputs(hands: RandomHands, from_mesh: bool) -> list[dict[str, Any]]:
    joints, vertices, truth = hands.predicted.joints, hands.predicted.vertices, np.nan_to_num(hands.truth.vertices)
    roots = joints[:, :, WRIST]
    if from_mesh:
        roots = regressed(vertices, joint_regressors(hands.model, INTERHAND_TIPS))[:, :, WRIST]
    return [
        {
            "rmano_joint_cam": joints[number, Side.RIGHT], "lmano_joint_cam": joints[number, Side.LEFT],
            "rmano_mesh_cam": vertices[number, Side.RIGHT], "lmano_mesh_cam": vertices[number, Side.LEFT],
            "mano_mesh_cam_target": np.concatenate([truth[number, Side.RIGHT], truth[number, Side.LEFT]]),
            "rel_trans": roots[number, Side.LEFT] - roots[number, Side.RIGHT],
            "bb2img_trans": np.eye(3)[:2], "rhand_bbox": _BOX.copy(), "lhand_bbox": _BOX.copy(),
        }
        for number in range(len(joints))
    ]  # fmt: skip
