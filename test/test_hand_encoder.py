"""The encoder in the pipeline: its predictions and the landmarks in the lifting, each by its precision."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from evidence import CAMERA, MODEL, hand, observe

from hand_recon_ros import Side, TwoHandReconstructor
from hand_recon_ros.config import ConfigError, ReconstructorConfig
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.encode.hand_encoder import HandEncoder, load_encoder
from hand_recon_ros.encode.outputs import HandOutputs
from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.landmarks.observation import EncoderPrediction, RotatedBox
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.models.export import export_onnx
from hand_recon_ros.skeleton import mirror_pixels, mirror_points
from hand_recon_ros.synthetic import clip_scenes, render_scene
from hand_recon_ros.track.locator import HandLocator
from hand_recon_ros.types import Frame

pytest.importorskip("onnx")
LIFTER = Lifter(MODEL, iterations=8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """An exported encoder that was not trained: it predicts about what the landmark network does."""
    torch.manual_seed(0)
    result = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    export_onnx(FusionAlignmentEncoder(EncoderConfig(width=32, heads=2), MODEL).eval(), result)
    return result


@pytest.fixture(scope="module")
def networks(path):
    return HandNetworks.load(ReconstructorConfig(encoder=str(path)))


@pytest.fixture(scope="module")
def scenes():
    return clip_scenes(MODEL, 40, 5, CAMERA)[1][:4]


@pytest.fixture(scope="module")
def frames(scenes):
    return [render_scene(scene, MODEL).image for scene in scenes]


def predicted(keypoints, sigma=0.5, distance_sigma=0.002, camera=CAMERA):
    """The prediction of an ideal encoder for keypoints (21, 3)."""
    return EncoderPrediction(
        presence=1.0, keypoints_2d=camera.project(keypoints), stddev_2d=np.full(21, sigma),
        joints=keypoints - keypoints[0], wrist=keypoints[0], wrist_stddev=distance_sigma, to_other=None,
        other_box=RotatedBox((0.0, 0.0), 1.0), other_visible=0.0,
    )  # fmt: skip


def misled(seed, side):
    """A hand, and landmarks of another one in its place with low confidence."""
    keypoints, other = hand(seed, side)[3], hand(seed + 100, side)[3]
    other = other - other.mean(axis=0) + keypoints.mean(axis=0)
    return keypoints, observe(other, side, joint_scores=np.full(21, 0.1), score=0.6)


@pytest.mark.parametrize("side", Side)
def test_a_certain_encoder_leads_where_landmarks_are_uncertain(side):
    for seed in range(5):
        keypoints, observation = misled(seed, side)
        (alone,) = LIFTER([observation], CAMERA)
        (fused,) = LIFTER([dataclasses.replace(observation, prediction=predicted(keypoints))], CAMERA)
        wrong, right = (np.linalg.norm(h.keypoints - keypoints, axis=-1).mean() for h in (alone, fused))
        assert right < 0.008 and right < 0.3 * wrong, seed
        np.testing.assert_allclose(fused.keypoints_2d, CAMERA.project(keypoints), atol=3.0)


def test_an_uncertain_encoder_changes_nothing():
    keypoints, observation = misled(1, Side.RIGHT)
    elsewhere = dataclasses.replace(predicted(keypoints, 1e6, 1e6), presence=0.0)
    (alone,) = LIFTER([observation], CAMERA)
    (fused,) = LIFTER([dataclasses.replace(observation, prediction=elsewhere)], CAMERA)
    np.testing.assert_allclose(fused.keypoints, alone.keypoints, atol=1e-6)


def test_the_predicted_distance_counts():
    keypoints = hand(2)[3]
    nearer = dataclasses.replace(predicted(keypoints), wrist=keypoints[0] * 0.95)
    (plain,), (moved,) = (LIFTER([observe(keypoints, Side.RIGHT, prediction=e)], CAMERA) for e in (None, nearer))
    assert np.linalg.norm(moved.keypoints[0]) < 0.98 * np.linalg.norm(plain.keypoints[0])
    assert moved.position_stddev < plain.position_stddev
    np.testing.assert_allclose(CAMERA.project(moved.keypoints), CAMERA.project(keypoints), atol=1.5)


@pytest.mark.parametrize("size", [-1.5, 1.5])
def test_the_predicted_distance_corrects_that_of_large_and_small_hands(size):
    """With the uncertainty that the encoder predicts for clear crops, 9 % of the distance."""
    rotations, _, translation, _ = hand(0, Side.RIGHT)
    keypoints, _ = MODEL.kinematics(Side.RIGHT).forward(rotations, size * np.eye(10)[0], translation)
    distance = np.linalg.norm(keypoints[0])
    prediction = predicted(keypoints, sigma=50.0, distance_sigma=0.09 * distance)
    errors = []
    for known in (None, prediction):
        (lifted,) = LIFTER([observe(keypoints, Side.RIGHT, prediction=known)], CAMERA)
        errors.append(abs(np.linalg.norm(lifted.keypoints[0]) - distance))
    assert errors[0] > 0.05 * distance and errors[1] < 0.6 * errors[0]


def test_mirror_images_give_mirrored_results(path, networks, scenes, frames):
    encoder = HandEncoder(EncoderSession(path, HandOutputs), networks)
    hands = {h.side: MODEL.kinematics(h.side).forward(h.rotations, h.betas, h.translation)[0] for h in scenes[0].hands}
    image = cv2.GaussianBlur(frames[0], (0, 0), 1.5)  # the crops of sharp ones differ by interpolation
    flipped = np.ascontiguousarray(image[:, ::-1])
    straight = encoder(image, [observe(hands[side], side) for side in Side], CAMERA)
    mirrored = encoder(flipped, [observe(mirror_points(hands[side.other]), side) for side in Side], CAMERA)
    for a, b in zip(straight, reversed(mirrored), strict=True):
        pixels = mirror_pixels(b.prediction.keypoints_2d, CAMERA.width)
        assert np.abs(pixels - a.prediction.keypoints_2d).max() < 0.02 * a.roi.size
        np.testing.assert_allclose(mirror_points(b.prediction.joints), a.prediction.joints, atol=0.005)
        np.testing.assert_allclose(mirror_points(b.prediction.wrist), a.prediction.wrist, atol=0.02)
        np.testing.assert_allclose(mirror_points(b.prediction.to_other), a.prediction.to_other, atol=0.02)


def test_an_encoder_of_crops_sees_a_gloved_hand_as_the_landmark_network_does(tmp_path, networks, scenes, frames):
    """Without colours where the hand was found so."""
    torch.manual_seed(0)
    path = tmp_path / "encoder.onnx"
    export_onnx(FusionAlignmentEncoder(EncoderConfig(width=32, heads=2, pretrained=False), MODEL).eval(), path)
    encoder = HandEncoder(EncoderSession(path, HandOutputs), networks)
    hand_scene = scenes[0].hands[0]
    keypoints = MODEL.kinematics(hand_scene.side).forward(
        hand_scene.rotations, hand_scene.betas, hand_scene.translation
    )[0]
    observation = observe(keypoints, hand_scene.side)
    grey = np.repeat(cv2.cvtColor(frames[0], cv2.COLOR_BGR2GRAY)[..., None], 3, axis=-1)
    (coloured,) = encoder(frames[0], [observation], CAMERA)
    (colourless,) = encoder(frames[0], [dataclasses.replace(observation, grey=True)], CAMERA)
    (expected,) = encoder(grey, [observation], CAMERA)
    pixels = [result.prediction.keypoints_2d for result in (coloured, colourless, expected)]
    assert np.abs(pixels[1] - pixels[2]).max() < 0.01 * observation.roi.size < np.abs(pixels[0] - pixels[2]).max() * 5


def test_crops_of_the_tracking_are_not_evaluated_again(path, networks, frames):
    """In a stream the encoder takes its features from the crops of the landmark network, also in the first image, in
    which every hand is evaluated twice."""
    counts, first = [], []

    class Counted:
        def __init__(self, session):
            self._session = session

        def __getattr__(self, name):
            return getattr(self._session, name)

        def run(self, count=1, fill=None, features=True):
            counts.append(count)
            return self._session.run(count, fill, features)

    counted = dataclasses.replace(networks, landmark=Counted(networks.landmark))
    config = ReconstructorConfig(encoder=str(path), smoothing_cutoff=0.0)
    reconstructor = TwoHandReconstructor(config, HandLocator(counted))
    for number, frame in enumerate(frames):
        counts.clear()
        estimate = reconstructor(frame, CAMERA, stamp=number / 30)
        first = first or list(counts)
    assert estimate.left.found and estimate.right.found
    assert first == [2, 2] and counts == [2]
    assert estimate.timings["encode"] > 0.0
    steps = ("locate", "encode", "lift", "smooth", "refine")
    assert sum(estimate.timings[name] for name in steps) == pytest.approx(estimate.timings["total"])
    plain = TwoHandReconstructor(dataclasses.replace(config, encoder="none"))
    for number, frame in enumerate(frames):
        expected = plain(frame, CAMERA, stamp=number / 30)
    for side in Side:
        apart = np.linalg.norm(estimate.hand(side).keypoints_2d - expected.hand(side).keypoints_2d, axis=-1)
        assert apart.mean() < 0.1 * np.ptp(expected.hand(side).keypoints_2d, axis=0).max()


def test_single_images_too(path, frames):
    reconstructor = TwoHandReconstructor.from_config(encoder=str(path))
    estimate = reconstructor.reconstruct_image(frames[0], CAMERA)
    assert estimate.left.found and estimate.right.found and estimate.timings["encode"] > 0.0


def test_nor_are_those_of_single_images(path, networks, frames, monkeypatch):
    """Also of a left hand, whose features are those of the mirrored crop."""
    evaluated = []
    stem = HandNetworks.stem

    def recorded(*args, **kwargs):
        evaluated.append(stem(*args, **kwargs))
        return evaluated[-1]

    monkeypatch.setattr(HandNetworks, "stem", recorded)
    config = ReconstructorConfig(encoder=str(path), detector="none", body="none")
    observations = HandLocator(networks).search(Frame(frames[0], CAMERA), config).observations
    encoder = HandEncoder(EncoderSession(path, HandOutputs), networks)
    kept = encoder(frames[0], observations, CAMERA)
    assert len(kept) == 2 and not evaluated
    again = encoder(frames[0], [dataclasses.replace(one, stem=None) for one in observations], CAMERA)
    assert len(evaluated) == 2
    for one, other in zip(kept, again, strict=True):
        assert np.abs(one.prediction.keypoints_2d - other.prediction.keypoints_2d).max() < 0.05 * one.roi.size


def test_what_is_no_encoder_is_refused(networks, tmp_path):
    with pytest.raises(ConfigError, match=r"encoder must be 'none'.*got 'larg'"):
        load_encoder(ReconstructorConfig(encoder="larg"), networks)
    with pytest.raises(ConfigError, match="no_such"):
        load_encoder(ReconstructorConfig(encoder=str(tmp_path / "no_such.onnx")), networks)


@pytest.mark.parametrize("side", Side)
def test_a_hand_found_without_colours_is_encoded_without_them(path, networks, scenes, frames, side):
    encoder = HandEncoder(EncoderSession(path, HandOutputs), networks)
    shown = {h.side: h for h in scenes[0].hands}[side]
    points = MODEL.kinematics(side).forward(shown.rotations, shown.betas, shown.translation)[0]
    seen = observe(points, side)
    image = frames[0]
    colourless = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=-1)
    (coloured,), (grey,), (expected,) = (
        encoder(picture, [dataclasses.replace(seen, grey=flag)], CAMERA)
        for picture, flag in ((image, False), (image, True), (colourless, False))
    )
    np.testing.assert_allclose(grey.prediction.joints, expected.prediction.joints, atol=2e-3)
    assert np.abs(coloured.prediction.joints - expected.prediction.joints).max() > 1e-5
