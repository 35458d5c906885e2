"""Collision proxies: capsules with known distances, the fit to the skin, gradients, and what must not matter."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from hand_recon_ros import Side
from hand_recon_ros.geometry.capsules import capsule_distances, capsules_gap
from hand_recon_ros.geometry.mesh_queries import signed_distances as exact_distances
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.hand_model.arrays import read_arrays
from hand_recon_ros.hand_model.collision_capsules import load_proxies
from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.hand_model.model import EMBEDDED
from hand_recon_ros.models.collision import CollisionModel, geman_mcclure, penetration_loss, signed_distances
from hand_recon_ros.skeleton import JOINT_KEYPOINTS, mirror_points, mirror_rotations
from hand_recon_ros.synthetic.arrangements import arrange_hands
from hand_recon_ros.synthetic.gestures import sample_gesture
from hand_recon_ros.synthetic.poses import posture, sample_betas

MODEL = load_hand_model()
PROXIES = load_proxies(MODEL)
PAIR = np.array([[0, 1]])


@pytest.fixture(scope="module")
def double():
    return CollisionModel(MODEL, 120, torch.float64)


def pairs_of_hands(*names):
    """Arranged hands as arrays: rotations, betas, translation."""
    parts = []
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        betas = np.stack([sample_betas(rng), sample_betas(rng)])
        placed = arrange_hands(name, rng, MODEL, betas)
        parts.append((placed.rotations, betas, placed.translation))
    return tuple(np.stack(part) for part in zip(*parts, strict=True))


def tensors(arrays, dtype=torch.float64):
    return tuple(torch.as_tensor(array, dtype=dtype) for array in arrays)


def run_of_spheres(a, b, count=2001):
    return a + np.linspace(0, 1, count)[:, None] * (b - a)


def test_a_capsule_of_equal_radii_is_a_cylinder_with_round_ends():
    spheres = np.array([[0.0, 0.0, 0.0, 0.2], [1.0, 0.0, 0.0, 0.2]])
    points = np.array([[0.5, 1.0, 0.0], [0.5, 0.05, 0.0], [-1.0, 0.0, 0.0], [1.3, 0.4, 0.0], [0.5, 0.2, 0.0]])
    expected = [0.8, -0.15, 0.8, 0.3, 0.0]
    np.testing.assert_allclose(capsule_distances(points, spheres, PAIR)[:, 0], expected, atol=1e-12)
    found = signed_distances(*tensors((points[None], spheres[None])), torch.as_tensor(PAIR))
    np.testing.assert_allclose(found[0], expected, atol=1e-9)


def test_a_cone_with_a_known_slope():
    # Radii 0.5 and 0.2 over a length of 0.5: sine 0.6, cosine 0.8. The tangent cone is 0.5 from the first centre.
    spheres = np.array([[0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.5, 0.2]])
    normal = np.array([0.8, 0.0, 0.6])
    point = 0.5 * normal + 0.2 * np.array([-0.6, 0.0, 0.8]) + 0.07 * normal
    assert capsule_distances(point[None], spheres, PAIR)[0, 0] == pytest.approx(0.07)


def test_distances_are_the_smallest_over_all_spheres_of_a_capsule():
    rng = np.random.default_rng(0)
    for _ in range(30):
        spheres = np.concatenate([rng.normal(size=(2, 3)), rng.uniform(0.05, 2.5, (2, 1))], axis=1)
        points = 2 * rng.normal(size=(40, 3))
        run = run_of_spheres(*spheres)
        expected = (np.linalg.norm(points[:, None] - run[:, :3], axis=-1) - run[:, 3]).min(axis=1)
        np.testing.assert_allclose(capsule_distances(points, spheres, PAIR)[:, 0], expected, atol=5e-6)
        found = signed_distances(*tensors((points[None], spheres[None])), torch.as_tensor(PAIR))
        np.testing.assert_allclose(found[0], expected, atol=5e-6)


def test_the_gap_is_the_smallest_over_all_spheres_of_two_capsules():
    rng = np.random.default_rng(1)
    for _ in range(60):
        spheres = 0.03 * np.concatenate([rng.normal(size=(4, 3)), rng.uniform(0.1, 0.5, (4, 1))], axis=1)
        first, second = run_of_spheres(*spheres[:2], 801), run_of_spheres(*spheres[2:], 801)
        apart = np.linalg.norm(first[:, None, :3] - second[:, :3], axis=-1) - first[:, None, 3] - second[:, 3]
        assert capsules_gap(spheres[:2], spheres[2:], PAIR) == pytest.approx(apart.min(), abs=2e-5)
    assert capsules_gap(spheres[:2], spheres[2:] + [9.0, 0, 0, 0], PAIR, 0.5) == 0.5


def skin_and_truth(model, side, seed, proxies, gesture=True):
    """Points within 4 mm of the skin, away from the end behind the wrist, and both signed distances there."""
    rng, kinematics = np.random.default_rng(seed), model.kinematics(side)
    betas = sample_betas(rng, spread=1.0) if gesture else np.zeros(10)
    angles = sample_gesture(rng, kinematics) if gesture else np.zeros((16, 3))
    rotations = np.tile(np.eye(3), (2, 16, 1, 1))
    rotations[side] = kinematics.rotations_of(angles)
    pair = HandPair.placed(model, rotations, np.stack([betas, betas]), np.zeros((2, 3)))
    vertices = pair.meshes(model)[side].astype(np.float64)
    faces, loop = model.faces(side), model.wrist_loop(side)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(normals, axis=1)
    chosen = rng.choice(len(faces), 400, p=size / size.sum())
    points = (corners[chosen] * rng.dirichlet((1, 1, 1), 400)[:, :, None]).sum(axis=1)
    points += normals[chosen] / size[chosen, None] * rng.uniform(-0.004, 0.004, (400, 1))
    middle, rim = vertices[loop].mean(axis=0), vertices[loop]
    points = points[
        (np.linalg.norm(points[:, None] - rim, axis=-1).min(axis=1) > 0.006)
        & (np.linalg.norm(points - middle, axis=1) > np.linalg.norm(rim - middle, axis=1).max() + 0.002)
    ]
    spheres = proxies.spheres(pair)[side]
    return capsule_distances(points, spheres, proxies.pairs).min(axis=1), exact_distances(points, vertices, faces)


def test_proxies_lie_on_the_skin_over_poses_and_shapes():
    parts = [skin_and_truth(MODEL, Side(seed % 2), seed, PROXIES) for seed in range(40)]
    error = 1000 * np.abs(np.concatenate([found - true for found, true in parts]))
    mean, most = error.mean(), np.percentile(error, 95)
    print(f"mean {mean:.2f} mm, 95 % below {most:.2f} mm, 99 % below {np.percentile(error, 99):.2f} mm")
    assert mean < 0.8 and most < 2.5


def test_another_hand_model_is_fitted_on_both_sides():
    right = read_arrays(EMBEDDED)
    left = right.mirrored()
    left = dataclasses.replace(left, template=left.template * 1.1)
    model = HandModel("two sizes", right, left)
    proxies = load_proxies(model)
    for side in Side:
        found, true = skin_and_truth(model, side, 3, proxies, gesture=False)
        assert np.abs(found - true).mean() < 0.0008, side
    np.testing.assert_allclose(proxies.centres[Side.RIGHT], PROXIES.centres[Side.RIGHT], atol=0.002)
    sizes = proxies.centres.std(axis=1).mean(axis=1)
    assert sizes[Side.LEFT] / sizes[Side.RIGHT] == pytest.approx(1.1, abs=0.04)


def test_skin_and_spheres_are_posed_as_the_model_poses_them(double):
    arrays = pairs_of_hands("clasped", "crossing")
    hands, pairs = double.pose(*tensors(arrays)), HandPair.placed(MODEL, *arrays)
    meshes, keypoints = pairs.meshes(MODEL), pairs.keypoints(MODEL)
    np.testing.assert_allclose(hands.joints, keypoints[:, :, JOINT_KEYPOINTS], atol=1e-9)
    for sample in range(2):
        np.testing.assert_allclose(hands.spheres[sample], PROXIES.spheres(pairs[sample]), atol=1e-7)
        for side in Side:
            mesh = meshes[side][sample]
            near = np.linalg.norm(hands.skin[sample, side].numpy()[:, None] - mesh, axis=-1).min(axis=1)
            assert near.max() < 1e-6


def test_gradients(double):
    torch.manual_seed(0)
    points, spheres = 0.5 * torch.randn(2, 7, 3, dtype=torch.float64), torch.rand(2, 5, 4, dtype=torch.float64)
    pairs = torch.tensor([[0, 1], [1, 2], [3, 4]])
    inputs = (points.requires_grad_(), spheres.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, s: signed_distances(p, s, pairs), inputs)
    depths = torch.linspace(-0.01, 0.01, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: geman_mcclure(d, 0.004), (depths,))

    rotations, betas, translation = tensors(pairs_of_hands("palm to palm"))
    nearer = translation + torch.tensor([[[-0.004, 0, 0], [0.004, 0, 0]]], dtype=torch.float64)

    def loss(rotations, betas, translation):
        hands = double.pose(rotations, betas, translation)
        within = penetration_loss(double.within(hands), 0.001)
        return 1e4 * (penetration_loss(double.between(hands), 0.0005) + within + 0.01 * double.gap(hands))

    inputs = tuple(value.clone().requires_grad_() for value in (rotations, betas, nearer))
    assert loss(*inputs).item() > 0.0
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-7, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_results_do_not_depend_on_batch_mates(double):
    names = ("clasped", "apart", "fist in hand", "interlaced", "palm to palm", "crossing")
    inputs = tensors(pairs_of_hands(*names))
    order = torch.tensor([4, 2, 0])
    whole, some = double.pose(*inputs), double.pose(*(value[order] for value in inputs))
    for measure in (double.between, double.within, double.gap):
        torch.testing.assert_close(measure(whole)[order], measure(some), rtol=0.0, atol=1e-12)
    assert double.gap(whole)[1] > 0.01 > double.gap(whole)[0]


def test_mirrored_hands_give_mirrored_results(double):
    rotations, betas, translation = pairs_of_hands("interlaced", "finger on palm")
    mirrored = (mirror_rotations(rotations)[:, ::-1], betas[:, ::-1], mirror_points(translation)[:, ::-1])
    hands = double.pose(*tensors((rotations, betas, translation)))
    others = double.pose(*tensors(map(np.copy, mirrored)))
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(others.skin.flip(1) * flip, hands.skin, rtol=0.0, atol=1e-15)
    assert torch.equal(others.spheres.flip(1)[..., :3] * flip, hands.spheres[..., :3])
    torch.testing.assert_close(double.between(others).flip(1), double.between(hands), rtol=0.0, atol=1e-12)
    pair = HandPair.placed(MODEL, rotations, betas, translation)[1]
    assert PROXIES.gap(pair) == pytest.approx(PROXIES.gap(pair.mirrored()), abs=1e-9)


def test_penetration_loss_of_known_depths():
    distances = torch.tensor([[0.01, -0.002, -0.005], [0.01, 0.02, 0.03]], dtype=torch.float64)
    np.testing.assert_allclose(penetration_loss(distances), [29e-6, 0.0], atol=1e-12)
    np.testing.assert_allclose(penetration_loss(distances, 0.001), [17e-6, 0.0], atol=1e-12)
    np.testing.assert_allclose(penetration_loss(distances, 0.0, 0.002), [0.5 + 25 / 29, 0.0], atol=1e-12)


def test_a_hand_collides_with_itself_only_where_it_does(double):
    kinematics = MODEL.kinematics(Side.RIGHT)
    crossed = np.zeros((16, 3))
    crossed[4, 1], crossed[7, 1] = -0.43, 0.3  # the index finger through the middle finger
    angles = np.stack([np.zeros((16, 3)), posture("relaxed", kinematics), crossed])
    rotations = np.stack([MODEL.kinematics(side).rotations_of(angles) for side in Side], axis=1)
    hands = double.pose(*tensors((rotations, np.zeros((3, 2, 10)), np.zeros((3, 2, 3)))))
    deepest = double.within(hands).flatten(1).amin(dim=1)
    assert deepest[0] > 0.0 and deepest[1] > -0.002 and deepest[2] < -0.004
    none = torch.zeros(len(hands.skin[0, 0]), len(double.pairs), dtype=torch.bool)
    assert torch.isinf(signed_distances(hands.skin[:, 0], hands.spheres[:, 0], double.pairs, none)).all()


def test_the_gate_measures_the_gap_and_imports_no_torch():
    assert abs(PROXIES.gap(HandPair.placed(MODEL, *pairs_of_hands("clasped"))[0], 0.03)) < 0.004
    code = "import sys, hand_recon_ros.hand_model.collision_capsules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(16, 3, 3\), \(10,\) and \(3,\)"):
        HandPair(np.zeros((16, 3, 3)), np.zeros(10), np.zeros(3))
    with pytest.raises(ValueError, match=r"spheres must have shape \(\*, 4\), got \(2, 3\)"):
        capsule_distances(np.zeros((5, 3)), np.zeros((2, 3)), PAIR)
    with pytest.raises(ValueError, match="pairs must be indices of 1, got 0 to 1"):
        capsule_distances(np.zeros((5, 3)), np.zeros((1, 4)), PAIR)
