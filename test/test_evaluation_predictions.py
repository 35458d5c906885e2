"""Predictions for a data set: stored and taken up again, as streams, and by several processes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from typing import Any

import numpy as np
import pytest
from data_set_support import CONFIG, FAST, FRAMES, MODEL, OracleOfStreams, install

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.datasets.annotated import AnnotatedImages
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.freihand import FreiHand
from hand_recon_ros.datasets.interhand26m import InterHand26M
from hand_recon_ros.datasets.interhand26m_files import write_interhand26m
from hand_recon_ros.datasets.sample import Sample
from hand_recon_ros.evaluation import predictions
from hand_recon_ros.evaluation.data_sets import evaluate_data_set, open_data_set
from hand_recon_ros.synthetic import SampleStream


def test_a_run_goes_on_with_the_stored_parts(miniatures, monkeypatch, tmp_path):
    monkeypatch.setattr(predictions, "PART", 3)
    data = open_data_set("hic", miniatures["hic"])
    oracle = install(monkeypatch, data.images)
    whole = evaluate_data_set(data, CONFIG)
    oracle.calls = 0

    def stopped(number: int, side: Side, *points: np.ndarray) -> Any:
        if number == 4:
            raise RuntimeError("switched off")
        return points

    first = install(monkeypatch, data.images, stopped)
    with pytest.raises(RuntimeError, match="switched off"):
        evaluate_data_set(data, CONFIG, cache=tmp_path)
    assert first.calls == 5
    second = install(monkeypatch, data.images)
    report = evaluate_data_set(data, CONFIG, cache=tmp_path)
    assert second.calls == FRAMES - 3 and report == whole
    # Other settings are other predictions.
    third = install(monkeypatch, data.images)
    evaluate_data_set(data, ReconstructorConfig(**FAST, min_presence=0.6), cache=tmp_path)  # type: ignore[arg-type]
    assert third.calls == FRAMES
    assert len(list(tmp_path.iterdir())) == 2


def test_stored_parts_are_of_their_own_data_set_and_labels(miniatures, monkeypatch, tmp_path):
    other, cache = tmp_path / "other", tmp_path / "cache"
    shutil.copytree(miniatures["hic"], other)
    content = json.loads((other / "HIC.json").read_text())
    content["annotations"][0]["right_mano_path"] = content["annotations"][1]["right_mano_path"]
    (other / "HIC.json").write_text(json.dumps(content))
    for root, predicted in ((miniatures["hic"], FRAMES), (other, FRAMES), (miniatures["hic"], 0)):
        data = open_data_set("hic", root)
        oracle = install(monkeypatch, data.images)
        evaluate_data_set(data, CONFIG, cache=cache)
        assert oracle.calls == predicted
    # InterWild's joints outside of the image are not among InterNet's; intaghand has more images.
    protocols = ("interwild", "internet", "intaghand", "interwild")
    opened = [open_data_set("interhand26m", miniatures["interhand26m"], protocol=name).images for name in protocols]
    digests = [images.digest() for images in opened]
    assert len(opened[0]) == len(opened[1]) and len(set(digests)) == 3 and digests[0] == digests[3]
    versions = [FreiHand(miniatures["freihand"], "training", versions=(name,)).digest() for name in ("gs", "hom")]
    assert versions[0] != versions[1]


def test_images_that_were_damaged_are_looked_at_again(miniatures, monkeypatch, tmp_path):
    root, cache = tmp_path / "set", tmp_path / "cache"
    shutil.copytree(miniatures["freihand"], root)
    data = open_data_set("freihand", root)
    install(monkeypatch, data.images)
    picture = root / "evaluation" / "rgb" / "00000003.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:400])
    assert evaluate_data_set(data, CONFIG, cache=cache)["n"] == FRAMES - 1
    with pytest.raises(AnnotationError, match=r"00000003\.jpg"):
        evaluate_data_set(data, CONFIG, cache=cache, skip_damaged=False)
    picture.write_bytes(whole)
    assert evaluate_data_set(data, CONFIG, cache=cache)["n"] == FRAMES


def test_sequences_are_streams_and_have_a_jitter(miniatures, monkeypatch, tmp_path):
    """Two sequences of a hand that moves evenly, of which one lacks an image; estimates go to and fro by 2 mm."""
    sample = next(s for s in SampleStream("test", 4, MODEL) if s.present.all())
    samples = []
    for number in range(13):
        step = np.array([0.001 * number, 0.0, 0.0])
        image = sample.image.copy()
        image[:8, :8] = 20 * number  # each image is another
        samples.append(
            dataclasses.replace(sample, image=image, joints=sample.joints + step, translation=sample.translation + step)
        )
    write_interhand26m(samples, tmp_path, MODEL, captures=1)
    data = open_data_set("interhand26m", tmp_path, protocol="wrist-metric-annotated")
    images = data.images
    assert isinstance(images, InterHand26M)
    assert images.sequences() == [tuple(range(13))]
    monkeypatch.setattr(images, "sequences", lambda: [(0, 1, 2, 3, 4, 6, 7, 8), (9, 10, 11, 12)])

    def changed(number: int, side: Side, *points: np.ndarray) -> Any:
        return tuple(each + [0.0, 0.001 * (-1) ** number, 0.0] for each in points)

    oracle = OracleOfStreams(images, changed)
    monkeypatch.setattr(predictions, "TwoHandReconstructor", oracle)
    report = evaluate_data_set(data, CONFIG, streams=True)
    first = images.entry(0).frame / 30.0
    expected = [first + np.array([0, 1, 2, 3, 4, 6, 7, 8]) / 5.0, first + np.array([9, 10, 11, 12]) / 5.0]
    for stamps, right in zip(oracle.stamps, expected, strict=True):
        np.testing.assert_allclose(stamps, right)
    assert report["rate_hz"] == 5.0 and report["streams"]
    figures = report["metrics"]["estimate"]
    # |a - 2 b + a| of +-1 mm is 4 mm; the gap counts nowhere: 3 + 1 + 2 accelerations.
    assert figures["acceleration_jitter_mm_per_frame2"] == pytest.approx(4.0, rel=1e-6)
    assert figures["true_acceleration_jitter_mm_per_frame2"] == pytest.approx(0.0, abs=1e-6)
    assert figures["jitter_share"] == 1.0
    with pytest.raises(ValueError, match="no sequences"):
        evaluate_data_set(open_data_set("hic", miniatures["hic"]), CONFIG, streams=True)


def test_several_processes_predict_the_same(miniatures, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "PART", 4)
    data = open_data_set("interhand26m", miniatures["interhand26m"], protocol="intaghand")
    one = evaluate_data_set(data, CONFIG)
    two = evaluate_data_set(data, CONFIG, cache=tmp_path, processes=2)
    assert one == two and one["counts"]["hands_found"] > 0


class NamesItsGpu(AnnotatedImages):
    """Images that are all damaged: the reason is the GPU that the process sees."""

    name, split, stored_model, hand_model, annotation_files = "gpus", "test", "mano", None, ()

    def __len__(self) -> int:
        return 4

    def sample(self, index: int) -> Sample:
        raise AnnotationError(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))


@pytest.mark.parametrize(("gpus", "seen"), [(["3", "GPU-5"], {"3", "GPU-5"}), (["3"], {"3"}), ([], {"none"})])
def test_processes_use_the_gpus_by_turns(monkeypatch, gpus, seen):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(predictions, "gpus_of", lambda device: gpus)
    monkeypatch.setattr(predictions, "PART", 1)
    work = predictions.Work(NamesItsGpu(), tuple(range(4)), CONFIG)
    parts = list(predictions.predict(work, processes=2))
    named = {text for part in parts for text in part["damaged"].tolist()}
    # One process may be faster and predict all of them.
    assert len(parts) == 4 and named and named <= seen
