"""The nodes' topics and services: one table each, from which they are created and documented.

``python -m hand_recon_ros.ros.topics`` prints the README's tables; nothing here imports rclpy at module level.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Topic:
    """A topic of the node.

    Attributes:
        name: relative (``image``), private (``~/hands``) or absolute (``/tf``).
        type: ``package/Type``.
        description: of its messages, for the documentation.
        depth: length of the queue.
        reliable: or best effort.
        latched: late subscribers receive the last message.
        lazy: messages are built only while it has subscribers.
        overridable: its QoS may be changed by ``qos_overrides`` parameters.
    """

    name: str
    type: str
    description: str
    depth: int = 5
    reliable: bool = True
    latched: bool = False
    lazy: bool = False
    overridable: bool = True

    def message_type(self) -> Any:
        """The message's class; raises ImportError where its package is not installed."""
        import importlib

        package, name = self.type.split("/")
        return getattr(importlib.import_module(f"{package}.msg"), name)

    def qos(self, reliable: bool | None = None, latched: bool | None = None) -> Any:
        """The rclpy QoSProfile; ``reliable`` and ``latched`` replace the table's."""
        from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

        reliable = self.reliable if reliable is None else reliable
        latched = self.latched if latched is None else latched
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self.depth,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )


IMAGE = Topic("image", "sensor_msgs/Image", "colour images, with `use_compressed` false", depth=1, reliable=False)
COMPRESSED = Topic(
    "image/compressed",
    "sensor_msgs/CompressedImage",
    "JPEG or PNG images, with `use_compressed` true",
    depth=1,
    reliable=False,
)
CAMERA_INFO = Topic(
    "camera_info",
    "sensor_msgs/CameraInfo",
    "the camera's calibration, for the images' resolution",
    depth=1,
    reliable=False,
)
DEPTH = Topic(
    "depth",
    "sensor_msgs/Image",
    "depth registered to the images (16UC1 in mm or 32FC1 in m; same size and frame_id), with `use_depth` true",
    depth=1,
    reliable=False,
)
INPUTS = (IMAGE, COMPRESSED, CAMERA_INFO, DEPTH)

OUTPUTS = (
    Topic(
        "~/hands", "hand_recon_ros/TwoHands", "both hands of every processed image, also when both are LOST", depth=10
    ),
    *(
        Topic(f"~/{side}/wrist", "geometry_msgs/PoseStamped", f"wrist frame of the {side} hand; none while it is LOST")
        for side in ("left", "right")
    ),
    *(
        Topic(
            f"~/{side}/poses",
            "geometry_msgs/PoseArray",
            f"the 21 keypoint poses of the {side} hand; empty while it is LOST",
            lazy=True,
        )
        for side in ("left", "right")
    ),
    *(
        Topic(
            f"~/{side}/wrist_with_covariance",
            "geometry_msgs/PoseWithCovarianceStamped",
            f"the same pose of the {side} wrist with its covariance; none while it is LOST",
            lazy=True,
        )
        for side in ("left", "right")
    ),
    *(
        Topic(
            f"~/{side}/wrist_velocity",
            "geometry_msgs/TwistStamped",
            f"velocity of the {side} wrist, by its poses of the last 0.1 s; none while it is LOST",
            lazy=True,
        )
        for side in ("left", "right")
    ),
    Topic(
        "~/joint_states",
        "sensor_msgs/JointState",
        "20 angles of each hand that is found, such as `left_index_mcp_flexion`",
        lazy=True,
    ),
    Topic("~/meshes", "hand_recon_ros/TwoHandMeshes", "mesh vertices of both hands", lazy=True),
    Topic(
        "~/points",
        "sensor_msgs/PointCloud2",
        "the same vertices as x, y, z and `side` (0 left, 1 right)",
        lazy=True,
    ),
    *(
        Topic(
            f"~/{side}/mesh_topology",
            "shape_msgs/Mesh",
            f"triangles of the {side} hand's mesh, once, with the vertices of its rest pose",
            depth=1,
            latched=True,
            overridable=False,
        )
        for side in ("left", "right")
    ),
    Topic(
        "~/markers",
        "visualization_msgs/MarkerArray",
        "meshes, bones and keypoints for RViz, at most `marker_rate`",
        lazy=True,
    ),
    Topic(
        "~/debug_image",
        "sensor_msgs/Image",
        "the image with an overlay of the hands, at most `debug_image_rate`",
        depth=1,
        lazy=True,
    ),
    Topic("~/debug_image/compressed", "sensor_msgs/CompressedImage", "the same as JPEG", depth=1, lazy=True),
    Topic(
        "/tf",
        "tf2_msgs/TFMessage",
        "wrists or whole hands, see `publish_tf`; nothing for LOST hands",
        depth=100,
        overridable=False,
    ),
    Topic(
        "/diagnostics",
        "diagnostic_msgs/DiagnosticArray",
        "state, rates, latency and problems, once a second",
        overridable=False,
    ),
)

