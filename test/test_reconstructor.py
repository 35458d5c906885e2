"""The pipeline over time, with a scripted locator; and with the real networks where photographs are at hand."""

import dataclasses
import pathlib

import numpy as np
import pytest
from evidence import CAMERA, hand, observe
from scripted_pipeline import IMAGE, Script, reconstructor

from hand_recon_ros import Camera, HandState, ScaleSource, Side, TwoHandReconstructor
from hand_recon_ros.config import ConfigError
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.runtime.devices import DeviceError
from hand_recon_ros.skeleton import mirror_points, wrist_pose
from hand_recon_ros.track.image_track import ImageTrack

PHOTOS = pathlib.Path(__file__).resolve().parents[2] / "shared" / "real_photos"


@pytest.fixture
def script():
    return Script()


def test_an_empty_image_has_two_lost_slots(script):
    estimate = reconstructor(script)(IMAGE, CAMERA, stamp=3.0)
    assert estimate.stamp == 3.0 and estimate.hand_model == "webxr_generic" and not estimate.refined
    steps = [estimate.timings[name] for name in ("locate", "encode", "lift", "smooth", "refine")]
    assert sum(steps) == pytest.approx(estimate.timings["total"]) and min(steps) >= 0.0
    for side in Side:
        lost = estimate.hand(side)
        assert (lost.side, lost.state, lost.track_id, lost.found) == (side, HandState.LOST, 0, False)
        assert lost.joints.shape == (21, 3) and np.isnan(lost.joints).all()


@pytest.mark.parametrize("side", Side)
def test_every_field_of_a_found_hand(script, side):
    keypoints = hand(4, side)[3]
    script(observe(keypoints, side))
    result = reconstructor(script)
    estimate = result(IMAGE, CAMERA)
    found = estimate.hand(side)
    assert found.side == side and found.state == HandState.TRACKED and estimate.hand(side.other).state == HandState.LOST
    assert not estimate.calibrated and found.scale_source == ScaleSource.PRIOR and found.track_id == 1
    shapes = dict(
        joints=(21, 3), joint_scores=(21,), keypoints_2d=(21, 2), rotations=(16, 3, 3), betas=(10,), translation=(3,),
        wrist_pose=(4, 4), vertices=(result.hand_model.num_vertices, 3),
    )  # fmt: skip
    for name, shape in shapes.items():
        value = getattr(found, name)
        assert value.shape == shape and np.isfinite(value).all(), name
    np.testing.assert_allclose(found.wrist_pose, wrist_pose(found.joints, side == Side.RIGHT))
    np.testing.assert_allclose(CAMERA.project(found.joints), found.keypoints_2d, atol=6.0)
    mesh = result.hand_model.mesh(side, found.rotations, found.betas, found.translation)
    np.testing.assert_allclose(found.vertices, mesh, atol=1e-6)
    x, y, width, height = found.roi
    inside = found.keypoints_2d - [x, y]
    assert np.all(inside >= 0) and np.all(inside <= [width, height])
    assert 0.0 < found.position_stddev < 0.2


def test_tracked_predicted_lost_and_found_again(script):
    result = reconstructor(script)
    keypoints = hand(4)[3]
    states, ids, last = [], [], None
    for frame in range(20):
        stamp = frame / 30.0
        velocity = np.array([0.3, 0.0, 0.0])
        visible = frame < 8 or frame > 15
        script(*([observe(keypoints + velocity * stamp, Side.RIGHT)] if visible else []))
        right = result(IMAGE, CAMERA, stamp).right
        states.append(right.state)
        ids.append(right.track_id)
        if right.state == HandState.PREDICTED:
            assert right.since_measurement == pytest.approx(stamp - 7 / 30.0)
            assert right.score < last.score
            assert right.joints[0, 0] > last.joints[0, 0]  # it goes on moving
            np.testing.assert_allclose(CAMERA.project(right.joints), right.keypoints_2d, atol=1e-9)
        last = right
    assert states[:8] == [HandState.TRACKED] * 8
    assert states[8:12] == [HandState.PREDICTED] * 4 and states[12:16] == [HandState.LOST] * 4  # 0.15 s at 30 Hz
    assert states[16:] == [HandState.TRACKED] * 4
    assert set(ids[:12]) == {1} and set(ids[12:16]) == {0} and set(ids[16:]) == {2}


