"""WiLoR's network: names and shapes as published, its tokens, and the refinement with its way of sampling."""

import numpy as np
import torch
from hand_checkpoints import small_network

from hand_recon_ros.models.mano_parameters import ManoParameters
from hand_recon_ros.models.wilor import FeaturePyramid, WilorNetwork, features_at, projected


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in WilorNetwork().state_dict().items()}
    expected = {
        "backbone.pos_embed": (1, 193, 1280),
        "backbone.pose_emb.weight": (1280, 6),
        "backbone.shape_emb.weight": (1280, 10),
        "backbone.cam_emb.weight": (1280, 3),
        "backbone.decpose.weight": (6, 1280),
        "backbone.decshape.weight": (10, 1280),
        "backbone.deccam.bias": (3,),
        "backbone.init_hand_pose": (1, 96),
        "refine_net.deconv.first_conv.0.weight": (640, 1280, 1, 1),
        "refine_net.deconv.deconv.0.0.weight": (640, 320, 4, 4),
        "refine_net.deconv.deconv.0.1.running_var": (320,),
        "refine_net.deconv.deconv.1.3.weight": (320, 160, 4, 4),
        "refine_net.deconv.deconv.1.4.num_batches_tracked": (),
        "refine_net.dec_pose.weight": (96, 1120),
        "refine_net.dec_cam.weight": (3, 1120),
        "refine_net.dec_shape.weight": (10, 1120),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    # The backbone as HaMeR's, its 12 linear parts and 3 means; 2 + 3 * 6 of the pyramid, 6 of the outputs.
    assert len(shapes) == 32 * 12 + 5 + 12 + 3 + 2 + 3 * 6 + 6


def test_each_joint_has_its_token():
    """A change of one joint's output layer input shows that outputs are read at the tokens that were put in."""
    network = small_network("wilor")
    with torch.no_grad():
        for value in network.backbone.blocks.parameters():
            value.zero_()
        network.backbone.init_hand_pose.zero_()
        network.backbone.init_hand_pose[0, 6 * 5 : 6 * 6] = torch.tensor([3.0, -1.0, 2.0, 0.5, -2.0, 1.0])
        network.backbone.pose_emb.bias.normal_()
    hand, features = network.backbone(torch.randn(1, 3, 256, 192))
    joints = (hand.pose - network.backbone.init_hand_pose).detach().reshape(16, 6).numpy()
    others = np.delete(joints, 5, axis=0)
    np.testing.assert_allclose(others, np.broadcast_to(others[0], others.shape), atol=1e-5)
    assert np.abs(joints[5] - joints[0]).max() > 1e-2
    assert features.shape == (1, 80, 16, 12)


def test_the_features_are_those_of_the_patches():
    network = small_network("wilor")
    with torch.no_grad():
        for value in network.backbone.blocks.parameters():
            value.zero_()
        network.backbone.pos_embed.zero_()
    image = torch.zeros(1, 3, 256, 192)
    image[0, :, 16 * 9 + 3, 16 * 4 + 3] = 5.0
    _, features = network.backbone(image)
    change = (features - features[:, :, :1, :1]).abs().sum(dim=1)[0]
    assert change.argmax() == 9 * 12 + 4 and int((change > 1e-6).sum()) == 1


def test_the_pyramid_has_three_resolutions():
    levels = FeaturePyramid(80).eval()(torch.randn(2, 80, 16, 12))
    assert [tuple(level.shape) for level in levels] == [(2, 10, 64, 48), (2, 20, 32, 24), (2, 40, 16, 12)]


def test_projection_is_normalised():
    """A vertex at the edge of the crop is at 0.5 whatever the map's size, but for the perspective of a long lens."""
    camera = torch.tensor([[0.8, 0.02, -0.03]])
    edge = 1.0 / 0.8
    points = torch.tensor([[[-0.02, 0.03, 0.0], [edge - 0.02, edge + 0.03, 0.0]]])
    for size in (16, 64):
        torch.testing.assert_close(
            projected(points, camera, size), torch.tensor([[[0.0, 0.0], [0.5, 0.5]]]), atol=1e-4, rtol=0.0
        )


def test_normalised_points_are_taken_for_pixels():
    """So the published network does: everything is sampled around the first pixel, zero outside of the map."""
    features = torch.arange(2.0 * 5 * 4).reshape(1, 2, 5, 4) + 1.0
    a, b, c, d = features[0, :, 0, 0], features[0, :, 0, 1], features[0, :, 1, 0], features[0, :, 1, 1]
    inside = 0.6 * 0.75 * a + 0.4 * 0.75 * b + 0.6 * 0.25 * c + 0.4 * 0.25 * d
    outside = 0.5 * 0.8 * a
    found = features_at(features, torch.tensor([[[0.4, 0.25], [-0.5, -0.2], [3.0, 4.0]]]))
    expected = torch.stack([inside, outside, features[0, :, 4, 3]], dim=-1)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)


def test_the_refinement_adds_to_the_first_hand():
    refinement = small_network("wilor").refine_net
    hand = ManoParameters(torch.randn(2, 96), torch.randn(2, 10), torch.tensor([[0.9, 0.0, 0.0]]).repeat(2, 1))
    features, vertices = torch.randn(2, 80, 16, 12), torch.randn(2, 30, 3) * 0.3
    refined = refinement(features, vertices, hand)
    moved = refinement(features, vertices + torch.tensor([0.3, 0.2, 0.0]), hand)
    mixed = refinement(features, vertices[:, torch.randperm(30)], hand)
    for a, b, c, first in zip(refined, moved, mixed, hand, strict=True):
        assert (a - b).abs().max() > 1e-4
        torch.testing.assert_close(a, c)
        assert (a - first).abs().max() > 1e-3
    with torch.no_grad():
        for name, value in refinement.named_parameters():
            if name.startswith("dec_"):
                value.zero_()
    for a, first in zip(refinement(features, vertices, hand), hand, strict=True):
        torch.testing.assert_close(a, first)


def test_the_mesh_is_that_of_the_first_hand():
    network = small_network("wilor")
    images = torch.randn(2, 3, 256, 192)
    first, features = network.backbone(images)
    seen = []

    def mesh(rotations, betas):
        seen.append((rotations, betas))
        return torch.zeros(2, 3, 3)

    refined = network(images, mesh)
    ((rotations, betas),) = seen
    torch.testing.assert_close(betas, first.betas)
    first_column = torch.nn.functional.normalize(first.pose.reshape(2, 16, 6)[..., :3], dim=-1)
    torch.testing.assert_close(rotations[..., 0], first_column)
    expected = network.refine_net(features, torch.zeros(2, 3, 3), first)
    for a, b in zip(refined, expected, strict=True):
        torch.testing.assert_close(a, b)