SERVICES = {
    "~/set_enabled": ("std_srvs/SetBool", "false pauses: images are not received; true resumes"),
    "~/reset_tracking": ("std_srvs/Trigger", "forgets both hands and all filters"),
    "~/calibrate_hand": ("hand_recon_ros/CalibrateHand", "learns the shape of a hand from the next images"),
    "~/reconstruct": ("hand_recon_ros/Reconstruct", "both hands in the request's image, by a thorough search"),
}


HANDS = Topic("hands", "hand_recon_ros/TwoHands", "the hands: remap it to `/hand_recon/hands`", depth=10)
START_POSE = Topic(
    "~/start_pose",
    "geometry_msgs/PoseStamped",
    "the robot's pose in the frame of the commands, from which the target starts; ignored while the clutch is engaged",
    depth=1,
)
TELEOP_INPUTS = (HANDS, START_POSE)
TELEOP_OUTPUTS = (
    Topic(
        "~/twist",
        "geometry_msgs/TwistStamped",
        "velocity of the target while the clutch is engaged, and once zero when it is released",
    ),
    Topic(
        "~/target",
        "geometry_msgs/PoseStamped",
        "the target while the clutch is engaged, once its start is known",
    ),
    Topic("~/gripper", "std_msgs/Float64", "0 open .. 1 closed, while the clutch is engaged"),
    Topic("~/engaged", "std_msgs/Bool", "whether the clutch is engaged", depth=1, latched=True, overridable=False),
    Topic(
        "/diagnostics",
        "diagnostic_msgs/DiagnosticArray",
        "whether the clutch is engaged, or why not, and the transforms that failed; once a second",
        overridable=False,
    ),
)
TELEOP_SERVICES = {
    "~/engage": (
        "std_srvs/SetBool",
        "true engages the clutch `service`, and permits the others; false releases it, and forbids the others",
    ),
    "~/calibrate_open": ("std_srvs/Trigger", "the gripper is open at the present distance of the fingertips"),
    "~/calibrate_closed": ("std_srvs/Trigger", "the gripper is closed at the present distance of the fingertips"),
}


def output(name: str) -> Topic:
    """The output topic of that name."""
    return next(topic for topic in OUTPUTS if topic.name == name)


# hand_recon takes the newest image only. The view needs each one of which hands may come, also while it draws.
VIEW_IMAGE, VIEW_COMPRESSED = (dataclasses.replace(topic, depth=5) for topic in (IMAGE, COMPRESSED))
VIEW_INPUTS = (HANDS, VIEW_IMAGE, VIEW_COMPRESSED, CAMERA_INFO)
VIEW_OUTPUTS = (
    *(output(name) for name in ("~/markers", "~/debug_image", "~/debug_image/compressed")),
    Topic(
        "/diagnostics",
        "diagnostic_msgs/DiagnosticArray",
        "what is watched, what came, and problems, once a second",
        overridable=False,
    ),
)

CAMERA_SOURCE_OUTPUTS = (
    Topic("image", "sensor_msgs/Image", "bgr8, with `compressed` false", overridable=False),
    Topic("image/compressed", "sensor_msgs/CompressedImage", "JPEG, with `compressed` true", overridable=False),
    Topic("camera_info", "sensor_msgs/CameraInfo", "before each image, with its stamp", overridable=False),
)
RECORDER_INPUTS = (
    Topic("hand_recon/hands", "hand_recon_ros/TwoHands", "every message", overridable=False),
    *(
        Topic(f"hand_recon/{side}/wrist", "geometry_msgs/PoseStamped", "every message", overridable=False)
        for side in ("left", "right")
    ),
    Topic("/tf", "tf2_msgs/TFMessage", "every message", overridable=False),
    Topic("/diagnostics", "diagnostic_msgs/DiagnosticArray", "every message", overridable=False),
    Topic(
        "image",
        "sensor_msgs/Image",
        "with `save_images`: written as `images/SECONDS.NANOSECONDS.jpg`",
        overridable=False,
    ),
)
# What tf2_ros subscribes to.
TRANSFORMS = (
    Topic("/tf", "tf2_msgs/TFMessage", "transforms, with `target_frame` set", overridable=False),
    Topic("/tf_static", "tf2_msgs/TFMessage", "static transforms, with `target_frame` set", overridable=False),
)


def input_rows(inputs: Sequence[Topic]) -> list[str]:
    """The table of subscribed topics, as lines of Markdown; none where there are none."""
    rows = [f"| `{topic.name}` | {topic.type} | {topic.description} |" for topic in inputs]
    return ["| Subscribed | Type | Meaning |", "|---|---|---|", *rows] if rows else []


def output_rows(outputs: Sequence[Topic]) -> list[str]:
    """The table of published topics, likewise."""
    rows = []
    for topic in outputs:
        when = " (only while it has subscribers)" if topic.lazy else " (latched)" if topic.latched else ""
        rows.append(f"| `{topic.name}` | {topic.type} | {topic.description}{when} |")
    return ["| Published | Type | Meaning |", "|---|---|---|", *rows] if rows else []


def markdown_tables() -> str:
    """The tables of topics and services of hand_recon in the README."""
    services = [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in SERVICES.items()]
    lines = [*input_rows(INPUTS), "", *output_rows(OUTPUTS), "", "| Service | Type | Meaning |", "|---|---|---|"]
    return "\n".join([*lines, *services]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_tables())
