"""Compiled networks that are cached in a folder."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hand_recon_ros import TwoHandReconstructor
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, PALM_DETECTION, find_model
from hand_recon_ros.runtime.sessions import SessionError, cache_folder, open_session

pytestmark = pytest.mark.usefixtures("no_model_cache")

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


def outputs(cache="", **options):
    session = open_session(find_model(HAND_LANDMARKS), capacity=3, cache=cache, **options)
    session.inputs[:] = IMAGES
    return [array for arrays in session.run(3) for array in arrays]


def stored(folder):
    return sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob("*.blob"))


def test_a_cached_network_gives_the_same_results(tmp_path):
    expected = outputs()
    for _ in range(2):
        for ours, theirs in zip(outputs(str(tmp_path)), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(stored(tmp_path)) == 1  # of networks for one image at a time and for two


def test_other_outputs_are_another_network(tmp_path):
    outputs(str(tmp_path))
    before = stored(tmp_path)
    outputs(str(tmp_path))
    assert stored(tmp_path) == before
    few = outputs(str(tmp_path), outputs=(1,))
    assert len(few) == 3 and set(before) < set(stored(tmp_path))
    assert outputs(str(tmp_path), threads=1)[0].shape == (63,)


def test_another_network_is_not_taken_from_the_cache(tmp_path):
    cache, path = tmp_path / "cache", tmp_path / "network.tflite"
    for model, size in ((HAND_LANDMARKS, 224), (PALM_DETECTION, 192)):
        path.write_bytes(find_model(model).read_bytes())
        assert open_session(path, cache=str(cache)).size == size


@pytest.mark.parametrize("content", [b"", b"no network", bytes(5_000_000)])
def test_a_damaged_cache_is_replaced(tmp_path, content):
    expected = outputs(str(tmp_path))
    for file in tmp_path.glob("*.blob"):
        file.chmod(0o600)
        file.write_bytes(content)
    for ours, theirs in zip(outputs(str(tmp_path)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("~/a/b") == str(tmp_path / "a" / "b") and (tmp_path / "a" / "b").is_dir()
    assert cache_folder("") == ""
    monkeypatch.setenv("HAND_RECON_MODEL_CACHE", str(tmp_path / "c"))
    assert cache_folder("") == str(tmp_path / "c") and (tmp_path / "c").is_dir()
    assert cache_folder("~/a") == str(tmp_path / "a")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="model_cache .*file.*cannot be stored.*leave it empty"):
        cache_folder(str(tmp_path / "file"))
    with pytest.raises(SessionError, match="model_cache"):
        TwoHandReconstructor.from_config(model_cache=str(tmp_path / "file" / "below"))


@pytest.mark.slow
def test_every_network_of_the_pipeline_is_cached(tmp_path):
    TwoHandReconstructor.from_config(model_cache=str(tmp_path))
    files = stored(tmp_path)
    # Palms, landmarks with features and without, pairs, three of the body, encoder (one hand and two), prior.
    assert len(files) == 10
    code = f"from hand_recon_ros import TwoHandReconstructor as T; T.from_config(model_cache={str(tmp_path)!r})"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    assert stored(tmp_path) == files
