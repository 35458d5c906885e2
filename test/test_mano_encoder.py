"""HaMeR and WiLoR in the pipeline: crops, metric translation, mirror images, and a pair of hands from end to end."""

import dataclasses
import os

import cv2
import numpy as np
import pytest
import torch
from evidence import CAMERA, observe
from hand_checkpoints import official_state, small_network, write_checkpoint, write_mano
from scipy.spatial.transform import Rotation

from hand_recon_ros import Camera, Side, TwoHandReconstructor
from hand_recon_ros.config import ConfigError, ReconstructorConfig
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.encode.hand_encoder import load_encoder
from hand_recon_ros.encode.mano_crop import ManoCrop
from hand_recon_ros.encode.mano_encoder import ManoEncoder, load_pose_network, mano_keypoints, mano_mesh
from hand_recon_ros.geometry.rotations import rotations_towards
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.hand_model.order import FROM_MANO, TO_MANO
from hand_recon_ros.hand_model.refit import HandRefit, turned_offsets
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.lift.shape_prior import ShapePrior
from hand_recon_ros.models.checkpoint_import import import_checkpoint
from hand_recon_ros.models.hand_networks import HandNetwork, HandPose
from hand_recon_ros.runtime.sessions import SessionError
from hand_recon_ros.skeleton import TIPS, mirror_pixels, mirror_points, mirror_rotations
from hand_recon_ros.synthetic import clip_scenes, render_scene
from hand_recon_ros.track.locator import HandLocator

PUBLISHED = {"hamer": 0.0060, "wilor": 0.0055}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def mano_path(folder):
    return write_mano(folder)


@pytest.fixture(scope="module")
def mano(mano_path):
    return load_hand_model(mano_path)


@pytest.fixture(scope="module")
def networks():
    return HandNetworks.load(ReconstructorConfig(encoder="none"))


@pytest.fixture(scope="module", params=["hamer", "wilor"])
def encoder_path(request, folder):
    state = official_state(small_network(request.param))
    return import_checkpoint(write_checkpoint(folder / f"{request.param}.ckpt", state)).path


@pytest.fixture(scope="module")
def scene():
    return clip_scenes(load_hand_model(), 40, 5, CAMERA)[1][0]


class Exact:
    """A network whose predictions are given, in the order of the crops."""

    name = "hamer"

    def __init__(self, poses):
        self._poses = poses

    def __call__(self, crops):
        assert crops.shape == (len(self._poses), 256, 256, 3) and crops.dtype == np.uint8
        parts = [
            np.stack([getattr(pose, field.name) for pose in self._poses]) for field in dataclasses.fields(HandPose)
        ]
        return HandPose(*parts)


def exact_pose(rotations, betas, translation, seen, camera):
    """What a perfect network would predict of a hand of MANO in the crop of an observation.

    By the published formula of the crop's camera: t = (tx + 2 (x - px) / (b s), ty + 2 (y - py) / (b s), 2 f / (b s)),
    and with the orientation as a camera sees it that looks at the hand.
    """
    mirrored = seen.shown_side == Side.LEFT
    if mirrored:
        rotations, translation = mirror_rotations(rotations), mirror_points(translation)
    crop = ManoCrop.around(seen.keypoints_2d, mirrored)
    x, y = crop.center
    px, py, f = camera.K[0, 2], camera.K[1, 2], camera.K[0, 0]
    offset = np.array([px - x if mirrored else x - px, y - py])
    scale = 2.0 * f / (crop.size * translation[2])
    place = translation[:2] - 2.0 * offset / (crop.size * scale)
    rotations = rotations.copy()
    rotations[0] = rotations_towards(np.array([[*(offset / f), 1.0]]))[0].T @ rotations[0]
    return HandPose(rotations[TO_MANO], betas, np.array([scale, *place]))


