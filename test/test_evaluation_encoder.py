"""Evaluation of the encoder: the truth scores zero, known errors score what they are, files are checked."""

import dataclasses

import numpy as np
import pytest
import torch

from hand_recon_ros.cli import main
from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.crops import sample_crops
from hand_recon_ros.encode.hand_encoder import decode_prediction
from hand_recon_ros.encode.outputs import HandOutputs, PosedHandOutputs
from hand_recon_ros.evaluation.encoder import SEED, evaluate_encoder
from hand_recon_ros.evaluation.encoder_predictors import load_encoder, network_predictor, session_predictor
from hand_recon_ros.evaluation.predicted_errors import SCALES, calibration, relative_errors
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.interact.estimates import uncertainty_of
from hand_recon_ros.interact.refinement import RefinementResult, Refiner
from hand_recon_ros.interact.relative_translation import along_rays
from hand_recon_ros.landmarks.observation import Observation
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.synthetic.sample_stream import OCCLUDED_JOINTS, SampleStream
from hand_recon_ros.types import HandEstimate, Side

COUNT = 12


def oracle(width=1.0, scale=1.0, shift=0.0, distance=1.0, errors=1e-3):
    """An encoder with the true outputs, but for factors on the crop's width, on the joints and on the distance of the
    wrists, and a shift in the crop; it predicts ``errors`` of this size."""

    def predict(batch):
        keypoints_2d, width_errors = batch["keypoints_2d"] + shift, torch.full_like(batch["log_crop_width"], errors)
        return PosedHandOutputs(
            joints=batch["joints"] * scale, keypoints_2d=keypoints_2d,
            keypoint_scales=torch.full(keypoints_2d.shape[:-1], errors),
            log_crop_width=batch["log_crop_width"] + np.log(width), log_crop_width_scale=width_errors,
            to_other=batch["to_other"] * distance, other_box=torch.zeros_like(batch["other_box"]),
            other_visible=torch.zeros_like(width_errors), presence=torch.zeros_like(width_errors),
            rotations=batch["rotations"], betas=batch["betas"],
        )  # fmt: skip

    return predict


def test_the_truth_scores_zero():
    report = evaluate_encoder(oracle(), "val", COUNT, refiner=Refiner(load_hand_model()))
    found = report["metrics"]["estimate"]
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "wrist_error_mm", "mrrpe_mm", "mrrpe_predicted_mm", "error_2d_px"):
        assert found[name] == pytest.approx(0.0, abs=0.05), name
    assert found["pck_0_05"] == 1.0 and report["n"] == COUNT
    assert found["mpvpe_mm"] == pytest.approx(0.0, abs=0.05) and found["pa_mpvpe_mm"] == pytest.approx(0.0, abs=0.05)
    true = report["metrics"]["ground_truth"]
    assert found["pen_depth_mm"] == pytest.approx(true["pen_depth_mm"], abs=0.05)
    assert found["contact_ratio"] == true["contact_ratio"]
    refined = report["metrics"]["refined"]
    assert refined["pen_rate_2mm"] == 0.0 and refined["mpjpe_mm"] < 1.0 and refined["mrrpe_mm"] < 3.0
    assert evaluate_encoder(oracle(), "val", 2)["metrics"]["refined"] is None
    low, high = report["ci95"]["estimate"]["mpjpe_mm"]
    assert low <= found["mpjpe_mm"] <= high


def test_known_errors_score_what_they_are():
    larger = evaluate_encoder(oracle(scale=1.1), "val", COUNT)["metrics"]["estimate"]
    assert larger["pa_mpjpe_mm"] == pytest.approx(0.0, abs=0.05) and 4.0 < larger["mpjpe_mm"] < 13.0
    farther = evaluate_encoder(oracle(width=1.05), "val", COUNT)["metrics"]["estimate"]
    assert farther["mpjpe_mm"] == pytest.approx(0.0, abs=0.05)
    assert 5.0 < farther["wrist_error_mm"] < 80.0  # 5 % of 0.2 to 1.5 m
    assert farther["mrrpe_mm"] < farther["wrist_error_mm"]
    aside = evaluate_encoder(oracle(shift=0.05), "val", COUNT)["metrics"]["estimate"]
    assert aside["error_2d_px"] > 3.0 and aside["pck_0_05"] < 0.7


