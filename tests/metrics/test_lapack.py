"""Routines called past scipy's wrappers, against numpy's."""

import numpy as np
import pytest

from itprobe.metrics.blas import product
from itprobe.metrics.lapack import add_products, leading_eigenpairs, solve_positive_definite

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 4, 1), (70, 1, 65), (4, 0, 3), (0, 3, 2)])
@pytest.mark.parametrize("left_order", ["C", "F"])
@pytest.mark.parametrize("right_order", ["C", "F"])
def test_product_equals_numpys_in_every_layout(shape, left_order, right_order):
    a, inner, b = shape
    left = np.asarray(RNG.normal(size=(a, inner)), order=left_order)
    right = np.asarray(RNG.normal(size=(inner, b)), order=right_order)
    assert product(left, right) == pytest.approx(left @ right, rel=1e-12, abs=1e-12)


def test_product_of_views_and_of_single_precision():
    wide = RNG.normal(size=(40, 60))
    left, right = wide[3:20:2, 5:30], wide.T[10:35, ::3].astype(np.float32)
    assert product(left, right) == pytest.approx(left @ right.astype(float), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_matrices_that_do_not_fit_are_refused(order):
    with pytest.raises(ValueError, match="4 x 3 and 5 x 2 have no product"):
        product(np.ones((4, 3), order=order), np.ones((5, 2), order=order))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_products_are_added_to_the_upper_triangle_alone(sign):
    factors = np.asfortranarray(RNG.normal(size=(9, 6)))
    before = np.asfortranarray(RNG.normal(size=(6, 6)))
    after = before.copy(order="F")
    add_products(after, sign, factors)
    upper = np.triu_indices(6)
    assert after[upper] == pytest.approx((before + sign * factors.T @ factors)[upper])
    lower = np.tril_indices(6, -1)
    assert np.array_equal(after[lower], before[lower])


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_positive_definite_system_is_solved(order):
    factors = RNG.normal(size=(80, 70))
    matrix = np.asfortranarray(factors.T @ factors + np.eye(70))
    right = np.asarray(RNG.normal(size=(70, 4)), order=order)
    expected = np.linalg.solve(matrix, right)
    assert solve_positive_definite(matrix, right.copy(order="K")) == pytest.approx(expected, rel=1e-9)


def test_an_indefinite_system_is_refused():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        solve_positive_definite(np.asfortranarray(np.diag([1.0, -1.0])), np.ones((2, 1), order="F"))


@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 2), (40, 1), (200, 70), (200, 199)])
@pytest.mark.parametrize("rank", [1, 150])
def test_leading_eigenpairs_equal_numpys(n, k, rank):
    factors = RNG.normal(size=(n, rank))
    matrix = factors @ factors.T
    eigenvalues, vectors = leading_eigenpairs(np.asfortranarray(matrix), k)
    assert eigenvalues == pytest.approx(np.linalg.eigvalsh(matrix)[n - k :], abs=1e-10 * n**2)
    assert vectors.T @ vectors == pytest.approx(np.eye(k), abs=1e-10)
    assert matrix @ vectors == pytest.approx(vectors * eigenvalues, abs=1e-10 * n**2)


def test_a_count_may_be_numpys():
    matrix = np.asfortranarray(np.diag([3.0, 1.0, 2.0]))
    eigenvalues, _ = leading_eigenpairs(matrix, np.int64(2))
    assert eigenvalues == pytest.approx([2.0, 3.0])
