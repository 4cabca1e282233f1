"""RSA and CKA against scipy, dense matrices from the papers, Brain-Score's CKA and simulated coverage."""

from itertools import combinations

import numpy as np
import pytest
from brainscore_vision.metrics.cka.metric import linear_CKA, unbiased_linear_CKA
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr

from itprobe.errors import InputError
from itprobe.metrics.gram import gram_matrix
from itprobe.metrics.rdm import rdm
from itprobe.metrics.similarity import COMPARISONS, VECTOR_COMPARISONS, compare_rdms, linear_cka
from itprobe.metrics.similarity_intervals import (
    bootstrap_rsa,
    jackknife_cka,
    jackknife_interval,
    jackknife_rsa,
)


def two_rdms(n=30, seed=0, ties=False):
    """RDMs of two representations that share half of their latents; coarse ones have many ties."""
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(n, 9))
    x, y = latents[:, :6] @ rng.normal(size=(6, 50)), latents[:, 3:] @ rng.normal(size=(6, 20))
    first, second = rdm(gram_matrix(x)), rdm(gram_matrix(y))
    return (np.round(first, 1), np.round(second, 1)) if ties else (first, second)


def tau_a(first, second):
    """Kendall's τ_a by counting every pair of entries."""
    signs = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
    return signs.sum() / (len(first) * (len(first) - 1))


def whitened(first, second):
    """d₁ᵀ V⁻¹ d₂ normalised, with the covariance V of the distances written out (Diedrichsen et al. 2021)."""
    n = int((1 + np.sqrt(1 + 8 * len(first))) / 2)
    contrasts = np.zeros((len(first), n))
    for row, (i, j) in enumerate(combinations(range(n), 2)):
        contrasts[row, [i, j]] = 1, -1
    inverse = np.linalg.inv((contrasts @ contrasts.T) ** 2)
    products = [a @ inverse @ b for a, b in ((first, second), (first, first), (second, second))]
    return products[0] / np.sqrt(products[1] * products[2])


REFERENCES = {
    "spearman": lambda a, b: spearmanr(a, b)[0],
    "pearson": lambda a, b: pearsonr(a, b)[0],
    "kendall": tau_a,
    "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    "whitened_correlation": lambda a, b: whitened(a - a.mean(), b - b.mean()),
    "whitened_cosine": whitened,
}


@pytest.mark.parametrize("method", COMPARISONS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [5, 30])
def test_comparisons_equal_their_definitions(method, ties, n):
    first, second = two_rdms(n, ties=ties)
    upper = np.triu_indices(n, 1)
    expected = REFERENCES[method](first[upper], second[upper])
    assert compare_rdms(first, second, method) == pytest.approx(expected, abs=1e-9)


def test_stimuli_without_distances_are_left_out():
    first, second = two_rdms()
    holed = [first.copy(), second.copy()]
    for which, gone in ((0, 4), (1, 11)):
        holed[which][gone] = holed[which][:, gone] = np.nan
    kept = np.setdiff1d(np.arange(30), [4, 11])
    for method in COMPARISONS:
        expected = compare_rdms(first[np.ix_(kept, kept)], second[np.ix_(kept, kept)], method)
        assert compare_rdms(*holed, method) == pytest.approx(expected, abs=1e-12)
    holed[0][1, 2] = holed[0][2, 1] = np.nan
    with pytest.raises(InputError, match="lacks 1 single distances"):
        compare_rdms(*holed)


def test_a_layer_without_variance_has_no_similarity():
    first, second = two_rdms()
    constant = 1.0 - np.eye(30)
    for method in COMPARISONS:
        assert np.isnan(compare_rdms(constant, second, method))
        assert np.isnan(compare_rdms(first, np.zeros((30, 30)), method))
    flat = gram_matrix(np.full((30, 7), 3.0)).values
    other = np.random.default_rng(0).normal(size=(30, 30))
    for unbiased in (True, False):
        assert np.isnan(linear_cka(flat, other @ other.T, unbiased))
        assert np.isnan(linear_cka(np.full((30, 30), 1 / 3), other @ other.T, unbiased))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(COMPARISONS), scale=st.floats(1e-3, 1e3))
