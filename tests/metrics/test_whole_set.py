"""Differences between similarities of two candidates with the same responses."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from itprobe.metrics import CkaMapping, RsaMapping, gram_matrix
from itprobe.metrics.similarity import linear_cka
from itprobe.metrics.whole_set import similarity_difference

N = 40


@pytest.fixture
def layers():
    """Responses, a layer that shares much with them, and one that shares less."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(N, 6))
    return y, np.hstack([y, rng.normal(size=(N, 6))]), np.hstack([y[:, :2], rng.normal(size=(N, 20))])


def test_the_difference_of_cka_has_the_interval_of_the_jackknife(layers):
    y, first, second = layers
    found = [CkaMapping().compare(gram_matrix(x), y, seed=1) for x in (first, second)]
    difference = similarity_difference(*found)

    def cka(rows, x):
        return linear_cka(x[rows] @ x[rows].T, y[rows] @ y[rows].T, unbiased=True)

    left_out = [np.delete(np.arange(N), k) for k in range(N)]
    values = np.array([cka(rows, first) - cka(rows, second) for rows in left_out])
    error = np.sqrt((N - 1) / N * ((values - values.mean()) ** 2).sum())
    value = cka(np.arange(N), first) - cka(np.arange(N), second)
    reach = student_t.ppf(0.975, N - 1) * error
    assert difference.value == pytest.approx(value)
    assert difference.ci95 == pytest.approx((value - reach, value + reach))
    assert difference.ci95[0] > 0


@pytest.mark.parametrize("mapping", [CkaMapping(), RsaMapping()])
def test_a_difference_is_paired(mapping, layers):
    y, first, second = layers
    one, same, other = (mapping.compare(gram_matrix(x), y, seed=1) for x in (first, first, second))
    assert similarity_difference(one, same).ci95 == (0, 0)
    forth, back = similarity_difference(one, other), similarity_difference(other, one)
    assert forth.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    unpaired = (one.ci95[1] - one.ci95[0]) + (other.ci95[1] - other.ci95[0])
    assert forth.ci95[1] - forth.ci95[0] < unpaired
