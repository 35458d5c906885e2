"""The hand detector: decoding of its maps, its training, and its detections in the locator."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from hand_recon_ros import Frame, Side
from hand_recon_ros.cli import main
from hand_recon_ros.config import ConfigError, ReconstructorConfig
from hand_recon_ros.datasets.detector_views import frame_view, frame_views
from hand_recon_ros.detect import hand_detector as detector
from hand_recon_ros.detect.duplicates import same_hand
from hand_recon_ros.detect.hand_detector import CHANNELS, FEATURES, GRID, decode
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.evaluation.detection import CandidateCounts, matches
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.models.detector_head import DetectorHead, export_head
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, PALM_DETECTION, ModelFileError, find_model
from hand_recon_ros.runtime.sessions import SessionError, open_session
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.track.locator import HandLocator
from hand_recon_ros.training.detector import DetectorTrainer, DetectorTraining
from hand_recon_ros.training.detector_loss import detector_loss, targets

WHOLE = RotatedBox((0.5, 0.5), 1.0)


def empty_maps() -> np.ndarray:
    maps = np.zeros((2, CHANNELS, GRID, GRID), np.float32)
    maps[:, 0] = -9.0
    return maps


def test_a_peak_is_a_detection():
    maps = empty_maps()
    maps[Side.RIGHT, :, 5, 7] = [1.0, 0.25, -0.5, math.log(0.3), 0.5 * math.cos(0.4), 0.5 * math.sin(0.4)]
    maps[Side.RIGHT, 0, 5, 8] = 0.5  # smaller than its neighbour: no peak
    view = RotatedBox((320.0, 240.0), 640.0, math.pi / 2)  # up in the view is to the right in the image
    (hand,) = decode(maps.reshape(2 * CHANNELS, GRID, GRID), 0.5, view)
    assert hand.score == pytest.approx(1 / (1 + math.exp(-1)))
    across, down = 7.75 / GRID - 0.5, 5.0 / GRID - 0.5
    np.testing.assert_allclose(hand.roi.center, (320 - 640 * down, 240 + 640 * across))
    assert hand.roi.size == pytest.approx(0.3 * 640, rel=1e-6)
    assert hand.roi.angle == pytest.approx(0.4 + math.pi / 2)
    assert decode(maps, 0.8, view) == []


def test_one_box_of_both_sides_is_one_hand():
    maps = empty_maps()
    for side, logit in ((Side.LEFT, 0.5), (Side.RIGHT, -0.5)):
        maps[side, :, 5, 7] = [logit, 0.0, 0.0, math.log(0.3), 1.0, 0.0]
    (hand,) = decode(maps, 0.2, WHOLE)
    assert hand.score == pytest.approx(1 / (1 + math.exp(-0.5)))
    maps[Side.RIGHT, 4:, 5, 7] = 0.0, 1.0  # rotated by a quarter turn: the other hand on top of it
    first, second = decode(maps, 0.2, WHOLE)
    assert first.score > second.score and second.roi.angle == pytest.approx(math.pi / 2)


def test_decoded_targets_are_the_boxes():
    boxes = np.full((1, 2, 5), np.nan, np.float32)
    boxes[0, Side.RIGHT] = 0.41, 0.63, 0.3, math.cos(2.0), math.sin(2.0)
    heat, values = targets(torch.tensor(boxes))
    assert float(heat[:, Side.LEFT].max()) == 0 and int((heat == 1).sum()) == 1
    maps = torch.cat([torch.logit(heat.clamp(1e-4, 0.999))[:, :, None], values], dim=2)[0].numpy()
    (hand,) = decode(maps, 0.9, WHOLE)
    np.testing.assert_allclose(hand.roi.center, (0.41, 0.63), atol=1e-5)
    assert hand.roi.size == pytest.approx(0.3, rel=1e-5) and hand.roi.angle == pytest.approx(2.0)
    valid = torch.ones(1, 2, dtype=torch.bool)
    right = detector_loss(torch.tensor(maps[None]), torch.tensor(boxes), valid)[0]
    mirrored = torch.tensor(maps[None, ::-1].copy())
    wrong = detector_loss(mirrored, torch.tensor(boxes), valid)[0]
    assert float(right) < 0.1 < float(wrong)
    unlabelled = detector_loss(mirrored, torch.full((1, 2, 5), torch.nan), torch.zeros(1, 2, dtype=torch.bool))[0]
    assert float(unlabelled) == 0


def test_views_and_their_mirror_images():
    sample = SampleStream("val")[0]
    plain, mirrored = (frame_view(sample, None, 96, side) for side in (False, True))
    np.testing.assert_array_equal(mirrored.image, plain.image[:, ::-1])
    other = plain.boxes[::-1]
    np.testing.assert_allclose(mirrored.boxes[:, 0], 95 / 96 - other[:, 0], atol=1e-6)
    np.testing.assert_allclose(mirrored.boxes[:, 1:4], other[:, 1:4], atol=1e-6)
    np.testing.assert_allclose(mirrored.boxes[:, 4], -other[:, 4], atol=1e-6)
    again = [frame_views(sample, np.random.default_rng(3), 96) for _ in range(2)]
    for first, second in zip(*again, strict=True):
        np.testing.assert_array_equal(first.image, second.image)


def test_candidates_are_counted():
    box = RotatedBox((100.0, 100.0), 100.0, 0.3)
    assert matches(RotatedBox((115.0, 100.0), 130.0, 0.9), box)
    assert not matches(RotatedBox((125.0, 100.0), 100.0, 0.3), box)
    assert not matches(RotatedBox((100.0, 100.0), 150.0, 0.3), box)
    assert not matches(RotatedBox((100.0, 100.0), 100.0, 1.2), box)
    counts = CandidateCounts()
    counts.add([box, RotatedBox((300.0, 0.0), 50.0)], [box, None], np.array([True, True]))
    counts.add([], [box, box], np.array([True, True]))
    assert counts.figures() == {"hands": 1 / 3, "complete": 0.5, "candidates": 1.0, "false": 0.5}


def recipe(folder, **changes):
    training = {
        "out": str(folder / "run"), "cache": str(folder / "features"), "frames": 4, "validation": 1, "epochs": 30,
        "batch": 4, "warm_up": 4, "workers": 0, **changes,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"training": training}))
    return path


def test_a_short_run_learns_and_its_head_is_the_same_in_openvino(tmp_path, capsys):
    assert main(["train", "detector", "--config", str(recipe(tmp_path)), "--json"]) == 0
    result = yaml.safe_load(capsys.readouterr().out)
    assert result["steps"] == 60 and 0 <= result["validation"]["hands"] <= 1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "log"))
    events.Reload()
    loss = [event.value for event in events.Scalars("train/loss")]
    assert np.mean(loss[-3:]) < 0.7 * np.mean(loss[:3]), loss
    palm = find_model(PALM_DETECTION)
    session = open_session(palm, threads=1, head=tmp_path / "run" / "hand_detector.onnx")
    assert session.run(1)[0][-1].shape == (2 * CHANNELS, GRID, GRID)
    # Cached features are used again; a cache of other frames is not.
    again = recipe(tmp_path, epochs=1, out=str(tmp_path / "again"))
    assert main(["train", "detector", "--config", str(again)]) == 0
    assert main(["train", "detector", "--config", str(recipe(tmp_path, frames=5))]) == 1
    assert "choose another cache" in capsys.readouterr().err


def test_a_resumed_run_ends_like_one_that_was_not_stopped(tmp_path):
    def trainer(name, **arguments):
        return DetectorTrainer(
            DetectorTraining.from_yaml(recipe(tmp_path, epochs=3, out=str(tmp_path / name))), **arguments
        )

    straight = trainer("straight")
    straight.run()
    trainer("stopped").run(until=4)
    resumed = trainer("stopped", resume=True)
    assert resumed.step == 4
    resumed.run()
    assert straight.step == resumed.step == 6
    for name, value in straight.average.items():
        assert torch.equal(resumed.average[name], value), name
    assert straight.history[-1] == resumed.history[-1]


def test_the_exported_head_agrees_with_torch(tmp_path):
    torch.manual_seed(0)
    head = DetectorHead().eval()
    export_head(head, tmp_path / "hand_detector.onnx")
    palm = find_model(PALM_DETECTION)
    features = open_session(palm, threads=1, feature_layers=FEATURES)
    whole = open_session(palm, threads=1, head=tmp_path / "hand_detector.onnx")
    image = np.random.default_rng(0).integers(0, 256, features.inputs[0].shape, dtype=np.uint8)
    features.inputs[0] = whole.inputs[0] = image
    raw, logits, *inner = features.run(1)[0]
    with torch.no_grad():
        expected = head(*(torch.tensor(part)[None] for part in inner))[0].numpy()
    outputs = whole.run(1)[0]
    np.testing.assert_allclose(outputs[0], raw, atol=1e-3)
    np.testing.assert_allclose(outputs[1], logits, atol=1e-3)
    np.testing.assert_allclose(outputs[2], expected, atol=0.01 * np.abs(expected).max())


def test_recipes_are_checked(tmp_path):
    path = recipe(tmp_path, epoks=3)
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        DetectorTraining.from_yaml(path)
    path.write_text("encoder: {}")
    with pytest.raises(ConfigError, match="expected the section 'training'"):
        DetectorTraining.from_yaml(path)


def test_missing_and_wrong_files(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "__file__", str(tmp_path / "detect" / "hand_detector.py"))
    with pytest.raises(ModelFileError, match=r"detector\.onnx is missing: .* install hand_recon_ros again"):
        HandNetworks.load(ReconstructorConfig())
    monkeypatch.undo()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(SessionError, match=r"broken\.onnx: OpenVINO cannot read"):
        open_session(find_model(PALM_DETECTION), head=broken)
    with pytest.raises(SessionError, match="no layer 'classifier_palm_8'"):
        open_session(find_model(HAND_LANDMARKS), head=detector.detector_file())
    with pytest.raises(SessionError, match="no layer 'nonsense'"):
        open_session(find_model(PALM_DETECTION), feature_layers=["nonsense"])


def test_the_pipeline_runs_without_torch():
    code = (
        "import sys; from hand_recon_ros import TwoHandReconstructor; TwoHandReconstructor.from_config(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_the_detector_finds_a_pair_that_the_palm_detector_misses():
    sample = SampleStream("val").frame(79, 640, 480)
    assert sample.present.all()
    found = {}
    for with_detector in (False, True):
        networks = HandNetworks.load(ReconstructorConfig(), with_detector)
        located = HandLocator(networks).search(Frame(sample.image, sample.camera), ReconstructorConfig())
        by_side = {observation.side: observation.keypoints_2d for observation in located}
        found[with_detector] = [
            side in by_side and same_hand(by_side[side], sample.keypoints_2d[side]) for side in Side
        ]
    assert found == {False: [False, False], True: [True, True]}
