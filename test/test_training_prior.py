"""Training the two-hand prior: simulated estimates, cached pairs, a short run that learns, and a resumed run."""

import numpy as np
import pytest
import torch
import yaml

from hand_recon_ros.cli import main
from hand_recon_ros.config import ConfigError
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.pair_vector import HAND, PAIR, TOKENS, unpack
from hand_recon_ros.models.hand_kinematics import HandChain
from hand_recon_ros.models.rotations import matrix_from_6d, random_rotations
from hand_recon_ros.synthetic.interactions import Interactions, initial_pairs
from hand_recon_ros.training import pair_data
from hand_recon_ros.training.corruption import KINDS, Corruption, CorruptionShares, rotated
from hand_recon_ros.training.pair_data import BLOCK, cached_pairs
from hand_recon_ros.training.prior_loss import PriorLossWeights, keypoints_of, prior_loss

pytest.importorskip("diffusers")
MODEL = load_hand_model()


def quick_pairs(split, seed, numbers, hand_model):
    """Pairs before relaxation, which takes long; of every four numbers one is rejected."""
    numbers = np.array([number for number in numbers if number % 4])
    pairs, names = initial_pairs(split, seed, numbers.tolist(), hand_model)
    return Interactions(pairs, names, numbers, np.zeros(len(numbers)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_data, "sample_interactions", quick_pairs)
        cached_pairs(folder, "train", 0, 60)
        cached_pairs(folder, "val", 0, 10)
    return folder


@pytest.fixture(scope="module")
def vectors(cache):
    from hand_recon_ros.training.prior import vectors_of

    return vectors_of(cached_pairs(cache, "train", 0, 40))


def recipe(folder, cache, **changes):
    training = {
        "out": str(folder / "run"), "cache": str(cache), "pairs": 40, "steps": 6, "batch": 4, "threads": 1,
        "warm_up": 2, "validation": 8, "measured": 2, "validate_every": 1000, "checkpoint_every": 3, **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"prior": {"width": 32, "layers": 1, "heads": 2}, "training": training}))
    return path


def test_pairs_are_computed_once(tmp_path, monkeypatch):
    blocks = []

    def sample(split, seed, numbers, hand_model):
        blocks.append(numbers[0])
        return quick_pairs(split, seed, numbers, hand_model)

    monkeypatch.setattr(pair_data, "sample_interactions", sample)
    first = cached_pairs(tmp_path, "val", 0, 5)
    assert blocks == [0] and len(first) == 5
    more = cached_pairs(tmp_path, "val", 0, 60)
    assert blocks == [0, BLOCK] and len(more) == 60
    expected = quick_pairs("val", 0, range(2 * BLOCK), MODEL).pairs
    for name in ("rotations", "betas", "wrists"):
        np.testing.assert_allclose(getattr(more, name), getattr(expected, name)[:60], atol=1e-6)
        np.testing.assert_array_equal(getattr(more, name)[:5], getattr(first, name))
    cached_pairs(tmp_path, "val", 0, 60)
    assert blocks == [0, BLOCK]
    cached_pairs(tmp_path, "val", 1, 1)  # another seed has other pairs
    assert blocks == [0, BLOCK, 0]


