"""Assets in the format that SOMA-X's hand layer reads, made of the embedded hand: a body that is two hands on arms.

Written are SOMAHand.npz, SOMA_neutral.npz, SOMA_template_rig.usda and SOMA_procedural_transforms.json, in centimetres,
y up, the figure facing z. The mesh "low" is the embedded hand's without the wrist's cap, "mid" that with every triangle
divided into four. Beside the joints that MANO has too there are metacarpals and finger ends with skin of their own,
twist joints, a bind pose, another T-pose, and a mean shape that is not the shape of the bind pose.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.arrays import boundary_loop
from hand_recon_ros.skeleton import mirror_points

FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
HAND_JOINTS = ("", *(f"{finger}{part}" for finger in FINGERS for part in (*range(1, 4 + (finger != "Thumb")), "End")))
"""The 25 joints, without the side's prefix."""
PARENTS = np.array([0, 0, 1, 2, 3, *(p for f in range(4) for p in (0, *range(5 + 5 * f, 9 + 5 * f)))])
CORRECTIVES = "correctives_model.pt"
COMPONENTS = 20
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


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A left hand at one level of detail.

    Attributes:
        points: (V, 3), centimetres, in the wrist's frame; of the shape of the bind pose.
        mean: the same of the mean shape.
        directions: (20, V, 3), centimetres per standard deviation, of decreasing size.
        weights: of the 25 joints (V, 25).
        faces: (F, 3), counter-clockwise from outside.
        rim: vertices around the open end, in order.
    """

    points: np.ndarray
    mean: np.ndarray
    directions: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    rim: np.ndarray


@dataclasses.dataclass(frozen=True)
class Hand:
    """The left hand, whose mirror image in x = 0 is the right one.

    Attributes:
        low, mid: its meshes; the vertices of low are the first ones of mid.
        joints: where the 25 joints are in the bind pose (25, 3), centimetres, in the wrist's frame.
        bind: orientations of the joints in the bind pose, in the wrist's frame (25, 3, 3).
        t_pose: those of the T-pose (25, 3, 3).
        wrist: orientation of the wrist in the world (3, 3).
    """

    low: Mesh
    mid: Mesh
    joints: np.ndarray
    bind: np.ndarray
    t_pose: np.ndarray
    wrist: np.ndarray


def stand_in(seed: int = 0) -> Hand:
    """The left hand of the assets; the same for the same seed."""
    rng, model = np.random.default_rng(seed), load_hand_model()
    arrays, kinematics = model.arrays(Side.LEFT), model.kinematics(Side.LEFT)
    wrist = Rotation.from_euler("xyz", [20, -35, 15], degrees=True).as_matrix()
    origin = kinematics.keypoint_template[0]

    def local(points: np.ndarray) -> np.ndarray:
        return 100.0 * (points - origin) @ wrist

    keypoints = local(kinematics.keypoint_template)
    joints = np.zeros((25, 3))
    for finger in range(5):
        chain = keypoints[1 + 4 * finger : 5 + 4 * finger]
        if finger:  # the metacarpal begins a quarter of the way to the knuckle
            chain = np.concatenate([0.25 * chain[:1], chain])
        start = 1 if finger == 0 else 5 * finger
        joints[start : start + len(chain)] = chain
        joints[start + len(chain) - 1] -= 0.15 * (chain[-1] - chain[-2])  # the end lies under the skin
    kept, faces = _open(arrays.faces.astype(np.int64), arrays.wrist_loop)
    template, shapedirs = arrays.template[kept].astype(np.float64), arrays.shapedirs[kept].astype(np.float64)
    coarse = Mesh(
        points=local(template),
        mean=local(template + shapedirs @ rng.normal(0.0, 0.6, 10)),
        directions=_fields(rng, local(template), 100.0 * np.moveaxis(shapedirs, 2, 0) @ wrist),
        weights=_weights(local(template), joints, model.weights(Side.LEFT)[kept].astype(np.float64)),
        faces=faces,
        rim=boundary_loop(faces),
    )
    bind = _orientations(joints)
    bend = Rotation.from_rotvec(rng.normal(0.0, 0.12, (25, 3))).as_matrix()
    bend[0] = np.eye(3)
    mid = _divided(coarse)
    # Principal components are orthogonal.
    _, sizes, basis = np.linalg.svd(mid.directions.reshape(COMPONENTS, -1), full_matrices=False)
    mid = dataclasses.replace(mid, directions=(sizes[:, None] * basis).reshape(mid.directions.shape))
    low = dataclasses.replace(coarse, directions=mid.directions[:, : len(coarse.points)])
    return Hand(low, mid, joints, bind, bend @ bind, wrist)


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


def _open(faces: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All vertices but the one behind the loop around the wrist, and the triangles without it, renumbered."""
    beside = faces[np.isin(faces, loop).sum(axis=1) == 2]
    vertices, counts = np.unique(beside[~np.isin(beside, loop)], return_counts=True)
    (centre,) = vertices[counts == len(loop)]
    kept = np.delete(np.arange(faces.max() + 1), centre)
    open_faces = faces[(faces != centre).all(axis=1)]
    return kept, open_faces - (open_faces > centre)


