"""The prior's network: symmetric by construction, each pair by itself, and the same in OpenVINO."""

import json

import numpy as np
import pytest
import torch
from hand_pairs import swapped

from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.interact.ddim import cosine_alphas_cumprod
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.pair_vector import CONFIDENCES, HAND, PAIR, pack
from hand_recon_ros.models.export import export_prior, write_onnx
from hand_recon_ros.models.pair_denoiser import PriorConfig, TwoHandPrior
from hand_recon_ros.models.rotations import random_rotations
from hand_recon_ros.runtime.sessions import SessionError
from hand_recon_ros.training.corruption import rotated

TIMES = np.array([0.0, 40.0, 99.0, 199.0, 600.0, 999.0])


@pytest.fixture(scope="module")
def prior():
    """One that says something, as a trained one does."""
    torch.manual_seed(0)
    model = TwoHandPrior(PriorConfig(), load_hand_model()).eval()
    with torch.no_grad():
        for weight in (
            model.output_joints,
            model.output_shape.weight,
            model.output_translation.weight,
            model.output_weight.weight,
        ):
            weight.normal_(0.0, 0.05)
        model.std[:] = torch.cat([torch.rand(HAND).repeat(2) * 0.3 + 0.1, torch.full((3,), 0.1)])
        model.std[:6] = model.std[HAND : HAND + 6] = 0.6
        model.mean[:] = torch.cat([torch.randn(HAND).repeat(2) * 0.3, torch.zeros(3)])
        model.mean[:6] = model.mean[HAND : HAND + 6] = 0.0
    return model


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(4)
    count = len(TIMES)
    rotations = random_rotations(count * 32, torch.Generator().manual_seed(1)).double().numpy()
    rotations = rotations.reshape(count, 2, 16, 3, 3)
    estimate = pack(HandPair(rotations, rng.normal(size=(count, 2, 10)), rng.normal(size=(count, 2, 3)) * 0.1))
    noisy = estimate + rng.normal(size=estimate.shape) * 0.2
    return noisy, TIMES, estimate, rng.uniform(size=(count, CONFIDENCES))


def run(model, *arrays):
    with torch.no_grad():
        return model.double()(*(torch.tensor(array) for array in arrays)).numpy()


def test_the_output_is_equivariant_to_mirroring(prior, given):
    noisy, times, estimate, confidence = given
    expected = swapped(run(prior, *given))
    confidence = confidence.reshape(-1, 2, CONFIDENCES // 2)[:, ::-1].reshape(-1, CONFIDENCES)
    found = run(prior, swapped(noisy), times, swapped(estimate), confidence)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(expected - swapped(estimate)).max() > 0.1


def test_the_output_is_equivariant_to_rotation_about_the_viewing_axis(prior, given):
    noisy, times, estimate, confidence = given
    angle = torch.tensor(1.1, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64)
    turn[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)

    def around(x):
        return rotated(torch.tensor(x), turn.expand(len(x), -1, -1)).numpy()

    found = run(prior, around(noisy), times, around(estimate), confidence)
    np.testing.assert_allclose(found, around(run(prior, *given)), atol=1e-9)


def test_any_other_rotation_enters_by_the_viewing_axis_alone(prior, given):
    noisy, times, estimate, confidence = given
    with torch.no_grad():
        axis = prior.embed_translation.weight[:, -4:-1].clone()
        prior.embed_translation.weight[:, -4:-1] = 0.0
    try:
        turn = random_rotations(len(noisy), torch.Generator().manual_seed(5)).double()
        u, _, vt = torch.linalg.svd(turn)
        turn = u @ vt
        noisy, estimate = (rotated(torch.tensor(x), turn).numpy() for x in (noisy, estimate))
        expected = rotated(torch.tensor(run(prior, *given)), turn).numpy()
        found = run(prior, noisy, times, estimate, confidence)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    finally:
        with torch.no_grad():
            prior.embed_translation.weight[:, -4:-1] = axis


def test_each_pair_is_computed_by_itself(prior, given):
    expected = run(prior, *given)
    for order in ([3], [5, 0], [2, 1, 4, 3, 0, 5]):
        found = run(prior, *(array[order] for array in given))
        np.testing.assert_allclose(found, expected[order], atol=1e-12)


def test_what_is_told_depends_on_everything(prior, given):
    expected = run(prior, *given)
    changes = ({0: given[0] + 0.1}, {1: given[1][::-1].copy()}, {3: given[3] * 0.5})
    for change in changes:
        found = run(prior, *(change.get(i, array) for i, array in enumerate(given)))
        assert np.abs(found - expected).max() > 1e-3
    # Each hand's numbers depend on the other hand's.
    other = given[2].copy()
    other[:, HAND - 10 : HAND] += 1.0
    assert np.abs(run(prior, given[0], given[1], other, given[3]) - expected)[:, HAND : 2 * HAND].max() > 1e-3


def test_an_untrained_one_changes_nothing_but_by_what_is_noisy(given):
    model = TwoHandPrior(PriorConfig(width=32, layers=1), load_hand_model()).eval()
    with torch.no_grad():
        model.output_weight.bias.fill_(-50.0)
    np.testing.assert_allclose(run(model, *given), given[2], atol=1e-12)


def test_it_is_small(prior):
    assert sum(parameter.numel() for parameter in prior.parameters()) <= 1_500_000


def test_openvino_says_what_torch_says(prior, given, tmp_path):
    path = tmp_path / "refiner.onnx"
    export_prior(prior.float(), path)
    assert path.stat().st_size <= 4_000_000
    denoiser = Denoiser(path)
    for i in range(len(TIMES)):
        arrays = [array[i] for array in given]
        expected = run(prior, *(array[None] for array in map(np.asarray, arrays)))[0]
        found = denoiser(arrays[0], int(arrays[1]), arrays[2], arrays[3])
        # Weights in half precision.
        assert found.shape == (PAIR,) and np.abs(found - expected).max() < 0.005, np.abs(found - expected).max()
        np.testing.assert_array_equal(found, denoiser(arrays[0], int(arrays[1]), arrays[2], arrays[3]))
    prior.float()
    np.testing.assert_allclose(denoiser.mean, prior.mean.numpy(), atol=1e-7)
    np.testing.assert_allclose(denoiser.std, prior.std.numpy(), atol=1e-7)
    np.testing.assert_array_equal(denoiser.alphas_cumprod, cosine_alphas_cumprod())
    np.testing.assert_allclose(denoiser.plain(denoiser.normalised(given[2])), given[2], atol=1e-12)


def test_other_files_are_refused(prior, tmp_path):
    path = tmp_path / "other.onnx"
    with pytest.raises(SessionError, match="cannot read"):
        Denoiser(path)
    write_onnx(torch.nn.Linear(4, 4), (torch.zeros(1, 4),), path, ["x"], ["y"])
    with pytest.raises(SessionError, match="not a two-hand prior"):
        Denoiser(path)
    inputs = ["x_t", "t", "condition", "confidence"]
    example = torch.zeros(1, PAIR), torch.zeros(1), torch.ones(1, PAIR), torch.ones(1, CONFIDENCES)
    notes = {"schedule": "linear", "times": 1000, "mean": [0.0] * PAIR, "std": [1.0] * PAIR}
    write_onnx(prior.float(), example, path, inputs, ["x0"], metadata={"prior": json.dumps(notes)})
    with pytest.raises(SessionError, match="unknown noise schedule 'linear'"):
        Denoiser(path)
