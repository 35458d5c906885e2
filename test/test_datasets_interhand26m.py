"""InterHand2.6M: every label by hand, and the meshes by smplx."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import pickle

import cv2
import numpy as np
import pytest
from interhand26m import CONTENTS, HEIGHT, WIDTH, contents, path_of, write
from smplx_hand import smplx_vertices

from hand_recon_ros import Side
from hand_recon_ros.datasets.interhand26m import InterHand26M
from hand_recon_ros.datasets.pictures import AnnotationError
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.skeleton import KEYPOINT_NAMES

# Their joints, by their own names, from the published list.
THEIR_NAMES = [
    f"{hand}_{joint}"
    for hand in "RL"
    for joint in (*(f"{f}_{i}" for f in ("Thumb", "Index", "Middle", "Ring", "Pinky") for i in (4, 3, 2, 1)), "Wrist")
]
LEVELS = {"cmc": 1, "mcp": 1, "pip": 2, "dip": 3, "tip": 4}
THUMB_LEVELS = {"cmc": 1, "mcp": 2, "ip": 3, "tip": 4}


assert (THEIR_NAMES[0], THEIR_NAMES[20], THEIR_NAMES[41], len(THEIR_NAMES)) == ("R_Thumb_4", "R_Wrist", "L_Wrist", 42)


def their_index(side: Side, keypoint: str) -> int:
    hand = "R" if side == Side.RIGHT else "L"
    if keypoint == "wrist":
        return THEIR_NAMES.index(f"{hand}_Wrist")
    finger, level = keypoint.split("_")
    return THEIR_NAMES.index(f"{hand}_{finger.title()}_{(THUMB_LEVELS if finger == 'thumb' else LEVELS)[level]}")


@pytest.fixture(scope="module")
def mano() -> HandModel:
    """A hand in MANO's layout with a mean pose, whose left hand is not the mirror image of the right one."""
    rng = np.random.default_rng(4)
    right = load_hand_model().arrays(Side.RIGHT)
    right = dataclasses.replace(right, hands_mean=rng.normal(0.0, 0.3, 45))
    left = dataclasses.replace(
        right.mirrored(),
        hands_mean=rng.normal(0.0, 0.3, 45),
        shapedirs=right.mirrored().shapedirs * rng.uniform(0.5, 1.5, 10).astype(np.float32),
        joint_frames=None,
    )
    return HandModel("mano", dataclasses.replace(right, joint_frames=None), left)


@pytest.fixture
def root(tmp_path):
    return write(tmp_path)


def test_joints_in_the_camera_are_ours_in_order_and_metres(root):
    sample = InterHand26M(root)[0]
    for side in Side:
        for keypoint, name in enumerate(KEYPOINT_NAMES):
            i = their_index(side, name)
            # x to the world's y, y to minus its x; the camera is at (10, -20, -1000) mm.
            expected = np.array([2.0 * i + 20.0, 10.0 - i, i / 10 + 1000.0]) / 1000.0
            np.testing.assert_allclose(sample.joints[side, keypoint], expected, atol=1e-12, err_msg=name)
    # The tip of the right thumb is their joint 0.
    np.testing.assert_allclose(sample.joints[Side.RIGHT, 4], [0.02, 0.01, 1.0])
    np.testing.assert_allclose(sample.keypoints_2d[Side.RIGHT, 4], [500 * 0.02 + 30, 600 * 0.01 + 20])
    np.testing.assert_array_equal(sample.camera.K, [[500, 0, 30], [0, 600, 20], [0, 0, 1]])
    assert (sample.camera.width, sample.camera.height, sample.image.shape) == (WIDTH, HEIGHT, (HEIGHT, WIDTH, 3))
    assert sample.present.all() and not sample.has_maps and sample.vertices is None
    assert sample.name == "interhand26m/test/Capture3/0007_sh_fist/cam400262/image12.jpg"


def test_images_belong_to_annotations_by_id_and_cameras_share_a_frame(root):
    dataset = InterHand26M(root)
    assert [dataset[i].arrangement for i in range(len(dataset))] == ["interacting", "interacting", "right", "left"]
    entries = [dataset.entry(i) for i in range(4)]
    assert [(e.camera, e.frame) for e in entries] == [
        ("400262", 12), ("400263", 12), ("400263", 18), ("400262", 24),
    ]  # fmt: skip
    first = entries[0]
    assert (first.annotation_id, first.capture, first.subject, first.sequence) == (900, 3, 5, "0007_sh_fist")
    assert first.box.tolist() == [1.5, 2.0, 31.5, 42.0] and first.hand_type_valid
    np.testing.assert_allclose(dataset[1].joints[Side.RIGHT, 0], [0.020, 0.040, 0.502], atol=1e-12)
    assert [dataset[i].present.tolist() for i in (2, 3)] == [[False, True], [True, False]]
    assert np.isnan(dataset[2].joints[Side.LEFT]).all() and np.isfinite(dataset[2].joints[Side.RIGHT]).all()
    assert dataset[-1].name == dataset[3].name
    with pytest.raises(IndexError, match="has 4 images"):
        dataset[4]


