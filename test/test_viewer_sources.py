"""What is shown of each kind of source: which hands, with which image, at which pace, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("viser")
pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import (  # noqa: E402
    PICTURE,
    TOPIC,
    Bench,
    Recorded,
    image_of,
    info,
    read_hands_file,
    rewrite,
)
from ros_support import CAMERA, ScriptedReconstructor, estimate_of  # noqa: E402
from test_bags_without_ros import WITHOUT_ROS  # noqa: E402
from test_minimal_environment import WITHOUT  # noqa: E402
from viewer_support import SceneClient  # noqa: E402

from hand_recon_ros import cli  # noqa: E402
from hand_recon_ros.bags.messages import BagError  # noqa: E402
from hand_recon_ros.bags.output import HANDS  # noqa: E402
from hand_recon_ros.calibration import write_calibration  # noqa: E402
from hand_recon_ros.camera import CameraError  # noqa: E402
from hand_recon_ros.config import ReconstructorConfig  # noqa: E402
from hand_recon_ros.sources import SourceImage  # noqa: E402
from hand_recon_ros.types import Side, TwoHandEstimate  # noqa: E402
from hand_recon_ros.viewer import files  # noqa: E402
from hand_recon_ros.viewer.frames import ViewedFrame, ViewError  # noqa: E402
from hand_recon_ros.viewer.playback import Playback  # noqa: E402
from hand_recon_ros.viewer.view import ViewOptions, open_view_source, show_source  # noqa: E402


class Reconstructor(ScriptedReconstructor):
    """Scripted, for single images as well; the right hand is LOST in every second image of a stream."""

    def __init__(self, config: ReconstructorConfig | None = None) -> None:
        super().__init__(config)
        self.estimate = lambda image, camera, stamp: estimate_of(True, len(self.calls) % 2 == 1, camera, stamp)
        self.single_images = 0

    def reconstruct_image(self, image_bgr: np.ndarray, camera: Any) -> TwoHandEstimate:
        self.single_images += 1
        return estimate_of(camera=camera)


class Clock(Playback):
    """The pace of a test: the times at which things were shown, by a clock that advances only while it is waited."""

    def __init__(self) -> None:
        self.now = 100.0
        super().__init__(threading.Event(), self._advance, lambda: self.now)

    def _advance(self, seconds: float) -> None:
        self.now += seconds


def shown(
    source: Path | str, options: ViewOptions | None = None, playback: Playback | None = None, **settings: Any
) -> tuple[list[ViewedFrame], Reconstructor, list[str]]:
    """The frames of a source, the reconstructor, and what was wrong."""
    made: list[Reconstructor] = []

    def make(config: ReconstructorConfig) -> Any:
        made.append(Reconstructor(config))
        return made[0]

    config = ReconstructorConfig(**settings)
    opened = open_view_source(str(source), options or ViewOptions(), config, make)
    try:
        return list(opened.frames(playback or Clock())), made[0] if made else Reconstructor(), opened.problems()
    finally:
        opened.close()


def grey_of(frame: ViewedFrame) -> int | None:
    """The brightness of a frame's picture."""
    picture = frame.picture()
    return None if picture is None else round(float(picture.image.mean()))


def video(path: Path, durations: list[int]) -> Path:
    """A video of grey images, each for so many milliseconds."""
    animation = cv2.Animation()
    animation.frames = [np.full((48, 64, 3), 20 * i, dtype=np.uint8) for i in range(len(durations))]
    animation.durations = durations
    cv2.imwriteanimation(str(path), animation)
    return path


def test_a_video_is_reconstructed_at_its_own_pace(tmp_path: Path) -> None:
    clock = Clock()
    begin = clock.now
    frames, reconstructor, problems = shown(video(tmp_path / "phone.gif", [30, 300, 300, 30]), playback=clock)
    assert [grey_of(frame) for frame in frames] == [0, 20, 40, 60] and problems == []
    assert clock.now - begin == pytest.approx(0.63, abs=1e-3)
    np.testing.assert_allclose([frame.estimate.stamp for frame in frames], [0.0, 0.03, 0.33, 0.63], atol=1e-3)
    assert [frame.estimate.right.found for frame in frames] == [True, False, True, False]
    assert all(np.isnan(frame.latency) for frame in frames)
    picture = frames[0].picture()
    assert picture is not None and picture.camera.width == 64 and not picture.camera.calibrated
    assert [camera.width for _, camera, _ in reconstructor.calls] == [64] * 4


