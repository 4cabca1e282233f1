"""Bootstrap draws of the median r of many candidates that were tested on the same stimuli and neuroids.

`itprobe.metrics.inference.resample` draws stimuli and neuroids by ids, number of draws and seed alone. What it does
for one candidate is done here for many: the draws, and all that depends on the responses only, are made once.
The draws of two candidates can then be subtracted, which gives what `paired_difference` gives.
"""

import warnings

import numpy as np

from itprobe.metrics import HeldOut
from itprobe.metrics.inference import N_BOOTSTRAP, draw_neuroids, draw_stimuli


class SharedDraws:
    """Draws of stimuli and neuroids, and moments of the responses in each, for any predictions of the responses.

    Parameters
    ----------
    held_out : HeldOut
        Its predictions are not looked at.
    seed : int
    n : int
        Number of draws B.
    """

    def __init__(self, held_out: HeldOut, seed: int, n: int = N_BOOTSTRAP) -> None:
        self.held_out = held_out
        ids, counts = draw_stimuli(held_out, n, seed)
        columns = draw_neuroids(held_out.animals, n, np.random.default_rng([seed, 2]), True)
        self._flat = columns + columns.shape[1] * np.arange(n)[:, None]
        self._splits = [
            _Split(counts[:, np.searchsorted(ids, own)], y)
            for own, y in zip(held_out.stimulus_ids, held_out.responses, strict=True)
        ]

    def fit(self, held_out: HeldOut) -> bool:
        """Say whether other predictions are for the same stimuli, neuroids and responses, in the same order."""
        mine = self.held_out
        pairs = [
            (mine.neuroid_ids, held_out.neuroid_ids),
            (mine.animals, held_out.animals),
            *zip(mine.stimulus_ids, held_out.stimulus_ids, strict=False),
            *zip(mine.responses, held_out.responses, strict=False),
        ]
        return len(mine.stimulus_ids) == len(held_out.stimulus_ids) and all(
            np.array_equal(one, other) for one, other in pairs
        )

    def median_r(self, predictions: list[np.ndarray]) -> np.ndarray:
        """Draws (B,) of the median r over neuroids, averaged over splits; NaN where it is not defined.

        Parameters
        ----------
        predictions : list of ndarray (n_k, q)
            One entry per split.
        """
        medians = [
            _median(split.pearson_r(z).ravel()[self._flat])
            for split, z in zip(self._splits, predictions, strict=True)
        ]
        with warnings.catch_warnings():  # in a small split a draw may hold a single stimulus: no r at all
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanmean(medians, axis=0)


class _Split:
    """One split's weights (B, n) and the responses' (n, q) moments under them, as `weighted_moments` has them."""

    def __init__(self, weights: np.ndarray, responses: np.ndarray) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            self.shares = weights / weights.sum(axis=1, keepdims=True)
            self.y = responses - responses.mean(axis=0)
            self.mean = self.shares @ self.y
            variance = self.shares @ self.y**2 - self.mean**2
        self.per_deviation = 1 / np.sqrt(np.where(variance <= 1e-12 * self.y.var(axis=0), np.nan, variance))

    def pearson_r(self, predictions: np.ndarray) -> np.ndarray:
        """Correlation (B, q): 0 where the prediction is constant, NaN where the response is."""
        z = predictions - predictions.mean(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, variance, r = (self.shares @ part for part in (z, z**2, self.y * z))
            r -= self.mean * mean
            variance -= np.square(mean, out=mean)
            flat = variance <= 1e-20 * np.max(predictions**2, axis=0)
            r *= self.per_deviation
            r /= np.sqrt(variance, out=variance)
        np.clip(r, -1, 1, out=r)
        if flat.any():
            r[flat] = np.where(np.isnan(self.per_deviation[flat]), np.nan, 0.0)
        return r


def _median(values: np.ndarray) -> np.ndarray:
    """Median of each row, NaN left out: `numpy.nanmedian` takes ten times as long where there is none."""
    if np.isnan(values).any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanmedian(values, axis=1)
    low, high = (values.shape[1] - 1) // 2, values.shape[1] // 2
    ordered = np.partition(values, (low, high), axis=1)
    return (ordered[:, low] + ordered[:, high]) / 2
