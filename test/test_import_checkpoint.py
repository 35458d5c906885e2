"""hand-recon import-checkpoint: weights come out as they went in, and nothing in the file gets to run."""

from __future__ import annotations

import collections
import json
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from hand_checkpoints import CONFIGS, VIT, official_state, small_network, write_checkpoint
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from hand_recon_ros.cli import main
from hand_recon_ros.models.checkpoint_import import import_checkpoint
from hand_recon_ros.models.hand_networks import network_from
from hand_recon_ros.models.torch_archive import CheckpointError, TorchArchive
from hand_recon_ros.runtime.sessions import SessionError


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


def test_weights_come_out_as_they_went_in(name, tmp_path):
    network = small_network(name)
    path = write_checkpoint(tmp_path / "some.ckpt", official_state(network))
    result = import_checkpoint(path)
    assert result.path == tmp_path / "some.safetensors" and result.network == name
    assert result.dropped == ("discriminator.D_conv1.weight", "initialized", "mano.J_regressor", "mano.v_template")
    expected = {key: value.numpy() for key, value in network.state_dict().items()}
    stored = load_file(result.path)
    assert stored.keys() == expected.keys() and len(stored) == result.tensors
    for key, value in expected.items():
        np.testing.assert_array_equal(stored[key], value, err_msg=key)
        assert stored[key].dtype == value.dtype
    assert result.bytes == sum(value.nbytes for value in expected.values())
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    with safe_open(result.path, framework="np") as file:
        notes = file.metadata()
    assert notes["network"] == name and notes["source_sha256"] == digest == result.source_sha256
    assert json.loads(notes["config"])["vit"] == {"dim": 80, "depth": VIT.depth, "mlp_dim": 96}
    loaded = network_from(result.path)
    assert loaded.config == CONFIGS[name]
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[key])


def test_other_precisions_views_parameters_and_bare_dictionaries(tmp_path):
    network = small_network("hamer")
    state = network.state_dict()
    expected = {key: value.clone() for key, value in state.items()}
    half, brain, double = "mano_head.decpose.weight", "mano_head.decshape.weight", "mano_head.deccam.weight"
    for key, dtype in ((half, torch.float16), (brain, torch.bfloat16), (double, torch.float64)):
        state[key] = state[key].to(dtype)
        expected[key] = state[key].float()
    turned = "backbone.blocks.0.mlp.fc1.weight"
    state[turned] = torch.cat([torch.zeros(3, 96), state[turned].T])[3:].T
    assert not state[turned].is_contiguous() and state[turned].storage_offset() > 0
    state["backbone.pos_embed"] = torch.nn.Parameter(state["backbone.pos_embed"])
    torch.save(dict(state), tmp_path / "state.pth")
    stored = load_file(import_checkpoint(tmp_path / "state.pth", tmp_path / "new" / "out.safetensors").path)
    for key, value in expected.items():
        np.testing.assert_array_equal(stored[key], value.numpy(), err_msg=key)


def test_every_missing_and_unexpected_tensor_is_reported(name, tmp_path):
    state = official_state(small_network(name))
    del state["backbone.blocks.1.norm2.bias"], state["backbone.last_norm.weight"]
    state["backbone.extra"] = torch.zeros(1)
    state["keypoint_loss.weight"] = torch.zeros(1)
    state["backbone.pos_embed"] = torch.zeros(1, 192, 80)
    state["backbone.blocks.0.attn.proj.bias"] = torch.zeros(80, dtype=torch.int64)
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(write_checkpoint(tmp_path / "x.ckpt", state))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(f"x.ckpt: does not fit {name}:")
    assert sorted(lines[1:]) == [
        "backbone.blocks.0.attn.proj.bias is <i8 (80,), expected torch.float32 (80,)",
        "backbone.pos_embed is <f4 (1, 192, 80), expected torch.float32 (1, 193, 80)",
        "missing: backbone.blocks.1.norm2.bias",
        "missing: backbone.last_norm.weight",
        "unexpected: backbone.extra",
        "unexpected: keypoint_loss.weight",
    ]
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def test_what_the_network_was_trained_with_besides_is_another_network(tmp_path):
    """A decoder whose input are the mean parameters, as the public code can have it as well."""
    state = official_state(small_network("hamer"))
    state["mano_head.transformer.to_token_embedding.weight"] = torch.zeros(64, 109)
    with pytest.raises(CheckpointError, match=r"to_token_embedding.weight is <f4 \(64, 109\), expected .* \(64, 1\)"):
        import_checkpoint(write_checkpoint(tmp_path / "x.ckpt", state))


