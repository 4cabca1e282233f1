"""Noise-corrected scores and the inter-animal ceiling against planted truth."""

import numpy as np
import pandas as pd
import pytest

from itprobe.errors import InputError
from itprobe.metrics import SPLITS, RidgeMapping
from itprobe.metrics.ceilings import feve, inter_animal_ceiling, inter_animal_pairs, r2_er, trial_noise

TRUE_R2 = np.array([0.0, 0.25, 0.6, 1.0])


def planted(seed, m=200, equal=True, kind="gaussian"):
    """Trials of four neuroids, predictions that correlate with their noiseless responses by √TRUE_R2."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"s{i:04d}" for i in range(m)])
    basis = np.linalg.qr(np.column_stack([np.ones(m), rng.normal(size=(m, 8))]))[0][:, 1:] * np.sqrt(m)
    signal, other = basis[:, :4], basis[:, 4:]
    rates = 6 + 1.5 * signal if kind == "gaussian" else np.exp(1.2 + 0.5 * signal)
    rates_z = (rates - rates.mean(axis=0)) / rates.std(axis=0)
    # exact correlations with the noiseless responses, at an arbitrary scale
    other -= rates_z * (rates_z * other).mean(axis=0)
    other /= other.std(axis=0)
    predictions = 3 * (np.sqrt(TRUE_R2) * rates_z + np.sqrt(1 - TRUE_R2) * other) - 1
    repeats = np.full(m, 5) if equal else rng.integers(1, 11, m)
    stimuli = np.repeat(ids, repeats)
    expected = np.repeat(rates, repeats, axis=0)
    trials = expected + 2.5 * rng.normal(size=expected.shape) if kind == "gaussian" else rng.poisson(expected)
    return trials.astype(float), stimuli, rates, predictions


CASES = [(True, "gaussian"), (False, "gaussian"), (True, "poisson"), (False, "poisson")]


@pytest.mark.parametrize(("equal", "kind"), CASES)
def test_r2_er_is_unbiased_where_plain_r2_is_not(equal, kind):
    corrected, plain = [], []
    for seed in range(150):
        trials, stimuli, _, predictions = planted(seed, equal=equal, kind=kind)
        noise = trial_noise(trials, stimuli)
        corrected.append(r2_er(noise.means, predictions, noise.of(noise.stimulus_ids)))
        plain.append(
            [np.corrcoef(y, z)[0, 1] ** 2 for y, z in zip(noise.means.T, predictions.T, strict=True)]
        )
    assert np.abs(np.mean(corrected, axis=0) - TRUE_R2).max() < 0.01
    assert np.mean(plain, axis=0)[3] < 0.85


@pytest.mark.parametrize(("equal", "kind"), CASES)
def test_feve_recovers_the_variance_explained_without_noise(equal, kind):
    estimates, truths = [], []
    for seed in range(150):
        trials, stimuli, rates, predictions = planted(seed, equal=equal, kind=kind)
        shown = rates.mean(axis=0) + rates.std(axis=0) * (predictions + 1) / 3 * np.sqrt(TRUE_R2)
        noise = trial_noise(trials, stimuli)
        estimates.append(feve(noise.means, shown, noise.of(noise.stimulus_ids)))
        truths.append(1 - ((rates - shown) ** 2).mean(axis=0) / rates.var(axis=0))
    np.testing.assert_allclose(np.mean(truths, axis=0), TRUE_R2, atol=1e-9)
    assert np.abs(np.mean(estimates, axis=0) - TRUE_R2).max() < 0.015


def test_noise_is_the_sampling_variance_of_the_means():
    trials, stimuli, rates, _ = planted(0, m=4000, equal=False)
    trials[np.random.default_rng(1).random(trials.shape) < 0.2] = np.nan
    noise = trial_noise(trials, stimuli)
    seen = np.isfinite(noise.means).all(axis=1)
    error = ((noise.means - rates) ** 2)[seen].mean(axis=0)
    np.testing.assert_allclose(noise.of(noise.stimulus_ids[seen]), error, rtol=0.1)


def test_noise_equals_the_variance_of_each_stimulus_by_hand():
    trials = np.array([[1.0, 4], [3, np.nan], [2, 8], [7, 1], [7, 3], [5, 9]])
    noise = trial_noise(trials, np.array(["b", "b", "b", "a", "a", "c"]))
    assert noise.stimulus_ids.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(noise.means, [[7, 2], [2, 6], [5, 9]])
    # c has one repetition: pooled over b and a
    pooled = [2 / 3, (2 + 8) / 2]
    np.testing.assert_allclose(noise.variances, [[0, 1], [1 / 3, 4], pooled])
    np.testing.assert_allclose(noise.of(np.array(["b", "a"])), [1 / 6, 2.5])
    with pytest.raises(InputError, match=r"no trials of 1 stimuli \(d\)"):
        noise.of(np.array(["a", "d"]))


def test_without_noise_they_are_the_squared_correlation_and_r2():
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, 50, 3))
    z += y
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(y.T, z.T, strict=True)]
    np.testing.assert_allclose(r2_er(y, z, np.zeros(3)), np.square(r))
    expected = 1 - ((y - z) ** 2).mean(axis=0) / y.var(axis=0)
    np.testing.assert_allclose(feve(y, z, np.zeros(3)), expected)


def test_constant_predictions_and_pure_noise():
    y = np.random.default_rng(0).normal(size=(50, 2))
    flat = np.full((50, 2), 0.1) * (1 + 1e-15 * np.arange(50))[:, None]
    assert r2_er(y, flat, np.array([0.1, 0.1])).tolist() == [0, 0]
    assert np.isnan(r2_er(y, y + 1, np.array([9.0, 9.0]))).all()
    assert np.isnan(feve(y, y + 1, np.array([9.0, 9.0]))).all()


def test_no_repetitions_is_said():
    with pytest.raises(InputError, match="two or more repetitions"):
        trial_noise(np.ones((3, 2)), np.array(["a", "b", "c"]))


def two_animals(seed, n=300, q=40, rho=(0.5, 0.9), shared=True):
    """Average responses of two animals' neuroids to 5 latents, with reliabilities `rho`."""
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(n, 5))
    own = [latents, latents if shared else rng.normal(size=(n, 5))]
    responses = []
    for side in range(2):
        signal = own[side] @ rng.normal(size=(5, q))
        signal /= signal.std(axis=0)
        responses.append(signal + np.sqrt((1 - rho[side]) / rho[side]) * rng.normal(size=(n, q)))
    ids = np.array([f"s{i:03d}" for i in range(n)])
    splits = SPLITS["kfold"](pd.DataFrame({"stimulus_id": ids}), 1).splits
    return np.hstack(responses), ids, np.repeat(["ann", "bob"], q), splits


