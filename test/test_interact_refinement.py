"""Refinement of two hands: what it leaves alone, what it repairs, and what it must not do while repairing."""

import dataclasses
import warnings

import numpy as np
import pytest
from evidence import MODEL, hand
from hand_pairs import CHAIN, FOCAL, Stream, depth, flipped, gap, joints, pushed, uncertainty

from hand_recon_ros import Side
from hand_recon_ros.geometry.hand_kinematics import forward
from hand_recon_ros.hand_model.collision_capsules import load_proxies
from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.interact.collision_geometry import CollisionGeometry
from hand_recon_ros.interact.contacts import Contacts
from hand_recon_ros.interact.pair_chain import PER_HAND, PairChain, difference, moved
from hand_recon_ros.interact.ray_offsets import touching_offsets
from hand_recon_ros.interact.refinement import Refiner
from hand_recon_ros.interact.separation_problem import SeparationProblem, depth_jacobian
from hand_recon_ros.interact.uncertainty import PoseGaussian
from hand_recon_ros.skeleton import WRIST
from hand_recon_ros.synthetic.sample_stream import SampleStream


@pytest.fixture
def refiner():
    return Refiner(MODEL)


def test_hands_that_do_not_penetrate_come_back_as_they_are(pairs, refiner):
    left, right = hand(2, Side.LEFT), hand(3, Side.RIGHT)
    wrists = np.array([left[3][WRIST] - [0.2, 0.0, 0.0], right[3][WRIST] + [0.2, 0.0, 0.0]])
    apart = HandPair(np.stack([left[0], right[0]]), np.stack([left[1], right[1]]), wrists)
    for pair in (apart, *pairs):
        assert refiner(pair, uncertainty(pair), 8).pair is pair


def test_hands_pushed_into_each_other_come_apart_and_stay_in_touch_and_in_place(pairs, refiner):
    depths, shifts, gaps, penetrating = [], [], [], 0
    for number, pair in enumerate(pairs):
        bad = pushed(pair, 0.005 + 0.001 * (number % 4))
        if bad is None:
            continue
        penetrating += 1
        good = refiner(bad, uncertainty(bad), 8).pair
        depths.append(depth(good))
        gaps.append(gap(good))
        before, after = (FOCAL * joints(p)[..., :2] / joints(p)[..., 2:] for p in (bad, good))
        shifts.append(np.linalg.norm(after - before, axis=-1).mean())
    assert penetrating > 10
    print(f"depth {1e3 * np.array(depths)} mm, moved {shifts} px")
    assert np.mean(np.array(depths) < 0.001) > 0.85 and max(depths) < 0.002
    assert np.mean(shifts) < 2.0
    assert np.mean(np.array(gaps) < 0.005) > 0.95


@pytest.mark.parametrize(
    ("scene", "offset"),
    [
        (27, (0.012, 0.008, 0.006)),
        (39, (0.0, -0.006, 0.004)),
        (98, (-0.007, -0.017, -0.001)),
        (234, (-0.002, 0.004, 0.002)),
    ],
)
def test_hands_whose_meshes_penetrate_where_their_capsules_hardly_do_come_apart(scene, offset, refiner):
    hands = {hand.side: hand for hand in SampleStream("val", 5, MODEL).scene(scene).hands}
    values = (np.stack([getattr(hands[side], name) for side in Side]) for name in ("rotations", "betas", "translation"))
    pair = HandPair.placed(MODEL, *values)
    pair = dataclasses.replace(pair, wrists=pair.wrists + np.outer([0.0, 1.0], offset))
    assert load_proxies(MODEL).gap(pair) > -0.001 and depth(pair) > 0.0025
    assert depth(refiner(pair, uncertainty(pair), 8).pair) < 0.001


