"""The stream of training samples: numbers, splits, labels and subsets."""

from __future__ import annotations

import collections
import dataclasses
import functools

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.datasets import Sample
from hand_recon_ros.detect.duplicates import box_overlap
from hand_recon_ros.geometry.mesh_queries import TOUCHING
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.skeleton import wrist_rotation
from hand_recon_ros.synthetic.arrangements import ARRANGEMENTS, SINGLE, arrange_hands
from hand_recon_ros.synthetic.identities import PEOPLE, identity, split_of
from hand_recon_ros.synthetic.occluders import SceneObject
from hand_recon_ros.synthetic.overlap import ShiftedMeshes, vertex_distance
from hand_recon_ros.synthetic.preview import contact_sheet
from hand_recon_ros.synthetic.sample_rendering import hidden_keypoints, render_crop, render_frame
from hand_recon_ros.synthetic.sample_stream import BOX_OVERLAP, OCCLUDED_JOINTS, SampleStream
from hand_recon_ros.synthetic.training_scenes import TrainingScene, arrangement_of, sample_scene
from hand_recon_ros.synthetic.viewpoints import sample_camera

MODEL = load_hand_model()
COUNT = 40


@functools.cache
def scenes() -> tuple[TrainingScene, ...]:
    return tuple(sample_scene(5, "train", i, MODEL) for i in range(COUNT))


@functools.cache
def samples() -> tuple[Sample, ...]:
    return tuple(render_crop(scene, MODEL) for scene in scenes())


def same(a: Sample, b: Sample) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name not in ("image", "labels"))
        for name in ("image", "labels", "depth", "joints", "keypoints_2d", "rotations", "betas", "occluded")
    )


def test_a_sample_depends_on_split_seed_and_number_only() -> None:
    stream = SampleStream("train", 5, MODEL)
    assert same(stream[7], samples()[7])
    worker = iter(SampleStream("train", 5, MODEL, start=1, step=3))
    assert same(next(worker), samples()[1]) and same(next(worker), samples()[4])
    assert not same(SampleStream("train", 6, MODEL)[7], samples()[7])
    assert not same(SampleStream("val", 5, MODEL)[7], samples()[7])
    assert samples()[7].name == "synthetic/train/5/7"


def test_invalid_arguments_raise() -> None:
    with pytest.raises(ValueError, match="unknown split 'holdout', expected one of: train, val"):
        SampleStream("holdout")
    with pytest.raises(ValueError, match="step >= 1"):
        SampleStream("train", step=0)
    with pytest.raises(IndexError, match="numbered from 0"):
        SampleStream("train")[-1]


def test_nobody_is_in_two_splits() -> None:
    people = {
        split: {sample_scene(3, split, number, MODEL).person.number for number in range(0, 24000, 800)}
        for split in PEOPLE
    }
    for split, numbers in people.items():
        assert len(numbers) > 8
        assert {split_of(number) for number in numbers} == {split}
    appearances = {identity(n).appearance.seed for numbers in people.values() for n in numbers}
    assert len(appearances) == sum(map(len, people.values()))
    with pytest.raises(ValueError, match="belongs to no split"):
        split_of(9000)


def test_arrangements_and_sides_occur_as_often_as_they_should() -> None:
    counts = collections.Counter(arrangement_of("train", 1, i) for i in range(1500))
    assert set(counts) == set(ARRANGEMENTS)
    assert abs(counts["left only"] - counts["right only"]) < 0.35 * counts["left only"]
    for name, share in ARRANGEMENTS.items():
        assert abs(counts[name] / 1500 - share) < 0.035


def test_samples_are_complete_and_consistent() -> None:
    for scene, sample in zip(scenes(), samples(), strict=True):
        height, width = sample.image.shape[:2]
        assert sample.image.dtype == np.uint8 and sample.camera.matches(sample.image)
        assert height * width <= 320 * 320 * 1.02 and max(height, width) <= 576
        assert sample.labels.shape == sample.depth.shape == (height, width)
        assert sample.labels.max() <= 3 and np.array_equal(np.isinf(sample.depth), sample.labels == 0)
        assert sample.present.tolist() == [side in {hand.side for hand in scene.hands} for side in Side]
        for name in ("rotations", "betas", "translation", "joints", "keypoints_2d"):
            values = getattr(sample, name)
            assert np.isfinite(values[sample.present]).all() and np.isnan(values[~sample.present]).all()
        assert not (sample.keypoint_visible & sample.occluded).any()
        assert not (sample.keypoint_visible | sample.occluded)[~sample.present].any()
    assert np.median([sample.image.std() for sample in samples()]) > 20


def test_joints_are_the_hand_models_and_pixels_the_cameras() -> None:
    for sample in samples():
        for side in np.flatnonzero(sample.present):
            kinematics = MODEL.kinematics(Side(side))
            joints, _ = kinematics.forward(sample.rotations[side], sample.betas[side], sample.translation[side])
            assert np.allclose(joints, sample.joints[side], atol=1e-9)
            assert np.allclose(kinematics.clamp_rotations(sample.rotations[side]), sample.rotations[side], atol=1e-6)
        assert np.allclose(sample.camera.project(sample.joints), sample.keypoints_2d, equal_nan=True)
        # The crop's pixels have the frame's rays.
        pixels = sample.frame_camera.project(sample.joints[sample.present])
        rays = sample.camera.unproject(sample.keypoints_2d[sample.present])
        assert np.allclose(sample.frame_camera.unproject(pixels), rays)


