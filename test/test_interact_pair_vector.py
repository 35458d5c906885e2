"""A pair of hands as a vector: its layout, its mirror image, and the confidences that go with it."""

import dataclasses

import numpy as np
import pytest
from hand_pairs import swapped
from scipy.spatial.transform import Rotation

from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.interact.pair_vector import CONFIDENCES, HAND, PAIR, TOKENS, confidences, pack, unpack
from hand_recon_ros.skeleton import mirror_rotations


def hands(seed, *shape):
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape, dtype=int)) * 32
    rotations = Rotation.random(count, random_state=seed).as_matrix().reshape(*shape, 2, 16, 3, 3)
    wrists = rng.normal(size=(*shape, 2, 3)) * 0.2 + [0.0, 0.0, 0.6]
    return HandPair(rotations, rng.normal(size=(*shape, 2, 10)), wrists)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_packing_and_unpacking_are_inverse(shape):
    pair = hands(0, *shape)
    x = pack(pair)
    assert x.shape == (*shape, PAIR)
    found = unpack(x, pair.wrists.mean(axis=-2))
    for field in dataclasses.fields(HandPair):
        np.testing.assert_allclose(getattr(found, field.name), getattr(pair, field.name), atol=1e-12)
    np.testing.assert_allclose(pack(found), x, atol=1e-12)


def test_the_layout():
    pair = hands(1)
    x = pack(pair)
    np.testing.assert_array_equal(x[HAND : HAND + 3], pair.rotations[1, 0, :, 0])
    np.testing.assert_array_equal(x[3:6], mirror_rotations(pair.rotations[0, 0])[:, 1])
    np.testing.assert_array_equal(x[HAND - 10 : HAND], pair.betas[0])
    np.testing.assert_array_equal(x[-3:], pair.wrists[0] - pair.wrists[1])


def test_in_the_mirror_each_hand_is_the_other():
    pair = hands(2, 4)
    np.testing.assert_allclose(swapped(pack(pair)), pack(pair.mirrored()), atol=1e-15)


def test_rotations_need_not_be_orthonormal():
    pair = hands(3)
    x = pack(pair)
    x[:6] *= 3.0
    x[9:12] += 0.7 * x[6:9]
    np.testing.assert_allclose(unpack(x, pair.wrists.mean(axis=0)).rotations, pair.rotations, atol=1e-12)


def test_confidences_fall_with_the_errors_expected():
    certain = confidences(np.zeros((2, 16)), np.zeros(2), np.zeros(2))
    np.testing.assert_array_equal(certain, np.ones(CONFIDENCES))
    angles = np.zeros((2, 16))
    angles[1, 3] = np.radians(10.0)
    found = confidences(angles, np.array([0.0, 1.0]), np.array([0.03, 0.0])).reshape(2, TOKENS)
    assert found[1, 3] == found[1, 16] == found[0, 17] == pytest.approx(np.exp(-1.0))
    assert (found == 1.0).sum() == CONFIDENCES - 3


def test_other_shapes_are_no_pair():
    pair = hands(4)
    with pytest.raises(ValueError, match=r"expected rotations .*got \(16, 3, 3\), \(2, 10\) and \(2, 3\)"):
        HandPair(pair.rotations[0], pair.betas, pair.wrists)
