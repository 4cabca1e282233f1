"""Diagnostics against closed forms, planted spectra and refitted ridge; refusal of kernels that are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from itprobe.errors import InputError
from itprobe.metrics import gram_matrix
from itprobe.metrics.diagnostics import effective_dimensionality, lambda_curve, spectrum
from itprobe.metrics.kernel_checks import check_kernel
from itprobe.metrics.lambda_search import LambdaChoice


def with_variances(variances, n, seed=0):
    """Centred features (n, d) whose principal axes have exactly these variances."""
    basis = np.random.default_rng(seed).normal(size=(n, len(variances)))
    vectors = np.linalg.qr(basis - basis.mean(axis=0))[0]
    return vectors * np.sqrt(variances)


# ---- effective dimensionality and spectrum


@pytest.mark.parametrize("d", [1, 3, 40])
def test_even_variance_over_d_axes_has_d_dimensions(d):
    x = with_variances(np.full(d, 2.5), n=60) + 7
    assert effective_dimensionality(gram_matrix(x)) == pytest.approx(d)
    assert len(spectrum(gram_matrix(x)).shares) == d


def test_equals_pca_of_the_features():
    x = np.random.default_rng(0).normal(size=(80, 200)) * np.geomspace(1, 0.02, 200) + 4
    shares = PCA(svd_solver="full").fit(x).explained_variance_ratio_[:79]
    ours = spectrum(gram_matrix(x))
    np.testing.assert_allclose(ours.shares, shares, rtol=1e-8)
    np.testing.assert_allclose(ours.cumulative[-1], 1)
    assert ours.components_for(0.5) == int(np.argmax(np.cumsum(shares) >= 0.5)) + 1
    assert effective_dimensionality(gram_matrix(x)) == pytest.approx(1 / np.sum(shares**2))
    assert ours.effective_dimensionality == effective_dimensionality(gram_matrix(x))
    assert (ours.n_stimuli, ours.n_features) == (80, 200)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-50, 50))
def test_unit_origin_and_rotation_of_features_do_not_matter(seed, scale, shift):
    x = np.random.default_rng(seed).normal(size=(30, 12)) * np.linspace(1, 3, 12)
    rotated = (x @ ortho_group.rvs(12, random_state=seed % 1000) + shift) * scale
    plain, moved = spectrum(gram_matrix(x)), spectrum(gram_matrix(rotated))
    np.testing.assert_allclose(moved.shares, plain.shares, rtol=1e-6)
    assert moved.effective_dimensionality == pytest.approx(plain.effective_dimensionality)
    assert 1 <= plain.effective_dimensionality <= 12


@pytest.mark.parametrize("alpha", [0.6, 1.0, 2.0])
def test_planted_power_law_is_found(alpha):
    x = with_variances(np.arange(1, 501.0) ** -alpha, n=600)
    found = spectrum(gram_matrix(x))
    assert found.exponent == pytest.approx(alpha, abs=1e-6)
    assert found.amplitude == pytest.approx(found.shares[0], rel=1e-6)
    assert found.fitted == (11, 120)


def test_power_law_weighs_octaves_alike():
    """As Stringer et al. 2019: least squares in logarithms with weights 1 / rank, written out here."""
    rng = np.random.default_rng(0)
    variances = np.sort(np.arange(1, 501.0) ** -1 * rng.lognormal(0, 0.4, 500))[::-1]
    found = spectrum(gram_matrix(with_variances(variances, n=1000)))
    ranks = np.arange(11, 201)
    design, weights = np.column_stack([np.log(ranks), np.ones(len(ranks))]), np.diag(1 / ranks)
    target = np.log(found.shares[10:200])
    slope, _ = np.linalg.solve(design.T @ weights @ design, design.T @ weights @ target)
    assert found.exponent == pytest.approx(-slope)


def test_few_stimuli_and_constant_features_have_no_power_law():
    few = spectrum(gram_matrix(np.random.default_rng(0).normal(size=(40, 100))))
    assert np.isnan(few.exponent)
    assert few.fitted == (0, 0)
    for dtype in (np.float64, np.float32):
        constant = spectrum(gram_matrix(np.full((40, 100), 3.7, dtype=dtype)))
        assert np.isnan(constant.effective_dimensionality)
        assert len(constant.shares) == constant.components_for(0.9) == 0


# ---- lambda curve


def choice_of(x, y, grid):
    """A split's choice by explicit leave-one-out with scikit-learn's Ridge."""
    errors = np.array(
        [
            np.mean((y - cross_val_predict(Ridge(alpha), x, y, cv=LeaveOneOut())) ** 2, axis=0)
            for alpha in grid
        ]
    )
    of_mean = np.mean(((y - y.mean(axis=0)) * len(y) / (len(y) - 1)) ** 2, axis=0)
    best = errors.argmin(axis=0)
    lambdas = np.where(errors.min(axis=0) < of_mean, grid[best], np.inf)
    at_edge = ((best == 0) | (best == len(grid) - 1)) & np.isfinite(lambdas)
    return LambdaChoice(
        lambdas=lambdas,
        at_edge=at_edge,
        grid=grid,
        errors=errors,
        error_of_mean=of_mean,
        error=np.minimum(errors.min(axis=0), of_mean),
    )


def choices(n_splits=3, q=6):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 15)) * np.geomspace(2, 0.1, 15)
    y = x @ rng.normal(size=(15, q)) + rng.normal(size=(40, q)) * np.geomspace(0.5, 8, q)
    y[:, -1] = rng.normal(size=40)  # nothing to predict
    return [choice_of(x[k::n_splits], y[k::n_splits], np.logspace(-2, 3, 8)) for k in range(n_splits)]


def test_curve_is_the_mean_of_relative_errors():
    given_choices = choices()
    curve = lambda_curve(given_choices)
    relative = np.array([c.errors / c.error_of_mean for c in given_choices])
    np.testing.assert_allclose(curve.lambdas, given_choices[0].grid)
    np.testing.assert_allclose(curve.error, relative.mean(axis=(0, 2)))
    np.testing.assert_allclose(curve.quartiles[0], np.quantile(relative.mean(axis=0), 0.25, axis=1))
    assert not curve.partial.any()
    assert (curve.n_splits, curve.n_neuroids, curve.n_left_out) == (3, 6, 0)
    chosen = np.concatenate([c.lambdas for c in given_choices])
    assert curve.chosen.sum() == np.isfinite(chosen).sum() == round((1 - curve.share_at_infinity) * 18)
    for value, count in zip(curve.lambdas, curve.chosen, strict=True):
        assert count == np.isclose(chosen, value).sum()
    assert curve.share_at_edge == np.mean([c.at_edge for c in given_choices])
    assert 0 < curve.share_at_infinity < 1


def changed(choice, **fields):
    return LambdaChoice(**{**vars(choice), **fields})


def test_lambdas_tried_for_some_are_partial_and_leave_the_rest_alone():
    whole = choices()
    holed = list(whole)
    errors = whole[1].errors.copy()
    errors[-2:, :4] = np.nan  # neuroids that needed no larger lambda in this split
    holed[1] = changed(whole[1], errors=errors)
    holed[2] = changed(whole[2], grid=whole[2].grid[1:], errors=whole[2].errors[1:])
    curve, full = lambda_curve(holed), lambda_curve(whole)
    assert curve.partial.tolist() == [True] + 5 * [False] + 2 * [True]
    np.testing.assert_allclose(curve.coverage[[0, -1]], [2 / 3, 14 / 18])
    np.testing.assert_allclose(curve.error[1:6], full.error[1:6])
    np.testing.assert_allclose(curve.quartiles[:, 1:6], full.quartiles[:, 1:6])
    assert np.isnan(curve.error[[0, 6, 7]]).all()
    np.testing.assert_array_equal(curve.chosen, full.chosen)


def test_grids_of_splits_that_lie_a_little_apart_are_one_grid():
    plain = choices()
    shifted = [
        changed(c, grid=c.grid * factor, lambdas=c.lambdas * factor)
        for c, factor in zip(plain, [0.97, 1.0, 1 / 0.97], strict=True)
    ]
    curve, expected = lambda_curve(shifted), lambda_curve(plain)
    np.testing.assert_allclose(curve.lambdas, expected.lambdas)
    np.testing.assert_allclose(curve.error, expected.error)
    np.testing.assert_array_equal(curve.chosen, expected.chosen)


def test_dense_grids_are_not_thinned_and_foreign_ones_not_mixed():
    plain = choices(2)
    dense = changed(plain[0], grid=np.geomspace(1, 1.05, 8))
    assert len(lambda_curve([dense]).lambdas) == 8
    apart = lambda_curve([plain[0], changed(plain[1], grid=plain[1].grid * 2)])
    assert len(apart.lambdas) == 16
    assert apart.partial.all()
    assert np.isnan(apart.error).all()


def test_neuroids_without_variance_and_features_without_any():
    plain = choices()
    silent = plain[0].error_of_mean.copy()
    silent[2] = 0
    curve = lambda_curve([changed(plain[0], error_of_mean=silent), *plain[1:]])
    kept = [0, 1, 3, 4, 5]
    relative = np.array([(c.errors / c.error_of_mean)[:, kept] for c in plain])
    assert curve.n_left_out == 1
    np.testing.assert_allclose(curve.error, relative.mean(axis=(0, 2)))
    nothing = changed(plain[0], grid=np.empty(0), errors=np.empty((0, 6)), lambdas=np.full(6, np.inf))
    curve = lambda_curve([nothing, nothing])
    assert len(curve.lambdas) == len(curve.chosen) == 0
    assert curve.share_at_infinity == 1
    assert lambda_curve([nothing, plain[0]]).partial.all()


def test_choices_of_different_neuroids_are_refused():
    with pytest.raises(InputError, match=r"same neuroids, these are for \[6, 4\]"):
        lambda_curve([choices()[0], choices(q=4)[0]])
    with pytest.raises(InputError, match="one or more splits"):
        lambda_curve([])


# ---- kernels


def kernel_features(n, p, dtype=np.float64):
    rng = np.random.default_rng(n + p)
    return (rng.normal(size=(n, p)) * np.geomspace(1, 0.01, p) + 5).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "p"), [(1, 3), (2, 3), (60, 7), (60, 400), (300, 20_000)])
def test_inner_products_pass_whatever_their_precision_and_origin(n, p, dtype):
    x = kernel_features(n, p, dtype)
    for features in (x, x - x.mean(axis=0), x * dtype(1e-4)):
        kernel = features @ features.T
        before = kernel.copy()
        check_kernel(kernel)
        np.testing.assert_array_equal(kernel, before)
    check_kernel(gram_matrix(x).values)


@pytest.mark.parametrize("kernel", [np.zeros((5, 5)), np.ones((5, 5)), np.eye(5)])
def test_degenerate_kernels_pass(kernel):
    check_kernel(kernel)


def test_minus_half_squared_distances_pass_and_distances_do_not():
    squares = squareform(pdist(kernel_features(40, 10), "sqeuclidean"))
    check_kernel(-0.5 * squares)
    with pytest.raises(InputError, match="not positive semi-definite"):
        check_kernel(squares)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), negative=st.floats(1e-3, 1), scale=st.floats(1e-6, 1e6))
def test_a_negative_eigenvalue_is_named_in_size(seed, negative, scale):
    vectors = ortho_group.rvs(12, random_state=np.random.default_rng(seed))
    values = np.linspace(1, 0.1, 12)
    values[-1] = -negative
    kernel = scale * (vectors * values) @ vectors.T
    kernel = (kernel + kernel.T) / 2
    centring = np.eye(12) - 1 / 12
    true = np.linalg.eigvalsh(centring @ kernel @ centring)
    if true[0] > -1e-3 * scale:  # the centring took it away
        return
    with pytest.raises(InputError, match="not positive semi-definite") as caught:
        check_kernel(kernel)
    assert f"{-true[0] / np.abs(true).max():.2g} times the largest" in str(caught.value)


def test_shuffled_and_foreign_matrices_are_refused():
    x = kernel_features(50, 200)
    kernel = x @ x.T
    with pytest.raises(InputError, match=r"not symmetric.*% of the largest entry.*X @ X.T"):
        check_kernel(kernel[np.random.default_rng(0).permutation(50)])
    with pytest.raises(InputError, match=r"square.*\(50, 200\)"):
        check_kernel(x)
    kernel[3, 4] = np.nan
    with pytest.raises(InputError, match="1 entries that are NaN"):
        check_kernel(kernel)
