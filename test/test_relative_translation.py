"""What is told of where the hands are to each other, and what that makes of where each of them is."""

import dataclasses

import numpy as np
import pytest
from evidence import MODEL, observe

from hand_recon_ros import Side
from hand_recon_ros.interact.relative_translation import along_rays, with_relative_translation
from hand_recon_ros.landmarks.observation import EncoderPrediction
from hand_recon_ros.lift.lifter import LiftedHand


def test_told_relations_move_wrists_along_their_rays():
    wrists = np.array([[-0.1, 0.02, 0.4], [0.08, 0.0, 0.6]])
    told = np.array([0.17, -0.02, 0.05])
    found, stddevs = along_rays(wrists, np.array([0.06, 0.03]), told)
    np.testing.assert_allclose(np.cross(found, wrists), 0.0, atol=1e-12)
    way = np.linalg.norm(found - wrists, axis=1)
    assert way[0] > 2.0 * way[1] > 0.0 and (stddevs < [0.06, 0.03]).all()
    assert np.linalg.norm(found[1] - found[0] - told) < 0.5 * np.linalg.norm(wrists[1] - wrists[0] - told)
    same, _ = along_rays(wrists, np.array([0.06, 0.03]), wrists[1] - wrists[0])
    np.testing.assert_allclose(same, wrists, atol=1e-12)


def test_both_hands_tell_where_they_are_to_each_other():
    told, hands, observations = np.array([0.15, 0.0, 0.03]), [], []
    for side, wrist in zip(Side, ([-0.1, 0.0, 0.5], [0.1, 0.0, 0.5]), strict=True):
        rotations, betas = np.tile(np.eye(3), (16, 1, 1)), np.zeros(10)
        points, _ = MODEL.kinematics(side).forward(rotations, betas, np.array(wrist))
        seen = observe(points, side)
        hands.append(
            LiftedHand(
                side,
                rotations,
                betas,
                np.array(wrist),
                points,
                np.zeros((15, 3)),
                seen.keypoints_2d,
                seen.joint_scores,
                0.05,
                np.eye(10),
                0.0,
            )  # fmt: skip
        )
        vector = told if side == Side.LEFT else -told
        encoded = EncoderPrediction(1.0, seen.keypoints_2d, np.ones(21), points, points[0], 0.05, vector, seen.roi, 1.0)
        observations.append(dataclasses.replace(seen, prediction=encoded))
    found = with_relative_translation(hands[::-1], observations[::-1])[::-1]
    wrists = np.stack([hand.keypoints[0] for hand in hands])
    expected, stddevs = along_rays(wrists, np.array([0.05, 0.05]), told)
    for side in Side:
        np.testing.assert_allclose(found[side].keypoints[0], expected[side], atol=1e-12)
        np.testing.assert_allclose(
            found[side].keypoints - found[side].translation, hands[side].keypoints - hands[side].translation, atol=1e-12
        )
        assert found[side].position_stddev == pytest.approx(stddevs[side]) and found[side].side == side
    assert (
        with_relative_translation(hands, [observations[0], dataclasses.replace(observations[1], prediction=None)])
        == hands
    )
    assert with_relative_translation(hands[:1], observations[:1]) == hands[:1]
