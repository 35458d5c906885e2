"""The node ``camera_source``: a photo, a folder, a video file or a webcam as ``image`` and ``camera_info``."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ...camera import CameraError
from ...config import ConfigError, setting
from ...sources import ImageSource, SourceError, SourceImage, open_source
from ..settings import declare_settings
from .camera_frames import CameraModel, Prepared, Preparer, ahead

_PREPARED = 4


@dataclasses.dataclass(frozen=True)
class CameraSourceConfig:
    """Parameters of the node. Raises ConfigError where two contradict."""

    source: str = setting("", "photo, folder of photos (sorted by name), video file, webcam index or stream URL")
    rate: float = setting(
        0.0, "images per second; 0 is the video's or webcam's own, 1 for photos", unit="Hz", low=0.0, high=1000.0
    )
    loop: bool = setting(False, "start again at the end of the photos or the video")
    repeat: int = setting(1, "how often each photo of a folder is published before the next one", low=1, high=100000)
    duration: float = setting(0.0, "stop after this time; 0 never does", unit="s", low=0.0, high=1e6)
    exit_at_end: bool = setting(True, "exit when the source has ended; false keeps the node alive")
    linger: float = setting(
        1.0, "how long after the last image the node stays, so that nobody misses it", unit="s", low=0.0, high=60.0
    )
    wait_for_subscribers: int = setting(
        0, "publish nothing before so many subscribers of the image are there", low=0, high=100
    )
    start_delay: float = setting(
        0.0, "wait this long, after the subscribers are there, before the first image", unit="s", low=0.0, high=60.0
    )
    compressed: bool = setting(False, "publish image/compressed (JPEG) instead of image")
    jpeg_quality: int = setting(90, "JPEG quality of image/compressed", unit="%", low=1, high=100)
    reliability: str = setting(
        "reliable",
        "what the publishers offer; reliable also serves subscribers that ask for best effort",
        choices=("reliable", "best_effort"),
    )
    frame_id: str = setting("camera_optical_frame", "frame of the images (x right, y down, z forward)")
    camera_info_url: str = setting("", "calibration in camera_calibration's YAML format: a path or file:// URL")
    fov: float = setting(
        0.0,
        "field of view across the longer image side where there is no calibration; 0: unknown, camera_info then has K"
        " of zeros, which says uncalibrated",
        unit="deg",
        low=0.0,
        high=175.0,
    )
    width: int = setting(
        0,
        "width the images are resized to; 0: following height, or as they come; a webcam is asked for it, and what it"
        " gives stays as it is",
        unit="px",
        low=0,
        high=16384,
    )
    height: int = setting(0, "height, in the same way as width", unit="px", low=0, high=16384)
    sent_log: str = setting("", "file for one JSON line per published image: stamp, number in the source, name")

    def __post_init__(self) -> None:
        if 0.0 < self.fov < 1.0:
            raise ConfigError(f"fov must be 0 (unknown) or lie in [1, 175] deg, got {self.fov!r}")
        if self.fov and self.camera_info_url:
            raise ConfigError(
                f"fov ({self.fov:g}) and camera_info_url ({self.camera_info_url}) contradict each other: give one"
            )


class CameraSource:
    """Publishes a source at its rate; an rclpy node is its only tie to ROS.

    Raises ConfigError, SourceError and CameraError when the parameters, the source or the calibration are no good.
    """

    def __init__(self, node: Any) -> None:
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        self._node = node
        self._logger = node.get_logger()
        self.config = declare_settings(node, CameraSourceConfig)
        model = CameraModel(self.config.camera_info_url, self.config.fov)
        self.source: ImageSource = open_source(
            self.config.source, (self.config.width, self.config.height), self.config.rate
        )
        quality = self.config.jpeg_quality if self.config.compressed else None
        # A webcam that has not the size it was asked for has another shape of picture, or shows another part.
        size = (0, 0) if self.source.live else (self.config.width, self.config.height)
        self._prepare = Preparer(model, *size, quality)
        if not self._prepare.knows_camera(self.source.size):
            self._logger.warning(
                "the camera is not calibrated (neither camera_info_url nor fov is set): camera_info has K of zeros,"
                " and hand_recon needs fallback_fov"
            )
        photos_rate = 0.0 if self.source.live else 1.0
        self.rate = self.config.rate or self.source.rate or photos_rate
        self._repeat = self.config.repeat if not self.source.live and not self.source.rate else 1
        self._file: IO[str] | None = open(self.config.sent_log, "w", encoding="utf-8") if self.config.sent_log else None
        profile = QoSProfile(
            depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy[self.config.reliability.upper()]
        )
        self.images = (
            node.create_publisher(CompressedImage, "image/compressed", profile)
            if self.config.compressed
            else node.create_publisher(Image, "image", profile)
        )
        self.infos = node.create_publisher(CameraInfo, "camera_info", profile)
        self.sent = 0

    def run(self, stop: threading.Event) -> None:
        """Publish until the source has ended, the duration is over or ``stop`` is set.

        Raises SourceError and CameraError.
        """
        config = self.config
        self._logger.info(
            "{}: {}x{} at {:g} Hz on {}".format(config.source, *self.source.size, self.rate, self.images.topic_name)
        )
        try:
            if self._wait_for_subscribers(stop):
                self._publish_all(stop)
        finally:
            self.source.close()
            if self._file:
                self._file.close()
        if not stop.is_set():
            self._logger.info(f"the source has ended after {self.sent} images")
            stop.wait(config.linger if config.exit_at_end else None)

    def _wait_for_subscribers(self, stop: threading.Event) -> bool:
        wanted, said = self.config.wait_for_subscribers, 0.0
        while self.images.get_subscription_count() < wanted:
            if time.monotonic() - said > 5.0:
                said = time.monotonic()
                self._logger.info(f"waiting for {wanted} subscriber(s) of {self.images.topic_name}")
            if stop.wait(0.02):
                return False
        return not stop.wait(self.config.start_delay)

    def _publish_all(self, stop: threading.Event) -> None:
        period = 1.0 / self.rate if self.rate and not self.source.live else 0.0
        late = 0
        start = due = time.monotonic()
        # Decoding must not shift the time of publishing, and a live image must not wait.
        items = self._prepared() if self.source.live else ahead(self._prepared(), _PREPARED, stop)
        for item in items:
            behind = time.monotonic() - due
            if behind > period > 0.0:
                # Catching up in a burst would make the images come in at another rate than was asked for.
                due += behind
                late += 1
                if late in (10, 1000):
                    self._logger.warning(
                        f"{late} images came late: reading {self.config.source} takes longer than"
                        f" {period * 1e3:.1f} ms an image"
                    )
            elif stop.wait(max(0.0, -behind)):
                return
            if self.config.duration and time.monotonic() - start >= self.config.duration:
                return
            self._publish(item)
            due += period

    def _publish(self, item: Prepared) -> None:
        from builtin_interfaces.msg import Time

        nanoseconds = (
            int(item.captured * 1e9) if item.captured is not None else self._node.get_clock().now().nanoseconds
        )
        stamp = Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
        for message in (item.info, item.image):
            message.header.stamp = stamp
            message.header.frame_id = self.config.frame_id
        self.infos.publish(item.info)
        self.images.publish(item.image)
        self.sent += 1
        if self._file:
            line = {"stamp": [stamp.sec, stamp.nanosec], "number": item.number, "name": item.name}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _prepared(self) -> Iterator[Prepared]:
        for item in self._once_or_forever():
            prepared = self._prepare(item)
            for _ in range(self._repeat):
                yield prepared

    def _once_or_forever(self) -> Iterator[SourceImage]:
        said: set[Path] = set()
        while True:
            yield from self.source
            for file in getattr(self.source, "unreadable", set()) - said:
                said.add(file)
                self._logger.warning(f"{file} cannot be read as an image and is left out")
            if not self.config.loop:
                return


def main(arguments: list[str] | None = None) -> int:
    """Run the node; 0 at the end of the source or when interrupted, 1 where the source cannot be used."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    # Our own handlers: rclpy's invalidate the context under a thread that is publishing.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    node = rclpy.create_node("camera_source")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            pass

    spinner = threading.Thread(target=spin, name="spin", daemon=True)
    try:
        camera_source = CameraSource(node)
        spinner.start()
        camera_source.run(stop)
        return 0
    except (ConfigError, SourceError, CameraError, OSError) as error:
        node.get_logger().error(str(error))
        return 1
    finally:
        executor.shutdown(timeout_sec=1.0)
        if spinner.is_alive():
            spinner.join(timeout=1.0)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
