"""The environment of every test: ROS finds this installation, and no other run or machine receives its messages."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# As in the Makefile, for a pytest that is called by hand. The wheels leave AMENT_PREFIX_PATH unset; a ROS installation
# sets it.
if (pathlib.Path(sys.prefix) / "share" / "ament_index").is_dir():
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
# Tests that run side by side must not hear each other either; 101 is the last domain id that every system takes.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str((int(os.environ["ROS_DOMAIN_ID"]) + 37 * _worker) % 102)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.pop("ROS_STATIC_PEERS", None)


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks are compiled once in a run, and not for each test and each node that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAND_RECON_MODEL_CACHE", str(tmp_path_factory.mktemp("networks")))
        yield


@pytest.fixture
def no_model_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are compiled for this test."""
    monkeypatch.delenv("HAND_RECON_MODEL_CACHE")


@pytest.fixture(scope="session")
def source_root() -> pathlib.Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def pairs() -> list[Any]:
    """True pairs of hands in contact without penetration, made once for all tests of the refinement."""
    from evidence import MODEL

    from hand_recon_ros.synthetic.interactions import sample_interactions

    found = sample_interactions("val", 3, range(40), MODEL)
    return [found.pairs[i] for i in range(len(found))][:20]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a labelled recording, made once: see ``distill_support``. It is only read."""
    from distill_support import write_labelled

    folder = tmp_path_factory.mktemp("distill")
    write_labelled(folder)
    return folder


@pytest.fixture(scope="session")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Folders of miniatures of the published data sets, by name, rendered once for all tests, which only read them."""
    from data_set_support import FRAMES

    from hand_recon_ros.evaluation.data_sets import SPLITS
    from hand_recon_ros.synthetic.miniatures import write_miniature

    folder = tmp_path_factory.mktemp("miniatures")
    for name in SPLITS:
        write_miniature(name, folder / name, FRAMES, 3)
    return {name: folder / name for name in SPLITS}
