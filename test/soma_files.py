"""Assets in the format that SOMA-X's hand layer reads: a body that is two hands (soma_stand_in.py) on arms.

Written are SOMAHand.npz, SOMA_neutral.npz, SOMA_template_rig.usda and SOMA_procedural_transforms.json, in centimetres,
y up, the figure facing z, and on request correctives_model.pt.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from soma_stand_in import COMPONENTS, HAND_JOINTS, PARENTS, Hand, Mesh

from hand_recon_ros.skeleton import mirror_points

CORRECTIVES = "correctives_model.pt"
NAMES = ("SOMAHand.npz", "SOMA_neutral.npz", "SOMA_template_rig.usda", "SOMA_procedural_transforms.json")
_ARM = ("Shoulder", "Arm", "ForeArm")
_LEG = ("Leg", "Shin", "Foot", "ToeBase", "ToeEnd")
_TRUNK = (
    *("Root", "Hips", "Spine1", "Spine2", "Chest", "Neck1", "Neck2", "Head", "HeadEnd", "Jaw"),
    *("LeftEye", "RightEye"),
)
_TRUNK_PARENTS = (0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7)
_WRIST = np.array([70.0, 140.0, 0.0])
"""Where the left wrist is, centimetres."""
_INFLUENCES = 12


def write(folder: Path, hand: Hand) -> None:
    """The files of ``NAMES`` in ``folder``, which must be there."""
    names, parents = public_joints()
    ids = {name: number for number, name in enumerate(names)}
    body = {lod: _body(getattr(hand, lod), hand, ids) for lod in ("mid", "low")}
    joints_of = {side: [ids[f"{side}Hand{joint}"] for joint in HAND_JOINTS] for side in ("Left", "Right")}
    count = len(hand.low.points)
    rows = {"Left": body["mid"].first["Left"], "Right": body["mid"].first["Right"]}
    content: dict[str, np.ndarray] = {}
    for side in ("Left", "Right"):
        mesh, prefix = hand.mid, f"{side.lower()}_"
        content[f"{prefix}vert_ids"] = np.arange(rows[side], rows[side] + len(mesh.points), dtype=np.int32)
        content[f"{prefix}triangles"] = _of_side(mesh.faces, side).astype(np.int32)
        content[f"{prefix}boundary_loop"] = mesh.rim.astype(np.int32)
        content[f"{prefix}hand_joint_ids_global"] = np.array(joints_of[side], np.int32)
        content[f"{prefix}joint_parent_ids"] = PARENTS.astype(np.int32)
        content[f"{prefix}wrist_global_id"] = np.array(joints_of[side][0], np.int32)
    matrix = hand.mid.directions.reshape(COMPONENTS, -1)
    sizes = np.linalg.norm(matrix, axis=1)
    content["left_mean"] = hand.mid.mean.astype(np.float32)
    content["left_shapedirs"] = (matrix / sizes[:, None]).astype(np.float32)
    content["left_eigenvalues"] = (sizes**2).astype(np.float32)
    low_rows = body["low"].first
    to_mid = np.arange(len(body["low"].points))
    for side in ("Left", "Right"):
        start = low_rows[side]
        to_mid[start : start + count] = rows[side] + np.arange(count)
        # Of the arm, whose ring has a vertex for each of the hand's rim.
        ring = np.searchsorted(hand.mid.rim[np.argsort(hand.mid.rim)], hand.low.rim)
        order = np.argsort(hand.mid.rim)[ring]
        to_mid[start + count : start + count + len(order)] = rows[side] + len(hand.mid.points) + order
    np.savez(folder / NAMES[0], **content)  # type: ignore[arg-type]
    np.savez(folder / NAMES[1], lod_mid_to_low=to_mid)
    (folder / NAMES[2]).write_text(_usd(hand, names, parents, body), encoding="utf-8")
    (folder / NAMES[3]).write_text(json.dumps(_definition(names)), encoding="utf-8")


def write_correctives(folder: Path, hand: Hand) -> None:
    """correctives_model.pt: each finger joint has two hidden units, for both directions in which it bends, and they
    move the skin around it outwards by up to 3 mm."""
    import torch

    names, parents = public_joints()
    body, world = _body(hand.mid, hand, {name: number for number, name in enumerate(names)}), _world(hand, names)[0]
    local = np.swapaxes(world[parents, :3, :3], -1, -2) @ world[: len(names), :3, :3]
    local[0] = np.eye(3)
    first, second = np.zeros((6 * len(names), 2 * len(names))), np.zeros((2 * len(names), 3 * len(body.points)))
    for side in ("Left", "Right"):
        start = body.first[side]
        skin = body.points[start : start + len(hand.mid.points)]
        for number in (names.index(f"{side}Hand{joint}") for joint in HAND_JOINTS[1:] if not joint.endswith("End")):
            place, axis = world[number, :3, 3], world[number, :3, 0]
            outwards = skin - place - ((skin - place) @ axis)[:, None] * axis
            outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
            size = 0.3 * np.exp(-((np.linalg.norm(skin - place, axis=1) / 1.5) ** 2))
            for unit, sign in enumerate((1.0, -1.0)):
                # Elements (row, column) of the first two columns of a rotation, row by row: here row 2, column 0.
                first[6 * number + 4, 2 * number + unit] = sign
                moved = (size[:, None] * outwards).reshape(-1) * (1.0 if unit else 0.5)
                second[2 * number + unit, 3 * start : 3 * start + len(moved)] = moved
    content = {
        "C_max": 2,
        "use_tanh": True,
        "bindpose": torch.tensor(local, dtype=torch.float32),
        "unit": "centimeters",
    }
    for name, each in (("W1", first), ("W2", second)):
        content[name] = torch.tensor(each, dtype=torch.float32).to_sparse()
    torch.save(content, folder / CORRECTIVES)


def public_joints() -> tuple[list[str], list[int]]:
    """The 78 joints of the body's skeleton, and the parent of each; the root is its own."""
    names, parents = list(_TRUNK), list(_TRUNK_PARENTS)
    for side in ("Left", "Right"):
        for part in _ARM:
            parents.append(names.index("Chest") if part == "Shoulder" else len(names) - 1)
            names.append(side + part)
        wrist = len(names)
        names += [f"{side}Hand{joint}" for joint in HAND_JOINTS]
        parents += [wrist - 1, *(wrist + parent for parent in PARENTS[1:])]
    for side in ("Left", "Right"):
        for part in _LEG:
            parents.append(names.index("Hips") if part == "Leg" else len(names) - 1)
            names.append(side + part)
    return names, parents


