"""How sure a score is: bootstrap over neuroids and over stimuli, never by refitting.

Mappings are not refitted on resampled stimuli: a stimulus drawn twice would stand on both sides of a
split. The held-out pairs of response and prediction are resampled instead. A stimulus that several
splits test is resampled together in all of them.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from itprobe.errors import InputError
from itprobe.metrics.moments import weighted_moments

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
    """Bootstrap draws of every split's scores.

    Attributes
    ----------
    pearson_r, explained_variance : ndarray (B, splits, q)
        Over resampled stimuli (the plain values where `stimuli` were not resampled).
    neuroids : ndarray (B, q) of int
        Columns drawn (all, in order, where neuroids were not resampled).
    r2_er, feve : ndarray (B, splits, q) or None
        Freed of the noise of trials; None where it was not given.
    """

    pearson_r: np.ndarray
    explained_variance: np.ndarray
    neuroids: np.ndarray
    r2_er: np.ndarray | None = None
    feve: np.ndarray | None = None

    def aggregate(self, which: str, statistic: str, among: np.ndarray | None = None) -> np.ndarray:
        """Draws (B,) of ``median`` (mean over splits of the median over neuroids) or ``mean``.

        `among` (q,) of bool leaves out all neuroids but those; a draw without any is NaN.
        """
        values = getattr(self, which)
        if among is not None:
            values = np.where(among, values, np.nan)
        values = np.take_along_axis(values, self.neuroids[:, None, :], axis=2)
        inner = np.nanmedian if statistic == "median" else np.nanmean
        with warnings.catch_warnings():  # in a small split a draw may hold a single stimulus: no r at all
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanmean(inner(values, axis=2), axis=1)


def resample(
    held_out: HeldOut,
    stimuli: bool = True,
    neuroids: bool = True,
    n: int = N_BOOTSTRAP,
    seed: int = 0,
    noise: list[np.ndarray] | None = None,
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
    noise : list of ndarray (n_k, q), optional
        Variance that trial noise leaves in each average response, as `HeldOut.responses`. With it come
        draws of r2_er and feve: a stimulus is drawn with its responses, prediction and noise, and each
        draw is freed of the noise that it holds (of its effective number of stimuli: a stimulus drawn
        twice brings the same noise twice).
    """
    ids, counts = draw_stimuli(held_out, n, seed)
    if not stimuli:
        counts = np.ones_like(counts[:1])
    draws: dict[str, list[np.ndarray]] = {"pearson_r": [], "explained_variance": []}
    if noise is not None:
        draws |= {"r2_er": [], "feve": []}
    for k, split_ids in enumerate(held_out.stimulus_ids):
        weights = counts[:, np.searchsorted(ids, split_ids)]
        moments = weighted_moments(weights, held_out.responses[k], held_out.predictions[k])
        draws["pearson_r"].append(moments.pearson_r())
        draws["explained_variance"].append(moments.explained_variance())
        if noise is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                of_draw = (weights @ noise[k]) / weights.sum(axis=1, keepdims=True)
            draws["r2_er"].append(moments.r2_er(of_draw))
            draws["feve"].append(moments.feve(of_draw))
    columns = draw_neuroids(held_out.animals, n, np.random.default_rng([seed, 2]), neuroids)
    shape = (len(columns), len(held_out.stimulus_ids), len(held_out.neuroid_ids))
    return Resampled(
        neuroids=columns,
        **{name: np.broadcast_to(np.stack(of_splits, axis=1), shape) for name, of_splits in draws.items()},
    )


