"""Camera messages: what is read, byte for byte, and how everything else is refused."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("sensor_msgs")

from builtin_interfaces.msg import Time  # noqa: E402
from ros_support import CAMERA, HEIGHT, WIDTH, K, camera_info, image_message  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from hand_recon_ros.conversions.cameras import CameraInfos  # noqa: E402
from hand_recon_ros.conversions.images import InputError  # noqa: E402
from hand_recon_ros.image_files import BitDepth  # noqa: E402
from hand_recon_ros.ros.images import decode  # noqa: E402


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth colours, so that demosaicking and chroma subsampling lose little; all channels differ."""
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)


def test_bgr8_is_a_view_of_the_message(picture: np.ndarray) -> None:
    message = image_message(picture)
    image = decode(message)
    np.testing.assert_array_equal(image, picture)
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))


def test_row_padding_is_skipped(picture: np.ndarray) -> None:
    padded = np.full((48, 64 * 3 + 10), 77, np.uint8)
    padded[:, : 64 * 3] = picture.reshape(48, -1)
    message = image_message(picture, step=padded.shape[1], data=array.array("B", padded.tobytes()))
    np.testing.assert_array_equal(decode(message), picture)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", [2, 1, 0]), ("bgra8", [0, 1, 2, 2]), ("rgba8", [2, 1, 0, 0]), ("8UC3", [0, 1, 2])]
)
def test_channel_orders(picture: np.ndarray, encoding: str, order: list[int]) -> None:
    np.testing.assert_array_equal(decode(image_message(picture[..., order], encoding)), picture)


def test_mono8(picture: np.ndarray) -> None:
    grey = np.ascontiguousarray(picture[..., 0])
    np.testing.assert_array_equal(decode(image_message(grey, "mono8")), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "bgr16", "rgb16"])
def test_sixteen_bits_in_either_byte_order(picture: np.ndarray, encoding: str, big: bool) -> None:
    wanted = np.repeat(picture[..., :1], 3, axis=-1) if encoding == "mono16" else picture
    source = {"mono16": picture[..., 0], "bgr16": picture, "rgb16": picture[..., ::-1]}[encoding]
    wide = (source.astype(np.uint16) << 8 | 0x5A).astype(">u2" if big else "<u2")
    np.testing.assert_array_equal(decode(image_message(wide, encoding, is_bigendian=int(big))), wanted)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns_give_back_the_colours(picture: np.ndarray, pattern: str, bits: int) -> None:
    mosaic = np.empty(picture.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = picture[row::2, column::2, "bgr".index(colour)]
    data = mosaic if bits == 8 else mosaic.astype(np.uint16) << 8
    image = decode(image_message(data, f"bayer_{pattern}{bits}"))
    error = np.abs(image.astype(int) - picture)[2:-2, 2:-2]
    assert error.max() <= 4


@pytest.mark.parametrize(
    ("encoding", "order"), [("uyvy", (1, 0)), ("yuv422", (1, 0)), ("yuyv", (0, 1)), ("yuv422_yuy2", (0, 1))]
)
def test_yuv422(picture: np.ndarray, encoding: str, order: tuple[int, int]) -> None:
    yuv = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV).astype(int)
    packed = np.empty((48, 64, 2), np.uint8)
    # BT.601 in studio range, which is what cameras send and OpenCV expects of the packed formats.
    packed[..., order[0]] = np.round(16 + yuv[..., 0] * 219 / 255)
    u = 128 + (picture[..., 0].astype(float) - yuv[..., 0]) * 0.564 * 224 / 255
    v = 128 + (picture[..., 2].astype(float) - yuv[..., 0]) * 0.713 * 224 / 255
    packed[:, 0::2, order[1]], packed[:, 1::2, order[1]] = np.round(u[:, 0::2]), np.round(v[:, 0::2])
    image = decode(image_message(packed, encoding))
    assert np.abs(image.astype(int) - picture).mean() < 4


def compressed(image: np.ndarray, extension: str = ".png", text: str = "png") -> CompressedImage:
    return CompressedImage(format=text, data=array.array("B", cv2.imencode(extension, image)[1].tobytes()))


def test_compressed_images(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(compressed(picture)), picture)
    assert np.abs(decode(compressed(picture, ".jpg", "jpeg")).astype(int) - picture).mean() < 3
    swapped = compressed(picture[..., ::-1], text="rgb8; png compressed rgb8")
    np.testing.assert_array_equal(decode(swapped), picture)


