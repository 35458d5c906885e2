"""The Fusion Alignment Encoder: shapes, symmetries and dependencies of its outputs, and tokens that do not collapse."""

import numpy as np
import pytest
import torch

from hand_recon_ros import Side
from hand_recon_ros.datasets import priors
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.models.hand_kinematics import HandChain, palm_frame
from hand_recon_ros.models.rotations import matrix_from_6d, to_6d
from hand_recon_ros.training.encoder import EncoderTraining, parameter_groups
from hand_recon_ros.training.losses import LossWeights, encoder_loss

MODEL = load_hand_model()
BATCH = 3


def encoder(**changes):
    torch.manual_seed(0)
    options = {"width": 32, "layers": 2, "heads": 2, "pretrained": False, **changes}
    return FusionAlignmentEncoder(EncoderConfig(**options), MODEL).eval()


def inputs(model, seed=0, batch=BATCH):
    generator = torch.Generator().manual_seed(seed)
    crops = torch.rand(2 * batch, 3, 64, 64, generator=generator)
    size = model.backbones.input_size
    stems = model.stem(nn_resize(crops, size))
    return {
        "stems": stems.reshape(batch, 2, *stems.shape[1:]),
        "rays": torch.randn(batch, 2, 5, generator=generator),
        "pairs": torch.randn(batch, 2, 5, generator=generator),
        "others": torch.ones(batch, 2),
        "prior_maps": coarse_maps(batch, generator),
    }


def coarse_maps(batch, generator):
    maps = torch.randn(2 * batch, priors.CHANNELS, 4, 4, generator=generator)
    return nn_resize(maps, priors.GRID).reshape(batch, 2, priors.CHANNELS, priors.GRID, priors.GRID)


def nn_resize(crops, size):
    return torch.nn.functional.interpolate(crops, (size, size), mode="bilinear")