def test_photos_are_shown_one_by_one(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), 50 * number, dtype=np.uint8))
    (tmp_path / "3.png").write_bytes(b"no picture")
    clock = Clock()
    begin = clock.now
    frames, reconstructor, problems = shown(tmp_path, playback=clock)
    assert [grey_of(frame) for frame in frames] == [0, 50, 100] and reconstructor.single_images == 3
    assert clock.now - begin == pytest.approx(3 * files.PHOTO_TIME)
    (problem,) = problems
    assert problem.startswith("left out: 3.png: cannot be decoded")


class Webcam:
    """Two images that were taken half a second ago."""

    live, size = True, (64, 48)

    def __init__(self, _: str) -> None:
        self.left_out: dict[str, str] = {}

    def __iter__(self) -> Iterator[SourceImage]:
        for number in range(2):
            yield SourceImage(np.full((48, 64, 3), number, np.uint8), number, "0", captured=time.time() - 0.5)

    def close(self) -> None: ...


def test_a_camera_waits_for_no_browser_and_its_images_have_a_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "open_source", Webcam)
    opened = open_view_source("0", ViewOptions(), ReconstructorConfig(), Reconstructor)  # type: ignore[arg-type]
    frames = list(opened.frames(Clock()))
    assert len(frames) == 2 and all(0.5 <= frame.latency < 60.0 for frame in frames)
    stop = threading.Event()
    screen = Screen(stop, 2)
    assert show_source(opened, screen, stop) == 2 and screen.waited == 0  # type: ignore[arg-type]


def test_a_calibration_of_another_aspect_is_refused_before_anything_is_shown(tmp_path: Path) -> None:
    write_calibration(tmp_path / "camera.yaml", dataclasses.replace(CAMERA, width=100))
    source = video(tmp_path / "phone.gif", [30, 30])
    with pytest.raises(CameraError, match="is for 100x240, but the image is 64x48"):
        open_view_source(str(source), ViewOptions(calibration=str(tmp_path / "camera.yaml")), ReconstructorConfig())


def recording(folder: Path, change: Callable[[list[Recorded]], Any] = lambda recorded: None) -> Path:
    """A recording of four images, each brighter, with camera_info."""
    recorded = [info(10.0)]
    for number in range(4):
        stamp = 10.0 + 0.1 * number
        recorded.append((TOPIC, stamp, image_of(np.full_like(PICTURE, 40 * number), stamp)))
    change(recorded)
    return Bench(folder).write(recorded)


def test_a_recording_is_reconstructed_while_it_plays(tmp_path: Path) -> None:
    clock = Clock()
    begin = clock.now
    source = recording(tmp_path, lambda recorded: recorded.append((TOPIC, 10.05, image_of(PICTURE, 10.05, "strange"))))
    frames, reconstructor, problems = shown(source, playback=clock)
    assert [grey_of(frame) for frame in frames] == [0, 40, 80, 120] and {frame.frame_id for frame in frames} == {
        "camera"
    }
    assert clock.now - begin == pytest.approx(0.3)
    assert all(camera.calibrated for _, camera, _ in reconstructor.calls) and problems == []
    assert [frame.estimate.right.found for frame in frames] == [True, False, True, False]
    frames, *_ = shown(source.parent)  # the folder of the recording
    assert len(frames) == 4


