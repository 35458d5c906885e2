"""Pictures are read whole or refused, whatever their names; what is written is there."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_recon_ros.image_files import (
    BitDepth,
    ImageError,
    VideoWriter,
    codec_rate,
    decode_image,
    open_video,
    printable,
    read_image,
    write_image,
)

NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
PICTURE = cv2.resize(NOISE, (320, 240), interpolation=cv2.INTER_CUBIC)
KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
}
THUMBNAIL = cv2.imencode(".jpg", np.full((16, 16, 3), 90, dtype=np.uint8))[1].tobytes()


def jpeg(kind: str = "baseline", picture: np.ndarray = PICTURE) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, KINDS[kind])[1])


def with_segment(data: bytes, content: bytes) -> bytes:
    """``data``, a JPEG, with an APP1 segment, as EXIF has it."""
    return data[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "tail", [b"", b"\0" * 5000, b"\xaf" * 70, THUMBNAIL], ids=["none", "zeros", "bytes", "picture"]
)
def test_what_follows_the_end_of_a_jpeg_is_ignored(kind, tail):
    np.testing.assert_array_equal(decode_image(jpeg(kind) + tail), cv2.imdecode(np.frombuffer(jpeg(kind), np.uint8), 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [b"", b"\0" * 5000], ids=["none", "zeros"])
def test_a_jpeg_without_end_marker_is_whole(kind, tail):
    whole = cv2.imdecode(np.frombuffer(jpeg(kind), np.uint8), 1)
    np.testing.assert_array_equal(decode_image(jpeg(kind)[:-2] + tail), whole)


def test_a_grey_corner_is_not_a_missing_part():
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    assert (decode_image(jpeg(picture=grey)[:-2]) == 128).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.55, 0.9, 0.99])
@pytest.mark.parametrize("tail", [b"", b"\0" * 5000], ids=["none", "zeros"])
def test_a_jpeg_of_which_a_part_is_missing_is_refused(kind, share, tail):
    data = jpeg(kind)
    with pytest.raises(ImageError, match="is cut off"):
        decode_image(data[: int(share * len(data))] + tail)
    # A thumbnail in its head has an end marker of its own.
    with pytest.raises(ImageError, match="is cut off"):
        decode_image(with_segment(data, b"Exif\0\0" + THUMBNAIL)[: int(share * len(data)) + len(THUMBNAIL)] + tail)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm", ".jp2"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_no_other_format_is_read_in_part(tmp_path, suffix, share):
    data = cv2.imencode(suffix, PICTURE)[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: int(share * len(data))])
    with pytest.raises(OSError, match=rf"a\{suffix} (is empty|cannot be decoded)"):
        read_image(tmp_path / f"a{suffix}")


def test_a_heic_picture_is_named_whatever_its_suffix(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageError, match=r"a\.jpg is a HEIC picture.*: convert it to JPEG"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(("largest", "bits"), [(200, 8), (1023, 10), (3900, 12), (15000, 14), (65535, 16)])
def test_16_bit_pictures_are_mapped_from_the_bits_they_use(tmp_path, largest, bits):
    pixels = np.linspace(0, largest, 64 * 48).astype(np.uint16).reshape(48, 64)
    expected = (pixels >> (bits - 8)).astype(np.uint8)
    np.testing.assert_array_equal(BitDepth().to_8_bits(pixels), expected)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(expected[..., None], 3, axis=-1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", cv2.IMREAD_UNCHANGED), pixels)


def test_the_bit_depth_of_a_stream_does_not_fall():
    depth = BitDepth()
    values = [depth.to_8_bits(np.array([value], dtype=np.uint16))[0] for value in (800, 4000, 800, 100)]
    assert values == [800 >> 2, 4000 >> 4, 800 >> 4, 100 >> 4]


def test_names_that_are_not_utf8_are_read_and_written(tmp_path):
    picture, video = (tmp_path / os.fsdecode(b"caf\xe9" + suffix) for suffix in (b".png", b".mp4"))
    write_image(picture, PICTURE)
    np.testing.assert_array_equal(read_image(picture), PICTURE)
    with VideoWriter(video, 30.0, (320, 240)) as writer:
        writer.write(PICTURE)
    assert sorted(os.listdir(os.fsencode(tmp_path))) == [b"caf\xe9.mp4", b"caf\xe9.png"]
    capture = open_video(video)
    assert capture.isOpened() and np.abs(capture.read()[1].astype(int) - PICTURE).mean() < 10
    with pytest.raises(OSError, match=r"caf\\xe9 is empty"):
        Path(tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
        read_image(tmp_path / os.fsdecode(b"caf\xe9"))
    assert printable(os.fsdecode(b"a\nb\xe9")) == r"a\nb\xe9" and printable("日 本.png") == "日 本.png"


@pytest.mark.parametrize(
    ("rate", "used"), [(119.997, 120.0), (29.97, 29.97), (59.94006, 59.94), (333.3333, 333.33), (90000.0, 1000.0)]
)
def test_a_video_has_a_rate_that_the_codec_takes(tmp_path, rate, used):
    assert codec_rate(rate) == used
    with VideoWriter(tmp_path / "a.mp4", rate, (64, 48)) as writer:
        for _ in range(5):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(used, rel=1e-4)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_an_image_of_another_size_is_in_the_video_too(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 30.0, (64, 48)) as writer:
        for size in ((48, 64), (48, 64), (96, 128)):
            writer.write(np.full((*size, 3), 200, np.uint8))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert [capture.read()[0] for _ in range(4)] == [True, True, True, False]


def test_what_is_not_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r"a\.mp4: OpenCV cannot write a video of 1x1 at 30 Hz"):
        VideoWriter(tmp_path / "a.mp4", 30.0, (1, 1))
    with pytest.raises(OSError, match=r"a\.nonsense: cannot be written"):
        write_image(tmp_path / "a.nonsense", PICTURE)
    with pytest.raises(OSError, match="none"):
        write_image(tmp_path / "none" / "a.png", PICTURE)
    with pytest.raises(OSError, match="none"):
        VideoWriter(tmp_path / "none" / "a.mp4", 30.0, (64, 48))
    writer = VideoWriter(tmp_path / "b.mp4", 30.0, (64, 48))
    writer.write(PICTURE)
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(OSError, match=r"b\.mp4: 0 of 1 images were written"):
        writer.close()
    assert list(tmp_path.iterdir()) == []
