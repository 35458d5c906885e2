"""Nothing in a file that is read gets to run, nothing at run time opens the network, and no input is written over."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_import_rule import FILES, RUN_TIME, layer_of
from test_import_rule import ROOT as PACKAGE_ROOT

from hand_recon_ros import cli
from hand_recon_ros.batch import reconstruct_source
from hand_recon_ros.image_files import KeptFiles
from hand_recon_ros.ros.demo import launcher
from hand_recon_ros.synthetic import write_clip

ROOT = PACKAGE_ROOT.parent

RUN_TIME_LAYERS = {*RUN_TIME, "bags", "cli", "commands"}
"""What a user of the node or of `hand-recon` runs, but for training and measuring."""
SERIALISED_PROGRAMS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NETWORK = {
    *("socket", "ssl", "http", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("urllib.request", "huggingface_hub", "socketserver", "websockets", "paramiko"),
}
PROCESSES = {"subprocess", "multiprocessing", "pty"}
RUN_TEXT = {"eval", "exec", "compile", "__import__"}
UNSAFE_CALLS = {
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "os.system",
    "os.popen",
    "os.execv",
    "os.execvp",
}

ALLOWED = {
    # What is in a MANO file becomes objects of ours, every other name is refused: test_hand_model_import_hostile.py.
    ("hand_model/mano_pickle.py", "pickle"),
    # Resolves no name by itself: of checkpoints see test_import_checkpoint.py.
    ("hand_model/restricted_pickle.py", "pickle"),
    # `hand-recon models fetch` calls pip; nothing else does, see below.
    ("runtime/model_files.py", "subprocess"),
    # The demonstration starts its nodes.
    ("ros/demo/launcher.py", "subprocess"),
    ("ros/demo/processes.py", "subprocess"),
}
"""Exceptions, each with its reason."""


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute chain of names; empty of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def unsafe(source: str) -> Iterator[str]:
    """What in a source could run a file's contents, start a process or open the network."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in RUN_TEXT or called in UNSAFE_CALLS:
                yield called
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if called.endswith("import_module") and node.args and isinstance(node.args[0], ast.Constant):
                names = [str(node.args[0].value)]
            pickles = keywords.get("allow_pickle")
            if pickles is not None and not (isinstance(pickles, ast.Constant) and pickles.value is False):
                yield "allow_pickle"
            weights = keywords.get("weights_only")
            if called == "torch.load" and not (isinstance(weights, ast.Constant) and weights.value is True):
                yield "torch.load"
            shell = keywords.get("shell")
            if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
                yield "shell"
        for name in names:
            for known in SERIALISED_PROGRAMS | NETWORK | PROCESSES:
                if name == known or name.startswith(f"{known}."):
                    yield known


def found_in(layers: set[str] | None) -> set[tuple[str, str]]:
    """File and name of everything unsafe in these layers; None: in all."""
    chosen = [path for path in FILES if layers is None or layer_of(path) in layers]
    assert len(chosen) > 80
    return {
        (str(path.relative_to(PACKAGE_ROOT)), name)
        for path in chosen
        for name in unsafe(path.read_text(encoding="utf-8"))
    }


def test_the_run_time_runs_no_file_and_opens_no_network() -> None:
    assert found_in(RUN_TIME_LAYERS) == ALLOWED


def test_training_and_measuring_unpickle_nothing_and_open_no_network() -> None:
    # The benchmark times new processes, and the training's loader of samples works in some; the view is a server.
    others = {name for _, name in found_in(None) - ALLOWED - {("viewer/browser.py", "socket")}}
    assert others <= PROCESSES


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("def later():\n    from urllib.request import urlopen", ["urllib.request"]),
        ("from urllib.parse import urlparse", []),
        ("from urllib import request", ["urllib.request"]),
        ("import importlib\nimportlib.import_module('socket')", ["socket"]),
        ("eval('1')", ["eval"]),
        ("model.eval()", []),
        ("re.compile('a')", []),
        ("np.load(path)", []),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=flag)", ["allow_pickle"]),
        ("torch.load(path)", ["torch.load"]),
        ("torch.load(path, weights_only=True)", []),
        ("yaml.load(file, Loader=yaml.Loader)", ["yaml.load"]),
        ("yaml.safe_load(file)", []),
        ("os.system('ls')", ["os.system"]),
        ("run('ls', shell=True)", ["shell"]),
    ],
)
def test_the_rule_itself(source: str, found: list[str]) -> None:
    assert sorted(set(unsafe(source))) == found