def test_a_hand_found_again_nearby_keeps_its_track(script):
    result = reconstructor(script)
    keypoints = hand(4)[3]
    for stamp, observation in ((0.0, dict(detected=True)), (0.05, None), (0.1, dict(detected=True))):
        script(*([observe(keypoints, Side.RIGHT, **observation)] if observation else []))
        track_id = result(IMAGE, CAMERA, stamp).right.track_id
        assert track_id == 1


RATES = (15.0, 30.0, 60.0)


def test_behaviour_does_not_depend_on_the_frame_rate(script):
    """The same motion, then half a second without a hand, seen at 15, 30 and 60 Hz."""
    keypoints, centre = hand(4)[3], hand(4)[3].mean(axis=0)
    wrists, shapes, lost = [], [], []
    for rate in RATES:
        result = reconstructor(script, smoothing_cutoff=2.0)
        seen = {}
        for image in range(round(2.5 * rate)):
            stamp = image / rate
            if stamp < 2.0:
                turn = rotation_matrices(np.array([0.0, 0.3 * np.sin(3.0 * stamp), 0.0]))
                moved = (keypoints - centre) @ turn.T + centre + [0.05 * np.sin(2.0 * stamp), 0.0, 0.0]
                script(observe(moved, Side.RIGHT))
            else:
                script()
            seen[round(stamp, 3)] = result(IMAGE, CAMERA, stamp).right
        wrists.append([seen[round(time, 3)].joints[0] for time in np.arange(0.2, 2.0, 0.2)])
        shapes.append(seen[round(1.8, 3)].betas)
        lost.append(min(time for time, right in seen.items() if right.state == HandState.LOST))
    wrists = np.array(wrists)
    for other in (0, 2):
        assert np.linalg.norm(wrists[other] - wrists[1], axis=-1).max() < 0.003
        assert np.abs(shapes[other] - shapes[1]).max() < 0.1
    assert all(2.1 < time <= 2.2 for time in lost)


def test_another_hand_in_the_slot_is_a_new_track(script):
    result = reconstructor(script, smoothing_cutoff=1.0)
    near, far = hand(4)[3], hand(4)[3] + [0.0, 0.0, 0.6]
    script(observe(near, Side.RIGHT))
    first = result(IMAGE, CAMERA, 0.0).right
    script(observe(far, Side.RIGHT, detected=True, roi=RotatedBox((5000.0, 0.0), 100.0)))
    second = result(IMAGE, CAMERA, 1 / 30).right
    assert (first.track_id, second.track_id) == (1, 2)
    (fresh,) = [reconstructor(script)(IMAGE, CAMERA).right]
    np.testing.assert_allclose(second.joints, fresh.joints)  # nothing of the first hand is smoothed into it


def test_stamps_that_jump_back_start_afresh(script):
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))
    assert [result(IMAGE, CAMERA, stamp).right.track_id for stamp in (5.0, 5.1, 4.0)] == [1, 1, 2]


def test_shape_settles_and_position_becomes_more_certain(script):
    result = reconstructor(script)
    rng = np.random.default_rng(0)
    rotations, _, translation, keypoints = hand(4)
    betas = []
    for frame in range(300):
        noisy = observe(keypoints, Side.RIGHT)
        noisy.keypoints_2d[:] += rng.normal(0, 1.5, (21, 2))
        script(noisy)
        right = result(IMAGE, CAMERA, frame / 30).right
        betas.append(right.betas)
        if frame == 0:
            first = right.position_stddev
    betas = np.array(betas)
    settled, first_half_second = (np.abs(np.diff(part, axis=0)).mean() for part in (betas[270:], betas[:15]))
    assert settled < 0.6 * first_half_second and settled < 0.045
    assert right.position_stddev < first