def draw_stimuli(held_out: HeldOut, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All tested stimuli (m,) and how often each is drawn (B, m)."""
    ids = np.unique(np.concatenate(held_out.stimulus_ids))
    generator = np.random.default_rng([seed, 1])
    counts = generator.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=n)
    return ids, counts.astype(np.float64)


def draw_neuroids(animals: np.ndarray, n: int, generator: np.random.Generator, resampled: bool) -> np.ndarray:
    """Column numbers (B, q), drawn with replacement within each animal."""
    columns = np.tile(np.arange(len(animals)), (n, 1))
    if resampled:
        for animal in np.unique(animals):
            own = np.flatnonzero(animals == animal)
            columns[:, own] = generator.choice(own, size=(n, len(own)))
    return columns


def interval(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap draws, NaN left out; NaN where there are no others."""
    if not np.isfinite(draws).any():
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def studentised_interval(
    held_out: HeldOut,
    stimuli: bool = True,
    neuroids: bool = True,
    n: int = N_BOOTSTRAP,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Bootstrap-t interval for the mean r: over neuroids within a split, then over splits.

    Every draw is measured by its own standard error, which makes the interval second-order correct
    where the percentile interval is first-order (Efron & Tibshirani 1993, ch. 12): it matters with a few
    dozen stimuli or neuroids. It works on Fisher's z, whose error hardly depends on its value, so the
    interval stays within -1 .. 1. Standard errors over stimuli come from the influence of each stimulus
    on the mean r, those over neuroids from their spread within each animal. There is none for the
    median over neuroids: it has no such error, and the percentile interval of `resample` serves.

    Parameters
    ----------
    held_out : HeldOut
    stimuli, neuroids : bool
        What to resample; one of them at least.
    n : int
        Number of draws.
    seed : int
        Draws are those of `resample`.
    level : float

    Returns
    -------
    tuple of float

    Raises
    ------
    InputError
        If neuroids are to be resampled and an animal has a single one.
    """
    names, sizes = np.unique(held_out.animals, return_counts=True)
    if neuroids and sizes.min() < 2:
        raise InputError(
            f"neuroids cannot be resampled: animal {names[sizes.argmin()]} has a single one; resample the "
            "stimuli alone"
        )
    ids, counts = draw_stimuli(held_out, n, seed)
    if not stimuli:
        counts = np.ones_like(counts)
    columns = draw_neuroids(held_out.animals, n, np.random.default_rng([seed, 2]), neuroids)
    rows = [np.searchsorted(ids, split_ids) for split_ids in held_out.stimulus_ids]

    def z_and_error(weights: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
        r, influence = _mean_r(held_out, rows, weights, drawn)
        value, variance = np.nanmean(r), 0.0
        if stimuli:
            variance += float((weights * influence**2).sum())
        if neuroids:
            variance += _variance_over_neuroids(r, held_out.animals)
        return float(np.arctanh(value)), float(np.sqrt(variance) / (1 - value**2))

    z, error = z_and_error(np.ones(len(ids)), np.arange(len(held_out.animals)))
    draws = np.array([z_and_error(*draw) for draw in zip(counts, columns, strict=True)])
    with np.errstate(invalid="ignore", divide="ignore"):
        pivots = (draws[:, 0] - z) / draws[:, 1]
    # A draw of one neuroid again and again has no error: it says that the interval is unbounded.
    low, high = interval(np.nan_to_num(pivots, nan=np.nan, posinf=1e9, neginf=-1e9), level)
    return float(np.tanh(z - high * error)), float(np.tanh(z - low * error))


def _mean_r(
    held_out: HeldOut, rows: list[np.ndarray], weights: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """R of each drawn neuroid, averaged over splits (q,), and each stimulus's influence on its mean (m,).

    The influence of a stimulus with standard scores u and v on r is ``u v - r (u² + v²) / 2``.
    """
    r, influence = [], np.zeros(len(weights))
    for own, y, z in zip(rows, held_out.responses, held_out.predictions, strict=True):
        share = weights[own] / weights[own].sum()
        u, v = _standard_scores(y, share), np.nan_to_num(_standard_scores(z, share))
        of_split = share @ (u * v)
        each = u * v - of_split * (u**2 + v**2) / 2
        r.append(of_split[columns])
        influence[own] += np.nanmean(each[:, columns], axis=1) / weights[own].sum() / len(rows)
    return np.nanmean(r, axis=0), influence


def _standard_scores(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Standard scores (n, q) under weights (n,) that sum to 1; NaN where the values are constant."""
    centred = values - share @ values
    variance = share @ centred**2
    flat = variance <= 1e-20 * np.max(values**2, axis=0)
    return centred / np.sqrt(np.where(flat, np.nan, variance))


def _variance_over_neuroids(r: np.ndarray, animals: np.ndarray) -> float:
    """Sampling variance of the mean of r (q,), neuroids drawn within their animal."""
    variance = 0.0
    for animal in np.unique(animals):
        own = r[animals == animal]
        own = own[np.isfinite(own)]
        if len(own) > 1:
            variance += (len(own) / np.isfinite(r).sum()) ** 2 * own.var(ddof=1) / len(own)
    return float(variance)


def reliability_weighted_mean(values: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Mean over neuroids, each weighted by its reliability: what a noisy neuroid says counts for less.

    Parameters
    ----------
    values : ndarray (..., q)
        Scores, e.g. r (q,) or bootstrap draws of it (B, q).
    rho : ndarray (q,)
        Reliabilities; below 0 they count as 0, as does NaN.

    Returns
    -------
    ndarray (...)
        Over the neuroids whose score is finite; NaN where their weights are all 0.
    """
    weights = np.where(np.isfinite(values), np.maximum(np.nan_to_num(rho), 0), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.where(np.isfinite(values), values, 0) * weights).sum(axis=-1) / weights.sum(axis=-1)


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
