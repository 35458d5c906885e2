"""The pair detector's loss: zero for the ground truth, offsets in units of the hand, and what does not count."""

from __future__ import annotations

import math

import pytest
import torch

from hand_recon_ros.detect.pair_detector import VALUES
from hand_recon_ros.models.pair_detector import KEYPOINTS
from hand_recon_ros.training.pair_loss import pair_loss

NAN = math.nan


def targets():
    """A crop with both hands, and one with a left hand only, all of known side: the arguments after the output."""
    present = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    values = torch.tensor(
        [[[0.3, 0.4, math.log(0.5), 0.6, 0.8], [0.7, 0.6, math.log(0.25), 1.0, 0.0]],
         [[0.5, 0.5, 0.0, 0.0, -1.0], [NAN] * 5]]
    )  # fmt: skip
    keypoints = torch.rand(2, 2, 21, 2, generator=torch.Generator().manual_seed(0))
    keypoints[1, 1] = NAN
    return values, present, torch.ones(2, 2), keypoints


def perfect(values, present, sided, keypoints):
    logits = torch.where(present == 1, 40.0, -40.0)
    sides = torch.tensor([-40.0, 40.0]).expand_as(present)
    boxes, points = values.nan_to_num(9.0), keypoints.nan_to_num(9.0).flatten(2)
    return torch.cat([logits[..., None], sides[..., None], boxes, points], dim=-1)


def test_the_ground_truth_has_no_loss():
    truth = targets()
    loss, terms = pair_loss(perfect(*truth), *truth)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert set(terms) == {"presence", "center", "size", "direction", "side", "keypoints"}
    assert not any(term.requires_grad for term in terms.values())


OFFSETS = pytest.mark.parametrize(
    ("side", "error", "expected"),
    [(0, 0.1, 0.1 / 0.5), (1, 0.1, 0.1 / 0.25), (1, -0.1, 0.1 / 0.25), (0, 10.0, 3.0), (1, 10.0, 3.0)],
)


@OFFSETS
def test_offsets_are_relative_to_the_hand_up_to_a_largest_one(side, error, expected):
    truth = targets()
    output = perfect(*truth)
    output[0, side, 2] += error
    _, terms = pair_loss(output, *truth)
    assert float(terms["center"]) == pytest.approx(expected / 3, rel=1e-4)  # the mean of three boxes
    assert float(terms["size"]) == float(terms["direction"]) == float(terms["keypoints"]) == 0.0


@OFFSETS
@pytest.mark.parametrize("keypoint", [0, 20])
@pytest.mark.parametrize("axis", [0, 1])
def test_keypoints_are_relative_to_the_hand_up_to_a_largest_offset(side, error, expected, keypoint, axis):
    truth = targets()
    output = perfect(*truth)
    output[0, side, VALUES:].view(21, 2)[keypoint, axis] += error
    loss, terms = pair_loss(output, *truth)
    assert float(terms["keypoints"]) == pytest.approx(expected / 21 / 3, rel=1e-4)  # of 21 keypoints, of three hands
    assert float(terms["center"]) == 0.0 and float(loss) >= float(terms["keypoints"])


def test_each_term_has_its_values():
    truth = targets()
    output = perfect(*truth)
    output[0, 0, 4] += 0.3
    output[1, 0, 5:VALUES] = torch.tensor([1.0, 0.0])
    output[0, 1, :2] = 0.0
    _, terms = pair_loss(output, *truth)
    assert float(terms["size"]) == pytest.approx(0.3 / 3)
    assert float(terms["direction"]) == pytest.approx(2.0 / 3)
    assert float(terms["presence"]) == pytest.approx(math.log(2) / 4)
    assert float(terms["side"]) == pytest.approx(math.log(2) / 3)  # of the present hands


def test_each_hand_may_be_in_either_slot():
    truth = targets()
    output = perfect(*truth)
    for flipped in (output.flip(1), torch.stack([output[0].flip(0), output[1]])):
        assert float(pair_loss(flipped, *truth)[0]) == pytest.approx(0.0, abs=1e-6)


def test_hands_with_the_same_box_are_assigned_by_their_keypoints():
    truth = targets()
    truth[0][0, 1] = truth[0][0, 0]
    output = perfect(*truth)
    for either in (output, output.flip(1)):
        assert float(pair_loss(either, *truth)[0]) == pytest.approx(0.0, abs=1e-6)


def test_the_assignment_does_not_depend_on_the_sides():
    """The slots of the boxes have the wrong sides: an error of the sides alone."""
    truth = targets()
    output = perfect(*truth)
    output[..., 1] = -output[..., 1] / 10
    _, terms = pair_loss(output, *truth)
    assert float(terms["center"]) == float(terms["size"]) == float(terms["direction"]) == 0.0
    assert float(terms["side"]) == pytest.approx(4.0, rel=0.01)


def test_unknown_presence_and_missing_boxes_do_not_count():
    values, present, sided, keypoints = truth = targets()
    present[0, 0], values[0, 0], keypoints[0, 0] = NAN, NAN, NAN
    output = perfect(*truth)
    output[0, 0] = torch.linspace(-7.0, 6.0, VALUES + KEYPOINTS)
    output[1, 1, 1:] = 5.0  # the box of an absent hand
    output.requires_grad_()
    loss, _ = pair_loss(output, *truth)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert not output.grad[0, 0].any() and not output.grad[1, 1, 1:].any()


def test_a_side_that_is_not_known_does_not_count():
    _, _, sided, _ = truth = targets()
    sided[0, 0] = 0.0
    output = perfect(*truth)
    output[0, 0, 1], output[0, 1, 1] = 5.0, 0.0
    output.requires_grad_()
    loss, terms = pair_loss(output, *truth)
    assert float(terms["side"]) == pytest.approx(math.log(2) / 2)  # of the two hands of known side
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert output.grad[0, 0, 1] == 0.0 and output.grad[0, 1, 1] < 0.0


def test_of_a_hand_with_only_an_annotated_box_center_and_size_count():
    values, _, _, keypoints = truth = targets()
    values[0, 0, 3:], keypoints[0, 0] = NAN, NAN
    output = perfect(*truth)
    output[0, 0, 3] += 0.1
    output[0, 0, 4] += 0.3
    output[0, 0, 5:] = 2.0
    output.requires_grad_()
    loss, terms = pair_loss(output, *truth)
    assert float(terms["center"]) == pytest.approx(0.1 / 0.5 / 3, rel=1e-4)
    assert float(terms["size"]) == pytest.approx(0.3 / 3, rel=1e-4)
    assert float(terms["direction"]) == float(terms["keypoints"]) == 0.0
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert output.grad[0, 0, 3:5].all() and not output.grad[0, 0, 5:].any()


def test_a_batch_of_which_nothing_is_known_has_no_loss():
    output = torch.zeros(2, 2, VALUES + KEYPOINTS, requires_grad=True)
    nothing = (torch.full(shape, NAN) for shape in ((2, 2, 5), (2, 2), (2, 2), (2, 2, 21, 2)))
    loss, terms = pair_loss(output, *nothing)
    loss.backward()
    assert float(loss.detach()) == 0.0 and not output.grad.any()
    assert all(float(term) == 0.0 for term in terms.values())