@dataclasses.dataclass(frozen=True)
class _Body:
    """Points (V, 3), polygons, influences (V, 12): joints and their weights, and where each hand begins."""

    points: np.ndarray
    polygons: list[list[int]]
    joints: np.ndarray
    weights: np.ndarray
    first: dict[str, int]


def _body(mesh: Mesh, hand: Hand, ids: dict[str, int]) -> _Body:
    """A box at the hips, both hands, and behind each a ring of the arm, in quadrilaterals."""
    points = [np.array([[x, 95.0 + y, z] for x in (-9, 9) for y in (-5, 5) for z in (-6, 6)], float)]
    polygons = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    weights = np.zeros((8, len(ids) + 2))
    weights[:, ids["Hips"]] = 1.0
    rows, first = [weights], {}
    for side in ("Left", "Right"):
        start = first[side] = sum(map(len, points))
        world = mesh.points @ hand.wrist.T + _WRIST
        ring = world[mesh.rim] - [6.0, 0.0, 0.0]
        skin = np.zeros((len(world) + len(ring), len(ids) + 2))
        skin[: len(world), [ids[f"{side}Hand{joint}"] for joint in HAND_JOINTS]] = mesh.weights
        twist = len(ids) + (side == "Right")  # LeftForeArmTwist1 and RightForeArmTwist1
        skin[mesh.rim] *= 0.6
        skin[mesh.rim, twist] = 0.4
        skin[len(world) :, ids[f"{side}ForeArm"]] = 0.5
        skin[len(world) :, twist] = 0.5
        both = np.concatenate([world, ring])
        points.append(both if side == "Left" else mirror_points(both))
        rows.append(skin)
        polygons += [[start + int(v) for v in face] for face in _of_side(mesh.faces, side)]
        after = np.arange(len(world), len(both))
        quads = np.stack([mesh.rim, np.roll(mesh.rim, -1), np.roll(after, -1), after], axis=1)
        polygons += [[start + int(v) for v in quad] for quad in _of_side(quads, side)]
    weights = np.concatenate(rows)
    largest = np.argsort(-weights, axis=1)[:, :_INFLUENCES]
    kept = np.take_along_axis(weights, largest, axis=1)
    return _Body(np.concatenate(points), polygons, largest, kept / kept.sum(axis=1, keepdims=True), first)


def _of_side(faces: np.ndarray, side: str) -> np.ndarray:
    return faces if side == "Left" else faces[:, ::-1]


