"""The predicted vector between the wrists: how it moves lifted hands, and where it must not."""

import dataclasses

import numpy as np
import pytest
from evidence import MODEL, observe

from hand_recon_ros import Side
from hand_recon_ros.interact.relative_translation import along_rays, with_relative_translation
from hand_recon_ros.landmarks.observation import EncoderPrediction
from hand_recon_ros.lift.lifted_hand import LiftedHand


def test_a_predicted_vector_moves_wrists_along_their_rays():
    wrists = np.array([[-0.1, 0.02, 0.4], [0.08, 0.0, 0.6]])
    vector = np.array([0.17, -0.02, 0.05])
    found, stddevs = along_rays(wrists, np.array([0.06, 0.03]), vector)
    np.testing.assert_allclose(np.cross(found, wrists), 0.0, atol=1e-12)
    way = np.linalg.norm(found - wrists, axis=1)
    assert way[0] > 2.0 * way[1] > 0.0 and (stddevs < [0.06, 0.03]).all()
    assert np.linalg.norm(found[1] - found[0] - vector) < 0.5 * np.linalg.norm(wrists[1] - wrists[0] - vector)
    same, _ = along_rays(wrists, np.array([0.06, 0.03]), wrists[1] - wrists[0])
    np.testing.assert_allclose(same, wrists, atol=1e-12)


def lifted(wrists, vector, stddev=0.05, other=None):
    """Both hands, flat, and what they were lifted from; the encoder predicts ``vector`` from left to right."""
    hands, observations = [], []
    for side, wrist in zip(Side, wrists, strict=True):
        rotations, betas = np.tile(np.eye(3), (16, 1, 1)), np.zeros(10)
        translation = np.asarray(wrist) - MODEL.kinematics(side).rest_keypoints(betas)[0]
        points, _ = MODEL.kinematics(side).forward(rotations, betas, translation)
        seen = observe(points, side)
        hands.append(
            LiftedHand(
                side=side,
                rotations=rotations,
                betas=betas,
                translation=translation,
                keypoints=points,
                angles=np.zeros((15, 3)),
                keypoints_2d=seen.keypoints_2d,
                joint_scores=seen.joint_scores,
                position_stddev=stddev,
                betas_covariance=np.eye(10),
                residual=0.0,
            )  # fmt: skip
        )
        prediction = EncoderPrediction(
            presence=1.0, keypoints_2d=seen.keypoints_2d, stddev_2d=np.ones(21), joints=points - points[0],
            wrist=points[0], wrist_stddev=0.04, to_other=vector if side == Side.LEFT else -vector,
            other_box=seen.roi, other_visible=1.0,
        )  # fmt: skip
        observations.append(dataclasses.replace(seen, prediction=prediction))
    return hands, observations


NEAR = ([-0.1, 0.0, 0.5], [0.1, 0.0, 0.5])


def shift_of(hands, observations):
    """How far each wrist is moved, metres."""
    moved = with_relative_translation(hands, observations)
    return np.array([np.linalg.norm(a.keypoints[0] - b.keypoints[0]) for a, b in zip(moved, hands, strict=True)])


def test_both_hands_are_moved_as_a_whole():
    vector = np.array([0.2, 0.0, 0.03])
    hands, observations = lifted(NEAR, vector)
    found = with_relative_translation(hands[::-1], observations[::-1])[::-1]
    wrists = np.stack([hand.keypoints[0] for hand in hands])
    expected, stddevs = along_rays(wrists, np.array([0.05, 0.05]), vector)
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


@pytest.mark.parametrize("depth", [0.6, 1.0, 2.5])
def test_hands_of_two_people_stay_where_they_are(depth):
    """The encoder predicts a vector of one person's hands whatever it sees."""
    hands, observations = lifted(([-0.05, 0.0, 0.5], [0.15, 0.0, 0.5 + depth]), np.array([0.2, 0.0, 0.0]))
    assert with_relative_translation(hands, observations) == hands
    far = lifted(([-1.0, 0.0, 3.0], [0.9, 0.0, 3.0]), np.array([0.2, 0.0, 0.0]), stddev=0.5)
    assert with_relative_translation(*far) == far[0]


def test_a_vector_that_contradicts_both_wrists_has_no_pull():
    vector = np.array([0.2, 0.0, 0.0])
    shifts = [
        shift_of(*lifted((NEAR[0], [0.1, 0.0, 0.5 + way]), vector, stddev=0.03)).sum()
        for way in np.arange(0.02, 0.4, 0.002)
    ]
    assert max(shifts) < 0.2 and shifts[0] > 0.005 and shifts[-1] == 0.0
    assert max(np.abs(np.diff(shifts))) < 0.02  # no jump on the way
    # The same contradiction between hands of unknown distance is none.
    assert shift_of(*lifted((NEAR[0], [0.1, 0.0, 0.88]), vector, stddev=0.2)).sum() > 0.3


def test_what_is_not_finite_moves_nothing():
    vector = np.array([0.2, 0.0, 0.05])
    hands, observations = lifted(NEAR, vector)
    unsolved = [LiftedHand.unsolved(observations[0]), hands[1]]
    assert with_relative_translation(unsolved, observations) == unsolved
    broken = dataclasses.replace(observations[0].prediction, to_other=np.array([np.nan, 0.0, 0.0]))
    spoiled = [dataclasses.replace(observations[0], prediction=broken), observations[1]]
    assert with_relative_translation(hands, spoiled) == hands
