"""Hands as OpenXR's joints, by the rules of a published conformance suite, over renderings of its gestures.

Rules and limits are those of Isaac Capture's hand suite, see openxr_gestures.py: of the signal and the shape for every
hand that is found, of the gestures as far as one camera sees them. What does not hold is in docs/recipes.md.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from openxr_gestures import CAMERA, FINGERS, TURNS, render, script
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side, TwoHandReconstructor
from hand_recon_ros.adapters import OPENXR_JOINTS, HandJoints, OpenXRHand, openxr_joints

INDEX = {name: number for number, name in enumerate(OPENXR_JOINTS)}
CHAINS = {
    "thumb": [INDEX[f"thumb_{part}"] for part in ("metacarpal", "proximal", "distal", "tip")],
    **{
        finger: [INDEX[f"{finger}_{part}"] for part in ("proximal", "intermediate", "distal", "tip")]
        for finger in FINGERS
    },
}
BONES = [pair for chain in CHAINS.values() for pair in itertools.pairwise([INDEX["wrist"], *chain])]
OPTIONAL = [INDEX["palm"], *(INDEX[f"{finger}_metacarpal"] for finger in FINGERS)]
CONTACT = 0.04
"""Beyond this distance of two fingertips, metres, nothing is pinched."""


@dataclasses.dataclass(frozen=True)
class Performed:
    """A hand in the picture of a step: its joints, and the true distances of its fingertips to that of the thumb."""

    label: str
    turn: float
    side: Side
    hand: OpenXRHand | None
    true_distances: np.ndarray


@pytest.fixture(scope="module")
def take() -> list[Performed]:
    """Each hand of each picture of the script, in order, as the pipeline finds it in the picture alone."""
    reconstructor = TwoHandReconstructor.from_config(device="cpu")
    result = []
    for step in script():
        rendering = render(step)
        estimate = reconstructor.reconstruct_image(rendering.image, CAMERA)
        for side in Side:
            found = estimate.hand(side)
            hand = openxr_joints(HandJoints.of_estimate(found)) if found.found else None
            tips = rendering.joints[side][[4, 8, 12, 16, 20]]
            distances = np.linalg.norm(tips[1:] - tips[0], axis=1)
            result.append(Performed(step.label, step.turn, side, hand, distances))
    return result


def found(take: list[Performed]) -> list[tuple[Performed, OpenXRHand]]:
    return [(each, each.hand) for each in take if each.hand is not None]


def straightness(hand: OpenXRHand) -> float:
    """Mean over the fingers of knuckle to tip over the lengths of the bones between: 1 is straight."""
    shares = []
    for finger in FINGERS:
        points = hand.positions[CHAINS[finger]]
        shares.append(np.linalg.norm(points[-1] - points[0]) / np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    return float(np.mean(shares))


def tip_distances(hand: OpenXRHand) -> np.ndarray:
    """Of each finger's tip to that of the thumb (4,), metres."""
    tips = hand.positions[[CHAINS[finger][-1] for finger in FINGERS]]
    return np.asarray(np.linalg.norm(tips - hand.positions[CHAINS["thumb"][-1]], axis=1))


def palm_axes(hand: OpenXRHand) -> np.ndarray:
    """Unit vectors (3, 3), rows: to the middle finger, across the palm, and their normal, of positions alone."""
    wrist, index, middle, little = hand.positions[
        [INDEX["wrist"], *(CHAINS[finger][0] for finger in ("index", "middle", "little"))]
    ]
    forward, across = middle - wrist, little - index
    axes = np.stack([forward, across, np.cross(forward, across)])
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def turned(one: np.ndarray, other: np.ndarray) -> float:
    """The largest angle between the same axes of two hands, degrees."""
    return float(np.degrees(np.arccos(np.clip(np.sum(one * other, axis=1), -1.0, 1.0)).max()))


def test_pictures_are_of_the_gestures(take: list[Performed]) -> None:
    """The renderings themselves: each pinch has its fingertip at that of the thumb, and no other one."""
    for each in take:
        if each.label.startswith("pinch_"):
            near = each.true_distances < 0.02
            assert near.tolist() == [finger == each.label.removeprefix("pinch_") for finger in FINGERS]
    labels = [each.label for each in take if each.side == Side.LEFT]
    assert len(dict.fromkeys(labels)) == 10 and labels.count("wrist_rotate") == len(TURNS)


def test_every_hand_that_is_apart_is_found(take: list[Performed]) -> None:
    """Of a hand around the other's fist one camera sees little: that one may be missed, the fist is found."""
    missed = {(each.label, each.side) for each in take if each.hand is None}
    assert missed <= {("right_grasps_left_fist", Side.RIGHT), ("left_grasps_right_fist", Side.LEFT)}


def test_signal(take: list[Performed]) -> None:
    for _, hand in found(take):
        assert np.flatnonzero(~hand.valid).tolist() == sorted(OPTIONAL)
        assert np.isfinite(hand.positions[hand.valid]).all()
        np.testing.assert_allclose(np.linalg.norm(hand.orientations[hand.valid], axis=1), 1.0, atol=1e-6)