def _usd(hand: Hand, names: list[str], parents: list[int], body: dict[str, _Body]) -> str:
    """The template rig as text. Each arm has a twist joint that the public skeleton lacks."""
    paths: list[str] = []
    for name, parent in zip(names, parents, strict=True):
        paths.append(name if not paths else f"{paths[parent]}/{name}")
    world, t_world = _world(hand, names)
    for side in ("Left", "Right"):
        paths.append(f"{paths[names.index(f'{side}ForeArm')]}/{side}ForeArmTwist1")
    all_parents = [*parents, names.index("LeftForeArm"), names.index("RightForeArm")]
    rest = np.linalg.inv(t_world[all_parents]) @ t_world
    rest[0] = t_world[0]
    meshes = "\n".join(_usd_mesh({"mid": "c_skin_mid", "low": "c_skin_lo"}[lod], each) for lod, each in body.items())
    joints = ", ".join(f'"{path}"' for path in paths)
    return f"""#usda 1.0
(
    defaultPrim = "SOMA"
    metersPerUnit = 0.01
    upAxis = "Y"
)

def SkelRoot "SOMA"
{{
    def Skeleton "Skeleton"
    {{
        uniform token[] joints = [{joints}]
        uniform matrix4d[] bindTransforms = [{_matrices(world)}]
        uniform matrix4d[] restTransforms = [{_matrices(rest)}]
    }}

{meshes}
}}
"""


def _world(hand: Hand, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Bind pose and T-pose of the public joints and then the twist joints (80, 4, 4), in the world."""
    world, t_world = np.tile(np.eye(4), (2, len(names) + 2, 1, 1))
    for number, name in enumerate(names):
        world[number, :3, 3] = t_world[number, :3, 3] = [0.0, 100.0, 0.0]
        if name.startswith(("LeftArm", "LeftForeArm")):
            world[number, :3, 3] = t_world[number, :3, 3] = [20.0 if name == "LeftArm" else 45.0, 140.0, 0.0]
        if name.startswith("LeftHand"):
            joint = HAND_JOINTS.index(name.removeprefix("LeftHand"))
            for target, turned in ((world, hand.bind), (t_world, hand.t_pose)):
                target[number, :3, :3] = hand.wrist @ turned[joint]
                target[number, :3, 3] = hand.wrist @ hand.joints[joint] + _WRIST
    for number, name in enumerate(names):
        if name.startswith("Right"):
            mirrored = names.index(name.replace("Right", "Left"))
            sign = np.diag([-1.0, 1.0, 1.0, 1.0])
            world[number], t_world[number] = sign @ world[mirrored] @ sign, sign @ t_world[mirrored] @ sign
    for number, side in enumerate(("Left", "Right")):
        arm = names.index(f"{side}ForeArm")
        world[len(names) + number], t_world[len(names) + number] = world[arm], t_world[arm]
    return world, t_world


def _usd_mesh(name: str, body: _Body) -> str:
    polygons = [vertex for polygon in body.polygons for vertex in polygon]
    points = ", ".join(f"({x:.6f}, {y:.6f}, {z:.6f})" for x, y, z in body.points)
    weights = ", ".join(f"{weight:.7g}" for weight in body.weights.reshape(-1))
    return f"""    def Mesh "{name}" (
        prepend apiSchemas = ["SkelBindingAPI"]
    )
    {{
        int[] faceVertexCounts = {[len(polygon) for polygon in body.polygons]}
        int[] faceVertexIndices = {polygons}
        point3f[] points = [{points}]
        int[] primvars:skel:jointIndices = {body.joints.reshape(-1).tolist()} (
            elementSize = {_INFLUENCES}
            interpolation = "vertex"
        )
        float[] primvars:skel:jointWeights = [{weights}] (
            elementSize = {_INFLUENCES}
            interpolation = "vertex"
        )
        rel skel:skeleton = </SOMA/Skeleton>
    }}
"""


def _matrices(matrices: np.ndarray) -> str:
    """Matrices as USD has them, with the translation in the last row."""
    rows = [[", ".join(f"{value:.9f}" for value in row) for row in each.T] for each in matrices]
    return ", ".join("(" + ", ".join(f"({row})" for row in each) + ")" for each in rows)


def _definition(names: list[str]) -> dict[str, object]:
    """The definition of the twist joints, which says what the joints of the public skeleton are."""
    twists = [(f"{side}ForeArm", f"{side}Hand", f"{side}ForeArmTwist1") for side in ("Left", "Right")]
    mode = "aligned_x_swing_twist"
    entries = {
        "rotation": [{"row": twist, "column": hand, "value": 0.5} for _, hand, twist in twists],
        "translation": [{"row": twist, "column": arm, "value": 1.0} for arm, _, twist in twists],
    }
    return {
        "schema_version": "1.1.0",
        "modes": [mode],
        "channel_extractors": {mode: {"type": "swing_twist"}},
        "public_rig_derivation": {"main_joint_names": names},
        "rotation_extraction": mode,
        "segments": [{"start_joint": arm, "end_joint": hand, "twist_joints": [twist]} for arm, hand, twist in twists],
        "parameter_matrices": {name: {"entries": each} for name, each in entries.items()},
    }