def test_inter_animal_ceiling_is_the_root_of_the_reliability_where_the_source_says_all():
    r = []
    for seed in range(3):
        responses, ids, animals, splits = two_animals(seed)
        pairs = list(inter_animal_pairs(responses, ids, animals, RidgeMapping(), splits))
        assert [(p.source, p.target) for p in pairs] == [("ann", "bob"), ("bob", "ann")]
        assert pairs[0].neuroids.tolist() == list(range(40, 80))
        assert pairs[0].pearson_r.shape == (10, 40)
        r.append(inter_animal_ceiling(responses, ids, animals, RidgeMapping(), splits).mean(axis=0))
    # 40 neuroids average the source's noise away but for a few hundredths
    ann, bob = np.mean(r, axis=0)[:40].mean(), np.mean(r, axis=0)[40:].mean()
    assert np.sqrt(0.5) - 0.04 < ann < np.sqrt(0.5) + 0.01
    assert np.sqrt(0.9) - 0.08 < bob < np.sqrt(0.9)


def test_animals_that_share_nothing_predict_nothing():
    responses, ids, animals, splits = two_animals(0, shared=False)
    r = inter_animal_ceiling(responses, ids, animals, RidgeMapping(), splits)
    assert abs(r.mean()) < 0.05


def test_three_animals_average_over_their_sources():
    responses, ids, _, splits = two_animals(0, q=12)
    animals = np.repeat(["ann", "bob", "cat"], 8)
    pairs = list(inter_animal_pairs(responses, ids, animals, RidgeMapping(), splits))
    assert len(pairs) == 6
    to_cat = [p.pearson_r for p in pairs if p.target == "cat"]
    ceiling = inter_animal_ceiling(responses, ids, animals, RidgeMapping(), splits)
    assert ceiling.shape == (10, 24)
    np.testing.assert_allclose(ceiling[:, 16:], np.mean(to_cat, axis=0))


def test_inter_animal_input_is_checked():
    responses, ids, animals, splits = two_animals(0)
    with pytest.raises(InputError, match="all neuroids are of ann"):
        inter_animal_ceiling(responses[:, :40], ids, animals[:40], RidgeMapping(), splits)
    responses[3, 2] = np.nan
    with pytest.raises(InputError, match="1 of 80 neuroids"):
        inter_animal_ceiling(responses, ids, animals, RidgeMapping(), splits)
