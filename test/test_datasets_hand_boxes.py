"""Reading photographs with annotated hand boxes: each published format, on tiny folders."""

from __future__ import annotations

import json
import pathlib

import cv2
import numpy as np
import pytest

from hand_recon_ros.datasets.hand_boxes import (
    BoxedPicture,
    read_fabric_gloves,
    read_glove_videos,
    read_gloves,
    read_hands_dataset,
    read_signs,
    read_ti1k,
    without_similar,
    write_index,
)
from hand_recon_ros.datasets.pictures import AnnotationError

WIDTH, HEIGHT = 80, 60
VOC = """<annotation><filename>{name}.jpg</filename><size><width>{width}</width><height>60</height></size>
<object><name>5-hand</name><bndbox><xmin>8</xmin><ymin>6</ymin><xmax>{right}</xmax><ymax>36</ymax></bndbox></object>
<object><name>0-hand</name><bndbox><xmin>50</xmin><ymin>6</ymin><xmax>70</xmax><ymax>36</ymax></bndbox></object>
</annotation>"""


def picture(path: pathlib.Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))


def text(path: pathlib.Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def ti1k(root: pathlib.Path, line: str) -> list[BoxedPicture]:
    picture(root / "train" / "TI1K_IMAGE_0001.jpg")
    picture(root / "test" / "TI1K_IMAGE_0951.jpg", 1)
    text(root / "annotation" / "label.txt", f"{line}\nTI1K_IMAGE_0951.jpg 0 0 0.5 1 0.1 0.2 0.3 0.4\n")
    return read_ti1k(root)


def voc(root: pathlib.Path, width: int = WIDTH, right: str = "30") -> list[BoxedPicture]:
    for number, name in enumerate(("2_pic00007", "3_1528499009.07_pic00011")):
        picture(root / "images" / f"{name}.jpg", number)
        text(root / "images" / f"{name}.xml", VOC.format(name=name, width=width, right=right))
    return read_hands_dataset(root)


def yolo(root: pathlib.Path, label: str) -> list[BoxedPicture]:
    picture(root / "train" / "images" / "a_jpg.rf.0f.jpg")
    text(root / "train" / "labels" / "a_jpg.rf.0f.txt", label)
    return read_gloves(root)


def test_a_line_of_ti1k_gives_a_box_and_two_fingertips_in_pixels(tmp_path: pathlib.Path) -> None:
    first, second = ti1k(tmp_path, "TI1K_IMAGE_0001.jpg 0.1 0.2 0.5 0.8 0.25 0.3 0.4 0.35")
    assert (first.width, first.height) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(first.boxes, [[8, 12, 40, 48]])
    assert first.fingertips is not None
    np.testing.assert_allclose(first.fingertips, [[[20, 18], [32, 21]]])
    assert second.path == tmp_path / "test" / "TI1K_IMAGE_0951.jpg"
    assert (first.group, second.group) == ("run00", "run19")


def test_frames_of_glove_videos_come_once_and_grouped_by_their_video(tmp_path: pathlib.Path) -> None:
    for number, name in enumerate(("VID_2022-007_jpg.rf.0a", "VID_2022-007_jpg.rf.0b", "VID_2022-012_jpg.rf.0c")):
        picture(tmp_path / "train" / "images" / f"{name}.jpg", number)
        text(tmp_path / "train" / "labels" / f"{name}.txt", "0 0.5 0.5 0.25 0.5\n1 0.75 0.5 0.0 0.02\n")
    frames = read_glove_videos(tmp_path)
    assert [(frame.group, frame.path.stem[9:12]) for frame in frames] == [("VID_2022", "007"), ("VID_2022", "012")]
    for frame in frames:  # without the box that has no extent
        np.testing.assert_allclose(frame.boxes, [[30, 15, 50, 45]])
    with pytest.raises(AnnotationError, match="is empty"):
        read_fabric_gloves(tmp_path)


def test_pictures_of_signs_have_no_boxes_and_are_grouped_by_their_letter(tmp_path: pathlib.Path) -> None:
    names = ("B_mp4-12_jpg.rf.0a", "B_mp4-7_jpg.rf.0b", "K5--93_jpg.rf.0c", "K8--_jpg.rf.0d", "W38_jpg.rf.0e")
    for name in names:
        picture(tmp_path / "train" / "images" / f"{name}.jpg")
    signs = read_signs(tmp_path)
    assert [one.group for one in signs] == ["B", "B", "K", "K", "W"]
    assert all(one.boxes.shape == (0, 4) and not one.all_boxed for one in signs)


@pytest.mark.parametrize("line", ["TI1K_IMAGE_0001.jpg 0.1 0.2 0.5", "TI1K_IMAGE_0001.jpg a b c d e f g h"])
def test_a_malformed_line_of_ti1k_is_an_error_with_file_and_line(tmp_path: pathlib.Path, line: str) -> None:
    with pytest.raises(AnnotationError, match=r"label\.txt:1: expected 8 numbers"):
        ti1k(tmp_path, line)


def test_a_line_of_ti1k_without_its_picture_is_an_error_with_the_pictures_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnnotationError, match=r"label\.txt:1: its picture .*TI1K_IMAGE_0500\.jpg is missing"):
        ti1k(tmp_path, "TI1K_IMAGE_0500.jpg 0.1 0.2 0.5 0.8 0.25 0.3 0.4 0.35")


