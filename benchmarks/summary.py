"""Aggregates of held-out scores, with intervals and against the ceilings."""

import numpy as np

from itprobe.benchmarks.aggregate import bounds, mean_of_splits, median, number, per_split
from itprobe.benchmarks.inter_animal import InterAnimalCeiling
from itprobe.benchmarks.noise_corrected import NoiseCorrected, noise_corrected_section
from itprobe.benchmarks.target import Target
from itprobe.metrics import HeldOut, ceiled_r2, mean_over_splits, resample
from itprobe.metrics.inference import Resampled, bootstrap_median

LOW_RELIABILITY = 0.3
"""Neuroids below this reliability are counted, and left out of means over shares of their own signal."""

CEILED_FORMULA = "r |r| / median reliability, r = median r"

Summary = dict[str, dict[str, object] | None]
"""Sections of the result file's `scores`."""

SECTIONS = (
    "pearson_r",
    "explained_variance",
    "similarity",
    "reliability",
    "inter_animal",
    "ceiled",
    "ceiled_per_neuroid",
    "noise_corrected",
)
"""All sections beside `primary`."""


def summarise(
    held_out: HeldOut,
    r: np.ndarray,
    ev: np.ndarray,
    target: Target,
    seed: int,
    corrected: NoiseCorrected | None = None,
    inter_animal: InterAnimalCeiling | None = None,
) -> Summary:
    """Aggregate held-out scores as the result file states them.

    Parameters
    ----------
    held_out : HeldOut
    r, ev : ndarray (splits, q)
        Pearson r and explained variance; NaN all over for a layer without variance.
    target : Target
    seed : int
        Of the bootstrap draws.
    corrected : NoiseCorrected, optional
        Of the same predictions.
    inter_animal : InterAnimalCeiling, optional
        Of the same splits.

    Returns
    -------
    dict
        primary and `SECTIONS`; None are reliability, ceiled, ceiled_per_neuroid and noise_corrected without
        repetitions, inter_animal where it is not given. Medians are means over splits of the per-split
        median over neuroids (Brain-Score's order). ``ci95`` resamples stimuli and neuroids together.
        Figures that are not defined are None.
    """
    noise = None
    if corrected is not None and target.noise is not None:
        noise = [target.noise.at(stimulus_ids) for stimulus_ids in held_out.stimulus_ids]
    both = resample(held_out, seed=seed, noise=noise)
    over = {
        "ci95": both,
        "ci95_neuroids": resample(held_out, stimuli=False, seed=seed),
        "ci95_stimuli": resample(held_out, neuroids=False, seed=seed),
    }
    pearson = _section(r, "pearson_r", over) | {
        "median_of_means": number(median(mean_over_splits(r))),
        "per_split": [number(value) for value in per_split(r, np.nanmedian)],
        "by_animal": _medians_by(target, r, "animal"),
        "by_array": _medians_by(target, r, "arr"),
    }
    scores: Summary = dict.fromkeys(SECTIONS)
    scores |= {"pearson_r": pearson, "explained_variance": _section(ev, "explained_variance", over)}
    primary = {"name": "pearson_r", "value": pearson["median"], "ci95": pearson["ci95"]}
    if target.reliability is not None:
        scores |= _against_ceiling(r, target, both)
    ceiled = scores["ceiled"]
    if ceiled is not None:
        primary = {"name": "ceiled", "value": ceiled["value"], "ci95": ceiled["ci95"]}
    if corrected is not None and target.reliability is not None:
        scores["noise_corrected"] = noise_corrected_section(
            corrected, both, target.reliability.rho, LOW_RELIABILITY
        )
    if inter_animal is not None:
        scores["inter_animal"] = inter_animal.section()
    return {"primary": primary, **scores}


def _section(values: np.ndarray, which: str, over: dict[str, Resampled]) -> dict[str, object]:
    """Aggregates of (splits, q), their intervals over what was resampled."""
    return {
        "median": number(mean_of_splits(values, np.nanmedian)),
        "mean": number(mean_of_splits(values, np.nanmean)),
        **{key: bounds(draws.aggregate(which, "median")) for key, draws in over.items()},
        "ci95_mean": bounds(over["ci95"].aggregate(which, "mean")),
    }


def _medians_by(target: Target, r: np.ndarray, column: str) -> dict[str, float | None] | None:
    """Median r of each animal or array (mean over splits; None where undefined), or None where not known."""
    if column not in target.neuroids:
        return None
    groups = target.neuroids[column].astype(str).to_numpy()
    return {
        str(group): number(mean_of_splits(r[:, groups == group], np.nanmedian)) for group in np.unique(groups)
    }


def _against_ceiling(r: np.ndarray, target: Target, both: Resampled) -> Summary:
    """Reliability and the shares of it that are reached; no shares where the reliability may be 0."""
    reliability = target.reliability
    assert reliability is not None
    rho = reliability.rho
    mean_r = mean_over_splits(r)
    draws_rho = bootstrap_median(rho, both.neuroids)
    draws_r = both.aggregate("pearson_r", "median")
    reliable = np.flatnonzero((rho >= LOW_RELIABILITY) & np.isfinite(mean_r))
    median_rho, interval_rho = float(np.nanmedian(rho)), bounds(draws_rho)
    assert interval_rho is not None  # a target has a reliability only where a neuroid has one
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
            "value": number(ceiled_r2(mean_of_splits(r, np.nanmedian), median_rho)),
            "ci95": bounds(ceiled_r2(draws_r, draws_rho)),
            "formula": CEILED_FORMULA,
        }
        scores["ceiled_per_neuroid"] = {
            "value": number(median(ceiled_r2(mean_r[reliable], rho[reliable]))),
            "formula": f"median of r |r| / reliability over neuroids with reliability >= {LOW_RELIABILITY}",
            "n_neuroids": len(reliable),
        }
    return scores
