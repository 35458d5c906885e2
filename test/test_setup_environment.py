"""What the set-up adds to the packages of the lock file."""

import importlib.util
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

PATH = Path(__file__).resolve().parent.parent / "tools" / "setup_environment.py"


@pytest.fixture
def setup_environment():
    spec = importlib.util.spec_from_file_location("setup_environment", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("imports", [True, False])
def test_a_pytorch_that_cannot_be_imported_gets_its_libraries(
    setup_environment, monkeypatch, tmp_path, capsys, imports
):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0 if imports else 1))
    monkeypatch.setattr(setup_environment, "run", lambda command, *_: commands.append(list(map(str, command))))
    setup_environment.complete_torch(tmp_path, tmp_path / "torch.log")
    if imports:
        assert not commands
        return
    (command,) = commands
    assert "--no-deps" not in command and command[-1].startswith("torch==")
    assert command[-1] in setup_environment.LOCK.read_text().split()
    assert "CUDA" in capsys.readouterr().err