AUDITED = """
import sys
from pathlib import Path

read = {str(Path(name).resolve()) for name in sys.argv[2].split(":")}
refused = []

def watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "ftplib.")):
        refused.append(f"{event} {arguments}")
        raise RuntimeError(f"refused: {event}")
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
        mode, flags = arguments[1] or "", arguments[2]
        if str(Path(name).resolve()) in read and (set(mode) & set("wxa+") or flags & 3):
            refused.append(f"{name} opened as {mode!r}")

from hand_recon_ros import cli
sys.addaudithook(watch)
status = cli.main(sys.argv[3:])
print(*refused, sep="\\n", file=open(sys.argv[1], "w"))
refused.clear()
open(min(read), "r+").close()
try:
    import socket
    socket.socket()
except RuntimeError:
    pass
sys.exit(status if len(refused) == 2 else f"the watch does not watch: {refused}")
"""


@pytest.mark.slow
def test_a_reconstruction_opens_no_socket_starts_no_process_and_opens_its_inputs_to_read(tmp_path: Path) -> None:
    photo, settings, calibration = tmp_path / "photo.png", tmp_path / "settings.yaml", tmp_path / "camera.yaml"
    cv2.imwrite(str(photo), np.full((120, 160, 3), 90, np.uint8))
    settings.write_text("refine_steps: 0\n")
    clip = write_clip(tmp_path / "clip", frames=1, seed=3, size=(160, 120))
    calibration.write_bytes((clip / "camera.yaml").read_bytes())
    inputs = [photo, settings, calibration]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in inputs]
    report = tmp_path / "report"
    command = ["reconstruct", str(photo), "--out", str(tmp_path / "out")]
    command += ["--calibration", str(calibration), "--config", str(settings)]
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(report), ":".join(map(str, inputs)), *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "photo.json").exists()
    assert report.read_text().split() == []
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in inputs] == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hand_model", "encoder", "refiner", "model_dir"])
def test_a_path_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    picture(tmp_path / "a.png")
    missing = tmp_path / "nowhere" / {"hand_model": "hand.npz", "model_dir": ""}.get(name, "network.onnx")
    command = ["reconstruct", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--set", f"{name}={missing}"]
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert str(missing) in error and "Traceback" not in error
    assert not (tmp_path / "nowhere").exists()


class NoHands:
    """In place of the reconstructor: finds no hands, at once."""

    def reconstruct_image(self, image: np.ndarray, camera: object) -> object:
        from ros_support import estimate_of

        return estimate_of(left=False, right=False)

    def __call__(self, image: np.ndarray, camera: object, stamp: float) -> object:
        return self.reconstruct_image(image, camera)


def picture(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return path.read_bytes()


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_results_are_not_written_over_a_picture_by_a_link(tmp_path: Path, link: Callable[..., None]) -> None:
    photo, out = tmp_path / "photos" / "a.png", tmp_path / "out"
    before = picture(photo)
    out.mkdir()
    link(photo, out / "a.png")
    for source in (photo, photo.parent):
        with pytest.raises(FileExistsError, match=r"a\.png: is a file that is read"):
            reconstruct_source(NoHands(), str(source), out, 60.0)  # type: ignore[arg-type]
    assert photo.read_bytes() == before


def test_a_picture_that_is_a_link_itself_is_not_written_over(tmp_path: Path) -> None:
    photo, link = tmp_path / "photos" / "a.png", tmp_path / "out" / "a.png"
    before = picture(photo)
    link.parent.mkdir()
    link.symlink_to(photo)
    with pytest.raises(FileExistsError, match="is a file that is read"):
        reconstruct_source(NoHands(), str(link), link.parent, 60.0)  # type: ignore[arg-type]
    assert photo.read_bytes() == before


def test_the_calibration_is_not_written_over(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    calibration = tmp_path / "out" / "a.json"
    calibration.parent.mkdir()
    clip = write_clip(tmp_path / "clip", frames=1, seed=3, size=(64, 48))
    calibration.write_bytes((clip / "camera.yaml").read_bytes())
    before = calibration.read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.json: is a file that is read"):
        reconstruct_source(
            NoHands(),  # type: ignore[arg-type]
            str(tmp_path / "photos"),
            calibration.parent,
            60.0,
            str(calibration),
        )
    assert calibration.read_bytes() == before
    assert not (calibration.parent / "a.png").exists()


def test_other_files_in_the_folder_are_no_obstacle(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    picture(tmp_path / "out" / "a.png")  # of an earlier run
    summary = reconstruct_source(NoHands(), str(tmp_path / "photos"), tmp_path / "out", 60.0)  # type: ignore[arg-type]
    assert summary["images"] == 1
    assert json.loads((tmp_path / "out" / "a.json").read_text())["left"] == {"state": "LOST"}


def test_a_name_that_is_not_there_is_no_file_that_is_read(tmp_path: Path) -> None:
    kept = KeptFiles([tmp_path / "missing"])
    kept.check(tmp_path / "missing")
    (tmp_path / "a").write_text("")
    with pytest.raises(FileExistsError):
        KeptFiles([tmp_path / "a"]).check(tmp_path / "." / "a")


@pytest.mark.parametrize("name", ["overlay.mp4", "run/images"])
def test_the_demonstration_does_not_delete_its_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = tmp_path / "demo" / name
    file = source if source.suffix else source / "1.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    assert launcher.main(["--out", str(tmp_path / "demo"), "--input", str(source)]) == 1
    assert "whose contents are replaced" in capsys.readouterr().err
    assert file.read_bytes() == b"mine"


def test_the_demonstration_does_not_delete_its_calibration(tmp_path: Path) -> None:
    file = tmp_path / "demo" / "run" / "camera.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(launcher.DemoError, match="whose contents are replaced"):
        launcher.check_inputs((tmp_path / "demo").resolve(), ["0", str(file)])
    assert file.read_text() == "mine"


def test_rendered_clips_replace_clips_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine" / "images" / "holiday.png"
    before = picture(mine)
    assert cli.main(["synth", "--out", str(tmp_path / "mine"), "--frames", "1"]) == 1
    assert "has pictures that are no clip's" in capsys.readouterr().err
    assert mine.read_bytes() == before
    for frames in (2, 1):
        clip = write_clip(tmp_path / "clip", frames=frames, seed=3, size=(64, 48))
        assert len(list((clip / "images").glob("*.png"))) == frames


def test_the_log_of_camera_source_is_not_written_over_its_source(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy")
    from rclpy.parameter import Parameter

    from hand_recon_ros.ros.demo.camera_source import CameraSource
    from hand_recon_ros.ros.parameters import node_options

    photo = tmp_path / "a.png"
    before = picture(photo)
    calibration = write_clip(tmp_path / "clip", frames=1, seed=3, size=(64, 48)) / "camera.yaml"
    text = calibration.read_text()
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        for source, log in ((tmp_path, photo), (photo, photo), (photo, calibration)):
            given = {"source": str(source), "sent_log": str(log), "camera_info_url": f"file://{calibration}"}
            node = rclpy.create_node(
                "camera_source",
                context=context,
                parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
                **node_options(),
            )
            with pytest.raises(FileExistsError, match="is a file that is read"):
                CameraSource(node)
            node.destroy_node()
    finally:
        context.try_shutdown()
    assert photo.read_bytes() == before and calibration.read_text() == text
