"""Rings and watches: on the skin, part of their hand, in front of none of its keypoints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.accessories import Accessory, accessories_of
from hand_recon_ros.synthetic.accessory_fitting import PosedBand, pose_accessory
from hand_recon_ros.synthetic.identities import identity
from hand_recon_ros.synthetic.sample_rendering import render_crop
from hand_recon_ros.synthetic.scene import HandPose, Limb, pose_limb
from hand_recon_ros.synthetic.training_scenes import TrainingScene, sample_scene

MODEL = load_hand_model()
THICKNESS = 0.0015


def ring(side: Side, finger: int) -> Accessory:
    return Accessory(side, finger, 0.5, 0.004, THICKNESS, (212, 175, 85), 0.9)


def watch(side: Side) -> Accessory:
    case = (0.017, 0.017, 0.004)
    return Accessory(side, None, 0.02, 0.018, 0.0025, (40, 40, 40), 0.3, case=case, dial=(240, 240, 240))


def scenes() -> list[TrainingScene]:
    """Scenes of bare hands of several people in several poses."""
    candidates = (sample_scene(4, "train", 137 * i, MODEL) for i in range(100))
    return [s for s in candidates if s.person.appearance.glove is None and s.person.sleeve > 0.08][:6]


def limbs() -> list[Limb]:
    return [pose_limb(hand, MODEL) for scene in scenes() for hand in scene.hands]


@pytest.mark.parametrize("finger", range(5))
def test_a_ring_lies_on_the_skin_around_its_bone(finger: int) -> None:
    first = 2 if finger == 0 else 1 + 4 * finger
    for limb in limbs():
        (band,) = pose_accessory(ring(limb.pose.side, finger), limb, MODEL)
        a, b = limb.joints[first], limb.joints[first + 1]
        axis = (b - a) / np.linalg.norm(b - a)
        offset = band.surface().vertices - a
        along = offset @ axis
        radius = np.linalg.norm(offset - along[:, None] * axis, axis=1)
        # Around the bone between its ends, no wider than a finger.
        assert along.min() > 0.1 * np.linalg.norm(b - a) and along.max() < 1.1 * np.linalg.norm(b - a)
        assert 0.004 < radius.min() and radius.max() < 0.018


@pytest.mark.parametrize("side", Side)
def test_the_crest_of_a_ring_is_its_thickness_away_from_the_skin(side: Side) -> None:
    rng = np.random.default_rng(0)
    # Fingers that do not touch: the nearest skin is that of the ring's own finger.
    flat = np.broadcast_to(np.eye(3), (16, 3, 3))
    for finger in range(5):
        limb = pose_limb(HandPose(side, flat, rng.normal(0, 1, 10), np.array([0.0, 0.0, 0.5])), MODEL)
        (band,) = pose_accessory(ring(side, finger), limb, MODEL)
        crest = band.surface().vertices.reshape(5, -1, 3)[2]
        distance = np.linalg.norm(crest[:, None] - limb.surface.vertices, axis=-1).min(axis=1)
        # Measured to vertices of the skin, which are a few millimetres apart.
        assert 0.8 * THICKNESS < distance.min() and distance.max() < THICKNESS + 0.003


def test_normals_of_a_band_point_outwards() -> None:
    for limb in limbs():
        for accessory in (ring(limb.pose.side, 3), watch(limb.pose.side)):
            surface = pose_accessory(accessory, limb, MODEL)[0].surface()
            rows = surface.vertices.reshape(5, -1, 3)
            outwards = rows[2] - rows[2].mean(axis=0)
            assert (np.einsum("nc,nc->n", outwards, surface.normals.reshape(5, -1, 3)[2]) > 0).all()


def test_a_watch_is_on_the_back_of_the_forearm() -> None:
    for limb in limbs():
        band, case, dial = pose_accessory(watch(limb.pose.side), limb, MODEL)
        assert {piece.owner for piece in (band, case, dial)} == {int(limb.pose.side) + 2}
        assert not isinstance(case, PosedBand) and not isinstance(dial, PosedBand)
        middle = band.surface().vertices.mean(axis=0)
        assert np.linalg.norm(middle - limb.joints[0]) < 0.06
        assert 0.015 < np.linalg.norm(case.centre - middle) < 0.035
        assert np.linalg.norm(dial.centre - middle) > np.linalg.norm(case.centre - middle)


def test_accessories_belong_to_their_hand_and_hide_none_of_its_keypoints() -> None:
    changed = 0
    for scene in scenes():
        sides = [hand.side for hand in scene.hands]
        bare = dataclasses.replace(scene, accessories=(), objects=())
        rings = tuple(ring(side, finger) for side in sides for finger in range(5))
        without, with_rings = render_crop(bare, MODEL), render_crop(dataclasses.replace(bare, accessories=rings), MODEL)
        with_watch = render_crop(dataclasses.replace(bare, accessories=tuple(map(watch, sides))), MODEL)
        for sample in (with_rings, with_watch):
            # A ring or watch may hide the other hand's keypoints, but not by more than its thickness.
            assert (sample.occluded != without.occluded).sum() <= 1
            assert np.array_equal(sample.keypoints_2d, without.keypoints_2d, equal_nan=True)
        # Rings are labelled as the hand: only a rim of the silhouette is new.
        assert (with_rings.labels != without.labels).mean() < 0.01
        for side in sides:
            lost = (without.labels == side + 1) & (with_watch.labels != side + 1)
            assert lost.sum() <= 0.2 * (without.labels == side + 1).sum()
        changed += int((np.abs(with_rings.image.astype(int) - without.image).max(axis=-1) > 40).sum())
    assert changed > 100


def test_an_eighth_of_the_hands_has_accessories_and_a_person_always_the_same() -> None:
    worn = [accessories_of(identity(number)) for number in range(1500)]
    share = sum(len({accessory.side for accessory in accessories}) for accessories in worn) / 3000
    assert 0.09 < share < 0.16
    assert any(a.finger is None for accessories in worn for a in accessories)
    accessories_of.cache_clear()
    assert worn[:50] == [accessories_of(identity(number)) for number in range(50)]
    for number, accessories in enumerate(worn):
        assert not accessories or identity(number).appearance.glove is None
