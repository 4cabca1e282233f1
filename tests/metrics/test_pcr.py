"""Principal component regression against scikit-learn's full-SVD PCA, Ridge and GridSearchCV."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from itprobe.errors import InputError
from itprobe.metrics import gram_matrix
from itprobe.metrics.estimators import GramPCR, GramRidgeCV
from itprobe.metrics.inner_folds import FOLD_SEED
from itprobe.metrics.pcr import PcrMapping

SHAPES = [(60, 7), (60, 40), (60, 59), (60, 60), (60, 400)]
OBJECTS = np.arange(60) % 6
ALPHAS = np.logspace(-3, 4, 15)


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


def folds_of(strata, n=60, folds=5):
    kind = KFold if strata is None else StratifiedKFold
    return list(kind(folds, shuffle=True, random_state=FOLD_SEED).split(np.zeros(n), strata))


def off_by(ours, theirs, y):
    return np.abs(ours - theirs).max() / y.std(axis=0).min()


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("k", [1, 5, 30])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
def test_predictions_equal_full_pca_and_ridge(n, p, k, alpha):
    k = min(k, p - 2)  # rank of the features
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x)
    pca = PCA(k, svd_solver="full").fit(x)
    theirs = Ridge(alpha=alpha).fit(pca.transform(x), y).predict(pca.transform(new))
    fitted = GramPCR(k, alphas=[alpha]).fit(x, y)
    assert fitted.n_components_ == k
    assert off_by(fitted.predict(new), theirs, y) < 1e-5


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("strata", [None, OBJECTS])
def test_lambda_of_each_neuroid_equals_grid_search(n, p, noise, strata):
    k = min(55, p - 2)  # more components than an inner fold has stimuli, where p allows
    x, new = awkward_features(n, p), awkward_features(20, p, seed=2)
    y = responses_from(x, noise=noise)
    pca = PCA(k, svd_solver="full").fit(x)
    ours = GramPCR(k, ALPHAS).fit(x, y, strata=strata)
    for j, responses in enumerate(y.T):
        search = GridSearchCV(
            Ridge(), {"alpha": ALPHAS}, scoring="neg_mean_squared_error", cv=folds_of(strata)
        ).fit(pca.transform(x), responses)
        assert ours.alpha_[j] == pytest.approx(search.best_params_["alpha"])
        assert off_by(ours.predict(new)[:, j], search.predict(pca.transform(new)), y) < 1e-5


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_one_lambda_for_all_equals_ridge_cv(n, p):
    k = min(20, p - 2)
    x = awkward_features(n, p)
    y = responses_from(x)
    scores = PCA(k, svd_solver="full").fit_transform(x)
    theirs = RidgeCV(ALPHAS, scoring="neg_mean_squared_error", cv=folds_of(OBJECTS)).fit(scores, y)
    ours = GramPCR(k, ALPHAS, alpha_per_target=False).fit(x, y, strata=OBJECTS)
    np.testing.assert_allclose(ours.alpha_, np.full(5, theirs.alpha_))


def test_all_components_are_ridge():
    x, new = awkward_features(60, 400), awkward_features(20, 400, seed=2)
    y = responses_from(x)
    with pytest.warns(UserWarning, match="pcr: 58 components instead of 1000"):
        ours = GramPCR(alphas=[3.0]).fit(x, y)
    assert off_by(ours.predict(new), GramRidgeCV([3.0]).fit(x, y).predict(new), y) < 1e-8


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_too_many_components_are_clipped_to_the_rank_with_a_note(n, p):
    x = awkward_features(n, p)
    fitted = PcrMapping(60, (1.0,)).fit(x @ x.T, responses_from(x))
    assert fitted.n_components == min(n, p) - 2
    assert fitted.notes == [
        f"pcr: {min(n, p) - 2} components instead of 60: the features of {n} training stimuli have no more"
    ]
    assert not PcrMapping(5, (1.0,)).fit(x @ x.T, responses_from(x)).notes


def test_strata_too_small_for_the_folds_are_left_aside_with_a_note():
    x = awkward_features(60, 30)
    y, kernel = responses_from(x), x @ x.T
    lonely = np.where(np.arange(60) == 7, "alone", OBJECTS.astype(str))
    fitted = PcrMapping(10).fit(kernel, y, strata=lonely)
    assert fitted.notes == ["inner folds not stratified: the rarest of the strata has 1 stimuli"]
    np.testing.assert_array_equal(fitted.lambdas, PcrMapping(10).fit(kernel, y).lambdas)
    assert not PcrMapping(10).fit(kernel, y, strata=OBJECTS.astype(str)).notes


def test_automatic_grid_finds_what_a_wide_grid_finds():
    x = awkward_features(60, 400)
    y = responses_from(x, q=8)
    scores = PCA(30, svd_solver="full").fit_transform(x)
    ours = GramPCR(30).fit(x, y, strata=OBJECTS)
    assert np.isfinite(ours.alpha_).any()
    wide = np.sum(scores**2) / 30 * 10.0 ** (np.arange(-24, 25) / 3)
    for alpha, responses in zip(ours.alpha_, y.T, strict=True):
        search = GridSearchCV(
            Ridge(), {"alpha": wide}, scoring="neg_mean_squared_error", cv=folds_of(OBJECTS)
        ).fit(scores, responses)
        if np.isfinite(alpha):
            assert alpha == pytest.approx(search.best_params_["alpha"])
        else:
            assert search.best_params_["alpha"] > 1e3 * wide[24]


def test_noiseless_responses_flag_the_edge_and_unpredictable_ones_get_the_mean():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 5))
    noiseless, noise = x @ rng.normal(size=(5, 1)), rng.normal(size=(50, 100))
    fitted = PcrMapping(5).fit(x @ x.T, np.hstack([noiseless, noise]))
    unpredictable = np.isinf(fitted.lambdas)
    assert fitted.at_edge[0]
    assert unpredictable[1:].sum() > 20
    assert not fitted.at_edge[1:].any()
    predicted = fitted.predict(x[:3] @ x.T)[:, unpredictable]
    means = np.hstack([noiseless, noise]).mean(axis=0)[unpredictable]
    np.testing.assert_allclose(predicted, np.tile(means, (3, 1)))


@pytest.mark.parametrize("lambdas", [None, (1.0, 10.0)])
def test_equal_features_give_the_mean(lambdas):
    y = np.random.default_rng(0).normal(size=(12, 3))
    fitted = PcrMapping(3, lambdas).fit(np.ones((12, 12)), y)
    assert fitted.n_components == 0
    np.testing.assert_allclose(fitted.predict(np.ones((2, 12))), np.tile(y.mean(axis=0), (2, 1)))


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_very_few_stimuli(n):
    x = np.random.default_rng(n).normal(size=(n, 20))
    fitted = PcrMapping(20, folds=3).fit(x @ x.T, responses_from(x))
    assert fitted.n_components == n - 1
    assert np.isfinite(fitted.predict(x @ x.T)).all()


def test_gram_of_float32_features_predicts_like_sklearn_in_float64():
    x = awkward_features(150, 3000).astype(np.float32)
    y = responses_from(x.astype(np.float64))
    gram, train, test = gram_matrix(x, chunk_features=700), slice(0, 120), slice(120, None)
    fitted = PcrMapping(40, (10.0,)).fit(gram.values[train, train], y[train], gram.resolution)
    pca = PCA(40, svd_solver="full").fit(x[train].astype(np.float64))
    theirs = Ridge(alpha=10.0).fit(pca.transform(x[train]), y[train]).predict(pca.transform(x[test]))
    assert off_by(fitted.predict(gram.values[test, train]), theirs, y) < 1e-4


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100), seed=st.integers(0, 100))
def test_unit_and_origin_of_the_features_do_not_matter(scale, shift, seed):
    x = np.random.default_rng(seed).normal(size=(40, 90))
    y = responses_from(x, q=3)
    plain = GramPCR(10).fit(x[:30], y[:30]).predict(x[30:])
    moved = (x + shift) * scale
    kernel = moved @ moved[:30].T
    ours = GramPCR(10, kernel="precomputed").fit(kernel[:30], y[:30]).predict(kernel[30:])
    np.testing.assert_allclose(ours, plain, rtol=1e-5)


@pytest.mark.parametrize("q", [None, 1, 3])
def test_precomputed_kernel_gives_the_same(q):
    x = awkward_features(40, 90)
    y = responses_from(x, q or 1)[:, 0] if q is None else responses_from(x, q)
    k = x @ x.T
    ours = GramPCR(8, kernel="precomputed").fit(k[:30, :30], y[:30]).predict(k[30:, :30])
    assert ours.shape == y[30:].shape
    np.testing.assert_allclose(ours, GramPCR(8).fit(x[:30], y[:30]).predict(x[30:]), rtol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n_components": 0}, "at least 1, not 0"), ({"folds": 1}, "at least 2 inner folds")],
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PcrMapping(**arguments)


def test_parameters_for_the_result_file():
    assert PcrMapping().parameters() == {
        "n_components": 1000,
        "lambda_grid": "automatic",
        "lambda_selection": "5-fold on the components of the training stimuli",
        "lambda_per_neuroid": True,
    }


@pytest.mark.filterwarnings("ignore:pcr. .* components instead of 1000")
@parametrize_with_checks([GramPCR()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)