def test_rotated_pairs_are_rotated_hands(vectors):
    turns = random_rotations(len(vectors), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(turns @ turns.mT, np.tile(np.eye(3), (len(vectors), 1, 1)), atol=1e-5)
    assert np.abs(turns.mean(dim=0).numpy()).max() < 0.35
    chain = HandChain(MODEL)
    before = keypoints_of(vectors, chain)[1]
    after = keypoints_of(rotated(vectors, turns), chain)[1]
    np.testing.assert_allclose(after, torch.einsum("bxy,bhky->bhkx", turns, before), atol=1e-6)


def test_keypoints_are_those_of_the_hand_model(vectors):
    pairs = unpack(vectors.numpy(), np.zeros((len(vectors), 3)))
    own, both = keypoints_of(vectors, HandChain(MODEL))
    expected = pairs.keypoints(MODEL)
    np.testing.assert_allclose(both, expected, atol=1e-5)
    from_wrists = np.linalg.norm(expected - pairs.wrists[:, :, None], axis=-1)
    np.testing.assert_allclose(own.norm(dim=-1), from_wrists, atol=1e-5)


def estimates(vectors, kind, seed=0):
    shares = CorruptionShares(**{name: float(name == kind) for name in KINDS})
    many = vectors.repeat(25, 1)
    estimate, confidence, kinds = Corruption(shares, MODEL)(many, torch.Generator().manual_seed(seed))
    assert (kinds == KINDS.index(kind)).all() and confidence.min() >= 0.0 and confidence.max() <= 1.0

    def rotations(x):
        return matrix_from_6d(x[:, : 2 * HAND].reshape(-1, 2, HAND)[..., :96].unflatten(-1, (16, 6)).double())

    trace = (rotations(many).mT @ rotations(estimate)).diagonal(dim1=-2, dim2=-1).sum(-1)
    angles = torch.rad2deg(((trace - 1.0) / 2.0).clamp(-1.0, 1.0).acos())
    return many, estimate, confidence.reshape(-1, 2, TOKENS), angles


def test_exact_estimates_are_exact(vectors):
    many, estimate, confidence, _ = estimates(vectors, "exact")
    assert torch.equal(many, estimate)
    assert confidence.median() > 0.9


@pytest.mark.parametrize(("kind", "low", "high"), [("noise", 3.0, 8.0), ("heavy", 2.0, 8.0), ("hidden", 6.0, 14.0)])
def test_estimates_have_errors_of_the_stated_size(vectors, kind, low, high):
    many, estimate, confidence, angles = estimates(vectors, kind)
    assert low < angles[..., 1:].mean() < high
    shift = (estimate - many)[:, -3:]
    assert 0.004 < shift.norm(dim=1).median() < 0.03
    assert shift[:, 2].std() > 2.0 * shift[:, :2].std()  # along the viewing ray
    # Confidences correlate with the errors of joints and pairs, but are noisy.
    for error, confident in ((angles, confidence[..., :16]), (shift.norm(dim=1), confidence[:, 0, -1])):
        ranks = [values.flatten().argsort().argsort().double() for values in (error, -confident.log())]
        assert 0.3 < torch.corrcoef(torch.stack(ranks))[0, 1] < 0.95
    assert torch.equal(confidence[:, 0, -1], confidence[:, 1, -1])


def test_the_depth_alone_has_an_error(vectors):
    many, estimate, _, angles = estimates(vectors, "depth")
    assert angles.max() < 0.1 and torch.allclose(many[:, HAND - 10 : HAND], estimate[:, HAND - 10 : HAND])
    assert (estimate - many)[:, -1].abs().max() > 0.03


def test_an_occluded_hand_has_larger_errors(vectors):
    _, _, confidence, angles = estimates(vectors, "hidden")
    errors, confident = angles.mean(dim=-1), confidence[..., :16].mean(dim=-1)
    worse = errors.argmax(dim=1)
    assert (errors.amax(dim=1) > 2.0 * errors.amin(dim=1)).double().mean() > 0.7
    assert (confident.argmin(dim=1) == worse).double().mean() > 0.9
    assert 0.4 < worse.double().mean() < 0.6


def test_heavy_tails_are_heavier(vectors):
    def kurtosis(kind):
        shift = torch.cat([estimates(vectors, kind, seed)[1] - vectors.repeat(25, 1) for seed in range(4)])[
            :, HAND - 10 : HAND
        ]
        return float((shift**4).mean() / (shift**2).mean() ** 2)

    assert kurtosis("heavy") > 1.3 * kurtosis("noise")


def test_estimates_follow_from_the_seed(vectors):
    corruption = Corruption(CorruptionShares(), MODEL)
    runs = [corruption(vectors, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])


def test_the_loss_is_zero_without_errors(vectors):
    chain, std = HandChain(MODEL), torch.ones(PAIR)
    total, _ = prior_loss(vectors, vectors, std, chain, PriorLossWeights())
    assert float(total) < 1e-6
    moved = vectors.clone()
    moved[:, -1] += 0.02
    _, terms = prior_loss(moved, vectors, std, chain, PriorLossWeights())
    # 20 mm along one axis of three; each hand has half of it, in opposite directions.
    assert float(terms["relative_translation"]) == pytest.approx(0.2 / 3, rel=1e-4)
    assert float(terms["pair"]) == pytest.approx(0.1 / 3, rel=1e-4)
    assert float(terms["hands"]) < 1e-6


def test_scales_are_the_same_for_both_hands_and_all_directions(vectors):
    from hand_recon_ros.training.prior import scales_of

    mean, std = scales_of(vectors)
    for values in (mean, std):
        assert torch.equal(values[:HAND], values[HAND : 2 * HAND]) and len(set(values[-3:].tolist())) == 1
    turns = random_rotations(40 * len(vectors), torch.Generator().manual_seed(1))
    normal = (rotated(vectors.repeat(40, 1), turns) - mean) / std
    assert normal[:, -3:].std() == pytest.approx(1.0, abs=0.03) and normal[:, :6].std() == pytest.approx(1.0, abs=0.03)


def test_a_resumed_run_ends_like_one_that_was_not_stopped(tmp_path, cache):
    from hand_recon_ros.training.prior import RefinerRecipe, RefinerTrainer

    straight = RefinerTrainer(RefinerRecipe.from_yaml(recipe(tmp_path / "a", cache)))
    straight.run()
    stopped = RefinerRecipe.from_yaml(recipe(tmp_path / "b", cache))
    RefinerTrainer(stopped).run(until=3)
    with pytest.raises(ConfigError, match="--resume"):
        RefinerTrainer(stopped)
    other = RefinerRecipe.from_yaml(recipe(tmp_path / "b", cache, seed=1))
    with pytest.raises(ConfigError, match="made with seed 0, not 1"):
        RefinerTrainer(other, resume=True)
    second = RefinerTrainer(stopped, resume=True)
    assert second.step == 3
    second.run()
    assert straight.step == second.step == 6
    for name, value in straight.average.items():
        assert torch.equal(second.average[name], value), name
    assert straight.history[-1] == second.history[-1]


def test_a_short_run_learns(tmp_path, cache, capsys):
    from hand_recon_ros.training.prior import RefinerRecipe, RefinerTrainer

    path = recipe(tmp_path, cache, steps=60, batch=8, learning_rate=5e-3, checkpoint_every=60)
    fresh = RefinerTrainer(RefinerRecipe.from_yaml(path))
    assert main(["train", "refiner", "--config", str(path), "--json"]) == 0
    result = yaml.safe_load(capsys.readouterr().out)
    assert result["steps"] == 60 and result["samples"] == 480
    assert {"hand_before_mm", "hand_after_mm", "pen_depth_before_mm"} <= set(result["validation"])
    trained = RefinerTrainer(RefinerRecipe.from_yaml(path), resume=True)
    batches = [fresh.batch(step) for step in range(10000, 10016)]
    before, after = (np.mean([float(run.loss(batch)[0].detach()) for batch in batches]) for run in (fresh, trained))
    assert after < 0.9 * before, (before, after)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "log"))
    events.Reload()
    assert {"train/loss", "train/relative_translation", "val/hand_after_mm"} <= set(events.Tags()["scalars"])
    denoiser = Denoiser(result["exported"])
    assert denoiser.std.min() >= 0.02 - 1e-6 and denoiser.std.shape == (PAIR,)


def test_recipes_are_checked(tmp_path):
    from hand_recon_ros.training.prior import RefinerRecipe

    path = tmp_path / "recipe.yaml"
    path.write_text("training: {stepps: 3}")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        RefinerRecipe.from_yaml(path)
    path.write_text("estimates: {exact: 0, noise: 0, depth: 0, heavy: 0, hidden: 0}")
    with pytest.raises(ConfigError, match="every share is 0"):
        RefinerRecipe.from_yaml(path)
    path.write_text("training: {steps: 3}")
    assert RefinerRecipe.from_yaml(path, **{"prior.layers": 2}).prior.layers == 2
