"""From scores of splits and neuroids to the figures of a result file, in which null is what is undefined."""

import warnings
from collections.abc import Callable

import numpy as np

from itprobe.metrics import interval

Statistic = Callable[..., np.ndarray]
"""`numpy.nanmedian` or `numpy.nanmean`."""


def per_split(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    """Aggregate (splits, q) over neuroids, (splits,); NaN for a split in which none is defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return statistic(values, axis=1)


def mean_of_splits(values: np.ndarray, statistic: Statistic) -> float:
    """Mean over splits of the per-split statistic over neuroids; NaN where no split has one."""
    of_splits = per_split(values, statistic)
    return float(np.nanmean(of_splits)) if np.isfinite(of_splits).any() else float("nan")


def median(values: np.ndarray) -> float:
    """Median of the values that are finite; NaN where none is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def number(value: float) -> float | None:
    """Make a number fit for JSON: None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def bounds(draws: np.ndarray) -> tuple[float, float] | None:
    """95 % interval of bootstrap draws; None where none is finite."""
    low, high = interval(draws)
    return (low, high) if np.isfinite(low) else None
