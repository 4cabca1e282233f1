"""How sure a score is: bootstrap over neuroids and over stimuli, never by refitting.

Mappings are not refitted on resampled stimuli: a stimulus drawn twice would stand on both sides of a
split. The held-out pairs of response and prediction are resampled instead. A stimulus that several
splits test is resampled together in all of them.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

N_BOOTSTRAP = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class HeldOut:
    """Predictions for test stimuli, one entry per split.

    Attributes
    ----------
    stimulus_ids : list of ndarray (n_k,)
    responses, predictions : list of ndarray (n_k, q)
    neuroid_ids : ndarray (q,)
    animals : ndarray (q,)
        Neuroids are resampled within their animal: two monkeys are too few to resample.
    """

    stimulus_ids: list[np.ndarray]
    responses: list[np.ndarray]
    predictions: list[np.ndarray]
    neuroid_ids: np.ndarray
    animals: np.ndarray


@dataclass(frozen=True)
class Resampled:
    """Bootstrap draws of every split's r and explained variance.

    Attributes
    ----------
    pearson_r, explained_variance : ndarray (B, splits, q)
        Over resampled stimuli (the plain values where `stimuli` were not resampled).
    neuroids : ndarray (B, q) of int
        Columns drawn (all, in order, where neuroids were not resampled).
    """

    pearson_r: np.ndarray
    explained_variance: np.ndarray
    neuroids: np.ndarray

    def aggregate(self, which: str, statistic: str) -> np.ndarray:
        """Draws (B,) of ``median`` (mean over splits of the median over neuroids) or ``mean``."""
        values = np.take_along_axis(getattr(self, which), self.neuroids[:, None, :], axis=2)
        inner = np.nanmedian if statistic == "median" else np.nanmean
        with warnings.catch_warnings():  # in a small split a draw may hold a single stimulus: no r at all
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanmean(inner(values, axis=2), axis=1)


def resample(
    held_out: HeldOut, stimuli: bool = True, neuroids: bool = True, n: int = N_BOOTSTRAP, seed: int = 0
) -> Resampled:
    """Draw bootstrap samples over stimuli, neuroids, or both.

    The draws depend on the ids, n and the seed only, so that two candidates scored on the same
    splits get the same draws and their differences are paired.

    Parameters
    ----------
    held_out : HeldOut
    stimuli, neuroids : bool
        What to resample.
    n : int
        Number of draws B.
    seed : int
    """
    generator = np.random.default_rng([seed, 1])
    ids = np.unique(np.concatenate(held_out.stimulus_ids))
    counts = generator.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=n if stimuli else 1)
    if not stimuli:
        counts = np.ones_like(counts)
    r, ev = [], []
    for split_ids, y, z in zip(held_out.stimulus_ids, held_out.responses, held_out.predictions, strict=True):
        weights = counts[:, np.searchsorted(ids, split_ids)].astype(np.float64)
        split_r, split_ev = _weighted_scores(weights, y, z)
        r.append(split_r)
        ev.append(split_ev)
    columns = _draw_neuroids(held_out.animals, n, np.random.default_rng([seed, 2]), neuroids)
    shape = (len(columns), len(r), len(held_out.neuroid_ids))
    return Resampled(
        np.broadcast_to(np.stack(r, axis=1), shape), np.broadcast_to(np.stack(ev, axis=1), shape), columns
    )


def _weighted_scores(
    weights: np.ndarray, responses: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pearson r and explained variance (B, q) where stimulus i counts weights[b, i] times."""
    y, z = responses - responses.mean(axis=0), predictions - predictions.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=1, keepdims=True)
        mean_y, mean_z = (weights @ y) / total, (weights @ z) / total
        var_y = (weights @ y**2) / total - mean_y**2
        var_z = (weights @ z**2) / total - mean_z**2
        covariance = (weights @ (y * z)) / total - mean_y * mean_z
        r = covariance / np.sqrt(var_y * var_z)
        ev = (2 * covariance - var_z) / var_y
    flat = var_z <= 1e-20 * np.maximum(1, np.max(predictions**2))
    undefined = var_y <= 1e-12 * y.var(axis=0)
    r, ev = np.where(flat, 0.0, np.clip(r, -1, 1)), np.where(undefined, np.nan, ev)
    return np.where(undefined, np.nan, r), ev


def _draw_neuroids(
    animals: np.ndarray, n: int, generator: np.random.Generator, resampled: bool
) -> np.ndarray:
    """Column numbers (B, q), drawn with replacement within each animal."""
    columns = np.tile(np.arange(len(animals)), (n, 1))
    if resampled:
        for animal in np.unique(animals):
            own = np.flatnonzero(animals == animal)
            columns[:, own] = generator.choice(own, size=(n, len(own)))
    return columns


def interval(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap draws."""
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_median(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Draws (B,) of the median of `values` (q,) over resampled neuroids (B, q)."""
    return np.nanmedian(values[columns], axis=1)


@dataclass(frozen=True)
class Difference:
    """Difference between two candidates on the same stimuli, neuroids and splits.

    Attributes
    ----------
    value : float
        First minus second.
    ci95 : tuple of float
    """

    value: float
    ci95: tuple[float, float]


def paired_difference(
    first: HeldOut, second: HeldOut, statistic: str = "median", n: int = N_BOOTSTRAP, seed: int = 0
) -> Difference:
    """Interval for the difference in r between two candidates, resampling stimuli and neuroids together.

    Parameters
    ----------
    first, second : HeldOut
        Of the same benchmark and seed.
    statistic : {"median", "mean"}
    n : int
    seed : int

    Raises
    ------
    ValueError
        If the two were not tested on the same stimuli and neuroids.
    """
    for one, other in zip(_keys(first), _keys(second), strict=True):
        if not np.array_equal(one, other):
            raise ValueError("paired differences need the same test stimuli and neuroids in the same splits")
    draws = [resample(h, n=n, seed=seed).aggregate("pearson_r", statistic) for h in (first, second)]
    point = [_point(h, statistic) for h in (first, second)]
    return Difference(point[0] - point[1], interval(draws[0] - draws[1]))


def _keys(held_out: HeldOut) -> Iterator[np.ndarray]:
    yield held_out.neuroid_ids
    yield np.array([len(ids) for ids in held_out.stimulus_ids])
    yield np.concatenate(held_out.stimulus_ids)


def _point(held_out: HeldOut, statistic: str) -> float:
    plain = resample(held_out, stimuli=False, neuroids=False, n=1)
    return float(plain.aggregate("pearson_r", statistic)[0])
