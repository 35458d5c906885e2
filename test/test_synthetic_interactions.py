"""Interacting pairs: in contact, without penetration, within the joint limits, and reproducible."""

import itertools

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.geometry.mesh_queries import gap_between, penetration_depth
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.skeleton import WRIST
from hand_recon_ros.synthetic.identities import PEOPLE, identity
from hand_recon_ros.synthetic.interactions import (
    INTERACTIONS,
    MAX_PENETRATION,
    initial_pairs,
    interaction_stream,
    sample_interactions,
)
from hand_recon_ros.synthetic.penetration_solver import PenetrationSolver, measure_contact

MODEL = load_hand_model()
COUNT = 20


@pytest.fixture(scope="module")
def pairs():
    return sample_interactions("val", 0, range(COUNT), MODEL)


def test_most_pairs_are_accepted_with_less_penetration_than_initially(pairs):
    assert len(pairs) >= 0.7 * COUNT and len(set(pairs.arrangements)) >= 4
    initial, names = initial_pairs("val", 0, pairs.numbers.tolist(), MODEL)
    before, _ = measure_contact(initial, MODEL)
    assert names == pairs.arrangements and set(names) <= set(INTERACTIONS)
    assert (before > MAX_PENETRATION).mean() > 0.3 and before.mean() > 5 * pairs.depths.mean()


def test_hands_touch_and_are_not_inside_each_other(pairs):
    for i, (left, right) in enumerate(zip(*pairs.pairs.meshes(MODEL), strict=True)):
        hands = (left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT))
        assert penetration_depth(*hands) == pytest.approx(pairs.depths[i], abs=1e-6)
        assert pairs.depths[i] <= MAX_PENETRATION and gap_between(*hands, 0.02) < 0.005


def test_poses_stay_anatomical_and_in_front_of_the_camera(pairs):
    for side in Side:
        kinematics = MODEL.kinematics(side)
        rotations = pairs.pairs.rotations[:, side]
        np.testing.assert_allclose(kinematics.clamp_rotations(rotations), rotations, atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-9)
    keypoints = pairs.pairs.keypoints(MODEL)
    np.testing.assert_allclose(keypoints[:, :, WRIST], pairs.pairs.wrists, atol=1e-9)
    assert keypoints[..., 2].min() > 0.05


def test_a_pair_depends_on_its_number_only(pairs):
    some = [int(number) for number in pairs.numbers[[5, 2]]]
    again = sample_interactions("val", 0, some, MODEL)
    assert again.numbers.tolist() == some
    for one, other in zip((5, 2), range(2), strict=True):
        np.testing.assert_allclose(again.pairs.wrists[other], pairs.pairs.wrists[one], atol=2e-4)
        np.testing.assert_allclose(again.pairs.rotations[other], pairs.pairs.rotations[one], atol=5e-3)


def test_splits_share_no_people_and_no_random_numbers():
    people = {}
    for split in PEOPLE:
        initial, _ = initial_pairs(split, 0, range(8), MODEL)
        people[split] = {tuple(betas.round(6).ravel()) for betas in initial.betas}
        known = {tuple(identity(n).betas.round(6).ravel()) for n in range(*PEOPLE["val"])}
        assert (people[split] <= known) == (split == "val")
    assert all(not a & b for a, b in itertools.combinations(people.values(), 2))
    with pytest.raises(ValueError, match="unknown split 'all'"):
        sample_interactions("all", 0, range(1), MODEL)


def test_hands_in_contact_without_penetration_hardly_move(pairs):
    relaxed, depths, touching = PenetrationSolver(MODEL)(pairs.pairs)
    assert (depths <= MAX_PENETRATION).all() and touching.mean() > 0.9
    assert np.median(np.linalg.norm(relaxed.wrists - pairs.pairs.wrists, axis=-1)) < 0.003


def test_the_endless_stream_starts_at_the_given_number():
    first = next(interaction_stream("val", 0, start=6, batch=3, hand_model=MODEL))
    assert set(first.numbers) <= {6, 7, 8}
