"""The pipeline over time, with a scripted locator; and with the real networks where photographs are at hand."""

import pathlib

import numpy as np
import pytest
from evidence import CAMERA, hand, observe

from hand_recon_ros import Camera, HandState, ScaleSource, Side, TwoHandReconstructor
from hand_recon_ros.config import ConfigError, ReconstructorConfig, checked
from hand_recon_ros.skeleton import mirror_points, wrist_pose

PHOTOS = pathlib.Path(__file__).resolve().parents[2] / "shared" / "real_photos"
IMAGE = np.zeros((480, 640, 3), dtype=np.uint8)


class Script:
    """A locator that says what it is told."""

    def __init__(self):
        self.observations, self.resets = (), 0
        self.config = None

    def __call__(self, *observations):
        self.observations = observations

    def locate(self, frame):
        by_side = {observation.side: observation for observation in self.observations}
        return by_side.get(Side.LEFT), by_side.get(Side.RIGHT)

    locate_image = locate

    def reset(self):
        self.resets += 1


@pytest.fixture
def script():
    return Script()


def reconstructor(script, **settings):
    config = checked(ReconstructorConfig, {"encoder": "none", "refiner": "none", "smoothing_cutoff": 0.0, **settings})
    return TwoHandReconstructor(config, locator=script)


def test_an_empty_image_has_two_lost_slots(script):
    estimate = reconstructor(script)(IMAGE, CAMERA, stamp=3.0)
    assert estimate.stamp == 3.0 and estimate.hand_model == "webxr_generic" and not estimate.refined
    assert {"locate", "encode", "refine", "total"} <= set(estimate.timings)
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
    for stamp, observation in ((0.0, dict(track_id=1)), (0.05, None), (0.1, dict(track_id=2))):
        script(*([observe(keypoints, Side.RIGHT, **observation)] if observation else []))
        track_id = result(IMAGE, CAMERA, stamp).right.track_id
        assert track_id == 1


def test_another_hand_in_the_slot_is_a_new_track(script):
    result = reconstructor(script, smoothing_cutoff=1.0)
    near, far = hand(4)[3], hand(4)[3] + [0.0, 0.0, 0.6]
    script(observe(near, Side.RIGHT))
    first = result(IMAGE, CAMERA, 0.0).right
    from hand_recon_ros.landmarks.observation import RotatedBox

    script(observe(far, Side.RIGHT, track_id=9, roi=RotatedBox((5000.0, 0.0), 100.0)))
    second = result(IMAGE, CAMERA, 1 / 30).right
    assert (first.track_id, second.track_id) == (1, 2)
    (fresh,) = [reconstructor(script)(IMAGE, CAMERA).right]
    np.testing.assert_allclose(second.joints, fresh.joints)  # nothing of the first hand is smoothed into it


def test_stamps_that_jump_back_start_afresh(script):
    result = reconstructor(script)
    resets = script.resets
    result(IMAGE, CAMERA, 5.0)
    assert script.resets == resets
    result(IMAGE, CAMERA, 4.0)
    assert script.resets == resets + 1


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
    assert np.abs(np.diff(betas[270:], axis=0)).mean() < 0.6 * np.abs(np.diff(betas[:30], axis=0)).mean()
    assert right.position_stddev < first


def test_still_images_neither_use_nor_keep_tracking(script):
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))
    still = result.reconstruct_image(IMAGE, CAMERA)
    assert still.right.state == HandState.TRACKED
    script()
    assert result.reconstruct_image(IMAGE, CAMERA).right.state == HandState.LOST
    assert result(IMAGE, CAMERA, 0.0).right.state == HandState.LOST


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


def test_settings(script, tmp_path):
    result = reconstructor(script)
    result.update_settings(min_presence=0.7, solver_iterations=6)
    assert script.config.min_presence == 0.7 and result._lifter.iterations == 6
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


def test_a_hand_that_turns_out_to_be_the_other_one_leaves_no_ghost(script):
    result = reconstructor(script)
    keypoints = hand(4)[3]
    script(observe(keypoints, Side.RIGHT, track_id=5))
    result(IMAGE, CAMERA, 0.0)
    script(observe(keypoints, Side.LEFT, track_id=5))
    estimate = result(IMAGE, CAMERA, 1 / 30)
    assert estimate.left.state == HandState.TRACKED and estimate.right.state == HandState.LOST
    assert estimate.left.track_id == 2


def test_hands_that_exchange_slots_are_not_blended(script):
    a, b = hand(4)[3], hand(9)[3]
    result = reconstructor(script, smoothing_cutoff=0.5, smoothing_speed=0.0)
    script(observe(a, Side.RIGHT, track_id=1), observe(b, Side.LEFT, track_id=2))
    result(IMAGE, CAMERA, 0.0)
    script(observe(a, Side.LEFT, track_id=1), observe(b, Side.RIGHT, track_id=2))
    swapped = result(IMAGE, CAMERA, 1 / 30)
    fresh = reconstructor(script)(IMAGE, CAMERA, 0.0)
    for side in Side:
        np.testing.assert_allclose(swapped.hand(side).joints, fresh.hand(side).joints, atol=1e-9)


def test_without_advancing_stamps_a_hand_that_is_gone_is_lost(script):
    result = reconstructor(script)
    script(observe(hand(4)[3], Side.RIGHT))
    assert result(IMAGE, CAMERA).right.state == HandState.TRACKED
    script()
    assert result(IMAGE, CAMERA).right.state == HandState.LOST


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