def assert_same(a, b, tolerance=1e-5):
    for name in a.names():
        x, y = getattr(a, name), getattr(b, name)
        torch.testing.assert_close(x, y, atol=tolerance, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_rotations_from_their_6d_representation():
    rotations = torch.tensor(rotation_matrices(np.random.default_rng(0).normal(size=(7, 3))))
    torch.testing.assert_close(matrix_from_6d(to_6d(rotations)), rotations)
    random = matrix_from_6d(torch.randn(50, 6, dtype=torch.float64))
    torch.testing.assert_close(random @ random.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(random), torch.ones(50, dtype=torch.float64))
    # The first three numbers are the first column.
    assert matrix_from_6d(torch.tensor([0.0, 2.0, 0.0, -1.0, 5.0, 0.0]))[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_the_chain_is_that_of_the_hand_model():
    rng = np.random.default_rng(1)
    rotations = rotation_matrices(rng.normal(0, 0.5, (4, 16, 3)))
    betas = rng.normal(size=(4, 10))
    expected, _ = MODEL.kinematics(Side.RIGHT).forward(rotations, betas, np.zeros(3))
    chain = HandChain(MODEL)
    found = chain(torch.tensor(rotations, dtype=torch.float32), torch.tensor(betas, dtype=torch.float32))
    np.testing.assert_allclose(found.numpy(), expected - expected[:, :1], atol=1e-6)


@pytest.mark.parametrize("fusion", ["none", "unaligned", "aligned", "priors"])
def test_shapes(fusion):
    model = encoder(fusion=fusion)
    output = model(**inputs(model))
    shapes = {
        "rotations": (16, 3, 3), "betas": (10,), "joints": (21, 3), "keypoints_2d": (21, 2), "keypoint_scales": (21,),
        "depths": (21,), "log_crop_width": (), "log_crop_width_scale": (), "to_other": (3,), "presence": (),
        "segmentation": (3, 28, 28), "other_box": (5,), "other_visible": (), "dense_keypoints_2d": (21, 2),
    }  # fmt: skip
    found = {name: tuple(getattr(output.hands, name).shape) for name in output.hands.names()}
    assert found == {name: (BATCH, 2, *shape) for name, shape in shapes.items()}
    assert (output.teacher is not None) == (fusion == "aligned")
    assert torch.all(output.hands.keypoint_scales > 0)


def test_the_base_encoder_has_two_resnets():
    model = encoder(size="base")
    with torch.no_grad():
        output = model(**inputs(model, batch=1))
    assert output.hands.joints.shape == (1, 2, 21, 3)
    count = sum(p.numel() for part in (model.backbones.image, model.backbones.second) for p in part.parameters())
    assert 46e6 < count < 48e6  # 23.5 million each


def test_every_weight_is_trained():
    """In each kind of fusion every trained weight gets a gradient."""
    for fusion in ("none", "unaligned", "aligned", "priors"):
        model = encoder(fusion=fusion)
        loss, terms = encoder_loss(model(**inputs(model, batch=1)), truth(1), LossWeights())
        loss.backward()
        unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not unused, f"{fusion}: {unused}"
        assert ("alignment" in terms) == (fusion == "aligned")


def test_priors_are_not_needed_at_inference():
    model = encoder()
    batch = inputs(model)
    with_priors = model(**batch).hands
    without = model(**{**batch, "prior_maps": None})
    assert_same(with_priors, without.hands)
    assert without.teacher is None
    needs = encoder(fusion="priors")
    with pytest.raises(ValueError, match="prior_maps"):
        needs(**{**inputs(needs), "prior_maps": None})


def test_swapping_the_hands_swaps_the_result():
    """As all crops are of right hands, hands of a mirrored image are then mirrored."""
    model = encoder()
    batch = inputs(model)
    straight = model(**batch)
    swapped = model(**{name: value.flip(1) for name, value in batch.items()})
    assert_same(swapped.hands.map(lambda value: value.flip(1)), straight.hands)


def test_a_pair_does_not_depend_on_its_batch():
    model = encoder()
    batch = inputs(model)
    together = model(**batch).hands
    alone = model(**{name: value[1:2] for name, value in batch.items()}).hands
    assert_same(together[1:2], alone)


def test_a_missing_hand_is_masked():
    model = encoder()
    batch = inputs(model)
    batch["others"] = torch.tensor([[0.0, 1.0]] * BATCH)
    before = model(**batch).hands
    changed = {**batch, "stems": batch["stems"].clone(), "rays": batch["rays"].clone()}
    changed["stems"][:, 1] += 1.0
    changed["rays"][:, 1] += 1.0
    after = model(**changed).hands
    assert_same(before[:, 0], after[:, 0])
    batch["others"] = torch.ones(BATCH, 2)
    changed["others"] = torch.ones(BATCH, 2)
    before, after = model(**batch).hands[:, 0], model(**changed).hands[:, 0]
    assert max((getattr(before, name) - getattr(after, name)).abs().max().item() for name in before.names()) > 1e-4


def test_a_single_hand_is_a_pair_without_the_other():
    model = encoder()
    batch = inputs(model)
    batch["others"] = torch.tensor([[0.0, 1.0]] * BATCH)
    pair = model(**batch).hands
    alone = model(**{name: value[:, :1] for name, value in batch.items()}).hands
    assert_same(alone, pair[:, :1])


@pytest.mark.slow
def test_dense_keypoints_follow_exact_priors_after_a_short_training():
    """The grid cells learn to predict the keypoints from the priors' heatmaps."""
    torch.manual_seed(0)
    model = encoder(fusion="priors", pretrained=True, width=64, layers=1)
    model.backbones.requires_grad_(False)
    batch = inputs(model, batch=16)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)

    def dense_error():
        """Of keypoints at random positions in the crop, in units of it."""
        keypoints_2d = torch.rand(16, 2, 42, 2, generator=generator) - 0.5
        maps = torch.zeros_like(batch["prior_maps"])
        maps[:, :, priors.KEYPOINTS] = torch.tensor(
            np.stack([priors.heatmaps(hand) for hand in keypoints_2d.flatten(0, 1).numpy()])
        ).unflatten(0, (16, 2))
        output = model(**{**batch, "prior_maps": maps})
        return (output.hands.dense_keypoints_2d - keypoints_2d[:, :, :21]).abs().mean()

    first = float(dense_error().detach())
    for _ in range(60):
        optimizer.zero_grad()
        dense_error().backward()
        optimizer.step()
    assert float(dense_error().detach()) < 0.6 * first


@pytest.mark.parametrize("fusion", ["none", "aligned"])
def test_stages_are_trained_from_the_chosen_one_on(fusion):
    """The others are those of the landmark network, whose maps are the encoder's input; training starts from it too."""
    model = encoder(fusion=fusion, pretrained=True, trained_from="stride8")
    trained = {name.rsplit(".", 2)[0] for name, each in model.backbones.named_parameters() if each.requires_grad}
    frozen = {name.split(".")[0] for name, each in model.backbones.named_parameters() if not each.requires_grad}
    assert frozen == {"early", "image_tail"}
    assert {name.split(".")[1] for name in trained if name.startswith("middle")} == {
        "stride8",
        "stride16a",
        "stride16b",
    }
    assert {name.split(".")[0] for name in trained} == {"middle", "tail", "head", "outputs"}
    crops = torch.rand(2, 3, 224, 224)
    assert model.stem(crops).shape == (2, 24 * 56 * 56 + 192 * 7 * 7)
    shared = encoder(fusion=fusion, pretrained=True)
    for mine, theirs in zip(model.backbones(model.stem(crops)), shared.backbones(shared.stem(crops)), strict=True):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("trained_from", ["stride32", "stride8"])
def test_features_are_computed_where_there_is_a_crop(trained_from, monkeypatch):
    """In training: the outputs of hands with a crop are the same, and those of the others train nothing."""
    model = encoder(pretrained=True, trained_from=trained_from)
    arguments = inputs(model)
    arguments["others"] = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])  # of the hand's partner
    has_crop = arguments["others"].flip(1) > 0
    del arguments["prior_maps"]
    counts = []
    compute = model.backbones.forward
    monkeypatch.setattr(model.backbones, "forward", lambda stems: (counts.append(len(stems)), compute(stems))[1])
    with torch.no_grad():
        expected = model(**arguments).hands
        result = model.train()(**arguments).hands
    assert counts == [2 * BATCH, int(has_crop.sum())]
    assert_same(result[has_crop], expected[has_crop], 1e-4)