def test_single_images_neither_use_nor_keep_tracking(script):
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))
    single = result.reconstruct_image(IMAGE, CAMERA)
    assert single.right.state == HandState.TRACKED
    script()
    assert result.reconstruct_image(IMAGE, CAMERA).right.state == HandState.LOST
    assert result(IMAGE, CAMERA, 0.0).right.state == HandState.LOST


@pytest.mark.parametrize("single", [False, True])
def test_hands_of_known_length(script, single):
    """They are as far away as their size in the image says, at once where the setting changes."""
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))

    def found(number):
        return (result.reconstruct_image(IMAGE, CAMERA) if single else result(IMAGE, CAMERA, number / 10)).right

    assert found(0).scale_source == ScaleSource.PRIOR
    distances = []
    for number, length in enumerate((0.16, 0.2)):
        result.update_settings(hand_length=length)
        estimate = found(1 + number)
        assert estimate.scale_source == ScaleSource.CALIBRATED
        distances.append(np.linalg.norm(estimate.joints[0]))
    assert distances[1] / distances[0] == pytest.approx(0.2 / 0.16, rel=0.05)
    result.update_settings(hand_length=0.0)
    assert found(4).scale_source == ScaleSource.PRIOR


def test_a_calibration_holds_at_once_and_is_kept(script, tmp_path):
    path = tmp_path / "ann.yaml"
    result = reconstructor(script, hand_calibration=str(path))
    script(observe(hand(4, Side.LEFT)[3], Side.LEFT), observe(hand(5)[3], Side.RIGHT))
    with pytest.raises(RuntimeError, match="no calibration was started"):
        result.use_calibration()
    calibration = result.start_calibration(Side.LEFT, 5)
    for number in range(7):
        assert calibration.done == (number >= 5)
        result(IMAGE, CAMERA, number / 10)
    with pytest.raises(ValueError, match="hand length of 2 m"):
        result.use_calibration(2.0)
    shape = result.use_calibration(0.2)
    assert shape.length == 0.2
    estimate = result(IMAGE, CAMERA, 0.8)
    assert {estimate.hand(side).scale_source for side in Side} == {ScaleSource.CALIBRATED}
    again = reconstructor(script, hand_calibration=str(path))
    result.reset()
    first = result(IMAGE, CAMERA, 0.0)
    np.testing.assert_allclose(again(IMAGE, CAMERA, 0.0).left.betas, first.left.betas, atol=1e-3)
    result.start_calibration(Side.RIGHT, 1)
    result(IMAGE, CAMERA, 0.9)
    result.use_calibration()
    assert path.read_text().count("betas") == 2


def test_a_mirrored_image(script):
    keypoints = hand(4)[3]
    script(observe(keypoints, Side.RIGHT))
    plain = reconstructor(script)(IMAGE, CAMERA)
    script(observe(mirror_points(keypoints), Side.RIGHT, mirrored=True))
    mirrored = reconstructor(script, mirrored_input=True)(IMAGE, CAMERA)
    assert mirrored.mirrored and not plain.mirrored
    np.testing.assert_allclose(mirrored.right.joints, plain.right.joints, atol=1e-9)
    np.testing.assert_allclose(mirrored.right.keypoints_2d[:, 0], 639 - plain.right.keypoints_2d[:, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((480, 640), np.uint8), "BGR"),
        (np.zeros((480, 640, 3), np.float32), "float32"),
        (np.zeros((240, 320, 3), np.uint8), "the camera is 640x480 but the image is 320x240"),
        (None, "NoneType"),
    ],
)
def test_images_that_cannot_be_used(script, image, text):
    with pytest.raises(ValueError, match=text):
        reconstructor(script)(image, CAMERA)


def test_the_device_is_checked(script):
    assert reconstructor(script, device="auto").device == reconstructor(script, device="cpu").device == "cpu"
    with pytest.raises(DeviceError, match="set device to 'auto' or 'cpu'"):
        reconstructor(script, device="cuda")


