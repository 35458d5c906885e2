"""The SROS2 policy of the nodes: what each may publish, subscribe to and serve, from the tables of their topics.

``python -m hand_recon_ros.ros.security`` prints it, for the names that the nodes have without remapping but for
``hands``, which is ``hand_recon/hands``. Names of your own: ``--namespace /left image:=/camera/color/image_raw``.
Nothing here imports rclpy. The format is that of the policies of the package sros2, version 0.2.0.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from . import topics
from .topics import Topic

POLICY_VERSION = "0.2.0"
# Of every node of rclpy: its log, its parameters, and the type descriptions of REP 2016.
COMMON_OUTPUTS = ("/rosout", "/parameter_events")
COMMON_INPUTS = ("/clock",)  # with use_sim_time
COMMON_SERVICES = (
    "~/describe_parameters",
    "~/get_parameter_types",
    "~/get_parameters",
    "~/get_type_description",
    "~/list_parameters",
    "~/set_parameters",
    "~/set_parameters_atomically",
)
LIFECYCLE_OUTPUTS = ("~/transition_event",)
LIFECYCLE_SERVICES = (
    "~/change_state",
    "~/get_available_states",
    "~/get_available_transitions",
    "~/get_state",
    "~/get_transition_graph",
)
REMAPPED = {"hands": "hand_recon/hands"}
"""As the launch files remap it."""


@dataclasses.dataclass(frozen=True)
class NodeAccess:
    """What one node opens, with whatever parameters.

    Attributes:
        executable: of ``ros2 run``, also the last part of the enclave.
        node: its name in the graph.
        inputs, outputs: its topics.
        services: those that it serves.
        lifecycle: whether it is a lifecycle node.
    """

    executable: str
    node: str
    inputs: Sequence[Topic] = ()
    outputs: Sequence[Topic] = ()
    services: Sequence[str] = ()
    lifecycle: bool = False

    @property
    def published(self) -> list[str]:
        """The names of the topics that it publishes, in order."""
        common = (*COMMON_OUTPUTS, *(LIFECYCLE_OUTPUTS if self.lifecycle else ()))
        return sorted({*(topic.name for topic in self.outputs), *common})

    @property
    def subscribed(self) -> list[str]:
        """The names of the topics that it subscribes to, in order."""
        return sorted({*(topic.name for topic in self.inputs), *COMMON_INPUTS})

    @property
    def served(self) -> list[str]:
        """The names of its services, in order."""
        return sorted({*self.services, *COMMON_SERVICES, *(LIFECYCLE_SERVICES if self.lifecycle else ())})


NODES = (
    NodeAccess(
        "hand_recon",
        "hand_recon",
        (*topics.INPUTS, *topics.TRANSFORMS),
        topics.OUTPUTS,
        tuple(topics.SERVICES),
        lifecycle=True,
    ),
    NodeAccess("hand_recon_view", "hand_recon_view", topics.VIEW_INPUTS, topics.VIEW_OUTPUTS),
    NodeAccess(
        "hand_teleop",
        "hand_teleop",
        (*topics.TELEOP_INPUTS, *topics.TRANSFORMS),
        topics.TELEOP_OUTPUTS,
        tuple(topics.TELEOP_SERVICES),
    ),
    NodeAccess("camera_source", "camera_source", (), topics.CAMERA_SOURCE_OUTPUTS),
    NodeAccess("demo_recorder", "recorder", topics.RECORDER_INPUTS),
)


def policy(namespace: str = "/", remappings: Mapping[str, str] | None = None) -> str:
    """The policy as XML.

    Args:
        namespace: of all nodes, and the beginning of their enclaves.
        remappings: name in the tables -> name in the graph. As the launch files do, ``image`` takes
            ``image/compressed`` along.

    Raises ValueError for a namespace that is not absolute and for a name that no node has.
    """
    if not namespace.startswith("/") or (namespace != "/" and namespace.endswith("/")):
        raise ValueError(f"namespace must be absolute, such as /left, got {namespace!r}")
    names = {**REMAPPED, **(remappings or {})}
    known = {name for node in NODES for name in (*node.published, *node.subscribed, *node.served)}
    for name in names:
        if name not in known:
            raise ValueError(f"no node has the topic or service {name!r}; docs/nodes.md has those there are")
    if "image" in names:
        names.setdefault("image/compressed", f"{names['image']}/compressed")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- What the nodes of hand_recon_ros may do under SROS2. Generated from the tables of their topics by",
        "     `python -m hand_recon_ros.ros.security`, which also takes a namespace and remappings. -->",
        f'<policy version="{POLICY_VERSION}">',
        "  <enclaves>",
    ]
    for node in NODES:
        lines += [
            f"    <enclave path={quoteattr(namespace.rstrip('/') + '/' + node.executable)}>",
            "      <profiles>",
            f"        <profile ns={quoteattr(namespace)} node={quoteattr(node.node)}>",
            *_rules("topics", "publish", [names.get(name, name) for name in node.published]),
            *_rules("topics", "subscribe", [names.get(name, name) for name in node.subscribed]),
            *_rules("services", "reply", [names.get(name, name) for name in node.served]),
            "        </profile>",
            "      </profiles>",
            "    </enclave>",
        ]
    return "\n".join([*lines, "  </enclaves>", "</policy>"]) + "\n"


def _rules(kind: str, right: str, names: Sequence[str]) -> list[str]:
    entry = kind.removesuffix("s")
    return [
        f'          <{kind} {right}="ALLOW">',
        *(f"            <{entry}>{escape(name)}</{entry}>" for name in names),
        f"          </{kind}>",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the policy; 2 where the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m hand_recon_ros.ros.security", description="print the SROS2 policy of the nodes"
    )
    parser.add_argument("--namespace", default="/", help="of all nodes, and the beginning of their enclaves")
    parser.add_argument("remapping", nargs="*", help="as for the nodes: image:=/camera/color/image_raw")
    given = parser.parse_args(arguments)
    pairs = [text.partition(":=") for text in given.remapping]
    try:
        if bad := [name for name, sign, target in pairs if not (sign and name and target)]:
            raise ValueError(f"not a remapping: {bad[0]!r}; expected NAME:=TOPIC")
        sys.stdout.write(policy(given.namespace, {name: target for name, _, target in pairs}))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
