"""Camera calibration files: those of ROS's camera_calibration, of OpenCV and of Kalibr."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from .camera import Camera, CameraError
from .image_files import printable

_NAMES = {
    "image_width": ("imagewidth", "width", "calibimagewidth"),
    "image_height": ("imageheight", "height", "calibimageheight"),
    "camera_matrix": ("cameramatrix", "intrinsicmatrix", "k", "mtx"),
    "distortion_model": ("distortionmodel",),
    "distortion_coefficients": ("distortioncoefficients", "distcoeffs", "distcoeff", "distortioncoeffs", "d", "dist"),
}
"""Names of the fields of calibration files, in lower case without other characters."""

__all__ = ["calibration_path", "camera_for_image", "read_calibration", "scaled_camera", "write_calibration"]


def calibration_path(url: str) -> str:
    """The local path of a ``camera_info_url``: a path or a ``file://`` URL. Raises CameraError for other schemes."""
    parsed = urlparse(url)
    if parsed.scheme in ("", "file"):
        return os.path.expanduser(unquote(parsed.path) if parsed.scheme else url)
    raise CameraError(f"calibration {url!r}: only a path or a file:// URL can be read, got {parsed.scheme}://")


def read_calibration(path: str | os.PathLike[str]) -> Camera:
    """The camera described by a calibration file.

    Args:
        path: YAML with image_width, image_height, camera_matrix {data: 9 numbers}, and, where the lens distorts,
            distortion_model and distortion_coefficients {data}, as written by camera_calibration; the same in OpenCV's
            FileStorage (YAML, XML or JSON), also under the names of OpenCV's examples; or the first camera of Kalibr's
            camchain.

    Raises CameraError where the file is missing, has another format, or describes no possible camera.
    """
    import cv2
    import yaml

    name = printable(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        content = _file_storage(text) if _is_file_storage(text) else yaml.safe_load(text)
    except OSError as error:
        raise CameraError(f"calibration {name}: {error.strerror or error}") from error
    # yaml passes on what its constructors raise, as for the date 2001-02-30.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CameraError(f"calibration {name}: not YAML ({(str(error).splitlines() or [''])[0]})") from error
    except (cv2.error, SystemError) as error:  # the latter by FileStorage's constructor
        raise CameraError(f"calibration {name}: not a file that OpenCV's FileStorage reads (cut off?)") from error
    if not isinstance(content, Mapping):
        raise CameraError(f"calibration {name}: expected a mapping with camera_matrix, got {type(content).__name__}")
    try:
        return _camera(content)
    except CameraError as error:
        raise CameraError(f"calibration {name}: {error}") from error


def _is_file_storage(text: str) -> bool:
    return "opencv-matrix" in text or "opencv_storage" in text or text.startswith("%YAML:")


def _file_storage(text: str) -> dict[str, Any]:
    """What OpenCV's FileStorage has written, as that of camera_calibration; raises cv2.error, SystemError."""
    import cv2

    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    content: dict[str, Any] = {}
    for key in storage.root().keys():  # noqa: SIM118 (no mapping)
        node = storage.getNode(key)
        if node.isMap():
            matrix = node.mat()
            if matrix is not None:
                content[key] = {"data": np.ravel(matrix).tolist()}
        elif node.isSeq():
            content[key] = [node.at(i).real() for i in range(node.size())]
        elif node.isString():
            content[key] = node.string()
        else:
            content[key] = node.real()
    storage.release()
    return content


def _in_own_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a calibration file under the names of camera_calibration."""
    given = {re.sub("[^a-z0-9]", "", str(key).lower()): value for key, value in content.items()}
    if isinstance(given.get("cam0"), Mapping):
        return _of_kalibr(given["cam0"])
    fields = {
        name: given[other] for name, others in _NAMES.items() for other in reversed(others) if other in given
    }  # the first of the others that is there
    size = next((given[name] for name in ("imagesize", "resolution") if name in given), None)
    size = size.get("data") if isinstance(size, Mapping) else size
    if isinstance(size, Sequence) and len(size) == 2:
        fields.setdefault("image_width", size[0])
        fields.setdefault("image_height", size[1])
    if given.get("fisheyemodel"):
        fields.setdefault("distortion_model", "equidistant")
    return fields


def _of_kalibr(camera: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a camera in Kalibr's camchain.yaml."""
    intrinsics, size = (
        each if isinstance(each := camera.get(name), Sequence) else () for name in ("intrinsics", "resolution")
    )
    if camera.get("camera_model") != "pinhole" or len(intrinsics) != 4 or len(size) != 2:
        raise CameraError(
            "cam0 needs camera_model: pinhole, intrinsics [fu, fv, pu, pv] and resolution [width, height]"
        )
    fu, fv, pu, pv = intrinsics
    return {
        "image_width": size[0],
        "image_height": size[1],
        "camera_matrix": [fu, 0.0, pu, 0.0, fv, pv, 0.0, 0.0, 1.0],
        "distortion_model": camera.get("distortion_model"),
        "distortion_coefficients": camera.get("distortion_coeffs"),
    }


def _camera(content: Mapping[str, Any]) -> Camera:
    content = _in_own_names(content)
    for name in ("image_width", "image_height", "camera_matrix"):
        if name not in content:
            raise CameraError(
                f"{name} is missing (expected the format of camera_calibration, OpenCV's FileStorage or Kalibr's)"
            )
    K = _numbers(content, "camera_matrix")
    if K.size != 9:
        raise CameraError(f"camera_matrix needs 9 numbers, got {K.size}")
    D = _numbers(content, "distortion_coefficients") if content.get("distortion_coefficients") else np.zeros(0)
    # OpenCV names no model: the number of coefficients says which.
    model = str(content.get("distortion_model") or "plumb_bob") if D.size else "none"
    try:
        width, height = int(content["image_width"]), int(content["image_height"])
    except (TypeError, ValueError, OverflowError) as error:
        raise CameraError(f"image_width and image_height must be whole numbers ({error})") from error
    return Camera(K=K.reshape(3, 3), width=width, height=height, distortion_model=model, D=D)


def _numbers(content: Mapping[str, Any], name: str) -> np.ndarray:
    value = content[name]
    data = value.get("data") if isinstance(value, Mapping) else value
    try:
        return np.array(data, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise CameraError(f"{name} must hold numbers under 'data', got {data!r:.200}") from error


def write_calibration(path: str | os.PathLike[str], camera: Camera, name: str = "camera") -> None:
    """Write ``camera`` as a calibration file; :func:`read_calibration` returns the same numbers bit for bit."""
    import yaml

    def matrix(values: np.ndarray) -> dict[str, Any]:
        values = np.atleast_2d(values)
        return {"rows": values.shape[0], "cols": values.shape[1], "data": [float(v) for v in values.ravel()]}

    # In this format an image without distortion is plumb_bob with zeros.
    D = camera.D if camera.distortion_model != "none" else np.zeros(5)
    content = {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": name,
        "camera_matrix": matrix(camera.K),
        "distortion_model": camera.distortion_model if camera.distortion_model != "none" else "plumb_bob",
        "distortion_coefficients": matrix(D),
        "rectification_matrix": matrix(np.eye(3)),
        "projection_matrix": matrix(np.hstack([camera.K, np.zeros((3, 1))])),
    }
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False)


def camera_for_image(calibration: Camera, width: int, height: int, name: str) -> Camera:
    """The camera of an image of ``width`` x ``height`` pixels: ``calibration`` scaled to its size.

    Raises CameraError, with the ``name`` of the calibration, where the aspect ratio is another: such an image shows
    another part of the scene, or is turned. One pixel and a half is left to rounding.
    """
    off = min(
        abs(width - height * calibration.width / calibration.height),
        abs(height - width * calibration.height / calibration.width),
    )
    if off < 1.5:
        return scaled_camera(calibration, width, height)
    turned = abs(height - width * calibration.width / calibration.height) < 1.5
    how = ", which is turned (by its EXIF orientation?)" if turned else ""
    raise CameraError(
        f"calibration {name} is for {calibration.width}x{calibration.height}, but the image is {width}x{height}{how}:"
        " expected the same aspect ratio; calibrate at this resolution, or give the images as the camera took them"
    )


def image_cameras(calibration: str | None, fov_deg: float) -> Callable[[np.ndarray], Camera]:
    """A function that gives the camera of an image (H, W, 3): that of a calibration file, scaled to the image's size.

    Without a file the field of view across the longer side is ``fov_deg``, degrees. Raises CameraError, and so does the
    function where the calibration is for another aspect ratio.
    """
    known = read_calibration(calibration_path(calibration)) if calibration else None

    def camera_of(image: np.ndarray) -> Camera:
        height, width = image.shape[:2]
        if known is None:
            return Camera.from_fov(width, height, fov_deg)
        return camera_for_image(known, width, height, str(calibration))

    return camera_of


def scaled_camera(camera: Camera, width: int, height: int) -> Camera:
    """The camera of the same image resized to ``width`` x ``height`` pixels; the distortion is the same."""
    scale = np.array([width / camera.width, height / camera.height])
    K = np.array(camera.K)
    # Pixel centres have whole coordinates: the fixed point of the scaling is the outer corner of the first pixel.
    K[:2, 2] = (K[:2, 2] + 0.5) * scale - 0.5
    K[0, :2] *= scale[0]
    K[1, 1] *= scale[1]
    return dataclasses.replace(camera, K=K, width=width, height=height)
