"""The hand layer of the package py-soma-x, where it is installed, on assets that the test writes in its format."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import soma_files
import soma_stand_in
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side, cli
from hand_recon_ros.hand_model import HandModelError, load_hand_model
from hand_recon_ros.models.soma_layer import SomaLayer, import_soma

pytest.importorskip("soma", reason="py-soma-x is not installed")
pytest.importorskip("pxr", reason="usd-core is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("assets")
    soma_files.write(result, soma_stand_in.stand_in())
    return result


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network is used")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    monkeypatch.setattr("soma.assets.get_assets_dir", refused)


@pytest.mark.parametrize("lod", ["low", "mid"])
@pytest.mark.parametrize("side", Side)
def test_the_arrays_are_those_of_the_assets(folder: Path, side: Side, lod: str) -> None:
    hand, soma = soma_stand_in.stand_in(), SomaLayer(folder, side, lod).hand
    mesh = getattr(hand, lod)
    sign = np.array([1.0, 1.0, 1.0]) if side is Side.LEFT else np.array([-1.0, 1.0, 1.0])
    assert soma.joint_names == tuple(f"{side.label.title()}Hand{name}" for name in soma_stand_in.HAND_JOINTS)
    np.testing.assert_allclose(soma.template, 0.01 * mesh.mean * sign, atol=1e-7)
    np.testing.assert_allclose(soma.directions, 0.01 * mesh.directions * sign, atol=2e-7)
    np.testing.assert_array_equal(soma.faces, mesh.faces if side is Side.LEFT else mesh.faces[:, ::-1])
    # In the bind pose the regressor gives the joints of the rig.
    np.testing.assert_allclose(100.0 * soma.regressor @ (0.01 * mesh.points * sign), hand.joints * sign, atol=1e-3)
    inner = np.delete(np.arange(len(mesh.points)), mesh.rim)
    np.testing.assert_allclose(soma.weights[inner], mesh.weights[inner], atol=1e-5)
    np.testing.assert_array_equal(soma.weights[mesh.rim], np.eye(25)[np.zeros(len(mesh.rim), int)])


def test_vertices_are_those_of_the_pose_that_is_asked_for(folder: Path) -> None:
    """Of the mean hand: at rest where nothing is turned, turned about the wrist, and a finger about its joint."""
    layer = SomaLayer(folder, Side.RIGHT, "low")
    still, zero = np.tile(np.eye(3), (1, 25, 1, 1)), np.zeros((1, 20))
    wrist = layer.hand.regressor[0] @ layer.hand.template
    rest = layer.vertices(still, zero)[0]
    np.testing.assert_allclose(rest, layer.hand.template - wrist, atol=1e-6)
    turn = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    np.testing.assert_allclose(layer.vertices(turn @ still, zero)[0], rest @ turn.T, atol=1e-6)
    bent = still.copy()
    joints = [soma_stand_in.HAND_JOINTS.index(name) for name in ("Index3", "Index4", "IndexEnd")]
    bent[:, joints] = turn
    alone = layer.hand.weights[:, joints].sum(axis=1) > 0.9999
    knuckle = layer.hand.regressor[joints[0]] @ layer.hand.template - wrist
    expected = (rest[alone] - knuckle) @ turn.T + knuckle
    assert alone.sum() > 20
    np.testing.assert_allclose(layer.vertices(bent, zero)[0][alone], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("lod", ["low", "mid"])
def test_the_converted_hands_have_the_layers_vertices(folder: Path, tmp_path: Path, lod: str) -> None:
    result = import_soma(folder, tmp_path, lod)
    hand = soma_stand_in.stand_in()
    assert (result.vertices, result.components) == (len(getattr(hand, lod).points), 20)
    for side in Side:
        assert result.errors[side.label].conversion < 2e-6
        left_over = result.refit[side.label]
        assert left_over is not None and left_over[0] < 0.001
        assert result.correctives[side.label] is None
    loaded = load_hand_model(result.path)
    assert loaded.name == "soma" and loaded.num_vertices == result.vertices
    assert load_hand_model(tmp_path / "soma_left.npz").name == "soma"


@pytest.mark.usefixtures("no_network")
def test_the_command_prints_only_json_on_stdout(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import-soma", str(folder), "--out", str(tmp_path), "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["path"] == str(tmp_path / "soma_right.npz")
    assert "same pose and betas: at most 0.000" in captured.err


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_pose_correctives_are_fitted_where_the_folder_has_them(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    soma_files.write_correctives(tmp_path, soma_stand_in.stand_in())
    result = import_soma(tmp_path, tmp_path / "out")
    for side in Side:
        errors, correctives = result.errors[side.label], result.correctives[side.label]
        assert errors.conversion < 2e-6  # of the skinning alone
        assert correctives is not None and correctives.moved_largest > 0.0005
        assert correctives.left_mean < 0.6 * correctives.moved_mean
    assert np.abs(load_hand_model(result.path).arrays(Side.RIGHT).posedirs).max() > 0.0005
    (tmp_path / soma_files.CORRECTIVES).write_bytes(b"no archive")
    with pytest.raises(HandModelError, match="cannot make the right hand of it"):
        import_soma(tmp_path, tmp_path / "again")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", soma_files.NAMES)
def test_damaged_files_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    content = (folder / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(HandModelError, match=r"not an \.npz file|cannot make the right hand of it"):
        import_soma(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