def test_hands_locked_in_each_other_pass(refiner):
    flat = np.tile(np.eye(3), (2, 16, 1, 1))
    pair = HandPair(flat, np.zeros((2, 10)), np.array([[-0.06, 0.0, 0.5], [0.06, 0.005, 0.5]]))
    assert depth(pair) > 0.006
    good = refiner(pair, uncertainty(pair), 8).pair
    assert depth(good) < 0.001
    # The nearest way is the likeliest: the left hand in front, or behind.
    for behind in (-0.004, 0.004):
        near = dataclasses.replace(pair, wrists=pair.wrists + np.outer([0.0, 1.0], [0.0, 0.0, behind]))
        good = refiner(near, uncertainty(near, (0.05, 0.05)), 12).pair
        assert depth(good) < 0.002 and np.sign(good.wrists[1, 2] - good.wrists[0, 2]) == np.sign(behind)


def test_the_less_certain_hand_moves_more(pairs, refiner):
    bad = next(bad for bad in (pushed(pair, 0.005) for pair in pairs) if bad is not None)
    for stddev, more in (((0.002, 0.05), Side.RIGHT), ((0.05, 0.002), Side.LEFT)):
        certain = uncertainty(bad, stddev)
        certain.precision[more] /= 20.0
        way = np.linalg.norm(refiner(bad, certain, 8).pair.wrists - bad.wrists, axis=1)
        assert way[more] > 2.0 * way[1 - more]


def test_contact_couples_what_is_known_of_both_distances(pairs, refiner):
    bad = next(bad for bad in (pushed(pair, 0.005) for pair in pairs) if bad is not None)
    certain = uncertainty(bad, (0.004, 0.05))
    found = refiner(bad, certain, 8).position_stddev
    # The less certain hand learns from the other one; the latter hardly from it.
    assert found[1] < 0.6 * 0.05 and 0.9 * 0.004 < found[0] <= 0.004
    good = next(pair for pair in pairs if refiner(pair, certain, 8).pair is pair)
    np.testing.assert_array_equal(refiner(good, certain, 8).position_stddev, certain.position_stddev)


def test_in_a_stream_what_contact_tells_of_distances_fades(pairs, refiner):
    good = next(pair for pair in pairs if pushed(pair, 0.006) is not None)
    certain, memory, stddevs = uncertainty(good, (0.004, 0.05)), None, []
    for frame in range(30):
        pair = pushed(good, 0.006) if frame == 0 else good
        result = refiner(pair, certain, 8, stamp=frame / 30, hands=(1, 2), memory=memory)
        memory = result.memory
        stddevs.append(result.position_stddev[1])
    assert stddevs[0] < 0.03 and stddevs[-1] == 0.05
    assert min(np.diff(stddevs)) > -0.001 and max(np.diff(stddevs)) < 0.02


def test_mirrored_hands_give_the_mirrored_result(pairs, refiner):
    bad = next(bad for bad in (pushed(pair, 0.006) for pair in pairs) if bad is not None)
    certain = uncertainty(bad, (0.01, 0.03))
    good, other = refiner(bad, certain, 8).pair, refiner(bad.mirrored(), flipped(certain), 8).pair
    np.testing.assert_allclose(joints(other.mirrored()), joints(good), atol=1e-6)
    assert refiner(bad, certain, 8).pair.wrists.tolist() == good.wrists.tolist()


def test_joint_limits_hold(pairs, refiner):
    for pair in pairs[:8]:
        bad = pushed(pair, 0.006)
        if bad is None:
            continue
        good = refiner(bad, uncertainty(bad), 8).pair
        for side in Side:
            kinematics = MODEL.kinematics(side)
            before, after = (kinematics.angles_of(p.rotations[side])[1:] for p in (bad, good))
            low, high = kinematics.limits[1:, :, 0], kinematics.limits[1:, :, 1]
            assert (after >= np.minimum(low, before) - 1e-6).all() and (after <= np.maximum(high, before) + 1e-6).all()


