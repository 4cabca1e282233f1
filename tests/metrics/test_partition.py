"""Variance parts against set arithmetic and planted spaces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itprobe.metrics.partition import all_subsets, variance_parts


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]])
@given(seed=st.integers(0, 10_000))
def test_parts_of_a_venn_diagram_are_recovered(names, seed):
    """Areas of a Venn diagram: what a set of spaces explains is all that touches one of them."""
    rng = np.random.default_rng(seed)
    areas = {subset: rng.normal(size=3) for subset in all_subsets(names)}
    explained = {
        subset: np.sum([area for region, area in areas.items() if region & subset], axis=0)
        for subset in areas
    }
    parts = variance_parts(explained)
    for subset, area in areas.items():
        np.testing.assert_allclose(parts[subset], area, atol=1e-12)
    np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), explained[frozenset(names)], atol=1e-12)
