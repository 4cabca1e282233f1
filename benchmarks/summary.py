"""Aggregates of held-out scores, with intervals and against the ceiling."""

import numpy as np

from itprobe.benchmarks.target import Target
from itprobe.metrics import HeldOut, ceiled_r2, interval, mean_over_splits, resample
from itprobe.metrics.inference import Resampled, bootstrap_median

LOW_RELIABILITY = 0.3
"""Neuroids below this reliability are counted, and left out of the per-neuroid share of the ceiling."""

CEILED_FORMULA = "(median r)^2 / median reliability"

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
    per_split = np.nanmedian(r, axis=1)
    pearson: dict[str, object] = {
        "median": float(per_split.mean()),
        "median_of_means": float(np.nanmedian(mean_over_splits(r))),
        "mean": float(np.nanmean(r, axis=1).mean()),
        **{key: interval(draws.aggregate("pearson_r", "median")) for key, draws in over.items()},
        "ci95_mean": interval(both.aggregate("pearson_r", "mean")),
        "per_split": per_split.tolist(),
        "by_animal": _medians_by(target, r, "animal"),
        "by_array": _medians_by(target, r, "arr"),
    }
    explained: dict[str, object] = {
        "median": float(np.nanmedian(ev, axis=1).mean()),
        "mean": float(np.nanmean(ev, axis=1).mean()),
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
        scores |= _against_ceiling(float(per_split.mean()), mean_over_splits(r), target, both)
        ceiled = scores["ceiled"]
        assert ceiled is not None
        primary = {"name": "ceiled", "value": ceiled["value"], "ci95": ceiled["ci95"]}
    return {"primary": primary, **scores}


def _medians_by(target: Target, r: np.ndarray, column: str) -> dict[str, float] | None:
    """Median r of each animal or array (mean over splits), or None where that is not known."""
    if column not in target.neuroids:
        return None
    groups = target.neuroids[column].astype(str).to_numpy()
    return {
        str(group): float(np.nanmedian(r[:, groups == group], axis=1).mean()) for group in np.unique(groups)
    }


def _against_ceiling(
    median_r: float, mean_r: np.ndarray, target: Target, both: Resampled
) -> dict[str, dict[str, object]]:
    """Reliability and the shares of it that are reached."""
    reliability = target.reliability
    assert reliability is not None
    rho = reliability.rho
    draws_rho = bootstrap_median(rho, both.neuroids)
    draws_r = both.aggregate("pearson_r", "median")
    reliable = np.flatnonzero(rho >= LOW_RELIABILITY)
    shares = mean_r[reliable] ** 2 / rho[reliable]
    median_rho = float(np.nanmedian(rho))
    return {
        "reliability": {
            "median": median_rho,
            "mean": float(np.nanmean(rho)),
            "kind": reliability.kind,
            "ci95": interval(draws_rho),
            "n_halves": reliability.n_halves,
            "n_below_0_3": int((rho < LOW_RELIABILITY).sum()),
            "n_undefined": int(np.isnan(rho).sum()),
        },
        "ceiled": {
            "value": ceiled_r2(median_r, median_rho),
            "ci95": interval(draws_r**2 / draws_rho),
            "formula": CEILED_FORMULA,
        },
        "ceiled_per_neuroid": {
            "value": float(np.median(shares)) if len(shares) else None,
            "formula": f"median over neuroids with reliability >= {LOW_RELIABILITY} of r^2 / reliability",
            "n_neuroids": len(reliable),
        },
    }