@pytest.mark.parametrize("broken", ["nan", "far", "behind", "no rotation", "uncertain"])
def test_what_cannot_be_is_left_alone_with_one_warning(pairs, refiner, broken):
    pair, certain = pairs[0], uncertainty(pairs[0])
    wrists, rotations = pair.wrists.copy(), pair.rotations.copy()
    if broken == "nan":
        rotations[0, 3, 1, 1] = np.nan
    elif broken == "far":
        wrists[1, 0] = 1e6
    elif broken == "behind":
        wrists[:, 2] *= -1.0
    elif broken == "no rotation":
        rotations[1, 2] = 7.0
    else:
        certain.position_stddev[0] = np.nan
    absurd = HandPair(rotations, pair.betas, wrists)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            assert refiner(absurd, certain, 8).pair is absurd
    (warning,) = caught
    assert "not refined" in str(warning.message)


def test_without_time_it_ends_after_one_step(pairs, refiner, monkeypatch):
    bad = next(bad for bad in (pushed(pair, 0.006) for pair in pairs) if bad is not None)
    steps, step = [], SeparationProblem.step
    monkeypatch.setattr(SeparationProblem, "step", lambda *arguments: steps.append(1) or step(*arguments))
    result = refiner(bad, uncertainty(bad), 50, budget=0.0).pair
    assert len(steps) == 1
    assert depth(result) <= depth(bad) + 1e-6
    refiner(bad, uncertainty(bad), 50)
    assert len(steps) > 2


def test_little_time_gives_hands_that_are_less_deep(refiner):
    """The first step sees capsules only: what it gains counts though the meshes were never looked at."""
    flat = np.tile(np.eye(3), (2, 16, 1, 1))
    locked = HandPair(flat, np.zeros((2, 10)), np.array([[-0.06, 0.0, 0.5], [0.06, 0.005, 0.5]]))
    assert depth(refiner(locked, uncertainty(locked), 8, budget=0.0).pair) < 0.5 * depth(locked)


def test_hands_that_the_gate_lets_pass_are_not_posed(pairs, refiner, monkeypatch):
    left, right = joints(pairs[0]).mean(axis=1)
    away = 0.2 * (right - left) / np.linalg.norm(right - left)
    pair = dataclasses.replace(pairs[0], wrists=pairs[0].wrists + np.outer([0.0, 1.0], away))
    assert load_proxies(MODEL).gap(pair) > 0.004
    monkeypatch.setattr(PairChain, "pose", lambda *_: pytest.fail("the gate is to decide before the kinematics"))
    assert refiner(pair, uncertainty(pair), 8).pair is pair


def test_in_a_stream_a_correction_lives_on_and_fades(pairs, refiner):
    good = next(pair for pair in pairs if pushed(pair, 0.006) is not None)
    bad, certain = pushed(good, 0.006), uncertainty(good)
    stream = Stream(refiner)
    first = stream(bad, certain, 0.0)
    again = stream(bad, certain, 1 / 30)
    assert depth(again) < 0.002
    assert np.abs(joints(again) - joints(first)).max() < 0.003  # it does not flicker
    ways = []
    for frame in range(2, 40):
        result = stream(good, certain, frame / 30)
        ways.append(np.abs(joints(result) - joints(good)).max())
        assert depth(result) < 0.002
    assert ways[0] > 0.0005 and max(ways[1:]) <= ways[0] + 1e-6 and ways[-1] == 0.0
    assert result is good and stream.memory is None
    stream(bad, certain, 2.0)
    assert stream(good, certain, 2.01, hands=(1, 3)) is good  # another hand
    stream(bad, certain, 3.0)
    assert stream.memory is not None
    assert Stream(refiner)(good, certain, 3.01) is good  # the refiner itself remembers nothing
    assert refiner(good, certain, 8, memory=stream.memory).pair is good


