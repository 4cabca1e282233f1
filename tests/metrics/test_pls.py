"""Kernel PLS against scikit-learn, ordinary least squares and Brain-Score's own metric."""

import numpy as np
import pytest
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import PLSRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from itprobe.errors import InputError
from itprobe.metrics import gram_matrix
from itprobe.metrics.brainscore_metric import CrossValidatedPredictivity
from itprobe.metrics.estimators import GramPLS
from itprobe.metrics.mapping import SplitRows
from itprobe.metrics.pls import PlsMapping

SHAPES = [(60, 7), (60, 40), (60, 59), (60, 60), (60, 400)]


def awkward_features(n, p, seed=0):
    """Features with a constant column, duplicate columns, an offset and duplicate stimuli."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.geomspace(1, 0.05, p) + 3
    x[:, 1] = 4.0
    x[:, 3] = x[:, 2]
    x[5] = x[4]
    return x


def responses_from(x, q=5, noise=1.0, seed=1):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(x.shape[1], q)) / np.sqrt(x.shape[1])
    return x @ weights + noise * rng.normal(size=(len(x), q)) + 10


def least_squares(x, y, new):
    """Minimum-norm least squares with intercept; singular values below 1e-9 of the first count as none."""
    return (new - x.mean(axis=0)) @ np.linalg.pinv(x - x.mean(axis=0), rcond=1e-9) @ (
        y - y.mean(axis=0)
    ) + y.mean(axis=0)


def off_by(ours, theirs, y):
    return np.abs(ours - np.reshape(theirs, ours.shape)).max() / y.std(axis=0).min()


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("k", [1, 5, 25])
@pytest.mark.parametrize("q", [1, 5, 90])
def test_predictions_equal_converged_sklearn(n, p, k, q):
    k = min(k, p - 2)  # rank of the features
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x, q)
    ours = GramPLS(k).fit(x, y).predict(new)
    power_iteration = PLSRegression(k, scale=False, tol=1e-16, max_iter=100_000).fit(x, y)
    assert off_by(ours, power_iteration.predict(new), y) < 1e-5
    decomposition = PLSRegression(k, scale=False)
    decomposition.algorithm = "svd"  # as PLSCanonical's; no iteration, so no tolerance
    assert off_by(ours, decomposition.fit(x, y).predict(new), y) < 1e-7


@pytest.mark.parametrize(("n", "p"), [(60, 40), (60, 400)])
@pytest.mark.parametrize("noise", [0.01, 10])
def test_hardly_noisy_and_mostly_noisy_responses_are_predicted_as_by_sklearn(n, p, noise):
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x, noise=noise)
    theirs = PLSRegression(10, scale=False, tol=1e-16, max_iter=100_000).fit(x, y).predict(new)
    assert off_by(GramPLS(10).fit(x, y).predict(new), theirs, y) < 1e-5


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("q", [1, 5, 90])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-2])
def test_a_tolerance_stops_where_sklearn_stops(n, p, q, tolerance):
    k = min(8, p - 2)
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x, q)
    theirs = PLSRegression(k, scale=False, tol=tolerance).fit(x, y).predict(new)
    cut_off = PlsMapping(k, tolerance).fit(x @ x.T, y).predict(new @ x.T)
    assert off_by(cut_off, theirs, y) < 1e-6
    if q > 1 and k < p - 2:  # all components of the features together are the same however they are found
        assert off_by(PlsMapping(k).fit(x @ x.T, y).predict(new @ x.T), theirs, y) > 1e-4
    everything = np.vstack([x, new])
    split = SplitRows(np.arange(n), n + np.arange(20))
    responses = np.vstack([y, np.zeros((20, q))])
    (of_split,) = PlsMapping(k, tolerance).predict_splits([everything @ everything.T], responses, [split])
    assert off_by(of_split.predictions, theirs, y) < 1e-6


@pytest.mark.parametrize("tolerance", [0, -1e-6, float("nan"), float("inf")])
def test_what_is_no_tolerance(tolerance):
    with pytest.raises(InputError, match="tolerance of pls must be a positive number"):
        PlsMapping(tolerance=tolerance)


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("q", [1, 5, 90])
def test_all_components_are_least_squares_and_fewer_than_asked_are_noted(n, p, q):
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x, q)
    fitted = PlsMapping(300).fit(x @ x.T, y)
    exact = least_squares(x, y, new)
    # With about as many features as stimuli predictions spread over up to hundreds of standard deviations of
    # the responses, and their rounding with them: each neuroid's error is measured by its own.
    errors = np.abs(fitted.predict(new @ x.T) - exact).max(axis=0) / exact.std(axis=0)
    assert errors.max() < 1e-5
    assert fitted.n_components <= min(n - 2, p - 2)
    assert f"{fitted.n_components} components instead of 300" in fitted.notes[0]
    assert "features" in fitted.notes[0]
    if q > 1:  # one response can be exhausted before all directions of the features are
        assert fitted.n_components == min(n - 2, p - 2)
    assert not PlsMapping(2).fit(x @ x.T, y).notes


def test_responses_that_are_explained_end_the_search():
    x = np.random.default_rng(0).normal(size=(40, 200))
    y = x[:, :2] @ np.array([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0]])
    fitted = PlsMapping(1000).fit(x @ x.T, y)
    assert fitted.n_components < 40
    assert "exhaust the responses" in fitted.notes[0]
    np.testing.assert_allclose(fitted.predict(x @ x.T), y, atol=1e-9)


@pytest.mark.parametrize("kernel", [np.ones((10, 10)), np.eye(10)])
def test_nothing_to_learn_from_gives_the_mean(kernel):
    y = np.random.default_rng(0).normal(size=(10, 3))
    y[:, 2] = 0.1
    responses = y if kernel[0, 1] else np.full((10, 3), 0.1)
    fitted = PlsMapping().fit(kernel, responses)
    assert fitted.n_components == 0
    assert "0 components instead of 25" in fitted.notes[0]
    np.testing.assert_allclose(fitted.predict(kernel[:2]), np.tile(responses.mean(axis=0), (2, 1)))


def test_no_penalty_is_reported():
    x = awkward_features(30, 10)
    fitted = PlsMapping(3).fit(x @ x.T, responses_from(x))
    assert np.isnan(fitted.lambdas).all()
    assert fitted.lambdas.shape == fitted.at_edge.shape == (5,)
    assert not fitted.at_edge.any()
    assert PlsMapping(3).parameters()["n_components"] == 3


def test_no_components_are_refused():
    with pytest.raises(InputError, match="at least 1, not 0"):
        PlsMapping(0)


def test_gram_of_float32_features_predicts_like_sklearn_in_float64():
    x = awkward_features(150, 3000).astype(np.float32)
    y = responses_from(x.astype(np.float64))
    gram, train, test = gram_matrix(x, chunk_features=700), slice(0, 120), slice(120, None)
    fitted = PlsMapping(10).fit(gram.values[train, train], y[train], gram.resolution)
    sklearn = PLSRegression(10, scale=False)
    sklearn.algorithm = "svd"
    theirs = sklearn.fit(x[train].astype(np.float64), y[train]).predict(x[test].astype(np.float64))
    assert off_by(fitted.predict(gram.values[test, train]), theirs, y) < 1e-4


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100), seed=st.integers(0, 100))
def test_unit_and_origin_of_features_and_responses_do_not_matter(scale, shift, seed):
    x = np.random.default_rng(seed).normal(size=(40, 90))
    y = responses_from(x, q=3)
    plain = PlsMapping(5).fit(x[:30] @ x[:30].T, y[:30]).predict(x[30:] @ x[:30].T)
    moved = (x + shift) * scale
    other = PlsMapping(5).fit(moved[:30] @ moved[:30].T, (y[:30] + shift) * scale)
    ours = other.predict(moved[30:] @ moved[:30].T) / scale - shift
    np.testing.assert_allclose(ours, plain, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_row_order_and_rotation_of_the_responses_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    x = awkward_features(40, 90)
    y = responses_from(x, q=3)
    order, rotation = rng.permutation(30), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    plain = GramPLS(5).fit(x[:30], y[:30]).predict(x[30:])
    other = GramPLS(5).fit(x[order], y[order] @ rotation).predict(x[30:])
    np.testing.assert_allclose(other @ rotation.T, plain, atol=1e-6)


@pytest.mark.parametrize("q", [None, 1, 3, 60])
def test_precomputed_kernel_gives_the_same(q):
    x = awkward_features(40, 90)
    y = responses_from(x, q or 1)[:, 0] if q is None else responses_from(x, q)
    k = x @ x.T
    ours = GramPLS(4, kernel="precomputed").fit(k[:30, :30], y[:30]).predict(k[30:, :30])
    theirs = GramPLS(4).fit(x[:30], y[:30]).predict(x[30:])
    assert ours.shape == y[30:].shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def planted_assemblies(n=640, p=60, q=40):
    """Features and responses to the same stimuli of 8 objects."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(n, p)) * np.geomspace(1, 0.05, p)
    responses = features @ rng.normal(size=(p, q)) + 2 * rng.normal(size=(n, q))
    presentation = {
        "stimulus_id": ("presentation", [f"im{i:03d}" for i in range(n)]),
        "object_name": ("presentation", [f"object{i % 8}" for i in range(n)]),
    }
    assemblies = []
    for values, region in ((features, "model"), (responses, "IT")):
        names = [f"{region}{j:02d}" for j in range(values.shape[1])]
        neuroid = {"neuroid_id": ("neuroid", names), "region": ("neuroid", [region] * len(names))}
        coords = {**presentation, **neuroid}
        assemblies.append(NeuroidAssembly(values, coords=coords, dims=["presentation", "neuroid"]))
    return assemblies


def test_equals_brainscores_own_pls_metric():
    """As it is, its power iteration stops at a tolerance of 1e-6; given the time, it gets where we are."""
    from brainscore_vision import load_metric
    from brainscore_vision.metrics.regression_correlation.metric import (
        CrossRegressedCorrelation,
        pearsonr_correlation,
        pls_regression,
    )

    source, target = planted_assemblies()
    ours = CrossValidatedPredictivity(PlsMapping(25))(source, target)
    assert 0.5 < float(ours) < 0.95
    protocol = {"crossvalidation_kwargs": {"stratification_coord": "object_name"}}
    theirs = load_metric("pls", **protocol)(source, target)
    assert float(ours) == pytest.approx(float(theirs), abs=2e-4)
    patient = pls_regression({"tol": 1e-16, "max_iter": 100_000})
    converged = CrossRegressedCorrelation(patient, pearsonr_correlation(), **protocol)(source, target)
    assert float(ours) == pytest.approx(float(converged), abs=1e-7)
    np.testing.assert_allclose(ours.raw.values, converged.raw.transpose("split", "neuroid").values, atol=1e-6)


@pytest.mark.filterwarnings("ignore:pls. .* components instead of 25")
@parametrize_with_checks([GramPLS()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)
