"""Inference sessions: batches, buffers, conversion of images, errors."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest

from hand_recon_ros.runtime import sessions
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, find_model


@pytest.fixture(scope="module")
def landmark_session():
    return sessions.open_session(find_model(HAND_LANDMARKS), threads=2, capacity=2)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_several_images_give_what_each_gives_alone(landmark_session, threads):
    """However many there are: side by side, or the last one on all threads."""
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    alone = []
    for image in images:
        landmark_session.inputs[0] = image
        alone += landmark_session.run(1)
    several = sessions.open_session(find_model(HAND_LANDMARKS), threads=threads, capacity=4)
    for count in (4, 3, 2, 1, 0):
        filled: list[int] = []

        def fill(index, filled=filled):
            several.inputs[index] = images[index]
            filled.append(index)

        several.inputs[:] = 0
        outputs = several.run(count, fill)
        assert filled == list(range(count)) and len(outputs) == count
        for ours, single in zip(outputs, alone[:count], strict=True):
            assert [array.shape for array in ours] == [(63,), (1,), (1,), (63,)]
            for a, b in zip(ours, single, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-3)


def test_after_an_error_while_filling_the_session_goes_on(landmark_session):
    images = np.random.default_rng(4).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    landmark_session.inputs[:] = images
    before = landmark_session.run(2)

    def fill(index):
        if index == 1:
            raise ValueError("no such image")

    with pytest.raises(ValueError, match="no such image"):
        landmark_session.run(2, fill)
    for ours, expected in zip(landmark_session.run(2), before, strict=True):
        np.testing.assert_allclose(ours[0], expected[0], atol=1e-3)


def test_inputs_that_are_filled_already_are_evaluated_as_they_are(landmark_session):
    images = np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    landmark_session.inputs[:] = images
    both = landmark_session.run(2)
    np.testing.assert_array_equal(landmark_session.inputs, images)
    landmark_session.inputs[0] = images[1]
    np.testing.assert_allclose(landmark_session.run(1)[0][0], both[1][0], atol=1e-3)
    assert np.abs(both[0][0] - both[1][0]).max() > 1.0


def test_outputs_outlive_the_next_run(landmark_session):
    landmark_session.inputs[:] = 0
    first = landmark_session.run(1)[0]
    before = [array.copy() for array in first]
    landmark_session.inputs[0] = 255
    landmark_session.run(1)
    for a, b in zip(first, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_graph_converts_bgr_bytes_as_the_networks_expect(landmark_session):
    import openvino

    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    landmark_session.inputs[0] = image
    ours = landmark_session.run(1)[0]
    core = openvino.Core()
    plain = core.compile_model(str(find_model(HAND_LANDMARKS)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = plain((image[None, ..., ::-1] / 255).astype(np.float32))
    for index, array in enumerate(ours):
        np.testing.assert_allclose(array, expected[index][0], atol=2e-3)


def test_only_some_outputs_and_another_range_of_the_input(landmark_session):
    image = np.random.default_rng(2).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    landmark_session.inputs[0] = image
    landmarks, presence, _, _ = landmark_session.run(1)[0]
    path = find_model(HAND_LANDMARKS)
    some = sessions.open_session(path, capacity=2, outputs=(1, 0))
    # Inverted range, inverted image: the network's input is the same.
    inverted = sessions.open_session(path, outputs=(1, 0), input_range=(1.0, 0.0))
    for session, shown in ((some, image), (inverted, 255 - image)):
        session.inputs[0] = shown
        outputs = session.run(1)[0]
        assert len(outputs) == 2
        np.testing.assert_allclose(outputs[0], presence, atol=1e-4)
        np.testing.assert_allclose(outputs[1], landmarks, atol=2e-3)
    assert [len(outputs) for outputs in some.run(2)] == [2, 2]


@pytest.mark.parametrize("count", [-1, 3])
def test_more_images_than_the_capacity_are_refused(landmark_session, count):
    with pytest.raises(ValueError, match=f"up to 2 images at once, got {count}"):
        landmark_session.run(count)


def test_a_file_that_is_no_network_is_named(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(sessions.SessionError, match=r"broken\.tflite"):
        sessions.open_session(path)


def test_without_openvino_the_refusal_names_package_and_platform(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "openvino":
            raise ImportError("No module named 'openvino'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "hand_recon_ros.runtime.openvino_session", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(sessions.SessionError, match=r"openvino.*Python 3\."):
        sessions.open_session(tmp_path / "any.tflite")
