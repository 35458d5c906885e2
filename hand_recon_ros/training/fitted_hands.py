"""Segmentation and depth of hands by the hand model: it is fitted to their landmarks, and its mesh rasterised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..datasets.priors import SceneTruth
from ..hand_model import HandModel
from ..landmarks.hand_keypoints import in_hand_model
from ..landmarks.landmarks import HandLandmarks, joint_scores
from ..landmarks.observation import Observation
from ..lift.lifter import Lifter
from ..synthetic.rasterizer import rasterize
from ..types import Camera, Side

_ITERATIONS = 8
_LEAST_PRESENCE = 0.5


class FittedHands:
    """Estimates of both hands of an image in place of ground truth."""

    def __init__(self, hand_model: HandModel) -> None:
        self._model, self._lifter = hand_model, Lifter(hand_model, _ITERATIONS)

    def __call__(self, image: np.ndarray, hands: Sequence[tuple[Side, HandLandmarks]], camera: Camera) -> SceneTruth:
        """The scene as the landmarks show it; hands that the landmark network does not see are left out.

        Args:
            image: uint8 (H, W, 3) BGR.
            hands: at most one of a side, with their landmarks.
            camera: that took the image. Where its focal length is guessed, distances are off by the same factor.
        """
        keypoints_2d = np.full((2, 21, 2), np.nan)
        observations = [_observation(side, hand, camera) for side, hand in hands if hand.presence >= _LEAST_PRESENCE]
        vertices, faces, owners = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int32)], [np.zeros(0, dtype=np.uint8)]
        for hand in self._lifter(observations, camera):
            if not hand.finite:
                continue
            keypoints_2d[hand.side] = hand.keypoints_2d
            triangles = self._model.faces(hand.side)
            faces.append(triangles + sum(map(len, vertices)))
            vertices.append(self._model.mesh(hand.side, hand.rotations, hand.betas, hand.translation))
            owners.append(np.full(len(triangles), int(hand.side) + 1, dtype=np.uint8))
        raster = rasterize(np.concatenate(vertices), np.concatenate(faces), camera)
        label = np.concatenate([*owners, np.zeros(1, dtype=np.uint8)])  # the last one for pixels without a face
        return SceneTruth(keypoints_2d, label[raster.triangle], raster.depth, image)


def _observation(side: Side, hand: HandLandmarks, camera: Camera) -> Observation:
    keypoints, depth, world = in_hand_model(hand)
    return Observation(
        side=side,
        score=hand.presence,
        side_score=1.0,
        keypoints_2d=keypoints,
        screen_depth=depth,
        world=world,
        joint_scores=joint_scores(hand, camera.width, camera.height),
        roi=hand.roi,
        detected=True,
    )
