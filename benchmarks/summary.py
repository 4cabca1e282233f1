"""Aggregates of held-out scores, with intervals and against the ceiling."""

import warnings
from collections.abc import Callable

import numpy as np

from itprobe.benchmarks.target import Target
from itprobe.metrics import HeldOut, ceiled_r2, interval, mean_over_splits, resample
from itprobe.metrics.inference import Resampled, bootstrap_median

LOW_RELIABILITY = 0.3
"""Neuroids below this reliability are counted, and left out of the per-neuroid share of the ceiling."""

CEILED_FORMULA = "r |r| / median reliability, r = median r"

Summary = dict[str, dict[str, object] | None]
"""Sections of the result file's `scores`."""


def summarise(held_out: HeldOut, r: np.ndarray, ev: np.ndarray, target: Target, seed: int) -> Summary:
    """Aggregate held-out scores as the result file states them.

    Parameters
    ----------
    held_out : HeldOut
    r, ev : ndarray (splits, q)
        Pearson r and explained variance.
    target : Target
    seed : int
        Of the bootstrap draws.

    Returns
    -------
    dict
        primary, pearson_r, explained_variance, reliability, ceiled, ceiled_per_neuroid; the last
        three None without repetitions. Medians are means over splits of the per-split median over
        neuroids (Brain-Score's order). ``ci95`` resamples stimuli and neuroids together.
    """
    both = resample(held_out, seed=seed)
    over = {
        "ci95": both,
        "ci95_neuroids": resample(held_out, stimuli=False, seed=seed),
        "ci95_stimuli": resample(held_out, neuroids=False, seed=seed),
    }
    per_split = _per_split(r, np.nanmedian)
    median_r = float(np.nanmean(per_split))
    pearson: dict[str, object] = {
        "median": median_r,
        "median_of_means": float(np.nanmedian(mean_over_splits(r))),
        "mean": float(np.nanmean(_per_split(r, np.nanmean))),
        **{key: interval(draws.aggregate("pearson_r", "median")) for key, draws in over.items()},
        "ci95_mean": interval(both.aggregate("pearson_r", "mean")),
        "per_split": [_number(value) for value in per_split],
        "by_animal": _medians_by(target, r, "animal"),
        "by_array": _medians_by(target, r, "arr"),
    }
    explained: dict[str, object] = {
        "median": float(np.nanmean(_per_split(ev, np.nanmedian))),
        "mean": float(np.nanmean(_per_split(ev, np.nanmean))),
        **{key: interval(draws.aggregate("explained_variance", "median")) for key, draws in over.items()},
        "ci95_mean": interval(both.aggregate("explained_variance", "mean")),
    }
    scores: Summary = {
        "pearson_r": pearson,
        "explained_variance": explained,
        "similarity": None,
        "reliability": None,
        "ceiled": None,
        "ceiled_per_neuroid": None,
    }
    primary = {"name": "pearson_r", "value": pearson["median"], "ci95": pearson["ci95"]}
    if target.reliability is not None:
        scores |= _against_ceiling(median_r, mean_over_splits(r), target, both)
    ceiled = scores["ceiled"]
    if ceiled is not None:
        primary = {"name": "ceiled", "value": ceiled["value"], "ci95": ceiled["ci95"]}
    return {"primary": primary, **scores}


def _per_split(values: np.ndarray, aggregate: Callable[..., np.ndarray]) -> np.ndarray:
    """Aggregate (splits, q) over neuroids; NaN for a split in which no neuroid's responses differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return aggregate(values, axis=1)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _medians_by(target: Target, r: np.ndarray, column: str) -> dict[str, float | None] | None:
    """Median r of each animal or array (mean over splits; None where undefined), or None where not known."""
    if column not in target.neuroids:
        return None
    groups = target.neuroids[column].astype(str).to_numpy()
    medians = {group: _per_split(r[:, groups == group], np.nanmedian) for group in np.unique(groups)}
    return {
        str(group): float(np.nanmean(median)) if np.isfinite(median).any() else None
        for group, median in medians.items()
    }


def _against_ceiling(median_r: float, mean_r: np.ndarray, target: Target, both: Resampled) -> Summary:
    """Reliability and the shares of it that are reached; no shares where the reliability may be 0."""
    reliability = target.reliability
    assert reliability is not None
    rho = reliability.rho
    draws_rho = bootstrap_median(rho, both.neuroids)
    draws_r = both.aggregate("pearson_r", "median")
    reliable = np.flatnonzero((rho >= LOW_RELIABILITY) & np.isfinite(mean_r))
    median_rho, interval_rho = float(np.nanmedian(rho)), interval(draws_rho)
    scores: Summary = {
        "reliability": {
            "median": median_rho,
            "mean": float(np.nanmean(rho)),
            "kind": reliability.kind,
            "ci95": interval_rho,
            "n_halves": reliability.n_halves,
            "seed": reliability.seed,
            "n_below_0_3": int((rho < LOW_RELIABILITY).sum()),
            "n_undefined": int(np.isnan(rho).sum()),
        }
    }
    if interval_rho[0] > 0:
        scores["ceiled"] = {
            "value": ceiled_r2(median_r, median_rho),
            "ci95": interval(ceiled_r2(draws_r, draws_rho)),
            "formula": CEILED_FORMULA,
        }
        shares = ceiled_r2(mean_r[reliable], rho[reliable])
        scores["ceiled_per_neuroid"] = {
            "value": float(np.median(shares)) if len(reliable) else None,
            "formula": f"median of r |r| / reliability over neuroids with reliability >= {LOW_RELIABILITY}",
            "n_neuroids": len(reliable),
        }
    return scores
