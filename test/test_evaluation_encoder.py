"""Evaluation of the encoder: the truth scores zero, known errors score what they are, files are checked."""

import numpy as np
import pytest
import torch

from hand_recon_ros.cli import main
from hand_recon_ros.config import ConfigError
from hand_recon_ros.encode.outputs import HandsOutput
from hand_recon_ros.evaluation.encoder import _SEED, evaluate_encoder, load_encoder, predictor, session_predictor
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.interact.refinement import Refiner
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.synthetic.sample_stream import OCCLUDED_JOINTS, SampleStream

COUNT = 12


def oracle(width=1.0, scale=1.0, shift=0.0, apart=1.0):
    """An encoder that knows the truth, but for factors on the crop's width and the joints and a shift in the crop."""

    def predict(batch):
        joints, places = batch["joints"] * scale, batch["keypoints_2d"] + shift
        empty = torch.zeros(len(joints), 2)
        return HandsOutput(
            rotations=batch["rotations"], betas=batch["betas"], joints=joints, keypoints_2d=places,
            keypoint_scales=torch.zeros(places.shape[:-1]),
            depths=joints[..., 2], log_crop_width=batch["log_crop_width"] + np.log(width), log_crop_width_scale=empty,
            to_other=batch["to_other"] * apart, presence=empty, segmentation=empty,
            other_box=torch.zeros_like(batch["other_box"]), other_visible=empty,
        )  # fmt: skip

    return predict


def test_the_truth_scores_zero():
    report = evaluate_encoder(oracle(), "val", COUNT, refiner=Refiner(load_hand_model()))
    found = report["metrics"]["estimate"]
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "wrist_error_mm", "mrrpe_mm", "mrrpe_told_mm", "error_2d_px"):
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


def test_the_relation_is_measured_as_it_was_told():
    farther = evaluate_encoder(oracle(apart=1.1), "val", 2 * COUNT)["metrics"]["estimate"]
    assert farther["mrrpe_mm"] == pytest.approx(0.0, abs=0.05)
    samples = [SampleStream("val", _SEED, load_hand_model())[number] for number in range(2 * COUNT)]
    pairs = [s for s in samples if s.present.all()]
    apart = [100 * np.linalg.norm(s.joints[0, 0] - s.joints[1, 0]) for s in pairs]
    assert farther["mrrpe_told_mm"] == pytest.approx(np.mean(apart), abs=0.05)
    hidden = [a for a, s in zip(apart, pairs, strict=True) if (s.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any()]
    assert 0 < len(hidden) < len(pairs)
    assert farther["mrrpe_told_occluded_mm"] == pytest.approx(np.mean(hidden), abs=0.05)


def test_a_case_is_the_pair_of_crops_that_was_measured():
    cases, shown = [], []

    def encoder(batch):
        shown.extend(batch["crops"].numpy())
        return oracle(shift=0.05)(batch)

    evaluate_encoder(encoder, "val", 3, cases)
    for number, (case, crops) in enumerate(zip(cases, shown, strict=True)):
        np.testing.assert_array_equal(case.picture()[..., ::-1], np.concatenate(list(crops), axis=1))
        assert case.number == number and not case.missed
        for side in case.errors:
            np.testing.assert_allclose(case.estimated[side] - case.true[side], 0.05 * 224, atol=1e-3)
            place = case.true[side, 9, 0] - 224 * side  # the middle finger's base lies in the hand's own crop
            assert 0 < place < 224
    assert any(len(case.errors) == 2 for case in cases)


def test_other_files_are_refused(tmp_path, capsys):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not an encoder"):
        load_encoder(tmp_path / "x.safetensors")
    assert main(["evaluate", "--encoder", "nothing", "--json"]) == 1
    assert "got 'nothing'" in capsys.readouterr().err


def test_an_exported_encoder_is_measured_as_the_pipeline_runs_it(tmp_path):
    pytest.importorskip("onnx")
    from hand_recon_ros.models.export import export_onnx

    torch.manual_seed(0)
    model = FusionAlignmentEncoder(EncoderConfig(width=32, layers=1, heads=2), load_hand_model()).eval()
    export_onnx(model, tmp_path / "encoder.onnx")
    one, other = (
        evaluate_encoder(encoder, "val", COUNT)["metrics"]["estimate"]
        for encoder in (predictor(model), session_predictor(str(tmp_path / "encoder.onnx"), reduced_precision=False))
    )
    for name, value in one.items():
        assert other[name] == (None if value is None else pytest.approx(value, rel=0.02, abs=0.02)), name