def test_order_of_stimuli_sides_and_units_do_not_matter(seed, method, scale):
    first, second = two_rdms(20, seed)
    plain = compare_rdms(first, second, method)
    order = np.random.default_rng(seed).permutation(20)
    ordered = compare_rdms(first[np.ix_(order, order)], second[np.ix_(order, order)], method)
    assert ordered == pytest.approx(plain, abs=1e-9)
    assert compare_rdms(second, first * scale, method) == pytest.approx(plain, abs=1e-9)
    assert -1 <= plain <= 1
    assert compare_rdms(first, first, method) == pytest.approx(1)


@pytest.mark.parametrize(("n", "p", "q"), [(40, 7, 5), (40, 300, 12), (200, 500, 168)])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_cka_equals_brainscores(n, p, q, offset):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p)) + offset
    y = x[:, :5] @ rng.normal(size=(5, q)) + 2 * rng.normal(size=(n, q)) + offset
    theirs = linear_CKA(x, y), unbiased_linear_CKA(x, y)
    for grams in (
        (gram_matrix(x).values, gram_matrix(y).values),
        (x @ x.T, y @ y.T),
    ):
        ours = linear_cka(*grams), linear_cka(*grams, unbiased=True)
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_cka_equals_brainscores_with_constant_and_duplicate_features_and_stimuli():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 40)) + 3, rng.normal(size=(30, 8)) * 100
    y[:, 4:] += 50 * x[:, :4]
    for features in (x, y):
        features[:, 1], features[:, 3], features[5] = 4.0, features[:, 2], features[4]
    grams = gram_matrix(x).values, gram_matrix(y).values
    ours = linear_cka(*grams), linear_cka(*grams, unbiased=True)
    np.testing.assert_allclose(ours, (linear_CKA(x, y), unbiased_linear_CKA(x, y)), atol=1e-8)


def test_unbiased_cka_of_unrelated_representations_is_zero_on_average():
    values = {True: [], False: []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        grams = [gram_matrix(rng.normal(size=(25, 200))).values for _ in range(2)]
        for unbiased in values:
            values[unbiased].append(linear_cka(*grams, unbiased))
    assert abs(np.mean(values[True])) < 3 * np.std(values[True]) / np.sqrt(60) + 1e-3
    assert np.mean(values[False]) > 0.8


@pytest.mark.parametrize("method", VECTOR_COMPARISONS)
def test_bootstrap_draws_are_the_pairs_of_different_stimuli_among_those_drawn(method):
    first, second = two_rdms(12, ties=True)
    draws = bootstrap_rsa(first, second, method, n=4, seed=7)
    counts = np.random.default_rng([7, 3]).multinomial(12, np.full(12, 1 / 12), size=4)
    for draw, count in zip(draws, counts, strict=True):
        rows = np.repeat(np.arange(12), count)
        i, j = np.triu_indices(12, 1)
        differ = rows[i] != rows[j]
        pairs = rows[i][differ], rows[j][differ]
        assert draw == pytest.approx(REFERENCES[method](first[pairs], second[pairs]), abs=1e-9)


@pytest.mark.parametrize("method", ["whitened_correlation", "whitened_cosine"])
def test_jackknife_of_whitened_comparisons_is_leaving_out(method):
    first, second = two_rdms()
    values = jackknife_rsa(first, second, method)
    for gone in range(30):
        kept = np.setdiff1d(np.arange(30), gone)
        expected = compare_rdms(first[np.ix_(kept, kept)], second[np.ix_(kept, kept)], method)
        assert values[gone] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("unbiased", [True, False])
def test_jackknife_of_cka_is_leaving_out(unbiased):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 40)) + 3, rng.normal(size=(30, 9))
    y[:, :3] += x[:, :3]
    values = jackknife_cka(gram_matrix(x).values, gram_matrix(y).values, unbiased)
    reference = unbiased_linear_CKA if unbiased else linear_CKA
    for gone in range(30):
        kept = np.setdiff1d(np.arange(30), gone)
        assert values[gone] == pytest.approx(reference(x[kept], y[kept]), abs=1e-8)


