"""How reliable recorded responses are, and what that allows a model to reach.

The reliability ρ of a neuroid is the correlation that two independent repetitions of the whole
experiment would have. It caps r² and explained variance of any model; √ρ caps r.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.model_selection import ShuffleSplit

from itprobe.errors import InputError
from itprobe.metrics.correlation import pearson_r

N_HALVES = 100

Numbers = TypeVar("Numbers", float, np.ndarray)


@dataclass(frozen=True)
class Reliability:
    """Split-half reliability of each neuroid.

    Attributes
    ----------
    half_r : ndarray (q,)
        Correlation between halves, averaged over the draws; NaN where no draw could be used.
    rho : ndarray (q,)
        Reliability of the average over all repetitions.
    skipped : ndarray (q,) of int
        Draws in which the neuroid was constant in a half.
    n_halves : int
        Number of draws.
    kind : str
        How `rho` was estimated.
    seed : int
        That drew the halves.
    """

    half_r: np.ndarray
    rho: np.ndarray
    skipped: np.ndarray
    n_halves: int
    kind: str
    seed: int


def spearman_brown(r: np.ndarray, factor: float | np.ndarray = 2.0) -> np.ndarray:
    """Reliability of `factor` times as many repetitions: k r / (1 + (k - 1) r) (Spearman, Brown 1910)."""
    return factor * r / (1 + (factor - 1) * r)


def split_half_reliability(
    values: np.ndarray, stimuli: np.ndarray, n_halves: int = N_HALVES, seed: int = 0
) -> Reliability:
    """Estimate reliability from random halves of each stimulus's own repetitions.

    Both halves have floor(R_i / 2) of a stimulus's R_i repetitions (one is left out at random where R_i is
    odd), and the correction leads from the halves' mean noise to that of all repetitions:
    k = mean(1 / h_i) / mean(1 / R_i), which is 2 where every R_i is even. Correlations are averaged over
    the draws first and corrected once: the average of corrected values explodes where a draw comes near
    r = -1.

    Parameters
    ----------
    values : ndarray (presentations, q)
        Single-trial responses; NaN = missing. Where presentations are missing for some neuroids
        only, halves are drawn from what each neuroid has.
    stimuli : ndarray (presentations,)
        Stimulus id of each presentation.
    n_halves : int
        Number of random halves.
    seed : int

    Returns
    -------
    Reliability
        Of kind ``"spearman-brown of the mean r"``.

    Raises
    ------
    InputError
        If no neuroid has two repetitions of three stimuli.
    """
    q = values.shape[1]
    total, used, factor = np.zeros(q), np.zeros(q, dtype=int), np.full(q, 2.0)
    present = np.isfinite(values)
    patterns, pattern_of = np.unique(present, axis=1, return_inverse=True)
    pattern_of = pattern_of.ravel()
    enough = False
    for index in range(patterns.shape[1]):
        columns = np.flatnonzero(pattern_of == index)
        rows = np.flatnonzero(patterns[:, index])
        repeated, code = _repeated_stimuli(stimuli[rows])
        rows, n_stimuli = rows[repeated], code.max() + 1 if len(code) else 0
        if n_stimuli < 3:
            continue
        enough = True
        counts = np.bincount(code)
        factor[columns] = np.mean(1 / (counts // 2)) / np.mean(1 / counts)
        trials = values[np.ix_(rows, columns)].astype(np.float64)
        generator = np.random.default_rng([seed, index])
        for _ in range(n_halves):
            r = _half_correlation(trials, code, n_stimuli, generator)
            total[columns] += np.nan_to_num(r)
            used[columns] += np.isfinite(r)
    if not enough:
        raise InputError("no ceiling: the recording has no stimuli with two or more repetitions")
    with np.errstate(invalid="ignore", divide="ignore"):
        half_r = np.where(used > 0, total / used, np.nan)
        rho = spearman_brown(half_r, factor)
    return Reliability(
        half_r,
        np.where(np.isfinite(rho), rho, np.nan),
        n_halves - used,
        n_halves,
        "spearman-brown of the mean r",
        seed,
    )


def _repeated_stimuli(stimuli: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose stimulus has two or more presentations, and their stimulus numbers 0 .. m-1."""
    _, code, counts = np.unique(stimuli, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[code] >= 2)
    return repeated, np.unique(code[repeated], return_inverse=True)[1]