def test_the_hands_of_a_recording_are_shown_with_their_images(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.reconstructor = Reconstructor()
    bench.run(recording(tmp_path), with_images=True)
    clock = Clock()
    begin = clock.now
    frames, reconstructor, problems = shown(bench.out, playback=clock)
    assert not reconstructor.calls and problems == [] and clock.now - begin == pytest.approx(0.3)
    assert [grey_of(frame) for frame in frames] == [0, 40, 80, 120]
    assert [frame.estimate.right.found for frame in frames] == [True, False, True, False]
    expected = estimate_of()
    for side in Side:
        hand = frames[0].estimate.hand(side)
        np.testing.assert_allclose(hand.vertices, expected.hand(side).vertices, atol=1e-5)
        np.testing.assert_allclose(hand.joints, expected.hand(side).joints, atol=1e-9)
    picture = frames[1].picture()
    assert picture is not None and picture.camera.calibrated
    again, reconstructor, _ = shown(bench.out, ViewOptions(reconstruct=True))
    assert len(reconstructor.calls) == len(again) == 4


def test_hands_without_images_and_in_another_frame(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run(recording(tmp_path))
    frames, *_ = shown(bench.out)
    assert [grey_of(frame) for frame in frames] == [None] * 4 and frames[0].estimate.left.found

    bench.out = tmp_path / "with_images.mcap"
    bench.run(next((tmp_path / "recording").glob("*.mcap")), with_images=True)

    moved = read_hands_file(bench.out)
    for topic, _, message in moved:
        if topic == HANDS:
            message.header.frame_id, message.latency = "base", 0.05
    other = tmp_path / "moved"
    other.mkdir()
    source = Bench(other).write(moved)
    opened = open_view_source(str(source), ViewOptions(), ReconstructorConfig())
    frames = list(opened.frames(Clock()))
    assert [grey_of(frame) for frame in frames] == [None] * 4
    assert {frame.frame_id for frame in frames} == {"base"} and frames[0].latency == pytest.approx(0.05)
    assert any("the hands are in 'base'" in text for text in opened.problems())
    opened.close()


def test_hands_that_cannot_be_drawn_are_left_out_and_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run(recording(tmp_path))

    def spoil(recorded: list[Recorded]) -> None:
        hands = [message for topic, _, message in recorded if topic == HANDS]
        hands[0].right.state = 9
        hands[3].left.betas = np.full(10, np.nan, np.float32)

    frames, _, problems = shown(rewrite(bench.out, tmp_path / "spoiled.mcap", spoil))
    assert len(frames) == 3 and not frames[-1].estimate.left.found and frames[-1].estimate.right.found
    assert problems == ["the left hand holds values that are not finite: it is not drawn"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (ViewOptions(), f"several topics with images: name one with --image: {TOPIC}, /other"),
        (ViewOptions(image="/nothing"), f"there is no topic /nothing; topics with images: {TOPIC}, /other"),
        (ViewOptions(image=TOPIC, hands="/hands"), "there is no topic /hands; topics with hands: none"),
        (ViewOptions(image=TOPIC, camera_info=TOPIC), "expected sensor_msgs/msg/CameraInfo"),
    ],
)
def test_topics_that_cannot_be_used_are_refused(tmp_path: Path, options: ViewOptions, text: str) -> None:
    source = recording(tmp_path, lambda recorded: recorded.append(("/other", 10.0, image_of(PICTURE, 10.0))))
    with pytest.raises((ViewError, BagError), match=re.escape(text)):
        open_view_source(str(source), options, ReconstructorConfig(), Reconstructor)  # type: ignore[arg-type]


def test_a_recording_without_hands_and_images_is_refused(tmp_path: Path) -> None:
    source = Bench(tmp_path).write([info(1.0)])
    with pytest.raises(ViewError, match="neither hands .* nor images"):
        open_view_source(str(source), ViewOptions(), ReconstructorConfig())


def test_the_pace_is_that_of_the_stamps_and_does_not_hurry() -> None:
    clock = Clock()
    times = []
    for stamp in (5.0, 5.1, 5.2):
        clock.wait(stamp)
        times.append(clock.now)
    np.testing.assert_allclose(times, [100.0, 100.1, 100.2])
    clock.now += 3.0  # it took that long
    for stamp, due in ((5.3, 103.2), (5.4, 103.3), (2.0, 103.3), (2.5, 103.8)):
        clock.wait(stamp)
        assert clock.now == pytest.approx(due)


class Screen:
    """In place of a browser: what it is given; it ends the view after some frames."""

    def __init__(self, stop: threading.Event, frames: int) -> None:
        self.stop, self.frames = stop, frames
        self.stamps, self.waited = list[float](), 0

    def wait_for_browser(self, _: threading.Event) -> None:
        self.waited += 1

    def show(self, frame: ViewedFrame) -> None:
        self.stamps.append(frame.estimate.stamp)
        if len(self.stamps) == self.frames:
            self.stop.set()

    def check(self) -> None: ...

    def say(self, texts: list[str]) -> None: ...


def test_a_video_waits_for_a_browser_and_begins_again_with_loop(tmp_path: Path) -> None:
    source = video(tmp_path / "a.gif", [10, 10, 10])
    stop = threading.Event()
    screen = Screen(stop, 7)
    opened = open_view_source(str(source), ViewOptions(), ReconstructorConfig(), Reconstructor)  # type: ignore[arg-type]
    assert show_source(opened, screen, stop, loop=True) == 7  # type: ignore[arg-type]
    np.testing.assert_allclose(screen.stamps, [0.0, 0.01, 0.02] * 2 + [0.0], atol=1e-3)
    assert screen.waited == 1


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The command as a process, and the URL that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{WITHOUT_ROS}from hand_recon_ros.cli import main\nsys.exit(main(sys.argv[1:]))"]
        + ["view", *arguments, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, found[0]
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_shows_a_recording_without_ros_until_it_is_interrupted(tmp_path: Path, number: int) -> None:
    bench = Bench(tmp_path)
    bench.run(recording(tmp_path), with_images=True)
    process, url = start(str(bench.out))
    try:
        with SceneClient(url) as client:
            client.wait(lambda: client.shown("/right/mesh") and client.shown("/camera"), "the hands")
            client.wait(lambda: "stamp 10.300 s" in client.texts, "the last image")
            process.send_signal(number)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60.0)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert result["frames"] == 4 and 1 <= result["drawn"] <= 4 and result["source"] == str(bench.out)
    assert "Traceback" not in errors and "the end, after 4 images" in errors


def test_it_ends_also_before_a_browser_was_opened(tmp_path: Path) -> None:
    """With a name that is not UTF-8, which is printed all the same."""
    bench = Bench(tmp_path)
    bench.out = tmp_path / os.fsdecode(b"caf\xe9.mcap")
    bench.run(recording(tmp_path))
    process, _ = start(str(bench.out))
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60.0)
    assert process.returncode == 0 and json.loads(output)["frames"] == 0, errors