def test_settings(script, tmp_path):
    result = reconstructor(script)
    result(IMAGE, CAMERA, 0.0)
    result.update_settings(min_presence=0.7, solver_iterations=6)
    result(IMAGE, CAMERA, 0.1)
    assert [config.min_presence for config in script.configs] == [0.5, 0.7]
    assert script.configs[1].solver_iterations == 6
    with pytest.raises(ConfigError, match="start a new reconstructor"):
        result.update_settings(threads=4)
    with pytest.raises(ConfigError, match="min_presence must lie in"):
        result.update_settings(min_presence=1.5)
    with pytest.raises(ConfigError, match="did you mean 'min_presence'"):
        TwoHandReconstructor.from_config(min_presense=0.7)
    (tmp_path / "c.yaml").write_text("/**:\n  ros__parameters: {min_presence: 2.0, publish_tf: wrist}\n")
    with pytest.raises(ConfigError, match="min_presence must lie in"):
        TwoHandReconstructor.from_config(tmp_path / "c.yaml")


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no photographs at hand")
def test_two_hands_over_a_face():
    import cv2

    image = cv2.imread(str(PHOTOS / "test5.jpg"))
    camera = Camera.from_fov(image.shape[1], image.shape[0], 60.0)
    result = TwoHandReconstructor.from_config(device="cpu")
    estimate = result.reconstruct_image(image, camera)
    assert estimate.left.found and estimate.right.found
    # Her right hand is on the left of the picture; the backs of both hands face outwards, fingers up.
    assert estimate.right.keypoints_2d[9, 0] < 600 < estimate.left.keypoints_2d[9, 0]
    for found in (estimate.left, estimate.right):
        assert found.side_score > 0.8
        outwards = 1 if found is estimate.left else -1
        assert outwards * found.wrist_pose[0, 2] > 0.5 and found.wrist_pose[1, 0] < -0.6
        assert 0.4 < found.joints[0, 2] < 1.2
        assert np.linalg.norm(camera.project(found.joints) - found.keypoints_2d, axis=1).mean() < 12.0
    flipped = result.reconstruct_image(np.ascontiguousarray(image[:, ::-1]), camera)
    np.testing.assert_allclose(mirror_points(flipped.left.joints), estimate.right.joints, atol=0.02)


def place(script, right, left=None):
    """Put followed hands into slots, as the locator does."""
    images = {Side.RIGHT: right, Side.LEFT: left}
    script.tracks[-1].place({side: image for side, image in images.items() if image is not None})


def followed(keypoints):
    pixels = CAMERA.project(keypoints)
    hand_2d = HandLandmarks(pixels, np.zeros(21), np.zeros((21, 3)), 1.0, 0.5, RotatedBox((0.0, 0.0), 1.0))
    return ImageTrack(hand_2d, 0.0, time=0.0)


def test_a_hand_whose_handedness_changes_leaves_nothing_behind(script):
    result = reconstructor(script)
    keypoints = hand(4)[3]
    script(observe(keypoints, Side.RIGHT))
    result(IMAGE, CAMERA, 0.0)
    image = followed(keypoints)
    place(script, right=image)
    place(script, right=None, left=image)
    script(observe(keypoints, Side.LEFT))
    estimate = result(IMAGE, CAMERA, 1 / 30)
    assert estimate.left.state == HandState.TRACKED and estimate.right.state == HandState.LOST
    assert estimate.left.track_id == 2


def test_hands_that_exchange_slots_are_not_blended(script):
    a, b = hand(4)[3], hand(9)[3]
    result = reconstructor(script, smoothing_cutoff=0.5, smoothing_speed=0.0)
    script(observe(a, Side.RIGHT), observe(b, Side.LEFT))
    result(IMAGE, CAMERA, 0.0)
    one, other = followed(a), followed(b)
    place(script, right=one, left=other)
    place(script, right=other, left=one)
    script(observe(a, Side.LEFT), observe(b, Side.RIGHT))
    swapped = result(IMAGE, CAMERA, 1 / 30)
    fresh = reconstructor(script)(IMAGE, CAMERA, 0.0)
    for side in Side:
        np.testing.assert_allclose(swapped.hand(side).joints, fresh.hand(side).joints, atol=1e-9)
        assert swapped.hand(side).track_id > 2