def test_training_starts_from_the_landmarks_of_a_pretrained_trunk():
    """Before any training keypoints and the palm's orientation are close to those of the landmark network."""
    model = encoder(pretrained=True, width=128)
    batch = inputs(model)
    with torch.no_grad():
        landmarks = model.backbones(batch["stems"].flatten(0, 1)).landmarks
        hands = model(**batch).hands
    error = (hands.keypoints_2d.flatten(0, 1) - landmarks.keypoints_2d).norm(dim=-1).mean()
    extent = (landmarks.keypoints_2d - landmarks.keypoints_2d.mean(dim=(0, 1))).norm(dim=-1).mean()
    assert error < 0.5 * extent
    expected = palm_frame(landmarks.joints) @ palm_frame(model.chain.template).mT
    difference = hands.rotations[..., 0, :, :].flatten(0, 1).mT @ expected
    cosine = (difference.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    assert cosine.min() > 0.9


def truth(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rotations = torch.tensor(rotation_matrices(np.random.default_rng(seed).normal(0, 0.4, (batch, 2, 16, 3))))
    betas = torch.randn(batch, 2, 10, generator=generator)
    joints = HandChain(MODEL)(rotations.float().flatten(0, 1), betas.flatten(0, 1)).reshape(batch, 2, 21, 3)
    return {
        **{name: torch.ones(batch, 2) for name in ("present", "posed", "located", "has_crop", "both")},
        **{name: torch.ones(batch, 2) for name in ("has_priors", "has_maps")},
        "rotations": rotations.float(), "betas": betas, "joints": joints,
        "keypoints_2d": torch.rand(batch, 2, 21, 2, generator=generator) - 0.5,
        "keypoint_weights": torch.ones(batch, 2, 21), "joint_weights": torch.ones(batch, 2, 21),
        "log_crop_width": torch.randn(batch, 2, generator=generator) * 0.2 - 1.2,
        "to_other": torch.randn(batch, 2, 3, generator=generator) * 0.1,
        "other_box": torch.randn(batch, 2, 5, generator=generator), "other_visible": torch.ones(batch, 2),
        "other_valid": torch.ones(batch, 2),
        "segmentation": torch.randint(0, 3, (batch, 2, 28, 28), generator=generator, dtype=torch.uint8),
    }  # fmt: skip


def test_the_alignment_has_no_gradient_on_the_priors():
    """Only the predicted tokens move towards the priors' tokens, which the other losses train."""
    model = encoder()
    batch = inputs(model)
    only_alignment = LossWeights(**{name: 0.0 for name in vars(LossWeights()) if name != "alignment"})
    loss, terms = encoder_loss(model(**batch), truth(BATCH), only_alignment)
    loss.backward()
    assert float(terms["alignment"]) > 0.1
    of_priors = [p.grad for p in model.project_priors.parameters() if p.grad is not None]
    assert not of_priors or max(float(grad.abs().max()) for grad in of_priors) == 0.0
    assert max(float(p.grad.abs().max()) for p in model.project_second.parameters()) > 0


def test_training_aligns_and_the_target_does_not_collapse():
    """A few steps on four samples: the loss falls, predicted tokens approach the priors' tokens, and these still differ
    between samples."""
    model = encoder(layers=1, pretrained=True).train()
    batch, labels = inputs(model, batch=4), truth(4)
    optimizer = torch.optim.AdamW(parameter_groups(model, EncoderTraining(learning_rate=2e-3, pretrained_rate=0.1)))
    history, spreads = [], []
    for _ in range(40):
        output = model(**batch)
        loss, terms = encoder_loss(output, labels, LossWeights())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append((float(loss.detach()), float(terms["alignment"])))
        spreads.append(float(output.prior_tokens.detach().std(dim=0).mean()))
    assert history[-1][0] < 0.7 * history[0][0]
    assert history[-1][1] < 0.8 * history[0][1]
    assert spreads[0] > 0.1 and spreads[-1] > 0.7 * spreads[0], (
        "the priors' tokens of different samples are nearly equal"
    )
