"""Scores freed of the noise of trials: r²_ER for r², FEVE for explained variance."""

from dataclasses import dataclass

import numpy as np

from itprobe.benchmarks.aggregate import bounds, mean_of_splits, number
from itprobe.metrics import HeldOut
from itprobe.metrics.ceilings import TrialNoise, feve, r2_er
from itprobe.metrics.inference import Resampled


@dataclass(frozen=True)
class NoiseCorrected:
    """Per split and neuroid; NaN where the test responses vary no more than their noise.

    Attributes
    ----------
    r2_er : ndarray (splits, q)
        Squared correlation with the noiseless response.
    feve : ndarray (splits, q)
        Fraction of the explainable variance explained.
    """

    r2_er: np.ndarray
    feve: np.ndarray


def noise_corrected(held_out: HeldOut, noise: TrialNoise) -> NoiseCorrected:
    """Correct each split's scores for the noise in the responses to its own test stimuli."""
    parts = [
        (y, z, noise.of(ids))
        for ids, y, z in zip(held_out.stimulus_ids, held_out.responses, held_out.predictions, strict=True)
    ]
    return NoiseCorrected(
        np.array([r2_er(y, z, of_part) for y, z, of_part in parts]),
        np.array([feve(y, z, of_part) for y, z, of_part in parts]),
    )


def noise_corrected_section(
    corrected: NoiseCorrected, draws: Resampled, rho: np.ndarray, least_reliability: float
) -> dict[str, object]:
    """Aggregate as the result file states it.

    Both are ratios to a neuroid's own signal variance. Where there is little of it, it is estimated with
    an error of its own size: single values lie far beyond 0 and 1 on either side, and a mean over them
    means nothing. So the median is over all neuroids in which the ratio is defined, the mean over the
    reliable ones only, and both counts are given.

    Parameters
    ----------
    corrected : NoiseCorrected
    draws : Resampled
        With r2_er and feve: stimuli (each with its responses, prediction and noise) and neuroids
        (within animals) resampled together; which neuroids are reliable is not drawn anew.
    rho : ndarray (q,)
        Reliability of the averaged responses.
    least_reliability : float

    Returns
    -------
    dict
        r2_er and feve, each with ``median`` (mean over splits of the per-split median) and its ``ci95``,
        ``mean_reliable`` (the same of the mean over neuroids of at least that reliability) and its
        ``ci95_mean_reliable``, and ``n_undefined``: neuroids that vary no more than their noise in one
        test part at least, and do not count in such parts.
    """
    reliable = rho >= least_reliability

    def section(name: str) -> dict[str, object]:
        values = getattr(corrected, name)
        return {
            "median": number(mean_of_splits(values, np.nanmedian)),
            "mean_reliable": number(mean_of_splits(values[:, reliable], np.nanmean)),
            "ci95": bounds(draws.aggregate(name, "median")),
            "ci95_mean_reliable": bounds(draws.aggregate(name, "mean", among=reliable)),
            "n_undefined": int(np.isnan(values).any(axis=0).sum()),
        }

    return {
        "r2_er": section("r2_er"),
        "feve": section("feve"),
        "n_reliable": int(reliable.sum()),
        "least_reliability": least_reliability,
    }