def test_labels_and_depth_agree_with_the_hand_meshes() -> None:
    for scene, sample in zip(scenes(), samples(), strict=True):
        for hand in scene.hands:
            vertices = MODEL.mesh(hand.side, hand.rotations, hand.betas, hand.translation).astype(float)
            pixels = sample.camera.project(vertices)
            rows, columns = np.nonzero(sample.labels == hand.side + 1)
            # The rendered surface is rounder than the mesh whose vertices it contains.
            low, high = pixels.min(axis=0) - 2.5, pixels.max(axis=0) + 2.5
            assert columns.min() > low[0] and columns.max() < high[0] and rows.min() > low[1] and rows.max() < high[1]
            depth = sample.depth[rows, columns]
            assert depth.min() > vertices[:, 2].min() - 0.002 and depth.max() < vertices[:, 2].max() + 0.002
        for side in np.flatnonzero(sample.present):
            seen = sample.keypoint_visible[side]
            columns, rows = np.rint(sample.keypoints_2d[side, seen]).astype(int).T
            own = sample.labels[rows, columns] == side + 1
            # At times the wrist is under the forearm's skin, and a tip on the edge of the hand.
            assert own.mean() > 0.75 if seen.sum() > 5 else True


def test_an_occluded_keypoint_is_behind_another_hand_or_an_object() -> None:
    hidden = 0
    for sample in samples():
        for side in np.flatnonzero(sample.present):
            columns, rows = np.rint(sample.keypoints_2d[side, sample.occluded[side]]).astype(int).T
            assert (sample.depth[rows, columns] < sample.joints[side, sample.occluded[side], 2]).all()
            assert not (sample.labels[rows, columns] == side + 1).any()
            hidden += len(rows)
    assert hidden > 50


def board(scene: TrainingScene, depth: float) -> SceneObject:
    """A board across the whole view at a depth, metres."""
    material = {"colour": (200.0, 40.0, 40.0), "gloss": 0.0, "pattern": (0.0, 50.0), "seed": 1}
    return SceneObject(np.array([0, 0, depth]), np.eye(3), np.array([0.6, 0.6, 0.002]), (0.1, 0.1), **material)


def test_a_board_in_front_hides_everything_and_one_behind_nothing() -> None:
    scene = next(s for s in scenes() if len(s.hands) == 1 and (s.joints[s.hands[0].side, :, 2] > 0.2).all())
    scene = dataclasses.replace(scene, objects=())
    side = scene.hands[0].side
    free = render_crop(scene, MODEL)
    assert not free.occluded.any() and free.keypoint_visible[side].sum() > 5
    z = scene.joints[side, :, 2]
    front = render_crop(dataclasses.replace(scene, objects=(board(scene, z.min() - 0.08),)), MODEL)
    assert not front.keypoint_visible.any() and not (front.labels == side + 1).any()
    inside = np.all(
        (free.keypoints_2d[side] > 1) & (free.keypoints_2d[side] < np.array(free.labels.T.shape) - 2), axis=1
    )
    frame = scene.camera.project(scene.joints[side])
    inside &= np.all((frame > 1) & (frame < (scene.camera.width - 2, scene.camera.height - 2)), axis=1)
    assert front.occluded[side][inside].all()
    behind = render_crop(dataclasses.replace(scene, objects=(board(scene, z.max() + 0.3),)), MODEL)
    assert np.array_equal(behind.keypoint_visible, free.keypoint_visible) and not behind.occluded.any()
    assert np.array_equal(behind.labels == side + 1, free.labels == side + 1)


def test_nothing_is_visible_outside_the_frame() -> None:
    cut = dataclasses.replace(scenes()[0], camera=dataclasses.replace(scenes()[0].camera, width=40, height=30))
    sample = render_crop(cut, MODEL)
    pixels = cut.camera.project(cut.joints)
    outside = ~np.all((pixels > -0.5) & (pixels < (39.5, 29.5)), axis=-1)
    assert not (sample.keypoint_visible | sample.occluded)[outside].any()
    assert (sample.image[sample.labels == 0] == 0).mean() > 0.5


def test_some_lenses_distort_and_bend_images_as_they_bend_keypoints() -> None:
    distorted = [scene for scene in scenes() if np.any(scene.camera.D)]
    assert 3 <= len(distorted) <= 16
    shifts = []
    for scene in distorted:
        assert scene.camera.distortion_model == "plumb_bob" and np.array_equal(scene.crop_camera.D, scene.camera.D)
        sample = render_crop(dataclasses.replace(scene, objects=(), accessories=()), MODEL)
        pinhole = dataclasses.replace(sample.camera, distortion_model="none", D=np.zeros(0))
        shifts.append(np.nanmax(np.abs(pinhole.project(sample.joints) - sample.keypoints_2d)))
        if len(scene.hands) > 1:
            continue
        (hand,) = scene.hands
        vertices = MODEL.mesh(hand.side, hand.rotations, hand.betas, hand.translation).astype(float)
        columns, rows = np.rint(sample.camera.project(vertices)).astype(int).T
        height, width = sample.labels.shape
        inside = (columns > 1) & (rows > 1) & (columns < width - 2) & (rows < height - 2)
        # Labels of the hand, or of its arm in front of it.
        assert (sample.labels[rows[inside], columns[inside]] > 0).mean() > 0.93
    assert max(shifts) > 5.0


