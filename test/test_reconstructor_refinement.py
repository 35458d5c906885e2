"""The refinement as a step of the pipeline: in single images and streams, mirrored ones too, and switched off."""

import numpy as np
import pytest
from evidence import CAMERA, MODEL, observe
from scripted_pipeline import IMAGE, Script, reconstructor

from hand_recon_ros import HandState, Side, TwoHandReconstructor
from hand_recon_ros.config import ConfigError
from hand_recon_ros.evaluation.images import SEED, SIZE
from hand_recon_ros.geometry.mesh_queries import penetration_depth
from hand_recon_ros.skeleton import mirror_points, wrist_pose
from hand_recon_ros.synthetic import SampleStream
from hand_recon_ros.synthetic.sample_stream import interacting


def keypoints(apart=0.0):
    """Two flat hands, the right one's fingers through the left one's palm."""
    flat, result = np.tile(np.eye(3), (16, 1, 1)), []
    for side, wrist in zip(Side, ([-0.1, 0.0, 0.5], [0.1 + apart, 0.008, 0.5]), strict=True):
        rotations = flat.copy()
        at_zero, _ = MODEL.kinematics(side).forward(rotations, np.zeros(10), np.zeros(3))
        result.append(at_zero - at_zero[0] + wrist)
    return result


def depth(hands):
    left, right = hands
    return penetration_depth(left.vertices, left.faces, right.vertices, right.faces)


def show(script, apart=0.0, mirrored=False):
    script(*(
        observe(mirror_points(points) if mirrored else points, side, mirrored=mirrored)
        for side, points in zip(Side, keypoints(apart), strict=True)
    ))  # fmt: skip


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("mirrored", [True, False])
def test_interpenetrating_hands_are_separated(single, mirrored):
    script = Script()
    result = reconstructor(script, mirrored_input=mirrored, refine_budget=0.0)
    show(script, mirrored=mirrored)
    estimate = result.reconstruct_image(IMAGE, CAMERA) if single else result(IMAGE, CAMERA, 0.0)
    assert estimate.refined and depth(estimate.unrefined) > 0.002 > depth((estimate.left, estimate.right))
    before = estimate.before_refinement()
    assert (before.left, before.right) == estimate.unrefined and not before.refined
    for side in Side:
        found, old = estimate.hand(side), before.hand(side)
        assert found.state == HandState.TRACKED
        np.testing.assert_array_equal(found.keypoints_2d, old.keypoints_2d)
        shown = mirror_points(found.joints) if mirrored else found.joints
        was = mirror_points(old.joints) if mirrored else old.joints
        assert np.linalg.norm(CAMERA.project(shown) - CAMERA.project(was), axis=1).mean() < 4.0
        joints, _ = MODEL.kinematics(side).forward(found.rotations, found.betas, found.translation)
        np.testing.assert_allclose(found.joints, joints, atol=1e-9)
        np.testing.assert_allclose(found.wrist_pose, wrist_pose(joints, side == Side.RIGHT), atol=1e-9)
        assert found.roi == old.roi and 0.0 < found.position_stddev < old.position_stddev


def test_a_predicted_hand_that_is_refined_has_the_box_of_its_new_keypoints():
    script = Script()
    result = reconstructor(script, refine_budget=0.0)
    show(script)
    result(IMAGE, CAMERA, 0.0)
    script(observe(keypoints()[Side.LEFT], Side.LEFT))
    estimate = result(IMAGE, CAMERA, 1 / 30)
    assert estimate.refined and estimate.right.state == HandState.PREDICTED
    old = estimate.before_refinement().right
    for hand in (old, estimate.right):
        x, y, width, height = hand.roi
        low, high = hand.keypoints_2d.min(axis=0), hand.keypoints_2d.max(axis=0)
        np.testing.assert_allclose([x, y, x + width, y + height], [*low, *high], atol=1e-9)
    assert np.abs(np.subtract(estimate.right.roi, old.roi)).max() > 0.1


