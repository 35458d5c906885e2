"""What a protocol for two hands fixes, and the arrays that it is applied to."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...hand_model import HandModel
from ...hand_model.arrays import MANO_VERTICES
from ...hand_model.order import FROM_MANO
from ...skeleton import JOINT_KEYPOINTS, MIDDLE_MCP, NUM_KEYPOINTS, TIPS, WRIST
from ...types import Side

RIGHT, LEFT, INTERACTING = "right", "left", "interacting"
"""Types of an image's hands, as InterHand2.6M and HIC have them."""
INTAGHAND_TIPS = (745, 317, 444, 556, 673)
INTERHAND_TIPS = (745, 317, 445, 556, 673)
"""MANO's vertices that are the fingertips, thumb to little finger: of IntagHand with DIR, and of InterHand2.6M's
regressor with InterWild."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How errors of two hands are measured.

    Attributes:
        name: of the protocol.
        root: the keypoint that is subtracted from both hands.
        rescale: whether the prediction is scaled to the true length from wrist to middle MCP.
        from_mesh: whether keypoints are regressed from the meshes; otherwise they are the annotated ones, and those of
            the prediction as it states them.
        tips: fingertip vertices of the regressed keypoints, MANO's numbers.
        pairs_only: whether only images count whose type is "interacting" and certain, with both meshes.
        root_counts: whether the root's error of zero is part of the mean.
        mean_of_types: whether the MPJPE of all images is the mean of the MPJPE of single and of interacting hands,
            as InterWild's code has it, and not that of all hands.
        mrrpe_of_interacting: whether MRRPE is over images of type "interacting" only, and not over all in which both
            roots are valid.
        own_keypoints: whether the predicted keypoints are the estimator's own in spite of ``from_mesh``, as those of an
            estimator without meshes of the data set's hand model; the title says so.
        images: the images that count, in words.
    """

    name: str
    root: int
    rescale: bool
    from_mesh: bool
    tips: tuple[int, ...] = INTERHAND_TIPS
    pairs_only: bool = False
    root_counts: bool = True
    mean_of_types: bool = False
    mrrpe_of_interacting: bool = True
    own_keypoints: bool = False
    images: str = "all annotated images"

    def __post_init__(self) -> None:
        if self.root not in (WRIST, MIDDLE_MCP):
            raise ValueError(f"the root is the wrist ({WRIST}) or the middle MCP ({MIDDLE_MCP}), got {self.root}")

    @property
    def title(self) -> str:
        """Name and definition in one line, for reports."""
        keypoints = "from the mesh" if self.from_mesh else "annotated"
        if self.from_mesh and self.own_keypoints:
            keypoints += ", predicted ones as estimated"
        return (
            f"{self.name}: {'wrist' if self.root == WRIST else 'middle MCP'} root, "
            f"{'' if self.rescale else 'not '}rescaled, keypoints {keypoints}, "
            f"root {'counts' if self.root_counts else 'does not count'}; {self.images}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class HandPairs:
    """Predicted hands of N images: left, right; metres in the camera frame, NaN where a hand was not found.

    Attributes:
        joints: keypoints (N, 2, 21, 3).
        vertices: (N, 2, V, 3), or None.
    """

    joints: np.ndarray
    vertices: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.joints)
        if len(shape) != 4 or shape[1:] != (2, NUM_KEYPOINTS, 3):
            raise ValueError(f"joints must have shape (N, 2, {NUM_KEYPOINTS}, 3), got {shape}")
        if self.vertices is not None:
            expected, got = (shape[0], 2, "V", 3), np.shape(self.vertices)
            if len(got) != 4 or (*got[:2], "V", got[3]) != expected:
                raise ValueError(f"vertices must have shape ({shape[0]}, 2, V, 3), got {got}")

    @property
    def found(self) -> np.ndarray:
        """Which hands (N, 2) are there: all of their numbers are finite."""
        found = np.isfinite(self.joints).all(axis=(-2, -1))
        return found if self.vertices is None else found & np.isfinite(self.vertices).all(axis=(-2, -1))


@dataclasses.dataclass(frozen=True, eq=False)
class TrueHandPairs(HandPairs):
    """The ground truth of N images; NaN where it is not annotated.

    Attributes:
        types: "right", "left" or "interacting" (N,).
        joint_valid: which keypoints (N, 2, 21) count; None: those that are finite.
        type_valid: for which images (N,) the type is certain; None: for all.
    """

    types: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=str))
    joint_valid: np.ndarray | None = None
    type_valid: np.ndarray | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.joints)
        shapes = {"types": (count,), "joint_valid": (count, 2, NUM_KEYPOINTS), "type_valid": (count,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {np.shape(value)}")
        unknown = set(np.unique(self.types)) - {RIGHT, LEFT, INTERACTING}
        if unknown:
            raise ValueError(f"types are {RIGHT}, {LEFT} and {INTERACTING}, got {', '.join(sorted(map(str, unknown)))}")

    @property
    def valid(self) -> np.ndarray:
        """Which keypoints (N, 2, 21) are valid and known."""
        known = np.isfinite(self.joints).all(axis=-1)
        return known if self.joint_valid is None else known & np.asarray(self.joint_valid, dtype=bool)

    @property
    def of_type(self) -> np.ndarray:
        """Which hands (N, 2) the image's type names."""
        return np.stack([(self.types == side) | (self.types == INTERACTING) for side in (LEFT, RIGHT)], axis=1)


def joint_regressors(model: HandModel, tips: tuple[int, ...]) -> np.ndarray:
    """Matrices (2, 21, V), left and right, that take the vertices of a hand model to the 21 keypoints.

    ``tips`` are vertices of MANO; a model with other vertices takes its own.
    """
    regressors = np.zeros((2, NUM_KEYPOINTS, model.num_vertices))
    for side in Side:
        regressors[side, JOINT_KEYPOINTS] = model.arrays(side).regressor[FROM_MANO]
        vertices = tips if model.num_vertices == MANO_VERTICES else model.tip_vertices(side)
        regressors[side, TIPS, vertices] = 1.0
    return regressors


def regressed(vertices: np.ndarray, regressors: np.ndarray) -> np.ndarray:
    """Keypoints (N, 2, 21, 3) of meshes (N, 2, V, 3); raises ValueError where the regressors are of other meshes."""
    if vertices.shape[-2] != regressors.shape[-1]:
        raise ValueError(f"meshes of {vertices.shape[-2]} vertices, but joint regressors for {regressors.shape[-1]}")
    return regressors @ np.asarray(vertices, dtype=np.float64)