def test_lens_distortion_is_invertible_around_the_frame() -> None:
    rng = np.random.default_rng(8)
    cameras = [camera for camera, _ in (sample_camera(rng) for _ in range(400)) if np.any(camera.D)]
    assert 0.12 < len(cameras) / 400 < 0.28
    for camera in cameras:
        border = np.array([[0.0, 0.0], [camera.width, 0.0], [0.0, camera.height], [camera.width, camera.height]])
        rays = camera.unproject(border)
        assert np.allclose(camera.project(rays), border, atol=1e-3)
        # Beyond the corners pixels are farther from the centre.
        outer = camera.project(rays * (1.15, 1.15, 1.0)) - camera.K[:2, 2]
        assert (np.linalg.norm(outer, axis=1) > np.linalg.norm(border - camera.K[:2, 2], axis=1)).all()


def test_the_frame_shows_the_same_scene() -> None:
    scene, crop = scenes()[0], samples()[0]
    frame = render_frame(scene, MODEL, 256, 192)
    assert max(frame.image.shape[0] / 192, frame.image.shape[1] / 256) == 1.0
    assert np.allclose(frame.joints, crop.joints, equal_nan=True)
    scale = np.array([frame.camera.width / scene.camera.width, frame.camera.height / scene.camera.height])
    expected = (scene.camera.project(scene.joints) + 0.5) * scale - 0.5
    assert np.allclose(frame.keypoints_2d, expected, equal_nan=True)


def test_hands_do_not_go_through_each_other() -> None:
    rng = np.random.default_rng(2)
    distances = collections.defaultdict(list)
    for name in ARRANGEMENTS:
        for _ in range(6 if name not in SINGLE else 0):
            placed = arrange_hands(name, rng, MODEL, np.zeros((2, 10)))
            meshes = [MODEL.mesh(s, placed.rotations[s], np.zeros(10), placed.translation[s]) for s in Side]
            pair = ShiftedMeshes(meshes[0], MODEL.faces(Side.LEFT), meshes[1], MODEL.faces(Side.RIGHT))
            assert pair.depth(np.zeros(3)) < 0.0045, name
            distances[name].append(vertex_distance(*meshes))
    for name in ("clasped", "palm to palm", "finger on palm", "fist in hand", "fingertips", "interlaced"):
        assert np.median(distances[name]) < TOUCHING, name
    assert np.median(distances["apart"]) > 0.03


def test_all_orientations_occur() -> None:
    frames = [
        wrist_rotation(scene.joints[hand.side], hand.side == Side.RIGHT) for scene in scenes() for hand in scene.hands
    ]
    backs, fingers = np.array(frames)[:, :, 2], np.array(frames)[:, :, 0]
    for values in (backs[:, 2], fingers[:, 1], fingers[:, 0]):
        assert values.min() < -0.7 and values.max() > 0.7
    assert (np.abs(backs[:, 2]) < 0.4).mean() > 0.1


def test_occluded_and_interacting_subsets_meet_their_definitions() -> None:
    for number in range(3):
        scene = SampleStream("test-occluded", 0, MODEL).scene(number)
        sample = render_crop(scene, MODEL)
        assert (sample.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any()
        assert np.array_equal(hidden_keypoints(scene, MODEL), sample.occluded)
        assert scene.split == "test" and scene.number // 64 == number
        assert same(SampleStream("test", 0, MODEL)[scene.number], sample)
    for number in range(5):
        scene = SampleStream("test-interacting", 0, MODEL).scene(number)
        assert len(scene.hands) == 2 and split_of(scene.person.number) == "test"
        meshes = [MODEL.mesh(h.side, h.rotations, h.betas, h.translation) for h in scene.hands]
        overlap = box_overlap(scene.camera.project(scene.joints))
        assert vertex_distance(*meshes) < TOUCHING or overlap >= BOX_OVERLAP


def test_boxes_overlap_by_the_share_of_the_smaller_one() -> None:
    pixels = np.zeros((2, 21, 2))
    pixels[0, 1], pixels[1], pixels[1, 1] = (10, 10), (5, 0), (9, 5)
    assert box_overlap(pixels) == pytest.approx(1.0)
    pixels[1] += (3, 0)
    assert box_overlap(pixels) == pytest.approx(0.5)


def test_a_contact_sheet_shows_every_sample() -> None:
    sheet = contact_sheet(samples()[:5], columns=3, cell=100)
    assert sheet.shape == (400, 300, 3) and sheet[:100, :100].std() > 5