@pytest.mark.parametrize("number", [0, 1])
def test_meshes_are_those_of_smplx_moved_to_the_camera(root, mano, number):
    sample = InterHand26M(root, "test", mano)[number]
    cameras, name = CONTENTS["camera"]["3"], ["400262", "400263"][number]
    rotation, position = np.array(cameras["camrot"][name]), np.array(cameras["campos"][name]) / 1000.0
    for side in Side:
        stored = CONTENTS["MANO_NeuralAnnot"]["3"]["12"][side.name.lower()]
        world = smplx_vertices(mano, side, *(np.array(stored[field]) for field in ("pose", "shape", "trans")))
        expected = (world - position) @ rotation.T
        np.testing.assert_allclose(sample.vertices[side], expected, atol=2e-6)
        posed = mano.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
        np.testing.assert_array_equal(sample.vertices[side], posed)
        np.testing.assert_array_equal(sample.betas[side], stored["shape"])


def test_hands_without_parameters_have_joints(root, mano):
    dataset = InterHand26M(root, "test", mano)
    right, left = dataset[2], dataset[3]
    assert np.isfinite(right.vertices[Side.RIGHT]).all() and np.isnan(right.vertices[Side.LEFT]).all()
    # No parameters of frame 24 at all.
    assert left.present[Side.LEFT] and np.isfinite(left.joints[Side.LEFT]).all()
    for stated in (left.rotations, left.betas, left.translation, left.vertices):
        assert np.isnan(stated).all()