@pytest.mark.slow
def test_a_rendered_video_is_reconstructed_in_the_process(tmp_path: Path) -> None:
    from hand_recon_ros.synthetic import load_clip, write_clip

    clip = load_clip(write_clip(tmp_path / "clip", frames=6, seed=3, fmt="mp4", progress=False))
    calibration = str(tmp_path / "clip" / "camera.yaml")
    process, url = start(str(tmp_path / "clip" / "clip.mp4"), "--calibration", calibration, "--loop")
    try:
        with SceneClient(url) as client:
            names = [f"/{side.label}/keypoints" for side in Side]
            client.wait(lambda: any(client.shown(name) for name in names), "a hand", timeout=120.0)
            found = [i for i, name in enumerate(names) if client.shown(name)]
            for index in found:
                joints = client.array(names[index], "points", -1, 3)
                nearest = np.linalg.norm(clip.truth["joints"][:, index] - joints, axis=2).mean(axis=1).min()
                assert nearest < 0.1
            assert "camera calibrated" in client.texts
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 0, errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["x.mp4"], "x.mp4: no such file"),
        (["x.mp4", "--rate", "0"], "--rate must be greater than 0"),
        (["x.mp4", "--rate", "nan"], "--rate must be greater than 0"),
        (["--fov", "200"], "field of view"),
        (["x.mp4", "--hands", "/hands", "--rectified"], "the source is images: leave out --hands, --rectified"),
        (["x.mcap", "--host", "10.0.0.1"], "x.mcap: there is no such file"),
        (["--calibration", "c.yaml", "--loop"], "the source is the live graph: leave out --calibration, --loop"),
        (["x.mp4", "--set", "threads=0"], "threads must lie in"),
        (["x.mp4", "--set", "hand_model=/no/model.npz"], "x.mp4: no such file"),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments: list[str], text: str, capsys) -> None:
    assert cli.main(["view", *arguments]) == 1
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1, error


def test_a_recording_without_what_reads_it_names_the_extra(tmp_path: Path) -> None:
    main = "from hand_recon_ros.cli import main\nsys.exit(main(['view', 'x.mcap']))"
    code = WITHOUT.format(absent={"rosbags", "mcap"}) + main
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120.0)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "needs rosbags, which is not installed: pip install 'hand_recon_ros[bags]'" in done.stderr


def test_without_ros_the_live_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    code = f"{WITHOUT_ROS}from hand_recon_ros.cli import main\nsys.exit(main(['view']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120.0)
    assert done.returncode == 1
    assert done.stderr == (
        "hand-recon view: without a source the hands of the ROS graph are shown, which needs rclpy: source a ROS 2"
        " installation, or name a recording, a video or a webcam\n"
    )
