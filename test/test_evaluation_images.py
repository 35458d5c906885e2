"""Evaluation of the pipeline on single images: the truth scores zero, and missed hands are counted."""

import json

import numpy as np
import pytest

from hand_recon_ros import HandEstimate, HandState, Side, TwoHandEstimate
from hand_recon_ros.cli import main
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.evaluation import images
from hand_recon_ros.evaluation.penetration import PENETRATION
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.sample_stream import SampleStream

MODEL = load_hand_model()
COUNT = 8


class Oracle:
    """Returns the ground truth of ``sides``, with a hand's fields altered by ``change``."""

    hand_model, config = MODEL, ReconstructorConfig()

    def __init__(self, change=lambda fields: fields, sides=tuple(Side)):
        self.change, self.sides = change, sides
        self.samples = (SampleStream("val", images.SEED, MODEL).frame(n, 320, 240) for n in range(COUNT))

    def reconstruct_image(self, image, camera):
        sample = next(self.samples)
        np.testing.assert_array_equal(image, sample.image)
        hands = [self.hand(sample, side) for side in Side]
        return TwoHandEstimate(
            left=hands[0], right=hands[1], stamp=0.0, hand_model="", calibrated=True, mirrored=False, timings={}
        )

    def hand(self, sample, side):
        if side not in self.sides or not sample.present[side]:
            return HandEstimate.lost(side)
        mesh = MODEL.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
        fields = {"joints": sample.joints[side], "keypoints_2d": sample.keypoints_2d[side], "mesh": mesh}
        fields = self.change(fields)
        return HandEstimate(
            side=side, state=HandState.TRACKED, score=1.0, side_score=1.0, track_id=1, since_measurement=0.0,
            joints=fields["joints"], joint_scores=np.ones(21), keypoints_2d=fields["keypoints_2d"],
            mesh=lambda: fields["mesh"], faces=MODEL.faces(side), rotations=sample.rotations[side],
            betas=sample.betas[side], translation=sample.translation[side], wrist_pose=np.eye(4), roi=(0, 0, 1, 1),
            scale_source=0, position_stddev=0.0,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(images, "SIZE", (320, 240))


def evaluated(oracle, column="estimate"):
    return images.evaluate_images(oracle, "val", COUNT)["metrics"][column]


def test_the_truth_scores_zero():
    found = evaluated(Oracle())
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "mpvpe_mm", "pa_mpvpe_mm", "wrist_error_mm", "mrrpe_mm", "error_2d_px"):
        assert found[name] == pytest.approx(0.0, abs=1e-3), name
    assert found["found"] == found["both_found"] == found["pck_0_05"] == 1.0 and found["false_hands"] == 0.0
    true = evaluated(Oracle(), "ground_truth")
    for name in PENETRATION:
        assert found[name] is not None and found[name] == pytest.approx(true[name]), name


def test_hands_moved_into_each_other_penetrate():
    def together(fields):
        return {**fields, "mesh": fields["mesh"] - fields["mesh"].mean(axis=0) + [0.0, 0.0, 0.5]}

    found, true = evaluated(Oracle(together)), evaluated(Oracle(together), "ground_truth")
    assert found["pen_rate_5mm"] == 1.0 and found["pen_depth_mm"] > 10.0 and found["pen_vol_cm3"] > 20.0
    assert true["pen_rate_5mm"] == 0.0 and true["pen_depth_mm"] < 3.0


def test_known_errors_score_what_they_are():
    def nearer(fields):
        return {**fields, "joints": fields["joints"] * 0.9, "keypoints_2d": fields["keypoints_2d"] + [3.0, 4.0]}

    found = evaluated(Oracle(nearer))
    assert found["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)
    assert found["error_2d_px"] == pytest.approx(5.0)
    assert 15.0 < found["wrist_error_mm"] < 160.0  # a tenth of 0.2 to 1.5 m


def test_missed_hands_are_counted():
    one_side = evaluated(Oracle(sides=(Side.RIGHT,)))
    assert one_side["both_found"] == 0.0 and 0.2 < one_side["found"] < 0.8 and one_side["mrrpe_mm"] is None

    def elsewhere(fields):
        return {**fields, "keypoints_2d": fields["keypoints_2d"] + 1000.0}

    missed = evaluated(Oracle(elsewhere))
    assert missed["found"] == 0.0 and missed["false_hands"] > 0.5 and missed["mpjpe_mm"] is None


def test_every_image_is_a_case_with_its_own_picture():
    cases = []
    images.evaluate_images(Oracle(sides=(Side.RIGHT,)), "val", COUNT, cases)
    stream = SampleStream("val", images.SEED, MODEL)
    for number, case in enumerate(cases):
        sample = stream.frame(number, 320, 240)
        assert (case.number, case.name, case.arrangement) == (number, sample.name, sample.arrangement)
        assert case.missed == [Side.LEFT] * bool(sample.present[Side.LEFT])
        np.testing.assert_array_equal(case.true, sample.keypoints_2d)
    np.testing.assert_array_equal(cases[-1].picture(), stream.frame(COUNT - 1, 320, 240).image)


def test_the_command(capsys):
    assert main(["evaluate", "--split", "test-interacting", "--frames", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == "test-interacting" and report["n"] == 2
    assert 0.0 <= report["metrics"]["estimate"]["found"] <= 1.0