def test_predicted_errors_are_compared_with_the_real_ones():
    # Each coordinate is off by 0.05 of the crop, the distance by 5 %.
    names = ("keypoints_within_stddev", "distance_within_stddev")
    for errors, share in ((0.05, 1.0), (0.03, 0.0)):
        found = evaluate_encoder(oracle(shift=0.05, width=1.05, errors=errors), "val", 4)["metrics"]["estimate"]
        assert [found[name] for name in names] == [share, share]


def test_a_calibration_holds_two_thirds_of_the_errors():
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.01, 0.1, (400, 2, 21))
    shape = dict.fromkeys(("joints", "to_other", "other_box", "other_visible", "presence"), np.zeros(1))
    outputs = HandOutputs(
        keypoints_2d=rng.laplace(0.0, 3.0 * scales[..., None], (400, 2, 21, 2)), keypoint_scales=scales,
        log_crop_width=rng.laplace(0.0, 0.02, (400, 2)), log_crop_width_scale=np.full((400, 2), 0.1), **shape,
    )  # fmt: skip
    posed = (rng.random((400, 2)) < 0.8).astype(float)
    truth = {"posed": posed, "keypoint_weights": np.ones((400, 2, 21)), "keypoints_2d": np.zeros((400, 2, 21, 2)),
             "log_crop_width": np.where(posed > 0, 0.0, 9.0)}  # fmt: skip
    factors = calibration(relative_errors(outputs, truth))
    # One standard deviation of a Laplace distribution, 2 ** 0.5 scales, holds 76 % of it, not 68 %.
    assert factors["keypoint_scales"] == pytest.approx(3.0 * 0.81, rel=0.05)
    assert factors["log_crop_width_scale"] == pytest.approx(0.2 * 0.81, rel=0.15)
    calibrated = dataclasses.replace(outputs, **{name: factors[name] * getattr(outputs, name) for name in SCALES})
    for errors in relative_errors(calibrated, truth).values():
        assert (errors <= 1.0).mean() == pytest.approx(0.6827, abs=2e-3)
    assert calibration({"keypoint_scales": np.zeros(0)}) == {"keypoint_scales": 1.0}


