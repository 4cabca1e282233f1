"""Variances and covariance of responses and predictions over weighted stimuli, and the scores they give.

With weights that count how often a bootstrap draw holds each stimulus, one pair of matrix products gives
a score of every draw and neuroid at once.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Second moments of B weightings of the same stimuli.

    Attributes
    ----------
    response, prediction, covariance : ndarray (B, q)
        Variances (divided by the sum of weights); exactly 0 where there is none but for rounding.
    offset : ndarray (B, q)
        Mean response less mean prediction.
    size : ndarray (B, 1)
        Effective number of stimuli, (Σw)² / Σw² (Kish 1965); n where all weights are equal.
    """

    response: np.ndarray
    prediction: np.ndarray
    covariance: np.ndarray
    offset: np.ndarray
    size: np.ndarray

    def pearson_r(self) -> np.ndarray:
        """Correlation (B, q): 0 where the prediction is constant, NaN where the response is."""
        with np.errstate(invalid="ignore", divide="ignore"):
            r = self.covariance / np.sqrt(self.response * self.prediction)
        r = np.where(self.prediction == 0, 0.0, np.clip(r, -1, 1))
        return np.where(self.response == 0, np.nan, r)

    def explained_variance(self) -> np.ndarray:
        """``1 - Var(y - ŷ) / Var(y)`` (B, q); NaN where the response is constant."""
        return _share(2 * self.covariance - self.prediction, self.response)

    def r2_er(self, noise: np.ndarray) -> np.ndarray:
        """Squared correlation with the noiseless response (B, q), see `itprobe.metrics.ceilings.r2_er`.

        Parameters
        ----------
        noise : ndarray (B, q) or (q,)
            Weighted mean of the variance that noise leaves in each stimulus's average response.
        """
        constant = self.prediction == 0
        explained = self.covariance**2 / np.where(constant, 1, self.prediction) - noise / self.size
        return _share(np.where(constant, 0, explained), self._signal(noise))

    def feve(self, noise: np.ndarray) -> np.ndarray:
        """Fraction of the explainable variance explained (B, q), see `itprobe.metrics.ceilings.feve`."""
        errors = self.response + self.prediction - 2 * self.covariance + self.offset**2
        return 1 - _share(errors - noise, self._signal(noise))

    def _signal(self, noise: np.ndarray) -> np.ndarray:
        return self.response - noise * (1 - 1 / self.size)


def weighted_moments(weights: np.ndarray, responses: np.ndarray, predictions: np.ndarray) -> Moments:
    """Compute the moments of n stimuli under B weightings.

    Parameters
    ----------
    weights : ndarray (B, n)
        Not negative. A weighting without any weight has NaN for moments.
    responses, predictions : ndarray (n, q)
    """
    y, z = responses - responses.mean(axis=0), predictions - predictions.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(axis=1, keepdims=True)
        mean_y, mean_z = (weights @ y) / total, (weights @ z) / total
        var_y = (weights @ y**2) / total - mean_y**2
        var_z = (weights @ z**2) / total - mean_z**2
        covariance = (weights @ (y * z)) / total - mean_y * mean_z
        size = total**2 / (weights**2).sum(axis=1, keepdims=True)
    var_z = np.where(
        var_z <= 1e-20 * np.max(predictions**2, axis=0), 0, var_z
    )  # the mean predictor's rounding
    var_y = np.where(var_y <= 1e-12 * y.var(axis=0), 0, var_y)
    offset = responses.mean(axis=0) - predictions.mean(axis=0) + mean_y - mean_z
    return Moments(var_y, var_z, covariance, offset, size)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``; NaN where there is nothing to have a part in."""
    return part / np.where(whole > 0, whole, np.nan)
