"""Recordings and options that `hand-recon bag` refuses, and files that are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import (  # noqa: E402
    IMAGE,
    INFO_TOPIC,
    PICTURE,
    TOPIC,
    Bench,
    grey,
    image_of,
    info,
    stamped,
    write_bag,
)

from hand_recon_ros import cli  # noqa: E402
from hand_recon_ros.bags.images import ImageOptions, RecordedImages  # noqa: E402
from hand_recon_ros.bags.messages import BagError, deserialized  # noqa: E402


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--image TOPIC and --out"]),
        (["--check", "--image", TOPIC], ["--check", "leave out --image"]),
        (["--check", "--fov", "70", "--with-images"], ["leave out --fov, --with-images"]),
        (["--image", "/nothing", "--out", "{folder}/o.mcap"], ["no topic /nothing", TOPIC]),
        (["--image", INFO_TOPIC, "--out", "{folder}/o.mcap"], ["carries sensor_msgs/msg/CameraInfo", TOPIC]),
        (["--image", TOPIC, "--camera-info", "/x", "--out", "{folder}/o.mcap"], ["no topic /x", INFO_TOPIC]),
        (["--image", TOPIC, "--depth", "/y", "--out", "{folder}/o.mcap"], ["no topic /y"]),
        (["--image", TOPIC, "--fov", "0", "--out", "{folder}/o.mcap"], ["field of view"]),
        (["--image", TOPIC, "--tf-prefix", "/x", "--out", "{folder}/o.mcap"], ["--tf-prefix '/x' cannot begin"]),
        (["--image", TOPIC, "--out", "{file}"], ["is the recording itself"]),
        (["--image", TOPIC, "--out", "{folder}/there.mcap"], ["exists already"]),
        (["--image", TOPIC, "--out", "{folder}/o.bag"], ["must end in .mcap"]),
        (["--image", TOPIC, "--calibration", "{folder}/none.yaml", "--out", "{folder}/o.mcap"], ["none.yaml"]),
    ],
)
def test_what_is_refused_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    file = bench.write([info(1.0), grey(1.0)])
    (bench.folder / "there.mcap").write_bytes(b"precious")
    before = file.read_bytes()
    line = [part.format(folder=bench.folder, file=file) for part in arguments]
    assert cli.main(["bag", str(file), *line]) == 1
    error = capsys.readouterr().err
    assert error.startswith("hand-recon bag: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error
    assert file.read_bytes() == before and (bench.folder / "there.mcap").read_bytes() == b"precious"
    assert sorted(path.name for path in bench.folder.iterdir()) == ["recording", "there.mcap"]


@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_compressed_messages(bench: Bench, storage: str) -> None:
    file = bench.write([info(1.0), grey(1.0), grey(1.1)], storage, compressed=True)
    assert bench.run(file.parent)["images"] == 2 and bench.cameras[0].calibrated


def test_a_recording_in_several_files(bench: Bench) -> None:
    folder = bench.write([info(1.0), grey(1.0), grey(1.1)]).parent
    second = write_bag(bench.folder / "second", [grey(1.2), grey(1.3)])
    second.rename(folder / second.name)
    metadata = folder / "metadata.yaml"
    first = f"- {folder.name}.mcap\n"
    assert first in metadata.read_text()
    metadata.write_text(metadata.read_text().replace(first, f"{first}  - {second.name}\n", 1))
    summary = bench.run(folder)
    assert summary["images"] == summary["images_expected"] == 4
    assert [hands.header.stamp.nanosec // 10**8 for hands in bench.hands] == [0, 1, 2, 3]


def test_results_do_not_go_into_the_recording(bench: Bench) -> None:
    file = bench.write([info(1.0), grey(1.0)])
    bench.out = file.parent / "hands.mcap"
    with pytest.raises(BagError, match="among the files of the recording"):
        bench.run(file.parent)


def test_a_run_that_fails_leaves_no_file(bench: Bench) -> None:
    def fails(*_: Any) -> Any:
        raise MemoryError("on purpose")

    bench.reconstructor.estimate = fails
    file = bench.write([info(1.0), grey(1.0)])
    with pytest.raises(MemoryError):
        bench.run(file)
    assert sorted(path.name for path in bench.folder.iterdir()) == ["recording"]


@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_a_recording_that_is_cut_off_is_refused(bench: Bench, storage: str) -> None:
    file = bench.write([info(1.0), *(grey(1.0 + number / 10.0) for number in range(5))], storage)
    data = file.read_bytes()
    for size in (0, 5, 100, len(data) // 2, len(data) - 10):
        file.write_bytes(data[:size])
        with pytest.raises(BagError, match=f"{file.name}: .*read as a recording.*cut off"):
            bench.run(file)
        assert not bench.out.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.mcap", "no such file"), ("notes.txt", "unknown storage '.txt'"), ("old.bag", "rosbags-convert")],
)
def test_files_that_are_no_recording(tmp_path: Path, name: str, words: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_text("text")
    with pytest.raises(BagError, match=words):
        RecordedImages(tmp_path / name, TOPIC, ImageOptions())


def test_folders_that_are_no_recording(bench: Bench) -> None:
    folder = bench.write([info(1.0), grey(1.0)]).parent
    metadata = folder / "metadata.yaml"
    text = metadata.read_text()
    metadata.write_text(text.replace("storage_identifier: mcap", "storage_identifier: tape"))
    with pytest.raises(BagError, match="'tape' not supported"):
        bench.run(folder)
    metadata.write_text(text.replace("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"))
    with pytest.raises(BagError, match=f"names 1 messages of {TOPIC}, but the files have none"):
        bench.run(folder)
    metadata.write_text(text[:200] + "\n: {")
    with pytest.raises(BagError, match="cannot be read as a recording"):
        bench.run(folder)
    metadata.unlink()
    with pytest.raises(BagError, match="no metadata.yaml"):
        bench.run(folder)


@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_bytes_that_are_wrong_end_in_one_line_or_are_left_out(bench: Bench, storage: str) -> None:
    small = [(TOPIC, 1.0 + n / 10.0, image_of(PICTURE[:24, :32], 1.0 + n / 10.0)) for n in range(4)]
    file = bench.write([info(1.0), *small], storage)
    data = file.read_bytes()
    generator = np.random.default_rng(3)
    outcomes = set()
    for _ in range(300):
        spoiled = np.frombuffer(data, np.uint8).copy()
        places = generator.integers(0, len(data), generator.integers(1, 30))
        spoiled[places] = generator.integers(0, 256, len(places))
        file.write_bytes(spoiled.tobytes())
        bench.out.unlink(missing_ok=True)
        try:
            bench.run(file, fov_deg=60.0, camera_info=None)
            outcomes.add("done")
        except BagError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"done", "refused"}
    assert list(bench.folder.glob("*.part")) == []


def test_data_that_is_no_message() -> None:
    message = stamped(IMAGE, 1.0)
    for data in (b"", b"\0\1", b"\0\1\0\0" + b"\xff" * 50, b"\7\7\7\7"):
        with pytest.raises(BagError, match="no whole sensor_msgs/msg/Image"):
            deserialized(data, IMAGE)
    assert message.__msgtype__ == IMAGE