def test_the_predicted_relative_translation_is_measured():
    farther = evaluate_encoder(oracle(distance=1.1), "val", 2 * COUNT)["metrics"]["estimate"]
    assert farther["mrrpe_mm"] == pytest.approx(0.0, abs=0.05)
    samples = [SampleStream("val", SEED, load_hand_model())[number] for number in range(2 * COUNT)]
    pairs = [s for s in samples if s.present.all()]
    errors = [100 * np.linalg.norm(s.joints[0, 0] - s.joints[1, 0]) for s in pairs]
    assert farther["mrrpe_predicted_mm"] == pytest.approx(np.mean(errors), abs=0.05)
    occluded = [e for e, s in zip(errors, pairs, strict=True) if (s.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any()]
    assert 0 < len(occluded) < len(pairs)
    assert farther["mrrpe_predicted_occluded_mm"] == pytest.approx(np.mean(occluded), abs=0.05)


def test_the_refiner_gets_the_pipelines_uncertainty_and_wrists():
    """For hands that only the encoder finds: scores of the lifting's evidence, wrists and their standard deviations of
    the relative translation."""
    calls = []

    class Recorder:
        def __call__(self, pair, uncertainty, steps):
            calls.append((pair, uncertainty))
            return RefinementResult(pair, uncertainty.position_stddev)

    predict, model, moved = oracle(distance=1.1, errors=0.02), load_hand_model(), []
    evaluate_encoder(predict, "val", COUNT, refiner=Recorder())
    stream, lifter = SampleStream("val", SEED, model), Lifter(model)
    for number in range(COUNT):
        sample = stream[number]
        if not sample.present.all():
            continue
        pair, uncertainty = calls.pop(0)
        crops = sample_crops(sample, np.random.default_rng([SEED, number]), distractors=False)
        outputs = predict(torch.utils.data.default_collate([crops.arrays])).map(np.asarray)[0]
        predictions = [decode_prediction(crops.frames[side], outputs[side], both=True) for side in Side]
        observations = [
            Observation(
                side=side, score=p.presence, side_score=1.0, keypoints_2d=p.keypoints_2d, screen_depth=np.zeros(21),
                world=p.joints, joint_scores=np.zeros(21), roi=crops.frames[side].box, detected=False, prediction=p,
            )
            for side, p in zip(Side, predictions, strict=True)
        ]  # fmt: skip
        scores = np.stack([hand.joint_scores for hand in lifter(observations, sample.camera)])
        wrists, stddevs = along_rays(
            np.stack([p.wrist for p in predictions]), np.array([p.wrist_stddev for p in predictions]),
            0.5 * (predictions[0].to_other - predictions[1].to_other),
        )  # fmt: skip
        hands = [HandEstimate.lost(side) for side in Side]
        for side, hand in zip(Side, hands, strict=True):
            object.__setattr__(hand, "joints", predictions[side].joints + wrists[side])
            object.__setattr__(hand, "joint_scores", scores[side])
            object.__setattr__(hand, "position_stddev", stddevs[side])
        expected = uncertainty_of(hands)
        np.testing.assert_allclose(pair.wrists, wrists, atol=1e-6)
        moved.append(np.abs(wrists - np.stack([p.wrist for p in predictions])).max())
        for name in ("precision", "position_stddev", "scores", "overlap"):
            np.testing.assert_allclose(getattr(uncertainty, name), getattr(expected, name), rtol=1e-5, err_msg=name)
        assert uncertainty.scores.min() < 0.9
    assert not calls and max(moved) > 1e-3


def test_a_case_is_the_pair_of_crops_that_was_measured():
    cases, measured = [], []

    def encoder(batch):
        measured.extend(batch["crops"].numpy())
        return oracle(shift=0.05)(batch)

    evaluate_encoder(encoder, "val", 3, cases)
    for number, (case, crops) in enumerate(zip(cases, measured, strict=True)):
        np.testing.assert_array_equal(case.picture()[..., ::-1], np.concatenate(list(crops), axis=1))
        assert case.number == number and not case.missed
        for side in case.errors:
            np.testing.assert_allclose(case.estimated[side] - case.true[side], 0.05 * 224, atol=1e-3)
            column = case.true[side, 9, 0] - 224 * side  # the middle finger's base lies in the hand's own crop
            assert 0 < column < 224
    assert any(len(case.errors) == 2 for case in cases)


def test_other_files_are_refused(tmp_path, capsys):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not an encoder"):
        load_encoder(tmp_path / "x.safetensors")
    assert main(["evaluate", "--encoder", "nothing", "--json"]) == 1
    assert "got 'nothing'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_exported_encoder_is_measured_as_the_pipeline_runs_it(tmp_path):
    pytest.importorskip("onnx")
    from hand_recon_ros.models.export import export_onnx

    torch.manual_seed(0)
    model = FusionAlignmentEncoder(EncoderConfig(width=32, layers=1, heads=2), load_hand_model()).eval()
    export_onnx(model, tmp_path / "encoder.onnx")
    one, other = (
        evaluate_encoder(predict, "val", COUNT)["metrics"]["estimate"]
        for predict in (network_predictor(model), session_predictor(str(tmp_path / "encoder.onnx")))
    )
    for name, value in one.items():
        assert other[name] == (None if value is None else pytest.approx(value, rel=0.02, abs=0.02)), name
