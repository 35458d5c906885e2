"""The command line: its output, its files and its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera, cli
from hand_recon_ros.calibration import write_calibration
from hand_recon_ros.hand_model import mano_import

ONE_NETWORK = ["--set", "detector=none", "--set", "body=none", "--set", "encoder=none"]
"""Settings for pictures without hands, where what is found does not matter."""
COMMANDS = (
    "reconstruct",
    "bag",
    "view",
    "synth",
    "train",
    "distill",
    "evaluate",
    "benchmark",
    "import-mano",
    "import-soma",
    "models",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0 and "--json" in capsys.readouterr().out


def test_reconstructing_photos(tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name, shape in (("a.png", (48, 64, 3)), ("b.jpg", (1, 1, 3))):
        cv2.imwrite(str(photos / name), np.full(shape, 90, dtype=np.uint8))
    assert cli.main(["reconstruct", str(photos), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 2
    for result, shape in zip(summary["results"], ((48, 64, 3), (1, 1, 3)), strict=True):
        assert (result["left"], result["right"]) == ("LOST", "LOST")
        assert cv2.imread(result["overlay"]).shape == shape
        record = json.loads(open(result["json"]).read())
        assert record["calibrated"] is False and record["left"] == {"state": "LOST"}


def test_what_was_not_read_is_counted_and_named(tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.png"), np.full((48, 64, 3), 90, dtype=np.uint8))
    for name in (b"caf\xe9.jpg", b"phone.HEIC"):
        (photos / os.fsdecode(name)).write_bytes(b"no picture")
    assert cli.main(["reconstruct", str(photos), "--out", str(out), "--json", *ONE_NETWORK]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert (summary["images"], summary["images_expected"]) == (1, 3)
    assert [Path(item["image"]).name for item in summary["left_out"]] == ["phone.HEIC", os.fsdecode(b"caf\xe9.jpg")]
    assert r"caf\xe9.jpg: cannot be decoded" in captured.err and "1 of 3 images" in captured.err
    (photos / "a.png").unlink()
    assert cli.main(["reconstruct", str(photos), "--out", str(out), *ONE_NETWORK]) == 1
    assert r"caf\xe9.jpg cannot be decoded" in capsys.readouterr().err


def test_a_calibration_of_another_aspect_is_refused(tmp_path, capsys):
    camera = Camera(K=np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]), width=1280, height=720)
    write_calibration(tmp_path / "camera.yaml", camera)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 64, 3), 90, dtype=np.uint8))
    line = ["reconstruct", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert cli.main([*line, "--calibration", str(tmp_path / "camera.yaml")]) == 1
    error = capsys.readouterr().err
    assert "is for 1280x720, but the image is 64x48" in error and error.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


def test_a_video_of_any_rate_has_an_overlay_and_its_own_times(tmp_path, capsys):
    animation = cv2.Animation()
    animation.frames = [np.full((48, 64, 3), 20 * i, dtype=np.uint8) for i in range(4)]
    animation.durations = [30, 300, 300, 30]
    cv2.imwriteanimation(str(tmp_path / "phone.gif"), animation)
    fast = cv2.VideoWriter(str(tmp_path / "fast.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 119.997, (64, 48))
    for _ in range(4):
        fast.write(np.full((48, 64, 3), 90, dtype=np.uint8))
    fast.release()
    for name, stamps in (("phone.gif", [0, 0.03, 0.33, 0.63]), ("fast.avi", np.arange(4) / 119.997)):
        out = tmp_path / name.partition(".")[0]
        assert cli.main(["reconstruct", str(tmp_path / name), "--out", str(out), "--json", *ONE_NETWORK]) == 0
        results = json.loads(capsys.readouterr().out)["results"]
        video = cv2.VideoCapture(results[0]["overlay"])
        assert video.isOpened() and int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 4
        records = [json.loads(line) for line in (out / "hands.jsonl").read_text().splitlines()]
        np.testing.assert_allclose([record["stamp"] for record in records], stamps, atol=1e-3)


@pytest.mark.slow
def test_input_images_are_never_overwritten(tmp_path, capsys):
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), np.full((48, 64, 3), 90, dtype=np.uint8))
    before = (tmp_path / "a.png").read_bytes()
    for source, out in ((tmp_path, tmp_path), (tmp_path / "a.png", tmp_path)):
        assert cli.main(["reconstruct", str(source), "--out", str(out), *ONE_NETWORK]) == 1
        assert "among the images themselves" in capsys.readouterr().err
    line = ["reconstruct", str(tmp_path), "--out", str(tmp_path / "out"), *ONE_NETWORK]
    assert cli.main([*line, "--smoothing-delay", "0.1"]) == 1
    assert "photos are not smoothed" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before
    assert cli.main(["reconstruct", str(tmp_path), "--out", str(tmp_path / "out"), "--json", *ONE_NETWORK]) == 0
    captured = capsys.readouterr()
    assert len({result["overlay"] for result in json.loads(captured.out)["results"]}) == 2
    assert "2 images, left hand in 0, right hand in 0 -> " in captured.err


@pytest.mark.slow
def test_reconstructing_a_rendered_video_finds_its_hands(tmp_path, capsys):
    """Rendered frames, coded as video, tracked: positions are those of the truth."""
    from hand_recon_ros.synthetic import load_clip

    clip_folder, out = tmp_path / "clip", tmp_path / "out"
    assert cli.main(["synth", "--out", str(clip_folder), "--frames", "8", "--seed", "3", "--format", "mp4"]) == 0
    calibration = str(clip_folder / "camera.yaml")
    source = str(clip_folder / "clip.mp4")
    assert cli.main(["reconstruct", source, "--out", str(out), "--calibration", calibration, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 8
    truth = load_clip(clip_folder).truth
    records = [json.loads(line) for line in (out / "hands.jsonl").read_text().splitlines()]
    assert [record["number"] for record in records] == list(range(8)) and all(r["calibrated"] for r in records)
    for index, side in enumerate(("left", "right")):
        hand = records[-1][side]
        assert hand["state"] == "TRACKED" and hand["track_id"] >= 1
        errors = np.linalg.norm(np.array(hand["joints"]) - truth["joints"][-1, index], axis=1)
        assert np.median(errors) < 0.1
        pixels = np.array(hand["keypoints_2d"]) - truth["keypoints_2d"][-1, index]
        assert np.median(np.linalg.norm(pixels, axis=1)) < 15
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 8
    line = ["reconstruct", source, "--calibration", calibration, "--set", "smoothing=off", "--out"]
    assert cli.main([*line, str(tmp_path / "plain")]) == 0
    assert cli.main([*line, str(tmp_path / "smooth"), "--smoothing-delay", "0.1"]) == 0
    plain, smooth = (
        [json.loads(line) for line in (tmp_path / name / "hands.jsonl").read_text().splitlines()]
        for name in ("plain", "smooth")
    )
    assert [(r["number"], r["stamp"]) for r in smooth] == [(r["number"], r["stamp"]) for r in records]
    jitter = [
        np.linalg.norm(np.diff([r["right"]["joints"] for r in each], n=3, axis=0), axis=-1).mean()
        for each in (smooth, plain)
    ]
    assert jitter[0] < 0.8 * jitter[1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["reconstruct", "/no/such/photo.jpg"], "no such file"),
        (["reconstruct", "x.jpg", "--set", "min_presence=7"], "min_presence must lie in"),
        (["reconstruct", "x.jpg", "--set", "nonsense"], "NAME=VALUE"),
        (["reconstruct", "x.jpg", "--set", "min_presence=["], "--set min_presence: '[' is not YAML"),
        (["reconstruct", "x.jpg", "--set", "min_presence=2001-02-30"], "'2001-02-30' is not YAML"),
        (["reconstruct", "x.jpg", "--set", "hand_model=/no/model.npz"], "/no/model.npz"),
        (["synth", "--out", "x", "--frames", "0"], "--frames must be at least 1"),
        (["train", "refiner", "--config", "x.yaml"], "x.yaml: not a recipe"),
        (["models", "verify", "--dest", "/no/folder"], "/no/folder"),
    ],
)
def test_failures_are_one_line(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert text in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_models_are_listed(capsys):
    assert cli.main(["models", "--json"]) == 0
    states = json.loads(capsys.readouterr().out)["models"]
    names = ("palm_detection", "hand_landmarks", "pose_detection", "pose_landmarks", "hand_recrop")
    names += ("encoder_small", "pair_detector", "refiner_small", "webxr_generic", "webxr_generic_proxies")
    assert {state["name"]: state["state"] for state in states} == dict.fromkeys(names, "ok")
    assert cli.main(["models", "verify"]) == 0


def test_json_holds_no_nan(capsys, monkeypatch):
    result = {"a": [float("nan"), np.float32(1.5)], "b": np.arange(2)}
    monkeypatch.setattr(mano_import, "import_mano", lambda *_: result)
    assert cli.main(["import-mano", "MANO_RIGHT.pkl", "--out", "hand.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": {"a": [None, 1.5], "b": [0, 1]}}


def test_the_installed_command_answers():
    command = [sys.executable, "-P", "-m", "hand_recon_ros.cli", "--version"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.strip()
