"""Network files: where they are looked for, what is accepted, how they are fetched."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import pytest

from hand_recon_ros.runtime import bundled_networks as bn
from hand_recon_ros.runtime import model_files as mf


@pytest.fixture
def small_models(monkeypatch, tmp_path):
    """Two stand-in networks, a wheel that holds them, and nothing else to be found on this machine."""
    models = tuple(
        mf.ModelFile(
            name, f"{name}.tflite", hashlib.sha256(name.encode()).hexdigest(), f"mediapipe/modules/{name}.tflite"
        )
        for name in ("one", "two")
    )
    monkeypatch.setattr(mf, "MODEL_FILES", models)
    monkeypatch.setattr(mf, "installed_wheel_folders", lambda: [])
    monkeypatch.delenv(mf.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheel = tmp_path / "mediapipe-0.10.21-cp311-cp311-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for model in models:
            archive.writestr(model.wheel_path, model.name)
        archive.writestr("mediapipe-0.10.21.dist-info/LICENSE", "Apache License 2.0")
    return models, wheel


def test_the_installed_wheel_has_the_right_files_and_is_not_imported(monkeypatch, tmp_path):
    monkeypatch.delenv(mf.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    paths = mf.verify_models()
    assert [path.name for path in paths] == [
        *("palm_detection_full.tflite", "hand_landmark_full.tflite"),
        *("pose_detection.tflite", "pose_landmark_full.tflite", "hand_recrop.tflite"),
    ]
    code = (
        "import sys; from hand_recon_ros.runtime.model_files import verify_models; verify_models();"
        "print([name for name in ('mediapipe', 'torch', 'openvino') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_files_are_an_error_with_their_name_the_folders_and_the_way_out(small_models, tmp_path):
    models, _ = small_models
    with pytest.raises(mf.ModelFileError) as caught:
        mf.find_model(models[0])
    message = str(caught.value)
    assert "one.tflite" in message and models[0].sha256 in message
    assert str(tmp_path / "cache" / "hand_recon") in message
    assert "hand-recon models fetch" in message
    assert [status.state for status in mf.list_models()] == ["missing", "missing"]
    assert mf.list_models()[0].path == ""


def test_an_altered_file_is_named_with_both_digests(small_models, tmp_path):
    models, wheel = small_models
    folder = tmp_path / "mine"
    mf.fetch_models(folder, wheel)
    (folder / "two.tflite").write_bytes(b"something else")
    with pytest.raises(mf.ModelFileError) as caught:
        mf.verify_models(folder)
    message = str(caught.value)
    assert str(folder / "two.tflite") in message
    assert models[1].sha256 in message and hashlib.sha256(b"something else").hexdigest() in message
    assert f"hand-recon models fetch --dest {folder}" in message
    states = mf.list_models(folder)
    assert [status.state for status in states] == ["ok", "altered"]
    assert states[1].found_sha256 == hashlib.sha256(b"something else").hexdigest()
    mf.fetch_models(folder, wheel)
    assert mf.verify_models(folder) == [folder / "one.tflite", folder / "two.tflite"]


def test_fetch_takes_the_files_and_their_licence_out_of_a_wheel(small_models, tmp_path):
    models, wheel = small_models
    paths = mf.fetch_models(wheel=wheel)
    folder = tmp_path / "cache" / "hand_recon"
    assert paths == [folder / "one.tflite", folder / "two.tflite"]
    assert paths[0].read_text() == "one"
    assert (folder / mf.LICENCE_NAME).read_text() == "Apache License 2.0"
    assert sorted(path.name for path in folder.iterdir()) == [mf.LICENCE_NAME, "one.tflite", "two.tflite"]
    assert mf.find_model(models[0]) == paths[0]


def test_a_wheel_with_other_content_writes_nothing(small_models, tmp_path):
    models, _ = small_models
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(models[0].wheel_path, "one")
        archive.writestr(models[1].wheel_path, "not two")
    with pytest.raises(mf.ModelFileError, match="mediapipe==0.10.21"):
        mf.fetch_models(tmp_path / "dest", wheel)
    assert not (tmp_path / "dest").exists()


@pytest.mark.parametrize("content", [None, b"not a zip file"])
def test_a_file_that_is_no_wheel_is_an_error_with_its_path(small_models, tmp_path, content):
    wheel = tmp_path / "broken.whl"
    if content is not None:
        wheel.write_bytes(content)
    with pytest.raises(mf.ModelFileError, match=r"broken\.whl"):
        mf.fetch_models(tmp_path / "dest", wheel)


def test_a_failing_download_is_an_error_with_the_command_and_the_way_out(small_models, monkeypatch, tmp_path):
    def failing(command, **_):
        assert command[1:5] == ["-m", "pip", "download", "mediapipe==0.10.21"] and "--no-deps" in command
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: no network\n")

    monkeypatch.setattr(mf.subprocess, "run", failing)
    with pytest.raises(mf.ModelFileError, match=r"no network.*hand-recon models fetch --wheel FILE"):
        mf.fetch_models(tmp_path / "dest")


def test_the_search_order(small_models, monkeypatch, tmp_path):
    _, wheel = small_models
    monkeypatch.setattr(mf, "installed_wheel_folders", lambda: [tmp_path / "site-packages"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site-packages")
    assert mf.verify_models()[0] == tmp_path / "site-packages" / "mediapipe/modules/one.tflite"
    cached = mf.fetch_models(wheel=wheel)
    assert mf.verify_models() == cached
    monkeypatch.setenv(mf.ENVIRONMENT_VARIABLE, str(tmp_path / "env"))
    with pytest.raises(mf.ModelFileError, match="env"):
        mf.verify_models()  # a folder that was named is the only one searched
    in_environment = mf.fetch_models(wheel=wheel)
    assert in_environment[0] == tmp_path / "env" / "one.tflite" == mf.verify_models()[0]
    explicit = mf.fetch_models(tmp_path / "explicit", wheel)
    assert mf.verify_models(tmp_path / "explicit") == explicit


def test_networks_without_their_files_are_an_error_with_the_way_out(tmp_path):
    from hand_recon_ros.config import ReconstructorConfig
    from hand_recon_ros.detect.networks import HandNetworks

    with pytest.raises(mf.ModelFileError, match="hand-recon models fetch --dest"):
        HandNetworks.load(ReconstructorConfig(model_dir=str(tmp_path)))


def test_a_user_without_home_has_a_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4000000)  # of no passwd entry
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")
    assert mf.cache_dir() == pathlib.Path("/tmp/hand_recon_4000000")
    assert mf.search_folders()[0] == mf.cache_dir()
    assert mf.search_folders("~/models") == [pathlib.Path("~/models")]
    monkeypatch.setenv("HOME", "/home/somebody")
    assert mf.cache_dir() == pathlib.Path("/home/somebody/.cache/hand_recon")


def test_the_bundled_files_have_the_digests_of_their_table():
    """Where this fails after a file was replaced: `make digests`."""
    files = [*bn.ASSETS.glob("*.onnx"), *bn.ASSETS.glob("hand/*.npz")]
    found = {path.relative_to(bn.ASSETS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert bn.bundled_digests() == found
    assert {"encoder_small.onnx", "pair_detector.onnx", "refiner_small.onnx", "hand/webxr_generic.npz"} <= set(found)
    assert sorted(bn.verify_bundled()) == sorted(files)
    readme = (bn.ASSETS / "hand" / "README.md").read_text()
    assert found["hand/webxr_generic.npz"] in readme


@pytest.fixture
def assets(monkeypatch, tmp_path):
    """Two small files and their table in the place of assets/."""
    (tmp_path / "hand").mkdir()
    contents = {"encoder_one.onnx": b"one", "hand/two.npz": b"two"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    (tmp_path / bn.DIGESTS).write_text("".join(lines))
    monkeypatch.setattr(bn, "ASSETS", tmp_path)
    return tmp_path


def test_a_bundled_file_that_is_altered_or_missing_is_named(assets):
    assert bn.bundled_network("encoder", "one") == assets / "encoder_one.onnx"
    assert [(each.name, each.state, each.licence) for each in bn.list_bundled()] == [
        ("encoder_one", "ok", "Apache-2.0"),
        ("two", "ok", "MIT"),
    ]
    (assets / "encoder_one.onnx").write_bytes(b"one, altered")
    digests = [hashlib.sha256(content).hexdigest() for content in (b"one", b"one, altered")]
    for use in (lambda: bn.bundled_network("encoder", "one"), bn.verify_bundled):
        with pytest.raises(mf.ModelFileError) as caught:
            use()
        assert all(text in str(caught.value) for text in (*digests, "encoder_one.onnx", "make digests"))
    (assets / "hand" / "two.npz").unlink()
    assert [each.state for each in bn.list_bundled()] == ["altered", "missing"]
    with pytest.raises(mf.ModelFileError, match=r"two\.npz is missing"):
        bn.verify_bundled()


def test_a_bundled_network_without_a_digest_is_refused(assets):
    (assets / "encoder_new.onnx").write_bytes(b"new")
    with pytest.raises(mf.ModelFileError, match="expected sha256 none"):
        bn.bundled_network("encoder", "new")
    mine = assets / "mine.onnx"
    mine.write_bytes(b"of the user")
    assert bn.bundled_network("encoder", str(mine)) == mine  # what the user names himself has no digest here


@pytest.mark.parametrize("text", [None, "word\n", "a b c\n"])
def test_a_table_that_cannot_be_read_is_named(assets, text):
    (assets / bn.DIGESTS).unlink()
    if text is not None:
        (assets / bn.DIGESTS).write_text(text)
    with pytest.raises(mf.ModelFileError, match=bn.DIGESTS):
        bn.list_bundled()


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.bin"
    with mf.replacing(path) as scratch:
        scratch.write_bytes(b"first")
        assert scratch.parent == tmp_path and not path.exists()
    assert path.read_bytes() == b"first" and path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(ValueError, match="in the middle"), mf.replacing(path) as scratch:
        scratch.write_bytes(b"sec")
        raise ValueError("in the middle")
    with pytest.raises(KeyboardInterrupt), mf.replacing(path) as scratch:
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
    assert mf.write_whole(path, b"second") == path and path.read_bytes() == b"second"
    with pytest.raises(OSError, match="No such file"):
        mf.write_whole(tmp_path / "none" / "a.bin", b"")
