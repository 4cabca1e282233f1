"""Split-half reliability against planted truth, Brain-Score's own ceiling and two real recordings."""

from pathlib import Path

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.metrics import brainscore_reliability, split_half_reliability

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the real recordings are not beside this checkout"
)


def planted(rho, n_stimuli=600, repetitions=10, seed=0):
    """Trials whose average over the repetitions has reliability `rho` (q,)."""
    rng = np.random.default_rng(seed)
    rho = np.asarray(rho)
    signal = rng.normal(size=(n_stimuli, len(rho)))
    noise_sd = np.sqrt(repetitions * (1 - rho) / rho)
    trials = signal[:, None, :] + noise_sd * rng.normal(size=(n_stimuli, repetitions, len(rho)))
    stimuli = np.repeat([f"s{i:04d}" for i in range(n_stimuli)], repetitions)
    labels = np.tile(np.arange(repetitions), n_stimuli)
    return trials.reshape(-1, len(rho)), stimuli, labels


def test_planted_reliability_is_recovered_without_bias():
    rho = np.array([0.1, 0.3, 0.5, 0.75, 0.9, 0.97])
    estimates = [split_half_reliability(*planted(rho, seed=s)[:2], n_halves=20).rho for s in range(20)]
    assert np.abs(np.mean(estimates, axis=0) - rho).max() < 0.02


@pytest.mark.parametrize("repetitions", [2, 3, 5])
def test_few_and_odd_repetitions(repetitions):
    rho = np.array([0.4, 0.75])
    estimates = []
    for seed in range(40):
        trials, stimuli, _ = planted(rho, repetitions=repetitions, seed=seed)
        estimates.append(split_half_reliability(trials, stimuli, n_halves=20).rho)
    assert np.abs(np.mean(estimates, axis=0) - rho).max() < 0.015  # a bias of .02 and more otherwise


def test_unequal_repetitions():
    """Reliability of averages over 3 or 8 repetitions: the mean noise over the stimuli counts."""
    estimates = []
    for seed in range(40):
        trials, stimuli, labels = planted([0.6], repetitions=8, seed=seed)
        few = np.isin(stimuli, np.unique(stimuli)[::2]) & (labels >= 3)
        estimates.append(split_half_reliability(trials[~few], stimuli[~few], n_halves=20).rho)
    noise = 8 * (1 - 0.6) / 0.6 * (1 / 3 + 1 / 8) / 2
    assert np.mean(estimates) == pytest.approx(1 / (1 + noise), abs=0.01)


def test_row_order_and_single_presentations_do_not_matter():
    trials, stimuli, _ = planted([0.6, 0.8])
    order = np.random.default_rng(0).permutation(len(trials))
    one = split_half_reliability(trials, stimuli)
    other = split_half_reliability(trials[order], stimuli[order])
    np.testing.assert_allclose(one.rho, other.rho, atol=0.01)
    lonely = split_half_reliability(np.vstack([trials, [[99.0, -99.0]]]), np.append(stimuli, "lonely"))
    np.testing.assert_allclose(one.rho, lonely.rho, atol=1e-12)


def test_missing_repetitions_of_some_neuroids():
    trials, stimuli, _ = planted([0.7, 0.7])
    trials[np.random.default_rng(0).random(len(trials)) < 0.3, 1] = np.nan
    estimate = split_half_reliability(trials, stimuli)
    assert estimate.rho[0] == pytest.approx(0.7, abs=0.05)
    # 7 of 10 repetitions are left: the reliability of their average, by Spearman-Brown
    assert estimate.rho[1] == pytest.approx(0.7 * 0.7 / (1 - 0.3 * 0.7), abs=0.05)


def test_neuroids_constant_in_a_half_are_skipped_and_counted():
    trials, stimuli, _ = planted([0.7, 0.7], n_stimuli=20, repetitions=4)
    trials[:, 1] = 0
    trials[0, 1] = 1  # a single spike: whichever half it's not in is constant
    estimate = split_half_reliability(trials, stimuli, n_halves=50)
    assert estimate.skipped.tolist() == [0, 50]
    assert np.isnan(estimate.rho[1])


def test_brainscore_kind_equals_brainscores_own_ceiling():
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
    from brainscore_vision.metrics.internal_consistency.ceiling import InternalConsistency

    trials, stimuli, labels = planted([0.3, 0.6, 0.9], n_stimuli=30, repetitions=6)
    assembly = NeuroidAssembly(
        trials,
        coords={
            "stimulus_id": ("presentation", stimuli),
            "repetition": ("presentation", labels),
            "object_name": ("presentation", stimuli),
            "neuroid_id": ("neuroid", ["a", "b", "c"]),
            "region": ("neuroid", ["IT"] * 3),
        },
        dims=["presentation", "neuroid"],
    )
    theirs = InternalConsistency()(assembly)
    ours = brainscore_reliability(trials, stimuli, labels)
    np.testing.assert_allclose(ours.rho, theirs.raw.mean("split").values, atol=1e-10)


def test_no_repetitions_is_said():
    with pytest.raises(InputError, match="two or more repetitions"):
        split_half_reliability(np.random.default_rng(0).normal(size=(30, 2)), np.arange(30).astype(str))
    with pytest.raises(InputError, match="no repetitions"):
        brainscore_reliability(np.zeros((3, 1)), np.arange(3), np.zeros(3))


def it_responses(window):
    """Trials of the macaque IT recording in one time bin: (condition x repetition, neuroid)."""
    data = np.load(RECORDINGS / "macaque_it_zhang2011" / "counts.npz")
    counts = data["counts"][..., list(data["time_bins"]).index(window)].astype(float)
    counts[counts < 0] = np.nan
    trials = counts.transpose(1, 2, 0).reshape(-1, counts.shape[0])
    return trials, np.repeat(data["conditions"], counts.shape[2])


@needs_recordings
def test_macaque_it_reliability_after_and_before_stimulus_onset():
    after = split_half_reliability(*it_responses("time.100_250"), n_halves=200)
    assert np.nanmedian(after.half_r) == pytest.approx(0.56, abs=0.02)
    assert np.nanmedian(after.rho) == pytest.approx(0.72, abs=0.02)
    before = split_half_reliability(*it_responses("time.-200_-50"), n_halves=200)
    assert abs(np.nanmedian(before.half_r)) < 0.12
    assert after.skipped.sum() > 0


@needs_recordings
def test_macaque_v4_reliability():
    data = np.load(RECORDINGS / "macaque_v4_cowley2023" / "counts.npz")
    counts = data["counts"].astype(float)
    counts[counts < 0] = np.nan
    trials = counts.transpose(1, 2, 0).reshape(-1, 50)
    kept = np.isfinite(trials).any(axis=1)
    stimuli = np.repeat(np.arange(640), 10)
    estimate = split_half_reliability(trials[kept], stimuli[kept])
    assert np.median(estimate.rho) == pytest.approx(0.75, abs=0.03)
