"""Compiled loops, also where their machine code can be kept nowhere."""

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
