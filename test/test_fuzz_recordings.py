"""Recordings that are damaged, or of messages of other types: hands, or BagError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from bag_support import IMAGE, INFO, INFO_TOPIC, PICTURE, TOPIC, Bench, image_of, info, info_of, stamped  # noqa: E402
from fuzzing import damaged, fuzzed, limited_memory  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from hand_recon_ros.bags.check import check_hands_file  # noqa: E402
from hand_recon_ros.bags.images import ImageOptions, RecordedImages  # noqa: E402
from hand_recon_ros.bags.messages import BagError, deserialized, serialized  # noqa: E402
from hand_recon_ros.camera import Camera, CameraError  # noqa: E402
from hand_recon_ros.conversions.images import InputError  # noqa: E402

SMALL = [(TOPIC, 1.0 + n / 10.0, image_of(PICTURE[:24, :32], 1.0 + n / 10.0)) for n in range(3)]
SMALL_INFO = INFO_TOPIC, 1.0, info_of(Camera.from_fov(32, 24, 60.0), 1.0)
KINDS = {
    IMAGE: image_of(PICTURE[:16, :16], 1.0),
    INFO: info(1.0)[2],
    "hand_recon_ros/msg/TwoHands": stamped("hand_recon_ros/msg/TwoHands", 1.0),
}


class Files:
    """Whole files of recordings and of hands, and a place for damaged ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole: dict[str, bytes] = {}
        for storage in ("mcap", "db3"):
            (folder / storage).mkdir()
            bench = Bench(folder / storage)
            file = bench.write([SMALL_INFO, *SMALL], storage)
            self.whole[storage] = file.read_bytes()
        bench.run(file)
        self.hands = bench.out.read_bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("storage", ["mcap", "db3"])
@fuzzed(60)
@given(data=st.data())
def test_damaged_recordings(files: Files, storage: str, data: Any) -> None:
    file = files.folder / f"damaged.{storage}"
    file.write_bytes(data.draw(damaged(files.whole[storage])))
    with limited_memory():
        try:
            with RecordedImages(file, TOPIC, ImageOptions()) as images:
                for time, message in images.messages():
                    try:
                        frame, _ = images.frame(time, message)
                    except (BagError, InputError) as error:
                        assert str(error)
                    else:
                        assert frame.frame.image.ndim == 3
        except (BagError, CameraError) as error:
            assert "\n" not in str(error)


@fuzzed(60)
@given(data=st.data())
def test_damaged_files_of_hands(files: Files, data: Any) -> None:
    file = files.folder / "hands.mcap"
    file.write_bytes(data.draw(damaged(files.hands)))
    with limited_memory():
        try:
            assert check_hands_file(file)["images"] >= 0
        except BagError as error:
            assert "hands.mcap" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("kind", KINDS)
@fuzzed(70)
@given(data=st.data())
def test_damaged_messages(kind: str, data: Any) -> None:
    other = data.draw(st.sampled_from(list(KINDS.values())))
    content = data.draw(damaged(serialized(other)) | st.binary(max_size=60))
    with limited_memory():
        try:
            message = deserialized(content, kind)
        except BagError as error:
            assert kind in str(error)
            return
    assert message.__msgtype__ == kind