def test_shape(take: list[Performed]) -> None:
    for each, hand in found(take):
        p = hand.positions
        lengths = {name: np.linalg.norm(np.diff(p[chain], axis=0), axis=1).sum() for name, chain in CHAINS.items()}
        palm = float(np.linalg.norm(p[CHAINS["middle"][0]] - p[INDEX["wrist"]]))
        assert 0.10 < palm + lengths["middle"] < 0.30, "metres"
        assert 0.6 < lengths["middle"] / palm < 1.5
        assert 0.55 < lengths["little"] / lengths["middle"] < 1.0
        assert 0.6 < lengths["thumb"] / lengths["middle"] < 1.5
        # Knuckles in their order across the palm, the thumb on the index finger's side.
        knuckles = p[[CHAINS[finger][0] for finger in FINGERS]]
        across = knuckles[3] - knuckles[0]
        shares = (knuckles - knuckles[0]) @ across / (across @ across)
        thumb = p[CHAINS["thumb"][1]]
        assert np.all(np.diff(shares) > 0.0), (each.label, each.side)
        assert np.linalg.norm(thumb - knuckles[0]) < np.linalg.norm(thumb - knuckles[3])
        # The side by the wrist's frame: x to the little finger on a right hand.
        x = Rotation.from_quat(hand.orientations[INDEX["wrist"]]).inv().apply(across / np.linalg.norm(across))[0]
        assert x * (1.0 if each.side == Side.RIGHT else -1.0) > 0.3
        # x y z w, with -z along the bones.
        along = [
            -Rotation.from_quat(hand.orientations[a]).as_matrix()[:, 2] @ ((p[b] - p[a]) / np.linalg.norm(p[b] - p[a]))
            for chain in CHAINS.values()
            for a, b in itertools.pairwise(chain)
        ]
        assert np.mean(along) > 0.7
        if each.label.startswith("open"):
            reach = [np.linalg.norm(p[chain] - p[INDEX["wrist"]], axis=1) for chain in CHAINS.values()]
            assert all(np.all(np.diff(each) > 0.0) for each in reach), "each finger from its root to its tip"


@pytest.mark.parametrize("side", list(Side))
def test_bones_keep_their_lengths(take: list[Performed], side: Side) -> None:
    hands = [hand for each, hand in found(take) if each.side == side]
    lengths = np.array([[np.linalg.norm(hand.positions[b] - hand.positions[a]) for a, b in BONES] for hand in hands])
    assert (lengths.std(axis=0) / lengths.mean(axis=0)).max() < 0.10


@pytest.mark.parametrize("side", list(Side))
def test_open_hands_and_fists(take: list[Performed], side: Side) -> None:
    values = {each.label: straightness(hand) for each, hand in found(take) if each.side == side}
    assert min(values["open_hand_open"], values["open_hand_close"]) > 0.80
    assert values["fist"] < 0.60
    assert values[f"{side.other.label}_grasps_{side.label}_fist"] < min(0.75, values["open_hand_open"] - 0.15)


@pytest.mark.parametrize("side", list(Side))
def test_curling_does_not_bring_the_fingertips_to_the_back_of_the_hand(take: list[Performed], side: Side) -> None:
    def rise(hand: OpenXRHand) -> float:
        """Of the fingertips above the knuckles, out of the back of the hand, metres."""
        inverse = Rotation.from_quat(hand.orientations[INDEX["wrist"]]).inv()
        steps = [hand.positions[CHAINS[finger][-1]] - hand.positions[CHAINS[finger][0]] for finger in FINGERS]
        return float(np.mean(inverse.apply(np.array(steps))[:, 1]))

    values = {each.label: rise(hand) for each, hand in found(take) if each.side == side}
    # The tips of a tight fist are as far below the knuckles as those of open fingers that hang a little.
    assert values["fist"] < values["open_hand_open"] + 0.01
    assert values["pinch_index"] < values["open_hand_open"] - 0.005


@pytest.mark.parametrize("side", list(Side))
def test_a_fingertip_that_touches_the_thumb_is_the_right_one(take: list[Performed], side: Side) -> None:
    touching = {}
    for each, hand in found(take):
        distances = tip_distances(hand)
        if each.side == side and each.label.startswith("pinch_") and distances.min() <= CONTACT:
            touching[each.label] = f"pinch_{FINGERS[int(distances.argmin())]}"
    assert touching and all(label == nearest for label, nearest in touching.items()), touching


@pytest.mark.parametrize("side", list(Side))
def test_the_wrist_turns_with_the_palm(take: list[Performed], side: Side) -> None:
    hands = [hand for each, hand in found(take) if each.side == side and each.label == "wrist_rotate"]
    axes = [palm_axes(hand) for hand in hands]
    assert max(turned(axes[0], other) for other in axes) > 90.0
    local = [
        each @ Rotation.from_quat(hand.orientations[INDEX["wrist"]]).as_matrix()
        for each, hand in zip(axes, hands, strict=True)
    ]
    assert max(turned(local[0], other) for other in local) < 30.0
