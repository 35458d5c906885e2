"""Evaluation on rendered clips: the truth scores zero, known errors score what they are, and golden accuracy."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from hand_recon_ros import Camera, HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate, TwoHandReconstructor
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.evaluation import synthetic
from hand_recon_ros.evaluation.penetration import PENETRATION
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic import Clip, load_clip, rendered_clip, sample_motion
from hand_recon_ros.synthetic.motion import PHASES

FRAMES = 20


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(autouse=True)
def one_clip(monkeypatch):
    monkeypatch.setitem(synthetic.SPLITS, "val", (("webcam", 5),))


class Oracle:
    """Returns the ground truth, moved and scaled on request."""

    config = ReconstructorConfig()
    hand_model = load_hand_model()

    def __init__(self, clip, shift=(0.0, 0.0, 0.0), scale=1.0, lose=()):
        self.clip, self.shift, self.scale, self.lose = clip, np.array(shift), scale, lose

    def reset(self):
        self.frame = -1

    def __call__(self, image, camera, stamp):
        self.frame += 1
        hands = []
        for side in Side:
            if (self.frame, side) in self.lose:
                hands.append(HandEstimate.lost(side))
                continue
            truth = {name: self.clip.truth[name][self.frame, side] for name in ("joints", "vertices", "keypoints_2d")}
            wrist = truth["joints"][0]
            joints, vertices = (
                wrist + self.scale * (truth[name] - wrist) + self.shift * (side == Side.RIGHT)
                for name in ("joints", "vertices")
            )
            hands.append(
                dataclasses.replace(
                    HandEstimate.lost(side),
                    state=HandState.TRACKED,
                    joints=joints,
                    mesh=partial(np.copy, vertices),
                    keypoints_2d=truth["keypoints_2d"],
                )
            )
        return TwoHandEstimate(*hands)


def evaluated(clips, cases=None, **oracle):
    clip = load_clip(rendered_clip(clips, FRAMES, 5))
    return synthetic.evaluate_synthetic(Oracle(clip, **oracle), "val", FRAMES, clips, cases)


def test_the_truth_has_no_error(clips):
    report = evaluated(clips)
    estimate = report["metrics"]["estimate"]
    assert report["n"] == FRAMES and report["found"] == {"left": 1.0, "right": 1.0}
    for name in ("mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "mrrpe_mm", "wrist_error_mm", "error_2d_px"):
        assert estimate[name] == pytest.approx(0.0, abs=2e-4), name
    assert estimate["pck_0_05"] == estimate["pck_0_1"] == 1.0
    assert report["metrics"]["refined"] == estimate  # the oracle does not refine
    for name in PENETRATION:
        assert estimate[name] == report["metrics"]["ground_truth"][name], name
    assert estimate["pen_rate_2mm"] is not None


def test_known_errors_score_what_they_are(clips):
    estimate = evaluated(clips, shift=(0.0, 0.03, 0.04))["metrics"]["estimate"]
    assert estimate["mrrpe_mm"] == pytest.approx(50.0, abs=1e-3)
    assert estimate["wrist_error_mm"] == pytest.approx(25.0, abs=1e-3)  # one of the two hands
    assert estimate["mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)
    larger = evaluated(clips, scale=1.1)["metrics"]["estimate"]
    assert larger["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-3) and larger["mpjpe_mm"] > 5.0


def test_frames_with_touching_hands_have_separate_figures(tmp_path, monkeypatch):
    """The hands touch in four of eight frames; in these the right hand is moved in, and half of them are refined."""
    model, camera = load_hand_model(), Camera.from_fov(640, 480, 65)
    motion = sample_motion(model, 224, 0)
    picked = np.array([0, 1, 2, 3, 220, 221, 222, 223])
    meshes, joints = np.empty((8, 2, model.num_vertices, 3)), np.empty((8, 2, 21, 3))
    for side in Side:
        for row, frame in enumerate(picked):
            pose = motion.rotations[frame, side], motion.betas[side], motion.translation[frame, side]
            meshes[row, side], joints[row, side] = model.mesh(side, *pose), model.kinematics(side).forward(*pose)[0]
    pixels = camera.project(joints)
    boxes = np.concatenate([pixels.min(axis=2), np.ptp(pixels, axis=2)], axis=-1)
    truth = {
        "stamps": np.arange(8) / 30, "joints": joints, "vertices": meshes, "keypoints_2d": pixels, "boxes": boxes,
        "phase": np.array(PHASES)[motion.phases[picked]],
    }  # fmt: skip

    class Unseen(Clip):
        def images(self):
            return iter([None] * 8)

    class Pushed(Oracle):
        def __call__(self, image, camera, stamp):
            self.shift = np.array([0.0, 0.0, 0.004 if self.frame >= 3 else 0.0]) * behind
            two = super().__call__(image, camera, stamp)
            return dataclasses.replace(two, refined=self.frame >= 6, unrefined=(two.left, two.right))

    behind = np.sign(meshes[4:, Side.LEFT, :, 2].mean() - meshes[4:, Side.RIGHT, :, 2].mean())
    clip = Unseen(tmp_path, camera, truth)
    monkeypatch.setattr(synthetic, "rendered_clip", lambda *_: tmp_path)
    monkeypatch.setattr(synthetic, "load_clip", lambda _: clip)
    report = synthetic.evaluate_synthetic(Pushed(clip), "val", 8)
    assert report["refined_ratio"] == {"all": 0.25, "touching": 0.5}
    estimate, true = (report["metrics"][name] for name in ("estimate", "ground_truth"))
    assert estimate["pen_depth_touching_mm"] == pytest.approx(2.0 * estimate["pen_depth_mm"])
    assert 1.0 < estimate["pen_depth_touching_mm"] < 6.0 and true["pen_depth_touching_mm"] < 0.5


def test_figures_of_depth_are_over_hands_that_have_it(clips):
    """The right hand, moved by 3 mm along z, says DEPTH and 2 mm; the left one is right and says PRIOR."""

    class WithDepth(Oracle):
        def __call__(self, image, camera, stamp, depth):
            assert depth.shape == image.shape[:2] and 0.01 < np.isnan(depth).mean() < 0.5
            two = super().__call__(image, camera, stamp)
            right = dataclasses.replace(two.right, scale_source=ScaleSource.DEPTH, position_stddev=0.002)
            return dataclasses.replace(two, right=right, left=dataclasses.replace(two.left, position_stddev=0.01))

    clip = load_clip(rendered_clip(clips, FRAMES, 5))
    depth = synthetic.evaluate_synthetic(WithDepth(clip, (0.0, 0.0, 0.003)), "val", FRAMES, clips, depth=True)["depth"]
    assert depth["ratio"] == 0.5 and depth["wrist_error_median_mm"] == pytest.approx(3.0, abs=1e-3)
    assert depth["within_1_stddev"] == 0.0 and depth["within_2_stddev"] == 1.0


def test_a_lost_hand_counts_as_not_found(clips):
    report = evaluated(clips, lose={(frame, Side.LEFT) for frame in range(5)})
    assert report["found"] == {"left": 0.75, "right": 1.0}
    assert report["metrics"]["estimate"]["mrrpe_mm"] == pytest.approx(0.0, abs=2e-4)


def test_every_frame_is_a_case_with_its_own_errors_and_picture(clips):
    cases = []
    report = evaluated(clips, cases, scale=1.1, lose={(3, Side.LEFT)})
    assert [case.number for case in cases] == list(range(FRAMES))
    assert cases[2].missed == [] and cases[3].missed == [Side.LEFT]
    errors = [hand.joints_mm for case in cases for hand in case.errors.values()]
    assert len(errors) == 2 * FRAMES - 1
    np.testing.assert_allclose(report["per_joint_mm"]["estimate"], np.mean(errors, axis=0))
    clip = load_clip(rendered_clip(clips, FRAMES, 5))
    true = clip.truth["joints"][3, Side.RIGHT]
    expected = 100.0 * np.linalg.norm(true - true[0], axis=-1)  # a tenth, in mm
    np.testing.assert_allclose(cases[3].errors[Side.RIGHT].joints_mm, expected, atol=1e-3)
    np.testing.assert_allclose(cases[3].errors[Side.RIGHT].shares, 0.0, atol=1e-6)
    np.testing.assert_array_equal(cases[3].picture(), list(clip.images())[3])


def test_golden_accuracy(clips):
    """The real pipeline on a small rendered clip. The bounds are what it measures, with room for other processors."""
    report = synthetic.evaluate_synthetic(TwoHandReconstructor.from_config(), "val", FRAMES, clips)
    estimate, interval = report["metrics"]["estimate"], report["ci95"]["estimate"]["pa_mpjpe_mm"]
    print({name: round(value, 2) for name, value in estimate.items() if value is not None})
    assert report["found"]["left"] >= 0.9 and report["found"]["right"] >= 0.9
    assert estimate["pa_mpjpe_mm"] < 12.0 and estimate["mpjpe_mm"] < 30.0
    assert estimate["wrist_error_mm"] < 90.0 and estimate["pck_0_1"] > 0.85
    assert interval[0] <= estimate["pa_mpjpe_mm"] <= interval[1]


def test_depth_brings_the_wrists_of_a_clip_within_5_mm(clips):
    """The real pipeline on the clip of the golden accuracy, with the depth of a noisy sensor."""
    reconstructor = TwoHandReconstructor.from_config()
    without = synthetic.evaluate_synthetic(reconstructor, "val", FRAMES, clips)
    report = synthetic.evaluate_synthetic(reconstructor, "val", FRAMES, clips, depth=True)
    assert "depth" not in without
    depth = report["depth"]
    print(depth, report["metrics"]["estimate"]["wrist_error_mm"], without["metrics"]["estimate"]["wrist_error_mm"])
    assert depth["ratio"] > 0.9 and depth["wrist_error_median_mm"] < 6.0
    assert depth["within_1_stddev"] > 0.4 and depth["within_2_stddev"] > 0.8
    for name in ("wrist_error_mm", "mpjpe_mm"):
        assert report["metrics"]["estimate"][name] < 0.75 * without["metrics"]["estimate"][name]


def test_the_stated_uncertainty_of_the_distance_is_that_of_its_error(clips):
    """On hands of several sizes, with the encoder and, less certain, without it."""
    stated = {}
    for encoder in ("small", "none"):
        reconstructor = TwoHandReconstructor.from_config(encoder=encoder, refine_steps=0)
        errors, stddevs = [], []
        for seed, view in ((31, "webcam"), (32, "egocentric"), (33, "webcam"), (34, "egocentric")):
            clip = load_clip(rendered_clip(clips, 5, seed, view))
            reconstructor.reset()
            for truth, stamp, image in zip(clip.truth["joints"], clip.truth["stamps"], clip.images(), strict=True):
                estimate = reconstructor(image, clip.camera, float(stamp))
                for hand in (hand for hand in (estimate.left, estimate.right) if hand.found):
                    errors.append(np.linalg.norm(hand.joints[0]) - np.linalg.norm(truth[hand.side, 0]))
                    stddevs.append(hand.position_stddev)
        assert len(errors) >= 32
        ratio = np.sqrt(np.mean((np.array(errors) / stddevs) ** 2))
        assert 0.5 < ratio < 2.0, encoder
        stated[encoder] = np.mean(stddevs)
    assert stated["small"] < 0.7 * stated["none"]
