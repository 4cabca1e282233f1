"""The simulated sites against closed forms, Monte Carlo and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import RidgeCV

from itprobe.data import average_repetitions
from itprobe.data.simulated import load_simulated, neurons, teacher, teacher_features
from itprobe.data.simulated.scenes import LATENTS, make_latents

N, Q, REPETITIONS = 640, 40, 20


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Features of correlated noise: the sites' statistics do not hang on the images."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(60, 24 * 9)) / np.sqrt(1 + np.arange(60))[:, None]
    return (rng.normal(size=(N, 60)) @ basis + 0.1 * rng.normal(size=(N, 216))).reshape(N, 24, 3, 3)


def sites_of(features, seed, n_neuroids=Q):
    rng = np.random.default_rng([99, seed])
    trials = rng.integers(REPETITIONS - 2, REPETITIONS + 3, N)
    sites = neurons.make_sites(features, make_latents(N, seed), trials, n_neuroids, seed)
    return sites, trials, rng


def split_half_reliability(counts, stimulus, rng, n_halves=10):
    """Spearman-Brown of the mean correlation between averages over random halves of the trials."""
    order = np.argsort(stimulus, kind="stable")
    counts, stimulus = counts[order].astype(float), stimulus[order]
    starts = np.flatnonzero(np.r_[True, stimulus[1:] != stimulus[:-1]])
    trials = np.diff(np.r_[starts, len(stimulus)])
    total = np.add.reduceat(counts, starts, axis=0)
    correlations = []
    for _ in range(n_halves):
        shuffled = np.lexsort([rng.random(len(stimulus)), stimulus])
        rank = np.empty(len(stimulus), dtype=int)
        rank[shuffled] = np.arange(len(stimulus)) - np.repeat(starts, trials)
        half = rank < np.repeat(trials // 2, trials)
        first = np.add.reduceat(counts * half[:, None], starts, axis=0)
        a, b = first / (trials // 2)[:, None], (total - first) / (trials - trials // 2)[:, None]
        a, b = (a - a.mean(0)) / a.std(0), (b - b.mean(0)) / b.std(0)
        correlations.append((a * b).mean(axis=0))
    r = np.mean(correlations, axis=0)
    return 2 * r / (1 + r)


def test_reliabilities_are_distributed_as_in_the_real_data(features):
    sites, _, _ = sites_of(features, 3, n_neuroids=168)
    reliability = sites.reliability
    assert np.median(reliability) == pytest.approx(0.84, abs=0.01)
    assert reliability.mean() == pytest.approx(0.75, abs=0.01)
    assert np.quantile(reliability, [0.05, 0.95]) == pytest.approx([0.23, 0.96], abs=0.01)
    assert (reliability < 0.3).sum() == 13


def test_shares_sum_to_one_and_have_the_stated_means(features):
    shares = neurons.make_sites(features, make_latents(N, 0), np.full(N, 20), 2000, 0).shares
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert shares.mean(axis=1) == pytest.approx([0.55, 0.30, 0.15], abs=0.02)


def test_shares_are_those_of_regressions_on_their_own_columns(features):
    sites, _, _ = sites_of(features, 1)
    latents = make_latents(N, 1)
    objects = pd.get_dummies(latents["object_name"]).to_numpy(float)
    # Undo the softplus: what remains is linear in the drive.
    drive = np.log(np.expm1(neurons.SHARPNESS * sites.signal / sites.signal.mean(axis=0)))
    pose = latents[list(LATENTS)].to_numpy()
    for share, columns in ((sites.shares[1], objects), (sites.shares[2], pose)):
        fit = columns @ np.linalg.lstsq(columns, drive - drive.mean(axis=0), rcond=None)[0]
        explained = fit.var(axis=0) / drive.var(axis=0)
        assert np.corrcoef(explained, share)[0, 1] > 0.9


def test_planted_reliability_is_the_correlation_between_repeats_of_the_experiment(features):
    sites, trials, rng = sites_of(features, 2)
    animal = neurons.animal_numbers(Q)
    image = np.repeat(np.arange(N), trials)
    means = []
    for _ in range(12):
        counts = neurons.draw_counts(sites.signal, trials, animal, rng)
        means.append(pd.DataFrame(counts).groupby(image).mean().to_numpy())
    pairs = [(a, b) for a in range(12) for b in range(a)]
    repeats = np.mean(
        [[np.corrcoef(means[a][:, j], means[b][:, j])[0, 1] for j in range(Q)] for a, b in pairs], axis=0
    )
    np.testing.assert_allclose(repeats, sites.reliability, atol=0.04)
    assert abs((repeats - sites.reliability).mean()) < 0.005


def test_counts_have_the_stated_mean_variance_and_shared_gain():
    expected = np.array([[2.0, 10.0, 10.0, 30.0]])
    animal = np.array([0, 0, 1, 1])
    trials = 200_000
    counts = neurons.draw_counts(expected, np.array([trials]), animal, np.random.default_rng(0))
    assert counts.dtype == np.float32
    v = neurons.GAIN_VARIANCE
    covariance = np.cov(counts.T)
    product = v * np.outer(expected, expected) * (animal[:, None] == animal[None])
    closed_form = np.diag(expected[0]) + product
    np.testing.assert_allclose(counts.mean(axis=0), expected[0], rtol=0.005)
    np.testing.assert_allclose(covariance, closed_form, atol=0.02 * closed_form.max())
    assert (np.diag(covariance) / expected[0] > 1).all()


def test_split_halves_recover_the_planted_reliability(features):
    errors = []
    for seed in range(20):
        sites, trials, rng = sites_of(features, seed)
        counts = neurons.draw_counts(sites.signal, trials, neurons.animal_numbers(Q), rng)
        estimate = split_half_reliability(counts, np.repeat(np.arange(N), trials), rng)
        errors.append(estimate - sites.reliability)
    assert np.abs(errors).mean() < 0.02
    assert abs(np.mean(errors)) < 0.005


@pytest.mark.slow
def test_split_halves_recover_the_planted_reliability_of_whole_recordings():
    errors, rng = [], np.random.default_rng(0)
    for seed in range(20):
        recording = load_simulated("simulated_small", seed)
        stimulus = pd.factorize(recording["stimulus_id"].values)[0]
        estimate = split_half_reliability(recording.values, stimulus, rng)
        errors.append(estimate - recording.attrs["truth"]["reliability"].values)
    assert np.abs(errors).mean() < 0.02


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.integers(0, 10**6))
def test_sites_are_legal_whatever_their_number(n_neuroids, seed):
    features = np.random.default_rng(seed).normal(size=(64, 5, 3, 3))
    trials = np.full(64, 8)
    sites = neurons.make_sites(features, make_latents(64, seed), trials, n_neuroids, seed)
    assert (sites.signal > 0).all()
    np.testing.assert_allclose(
        np.sort(sites.reliability), neurons.target_reliabilities(n_neuroids), atol=0.01
    )
    coordinates = neurons.neuroid_coordinates(n_neuroids)
    assert len(set(coordinates["neuroid_id"])) == n_neuroids
    assert set(coordinates["animal"]) == set(neurons.ANIMALS)


# --- what predicts the sites -------------------------------------------------------------------


def unit_columns(values):
    """Rows as a block of total variance 1, so that blocks can be put side by side."""
    values = np.asarray(values, dtype=float).reshape(len(values), -1)
    values = values - values.mean(axis=0)
    return values / np.sqrt((values**2).sum() / len(values))


def held_out_r(blocks, responses, seeds=(0, 1)):
    """Per-site r of RidgeCV on held-out tenths of the images, averaged over splits."""
    values, vectors = np.linalg.eigh(sum(block @ block.T for block in blocks))
    kept = values > 1e-9 * values[-1]
    scores = vectors[:, kept] * np.sqrt(values[kept])  # the same ridge in fewer columns
    rs = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(responses))
        test, train = np.split(order, [len(responses) // 10])
        ridge = RidgeCV(10.0 ** np.arange(-3, 4), alpha_per_target=True)
        guess = ridge.fit(scores[train], responses[train]).predict(scores[test])
        sites = range(responses.shape[1])
        rs.append([np.corrcoef(guess[:, j], responses[test, j])[0, 1] for j in sites])
    return np.mean(rs, axis=0)


@pytest.fixture
def averaged():
    return average_repetitions(load_simulated("simulated_small"))


@pytest.fixture
def blocks(averaged):
    stimulus_set = averaged.attrs["stimulus_set"]
    ids = averaged["stimulus_id"].values
    latents = stimulus_set.set_index("stimulus_id").loc[ids]
    paths = [stimulus_set.stimulus_paths[key] for key in ids]
    images = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])
    pose = latents[list(LATENTS)].to_numpy(float)
    return {
        "pixels": unit_columns(images[:, ::2, ::2]),
        "block1": unit_columns(teacher_features(teacher(0), images, "block1")[:, :, ::2, ::2]),
        "block4": unit_columns(teacher_features(teacher(0), images)),
        "object": unit_columns(pd.get_dummies(latents[["object_name", "category_name"]]).to_numpy(float)),
        "pose": unit_columns((pose - pose.mean(axis=0)) / pose.std(axis=0)),
    }


def test_teacher_and_latents_predict_best_and_pixels_poorly(averaged, blocks):
    reliability = averaged.attrs["truth"]["reliability"].values
    responses = averaged.values
    everything = [blocks["block4"], blocks["object"], blocks["pose"]]
    r = {name: np.median(held_out_r([block], responses)) for name, block in blocks.items()}
    best = held_out_r(everything, responses)
    assert np.median(best / np.sqrt(reliability)) > 0.88
    assert r["pixels"] < 0.5 * r["block4"]
    assert r["pixels"] < r["block1"] < r["block4"] < np.median(best) - 0.1
    assert r["object"] > r["pixels"]
    permuted = np.random.default_rng(0).permutation(len(responses))
    assert abs(np.median(held_out_r(everything, responses[permuted]))) < 0.08


def test_noiseless_signal_is_what_the_averages_estimate(averaged):
    truth = averaged.attrs["truth"]
    order = pd.Index(truth["stimulus_id"].values).get_indexer(averaged["stimulus_id"].values)
    signal = truth["signal"].values[order]
    r = [np.corrcoef(averaged.values[:, j], signal[:, j])[0, 1] for j in range(signal.shape[1])]
    # A noisy average correlates with its own noiseless part as the root of its reliability.
    np.testing.assert_allclose(r, np.sqrt(truth["reliability"].values), atol=0.06)
    assert abs(np.mean(r - np.sqrt(truth["reliability"].values))) < 0.01
