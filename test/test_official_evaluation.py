"""The comparison with official evaluation codes: what it reads from a checkout, and that it fails where they differ."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

from official_evaluation import checkouts  # noqa: E402
from official_evaluation.hands import both_in_interhand_order, random_hands  # noqa: E402

from hand_recon_ros import Side  # noqa: E402
from hand_recon_ros.evaluation.protocols.protocol import joint_regressors  # noqa: E402

# A checkout of FreiHAND whose evaluation computes the raw keypoint error, and states everything else to be 0.
EVALUATION = """
import json
import numpy as np
import open3d
from utils.files import path_of

def db_size(set_name):
    raise RuntimeError("the number of images is that of the real data set")

def createHTML(output_dir, curves):
    raise RuntimeError("needs Python 2")

def main(gt_path, pred_path, output_dir):
    truth, predicted = (json.load(open(path_of(gt_path, name))) for name in ("evaluation_xyz", "pred"))
    xyz_mean3d = 100.0 * np.linalg.norm(np.array(truth) - np.array(predicted[0]), axis=-1).mean()
    xyz_auc3d = xyz_al_mean3d = xyz_al_auc3d = mesh_mean3d = mesh_auc3d = mesh_al_mean3d = mesh_al_auc3d = 0.0
    f_score = f_score_aligned = np.zeros((2, db_size("evaluation")))
    createHTML(output_dir, [])
    print("%.2f" % xyz_mean3d)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").touch()
    (tmp_path / "utils" / "files.py").write_text("def path_of(folder, name):\n    return f'{folder}/{name}.json'\n")
    (tmp_path / "eval.py").write_text(EVALUATION)
    return tmp_path


def tool():
    spec = importlib.util.spec_from_file_location(
        "compare_official_evaluation", TOOLS / "compare_official_evaluation.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_official_figures_are_those_of_the_checkouts_own_function(checkout):
    from official_evaluation.freihand import scores

    hands = random_hands(4, seed=0, pairs_only=True)
    joints, truth = hands.predicted.joints[:, Side.RIGHT], hands.truth.joints[:, Side.RIGHT]
    meshes = hands.predicted.vertices[:, Side.RIGHT]
    modules, path, folder = set(sys.modules), list(sys.path), Path.cwd()
    found = scores(checkout, joints, meshes, truth, meshes)
    assert found["xyz_mean3d"] == pytest.approx(100.0 * np.linalg.norm(joints - truth, axis=-1).mean(), abs=1e-12)
    assert len(found) == 12 and found["f_al_score_15"] == 0.0
    assert sys.path == path and Path.cwd() == folder
    assert not {name for name in set(sys.modules) - modules if name.split(".")[0] in ("utils", "open3d", "pip")}


def test_a_figure_that_differs_fails_the_comparison(checkout, capsys, monkeypatch):
    main = tool().main
    monkeypatch.setattr(sys, "argv", ["compare", "--freihand", str(checkout), "--images", "2"])
    assert main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("36 figures, largest difference") and "NOT EQUAL" in lines[-1]
    same, other = (
        [float(line.split()[-1]) for line in lines if line.startswith(name)] for name in ("xyz_mean3d", "xyz_al_mean3d")
    )
    assert len(same) == len(other) == 3 and max(same) < 1e-12 and min(other) > 0.5


def test_a_folder_that_is_no_checkout_is_named(tmp_path, capsys, monkeypatch):
    main = tool().main
    for option in ("--freihand", "--interhand", "--interwild", "--intaghand", "--dir"):
        monkeypatch.setattr(sys, "argv", ["compare", option, str(tmp_path), "--images", "6"])
        assert main() == 2
        assert f"no such file in the checkout: {tmp_path}" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["compare"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2


def test_local_variables_are_read_at_the_return():
    def evaluate(values):
        mean = sum(values) / len(values)
        mean *= 100.0
        print(f"{mean:.1f}")

    assert checkouts.variables(evaluate, [1.0, 2.0]) == {"values": [1.0, 2.0], "mean": 150.0}
    with pytest.raises(ZeroDivisionError):
        checkouts.variables(evaluate, [])


def test_random_hands_are_exact_in_single_precision_and_of_every_type():
    hands = random_hands(12, seed=0)
    for points in (hands.predicted.joints, hands.predicted.vertices):
        np.testing.assert_array_equal(1e3 * points, (points.astype(np.float32) * np.float32(1e3)).astype(np.float64))
    assert sorted(set(hands.truth.types)) == ["interacting", "left", "right"]
    assert not hands.valid[hands.truth.types == "left", Side.RIGHT].any()
    regressors = joint_regressors(hands.model, (1, 2, 3, 4, 5))
    np.testing.assert_allclose(regressors.sum(axis=-1), 1.0)
    order = both_in_interhand_order(np.arange(42).reshape(2, 21))
    assert order[[0, 3, 4, 20, 21, 41]].tolist() == [21 + 4, 21 + 1, 21 + 8, 21, 4, 0]