def test_an_xml_file_gives_all_boxes_and_the_video_of_the_frame(tmp_path: pathlib.Path) -> None:
    first, second = voc(tmp_path)
    np.testing.assert_allclose(first.boxes, [[8, 6, 30, 36], [50, 6, 70, 36]])
    assert (first.group, second.group) == ("2", "3_1528499009.07")
    assert first.fingertips is None


def test_malformed_xml_files_are_errors_with_their_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnnotationError, match=r"2_pic00007\.xml: states a size"):
        voc(tmp_path, width=90)
    with pytest.raises(AnnotationError, match=r"2_pic00007\.xml: expected 4 numbers"):
        voc(tmp_path, right="")
    with pytest.raises(AnnotationError, match=r"2_pic00007\.xml: box .* is empty or outside"):
        voc(tmp_path, right="8")
    text(tmp_path / "images" / "2_pic00007.xml", "<annotation>")
    with pytest.raises(AnnotationError, match=r"2_pic00007\.xml: no element found"):
        read_hands_dataset(tmp_path)


def test_a_yolo_label_gives_boxes_of_centres_and_of_polygons(tmp_path: pathlib.Path) -> None:
    (found,) = yolo(tmp_path, "0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.3 0.1 0.2 0.4\n")
    np.testing.assert_allclose(found.boxes, [[30, 15, 50, 45], [8, 6, 24, 24]])
    assert (found.group, found.licence) == ("a_jpg", "CC-BY-4.0")
    (empty,) = yolo(tmp_path, "")
    assert empty.boxes.shape == (0, 4)


def test_boxes_are_cut_at_the_border_and_refused_far_beyond_it(tmp_path: pathlib.Path) -> None:
    (found,) = yolo(tmp_path, "0 0.25 0.5 0.51 0.5\n")
    np.testing.assert_allclose(found.boxes, [[0, 15, 40.4, 45]])
    with pytest.raises(AnnotationError, match=r"a_jpg\.rf\.0f\.txt: box .* outside of 80 x 60"):
        yolo(tmp_path, "0 0.25 0.5 0.8 0.5\n")
    with pytest.raises(AnnotationError, match=r"a_jpg\.rf\.0f\.txt:2: expected 4 numbers"):
        yolo(tmp_path, "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2\n")


def test_the_index_has_one_format_with_files_relative_to_it(tmp_path: pathlib.Path) -> None:
    pictures = [
        *ti1k(tmp_path / "ti1k", "TI1K_IMAGE_0001.jpg 0.1 0.2 0.5 0.8 0.25 0.3 0.4 0.35"),
        *voc(tmp_path / "subhi"),
    ]
    write_index(pictures, tmp_path / "index.json")
    rows = json.loads((tmp_path / "index.json").read_text())
    assert [row["file"] for row in rows] == [
        "ti1k/train/TI1K_IMAGE_0001.jpg",
        "ti1k/test/TI1K_IMAGE_0951.jpg",
        "subhi/images/2_pic00007.jpg",
        "subhi/images/3_1528499009.07_pic00011.jpg",
    ]
    assert rows[2] == {
        "file": "subhi/images/2_pic00007.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "boxes": [[8, 6, 30, 36], [50, 6, 70, 36]],
        "source": "SubhiH/HandsDataset",
        "licence": "Apache-2.0",
        "split": pictures[2].split,
    }
    assert rows[0]["fingertips"] == [[[20, 18], [32, 21]]]


def test_a_group_is_in_one_split_and_a_tenth_of_the_groups_is_val() -> None:
    def split(group: str) -> str:
        boxes = np.zeros((0, 4))
        return BoxedPicture(pathlib.Path("a.jpg"), 1, 1, boxes, "owner/set", "MIT", group).split

    assert split("video") == split("video")
    share = np.mean([split(f"video{number}") == "val" for number in range(2000)])
    assert 0.08 < share < 0.12


def test_pictures_like_those_for_measuring_are_left_out_also_mirrored_and_as_versions(tmp_path: pathlib.Path) -> None:
    for number, name in enumerate(("same", "other", "twin_jpg.rf.1")):
        picture(tmp_path / f"{name}.jpg", number)
    picture(tmp_path / "twin_jpg.rf.2.jpg", 7)
    held_out = tmp_path / "held_out"
    picture(held_out / "twin.jpg", 2)
    mirrored = cv2.imread(str(tmp_path / "same.jpg"))[:, ::-1]
    cv2.imwrite(str(held_out / "mirrored.jpg"), mirrored)
    pictures = [
        BoxedPicture(path, WIDTH, HEIGHT, np.zeros((0, 4)), "owner/set", "MIT", path.stem.split(".rf.")[0])
        for path in sorted(tmp_path.glob("*.jpg"))
    ]
    kept = without_similar(pictures, sorted(held_out.iterdir()))
    assert [picture.path.stem for picture in kept] == ["other"]
