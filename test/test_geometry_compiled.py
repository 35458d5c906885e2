"""Compiled loops, also where their machine code can be kept nowhere."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import numba
import numpy as np
import pytest

from hand_recon_ros.geometry.compiled import compiled, compiled_ufunc


def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


def doubled(vector, out):
    for i in range(vector.shape[0]):
        out[i] = 2 * vector[i]


@pytest.mark.parametrize("writable", [True, False])
def test_it_computes_and_says_where_it_compiles_every_time(monkeypatch, caplog, writable):
    functions = [total, doubled]
    if not writable:
        # Neither beside the source nor in a cache folder can anything be written, not even by root.
        functions = [FunctionType(f.__code__.replace(co_filename="/dev/null/loops.py"), {}) for f in functions]
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
        with pytest.raises(RuntimeError, match="no locator"):
            numba.njit(cache=True)(functions[0])
    assert compiled(functions[0])(np.arange(5.0)) == 10.0
    double = compiled_ufunc("void(float64[:], float64[:])", "(n)->(n)")(functions[1])
    np.testing.assert_array_equal(double(np.ones((2, 3))), np.full((2, 3), 2.0))
    assert ["set NUMBA_CACHE_DIR" in record.message for record in caplog.records] == ([] if writable else [True])


SCRIPT = """
import sys
import numpy as np
from hand_recon_ros.geometry import rotations

calls = [
    lambda: rotations.rotation_matrices(np.zeros((2, 3))),
    lambda: rotations.rotation_vectors(np.tile(np.eye(3), (2, 1, 1))),
    lambda: rotations.rotations_towards(np.array([[0.0, 0.0, 1.0]])),
]
print("imported", flush=True)
for call in calls[:: int(sys.argv[1])]:
    call()
"""


def start(folder: Path, order: int) -> subprocess.Popen[bytes]:
    """A process that compiles into an empty cache."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(order)], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"imported\n"
    return process


def test_processes_that_compile_at_once_leave_a_cache_that_works(tmp_path):
    """Without a lock the files of one fit those of the other in some runs only; a process that loads them crashes."""
    processes = [start(tmp_path, order) for order in (1, -1)]
    assert [process.wait(120.0) for process in processes] == [0, 0]
    assert start(tmp_path, 1).wait(120.0) == 0


def test_a_process_compiles_while_no_other_does(tmp_path):
    with open(compiled.__code__.co_filename, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = start(tmp_path, 1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        assert not list(tmp_path.rglob("*.nbi"))
    assert process.wait(120.0) == 0
    assert list(tmp_path.rglob("guf-*.nbi"))
