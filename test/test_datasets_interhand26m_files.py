"""Miniatures of InterHand2.6M come back as they were."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera, Side
from hand_recon_ros.datasets.annotated import annotated_sample
from hand_recon_ros.datasets.interhand26m import FRAME_RATE, InterHand26M
from hand_recon_ros.datasets.interhand26m_files import IMAGE_RATE, write_interhand26m
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.miniatures import clip_samples
from hand_recon_ros.synthetic.sample_stream import SampleStream


@pytest.fixture(scope="module")
def rendered():
    stream = SampleStream("test", 0, load_hand_model())
    return [stream.frame(number, 256, 192) for number in (0, 1, 6, 9)]


@pytest.fixture(scope="module")
def miniature(tmp_path_factory, rendered):
    root = tmp_path_factory.mktemp("miniature")
    assert write_interhand26m(rendered, root, load_hand_model(), "val", seed=3) == 4
    return root


def test_a_miniature_comes_back_as_it_was(miniature, rendered):
    model = load_hand_model()
    dataset = InterHand26M(miniature, "val", model, truncated=True)
    assert len(dataset) == 4
    assert {dataset.entry(i).capture for i in range(4)} == {0, 1}
    assert len({dataset.entry(i).camera for i in range(4)}) == 4
    assert {tuple(sample.present) for sample in rendered} == {(True, False), (True, True)}
    for index, (sample, again) in enumerate(zip(rendered, dataset, strict=True)):
        np.testing.assert_array_equal(again.present, sample.present)
        np.testing.assert_array_equal(again.camera.K, sample.camera.K)
        assert not np.any(again.camera.D)
        for name in ("joints", "rotations", "betas", "translation"):
            np.testing.assert_allclose(getattr(again, name), getattr(sample, name), atol=1e-12, err_msg=name)
        for side in Side:
            if sample.present[side]:
                mesh = model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
                np.testing.assert_allclose(again.vertices[side], mesh, atol=1e-6)
            else:
                assert np.isnan(again.vertices[side]).all()
        np.testing.assert_array_equal(again.keypoint_visible, dataset.entry(index).joint_valid)
        box, seen = dataset.entry(index).box, again.keypoints_2d[again.keypoint_visible]
        np.testing.assert_allclose(box[:2] + 0.1 / 1.2 * (box[2:] - box[:2]), seen.min(axis=0))
        if not np.any(sample.camera.D):
            assert np.abs(again.image.astype(int) - sample.image).mean() < 4
    assert [sample.arrangement for sample in dataset] == ["left", "interacting", "interacting", "interacting"]


def test_the_world_of_a_miniature_is_not_a_camera(miniature):
    cameras = json.loads((miniature / "annotations/val/InterHand2.6M_val_camera.json").read_text())
    for capture in cameras.values():
        for rotation in capture["camrot"].values():
            turn = np.degrees(np.arccos((np.trace(rotation) - 1.0) / 2.0))
            assert turn > 5.0
            np.testing.assert_allclose(np.array(rotation) @ np.transpose(rotation), np.eye(3), atol=1e-12)
        assert all(np.linalg.norm(position) > 300.0 for position in capture["campos"].values())


def test_the_subset_of_a_miniature(miniature):
    dataset = InterHand26M(miniature, "val", subset="human_annot")
    assert [dataset.entry(i).capture for i in range(len(dataset))] == [0, 0]


def test_a_sequence_is_of_one_camera_and_comes_back(tmp_path, rendered):
    model = load_hand_model()
    clip = list(clip_samples(5, 2, model, IMAGE_RATE))
    assert write_interhand26m(rendered[:3], tmp_path, model, sequence=clip) == 8
    dataset = InterHand26M(tmp_path, hand_model=model, truncated=True)
    assert (3, 4, 5, 6, 7) in dataset.sequences()
    entries = [dataset.entry(index) for index in range(3, 8)]
    assert {(entry.capture, entry.sequence, entry.camera) for entry in entries} == {
        (0, entries[0].sequence, entries[0].camera)
    }
    assert np.diff([entry.frame for entry in entries]).tolist() == [FRAME_RATE / IMAGE_RATE] * 4
    moved = []
    for index, sample in enumerate(clip):
        again = dataset[3 + index]
        np.testing.assert_allclose(again.joints, sample.joints, atol=1e-12)
        for side in Side:  # the keypoints are those of the pose
            mesh = model.mesh(side, again.rotations[side], again.betas[side], again.translation[side])
            np.testing.assert_allclose(again.vertices[side], mesh, atol=1e-6)
            kinematics = model.kinematics(side)
            joints, _ = kinematics.forward(again.rotations[side], again.betas[side], again.translation[side])
            np.testing.assert_allclose(again.joints[side], joints, atol=1e-4)
        moved.append(again.joints[:, 0])
    assert (np.linalg.norm(np.diff(moved, axis=0), axis=-1) > 1e-3).all()


def test_equal_seeds_write_equal_files(tmp_path, rendered):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_interhand26m(rendered[:2], tmp_path / folder, load_hand_model(), seed=seed)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 8
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    camera = "annotations/test/InterHand2.6M_test_camera.json"
    assert (tmp_path / "a" / camera).read_bytes() != (tmp_path / "c" / camera).read_bytes()


def small_sample(camera: Camera, image: np.ndarray, joints: np.ndarray):
    return annotated_sample(image, camera, joints, "made")


def test_lens_distortion_is_taken_out_of_the_image(tmp_path):
    K = np.array([[200.0, 0, 100], [0, 200, 80], [0, 0, 1]])
    camera = Camera(K, 200, 160, "plumb_bob", [-0.25, 0.05, 0.0, 0.0, 0.0])
    joints = np.full((2, 21, 3), np.nan)
    joints[Side.RIGHT] = [0.18, 0.12, 0.5]
    pixel = camera.project(joints[Side.RIGHT, 0])
    image = np.zeros((160, 200, 3), np.uint8)
    cv2.circle(image, tuple(int(round(c)) for c in pixel), 4, (255, 255, 255), -1)
    write_interhand26m([small_sample(camera, image, joints)], tmp_path, load_hand_model())
    again = InterHand26M(tmp_path)[0]
    bright = np.argwhere(again.image[..., 0] > 128)[:, ::-1].mean(axis=0)
    assert np.linalg.norm(pixel - again.keypoints_2d[Side.RIGHT, 0]) > 3.0
    np.testing.assert_allclose(bright, again.keypoints_2d[Side.RIGHT, 0], atol=0.7)


def test_cameras_are_shared_and_joints_may_be_missing(tmp_path):
    camera = Camera(np.array([[200.0, 0, 100], [0, 210, 80], [0, 0, 1]]), 200, 160)
    joints = np.random.default_rng(0).normal(0.0, 0.05, (2, 21, 3)) + [0, 0, 0.6]
    joints[Side.RIGHT, 3] = np.nan
    samples = [small_sample(camera, np.zeros((160, 200, 3), np.uint8), joints) for _ in range(3)]
    write_interhand26m(samples, tmp_path, load_hand_model(), captures=2)
    dataset = InterHand26M(tmp_path, hand_model=load_hand_model(), truncated=True)
    assert dataset.entry(0).camera == dataset.entry(2).camera != dataset.entry(1).camera
    for sample in dataset:
        np.testing.assert_allclose(sample.joints, joints, atol=1e-12)
        assert np.isnan(sample.rotations).all() and sample.vertices is not None


def test_what_cannot_be_written(tmp_path):
    empty = small_sample(
        Camera(np.diag([90.0, 90, 1]), 8, 8), np.zeros((8, 8, 3), np.uint8), np.full((2, 21, 3), np.nan)
    )
    assert write_interhand26m([empty], tmp_path, load_hand_model()) == 0
    skewed = Camera(np.array([[90.0, 1, 4], [0, 90, 4], [0, 0, 1]]), 8, 8)
    joints = np.tile([0.0, 0.0, 0.5], (2, 21, 1))
    with pytest.raises(ValueError, match="no skew"):
        write_interhand26m([small_sample(skewed, empty.image, joints)], tmp_path, load_hand_model())
    with pytest.raises(ValueError, match="got 'all' and 2"):
        write_interhand26m([], tmp_path, load_hand_model(), split="all")
