"""The prior's schedule and sampling in NumPy against diffusers, and its vector of two hands."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hand_recon_ros.interact.ddim import TIMES, cosine_alphas_cumprod, ddim_loop, ddim_step, ddim_times, noised
from hand_recon_ros.interact.pair_vector import CONFIDENCES, HAND, PAIR, TOKENS, confidences, pack, swapped, unpack
from hand_recon_ros.skeleton import mirror_points, mirror_rotations

ALPHAS = cosine_alphas_cumprod()


def hands(seed, *shape):
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape, dtype=int)) * 32
    rotations = Rotation.random(count, random_state=seed).as_matrix().reshape(*shape, 2, 16, 3, 3)
    return rotations, rng.normal(size=(*shape, 2, 10)), rng.normal(size=(*shape, 2, 3)) * 0.2 + [0.0, 0.0, 0.6]


def scheduler(kind):
    diffusers = pytest.importorskip("diffusers")
    return getattr(diffusers, kind)(
        num_train_timesteps=TIMES, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False,
        **({"timestep_spacing": "trailing"} if kind == "DDIMScheduler" else {}),
    )  # fmt: skip


def test_the_schedule_is_that_of_diffusers():
    np.testing.assert_allclose(ALPHAS, scheduler("DDPMScheduler").alphas_cumprod.numpy(), rtol=2e-5, atol=1e-7)
    assert ALPHAS.shape == (TIMES,) and np.all(np.diff(ALPHAS) < 0) and ALPHAS[0] > 0.9999 and ALPHAS[-1] < 1e-6


def test_noise_is_that_of_diffusers():
    import torch

    ddpm = scheduler("DDPMScheduler")
    x, noise = np.random.default_rng(1).normal(size=(2, 5, PAIR))
    for t in (0, 99, 199, 700, 999):
        expected = ddpm.add_noise(torch.tensor(x), torch.tensor(noise), torch.tensor([t] * 5)).numpy()
        np.testing.assert_allclose(noised(x, noise, ALPHAS[t]), expected, atol=2e-5)  # diffusers' is float32


@pytest.mark.parametrize("steps", [1, 5, 25, 50])
def test_the_loop_is_that_of_diffusers_step_by_step(steps):
    import torch

    ddim = scheduler("DDIMScheduler")
    ddim.set_timesteps(steps)
    assert ddim_times(steps) == ddim.timesteps.tolist()
    rng = np.random.default_rng(steps)
    target, x = rng.normal(size=(2, PAIR))

    def predict(x_t, t):
        return 0.7 * target + 0.2 * np.sin(x_t) + t / TIMES  # some network

    expected = torch.tensor(x)
    for t, following in zip(ddim_times(steps), [*ddim_times(steps)[1:], None], strict=True):
        x0 = predict(x, t)
        x = ddim_step(x, x0, ALPHAS[t], 1.0 if following is None else ALPHAS[following])
        told = torch.tensor(predict(expected.numpy(), t))
        expected = ddim.step(told, t, expected, eta=0.0).prev_sample
        np.testing.assert_allclose(x, expected.numpy(), rtol=0, atol=5e-4)


def test_a_part_of_the_way_is_the_end_of_the_whole():
    assert ddim_times(5, 199) == ddim_times(25)[-5:] == [199, 159, 119, 79, 39]
    assert ddim_times(1, 99) == [99] and ddim_times(200, 199) == list(range(199, -1, -1))
    for steps, start in ((0, 199), (5, 1000), (201, 199), (1, -1)):
        with pytest.raises(ValueError, match="steps, got"):
            ddim_times(steps, start)


@given(start=st.integers(4, TIMES - 1), steps=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_perfect_x0_comes_back(start, steps, seed):
    truth, begin = np.random.default_rng(seed).normal(size=(2, PAIR))
    found = ddim_loop(lambda x_t, t: truth, 3.0 * begin, ddim_times(steps, start), ALPHAS)
    np.testing.assert_allclose(found, truth, atol=1e-12)


def test_what_the_network_is_asked_about_is_as_noisy_as_it_is_told():
    truth, noise = np.random.default_rng(3).normal(size=(2, PAIR))
    asked = []

    def predict(x_t, t):
        asked.append(t)
        np.testing.assert_allclose(x_t, noised(truth, noise, ALPHAS[t]), atol=1e-9)
        return truth

    ddim_loop(predict, noised(truth, noise, ALPHAS[199]), ddim_times(5, 199), ALPHAS)
    assert asked == [199, 159, 119, 79, 39]


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_packing_and_unpacking_are_inverse(shape):
    rotations, betas, wrists = hands(0, *shape)
    x = pack(rotations, betas, wrists)
    assert x.shape == (*shape, PAIR)
    found = unpack(x, wrists.mean(axis=-2))
    for part, expected in zip(found, (rotations, betas, wrists), strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-12)
    np.testing.assert_allclose(pack(*found), x, atol=1e-12)


def test_where_what_is():
    rotations, betas, wrists = hands(1)
    x = pack(rotations, betas, wrists)
    np.testing.assert_array_equal(x[HAND : HAND + 3], rotations[1, 0, :, 0])
    np.testing.assert_array_equal(x[3:6], mirror_rotations(rotations[0, 0])[:, 1])
    np.testing.assert_array_equal(x[HAND - 10 : HAND], betas[0])
    np.testing.assert_array_equal(x[-3:], wrists[0] - wrists[1])


def test_in_the_mirror_each_hand_is_the_other():
    rotations, betas, wrists = hands(2, 4)
    mirrored = pack(mirror_rotations(rotations)[:, ::-1], betas[:, ::-1], mirror_points(wrists)[:, ::-1])
    np.testing.assert_allclose(swapped(pack(rotations, betas, wrists)), mirrored, atol=1e-15)


def test_rotations_need_not_be_orthonormal():
    rotations, betas, wrists = hands(3)
    x = pack(rotations, betas, wrists)
    x[:6] *= 3.0
    x[9:12] += 0.7 * x[6:9]
    np.testing.assert_allclose(unpack(x, wrists.mean(axis=0))[0], rotations, atol=1e-12)


def test_confidences_fall_with_the_errors_expected():
    sure = confidences(np.zeros((2, 16)), np.zeros(2), np.zeros(2))
    np.testing.assert_array_equal(sure, np.ones(CONFIDENCES))
    angles = np.zeros((2, 16))
    angles[1, 3] = np.radians(10.0)
    told = confidences(angles, np.array([0.0, 1.0]), np.array([0.03, 0.0])).reshape(2, TOKENS)
    assert told[1, 3] == told[1, 16] == told[0, 17] == pytest.approx(np.exp(-1.0))
    assert (told == 1.0).sum() == CONFIDENCES - 3


def test_neither_torch_nor_diffusers_is_needed():
    code = "import sys; import hand_recon_ros.interact.denoiser; assert not {'torch', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