def test_mirrored_images_give_the_same_hands():
    joints = []
    for mirrored in (False, True):
        script = Script()
        result = reconstructor(script, mirrored_input=mirrored, refine_budget=0.0)
        show(script, mirrored=mirrored)
        estimate = result(IMAGE, CAMERA, 0.0)
        joints.append([estimate.left.joints, estimate.right.joints])
    np.testing.assert_allclose(joints[0], joints[1], atol=1e-5)


def test_it_runs_only_where_it_is_needed_and_wanted():
    script = Script()
    result = reconstructor(script, refine_steps=0)
    show(script)
    assert not result(IMAGE, CAMERA, 0.0).refined
    result.update_settings(refine_steps=8, refine_budget=0.0)
    assert result(IMAGE, CAMERA, 0.1).refined
    show(script, apart=0.4)
    for single in (True, False):
        estimate = result.reconstruct_image(IMAGE, CAMERA) if single else result(IMAGE, CAMERA, 5.0)
        assert not estimate.refined and estimate.unrefined is None and estimate.before_refinement() is estimate


def test_the_prior_of_the_settings_is_used():
    script = Script()
    show(script)
    plain, refined = (
        reconstructor(script, refiner=name).reconstruct_image(IMAGE, CAMERA) for name in ("none", "small")
    )
    assert refined.refined and depth((refined.left, refined.right)) < 0.002
    assert np.abs(refined.left.joints - plain.left.joints).max() > 1e-4
    with pytest.raises(ConfigError, match="refiner must be 'none'.* or the path of an exported refiner"):
        reconstructor(script, refiner="absent.onnx")


def test_a_stream_of_touching_hands_does_not_flicker():
    script = Script()
    result = reconstructor(script, refine_budget=0.0, smoothing_cutoff=2.0)
    rng, before, after = np.random.default_rng(0), [], []
    for frame in range(30):
        hands = keypoints()
        script(*(
            observe(hands[side] + rng.normal(0, 0.0007, (21, 3)), side) for side in Side
        ))  # fmt: skip
        estimate = result(IMAGE, CAMERA, frame / 30)
        old = estimate.before_refinement()
        before.append([old.left.joints, old.right.joints])
        after.append([estimate.left.joints, estimate.right.joints])
        assert depth((estimate.left, estimate.right)) < 0.002
    jitter = [np.linalg.norm(np.diff(np.array(x[10:]), n=3, axis=0), axis=-1).mean() for x in (before, after)]
    assert jitter[1] < 2.0 * jitter[0]


def test_what_is_left_for_after_an_image_is_done_before_the_next_one():
    """Whether the caller asks for it or not: the prior counts from the third image on."""
    results = []
    for asks, refiner in ((False, "small"), (True, "small"), (False, "none")):
        script = Script()
        result = reconstructor(script, refiner=refiner)
        show(script)
        wrists = []
        for frame in range(4):
            estimate = result(IMAGE, CAMERA, frame / 30)
            wrists.append([estimate.left.joints[0], estimate.right.joints[0]])
            if asks:
                result.finish_image()
        results.append(np.array(wrists))
    np.testing.assert_array_equal(results[0], results[1])
    ways = np.abs(results[1] - results[2]).max(axis=(1, 2))
    assert (ways[:2] == 0.0).all() and (ways[2:] > 1e-4).all()


def test_hands_that_lie_on_each_other_are_refined():
    """With the networks that come along, in streams of 0.3 s that show one rendered image each."""
    stream, result = SampleStream("val", SEED, MODEL), TwoHandReconstructor.from_config(refine_budget=0.0)
    depths = []
    for number in range(40):
        if interacting(stream.scene(number), MODEL):
            sample = stream.frame(number, *SIZE)
            result.reset()
            for image in range(9):
                estimate = result(sample.image, sample.camera, image / 30)
            before = estimate.before_refinement()
            if estimate.refined and before.left.state == before.right.state == HandState.TRACKED:
                depths.append([1e3 * depth((two.left, two.right)) for two in (before, estimate)])
    deep = np.array([pair for pair in depths if pair[0] > 1.0])
    print(f"{len(depths)} streams refined, {len(deep)} of them deeper than 1 mm before, mean {deep.mean(axis=0)} mm")
    assert len(deep) >= 3
    assert deep[:, 1].mean() < 0.25 * deep[:, 0].mean() and deep[:, 1].max() < 2.0
