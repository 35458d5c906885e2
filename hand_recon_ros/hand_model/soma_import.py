"""Conversion of a hand of SOMA-X, as plain arrays, to MANO's layout.

SOMA's hand (Saito et al., "SOMA: Unifying Parametric Human Body Models", 2026) is posed by linear blend skinning of 25
joints, whose places are weighted averages of the shaped vertices, as MANO's are. So the layouts agree but for the
joints that MANO lacks: metacarpals become part of the wrist, and finger ends part of the last joint. While these nine
do not move, the vertices are the same.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..skeleton import FINGERS, JOINT_KEYPOINTS, JOINT_NAMES, NUM_JOINTS, TIP_JOINTS
from ..types import Side
from .arrays import HandModelError
from .model import HandModel
from .order import TO_MANO

NUM_BETAS = 10
_CHAINS = {finger: "123" if finger == "thumb" else "234" for finger in FINGERS}
"""The numbers that SOMA's names have for the three joints of a finger; number 1 of the others is the metacarpal."""
_MAIN = ("", *(f"{finger.title()}{number}" for finger, numbers in _CHAINS.items() for number in numbers))
"""SOMA's names of the joints of ``skeleton.JOINT_NAMES``, without LeftHand or RightHand before them."""
_ENDS = tuple(f"{finger.title()}End" for finger in FINGERS)
_MERGED = {
    **{f"{finger.title()}1": 0 for finger in FINGERS[1:]},
    **{end: int(joint) for end, joint in zip(_ENDS, TIP_JOINTS, strict=True)},
}
"""The joints that MANO lacks, and the joint of ``skeleton.JOINT_NAMES`` that each becomes a part of."""
_FARTHEST = 0.02
"""From a joint to the embedded hand's in the same skin, metres; a phalanx is longer."""
_KINTREE = np.array([[2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], range(16)], np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class SomaHand:
    """One hand of SOMA-X as plain arrays; vertices V, shape components K, triangles F.

    Raises HandModelError where the joints are not those of SOMA's hand.

    Attributes:
        side: which hand.
        joint_names: LeftHand, LeftHandThumb1, ... or RightHand, ... (25,), in any order.
        template: vertices of the mean shape in the bind pose (V, 3), metres, in the wrist joint's frame.
        directions: per standard deviation of each component (K, V, 3), metres.
        regressor: joints from vertices (25, V).
        weights: skin weights (V, 25).
        faces: (F, 3), counter-clockwise from outside, open at the wrist.
    """

    side: Side
    joint_names: tuple[str, ...]
    template: np.ndarray
    directions: np.ndarray
    regressor: np.ndarray
    weights: np.ndarray
    faces: np.ndarray

    def __post_init__(self) -> None:
        prefix = f"{self.side.label.title()}Hand"
        expected = {f"{prefix}{name}" for name in (*_MAIN, *_MERGED)}
        if set(self.joint_names) != expected or len(self.joint_names) != len(expected):
            different = ", ".join(sorted(set(self.joint_names) ^ expected)) or "names twice"
            raise HandModelError(f"the joints are not the {len(expected)} of SOMA's {prefix}: {different}")

    def indices(self, *names: str) -> np.ndarray:
        """Where joints are among SOMA's, by their names without the side's prefix."""
        prefix = f"{self.side.label.title()}Hand"
        return np.array([self.joint_names.index(f"{prefix}{name}") for name in names])

    @property
    def main_joints(self) -> np.ndarray:
        """Where the joints of ``skeleton.JOINT_NAMES`` are among SOMA's (16,)."""
        return self.indices(*_MAIN)

    @property
    def moved_by(self) -> np.ndarray:
        """The joint of ``skeleton.JOINT_NAMES`` that moves what each of SOMA's moves (25,)."""
        result = np.empty(len(self.joint_names), np.int64)
        result[self.main_joints] = np.arange(NUM_JOINTS)
        result[self.indices(*_MERGED)] = list(_MERGED.values())
        return result

    @property
    def kept_components(self) -> np.ndarray:
        """The components that become betas: the ten that move the vertices most, in SOMA's order."""
        size = np.sum(self.directions**2, axis=(1, 2))
        return np.sort(np.argsort(-size, kind="stable")[:NUM_BETAS])


def soma_arrays(hand: SomaHand) -> dict[str, np.ndarray]:
    """The arrays with MANO's names, and which of SOMA's components the betas are.

    Axes and origin stay SOMA's: those of the wrist joint in the bind pose. Betas for which there is no component do
    nothing.
    """
    weights = np.zeros((len(hand.template), NUM_JOINTS))
    np.add.at(weights.T, hand.moved_by, hand.weights.T)
    kept = hand.kept_components
    shapedirs = np.zeros((*hand.template.shape, NUM_BETAS))
    shapedirs[..., : len(kept)] = np.moveaxis(hand.directions[kept], 0, -1)
    return {
        "v_template": hand.template,
        "shapedirs": shapedirs,
        "posedirs": np.zeros((*hand.template.shape, 9 * (NUM_JOINTS - 1)), np.float32),
        "J_regressor": hand.regressor[hand.main_joints][TO_MANO],
        "weights": weights[:, TO_MANO],
        "kintree_table": _KINTREE,
        "f": hand.faces.astype(np.int64),
        "hands_mean": np.zeros(3 * (NUM_JOINTS - 1)),
        "tip_vertices": _tips(hand, weights),
        "soma_components": kept,
    }


def check_joints(model: HandModel, side: Side) -> None:
    """Raise HandModelError where a joint is not in the place in the hand that its name says, by the re-fit.

    SOMA's names number the joints of a finger and do not say what they are: this tells metacarpals from knuckles.
    """
    refit = model.refit(side)
    if refit is None:
        return
    distances = np.linalg.norm(refit.keypoint_offsets[JOINT_KEYPOINTS], axis=1)
    worst = int(np.argmax(distances))
    if distances[worst] > _FARTHEST:
        raise HandModelError(
            f"{model.name}: the joint taken for {JOINT_NAMES[worst]} of the {side.label} hand is "
            f"{1e3 * distances[worst]:.0f} mm from where the embedded hand has it, expected at most "
            f"{1e3 * _FARTHEST:.0f} mm: SOMA's joints are numbered in another way"
        )


def _tips(hand: SomaHand, weights: np.ndarray) -> np.ndarray:
    """The vertices (5,) at which the lines from the last joints through the fingers' ends leave the skin."""
    joints, tips = hand.regressor @ hand.template, []
    for last, start, end in zip(TIP_JOINTS, hand.main_joints[TIP_JOINTS], hand.indices(*_ENDS), strict=True):
        axis = joints[end] - joints[start]
        axis /= np.linalg.norm(axis)
        offsets = hand.template - joints[start]
        along = offsets @ axis
        beside = np.linalg.norm(offsets - along[:, None] * axis, axis=1)
        # Of the front half of the last bone's skin: there only the tip is near the line.
        ahead = np.where(weights[:, last] > 0.5, along, -np.inf)
        tips.append(np.argmin(np.where(ahead > 0.5 * ahead.max(), beside, np.inf)))
    return np.array(tips)
