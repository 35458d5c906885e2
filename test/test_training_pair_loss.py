"""The pair detector's loss: zero for the ground truth, offsets in units of the hand, and what does not count."""

from __future__ import annotations

import math

import pytest
import torch

from hand_recon_ros.detect.pair_detector import VALUES
from hand_recon_ros.training.pair_loss import pair_loss

NAN = math.nan


def targets():
    """A crop with both hands, and one with a left hand only; present (2, 2) and boxes (2, 2, 5)."""
    present = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    values = torch.tensor(
        [[[0.3, 0.4, math.log(0.5), 0.6, 0.8], [0.7, 0.6, math.log(0.25), 1.0, 0.0]],
         [[0.5, 0.5, 0.0, 0.0, -1.0], [NAN] * 5]]
    )  # fmt: skip
    return values, present


def perfect(values, present):
    logits = torch.where(present == 1, 40.0, -40.0)
    sides = torch.tensor([-40.0, 40.0]).expand_as(present)
    return torch.cat([logits[..., None], sides[..., None], values.nan_to_num(9.0)], dim=-1)


def test_perfect_boxes_and_certain_presence_have_no_loss():
    values, present = targets()
    loss, terms = pair_loss(perfect(values, present), values, present)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert set(terms) == {"presence", "center", "size", "direction", "side"}
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize(
    ("side", "error", "expected"),
    [(0, 0.1, 0.1 / 0.5), (1, 0.1, 0.1 / 0.25), (1, -0.1, 0.1 / 0.25), (0, 10.0, 3.0), (1, 10.0, 3.0)],
)
def test_offsets_are_relative_to_the_hand_up_to_a_largest_one(side, error, expected):
    values, present = targets()
    output = perfect(values, present)
    output[0, side, 2] += error
    _, terms = pair_loss(output, values, present)
    assert float(terms["center"]) == pytest.approx(expected / 3, rel=1e-4)  # the mean of three boxes
    assert float(terms["size"]) == float(terms["direction"]) == 0.0


def test_each_term_has_its_values():
    values, present = targets()
    output = perfect(values, present)
    output[0, 0, 4] += 0.3
    output[1, 0, 5:] = torch.tensor([1.0, 0.0])
    output[0, 1, :2] = 0.0
    _, terms = pair_loss(output, values, present)
    assert float(terms["size"]) == pytest.approx(0.3 / 3)
    assert float(terms["direction"]) == pytest.approx(2.0 / 3)
    assert float(terms["presence"]) == pytest.approx(math.log(2) / 4)
    assert float(terms["side"]) == pytest.approx(math.log(2) / 3)  # of the present hands


def test_each_hand_may_be_in_either_slot():
    values, present = targets()
    output = perfect(values, present)
    for flipped in (output.flip(1), torch.stack([output[0].flip(0), output[1]])):
        assert float(pair_loss(flipped, values, present)[0]) == pytest.approx(0.0, abs=1e-6)


def test_the_assignment_does_not_depend_on_the_sides():
    """The slots of the boxes have the wrong sides: an error of the sides alone."""
    values, present = targets()
    output = perfect(values, present)
    output[..., 1] = -output[..., 1] / 10
    _, terms = pair_loss(output, values, present)
    assert float(terms["center"]) == float(terms["size"]) == float(terms["direction"]) == 0.0
    assert float(terms["side"]) == pytest.approx(4.0, rel=0.01)


def test_unknown_presence_and_missing_boxes_do_not_count():
    values, present = targets()
    present[0, 0], values[0, 0] = NAN, NAN
    output = perfect(values, present)
    output[0, 0] = torch.tensor([-7.0, 6.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    output[1, 1, 1:] = 5.0  # the box of an absent hand
    output.requires_grad_()
    loss, _ = pair_loss(output, values, present)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert not output.grad[0, 0].any() and not output.grad[1, 1, 1:].any()


def test_a_batch_of_which_nothing_is_known_has_no_loss():
    output = torch.zeros(2, 2, VALUES, requires_grad=True)
    loss, terms = pair_loss(output, torch.full((2, 2, 5), NAN), torch.full((2, 2), NAN))
    loss.backward()
    assert float(loss.detach()) == 0.0 and not output.grad.any()
    assert all(float(term) == 0.0 for term in terms.values())
