"""FreiHAND's eval.py, from a checkout of lmb-freiburg/freihand."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from .checkouts import imports, load, stubs, variables


class _PointCloud:
    points: np.ndarray


def _nearest(cloud: _PointCloud, other: _PointCloud) -> np.ndarray:
    return cdist(cloud.points, other.points).min(axis=1)


OPEN3D = {
    "PointCloud": _PointCloud,
    "Vector3dVector": np.asarray,
    "compute_point_cloud_to_point_cloud_distance": _nearest,
}
"""What eval.py needs of open3d, in a version that no current Python has: distances to the nearest neighbour."""


def scores(
    root: Path, joints: np.ndarray, vertices: np.ndarray, true_joints: np.ndarray, true_vertices: np.ndarray
) -> dict[str, float]:
    """The scores under the names of its scores.txt, of the exact values."""
    if not hasattr(np, "trapz"):  # removed from NumPy 2.4
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
    # The file of curves is made with Python 2's strings.
    with imports(root, ["."], stubs("pip", open3d=OPEN3D)), tempfile.TemporaryDirectory() as folder:
        module = load(root / "eval.py", "freihand_eval")
        module.db_size = lambda set_name: len(true_joints)
        module.createHTML = lambda *arguments: None
        for name, content in (
            ("evaluation_xyz", true_joints.tolist()),
            ("evaluation_verts", true_vertices.tolist()),
            ("pred", [joints.tolist(), vertices.tolist()]),
        ):
            Path(folder, f"{name}.json").write_text(json.dumps(content))
        found = variables(module.main, folder, folder, folder)
    names = itertools.product(("xyz", "mesh"), ("_", "_al_"), ("mean3d", "auc3d"))
    scores = {name: float(found[name]) for name in map("".join, names)}
    for number, name in enumerate(("5", "15")):
        scores[f"f_score_{name}"] = float(found["f_score"][number].mean())
        scores[f"f_al_score_{name}"] = float(found["f_score_aligned"][number].mean())
    return scores
