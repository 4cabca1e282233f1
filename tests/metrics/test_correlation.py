"""Per-neuroid scores against scipy and scikit-learn."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import explained_variance_score

from itprobe.metrics import explained_variance, pearson_r


def pairs(seed=0, n=50, q=4):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, q)) + 5
    return y, 0.6 * y + rng.normal(size=(n, q))


def test_equal_scipy_and_sklearn():
    y, z = pairs()
    np.testing.assert_allclose(pearson_r(y, z), [pearsonr(a, b)[0] for a, b in zip(y.T, z.T, strict=True)])
    np.testing.assert_allclose(
        explained_variance(y, z), explained_variance_score(y, z, multioutput="raw_values")
    )


def test_constant_prediction_explains_nothing_and_constant_response_is_undefined():
    y, z = pairs()
    z[:, 0] = y[:, 0].mean() * (1 + 1e-15 * np.arange(len(y)))
    y[:, 1] = 3.0
    assert pearson_r(y, z)[0] == 0
    assert np.isnan(pearson_r(y, z)[1])
    assert np.isnan(explained_variance(y, z)[1])


@settings(max_examples=50, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 99))
def test_unit_of_the_responses_does_not_matter(scale, shift, seed):
    y, z = pairs(seed)
    np.testing.assert_allclose(pearson_r(y * scale + shift, z * scale + shift), pearson_r(y, z), atol=1e-7)
    np.testing.assert_allclose(
        explained_variance(y * scale + shift, z * scale + shift), explained_variance(y, z), atol=1e-7
    )
