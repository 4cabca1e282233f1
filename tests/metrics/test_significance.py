"""Permutation test and adjusted p-values against closed forms, scipy and simulated error rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, false_discovery_control

from itprobe.metrics import HeldOut
from itprobe.metrics.significance import benjamini_hochberg, holm, permutation_test

IDS = np.array([f"s{i:03d}" for i in range(200)])


def held_out(r=0.0, seed=0, tests=None, q=3):
    """Responses and predictions of one neuroid after another that share a signal; same in every split."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(200, 1))
    y = (shared + rng.normal(size=(200, q))) / np.sqrt(2)
    z = r * y + np.sqrt(1 - r**2) * rng.normal(size=(200, 1))
    tests = tests if tests is not None else [np.arange(200)]
    return HeldOut(
        [IDS[t] for t in tests],
        [y[t] for t in tests],
        [z[t] for t in tests],
        np.array([f"n{j}" for j in range(q)]),
        np.repeat("a", q),
    )


def overlapping(seed):
    """Ten random tests of 40 of 200 stimuli: each stimulus stands in two of them on average."""
    rng = np.random.default_rng([seed, 7])
    return [rng.permutation(200)[:40] for _ in range(10)]


def folds(seed):
    return np.array_split(np.random.default_rng([seed, 8]).permutation(200), 5)


def test_null_of_one_neuroid_is_the_known_distribution_of_r():
    test = permutation_test(held_out(q=1), n=3000)
    # without correlation (r + 1) / 2 is Beta(n/2 - 1, n/2 - 1)
    expected = 2 * beta(99, 99).ppf([0.05, 0.5, 0.95]) - 1
    np.testing.assert_allclose(np.quantile(test.null, [0.05, 0.5, 0.95]), expected, atol=0.01)
    reached = (test.null >= test.value - 1e-12).sum()
    assert test.p_value == (1 + reached) / 3001


@pytest.mark.parametrize("tests", [overlapping, folds, lambda seed: None])
def test_errs_as_often_as_stated_without_a_relation(tests):
    p = [permutation_test(held_out(seed=s, tests=tests(s)), n=99, seed=s).p_value for s in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.09  # binomial 99.5 % limits of .05
    assert 0.4 <= np.mean(p) <= 0.6


@pytest.mark.parametrize("tests", [overlapping, folds])
@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_finds_a_relation_and_says_the_score(tests, statistic):
    data = held_out(0.4, tests=tests(0))
    test = permutation_test(data, statistic, n=199)
    inner = np.median if statistic == "median" else np.mean
    expected = [
        inner([np.corrcoef(a, b)[0, 1] for a, b in zip(y.T, z.T, strict=True)])
        for y, z in zip(data.responses, data.predictions, strict=True)
    ]
    assert test.value == pytest.approx(np.mean(expected))
    assert test.p_value == 1 / 200


def test_folds_are_permuted_within_themselves():
    data = held_out(tests=[np.arange(100), np.arange(100, 200)])
    offset = HeldOut(
        data.stimulus_ids,
        [data.responses[0], data.responses[1] + 100],
        [data.predictions[0], data.predictions[1] + 100],
        data.neuroid_ids,
        data.animals,
    )
    np.testing.assert_allclose(
        permutation_test(offset, n=50).null, permutation_test(data, n=50).null, atol=1e-9
    )


def test_constant_predictions_are_never_significant():
    data = held_out(tests=overlapping(0))
    flat = [np.full_like(z, 0.1 * k) for k, z in enumerate(data.predictions)]
    test = permutation_test(
        HeldOut(data.stimulus_ids, data.responses, flat, data.neuroid_ids, data.animals), n=50
    )
    assert (test.value, test.p_value) == (0, 1)


def test_holm_of_a_known_example():
    # sorted .005 .01 .03 .04 times 4 3 2 1, then made monotone
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.9])), [1, np.nan, 1])


def test_benjamini_hochberg_leaves_untested_ones_out():
    adjusted = benjamini_hochberg(np.array([0.01, np.nan, 0.02, 0.9]))
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.03, 0.9])


@settings(max_examples=100, deadline=None)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values(p):
    p = np.array(p)
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), atol=1e-12)
    # Holm by definition: the largest of (k - j) p_(j) over all p-values up to this one
    expected = [max(min(1, (p >= other).sum() * other) for other in p if other <= value) for value in p]
    by_hand = holm(p)
    assert (by_hand >= benjamini_hochberg(p) - 1e-12).all()
    np.testing.assert_allclose(by_hand, expected, atol=1e-12)