BROKEN = {
    "landmarks": lambda seen: dataclasses.replace(seen, keypoints_2d=np.full((21, 2), np.nan)),
    "metric landmarks": lambda seen: dataclasses.replace(seen, world=np.full((21, 3), np.inf)),
    "one point": lambda seen: dataclasses.replace(seen, keypoints_2d=np.full((21, 2), 200.0), world=np.zeros((21, 3))),
    "confidence": lambda seen: dataclasses.replace(seen, joint_scores=np.full(21, np.nan)),
}


@pytest.mark.parametrize("broken", BROKEN, ids=BROKEN)
@pytest.mark.parametrize("single", [True, False])
def test_numbers_that_are_not_finite_in_one_hand_leave_the_other_alone(script, broken, single):
    good, other = observe(hand(4)[3], Side.RIGHT), observe(hand(9, Side.LEFT)[3], Side.LEFT)

    result = reconstructor(script, refine_steps=0)
    script(other, good)
    before = result(IMAGE, CAMERA, 0.0)
    script(BROKEN[broken](other), good)
    after = result.reconstruct_image(IMAGE, CAMERA) if single else result(IMAGE, CAMERA, 1 / 30)
    assert after.right.state == HandState.TRACKED and np.isfinite(after.right.joints).all()
    assert after.left.state != HandState.TRACKED or np.isfinite(after.left.joints).all()
    if not single:
        assert after.right.track_id == before.right.track_id
        alone = reconstructor(script, refine_steps=0)
        script(good)
        alone(IMAGE, CAMERA, 0.0)
        np.testing.assert_allclose(after.right.joints, alone(IMAGE, CAMERA, 1 / 30).right.joints, atol=1e-9)


def test_intrinsics_that_vary_a_little_keep_the_tracks(script):
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))
    rng = np.random.default_rng(0)
    ids = set()
    for image in range(60):
        K = CAMERA.K.copy()
        K[[0, 1], [0, 1]] *= 1.0 + rng.uniform(-0.002, 0.002)
        K[:2, 2] += rng.uniform(-1.0, 1.0, 2)
        ids.add(result(IMAGE, Camera(K, 640, 480), image / 30).right.track_id)
    assert ids == {1}
    zoomed = Camera(np.diag([1.1, 1.1, 1.0]) @ CAMERA.K, 640, 480)
    assert result(IMAGE, zoomed, 2.0).right.track_id == 2
    large = Camera(CAMERA.K, 800, 600)
    assert result(np.zeros((600, 800, 3), np.uint8), large, 2.1).right.track_id == 3


def test_track_ids_are_not_used_twice(script):
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))
    first = result(IMAGE, CAMERA, 0.0).right.track_id
    result.reset()
    assert result(IMAGE, CAMERA, 1.0).right.track_id == first + 1
    result.update_settings(mirrored_input=True)  # forgets what was learnt the other way round
    assert result(IMAGE, CAMERA, 1.1).right.track_id == first + 2


def test_parameter_files_of_several_nodes(script, tmp_path):
    from hand_recon_ros.config import read_yaml

    file = tmp_path / "p.yaml"
    file.write_text(
        "/**: {ros__parameters: {threads: 3}}\n"
        "robot: {hand_recon: {ros__parameters: {min_presence: 0.7}}, other: {ros__parameters: {min_presence: 0.1}}}\n"
        "/ns/hand_recon: {ros__parameters: {solver_iterations: 6}}\n"
        "camera_source: {ros__parameters: {rate: 5.0}}\n"
    )
    assert read_yaml(file) == {"threads": 3, "min_presence": 0.7, "solver_iterations": 6}
    file.write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        read_yaml(file)
