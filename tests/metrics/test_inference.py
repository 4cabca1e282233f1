"""Bootstrap intervals against closed forms and simulated coverage."""

import numpy as np
import pytest

from itprobe.metrics import HeldOut, interval, paired_difference, pearson_r, resample


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
