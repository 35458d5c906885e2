"""The embedded hand is what the conversion makes of its source; needs the source, which is not in the repository."""

import hashlib
import importlib.util
import os
import pathlib
import re
import sys

import pytest

from hand_recon_ros.hand_model.model import EMBEDDED

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = os.environ.get("WEBXR_HAND", "")


@pytest.fixture
def tool(monkeypatch):
    path = ROOT / "tools" / "convert_webxr_hand.py"
    monkeypatch.syspath_prepend(str(path.parent))
    specification = importlib.util.spec_from_file_location("convert_webxr_hand", path)
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "convert_webxr_hand", module)
    specification.loader.exec_module(module)
    return module


def test_the_readme_names_these_bytes(tool):
    digests = re.findall(r"`([0-9a-f]{64})`", (EMBEDDED.parent / "README.md").read_text())
    assert digests == [tool.SOURCE_SHA256, hashlib.sha256(EMBEDDED.read_bytes()).hexdigest()]


def test_another_source_is_refused(tool, tmp_path):
    (tmp_path / "right.glb").write_bytes(b"glTF")
    with pytest.raises(SystemExit, match=r"right\.glb: sha256 [0-9a-f]{64}, expected"):
        tool.read_source(tmp_path / "right.glb")
    with pytest.raises(ValueError, match="not a binary glTF"):
        tool.convert(b"glTF" + bytes(30))


@pytest.mark.skipif(not SOURCE, reason="set WEBXR_HAND to right.glb or to the npm package's .tgz")
def test_the_same_source_gives_the_same_bytes(tool, tmp_path):
    tool.write_npz(tmp_path / "again.npz", tool.convert(tool.read_source(pathlib.Path(SOURCE))))
    assert (tmp_path / "again.npz").read_bytes() == EMBEDDED.read_bytes()