def posed(model, seed, side, at):
    """A hand of a model with bent fingers: rotations, betas, translation, keypoints (21, 3)."""
    generator = np.random.default_rng(seed)
    kinematics = model.kinematics(side)
    angles = np.zeros((16, 3))
    angles[1:, 0] = generator.uniform(0.0, 0.8, 15)
    angles[1:4] *= 0.4
    rotations = kinematics.rotations_of(kinematics.clamp_angles(angles))
    rotations[0] = Rotation.random(random_state=seed).as_matrix()
    betas = generator.normal(0, 0.5, 10)
    keypoints, _ = kinematics.forward(rotations, betas, np.zeros(3))
    translation = np.asarray(at) - keypoints.mean(axis=0)
    return rotations, betas, translation, keypoints + translation


CAMERAS = [CAMERA, Camera(K=np.array([[900.0, 0, 700.0], [0, 900.0, 300.0], [0, 0, 1]]), width=1280, height=720)]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("side", Side)
def test_exact_outputs_give_the_exact_hand(camera, side, mano):
    for seed, at in enumerate(((0.0, 0.0, 0.5), (0.18, -0.1, 0.6), (-0.25, 0.12, 0.9), (0.1, 0.05, 1.6))):
        rotations, betas, translation, keypoints = posed(mano, seed, side, at)
        seen = observe(keypoints, side, camera, score=0.9)
        exact = Exact([exact_pose(rotations, betas, translation, seen, camera)])
        image = np.zeros((camera.height, camera.width, 3), dtype=np.uint8)
        (result,) = ManoEncoder(exact, None, mano)(image, [seen], camera)
        prediction = result.prediction
        np.testing.assert_allclose(prediction.wrist, keypoints[0], atol=1e-6)
        np.testing.assert_allclose(prediction.joints, keypoints - keypoints[0], atol=1e-6)
        assert prediction.presence == 0.9 and prediction.to_other is None and prediction.other_visible == 0.0
        assert prediction.wrist_stddev == pytest.approx(0.06 * np.linalg.norm(keypoints[0]))
        # An isotropic error of 6 mm on average, at the hand's distance.
        expected = 0.006 / 1.5958 * camera.K[0, 0] / translation[2]
        np.testing.assert_allclose(prediction.stddev_2d, np.full(21, expected), rtol=1e-3)
        assert result.keypoints_2d is seen.keypoints_2d


@pytest.mark.parametrize("side", Side)
def test_pixels_are_those_of_a_long_lens(side, mano):
    """The networks' camera has 20 times the crop's size as focal length: seen from afar the hand is where it is."""
    camera = Camera(K=np.array([[20000.0, 0, 320.0], [0, 20000.0, 240.0], [0, 0, 1]]), width=640, height=480)
    rotations, betas, translation, keypoints = posed(mano, 3, side, (0.05, -0.03, 20.0))
    seen = observe(keypoints, side, camera)
    exact = Exact([exact_pose(rotations, betas, translation, seen, camera)])
    (result,) = ManoEncoder(exact, None, mano)(np.zeros((480, 640, 3), np.uint8), [seen], camera)
    np.testing.assert_allclose(result.prediction.keypoints_2d, camera.project(keypoints), atol=0.5)


def test_a_lens_with_distortion_is_undone(mano):
    camera = Camera(
        K=np.array([[400.0, 0, 320.0], [0, 400.0, 240.0], [0, 0, 1]]), width=640, height=480,
        D=np.array([-0.25, 0.06, 0.0, 0.0, 0.0]), distortion_model="plumb_bob",
    )  # fmt: skip
    crop = ManoCrop((560.0, 400.0), 120.0, False)
    ray, width = crop.view(camera)
    np.testing.assert_allclose(camera.project(ray), crop.center, atol=1e-3)
    flat = Camera(K=camera.K, width=640, height=480)
    assert width > 1.05 * crop.view(flat)[1]
    np.testing.assert_allclose(crop.view(flat)[1], 120.0 / 400.0)
    np.testing.assert_allclose(crop.translation(np.array([0.8, 0.01, 0.02]), camera)[2], 2.0 / (0.8 * width))