def _of_side(faces: np.ndarray, side: str) -> np.ndarray:
    return faces if side == "Left" else faces[:, ::-1]


def _fields(rng: np.random.Generator, points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The ten shapes of the embedded hand, and ten that are smooth random fields of half a millimetre (20, V, 3)."""
    fields = []
    for _ in range(COMPONENTS - len(known)):
        waves, phase = rng.normal(0.0, 0.3, (6, 3)), rng.uniform(0.0, 2.0 * np.pi, 6)
        values = np.sin(points @ waves.T + phase) @ rng.normal(size=(6, 3))
        fields.append(0.05 * values / np.sqrt(np.mean((values**2).sum(axis=1))))
    return np.concatenate([known, fields])


def _weights(points: np.ndarray, joints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Skin weights of the 25 joints (V, 25), of those of the 16 that the embedded hand has (V, 16)."""
    result = np.zeros((len(points), 25))
    result[:, 0] = known[:, 0]
    for finger in range(5):
        start = 1 if finger == 0 else 5 * finger + 1
        result[:, start : start + 3] = known[:, 1 + 3 * finger : 4 + 3 * finger]
        # The last centimetre of a finger follows its end as well.
        end, last = start + 3, start + 2
        axis = (joints[end] - joints[last]) / np.linalg.norm(joints[end] - joints[last])
        share = 0.4 * np.clip(1.0 + (points - joints[end]) @ axis, 0.0, 1.0)
        result[:, end], result[:, last] = share * result[:, last], (1.0 - share) * result[:, last]
    # The palm's share of the metacarpals: the wrist's weight near each.
    nearness = np.zeros((len(points), 4))
    for finger in range(4):
        base, knuckle = joints[5 + 5 * finger], joints[6 + 5 * finger]
        along = np.clip((points - base) @ (knuckle - base) / ((knuckle - base) @ (knuckle - base)), 0.0, 1.0)
        distance = np.linalg.norm(points - base - along[:, None] * (knuckle - base), axis=1)
        nearness[:, finger] = along * np.exp(-((distance / 1.2) ** 2))
    share = nearness / np.maximum(1.0, nearness.sum(axis=1, keepdims=True))
    result[:, [5, 10, 15, 20]] = share * result[:, :1]
    result[:, 0] *= 1.0 - share.sum(axis=1)
    return result


def _orientations(joints: np.ndarray) -> np.ndarray:
    """Orientations (25, 3, 3) with x along the bone; the wrist's is that of its own frame."""
    result = np.tile(np.eye(3), (25, 1, 1))
    for joint in range(1, 25):
        parent = PARENTS[joint]
        ends = HAND_JOINTS[joint].endswith("End")
        bone = joints[joint] - joints[parent] if ends else joints[joint + 1] - joints[joint]
        x = bone / np.linalg.norm(bone)
        y = np.cross([0.2, 0.3, 1.0], x)
        y /= np.linalg.norm(y)
        result[joint] = np.stack([x, y, np.cross(x, y)], axis=1)
    return result


def _divided(mesh: Mesh) -> Mesh:
    """Every triangle in four: vertices of ``mesh``, then the middles of its edges."""
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (number.reshape(3, -1) + len(mesh.points)).astype(np.int64)
    a, b, c = mesh.faces.T
    faces = np.concatenate([np.stack(each, axis=1) for each in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])

    def middles(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, 0.5 * (values[unique[:, 0]] + values[unique[:, 1]])])

    return Mesh(
        points=middles(mesh.points),
        mean=middles(mesh.mean),
        directions=np.stack([middles(each) for each in mesh.directions]),
        weights=middles(mesh.weights),
        faces=faces,
        rim=boundary_loop(faces),
    )


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
