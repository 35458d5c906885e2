"""Weighted Gram matrices against NumPy's."""

import numpy as np
import pytest

from hand_recon_ros.interact.gram import weighted_gram


@pytest.mark.parametrize("count", [0, 1, 40])
def test_it_is_the_product(count):
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, 102)) * (rng.random((count, 102)) < 0.3)
    weights = rng.uniform(size=count)
    np.testing.assert_allclose(weighted_gram(rows, weights), rows.T @ np.diag(weights) @ rows, atol=1e-12)
    np.testing.assert_array_equal(weighted_gram(np.asfortranarray(rows), weights), weighted_gram(rows, weights))


@pytest.mark.parametrize(("rows", "weights"), [((3, 4), (4,)), ((3,), (3,)), ((3, 4), (3, 1))])
def test_other_shapes_are_refused(rows, weights):
    with pytest.raises(ValueError, match=r"rows \(N, P\) and weights \(N,\) expected"):
        weighted_gram(np.ones(rows), np.ones(weights))
