"""Image messages of ROS: built from pictures, and decoded by cv_bridge where OpenCV has no conversion."""

from __future__ import annotations

import array
from typing import Any

import numpy as np

from ..conversions import images
from ..conversions.images import READ_DIRECTLY, InputError
from ..image_files import BitDepth


def decode(message: Any, topic: str = "image", depth: BitDepth | None = None) -> np.ndarray:
    """:func:`conversions.images.decode`, and by cv_bridge what that does not know."""
    return images.decode(message, topic, depth, other=_decode_by_cv_bridge)


def _decode_by_cv_bridge(message: Any, topic: str) -> np.ndarray:
    encoding = message.encoding
    try:
        # Imported only when needed: its binary part fails under other NumPy versions than the one it was built with.
        from cv_bridge import CvBridge

        image = CvBridge().imgmsg_to_cv2(message, desired_encoding="bgr8")
    except ImportError as error:
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} is not read directly ({READ_DIRECTLY} are) and cv_bridge is not"
            f" available ({error}): set the driver to one of these or install cv_bridge",
        ) from error
    except Exception as error:  # cv_bridge raises its own error, cv2's, KeyError... for an encoding it does not support
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} is unknown, expected one of {READ_DIRECTLY}: set the driver to one of"
            f" these (cv_bridge: {type(error).__name__}: {error})",
        ) from error
    if image.dtype != np.uint8 or image.shape != (message.height, message.width, 3):
        raise InputError(
            "encoding",
            f"{topic}: cv_bridge returned {image.dtype} {image.shape} for encoding {encoding!r}, expected one of"
            f" {READ_DIRECTLY}: set the driver to one of these",
        )
    return image


def build_image_message(image: np.ndarray, header: Any = None) -> Any:
    """A sensor_msgs/Image (bgr8) of ``image``, uint8 (H, W, 3), BGR; without ``header`` its header is empty."""
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    height, width = image.shape[:2]
    message = Image(header=header or Header(), height=height, width=width, encoding="bgr8", step=3 * width)
    # An array of the field's own type is the only value that the setter takes without a check of every byte.
    message.data = array.array("B", image.tobytes())
    return message


def build_compressed_image_message(image: np.ndarray, quality: int, header: Any = None) -> Any:
    """A sensor_msgs/CompressedImage (JPEG) of ``image``, as above; ``quality`` 1..100. Raises ValueError."""
    import cv2
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {image.shape} as JPEG")
    message = CompressedImage(header=header or Header(), format="bgr8; jpeg compressed bgr8")
    message.data = array.array("B", data.tobytes())
    return message
