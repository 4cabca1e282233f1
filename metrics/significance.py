"""Is a score more than chance, and which of many scores are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from itprobe.metrics.correlation import pearson_r
from itprobe.metrics.inference import HeldOut

N_PERMUTATIONS = 1000
BLOCK_VALUES = 4_000_000
"""Values permuted at once: 32 MB."""


@dataclass(frozen=True)
class PermutationTest:
    """A score against what chance gives.

    Attributes
    ----------
    value : float
        Mean over splits of the median (or mean) over neuroids of r.
    p_value : float
        One-sided: (1 + draws that reach the value) / (1 + B).
    null : ndarray (B,)
        The same statistic with permuted stimuli.
    """

    value: float
    p_value: float
    null: np.ndarray


def permutation_test(
    held_out: HeldOut, statistic: str = "median", n: int = N_PERMUTATIONS, seed: int = 0
) -> PermutationTest:
    """Test held-out predictions against chance by permuting which stimulus they belong to.

    Predictions are permuted among a split's test stimuli, all neuroids together, so that correlations
    between neuroids count as what they are. Splits that test some of the same stimuli are not
    independent, and permuting each by itself would give too narrow a null (a nominal 5 % test of ten
    splits of 10 % rejects 9 % of the time). Splits joined by shared stimuli are therefore permuted
    as one: one permutation of all their test stimuli, each of which brings the prediction that it got on
    average in the splits that tested it, less each split's mean. Splits that share nothing (folds) are
    permuted each within itself.

    Parameters
    ----------
    held_out : HeldOut
    statistic : {"median", "mean"}
        Over neuroids, within a split.
    n : int
        Number of permutations B; the smallest p-value is 1 / (1 + B).
    seed : int

    Returns
    -------
    PermutationTest
        Of the hypothesis that predictions say nothing about the order of responses.
    """
    inner = np.nanmedian if statistic == "median" else np.nanmean
    value = np.nanmean(
        [inner(pearson_r(y, z)) for y, z in zip(held_out.responses, held_out.predictions, strict=True)]
    )
    generator = np.random.default_rng([seed, 4])
    null = np.zeros((n, len(held_out.responses)))
    for members in _joined_splits(held_out.stimulus_ids):
        ids, pool = _pooled_predictions(held_out, members)
        rows = {k: np.searchsorted(ids, held_out.stimulus_ids[k]) for k in members}
        block = max(1, BLOCK_VALUES // pool.size)
        for start in range(0, n, block):
            draws = slice(start, min(start + block, n))
            identity = np.tile(np.arange(len(ids)), (draws.stop - start, 1))
            orders = generator.permuted(identity, axis=1)
            for k, own in rows.items():
                r = _correlations(held_out.responses[k], pool[orders[:, own]])
                null[draws, k] = inner(r, axis=1)
    means = np.nanmean(null, axis=1)
    # Predictions without any variance give zeros throughout, but for rounding of the mean.
    reached = np.count_nonzero(means >= value - 1e-12)
    return PermutationTest(float(value), (1 + reached) / (1 + n), means)


def _correlations(responses: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Pearson r (B, q) of responses (n, q) with many predictions (B, n, q); 0 for constant predictions."""
    y = responses - responses.mean(axis=0)
    y = y / np.sqrt(np.where(np.ptp(responses, axis=0) > 0, (y**2).sum(axis=0), np.nan))
    z = predictions - predictions.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("bnq,bnq->bq", z, z))
    flat = norms <= 1e-12 * np.abs(predictions).max(axis=1)
    return np.einsum("nq,bnq->bq", y, z) / np.where(flat, np.inf, norms)


def _joined_splits(stimulus_ids: list[np.ndarray]) -> list[list[int]]:
    """Split numbers in groups that share no test stimulus with another group."""
    groups: list[tuple[set[object], list[int]]] = []
    for k, ids in enumerate(stimulus_ids):
        stimuli, members, apart = set(ids), [k], []
        for others, their_members in groups:
            if stimuli & others:
                stimuli, members = stimuli | others, their_members + members
            else:
                apart.append((others, their_members))
        groups = [*apart, (stimuli, members)]
    return [sorted(members) for _, members in groups]


def _pooled_predictions(held_out: HeldOut, members: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Stimulus ids (m,) that some splits test and the mean prediction of each about its split's mean (m, q)."""
    ids, code = np.unique(np.concatenate([held_out.stimulus_ids[k] for k in members]), return_inverse=True)
    total = np.zeros((len(ids), len(held_out.neuroid_ids)))
    np.add.at(total, code, np.concatenate([_about_mean(held_out.predictions[k]) for k in members]))
    return ids, total / np.bincount(code)[:, None]


def _about_mean(predictions: np.ndarray) -> np.ndarray:
    """Predictions (n, q) about their mean; exactly 0 where they are constant but for rounding."""
    centred = predictions - predictions.mean(axis=0)
    constant = np.abs(centred).max(axis=0) <= 1e-12 * np.abs(predictions).max(axis=0)
    return np.where(constant, 0, centred)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted so that rejecting those below α errs anywhere with probability at most α.

    Holm's step-down method (1979, Scand. J. Stat. 6:65); valid under any dependence.

    Parameters
    ----------
    p_values : ndarray (k,)
        NaN (not tested) stays NaN and does not count.

    Returns
    -------
    ndarray (k,)
    """
    return _adjust(p_values, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted so that of those below α at most a share α is expected to be false.

    Benjamini & Hochberg's step-up method (1995, J. R. Stat. Soc. B 57:289); for independent or
    positively dependent tests, as layers of one network on one recording are.

    Parameters
    ----------
    p_values : ndarray (k,)
        NaN (not tested) stays NaN and does not count.

    Returns
    -------
    ndarray (k,)
    """
    return _adjust(
        p_values,
        lambda p: np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1],
    )


def _adjust(p_values: np.ndarray, step: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `step` to the p-values in ascending order."""
    p_values = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.minimum(step(p_values[order]), 1)
    return adjusted
