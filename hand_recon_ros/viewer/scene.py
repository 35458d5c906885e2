"""The scene in the browser: both hands with their wrist frames, the camera with its image, states and latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import viser

from ..geometry.rotations import quaternions
from ..overlay import FINGER_COLOURS, HAND_COLOURS, OPACITY
from ..skeleton import BONES, NUM_KEYPOINTS, WRIST
from ..sources import resized
from ..types import HandEstimate, Side, TwoHandEstimate
from .frames import Picture, ViewedFrame
from .panel import Panel

VIEWPOINT, LOOK_AT = (0.4, -0.3, -0.08), (0.08, 0.02, 0.35)
"""From where a browser looks at the scene when it is opened: metres in the camera frame."""
IMAGE_DEPTH = 0.12
"""Distance of the image plane from the camera, metres: hands are farther than this."""
IMAGE_WIDTH = 480
"""Width to which larger images are reduced, pixels."""
JPEG_QUALITY = 80

_BONE_THICKNESS, _KEYPOINT_SIZE = 0.003, 0.008
_AXIS_LENGTH, _AXIS_RADIUS = 0.06, 0.002
_LABEL_DISTANCE = 0.05
_KEYPOINT_COLOURS = [(255, 255, 255), *(FINGER_COLOURS[(k - 1) // 4] for k in range(1, NUM_KEYPOINTS))]


class HandScene:
    """Draws frames into a viser server; called on one thread.

    World is the frame of the hands, as a rule the camera's optical frame: x right, y down, z forward, metres.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        server.scene.set_up_direction("-y")
        camera = server.initial_camera
        camera.position, camera.look_at, camera.up = np.array(VIEWPOINT), np.array(LOOK_AT), np.array([0.0, -1.0, 0.0])
        self._hands = {side: _Hand(server.scene, side) for side in Side}
        self._frustum: viser.CameraFrustumHandle | None = None
        self._panel = Panel(server.gui)

    def show(self, frame: ViewedFrame) -> None:
        """Draw a frame in place of the last one; browsers get all of it at once."""
        picture = frame.picture()
        with self._server.atomic():
            for side, hand in self._hands.items():
                hand.show(frame.estimate.hand(side))
            self._show_picture(picture, frame.estimate)
            self._panel.show(frame)

    def say(self, texts: Sequence[str]) -> None:
        """Show what is wrong at present, a paragraph each."""
        self._panel.say(texts)

    def _show_picture(self, picture: Picture | None, estimate: TwoHandEstimate) -> None:
        if picture is None:
            if self._frustum is not None:
                self._frustum.visible = False
            return
        image, camera = picture.image, picture.camera
        if estimate.mirrored:  # the geometry is that of the scene
            image = image[:, ::-1]
        rgb = np.ascontiguousarray(resized(image, min(image.shape[1], IMAGE_WIDTH), 0)[..., ::-1])
        half_width, half_height = 0.5 * camera.width / camera.K[0, 0], 0.5 * camera.height / camera.K[1, 1]
        fov, aspect = float(2.0 * np.arctan(half_height)), float(half_width / half_height)
        # viser's scale is the size of a frustum of the same volume for every field of view.
        scale = float(IMAGE_DEPTH * np.cbrt(half_width * half_height / 3.0))
        if self._frustum is None:
            self._frustum = self._server.scene.add_camera_frustum(
                "/camera", fov, aspect, scale=scale, thickness=0.001, color=(90, 90, 90), image=rgb, format="jpeg",
                jpeg_quality=JPEG_QUALITY, cast_shadow=False, receive_shadow=False,
            )  # fmt: skip
        else:
            self._frustum.image = rgb
            self._frustum.fov, self._frustum.aspect, self._frustum.scale = fov, aspect, scale
        self._frustum.position = camera.center
        self._frustum.visible = True


class _Hand:
    """One hand in the scene: mesh, skeleton, wrist frame and label; nothing of it while it is LOST."""

    def __init__(self, scene: Any, side: Side) -> None:
        self._scene, self._side = scene, side
        name = f"/{side.label}"
        self._root = scene.add_frame(name, show_axes=False, visible=False)
        self._bones = scene.add_line_segments(
            f"{name}/skeleton",
            np.zeros((len(BONES), 2, 3), np.float32),
            np.array([[_rgb(FINGER_COLOURS[(child - 1) // 4])] * 2 for _, child in BONES], np.uint8),
            thickness=_BONE_THICKNESS,
        )
        self._keypoints = scene.add_point_cloud(
            f"{name}/keypoints",
            np.zeros((NUM_KEYPOINTS, 3), np.float32),
            np.array([_rgb(colour) for colour in _KEYPOINT_COLOURS], np.uint8),
            point_size=_KEYPOINT_SIZE,
            point_shape="circle",
            precision="float32",
        )
        self._wrist = scene.add_frame(f"{name}/wrist", axes_length=_AXIS_LENGTH, axes_radius=_AXIS_RADIUS)
        self._label = scene.add_label(f"{name}/label", "", anchor="top-center")
        self._mesh: Any = None
        self._faces = np.zeros((0, 3), np.int32)

    def show(self, hand: HandEstimate) -> None:
        """Move the parts, or hide them where the hand is LOST."""
        if not hand.found:
            self._root.visible = False
            return
        joints = np.asarray(hand.joints, np.float32)
        self._bones.points = joints[np.array(BONES)]
        self._keypoints.points = joints
        self._wrist.wxyz = np.roll(quaternions(hand.wrist_pose[:3, :3]), 1)
        self._wrist.position = hand.wrist_pose[:3, 3]
        self._label.text = f"{hand.side.label} {hand.state.name}"
        # Below the hand, which it would hide.
        self._label.position = (joints[WRIST, 0], joints[:, 1].max() + _LABEL_DISTANCE, joints[WRIST, 2])
        self._show_mesh(hand)
        self._root.visible = True

    def _show_mesh(self, hand: HandEstimate) -> None:
        if not len(hand.faces):  # of another hand model
            if self._mesh is not None:
                self._mesh.visible = False
            return
        vertices = np.asarray(hand.vertices, np.float32)
        if self._mesh is None or not np.array_equal(self._faces, hand.faces):
            self._faces = np.array(hand.faces)
            self._mesh = self._scene.add_mesh_simple(
                f"/{self._side.label}/mesh", vertices, self._faces, color=_rgb(HAND_COLOURS[self._side])
            )
        self._mesh.vertices = vertices
        self._mesh.opacity = OPACITY[hand.state]
        self._mesh.visible = True


def _rgb(bgr: tuple[int, int, int]) -> tuple[int, int, int]:
    blue, green, red = bgr
    return red, green, blue
