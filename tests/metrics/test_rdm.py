"""Dissimilarity matrices from Gram matrices against scipy's pdist on the features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from itprobe.errors import InputError
from itprobe.metrics.gram import gram_matrix
from itprobe.metrics.rdm import DISTANCES, rdm, response_rdm


def features(n=40, p=60, seed=0):
    """Features with an offset, a constant column, a duplicate column and a duplicate stimulus."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.geomspace(1, 0.05, p) + rng.normal(size=p) + 3
    x[:, 1] = 4.0
    x[:, 3] = x[:, 2]
    x[5] = x[4]
    return x


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("p", [5, 40, 900])
def test_equal_pdist(distance, p):
    x = features(p=p)
    expected = squareform(pdist(x, distance))
    # A square root turns rounding of 1e-14 in a duplicate's squared distance into 1e-7.
    np.testing.assert_allclose(rdm(gram_matrix(x), distance), expected, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(response_rdm(x, distance), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("distance", ["correlation", "cosine", "sqeuclidean"])
def test_float32_features_in_chunks(distance):
    x = features(p=3000).astype(np.float32)
    expected = squareform(pdist(x.astype(np.float64), distance))
    ours = rdm(gram_matrix(x, chunk_features=700), distance)
    np.testing.assert_allclose(ours, expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_stimuli_without_a_distance_are_nan_and_the_others_untouched(dtype):
    x = features(p=400).astype(dtype)
    x[7] = 2.5  # all features equal: no correlation
    x[9] = 0.0  # no direction either
    for distance, undefined in (("correlation", [7, 9]), ("cosine", [9]), ("sqeuclidean", [])):
        ours = rdm(gram_matrix(x), distance)
        assert np.flatnonzero(np.isnan(ours.diagonal())).tolist() == undefined
        assert np.isnan(ours[undefined]).all()
        assert np.isnan(ours[:, undefined]).all()
        kept = np.setdiff1d(np.arange(len(x)), undefined)
        expected = squareform(pdist(x[kept].astype(np.float64), distance))
        # Squared distances are differences of norms, whose rounding in float32 they keep; how large it is
        # depends on the processor's BLAS kernels.
        limits = {"rtol": 1e-6, "atol": 1e-6}
        if distance == "sqeuclidean":
            limits = {"rtol": 0, "atol": 1e-6 * expected.max()}
        np.testing.assert_allclose(ours[np.ix_(kept, kept)], expected, **limits)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-4, 1e4), distance=st.sampled_from(sorted(DISTANCES)))
def test_symmetric_with_zero_diagonal_and_unit_free_where_it_should_be(seed, scale, distance):
    x = features(seed=seed)
    d = rdm(gram_matrix(x), distance)
    assert (d == d.T).all()
    assert (d.diagonal() == 0).all()
    assert (d >= 0).all()
    power = {"euclidean": 1, "sqeuclidean": 2}.get(distance, 0)
    scaled = rdm(gram_matrix(x * scale), distance)
    np.testing.assert_allclose(scaled, d * scale**power, atol=1e-6 * scale**power)


def test_bad_input_is_said():
    with pytest.raises(InputError, match="unknown distance 'cityblock'"):
        rdm(gram_matrix(features()), "cityblock")
    x = features()
    x[3, 2] = np.nan
    with pytest.raises(InputError, match="1 of 60 neuroids"):
        response_rdm(x)
