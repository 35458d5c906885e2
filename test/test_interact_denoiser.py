"""The weights that come along repair estimates of hands that touch, and leave exact ones as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hand_recon_ros
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.interact.ddim import add_noise, ddim_loop, ddim_timesteps
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.pair_vector import pack
from hand_recon_ros.models.hand_kinematics import HandChain
from hand_recon_ros.synthetic.interactions import sample_interactions
from hand_recon_ros.training.corruption import Corruption, CorruptionShares
from hand_recon_ros.training.prior_loss import keypoints_of

MODEL = load_hand_model()


@pytest.fixture(scope="module")
def truth():
    # Of another seed than those the training was validated with.
    return torch.tensor(pack(sample_interactions("val", 5, range(16), MODEL).pairs), dtype=torch.float32)


@pytest.fixture(scope="module")
def denoiser():
    path = Path(hand_recon_ros.__file__).parent / "assets" / "refiner_small.onnx"
    assert path.stat().st_size <= 4_000_000
    return Denoiser(path)


def repaired(denoiser, estimate, confidence):
    def predict(x_t, t):
        return denoiser.normalised(denoiser(denoiser.plain(x_t), t, estimate, confidence))

    start = add_noise(denoiser.normalised(estimate), 0.0, denoiser.alphas_cumprod[199])
    return denoiser.plain(ddim_loop(predict, start, ddim_timesteps(5, 199), denoiser.alphas_cumprod))


def errors(x, truth):
    """Mean distance of keypoints from their wrist, and of the vectors between the wrists, metres."""
    chain = HandChain(MODEL)
    own = (keypoints_of(x, chain)[0] - keypoints_of(truth, chain)[0]).norm(dim=-1).mean()
    return float(own), float((x - truth)[:, -3:].norm(dim=1).mean())


def all_repaired(denoiser, truth, shares):
    estimate, confidence, _ = Corruption(shares, MODEL)(truth, torch.Generator().manual_seed(6))
    rows = [repaired(denoiser, x, sure) for x, sure in zip(estimate.numpy(), confidence.numpy(), strict=True)]
    return estimate, torch.tensor(np.stack(rows), dtype=torch.float32)


def test_estimates_are_repaired(denoiser, truth):
    many = truth.repeat(12, 1)
    estimate, after = all_repaired(denoiser, many, CorruptionShares(exact=0.0))
    before, after = errors(estimate, many), errors(after, many)
    assert after[0] < 0.93 * before[0] and after[1] < 0.9 * before[1], (before, after)


def test_exact_estimates_stay(denoiser, truth):
    _, after = all_repaired(denoiser, truth, CorruptionShares(noise=0.0, depth=0.0, heavy=0.0, hidden=0.0))
    hand, wrists = errors(after, truth)
    assert hand < 0.0005 and wrists < 0.0015, (hand, wrists)
