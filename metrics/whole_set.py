"""Mappings without a fit: how alike two representations of the same stimuli are (RSA, CKA).

They compare all stimuli at once, so they have no splits, no lambdas and no scores of single neuroids.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from itprobe.errors import InputError, unknown_name
from itprobe.metrics.gram import Gram, gram_matrix
from itprobe.metrics.inference import Difference, interval
from itprobe.metrics.rdm import DISTANCES, rdm, response_rdm
from itprobe.metrics.similarity import COMPARISONS, compare_rdms, has_variance, linear_cka
from itprobe.metrics.similarity_intervals import bootstrap_rsa, jackknife_cka, jackknife_interval
from itprobe.metrics.variance import is_constant


@dataclass(frozen=True)
class Similarity:
    """A similarity and its 95 % interval over stimuli; NaN where the features have no variance to compare.

    Attributes
    ----------
    value : float
    ci95 : tuple of float
    draws : ndarray (B,)
        What the interval is made of: values over resampled stimuli, or with each stimulus left out in turn. They
        are paired between candidates whose stimuli stood in the same order.
    resampling : {"bootstrap", "jackknife"}
    """

    value: float
    ci95: tuple[float, float]
    draws: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False)
    resampling: Literal["bootstrap", "jackknife"] = "bootstrap"


def similarity_difference(first: Similarity, second: Similarity) -> Difference:
    """First minus second, with its 95 % interval over the same stimuli; both of the same mapping and recording."""
    value, draws = first.value - second.value, first.draws - second.draws
    ci95 = interval(draws) if first.resampling == "bootstrap" else jackknife_interval(value, draws)
    return Difference(value, ci95)


UNDEFINED = Similarity(float("nan"), (float("nan"), float("nan")))
NO_RESPONSE_VARIANCE = (
    "the responses do not differ between stimuli; there is nothing to compare features with"
)


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
        """Compare features of n stimuli (rows of `gram`) with responses (n, q), rows in the same order.

        Returns
        -------
        Similarity
            NaN where the features have no variance.

        Raises
        ------
        InputError
            If the responses have none.
        """
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

    Raises
    ------
    InputError
        If the distance or the comparison is unknown, or there are not at least two draws.
    """

    distance: str = "correlation"
    comparison: str = "spearman"
    n_draws: int = 200

    name = "rsa"

    def __post_init__(self) -> None:
        for what, name, known in (
            ("distance", self.distance, DISTANCES),
            ("comparison", self.comparison, COMPARISONS),
        ):
            if name not in known:
                raise unknown_name(f"{what} of rsa", name, known)
        if self.n_draws < 2:
            raise InputError(f"rsa needs at least 2 bootstrap draws for its interval, not {self.n_draws}")

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        return {
            "distance": self.distance,
            "comparison": self.comparison,
            "interval": f"bootstrap over stimuli, {self.n_draws} draws",
        }

    def compare(self, gram: Gram, responses: np.ndarray, seed: int) -> Similarity:
        """Compare the dissimilarities of n stimuli's features and responses (n, q)."""
        if responses.shape[1] < 2 and self.distance != "euclidean":
            raise InputError(
                f"rsa: one neuroid has no {self.distance} distance between stimuli; "
                "take distance=euclidean, or a region with more neuroids"
            )
        measured = response_rdm(responses, self.distance)
        if not has_variance(measured):
            raise InputError(f"rsa with {self.distance} distances: {NO_RESPONSE_VARIANCE}")
        if is_constant(gram):  # its distances are rounding, which has ranks too
            return UNDEFINED
        features = rdm(gram, self.distance)
        value = compare_rdms(features, measured, self.comparison)
        if np.isnan(value):
            return UNDEFINED
        draws = bootstrap_rsa(features, measured, self.comparison, self.n_draws, seed)
        return Similarity(value, interval(draws), draws)


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
        if np.isnan(linear_cka(kernels[1], kernels[1], unbiased=self.unbiased)):
            raise InputError(f"cka: {NO_RESPONSE_VARIANCE}")
        value = float("nan") if is_constant(gram) else linear_cka(*kernels, unbiased=self.unbiased)
        if np.isnan(value):
            return UNDEFINED
        draws = jackknife_cka(*kernels, unbiased=self.unbiased)
        return Similarity(value, jackknife_interval(value, draws), draws, "jackknife")
