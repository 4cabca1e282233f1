"""Ridge through the Gram matrix against scikit-learn, over a grid of awkward shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from itprobe.metrics import GramRidgeCV, RidgeMapping, gram_matrix
from itprobe.metrics.held_out_errors import held_out_errors, leave_one_out_errors
from itprobe.metrics.lambda_search import frame_of_kernel, run_search, search_automatically
from itprobe.metrics.spectrum import centred_spectrum

SHAPES = [(60, 7), (60, 59), (60, 60), (60, 400)]


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


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
def test_predictions_equal_sklearn_ridge(n, p, alpha):
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x)
    ours = GramRidgeCV(alphas=[alpha]).fit(x, y).predict(new)
    theirs = Ridge(alpha=alpha).fit(x, y).predict(new)
    assert np.abs(ours - theirs).max() < 1e-5 * y.std(axis=0).min()


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("per_target", [True, False])
def test_chosen_lambda_and_predictions_equal_sklearn_ridge_cv(n, p, noise, per_target):
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x, noise=noise)
    alphas = np.logspace(-3, 4, 15)
    ours = GramRidgeCV(alphas, alpha_per_target=per_target).fit(x, y)
    theirs = RidgeCV(alphas, alpha_per_target=per_target).fit(x, y)
    np.testing.assert_allclose(ours.alpha_, np.broadcast_to(theirs.alpha_, 5))
    assert np.abs(ours.predict(new) - theirs.predict(new)).max() < 1e-5 * y.std(axis=0).min()


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_leave_one_out_errors_equal_refitting(n, p):
    x = awkward_features(n, p)
    y = responses_from(x, q=2)
    spectrum = centred_spectrum(x @ x.T)
    lambdas = np.array([0.01, 1.0, 50.0, np.inf])
    errors = leave_one_out_errors(spectrum, y, lambdas)
    for lam, ours in zip(lambdas, errors, strict=True):
        residuals = []
        for i in range(n):
            kept = np.arange(n) != i
            if np.isinf(lam):
                prediction = y[kept].mean(axis=0)
            else:
                prediction = Ridge(alpha=lam).fit(x[kept], y[kept]).predict(x[i : i + 1])[0]
            residuals.append(y[i] - prediction)
        np.testing.assert_allclose(ours, np.mean(np.square(residuals), axis=0), rtol=1e-6)


@pytest.mark.parametrize(("n", "p"), [(80, 30), (80, 3000)])
def test_gram_of_float32_features_predicts_like_sklearn_in_float64(n, p):
    x = awkward_features(n, p).astype(np.float32)
    y = responses_from(x.astype(np.float64))
    gram = gram_matrix(x, chunk_features=700)
    train, test = np.arange(60), np.arange(60, n)
    fitted = RidgeMapping((10.0,)).fit(gram.values[np.ix_(train, train)], y[train], gram.resolution)
    ours = fitted.predict(gram.values[np.ix_(test, train)])
    theirs = Ridge(alpha=10.0).fit(x[train].astype(np.float64), y[train]).predict(x[test].astype(np.float64))
    assert np.abs(ours - theirs).max() < 1e-5 * y.std(axis=0).min()


def test_raw_gram_is_recovered():
    x = awkward_features(50, 900).astype(np.float32)
    gram = gram_matrix(x, chunk_features=128)
    exact = x.astype(np.float64) @ x.astype(np.float64).T
    np.testing.assert_allclose(gram.raw(), exact, rtol=1e-6)
    np.testing.assert_allclose(gram.feature_sums, x.astype(np.float64).sum(axis=1), rtol=1e-6)
    assert gram.n_features == 900


def test_automatic_grid_finds_what_a_wide_grid_finds():
    x = awkward_features(60, 400)
    y = responses_from(x, q=8)
    fitted = GramRidgeCV().fit(x, y)
    mean_eigenvalue = centred_spectrum(x @ x.T).eigenvalues.mean()  # where the automatic grid lies
    wide = mean_eigenvalue * 10.0 ** (np.arange(-24, 25) / 3)
    theirs = RidgeCV(wide, alpha_per_target=True).fit(x, y)
    finite = np.isfinite(fitted.alpha_)
    np.testing.assert_allclose(fitted.alpha_[finite], theirs.alpha_[finite])
    assert finite.any()


def choose(kernel, responses):
    search = search_automatically(responses.shape[1], frame_of_kernel(kernel))
    return run_search(search, held_out_errors(centred_spectrum(kernel), responses))


def test_grid_grows_to_small_lambdas_and_flags_the_edge():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    noiseless = x @ rng.normal(size=(5, 1))  # fewer features than stimuli, no noise
    spectrum = centred_spectrum(x @ x.T)
    choice = choose(x @ x.T, np.hstack([noiseless, rng.normal(size=(40, 1))]))
    assert choice.grid[0] < 1e-6 * spectrum.eigenvalues.mean()
    assert choice.at_edge.tolist() == [True, False]


def test_unpredictable_neuroid_gets_the_mean():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(50, 300)), rng.normal(size=(50, 200))
    choice = choose(x @ x.T, y)
    assert np.isinf(choice.lambdas).any()
    assert not choice.at_edge[np.isinf(choice.lambdas)].any()
    constant = choose(np.ones((50, 50)), y)
    assert np.isinf(constant.lambdas).all()


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100), seed=st.integers(0, 100))
def test_unit_and_origin_of_the_features_do_not_matter(scale, shift, seed):
    x = np.random.default_rng(seed).normal(size=(40, 90))
    y = responses_from(x, q=3)
    plain = GramRidgeCV().fit(x[:30], y[:30]).predict(x[30:])
    moved = x * scale + shift * scale
    np.testing.assert_allclose(GramRidgeCV().fit(moved[:30], y[:30]).predict(moved[30:]), plain, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_row_order_does_not_matter(seed):
    x = awkward_features(40, 90)
    y = responses_from(x, q=3)
    order = np.random.default_rng(seed).permutation(30)
    plain = GramRidgeCV().fit(x[:30], y[:30]).predict(x[30:])
    np.testing.assert_allclose(GramRidgeCV().fit(x[order], y[order]).predict(x[30:]), plain, rtol=1e-7)


@pytest.mark.parametrize("alphas", ["foo", [], [0.0], [-1, 1], [np.nan, 1], [[1, 2]], "1,2"])
def test_alphas_that_are_none_are_refused(alphas):
    x, y = np.random.default_rng(0).normal(size=(2, 20, 3))
    with pytest.raises(ValueError, match="alphas must be 'auto' or positive numbers"):
        GramRidgeCV(alphas).fit(x, y)


@pytest.mark.parametrize("folds", [3, 5])
def test_lambda_by_folds_is_grid_searchs(folds):
    x = awkward_features(45, 90)
    y = responses_from(x, q=3)[:, 0]
    alphas = list(np.logspace(-2, 4, 13))
    ours = GramRidgeCV(alphas, folds=folds).fit(x, y)
    held_out, _ = RidgeMapping(folds=folds).inner_folds(None, len(x))
    cut = [(np.delete(np.arange(len(x)), rows), rows) for rows in held_out]
    search = GridSearchCV(Ridge(), {"alpha": alphas}, cv=cut, scoring="neg_mean_squared_error")
    assert ours.alpha_ == pytest.approx(search.fit(x, y).best_params_["alpha"])
    reference = Ridge(ours.alpha_).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), reference.predict(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="at least 2 inner folds"):
        GramRidgeCV(folds=1).fit(x, y)
    with pytest.raises(ValueError, match="inconsistent"):
        GramRidgeCV(folds=folds).fit(x, y, strata=["a"])


def test_precomputed_kernel_gives_the_same():
    x = awkward_features(40, 90)
    y = responses_from(x, q=3)
    k = x @ x.T
    ours = GramRidgeCV(kernel="precomputed").fit(k[:30, :30], y[:30]).predict(k[30:, :30])
    np.testing.assert_allclose(ours, GramRidgeCV().fit(x[:30], y[:30]).predict(x[30:]), rtol=1e-7)


@parametrize_with_checks([GramRidgeCV()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)