def test_the_crop_is_the_published_one():
    """Twice the box of the keypoints, extended to 3 : 4, and the pixel 128 is its middle; a left hand's image is
    mirrored first. The public code warps with the same map."""
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8), (0, 0), 2)
    keypoints = np.zeros((21, 2)) + (300.0, 200.0)
    keypoints[3], keypoints[7] = (250.0, 190.0), (340.0, 240.0)
    assert ManoCrop.around(keypoints, False) == ManoCrop((295.0, 215.0), 2.0 * 90.0 * 4.0 / 3.0, False)
    keypoints[7] = (340.0, 340.0)
    assert ManoCrop.around(keypoints, False) == ManoCrop((295.0, 265.0), 300.0, False)
    for mirrored in (False, True):
        crop = ManoCrop((600.5, 215.0), 240.0, mirrored)
        shown = image[:, ::-1] if mirrored else image
        x = image.shape[1] - 600.5 - 1 if mirrored else 600.5
        factor = 256 / 240.0
        forward = np.array([[factor, 0, 128 - x * factor], [0, factor, 128 - 215.0 * factor]])
        expected = cv2.warpAffine(np.ascontiguousarray(shown), forward, (256, 256))[:, :, ::-1]
        cut = crop.cut(image, 256)
        assert np.abs(cut.astype(int) - expected).max() <= 2
        side = cut[:, :64] if mirrored else cut[:, -64:]
        assert not side.any()  # black beyond the image


def test_fingertips_are_vertices(mano):
    rotations, betas, _, _ = posed(mano, 1, Side.RIGHT, (0, 0, 0.5))
    keypoints, orientations = mano_keypoints(mano, rotations[TO_MANO], betas)
    vertices = mano_mesh(mano)(rotations[None, TO_MANO], betas[None])[0]
    np.testing.assert_allclose(keypoints[TIPS], vertices[[744, 320, 443, 554, 671]], atol=1e-7)
    np.testing.assert_allclose(
        keypoints, mano.kinematics(Side.RIGHT).forward(rotations, betas, np.zeros(3))[0], atol=1e-5
    )
    np.testing.assert_allclose(orientations, mano.kinematics(Side.RIGHT).forward(rotations, betas, np.zeros(3))[1])
    np.testing.assert_array_equal(TO_MANO[FROM_MANO], np.arange(16))


@pytest.mark.parametrize("side", Side)
def test_a_model_with_a_refit_is_predicted_as_the_landmarks_are(side, mano):
    """Its keypoints lie elsewhere in the hand than the embedded hand's, as which the lifting takes all evidence."""
    generator = np.random.default_rng(0)
    refit = HandRefit(
        mano.kinematics(Side.RIGHT).joint_frames, mano.kinematics(Side.RIGHT).joint_frames,
        generator.normal(0.0, 0.004, (21, 3)), np.zeros(10), np.zeros((10, 10)), np.zeros(2),
    )  # fmt: skip
    right = dataclasses.replace(mano.arrays(Side.RIGHT), refit=refit)
    model = HandModel("mano", right)
    rotations, betas, translation, keypoints = posed(mano, 5, side, (0.1, 0.05, 0.6))
    seen = observe(keypoints, side)
    pose = exact_pose(rotations, betas, translation, seen, CAMERA)
    image = np.zeros((480, 640, 3), np.uint8)
    (plain,), (moved,) = (ManoEncoder(Exact([pose]), None, each)(image, [seen], CAMERA) for each in (mano, model))
    orientations = mano.kinematics(side).forward(rotations, betas, translation)[1]
    offsets = turned_offsets(model.refit(side).keypoint_offsets, orientations)
    a, b = plain.prediction, moved.prediction
    np.testing.assert_allclose(b.joints - a.joints, offsets - offsets[0], atol=1e-5)
    assert np.linalg.norm(b.wrist - a.wrist) == pytest.approx(np.linalg.norm(offsets[0]), rel=1e-3)
    assert a.hand_length == b.hand_length and np.abs(b.keypoints_2d - a.keypoints_2d).max() > 2.0