def test_an_8k_jpeg_is_read() -> None:
    assert decode(compressed(np.zeros((4320, 7680, 3), np.uint8), ".jpg", "jpeg")).shape == (4320, 7680, 3)


def test_exif_rotation_is_ignored(picture: np.ndarray) -> None:
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert decode(CompressedImage(format="jpeg", data=array.array("B", turned))).shape == picture.shape


BAD = {
    "truncated": (
        lambda: image_message(data=array.array("B", bytes(1000))),
        "data",
        ["truncated", "1000", str(WIDTH * HEIGHT * 3)],
    ),
    "too long": (lambda: image_message(data=array.array("B", bytes(WIDTH * HEIGHT * 3 + 1))), "data", ["too long"]),
    "empty": (lambda: image_message(data=array.array("B")), "data", ["truncated", " 0 bytes"]),
    "no size": (lambda: image_message(width=0, height=0), "size", ["0x0", "16x16"]),
    "one pixel": (lambda: image_message(np.zeros((1, 1, 3), np.uint8)), "size", ["1x1", "16x16"]),
    "step too small": (lambda: image_message(step=WIDTH), "step", [str(WIDTH), str(WIDTH * 3), "bgr8"]),
    "step zero": (lambda: image_message(step=0), "step", ["step is 0"]),
    "odd step": (lambda: image_message(np.zeros((20, 20), np.uint16), "mono16", step=41), "step", ["41"]),
    "unknown encoding": (lambda: image_message(encoding="xyz9"), "encoding", ["'xyz9'", "bgr8", "cv_bridge"]),
    "no encoding": (lambda: image_message(encoding=""), "encoding", ["''", "bgr8"]),
    "depth": (lambda: image_message(np.zeros((20, 20), np.uint16), "16UC1"), "encoding", ["16UC1", "depth", "remap"]),
    "jpeg empty": (lambda: CompressedImage(format="jpeg"), "data", ["no data", "jpeg"]),
    "jpeg rubbish": (
        lambda: CompressedImage(format="jpeg", data=array.array("B", bytes(500))),
        "data",
        ["500 bytes", "decoded"],
    ),
    "jpeg cut off": (
        lambda: CompressedImage(format="jpeg", data=compressed(np.full((90, 90, 3), 9, np.uint8), ".jpg").data[:-300]),
        "data",
        ["cut off"],
    ),
    "jpeg of one pixel": (lambda: compressed(np.zeros((1, 1, 3), np.uint8)), "size", ["1x1"]),
    "compressed depth": (
        lambda: CompressedImage(format="16UC1; compressedDepth png", data=array.array("B", b"12")),
        "encoding",
        ["depth", "remap"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_refused_with_topic_value_and_expectation(name: str) -> None:
    make, kind, words = BAD[name]
    with pytest.raises(InputError) as error:
        decode(make(), "/camera/image")
    assert error.value.kind == kind
    for word in ("/camera/image", *words):
        assert word in str(error.value)


def camera_of(info: Any | None, rectified: bool = False, fallback_fov: float = 0.0, infos: CameraInfos | None = None):
    """The camera of an image of WIDTH x HEIGHT with this camera_info."""
    infos = infos or CameraInfos("/cam/image", "/cam/camera_info")
    if info is not None:
        infos.add(info)
    return infos.camera(Time(), WIDTH, HEIGHT, rectified, fallback_fov)


def test_camera_comes_from_camera_info_and_is_made_once() -> None:
    infos = CameraInfos("/cam/image", "/cam/camera_info")
    camera = camera_of(camera_info(), infos=infos)
    np.testing.assert_array_equal(camera.K, K)
    assert camera.calibrated
    assert camera_of(camera_info(), infos=infos) is camera
    moved = camera_info(k=(K + np.diag([1.0, 1.0, 0.0])).reshape(-1))
    assert camera_of(moved, infos=infos).K[0, 0] == 301.0


def test_an_image_has_the_camera_info_with_its_stamp_else_the_newest() -> None:
    infos = CameraInfos("/cam/image", "/cam/camera_info")
    for second in range(1, 12):
        info = camera_info(k=(K + np.diag([second, second, 0.0])).reshape(-1))
        info.header.stamp.sec = second
        infos.add(info)
    focal_lengths = [infos.camera(Time(sec=s), WIDTH, HEIGHT, False, 0.0).K[0, 0] for s in (5, 11, 30, 1)]
    assert focal_lengths == [305.0, 311.0, 311.0, 311.0]  # the first ones are no longer stored


def test_rectified_images_take_p_and_no_distortion() -> None:
    P = np.hstack([K * [[2], [2], [1]], np.zeros((3, 1))])
    camera = camera_of(camera_info(d=[0.1, 0.0, 0.0, 0.0, 0.0], p=P.reshape(-1)), rectified=True)
    assert (camera.K[0, 0], camera.distortion_model) == (600.0, "none")


def test_binning_and_roi_count_in_the_size() -> None:
    info = camera_info(width=1280, height=960, binning_x=2, binning_y=2)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 50, 2 * WIDTH, 2 * HEIGHT
    np.testing.assert_allclose(camera_of(info).K, [[150, 0, 30], [0, 150, 35], [0, 0, 1]])


@pytest.mark.parametrize("info", [None, camera_info(k=[0.0] * 9)])
def test_without_calibration_the_fallback_is_a_guess(info: object) -> None:
    camera = camera_of(info, fallback_fov=60.0)
    assert not camera.calibrated
    assert camera.K[0, 0] == pytest.approx(WIDTH / 2 / np.tan(np.radians(30)))


BAD_INFO = {
    "none": (None, "no_camera_info", ["/cam/camera_info", "/cam/image", "fallback_fov"]),
    "zeros": (camera_info(k=[0.0] * 9), "uncalibrated", ["K of /cam/camera_info is all zeros", "fallback_fov"]),
    "nan": (
        camera_info(k=np.where(np.eye(3) > 0, np.nan, K).reshape(-1)),
        "camera_info",
        ["not finite", "/cam/camera_info"],
    ),
    "negative": (camera_info(k=[-1.0, 0, 0, 0, 1, 0, 0, 0, 1]), "camera_info", ["focal lengths", "-1"]),
    "model": (camera_info(distortion_model="fisheye9"), "camera_info", ["'fisheye9'", "plumb_bob", "equidistant"]),
    "size": (camera_info(width=640, height=480), "camera_size", ["640x480", f"{WIDTH}x{HEIGHT}", "/cam/image"]),
    "no size": (camera_info(width=0, height=0), "camera_info", ["0x0"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_INFO)
def test_bad_camera_info_is_refused(name: str) -> None:
    info, kind, words = BAD_INFO[name]
    with pytest.raises(InputError) as error:
        camera_of(info)
    assert error.value.kind == kind
    for word in words:
        assert word in str(error.value)


def test_a_wrong_camera_info_is_not_replaced_by_the_fallback() -> None:
    with pytest.raises(InputError, match="does not match"):
        camera_of(camera_info(width=640, height=480), fallback_fov=60.0)
    assert CAMERA.calibrated


def test_a_jpeg_in_a_padded_buffer_is_whole(picture: np.ndarray) -> None:
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    padded = CompressedImage(format="jpeg", data=array.array("B", data + bytes(200)))
    np.testing.assert_array_equal(decode(padded), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_an_odd_size_in_paired_chroma_is_bad_input(picture: np.ndarray) -> None:
    with pytest.raises(InputError, match="63x48"):
        decode(image_message(np.zeros((48, 63, 2), np.uint8), "yuv422_yuy2"))


def yuv_planes(picture: np.ndarray) -> np.ndarray:
    """Y, U and V (3, H, W) in studio range, BT.601."""
    blue, green, red = np.moveaxis(picture.astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = [128 + (colour - luma) * scale * 224 / 255 for colour, scale in ((blue, 0.564), (red, 0.713))]
    return np.clip(np.round([16 + luma * 219 / 255, *chroma]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 12])
@pytest.mark.parametrize("encoding", ["nv12", "NV12", "nv21", "nv16", "nv61", "nv24", "nv42", "i420", "yuv420", "yv12"])
def test_planar_yuv(picture: np.ndarray, encoding: str, padding: int) -> None:
    luma, u, v = yuv_planes(picture)
    kind = encoding.lower()
    first, second = (v, u) if kind in ("nv21", "nv61", "nv42", "yv12") else (u, v)
    columns = 1 if kind in ("nv24", "nv42") else 2
    rows = 1 if kind in ("nv16", "nv61", "nv24", "nv42") else 2
    first, second = first[::rows, ::columns], second[::rows, ::columns]
    step = 64 + padding
    planes = [(luma, step)]
    if kind.startswith("nv"):
        planes.append((np.stack([first, second], axis=-1).reshape(len(first), -1), step // columns * 2))
    else:
        planes += [(first, step // 2), (second, step // 2)]
    data = b"".join(np.pad(p, ((0, 0), (0, s - p.shape[1])), constant_values=77).tobytes() for p, s in planes)
    message = image_message(luma, encoding, step=step, data=array.array("B", data))
    error = np.abs(decode(message).astype(int) - picture)
    assert error.mean() < 4
    with pytest.raises(InputError, match="truncated"):
        decode(image_message(luma, encoding, step=step, data=array.array("B", data[:-1])))


def test_an_odd_size_in_planar_yuv_is_bad_input() -> None:
    with pytest.raises(InputError, match="63x48.*even size"):
        decode(image_message(np.zeros((48, 63), np.uint8), "nv12"))


def test_ten_bits_in_sixteen_are_not_black(picture: np.ndarray) -> None:
    grey = picture[..., 1]
    for bits in (10, 12, 14):
        image = decode(image_message(grey.astype(np.uint16) << (bits - 8), "mono16"))
        np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=-1))
    # The brightness of a stream does not jump where an image of it is dark.
    depth = BitDepth()
    bright = decode(image_message(grey.astype(np.uint16) << 4, "mono16"), depth=depth)
    dark = decode(image_message(grey.astype(np.uint16) << 1, "mono16"), depth=depth)
    np.testing.assert_array_equal(dark, bright >> 3)


def test_infrared_through_compressed_is_not_black(picture: np.ndarray) -> None:
    grey = picture[..., 1]
    image = decode(compressed(grey.astype(np.uint16) << 2, text="mono16; png compressed mono16"))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("text", ["16UC1; png compressed 16UC1", "16UC1; png compressed ", "16UC1", "png"])
def test_depth_through_compressed_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="depth") as error:
        decode(compressed(np.full((48, 64), 900, np.uint16), text=text), "/cam/depth")
    assert error.value.kind == "encoding"


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_a_picture_file_in_a_raw_image_is_refused(encoding: str, extension: str) -> None:
    small = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    data = cv2.imencode(extension, cv2.resize(small, (640, 480)))[1].tobytes()
    shape = (480, 640) if encoding == "mono8" else (480, 640, 3)
    size = int(np.prod(shape))
    raw = image_message(np.zeros(shape, np.uint8), encoding, data=array.array("B", data.ljust(size, b"\0")))
    with pytest.raises(InputError, match=rf"is a {'JPEG' if extension == '.jpg' else 'PNG'} file.*use_compressed"):
        decode(raw)
    # Pixels that only begin like one are pixels.
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    pixels.reshape(-1)[:3] = 0xFF, 0xD8, 0xFF
    assert decode(image_message(pixels, encoding)).shape == (480, 640, 3)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_through_compressed_has_its_colours(picture: np.ndarray, pattern: str, bits: int) -> None:
    mosaic = np.empty(picture.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        mosaic[row::2, column::2] = picture[row::2, column::2, "bgr".index(colour)]
    encoding = f"bayer_{pattern}{bits}"
    data = mosaic if bits == 8 else mosaic.astype(np.uint16) << 8
    for text in (f"{encoding}; png compressed {encoding}", f"{encoding}; png compressed ", encoding):
        error = np.abs(decode(compressed(data, text=text)).astype(int) - picture)[2:-2, 2:-2]
        assert error.max() <= 4
    # image_transport may convert it before the codec does its work.
    np.testing.assert_array_equal(decode(compressed(picture, text=f"{encoding}; png compressed bgr8")), picture)


def test_16_bit_colours_through_compressed(picture: np.ndarray) -> None:
    wide = picture[..., ::-1].astype(np.uint16) << 8
    np.testing.assert_array_equal(decode(compressed(wide, text="rgb16; png compressed rgb16")), picture)


@pytest.mark.parametrize("tail", [b"\x12\x34" * 100, bytes(70000)])
def test_a_jpeg_with_bytes_after_its_end_or_without_end_is_whole(picture: np.ndarray, tail: bytes) -> None:
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    for whole in (data + tail, data[:-2]):
        message = CompressedImage(format="jpeg", data=array.array("B", whole))
        np.testing.assert_array_equal(decode(message), expected)