def test_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(size=15)
    low, high = jackknife_interval(values.mean(), (values.sum() - values) / 14)
    reach = 2.1447866879 * values.std(ddof=1) / np.sqrt(15)  # Student's t with 14 degrees of freedom
    np.testing.assert_allclose([low, high], [values.mean() - reach, values.mean() + reach])


def sampled(n, seed):
    """Grams of two noisy representations of n stimuli drawn from one population of stimuli."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(99)
    latents = rng.normal(size=(n, 8)) * np.linspace(1.5, 0.5, 8)
    x = np.tanh(latents @ weights.normal(size=(8, 60))) + 0.3 * rng.normal(size=(n, 60))
    y = latents[:, 3:] @ weights.normal(size=(5, 25)) + 0.8 * rng.normal(size=(n, 25))
    return gram_matrix(x), gram_matrix(y)


def test_intervals_over_stimuli_cover_the_similarity_in_the_population():
    grams = sampled(2500, 1)
    truth = {m: compare_rdms(*map(rdm, grams), m) for m in ("spearman", "pearson", "whitened_correlation")}
    truth["cka"] = linear_cka(grams[0].values, grams[1].values, unbiased=True)
    covered = {name: [] for name in truth}
    for seed in range(100):
        grams = sampled(60, 100 + seed)
        rdms = [rdm(gram) for gram in grams]
        draws = {m: bootstrap_rsa(*rdms, m, 200, seed) for m in ("spearman", "pearson")}
        intervals = {m: np.quantile(draw, [0.025, 0.975]) for m, draw in draws.items()}
        whitened_value = compare_rdms(*rdms, "whitened_correlation")
        intervals["whitened_correlation"] = jackknife_interval(whitened_value, jackknife_rsa(*rdms))
        cka = linear_cka(grams[0].values, grams[1].values, True)
        left_out = jackknife_cka(grams[0].values, grams[1].values, True)
        intervals["cka"] = jackknife_interval(cka, left_out)
        for name, (low, high) in intervals.items():
            covered[name].append(low <= truth[name] <= high)
    for name, hits in covered.items():
        assert 0.88 <= np.mean(hits) <= 1, (name, np.mean(hits))


def test_bad_input_is_said():
    first, second = two_rdms()
    with pytest.raises(InputError, match=r"\(30, 30\) and \(29, 29\)"):
        compare_rdms(first, second[1:, 1:])
    with pytest.raises(InputError, match="unknown comparison of RDMs 'euclid'"):
        compare_rdms(first, second, "euclid")
    with pytest.raises(InputError, match="CKA needs two square"):
        linear_cka(first, second[1:, 1:])
    with pytest.raises(InputError, match="no bootstrap"):
        bootstrap_rsa(first, second, "whitened_cosine")
    with pytest.raises(InputError, match="not 'pearson'"):
        jackknife_rsa(first, second, "pearson")


def test_squared_distances_of_orthogonal_codes_are_known():
    # 4 stimuli on the axes against two tight pairs: the distances are 2 everywhere, and 0 or 2
    pairs = squareform(pdist(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), "sqeuclidean"))
    axes = rdm(gram_matrix(np.eye(4)), "sqeuclidean")
    # centred Grams are H and blocks of ±1/2: <H, B> = 2, |H|² = 3, |B|² = 4
    assert compare_rdms(pairs, pairs + 0.1 * axes, "pearson") == pytest.approx(1)
    assert linear_cka(np.eye(4), -0.5 * pairs) == pytest.approx(2 / np.sqrt(3 * 4))