def _half_correlation(
    trials: np.ndarray, code: np.ndarray, n_stimuli: int, generator: np.random.Generator
) -> np.ndarray:
    """Correlation (q,) between the means of two random halves of each stimulus's repetitions."""
    order = np.lexsort((generator.random(len(code)), code))
    counts = np.bincount(code, minlength=n_stimuli)
    rank = np.arange(len(code)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = np.repeat(counts // 2, counts)
    halves = []
    for half in (rank < size, (rank >= size) & (rank < 2 * size)):
        rows, stimulus = order[half], code[order[half]]
        sizes = np.bincount(stimulus, minlength=n_stimuli)
        weights = csr_matrix((1 / sizes[stimulus], (stimulus, rows)), shape=(n_stimuli, len(code)))
        halves.append(weights @ trials)
    constant = (np.ptp(halves[0], axis=0) == 0) | (np.ptp(halves[1], axis=0) == 0)
    return np.where(constant, np.nan, pearson_r(*halves))


def brainscore_reliability(values: np.ndarray, stimuli: np.ndarray, repetitions: np.ndarray) -> Reliability:
    """Estimate reliability as Brain-Score's ``internal_consistency`` does.

    Ten halves of the repetition *labels* (``random_state=1``); each half's correlation is corrected,
    then averaged.

    Parameters
    ----------
    values : ndarray (presentations, q)
    stimuli, repetitions : ndarray (presentations,)
        Stimulus id and repetition label of each presentation.

    Returns
    -------
    Reliability
        Of kind ``"brain-score"``.

    Raises
    ------
    InputError
        If there are fewer than two repetition labels.
    """
    r = _brainscore_half_correlations(values, stimuli, repetitions)
    skipped = np.isnan(r).sum(axis=0)
    return Reliability(np.mean(r, axis=0), np.mean(spearman_brown(r), axis=0), skipped, 10, "brain-score", 1)


def brainscore_ceiling(values: np.ndarray, stimuli: np.ndarray, repetitions: np.ndarray) -> float:
    """The one number that Brain-Score divides r² by: medians over neuroids, averaged over its ten halves.

    Parameters
    ----------
    values, stimuli, repetitions
        See `brainscore_reliability`.

    Raises
    ------
    InputError
        If there are fewer than two repetition labels.
    """
    rho = spearman_brown(_brainscore_half_correlations(values, stimuli, repetitions))
    return float(np.nanmedian(rho, axis=1).mean())


def _brainscore_half_correlations(
    values: np.ndarray, stimuli: np.ndarray, repetitions: np.ndarray
) -> np.ndarray:
    """Correlations (10, q) between halves of the repetition labels."""
    labels = np.unique(repetitions)
    if len(labels) < 2:
        raise InputError("no ceiling: the recording has no repetitions")
    code = np.unique(stimuli, return_inverse=True)[1]
    r = []
    for first, second in ShuffleSplit(n_splits=10, train_size=0.5, random_state=1).split(labels):
        halves = [
            _nan_means(values[np.isin(repetitions, labels[half])], code[np.isin(repetitions, labels[half])])
            for half in (first, second)
        ]
        shared = np.flatnonzero(np.isfinite(halves[0]).any(axis=1) & np.isfinite(halves[1]).any(axis=1))
        r.append(pearson_r(halves[0][shared], halves[1][shared]))
    return np.array(r)


def _nan_means(values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Mean per stimulus number, ignoring NaN; rows are stimulus numbers 0 .. max, NaN where there is none."""
    present = np.isfinite(values)
    gather = csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(code.max() + 1, len(code)))
    counts = gather @ present.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (gather @ np.where(present, values, 0).astype(np.float64)) / counts


def ceiled_r2(r: Numbers, rho: Numbers) -> Numbers:
    """Share of the explainable variance: aggregate r² over aggregate reliability (Brain-Score since 2026).

    The sign of r is kept: predictions that run against the responses do not explain them.
    """
    return r * np.abs(r) / rho
