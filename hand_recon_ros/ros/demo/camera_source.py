"""The node ``camera_source``: a photo, a folder, a video file or a webcam as ``image`` and ``camera_info``."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from ...calibration import calibration_path
from ...camera import CameraError
from ...config import ConfigError, setting
from ...image_files import KeptFiles, printable
from ...sources import ImageSource, Photos, SourceError, SourceImage, open_source, source_path
from ..parameters import declare, node_options, refused_arguments
from ..running import start
from .camera_frames import CameraModel, Prepared, Preparer, ahead, time_step

_PREPARED = 4


@dataclasses.dataclass(frozen=True)
class CameraSourceConfig:
    """Parameters of the node. Raises ConfigError where two contradict."""

    source: str = setting("", "photo, folder of photos (sorted by name), video file, webcam index or stream URL")
    rate: float = setting(
        0.0,
        "images per second; 0: that of the webcam, the times that a video has, or 1 for photos",
        unit="Hz",
        low=0.0,
        high=1000.0,
    )
    loop: bool = setting(False, "start again at the end of the photos or the video")
    repeat: int = setting(1, "how often each photo of a folder is published before the next", low=1, high=100000)
    duration: float = setting(0.0, "stop after this time; 0 never does", unit="s", low=0.0, high=1e6)
    exit_at_end: bool = setting(True, "exit when the source has ended; false keeps the node alive")
    linger: float = setting(
        1.0,
        "how long the node stays after the last image, so that every subscriber receives it",
        unit="s",
        low=0.0,
        high=60.0,
    )
    wait_for_subscribers: int = setting(
        0, "number of subscribers to wait for before the first image is published", low=0, high=100
    )
    start_delay: float = setting(
        0.0, "time between the last of these subscribers and the first image", unit="s", low=0.0, high=60.0
    )
    compressed: bool = setting(False, "publish image/compressed (JPEG) instead of image")
    jpeg_quality: int = setting(90, "JPEG quality of image/compressed", unit="%", low=1, high=100)
    reliability: str = setting(
        "reliable",
        "reliability of the publishers; reliable also suits best-effort subscribers",
        choices=("reliable", "best_effort"),
    )
    frame_id: str = setting("camera_optical_frame", "frame of the images (x right, y down, z forward)")
    camera_info_url: str = setting("", "calibration in camera_calibration's YAML format: a path or file:// URL")
    fov: float = setting(
        0.0,
        "field of view across the longer image side where there is no calibration; 0: unknown, K of camera_info is then"
        " zero, which means not calibrated",
        unit="deg",
        low=0.0,
        high=175.0,
    )
    width: int = setting(
        0,
        "width to which the images are resized; 0: in proportion to height, or not resized; a webcam is set to the"
        " nearest size it has, and its images are not resized",
        unit="px",
        low=0,
        high=16384,
    )
    height: int = setting(0, "height, likewise", unit="px", low=0, high=16384)
    sent_log: str = setting("", "file for one JSON line per published image: stamp, number in the source, name")

    def __post_init__(self) -> None:
        if 0.0 < self.fov < 1.0:
            raise ConfigError(f"fov must be 0 (unknown) or lie in [1, 175] deg, got {self.fov!r}")
        if self.fov and self.camera_info_url:
            raise ConfigError(
                f"fov ({self.fov:g}) and camera_info_url ({self.camera_info_url}) contradict each other: set one"
            )


class CameraSource:
    """Publishes a source at its rate, by the rclpy node it is given.

    Raises ConfigError, SourceError or CameraError where the parameters, the source or the calibration cannot be used.
    """

    def __init__(self, node: Any) -> None:
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        self._node = node
        self._logger = node.get_logger()
        self.config = declare(node, CameraSourceConfig)
        model = CameraModel(self.config.camera_info_url, self.config.fov)
        self.source: ImageSource = open_source(
            self.config.source, (self.config.width, self.config.height), self.config.rate
        )
        quality = self.config.jpeg_quality if self.config.compressed else None
        # A webcam without the requested size has another aspect ratio, or shows another part of the scene.
        size = (0, 0) if self.source.live else (self.config.width, self.config.height)
        self._prepare = Preparer(model, *size, quality)
        if not self._prepare.has_camera(self.source.size):
            self._logger.warning(
                "the camera is not calibrated (neither camera_info_url nor fov is set): K of camera_info is zero, and"
                " hand_recon needs fallback_fov; set one of the three"
            )
        photos_rate = 0.0 if self.source.live else 1.0
        self.rate = self.config.rate or self.source.rate or photos_rate
        self._repeat = self.config.repeat if not self.source.live and not self.source.rate else 1
        self._file = self._open_log()
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

    def _open_log(self) -> IO[str] | None:
        """The file ``sent_log``; raises FileExistsError where it is one of the files that are read."""
        config, path = self.config, source_path(self.config.source)
        if not config.sent_log:
            return None
        read = list(self.source.files) if isinstance(self.source, Photos) else [path] if path is not None else []
        KeptFiles([*read, *([calibration_path(config.camera_info_url)] if config.camera_info_url else [])]).check(
            config.sent_log
        )
        return open(config.sent_log, "w", encoding="utf-8")

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
        wanted, logged = self.config.wait_for_subscribers, 0.0
        while self.images.get_subscription_count() < wanted:
            if time.monotonic() - logged > 5.0:
                logged = time.monotonic()
                self._logger.info(f"waiting for {wanted} subscriber(s) of {self.images.topic_name}")
            if stop.wait(0.02):
                return False
        return not stop.wait(self.config.start_delay)

    def _publish_all(self, stop: threading.Event) -> None:
        period = 1.0 / self.rate if self.rate and not self.source.live else 0.0
        late, last = 0, None
        start = due = time.monotonic()
        # Decoding ahead does not delay publishing; a live image is published as soon as it is captured.
        items = self._prepared() if self.source.live else ahead(self._prepared(), _PREPARED, stop)
        for item in items:
            if last is not None:
                due += period if self.config.rate else time_step(last, item, period)
            last = item
            behind = time.monotonic() - due
            if behind > period > 0.0:
                # A burst of the late images would not have the requested rate.
                due += behind
                late += 1
                if late in (10, 1000):
                    self._logger.warning(
                        f"{late} images were late: reading {self.config.source} takes longer than {period * 1e3:.1f} ms"
                        " an image; set a lower rate or a smaller width"
                    )
            elif stop.wait(max(0.0, -behind)):
                return
            if self.config.duration and time.monotonic() - start >= self.config.duration:
                return
            self._publish(item)

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
        for item in self._source_images():
            prepared = self._prepare(item)
            for _ in range(self._repeat):
                yield prepared

    def _source_images(self) -> Iterator[SourceImage]:
        reported: set[str] = set()
        while True:
            yield from self.source
            for file, reason in self.source.left_out.items():
                if file not in reported:
                    reported.add(file)
                    self._logger.warning(f"left out: {printable(file)}: {reason}")
            if not self.config.loop:
                return


def main(arguments: list[str] | None = None) -> int:
    """Run the node; 0 at the end of the source or when interrupted, 1 where the source cannot be used."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    try:
        stop = start(arguments)
        node = rclpy.create_node("camera_source", **node_options())
    except Exception as error:  # rcl has no public class for the arguments that it refuses
        return refused_arguments("camera_source", error)
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