def test_other_networks_are_named(tmp_path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2), "fc.bias": torch.zeros(1)}}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="neither mano_head nor refine_net, but conv1, fc"):
        import_checkpoint(tmp_path / "resnet.pth")
    both = {"mano_head.a": torch.zeros(1), "refine_net.a": torch.zeros(1)}
    torch.save(both, tmp_path / "both.pth")
    with pytest.raises(CheckpointError, match=r"both mano_head \(HaMeR\) and refine_net"):
        import_checkpoint(tmp_path / "both.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="expected a dictionary with state_dict, got list"):
        import_checkpoint(tmp_path / "list.pth")
    torch.save({"epoch": 3, "model": {"a": torch.zeros(1)}}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="'epoch' is a int, no tensor; it holds epoch, model"):
        import_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_and_no_file_is_left(value, tmp_path):
    state = official_state(small_network("hamer"))
    state["backbone.last_norm.weight"][3] = value
    with pytest.raises(CheckpointError, match="last_norm.weight holds numbers that are not finite"):
        import_checkpoint(write_checkpoint(tmp_path / "x.ckpt", state))
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


class Attack:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


ATTACKS = {
    "system": (Attack(os.system, "touch HERE"), r"\w+\.system"),
    "eval": (Attack(eval, "open('HERE', 'w')"), r"builtins\.eval"),
    "getattr": (Attack(getattr, "", "join"), r"builtins\.getattr"),
    "Popen": (Attack(subprocess.Popen, ["touch", "HERE"]), r"\w+\.Popen"),
    "load": (Attack(torch.load, "HERE"), r"torch\.serialization\.load"),
    "nested": (Attack(collections.OrderedDict, [("a", Attack(os.system, "touch HERE"))]), r"\w+\.system"),
    "as a key": ({Attack(eval, "open('HERE', 'w')"): 1}, r"builtins\.eval"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters", "callbacks"])
def test_a_file_that_wants_to_run_something_is_refused(attack, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, refused = ATTACKS[attack]
    state = official_state(small_network("hamer"))
    changes = {"state_dict": {**state, "x": content}} if place == "state_dict" else {place: {"cfg": content}}
    write_checkpoint(tmp_path / "x.ckpt", state, **changes)
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: it refers to {refused}, .* refused"):
        import_checkpoint("x.ckpt")
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def archive_of(path, data, members=(), compression=zipfile.ZIP_STORED):
    """An archive as of torch.save with this pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        for member, content in members:
            file.writestr(f"archive/{member}", content, compression)
    return path


def test_names_of_settings_stand_for_nothing(tmp_path, monkeypatch):
    """Objects of packages like yacs are placeholders whatever they are called, so that no path leads out of them."""
    monkeypatch.chdir(tmp_path)
    for module, called in (
        ("pathlib", "os.system"),
        ("typing", "sys.modules"),
        ("omegaconf", "__loader__.exec_module"),
    ):
        data = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(called)])
        data += called.encode() + b"\x93\x8c\ntouch HERE\x85R."
        with TorchArchive(archive_of(tmp_path / "x.pt", data)) as archive:
            assert type(archive.content()).__name__ == "Placeholder"
    assert sorted(os.listdir(tmp_path)) == ["x.pt"]


STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%stQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE + b"K\x00%s%s\x89ccollections\nOrderedDict\n)RtR."
FOUR = [("data/0", np.arange(4, dtype="<f4").tobytes())]


def tensor(count=b"K\x04", size=b"(K\x02K\x02t", stride=b"(K\x02K\x01t"):
    return b"\x80\x02" + TENSOR % (count, size, stride)


def test_a_tensor_by_hand(tmp_path):
    with TorchArchive(archive_of(tmp_path / "x.pt", tensor(), FOUR)) as archive:
        np.testing.assert_array_equal(archive.array(archive.content()), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tensor(size=b"(K\x02K\x03t"), r"a tensor of shape \(2, 3\) in a storage of 4 numbers"),
        (tensor(stride=b"(K\x03K\x01t"), "in a storage of 4 numbers"),
        (tensor(size=b"(J\x00\x00\x00\x7fK\x02t", stride=b"(K\x00K\x00t"), "in a storage of 4 numbers"),
        (tensor(stride=b"(J\xff\xff\xff\xffK\x01t"), "instead of sizes"),
        (tensor(size=b"(K\x04t"), "1 sizes and 2 strides"),
        (tensor(count=b"J\x00\x00\x00\x7f"), "data/0 has 16 bytes, expected 8522825728"),
        (tensor(count=b"K\x05"), "data/0 has 16 bytes, expected 20"),
        (tensor().replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x001"), "data/1 has no bytes"),
        (tensor().replace(b"storagec", b"memoryxc"), "no storage"),
        (tensor().replace(b"FloatStorage", b"ComplexStorage"), "refers to torch.ComplexStorage"),
        (tensor().replace(b"_rebuild_tensor_v2", b"_rebuild_sparse_tensor"), "_utils._rebuild_sparse_tensor"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00)) tR.", "not a readable pickle|instead of a storage"),
        (b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.", "not a readable pickle"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "number 2147483647 in the memo"),
        (b"\x80\x02}q\x00h\x05.", "not a readable pickle"),
        (b"", "not a readable pickle"),
        (tensor()[:-30], "not a readable pickle"),
    ],
)
def test_bent_pickles(data, message, tmp_path):
    with TorchArchive(archive_of(tmp_path / "x.pt", data, FOUR)) as archive:
        with pytest.raises(CheckpointError, match=rf"x\.pt: .*({message})"):
            archive.content()


def test_a_pickle_cannot_change_what_it_calls(tmp_path):
    """A state for a callable, which pickle would put into its attributes."""
    data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__call__K\x01sb."
    with TorchArchive(archive_of(tmp_path / "x.pt", data)) as archive, pytest.raises(CheckpointError):
        archive.content()
    data = b"\x80\x02cyacs.config\nCfgNode\n}X\x06\x00\x00\x00appendK\x01sb."
    with TorchArchive(archive_of(tmp_path / "y.pt", data)) as archive, pytest.raises(CheckpointError):
        archive.content()


def test_archives_that_grow_are_refused(tmp_path):
    """Compressed members, of which a few kilobytes could be gigabytes."""
    bomb = archive_of(tmp_path / "x.pt", tensor(), [("data/0", bytes(10**7))], zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 20000
    with pytest.raises(CheckpointError, match=r"data/0 is compressed, \d+ to 10000000 bytes"):
        TorchArchive(bomb)
    # Members that share their bytes: the directory says more than the file holds.
    path = archive_of(tmp_path / "y.pt", tensor(), [("data/0", bytes(5000)), ("data/1", bytes(5000))])
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    for start in (20, 24):  # sizes of the last entry of the directory
        raw[entry + start : entry + start + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"bytes of members in a file of"):
        TorchArchive(path)


def test_archives_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.ckpt: no such file"):
        import_checkpoint(tmp_path / "gone.ckpt")
    old = tmp_path / "old.pth"
    torch.save({"a": torch.zeros(1)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="not a checkpoint of torch 1.6 or later, which is a zip archive"):
        import_checkpoint(old)
    (tmp_path / "empty.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="may be incomplete"):
        import_checkpoint(tmp_path / "empty.ckpt")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="no data.pkl in it"):
        import_checkpoint(tmp_path / "other.zip", tmp_path / "out.safetensors")
    with pytest.raises(CheckpointError, match="big-endian"):
        TorchArchive(archive_of(tmp_path / "big.pt", tensor(), [("byteorder", b"big")]))
    with pytest.raises(CheckpointError, match="must end in .safetensors"):
        import_checkpoint(old, tmp_path / "out.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(share, tmp_path):
    path = write_checkpoint(tmp_path / "x.ckpt", official_state(small_network("wilor")))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"x\.ckpt: "):
        import_checkpoint(path)
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]


def test_damaged_numbers(tmp_path):
    """One bit of a tensor, which the archive's checksum shows."""
    state = official_state(small_network("hamer"))
    path = write_checkpoint(tmp_path / "x.ckpt", state)
    raw = bytearray(path.read_bytes())
    at = raw.index(state["backbone.pos_embed"].numpy().tobytes()[:64])
    raw[at + 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="is damaged"):
        import_checkpoint(path)


def test_random_damage_is_refused_or_harmless(tmp_path):
    path = write_checkpoint(tmp_path / "x.ckpt", official_state(small_network("hamer")))
    with zipfile.ZipFile(path) as file:
        (pickled,) = [name for name in file.namelist() if name.endswith("data.pkl")]
        whole = file.read(pickled)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 3):
            data[place] = generator.integers(0, 256)
        with TorchArchive(archive_of(tmp_path / "y.pt", bytes(data), FOUR)) as archive:
            try:
                archive.content()
            except CheckpointError:
                refused += 1
    assert refused == 150  # the storages that it refers to are not there either


def test_the_command(name, tmp_path, capsys):
    path = write_checkpoint(tmp_path / "x.ckpt", official_state(small_network(name)))
    out = tmp_path / "out.safetensors"
    assert main(["import-checkpoint", str(path), "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["network"] == name and report["path"] == str(out) and len(report["dropped"]) == 4
    assert "encoder:=" in printed.err
    path.write_bytes(b"PK")
    assert main(["import-checkpoint", str(path)]) == 1
    assert "hand-recon import-checkpoint: " in capsys.readouterr().err


def test_other_safetensors_are_no_networks(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"12345678" * 3)
    with pytest.raises(SessionError, match="not a .safetensors file"):
        network_from(tmp_path / "x.safetensors")
    save_file({"a": np.zeros(3)}, tmp_path / "y.safetensors")
    with pytest.raises(SessionError, match="not a network of `hand-recon import-checkpoint`"):
        network_from(tmp_path / "y.safetensors")
    path = write_checkpoint(tmp_path / "z.ckpt", official_state(small_network("hamer")))
    result = import_checkpoint(path)
    arrays = load_file(result.path)
    for config in (
        "3",
        "[",
        '{"vit": 1}',
        '{"vit": {"depth": 1000000000}}',
        '{"vit": {"dim": 80.0}}',
        '{"vit": {}, "x": 1}',
    ):
        save_file(arrays, tmp_path / "y.safetensors", {"network": "hamer", "config": config})
        with pytest.raises(SessionError, match="no description of one"):
            network_from(tmp_path / "y.safetensors")
    with safe_open(result.path, framework="np") as file:
        notes = file.metadata()
    del arrays["backbone.pos_embed"]
    save_file(arrays, result.path, notes)
    with pytest.raises(SessionError, match="does not fit a hamer of .*: backbone.pos_embed"):
        network_from(result.path)


def test_the_checkpoint_is_not_written_over(tmp_path):
    path = write_checkpoint(tmp_path / "x.safetensors", official_state(small_network("hamer")))
    before = path.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(path)
    for out in (None, path, tmp_path / "link.safetensors"):
        with pytest.raises(CheckpointError, match="is the checkpoint itself"):
            import_checkpoint(path, out)
    assert path.read_bytes() == before


def test_pickles_outside_of_archives_are_not_read(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps({"state_dict": Attack(os.system, f"touch {tmp_path}/HERE")}))
    with pytest.raises(CheckpointError, match="zip archive"):
        import_checkpoint(tmp_path / "x.ckpt")
    assert sorted(os.listdir(tmp_path)) == ["x.ckpt"]