def test_mirror_images_give_mirrored_results(encoder_path, mano, mano_path, networks, scene, monkeypatch):
    # In bfloat16 these random weights make much of the last bits of the crops.
    monkeypatch.setattr("hand_recon_ros.models.hand_networks.cpu_precision", lambda: torch.float32)
    encoder = load_encoder(ReconstructorConfig(encoder=str(encoder_path), hand_model=str(mano_path)), networks)
    image = render_scene(scene, load_hand_model()).image
    flipped = np.ascontiguousarray(image[:, ::-1])
    hands = {h.side: mano.kinematics(h.side).forward(h.rotations, h.betas, h.translation)[0] for h in scene.hands}
    straight = encoder(image, [observe(hands[side], side) for side in Side], CAMERA)
    mirrored = encoder(flipped, [observe(mirror_points(hands[side.other]), side) for side in Side], CAMERA)
    for a, b in zip(straight, reversed(mirrored), strict=True):
        size = ManoCrop.around(a.keypoints_2d, False).size
        pixels = mirror_pixels(b.prediction.keypoints_2d, CAMERA.width)
        assert np.abs(pixels - a.prediction.keypoints_2d).max() < 0.01 * size
        np.testing.assert_allclose(mirror_points(b.prediction.joints), a.prediction.joints, atol=0.003)
        np.testing.assert_allclose(mirror_points(b.prediction.wrist), a.prediction.wrist, rtol=0.01, atol=0.002)
        name = encoder_path.stem
        scale = np.mean(a.prediction.stddev_2d) / PUBLISHED[name]
        assert scale == pytest.approx(np.mean(b.prediction.stddev_2d) / PUBLISHED[name], rel=0.01)
    # The two hands differ, so that the comparison is one.
    assert np.abs(straight[0].prediction.joints - mirror_points(straight[1].prediction.joints)).max() > 0.01


def test_a_hand_found_without_colours_is_encoded_without_them(encoder_path, mano, networks, scene):
    shown = []

    class Recorded(Exact):
        def __call__(self, crops):
            shown.append(crops)
            return super().__call__(crops)

    hand = scene.hands[0]
    keypoints = mano.kinematics(hand.side).forward(hand.rotations, hand.betas, hand.translation)[0]
    seen = observe(keypoints, hand.side, grey=True)
    pose = exact_pose(hand.rotations, hand.betas, hand.translation, seen, CAMERA)
    encoder = ManoEncoder(Recorded([pose]), networks, mano)
    encoder(render_scene(scene, load_hand_model()).image, [seen], CAMERA)
    assert np.ptp(shown[0].astype(int), axis=-1).max() == 0 and shown[0].std() > 5
    assert encoder(np.zeros((480, 640, 3), np.uint8), [], CAMERA) == []


def test_a_pair_goes_through_the_pipeline(encoder_path, mano_path, networks, scene):
    config = ReconstructorConfig(encoder=str(encoder_path), hand_model=str(mano_path))
    reconstructor = TwoHandReconstructor(config, HandLocator(networks))
    image = render_scene(scene, load_hand_model()).image
    for estimate in (reconstructor(image, CAMERA, stamp=0.0), reconstructor.reconstruct_image(image, CAMERA)):
        assert estimate.left.found and estimate.right.found and estimate.hand_model == "mano"
        assert estimate.left.vertices.shape == (778, 3) and estimate.timings["encode"] > 0.0
    reconstructor.warm_up()


def test_exact_outputs_make_the_pipeline_more_accurate(mano, mano_path, networks, scene, monkeypatch):
    truth = {h.side: mano.kinematics(h.side).forward(h.rotations, h.betas, h.translation)[0] for h in scene.hands}
    parameters = {h.side: (h.rotations, h.betas, h.translation) for h in scene.hands}

    class Oracle(ManoEncoder):
        def __call__(self, image, observations, camera):
            poses = [exact_pose(*parameters[seen.side], seen, camera) for seen in observations]
            return ManoEncoder(Exact(poses), None, mano)(image, observations, camera)

    image = render_scene(scene, load_hand_model()).image
    expected = np.stack([truth[side] for side in Side])
    errors = {}
    for name in ("none", "small"):
        monkeypatch.setattr("hand_recon_ros.reconstructor.load_encoder", lambda _, found: Oracle(None, found, mano))
        config = ReconstructorConfig(encoder=name, hand_model=str(mano_path), smoothing="off")
        reconstructor = TwoHandReconstructor(config, HandLocator(networks))
        for estimate in (reconstructor.reconstruct_image(image, CAMERA), reconstructor(image, CAMERA, stamp=0.0)):
            joints = np.stack([estimate.hand(side).joints for side in Side])
            relative = (joints - joints[:, :1]) - (expected - expected[:, :1])
            errors.setdefault(name, []).append(
                [np.linalg.norm(part, axis=-1).mean() for part in (relative, (joints - expected)[:, :1])]
            )
    # Of a single image and of the first of a stream; shape and position.
    for without, with_exact in zip(errors["none"], errors["small"], strict=True):
        assert with_exact[0] < 0.8 * without[0] and with_exact[1] < 0.7 * without[1]


