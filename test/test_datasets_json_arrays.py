"""Large JSON files of arrays: the places of the arrays, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.json_arrays import JsonArrays


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 22])
@pytest.mark.parametrize("indent", [None, 1])
def test_arrays_are_those_of_the_whole_file(tmp_path: Path, chunk: int, indent: int | None) -> None:
    content = np.random.default_rng(0).normal(size=(6, 2, 3)).tolist()
    (tmp_path / "a.json").write_text(json.dumps(content, indent=indent))
    arrays = JsonArrays(tmp_path / "a.json", chunk)
    assert len(arrays) == 6
    assert [arrays.numbers(index, (2, 3)).tolist() for index in range(6)] == content


@pytest.mark.parametrize(
    "text",
    ["", "[", "]", "[]", "[[]", "[]]", "[[1],]", "[,[1]]", "[[1] [2]]", "[[1],,[2]]", "[[1]], [2]", "[[1],2]", "3",
     "]]][[[", "][][", "{}", '"a"', "[[1]]]", "[[1]] 5", "null", "[1, [2]]"],
)  # fmt: skip
def test_lists_of_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.json: expected a list of arrays of numbers"):
        JsonArrays(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[[1,,2]]", "[[1 2]]", "[[--1]]", "[[+1]]", "[[Inf]]", "[[]]", "[[[1], 2]]"])
def test_arrays_of_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    arrays = JsonArrays(tmp_path / "a.json")
    with pytest.raises(AnnotationError, match=r"a\.json: array 0"):
        arrays.numbers(0, (2,))


def test_an_absurdly_long_array(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[[" + "1," * (3 << 20) + "1]]")
    with pytest.raises(AnnotationError, match="more than any annotation has"):
        JsonArrays(tmp_path / "a.json").numbers(0, (1,))
