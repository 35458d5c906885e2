"""The prior's noise schedule and DDIM sampling in NumPy, against diffusers."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_recon_ros.interact.ddim import (
    BETA_SCHEDULE,
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    cosine_alphas_cumprod,
    ddim_loop,
    ddim_step,
    ddim_timesteps,
)
from hand_recon_ros.interact.pair_vector import PAIR

ALPHAS = cosine_alphas_cumprod()


def scheduler(kind):
    diffusers = pytest.importorskip("diffusers")
    return getattr(diffusers, kind)(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS, beta_schedule=BETA_SCHEDULE, prediction_type="sample",
        clip_sample=False,
        **({"timestep_spacing": "trailing"} if kind == "DDIMScheduler" else {}),
    )  # fmt: skip


def test_the_schedule_is_that_of_diffusers():
    np.testing.assert_allclose(ALPHAS, scheduler("DDPMScheduler").alphas_cumprod.numpy(), rtol=2e-5, atol=1e-7)
    assert ALPHAS.shape == (NUM_TRAIN_TIMESTEPS,) and np.all(np.diff(ALPHAS) < 0)
    assert ALPHAS[0] > 0.9999 and ALPHAS[-1] < 1e-6


def test_noise_is_that_of_diffusers():
    import torch

    ddpm = scheduler("DDPMScheduler")
    x, noise = np.random.default_rng(1).normal(size=(2, 5, PAIR))
    for t in (0, 99, 199, 700, 999):
        expected = ddpm.add_noise(torch.tensor(x), torch.tensor(noise), torch.tensor([t] * 5)).numpy()
        np.testing.assert_allclose(add_noise(x, noise, ALPHAS[t]), expected, atol=2e-5)  # diffusers' is float32


@pytest.mark.parametrize("steps", [1, 5, 25, 50])
def test_the_loop_is_that_of_diffusers_step_by_step(steps):
    import torch

    ddim = scheduler("DDIMScheduler")
    ddim.set_timesteps(steps)
    assert ddim_timesteps(steps) == ddim.timesteps.tolist()
    rng = np.random.default_rng(steps)
    target, x = rng.normal(size=(2, PAIR))

    def predict(x_t, t):
        return 0.7 * target + 0.2 * np.sin(x_t) + t / NUM_TRAIN_TIMESTEPS  # some network

    expected = torch.tensor(x)
    for t, prev in zip(ddim_timesteps(steps), [*ddim_timesteps(steps)[1:], None], strict=True):
        x0 = predict(x, t)
        x = ddim_step(x, x0, ALPHAS[t], 1.0 if prev is None else ALPHAS[prev])
        output = torch.tensor(predict(expected.numpy(), t))
        expected = ddim.step(output, t, expected, eta=0.0).prev_sample
        np.testing.assert_allclose(x, expected.numpy(), rtol=0, atol=5e-4)


def test_a_part_of_the_way_is_the_end_of_the_whole():
    assert ddim_timesteps(5, 199) == ddim_timesteps(25)[-5:] == [199, 159, 119, 79, 39]
    assert ddim_timesteps(1, 99) == [99] and ddim_timesteps(200, 199) == list(range(199, -1, -1))
    for steps, start in ((0, 199), (5, 1000), (201, 199), (1, -1)):
        with pytest.raises(ValueError, match="steps, got"):
            ddim_timesteps(steps, start)


@given(start=st.integers(4, NUM_TRAIN_TIMESTEPS - 1), steps=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_perfect_x0_comes_back(start, steps, seed):
    truth, begin = np.random.default_rng(seed).normal(size=(2, PAIR))
    found = ddim_loop(lambda x_t, t: truth, 3.0 * begin, ddim_timesteps(steps, start), ALPHAS)
    np.testing.assert_allclose(found, truth, atol=1e-12)


def test_each_noisy_vector_has_the_noise_of_its_time_step():
    truth, noise = np.random.default_rng(3).normal(size=(2, PAIR))
    seen = []

    def predict(x_t, t):
        seen.append(t)
        np.testing.assert_allclose(x_t, add_noise(truth, noise, ALPHAS[t]), atol=1e-9)
        return truth

    ddim_loop(predict, add_noise(truth, noise, ALPHAS[199]), ddim_timesteps(5, 199), ALPHAS)
    assert seen == [199, 159, 119, 79, 39]


def test_neither_torch_nor_diffusers_is_needed():
    code = "import sys; import hand_recon_ros.interact.denoiser; assert not {'torch', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
