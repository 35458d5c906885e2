"""Write the example recording: a part of the demonstration's clip as a ROS 2 recording, with the true hands.

    .venv/bin/python tools/make_recording.py recordings/two_hands.mcap

The images are JPEG, of half the clip's size and rate. `/ground_truth` has the true hands as TwoHands messages.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_recon_ros.bags.messages import empty, serialized
from hand_recon_ros.bags.output import RecordingFile
from hand_recon_ros.camera import Camera
from hand_recon_ros.conversions.frames import ContinuousPoses
from hand_recon_ros.conversions.hands import fill_hands
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.interact.estimates import bounding_box
from hand_recon_ros.runtime.model_files import cache_dir
from hand_recon_ros.skeleton import wrist_pose
from hand_recon_ros.synthetic import Clip, load_clip, rendered_clip
from hand_recon_ros.types import HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate

IMAGE, INFO, TRUTH = "/camera/image/compressed", "/camera/camera_info", "/ground_truth"
KINDS = {
    IMAGE: "sensor_msgs/msg/CompressedImage",
    INFO: "sensor_msgs/msg/CameraInfo",
    TRUTH: "hand_recon_ros/msg/TwoHands",
}
FRAME_ID = "camera_color_optical_frame"
FRAMES = range(90, 210, 2)
SCALE = 0.5
QUALITY = 80
START = 1_700_000_000


def write_recording(path: Path, clip: Clip, model: HandModel) -> None:
    """Write the FRAMES of a clip."""
    camera = halved(clip.camera)
    poses = ContinuousPoses()
    images = list(clip.images())
    with RecordingFile(path, KINDS) as file:
        for frame in FRAMES:
            time = round((START + float(clip.truth["stamps"][frame] - clip.truth["stamps"][FRAMES[0]])) * 1e9)

            def message(kind: str, time: int = time) -> Any:
                made = empty(kind)
                made.header.stamp.sec, made.header.stamp.nanosec = divmod(time, 10**9)
                made.header.frame_id = FRAME_ID
                return made

            image = message(KINDS[IMAGE])
            small = cv2.resize(images[frame], (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            image.format = "bgr8; jpeg compressed bgr8"
            image.data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].reshape(-1)
            info = message(KINDS[INFO])
            info.width, info.height = camera.width, camera.height
            info.distortion_model, info.d = camera.distortion_model, np.asarray(camera.D, dtype=np.float64)
            info.k, info.r = camera.K.reshape(-1), np.eye(3).reshape(-1)
            info.p = np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1)
            truth = empty(KINDS[TRUTH])
            estimate = true_hands(clip, frame, camera, model)
            size = camera.height, camera.width
            fill_hands(truth, estimate, poses(estimate), image.header, model, (size[1], size[0]), dropped=0)
            for topic, made in ((INFO, info), (IMAGE, image), (TRUTH, truth)):
                file.copy(topic, time, serialized(made))
        file.finish({"about": "rendered hands, with the true ones on /ground_truth"})


def halved(camera: Camera) -> Camera:
    """The camera of images of SCALE; pixel centres are at whole numbers."""
    K = camera.K.copy()
    K[:2] *= SCALE
    K[:2, 2] += 0.5 * SCALE - 0.5
    size = round(camera.width * SCALE), round(camera.height * SCALE)
    return Camera(K, *size, camera.distortion_model, camera.D)


def true_hands(clip: Clip, frame: int, camera: Camera, model: HandModel) -> TwoHandEstimate:
    """The true hands of a frame."""
    hands = []
    for side in Side:
        joints = clip.truth["joints"][frame, side]
        if not np.isfinite(joints).all():
            hands.append(HandEstimate.lost(side))
            continue
        pixels, vertices = camera.project(joints), clip.truth["vertices"][frame, side]
        hands.append(
            HandEstimate(
                side=side,
                state=HandState.TRACKED,
                score=1.0,
                side_score=1.0,
                track_id=int(side) + 1,
                since_measurement=0.0,
                joints=joints,
                joint_scores=np.ones(21),
                keypoints_2d=pixels,
                mesh=functools.partial(np.asarray, vertices),
                faces=model.faces(side),
                rotations=clip.truth["rotations"][frame, side],
                betas=clip.truth["betas"][side],
                translation=clip.truth["translation"][frame, side],
                wrist_pose=wrist_pose(joints, side == Side.RIGHT),
                roi=bounding_box(pixels),
                scale_source=ScaleSource.PRIOR,
                position_stddev=0.0,
            )
        )
    left, right = hands
    return TwoHandEstimate(left, right, hand_model=model.name, calibrated=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    write_recording(path, load_clip(rendered_clip(cache_dir() / "clips", 300, 0, "webcam")), load_hand_model())
    print(f"{len(FRAMES)} images -> {path}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
