"""HaMeR's network: its parts against torch's own layers, its names and shapes against the published ones."""

import dataclasses

import numpy as np
import pytest
import torch
from hand_checkpoints import CONFIGS, small_network
from torch import nn

from hand_recon_ros.models.hamer import DecoderLayers, HamerConfig, HamerNetwork
from hand_recon_ros.models.hand_networks import HandNetwork, config_from_json, config_to_json, cpu_precision
from hand_recon_ros.models.vit import Block, PatchEmbedding, VisionTransformer, VitConfig


def randomised(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.normal_(0.0, 0.2)
    return module.eval()


def test_a_block_is_that_of_torch():
    block = randomised(Block(VitConfig(dim=160, depth=1, mlp_dim=64)))
    oracle = nn.TransformerEncoderLayer(160, 2, 64, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    names = {
        "self_attn.in_proj_weight": "attn.qkv.weight", "self_attn.in_proj_bias": "attn.qkv.bias",
        "self_attn.out_proj.weight": "attn.proj.weight", "self_attn.out_proj.bias": "attn.proj.bias",
        "linear1.weight": "mlp.fc1.weight", "linear1.bias": "mlp.fc1.bias", "linear2.weight": "mlp.fc2.weight",
        "linear2.bias": "mlp.fc2.bias", "norm1.weight": "norm1.weight", "norm1.bias": "norm1.bias",
        "norm2.weight": "norm2.weight", "norm2.bias": "norm2.bias",
    }  # fmt: skip
    state = block.state_dict()
    oracle.load_state_dict({theirs: state[ours] for theirs, ours in names.items()})
    tokens = torch.randn(2, 7, 160)
    torch.testing.assert_close(block(tokens), oracle(tokens), atol=1e-4, rtol=1e-4)


def test_the_decoder_is_that_of_torch():
    config = HamerConfig(VitConfig(dim=320, depth=1), dim=320, depth=2, heads=5, mlp_dim=48)
    layers = randomised(DecoderLayers(config))
    state = layers.state_dict()
    token, image = torch.randn(2, 1, 320), torch.randn(2, 9, 320)
    expected = token
    for number in range(2):
        oracle = nn.TransformerDecoderLayer(320, 5, 48, 0.0, "gelu", batch_first=True, norm_first=True).eval()
        of = {name.removeprefix(f"layers.{number}."): value for name, value in state.items()}
        cross = torch.cat([of["1.fn.to_q.weight"], of["1.fn.to_kv.weight"]])
        oracle.load_state_dict(
            {
                "self_attn.in_proj_weight": of["0.fn.to_qkv.weight"], "self_attn.in_proj_bias": torch.zeros(960),
                "self_attn.out_proj.weight": of["0.fn.to_out.0.weight"],
                "self_attn.out_proj.bias": of["0.fn.to_out.0.bias"],
                "multihead_attn.in_proj_weight": cross, "multihead_attn.in_proj_bias": torch.zeros(960),
                "multihead_attn.out_proj.weight": of["1.fn.to_out.0.weight"],
                "multihead_attn.out_proj.bias": of["1.fn.to_out.0.bias"],
                "linear1.weight": of["2.fn.net.0.weight"], "linear1.bias": of["2.fn.net.0.bias"],
                "linear2.weight": of["2.fn.net.3.weight"], "linear2.bias": of["2.fn.net.3.bias"],
                **{f"norm{i + 1}.{kind}": of[f"{i}.norm.{kind}"] for i in range(3) for kind in ("weight", "bias")},
            }
        )  # fmt: skip
        expected = oracle(expected, image)
    torch.testing.assert_close(layers(token, image), expected, atol=1e-4, rtol=1e-4)


def test_patches_begin_two_pixels_outside():
    patches = PatchEmbedding(80)
    with torch.no_grad():
        patches.proj.weight.zero_()
        patches.proj.bias.zero_()
        patches.proj.weight[0, 1, 3, 5] = 1.0
    images = torch.arange(3.0 * 256 * 192).reshape(1, 3, 256, 192)
    tokens = patches(images)
    assert tokens.shape == (1, 192, 80)
    for row, column in ((0, 0), (0, 11), (7, 4), (15, 11)):
        assert tokens[0, 12 * row + column, 0] == images[0, 1, 16 * row - 2 + 3, 16 * column - 2 + 5]


def test_the_position_of_the_class_token_is_added_to_all():
    vit = VisionTransformer(VitConfig(dim=80, depth=1, mlp_dim=8)).eval()
    with torch.no_grad():
        for value in vit.parameters():
            value.zero_()
        vit.last_norm.weight.fill_(1.0)
        vit.pos_embed[0, 0, 3], vit.pos_embed[0, 1 + 12, 5] = 2.0, 7.0
    expected = torch.zeros(192, 80)
    expected[:, 3], expected[12, 5] = 2.0, 7.0
    tokens = vit.tokens(torch.zeros(1, 3, 256, 192))
    torch.testing.assert_close(tokens[0], nn.functional.layer_norm(expected, (80,), eps=1e-6))


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in HamerNetwork().state_dict().items()}
    layer = "mano_head.transformer.transformer.layers.5."
    expected = {
        "backbone.pos_embed": (1, 193, 1280),
        "backbone.patch_embed.proj.weight": (1280, 3, 16, 16),
        "backbone.blocks.31.attn.qkv.weight": (3840, 1280),
        "backbone.blocks.31.mlp.fc1.weight": (5120, 1280),
        "backbone.last_norm.bias": (1280,),
        "mano_head.transformer.to_token_embedding.weight": (1024, 1),
        "mano_head.transformer.pos_embedding": (1, 1, 1024),
        layer + "0.fn.to_qkv.weight": (1536, 1024),
        layer + "1.fn.to_kv.weight": (1024, 1280),
        layer + "1.norm.weight": (1024,),
        layer + "2.fn.net.3.weight": (1024, 1024),
        "mano_head.decpose.weight": (96, 1024),
        "mano_head.init_hand_pose": (1, 96),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    # 32 blocks of 12, 5 of the backbone; 6 layers of 17, 3 of the decoder, 6 of the outputs, 3 means.
    assert len(shapes) == 32 * 12 + 5 + 6 * 17 + 3 + 6 + 3


def test_without_outputs_the_hand_is_the_mean():
    network = small_network("hamer")
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("mano_head.dec"):
                value.zero_()
    pose, betas, camera = network(torch.randn(2, 3, 256, 192))
    for values, mean in zip((pose, betas, camera), ("init_hand_pose", "init_betas", "init_cam"), strict=True):
        torch.testing.assert_close(values, getattr(network.mano_head, mean).expand(2, -1))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_crop_does_not_depend_on_the_others(name):
    network = HandNetwork(small_network(name), "cpu", flat_mesh)
    network_of_two = network(crops(2))
    for index in range(2):
        alone = network(crops(2)[index : index + 1])
        for field in dataclasses.fields(alone):
            a, b = getattr(alone, field.name)[0], getattr(network_of_two, field.name)[index]
            np.testing.assert_allclose(a, b, atol=2e-2)
    assert np.abs(network_of_two.betas[0] - network_of_two.betas[1]).max() > 2e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_the_columns_at_both_sides_are_not_seen(name):
    network = HandNetwork(small_network(name), "cpu", flat_mesh)
    images = crops(1)
    changed = images.copy()
    changed[:, :, :32] = 0
    changed[:, :, -32:] = 255
    np.testing.assert_array_equal(network(images).betas, network(changed).betas)
    changed[:, :, 32:64] = 0
    assert np.abs(network(images).betas - network(changed).betas).max() > 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_rotations_are_rotations_and_lower_precision_is_close(name):
    full, lower = small_network(name), small_network(name)
    lower.backbone.set_precision(torch.bfloat16)
    images = torch.randn(2, 3, 256, 192)
    rest = () if name == "hamer" else (lambda rotations, betas: torch.zeros(len(betas), 4, 3),)
    for a, b in zip(full(images, *rest), lower(images, *rest), strict=True):
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)
    rotations = HandNetwork(full, "cpu", flat_mesh)(crops(2)).rotations
    assert rotations.shape == (2, 16, 3, 3)
    np.testing.assert_allclose(rotations @ np.swapaxes(rotations, -1, -2), np.tile(np.eye(3), (2, 16, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-5)


def test_wrong_crops_and_sizes_are_refused():
    network = HandNetwork(small_network("hamer"), "cpu", flat_mesh)
    with pytest.raises(ValueError, match=r"crops must be uint8 \(H, 256, 256, 3\), got float64"):
        network(np.zeros((1, 256, 256, 3)))
    with pytest.raises(ValueError, match="heads of 80"):
        VitConfig(dim=100)
    with pytest.raises(ValueError, match="decoder"):
        HamerConfig(heads=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_survive_the_file(name):
    assert config_from_json(name, config_to_json(CONFIGS[name])) == CONFIGS[name]


def test_the_precision_is_one_of_two():
    assert cpu_precision() in (torch.bfloat16, torch.float32)


def crops(count):
    return np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)


def flat_mesh(rotations, betas):
    assert rotations.shape == (len(betas), 16, 3, 3)
    return np.zeros((len(betas), 5, 3))
