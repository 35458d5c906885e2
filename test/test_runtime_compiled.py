"""Compiled loops, also where their machine code can be kept nowhere."""

import numba.core.caching
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
def test_it_computes(monkeypatch, writable):
    if not writable:
        monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
        with pytest.raises(RuntimeError, match="no locator"):
            numba.njit(cache=True)(total)
    assert compiled(total)(np.arange(5.0)) == 10.0
    double = compiled_ufunc("void(float64[:], float64[:])", "(n)->(n)")(doubled)
    np.testing.assert_array_equal(double(np.ones((2, 3))), np.full((2, 3), 2.0))
