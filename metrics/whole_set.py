"""Mappings without a fit: how alike two representations of the same stimuli are (RSA, CKA).

They compare all stimuli at once, so they have no splits, no lambdas and no scores of single neuroids.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from itprobe.metrics.gram import Gram, gram_matrix
from itprobe.metrics.inference import interval
from itprobe.metrics.rdm import rdm, response_rdm
from itprobe.metrics.similarity import compare_rdms, linear_cka
from itprobe.metrics.similarity_intervals import bootstrap_rsa, jackknife_cka, jackknife_interval


@dataclass(frozen=True)
class Similarity:
    """A similarity and its 95 % interval over stimuli; NaN where a representation has no variance."""

    value: float
    ci95: tuple[float, float]


class WholeSetMapping(Protocol):
    """A comparison of features with responses over all stimuli."""

    @property
    def name(self) -> str:
        """Name in benchmark ids."""
        ...

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        ...

    def compare(self, gram: Gram, responses: np.ndarray, seed: int) -> Similarity:
        """Compare features of n stimuli (rows of `gram`) with responses (n, q), rows in the same order."""
        ...


@dataclass(frozen=True)
class RsaMapping:
    """Representational similarity analysis (Kriegeskorte, Mur & Bandettini 2008).

    Parameters
    ----------
    distance : str
        Of the dissimilarity matrices, see `itprobe.metrics.rdm.DISTANCES`.
    comparison : str
        Of their upper triangles, see `itprobe.metrics.similarity.COMPARISONS`.
    n_draws : int
        Bootstrap draws over stimuli; ranks are taken anew in each, which is slow for many stimuli.
    """

    distance: str = "correlation"
    comparison: str = "spearman"
    n_draws: int = 200

    name = "rsa"

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        return {
            "distance": self.distance,
            "comparison": self.comparison,
            "interval": f"bootstrap over stimuli, {self.n_draws} draws",
        }

    def compare(self, gram: Gram, responses: np.ndarray, seed: int) -> Similarity:
        """Compare the dissimilarities of n stimuli's features and responses (n, q)."""
        features, measured = rdm(gram, self.distance), response_rdm(responses, self.distance)
        value = compare_rdms(features, measured, self.comparison)
        if np.isnan(value):
            return Similarity(value, (np.nan, np.nan))
        return Similarity(
            value, interval(bootstrap_rsa(features, measured, self.comparison, self.n_draws, seed))
        )


@dataclass(frozen=True)
class CkaMapping:
    """Linear centred kernel alignment (Kornblith et al. 2019), unbiased by default (Song et al. 2012)."""

    unbiased: bool = True

    name = "cka"

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        return {"estimator": "unbiased" if self.unbiased else "biased", "interval": "jackknife over stimuli"}

    def compare(self, gram: Gram, responses: np.ndarray, seed: int) -> Similarity:
        """Compare the Gram matrices of n stimuli's features and responses (n, q)."""
        kernels = gram.values, gram_matrix(np.asarray(responses, dtype=np.float64)).values
        value = linear_cka(*kernels, unbiased=self.unbiased)
        if np.isnan(value):
            return Similarity(value, (np.nan, np.nan))
        return Similarity(value, jackknife_interval(value, jackknife_cka(*kernels, unbiased=self.unbiased)))
