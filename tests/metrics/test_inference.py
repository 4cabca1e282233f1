"""Bootstrap intervals against closed forms and simulated coverage."""

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.metrics import HeldOut, interval, paired_difference, pearson_r, resample
from itprobe.metrics.ceilings import feve, r2_er, trial_noise
from itprobe.metrics.inference import reliability_weighted_mean, studentised_interval


def held_out(seed=0, n=300, q=40, r=0.6, splits=2, noise_seed=None):
    """Responses and predictions that correlate by r, tested in overlapping splits."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, q))
    e = np.random.default_rng(seed + 1000 if noise_seed is None else noise_seed).normal(size=(n, q))
    z = r * y + np.sqrt(1 - r**2) * e
    ids = np.array([f"s{i:03d}" for i in range(n)])
    tests = [rng.permutation(n)[: n // 2] for _ in range(splits)]
    return HeldOut(
        [ids[t] for t in tests],
        [y[t] for t in tests],
        [z[t] for t in tests],
        np.array([f"n{j}" for j in range(q)]),
        np.repeat(["a", "b"], q // 2),
    )


def test_without_resampling_the_scores_are_the_plain_ones():
    data = held_out()
    plain = resample(data, stimuli=False, neuroids=False, n=1)
    for k in range(2):
        np.testing.assert_allclose(plain.pearson_r[0, k], pearson_r(data.responses[k], data.predictions[k]))


def test_resampling_stimuli_equals_scoring_the_repeated_rows():
    data = held_out(splits=1)
    draws = resample(data, neuroids=False, n=3, seed=5)
    ids = np.unique(data.stimulus_ids[0])
    counts = np.random.default_rng([5, 1]).multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=3)
    for b in range(3):
        rows = np.repeat(np.arange(len(ids)), counts[b, np.searchsorted(ids, data.stimulus_ids[0])])
        expected = pearson_r(data.responses[0][rows], data.predictions[0][rows])
        np.testing.assert_allclose(draws.pearson_r[b, 0], expected)


def test_interval_over_stimuli_covers_as_fisher_says():
    data = held_out(n=400, q=2, splits=1)
    draws = resample(data, neuroids=False, n=2000).pearson_r[:, 0, 0]
    low, high = interval(draws)
    r = pearson_r(data.responses[0], data.predictions[0])[0]
    fisher = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(len(data.responses[0]) - 3))
    np.testing.assert_allclose([low, high], fisher, atol=0.03)


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_intervals_cover_the_truth(statistic):
    covered = []
    for seed in range(60):
        draws = resample(held_out(seed, n=150, q=20, splits=1), n=300).aggregate("pearson_r", statistic)
        low, high = interval(draws)
        covered.append(low <= 0.6 <= high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_neuroids_are_drawn_within_their_animal():
    data = held_out()
    columns = resample(data, n=50).neuroids
    assert (columns[:, :20] < 20).all()
    assert (columns[:, 20:] >= 20).all()


def test_paired_differences_are_tighter_than_unpaired_ones_and_find_the_better():
    better, worse = held_out(r=0.62, noise_seed=7), held_out(r=0.6, noise_seed=7)
    difference = paired_difference(better, worse)
    assert 0 < difference.ci95[0] < difference.value < difference.ci95[1]
    one, other = (resample(h, n=1000).aggregate("pearson_r", "median") for h in (better, worse))
    unpaired = interval(one)[1] - interval(one)[0] + interval(other)[1] - interval(other)[0]
    assert difference.ci95[1] - difference.ci95[0] < 0.3 * unpaired
    same = paired_difference(better, better)
    assert (same.value, same.ci95) == (0, (0, 0))


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="same test stimuli"):
        paired_difference(held_out(0), held_out(1))


def test_studentised_interval_of_one_neuroid_is_fishers():
    two = held_out(n=800, q=2, splits=1)
    one = [two.responses[0][:, :1]], [two.predictions[0][:, :1]]
    data = HeldOut(two.stimulus_ids, *one, two.neuroid_ids[:1], two.animals[:1])
    r = pearson_r(data.responses[0], data.predictions[0])[0]
    fisher = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(len(data.responses[0]) - 3))
    np.testing.assert_allclose(studentised_interval(data, neuroids=False, n=2000), fisher, atol=0.015)


def test_studentised_interval_of_few_neuroids_covers_where_the_percentiles_do_not():
    rng = np.random.default_rng(0)
    truth = np.tanh(np.arctanh(0.6) + 0.3 * rng.normal(size=100_000)).mean()
    covered = {"studentised": [], "percentile": []}
    ids = np.array([f"s{i:04d}" for i in range(40)])
    for seed in range(120):
        r = np.tanh(np.arctanh(0.6) + 0.3 * rng.normal(size=8))
        y = rng.normal(size=(40, 8))
        y -= y.mean(axis=0)
        e = rng.normal(size=y.shape)
        e -= e.mean(axis=0) + y * (e * y).sum(axis=0) / (y**2).sum(axis=0)
        z = r * y / y.std(axis=0) + np.sqrt(1 - r**2) * e / e.std(axis=0)  # every r is exact
        data = HeldOut([ids], [y], [z], np.arange(8).astype(str), np.repeat(["a", "b"], 4))
        options = {"stimuli": False, "n": 200, "seed": seed}
        intervals = {
            "studentised": studentised_interval(data, **options),
            "percentile": interval(resample(data, **options).aggregate("pearson_r", "mean")),
        }
        for name, (low, high) in intervals.items():
            covered[name].append(low <= truth <= high)
    assert 0.9 <= np.mean(covered["studentised"]) <= 1
    assert np.mean(covered["percentile"]) < np.mean(covered["studentised"])


def test_studentised_interval_over_both_covers_the_truth():
    covered = []
    for seed in range(60):
        low, high = studentised_interval(held_out(seed, n=60, q=10, splits=1), n=200, seed=seed)
        covered.append(low <= 0.6 <= high)
    assert 0.88 <= np.mean(covered) <= 1


def test_mean_predictors_count_as_zero_in_studentised_intervals_too():
    data = held_out(q=10)
    flat = [np.hstack([z[:, :5], np.full_like(z[:, 5:], 0.3)]) for z in data.predictions]
    low, high = studentised_interval(
        HeldOut(data.stimulus_ids, data.responses, flat, data.neuroid_ids, data.animals),
        neuroids=False,
        n=200,
    )
    assert low < 0.3 < high  # half of the neuroids at .6, half at 0


def test_two_neuroids_of_each_animal_bound_nothing():
    low, high = studentised_interval(held_out(n=60, q=4, splits=1), n=300)
    assert -1 <= low < 0.6 < high <= 1


def test_a_single_neuroid_cannot_be_resampled():
    with pytest.raises(InputError, match="animal a has a single one"):
        studentised_interval(held_out(q=2))


def test_reliability_weighted_mean():
    r, rho = np.array([0.2, 0.6, np.nan, 0.9]), np.array([0.25, 0.75, 0.9, -0.1])
    assert reliability_weighted_mean(r, rho) == pytest.approx(0.5)
    draws = np.vstack([r, r + 0.1])
    np.testing.assert_allclose(reliability_weighted_mean(draws, rho), [0.5, 0.6])
    assert np.isnan(reliability_weighted_mean(r, np.array([0, np.nan, 1, -1])))


def noisy(seed, m=80, q=3, repetitions=4):
    """Responses with a signal of which half is predicted, and the noise of their averages."""
    rng = np.random.default_rng(seed)
    known, unknown = rng.normal(size=(2, m, q))
    signal = (known + unknown) / np.sqrt(2)
    trials = signal[:, None] + 1.5 * rng.normal(size=(m, repetitions, q))
    ids = np.array([f"s{i:03d}" for i in range(m)])
    noise = trial_noise(trials.reshape(-1, q), np.repeat(ids, repetitions))
    animals = np.repeat("a", q)
    return HeldOut([ids], [noise.means], [known / np.sqrt(2)], np.arange(q).astype(str), animals), noise


def test_corrected_draws_equal_the_formulas_on_repeated_rows():
    """The formulas of a draw, written out for rows repeated as often as they were drawn."""
    data, noise = noisy(0)
    y, z, variances = data.responses[0], data.predictions[0], noise.at(data.stimulus_ids[0])
    draws = resample(data, neuroids=False, n=3, seed=5, noise=[variances])
    counts = np.random.default_rng([5, 1]).multinomial(80, np.full(80, 1 / 80), size=3)
    for b, count in enumerate(counts):
        rows = np.repeat(np.arange(80), count)
        size = 80**2 / (count**2).sum()
        v = variances[rows].mean(axis=0)
        signal = y[rows].var(axis=0) - v * (1 - 1 / size)
        cross = ((y[rows] - y[rows].mean(axis=0)) * (z[rows] - z[rows].mean(axis=0))).mean(axis=0)
        np.testing.assert_allclose(draws.r2_er[b, 0], (cross**2 / z[rows].var(axis=0) - v / size) / signal)
        errors = ((y[rows] - z[rows]) ** 2).mean(axis=0)
        np.testing.assert_allclose(draws.feve[b, 0], 1 - (errors - v) / signal)
    plain = resample(data, stimuli=False, neuroids=False, n=1, noise=[variances])
    np.testing.assert_allclose(plain.r2_er[0, 0], r2_er(y, z, variances.mean(axis=0)))
    np.testing.assert_allclose(plain.feve[0, 0], feve(y, z, variances.mean(axis=0)))
    assert resample(data, n=2).r2_er is None


def test_intervals_of_corrected_scores_cover_the_planted_share():
    covered = {"r2_er": 0, "feve": 0}
    for seed in range(60):
        data, noise = noisy(seed, m=200, q=1)
        draws = resample(data, n=200, seed=seed, noise=[noise.at(data.stimulus_ids[0])])
        for name in covered:
            low, high = interval(draws.aggregate(name, "median"))
            covered[name] += low <= 0.5 <= high
    assert min(covered.values()) >= 50  # 57 of 60 expected; 49 or fewer once in 1,000


def test_draws_among_some_neuroids_and_intervals_of_nothing():
    data = held_out(0, q=6)
    draws = resample(data, n=20)
    some = np.arange(6) < 2
    np.testing.assert_allclose(
        draws.aggregate("pearson_r", "mean", among=np.ones(6, bool)), draws.aggregate("pearson_r", "mean")
    )
    first = np.where(draws.neuroids < 2, 1.0, np.nan)
    values = np.take_along_axis(draws.pearson_r, draws.neuroids[:, None], axis=2) * first[:, None]
    expected = [np.nan if np.isnan(v).all() else np.nanmean(np.nanmean(v, axis=1)) for v in values]
    np.testing.assert_allclose(draws.aggregate("pearson_r", "mean", among=some), expected)
    assert np.isnan(interval(np.full(5, np.nan))).all()