def test_a_known_length_scales_the_distance_from_the_predicted_hand(mano):
    """The network predicts a hand that is too small, and nearer by as much; its true length is known."""
    rotations, betas, translation, keypoints = posed(mano, 4, Side.RIGHT, (0.0, 0.0, 0.5))
    seen = observe(keypoints, Side.RIGHT)
    kinematics = mano.kinematics(Side.RIGHT)
    small = betas - 1.5 * np.eye(10)[0]
    lengths = [
        np.linalg.norm(np.diff(kinematics.rest_keypoints(each)[[0, 9, 10, 11, 12]], axis=0), axis=-1).sum()
        for each in (betas, small)
    ]
    ratio = lengths[1] / lengths[0]
    assert 0.85 < ratio < 0.95
    pose = exact_pose(rotations, small, translation * ratio, seen, CAMERA)
    (observation,) = ManoEncoder(Exact([pose]), None, mano)(np.zeros((480, 640, 3), np.uint8), [seen], CAMERA)
    assert observation.prediction.hand_length == pytest.approx(lengths[1], rel=1e-6)
    shape = ShapePrior.population().with_length(kinematics, lengths[0])
    (known,) = Lifter(mano, iterations=8)([observation], CAMERA, [shape])
    (unknown,) = Lifter(mano, iterations=8)([observation], CAMERA)
    mean = dataclasses.replace(observation.prediction, hand_length=0.0)
    (as_mean,) = Lifter(mano, iterations=8)([dataclasses.replace(observation, prediction=mean)], CAMERA, [shape])
    distance = np.linalg.norm(keypoints[0])
    errors = [abs(np.linalg.norm(hand.keypoints[0]) / distance - 1.0) for hand in (known, as_mean, unknown)]
    assert errors[0] < 0.03 < errors[1] < errors[2] and errors[2] > 0.09


def test_settings_that_do_not_fit_are_refused(encoder_path, networks, mano_path, tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"predicts the parameters of MANO, and hand_model is the embedded hand.*import-mano"
    ):
        load_encoder(ReconstructorConfig(encoder=str(encoder_path)), networks)
    with pytest.raises(ConfigError, match=r"or of a network of `hand-recon import-checkpoint` \(\.safetensors\), got"):
        load_encoder(ReconstructorConfig(encoder=str(tmp_path / "gone.safetensors")), networks)
    config = ReconstructorConfig(encoder=str(mano_path.with_suffix(".safetensors")), hand_model=str(mano_path))
    mano_path.with_suffix(".safetensors").write_bytes(b"nothing")
    with pytest.raises(SessionError, match="not a .safetensors file"):
        load_encoder(config, networks)
    mano_path.with_suffix(".safetensors").unlink()
    monkeypatch.setattr("hand_recon_ros.encode.mano_encoder.torch_problem", lambda: "PyTorch is not installed: pip")
    with pytest.raises(SessionError, match=rf"encoder {encoder_path.name}: PyTorch is not installed"):
        load_encoder(ReconstructorConfig(encoder=str(encoder_path), hand_model=str(mano_path)), networks)


def test_the_network_takes_uint8_crops(encoder_path, mano, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    network = load_pose_network(encoder_path, "cpu", 1, mano)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # a user's own choice stays
    load_pose_network(encoder_path, "cpu", 1, mano)
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert isinstance(network, HandNetwork) and network.name == encoder_path.stem
    pose = network(np.full((2, 256, 256, 3), 90, np.uint8))
    assert pose.rotations.shape == (2, 16, 3, 3) and pose.betas.shape == (2, 10) and pose.camera.shape == (2, 3)