def test_parameters_of_another_model_are_left_out(root, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = InterHand26M(root, "test", load_hand_model())
    assert "belong to the hand model mano, not to webxr_generic" in caplog.text
    sample = dataset[0]
    assert dataset.hand_model is None and sample.vertices is None and np.isnan(sample.rotations).all()
    assert dataset.stored_model == "mano"


def test_hand_model_json_names_the_model_of_a_miniature(root, mano):
    (root / "hand_model.json").write_text('{"hand_model": "webxr_generic", "vertices": 1160}')
    dataset = InterHand26M(root, "test", load_hand_model())
    assert dataset.stored_model == "webxr_generic" and dataset[0].vertices.shape == (2, 1160, 3)
    assert InterHand26M(root, "test", mano).hand_model is None
    (root / "hand_model.json").write_text('{"hand_model": 5}')
    with pytest.raises(AnnotationError, match=r"hand_model\.json: hand_model: expected str, got 5"):
        InterHand26M(root, "test", mano)


def test_joints_that_are_not_annotated_or_outside_the_image(tmp_path, mano):
    files = contents()
    tip, wrist = their_index(Side.RIGHT, "index_tip"), their_index(Side.LEFT, "wrist")
    files["data"]["annotations"][0]["joint_valid"][tip] = [0]  # outside of this image
    files["joint_3d"]["3"]["12"]["joint_valid"][wrist] = [False]
    files["joint_3d"]["3"]["12"]["world_coord"][wrist] = [float("nan")] * 3
    files["data"]["annotations"][1]["joint_valid"] = [[0]] * 21 + [[1]] * 21
    write(tmp_path, files)
    dataset = InterHand26M(tmp_path, "test", mano)
    missing = np.zeros((2, 21), dtype=bool)
    missing[Side.RIGHT, 8] = missing[Side.LEFT, 0] = True
    np.testing.assert_array_equal(np.isnan(dataset[0].joints).all(axis=-1), missing)
    assert not dataset.entry(0).joint_valid[Side.RIGHT, 8] and dataset.entry(0).joint_valid.sum() == 41
    # No joint of the right hand is in the second image: it is absent, and so is its mesh.
    assert dataset[1].present.tolist() == [True, False] and np.isnan(dataset[1].vertices[Side.RIGHT]).all()

    cut = InterHand26M(tmp_path, "test", mano, truncated=True)
    missing[Side.RIGHT, 8] = False
    np.testing.assert_array_equal(np.isnan(cut[0].joints).all(axis=-1), missing)
    assert cut[1].present.tolist() == [True, False]


def test_vectors_may_be_rows_or_columns_and_flags_plain_numbers(tmp_path, root, mano):
    files = contents()
    files["camera"]["3"]["campos"]["400262"] = [[10.0], [-20.0], [-1000.0]]
    files["MANO_NeuralAnnot"]["3"]["12"]["left"]["trans"] = [[0.1, -0.2, 0.3]]
    files["data"]["annotations"][0]["joint_valid"] = [1.0] * 42
    files["joint_3d"]["3"]["12"]["joint_valid"] = [True] * 42
    before = InterHand26M(root, "test", mano)[0]
    again = InterHand26M(write(tmp_path / "other", files), "test", mano)[0]
    np.testing.assert_array_equal(again.joints, before.joints)
    np.testing.assert_array_equal(again.vertices, before.vertices)


def test_subsets(root):
    (root / "aid_human_annot_test.txt").write_text("901\n902\n12345\n")
    (root / "mine.txt").write_text("900 903")

    def ids(subset: str) -> list[int]:
        dataset = InterHand26M(root, subset=subset)
        return [dataset.entry(i).annotation_id for i in range(len(dataset))]

    assert ids("") == [900, 901, 902, 903]
    assert ids("single") == [902, 903]
    assert ids("human_annot") == [901, 902]
    assert ids("human_annot, interacting") == [901]
    assert ids(str(root / "mine.txt")) == [900, 903]
    with pytest.raises(AnnotationError, match="no image in subset 'single,interacting'"):
        ids("single,interacting")
    with pytest.raises(AnnotationError, match="both: no such file; a subset is single, interacting, human_annot"):
        ids("both")
    (root / "aid_human_annot_test.txt").unlink()
    with pytest.raises(AnnotationError, match=r"aid_human_annot_test\.txt: no such file; .* InterWild's code"):
        ids("human_annot")
    (root / "mine.txt").write_text("900\n9o3\n")
    with pytest.raises(AnnotationError, match="mine.txt: entry 1: expected the id of an annotation, got '9o3'"):
        ids(str(root / "mine.txt"))


def test_a_wrong_folder_is_told_what_was_expected(tmp_path, mano):
    with pytest.raises(AnnotationError) as error:
        InterHand26M(tmp_path)
    assert f"expected {tmp_path}/annotations/test/InterHand2.6M_test_data.json" in str(error.value)
    write(tmp_path)
    path_of(tmp_path, "MANO_NeuralAnnot").unlink()
    assert len(InterHand26M(tmp_path)) == 4
    with pytest.raises(AnnotationError, match="expected .*InterHand2.6M_test_MANO_NeuralAnnot.json"):
        InterHand26M(tmp_path, "test", mano)
    with pytest.raises(ValueError, match="unknown split 'all', expected one of: train, val, test"):
        InterHand26M(tmp_path, "all")


def test_images_that_cannot_be_read_are_named_and_left_out(tmp_path, caplog):
    files = contents()
    del files["camera"]["3"]["focal"]["400263"]  # of images 1 and 2
    del files["joint_3d"]["3"]["24"]
    dataset = InterHand26M(write(tmp_path, files))
    with pytest.raises(AnnotationError, match="_camera.json: has no camera 400263 of capture 3, of which is .*image12"):
        dataset[1]
    with pytest.raises(AnnotationError, match="_joint_3d.json: has no frame 24 of capture 3, of which is .*image24"):
        dataset[3]
    with caplog.at_level(logging.WARNING):
        assert [index for index, _ in dataset.readable()] == [0]
    assert caplog.text.count("this image is left out") == 3
    with pytest.raises(AnnotationError, match="no camera 400263"):
        list(dataset.readable(skip_damaged=False))
    path = dataset.entry(0).path
    cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(AnnotationError, match=r"image12\.jpg: 20 x 20 pixels, but annotated as 64 x 48"):
        dataset[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AnnotationError, match=r"image12\.jpg: no picture that can be read"):
        dataset[0]


def test_other_processes_read_the_same(root, mano):
    dataset = InterHand26M(root, "test", mano)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        samples = pool.map(dataset.sample, range(4), chunksize=2)
    for index, sample in enumerate(samples):
        assert sample.name == dataset[index].name
        np.testing.assert_array_equal(sample.joints, dataset[index].joints)
        np.testing.assert_array_equal(sample.vertices, dataset[index].vertices)


def test_many_annotations_are_small_in_memory(tmp_path):
    files = contents()
    count = 3000
    image, annotation = files["data"]["images"][1], files["data"]["annotations"][0]
    files["data"]["images"] = [{**image, "id": i} for i in range(count)]
    files["data"]["annotations"] = [{**annotation, "id": i, "image_id": i} for i in range(count)]
    dataset = InterHand26M(write(tmp_path, files))
    assert len(dataset) == count and len(pickle.dumps(dataset)) < 250 * count