def test_derivatives_of_depths(pairs):
    """Each row is what finite differences of the distance to the plane of contact say."""
    bad = next(bad for bad in (pushed(pair, 0.005) for pair in pairs) if bad is not None)
    pose = CHAIN.pose(bad)
    problem = SeparationProblem(CHAIN, CollisionGeometry(MODEL), pose)
    state = problem.evaluate(pose)
    c = state.contacts
    rows = depth_jacobian(state)
    rng = np.random.default_rng(0)
    step = rng.normal(size=(2, PER_HAND)) * np.array([0.02] * 3 + [0.002] * 3 + [0.02] * 45) * 0.05
    after = problem.evaluate(moved(pose, step))
    at_first = {(h, v): d for h, v, d in zip(c.hand, c.vertex, c.depth, strict=True)}
    change, expected = [], []
    for h, v, d in zip(after.contacts.hand, after.contacts.vertex, after.contacts.depth, strict=True):
        if (h, v) in at_first:
            change.append(d - at_first[h, v])
    known = {(h, v) for h, v in zip(after.contacts.hand, after.contacts.vertex, strict=True)}
    keep = [i for i, key in enumerate(zip(c.hand, c.vertex, strict=True)) if key in known]
    expected = rows[keep] @ step.reshape(-1)
    error = np.abs(np.array(change) - expected)
    assert len(change) > 30 and np.median(error) < 0.06 * np.abs(expected).mean()


def test_meshes_and_capsules_agree_on_what_is_inside(pairs):
    bad = next(bad for bad in (pushed(pair, 0.006) for pair in pairs) if bad is not None)
    pose = CHAIN.pose(bad)
    state = SeparationProblem(CHAIN, CollisionGeometry(MODEL), pose).evaluate(pose, exact=True)
    assert state.depth == pytest.approx(depth(bad), abs=1e-5)
    assert state.contacts.max_depth == pytest.approx(state.depth, abs=0.002)
    assert isinstance(state.contacts, Contacts)


def test_a_pose_and_its_pair_are_the_same(pairs):
    pose = CHAIN.pose(pairs[0])
    back = CHAIN.pair(pose, forward(CHAIN.template, pose))
    np.testing.assert_allclose(joints(back), joints(pairs[0]), atol=1e-9)
    step = np.random.default_rng(0).normal(size=(2, PER_HAND)) * 0.1
    np.testing.assert_allclose(difference(moved(pose, step), pose), step, atol=1e-9)


def test_a_belief_knows_least_along_the_ray(pairs):
    pose = CHAIN.pose(pairs[0])
    belief = PoseGaussian.around(CHAIN.template, pose, uncertainty(pairs[0]))
    np.testing.assert_allclose(belief.gradient(pose), 0.0, atol=1e-9)
    way = [np.zeros((2, PER_HAND)) for _ in range(2)]
    ray = pose.wrist[0] / np.linalg.norm(pose.wrist[0])
    aside = np.cross(ray, [0.0, 1.0, 0.0])
    way[0][0, 3:6], way[1][0, 3:6] = 0.01 * ray, 0.01 * aside / np.linalg.norm(aside)
    along, across = (w.reshape(-1) @ belief.information @ w.reshape(-1) for w in way)
    assert across > 5.0 * along


def test_touching_offsets_between_two_spheres():
    def ball(x):
        return np.array([[x, 0.0, 0.0, 0.01], [x, 0.0, 0.001, 0.01]])

    pairs = np.array([[0, 1]])
    ways = touching_offsets(np.stack([ball(0.0), ball(0.005)]), pairs, np.array([1.0, 0.0, 0.0]), 0.0)
    np.testing.assert_allclose(ways, [-0.015, 0.025], atol=0.0011)
    ways = touching_offsets(np.stack([ball(0.0), ball(0.05)]), pairs, np.array([1.0, 0.0, 0.0]), 0.0)
    np.testing.assert_allclose(ways, [0.03, 0.07], atol=0.0011)
