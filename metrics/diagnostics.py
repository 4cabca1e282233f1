"""What a layer's Gram matrix looks like, and how sharply the responses choose lambda.

Diagnostics judge nothing and change no score: they show how many dimensions a layer's features fill,
and whether the lambdas that were tried enclose the best ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigvalsh

from itprobe.errors import InputError
from itprobe.metrics.gram import Gram
from itprobe.metrics.lambda_search import LambdaChoice

FIRST_RANK, LAST_RANK = 11, 500
"""Components that the power law is fitted to, as in Stringer et al. 2019."""

LAST_SHARE = 5
"""Nor is it fitted beyond the first fifth of what n stimuli can span: there a spectrum bends down since n is finite."""

LEAST_RANKS = 10
"""Fewest components that a power law is fitted to."""

SAME_LAMBDA = 1.1
"""Lambdas of different splits within this factor count as one; neighbours on the automatic grid are 2.15 apart."""


def effective_dimensionality(gram: Gram) -> float:
    """Participation ratio of the features' variance over its principal axes.

    With λ_i the eigenvalues of the centred Gram matrix C, it is (Σ λ_i)² / Σ λ_i² = (tr C)² / ||C||_F²:
    1 if all variance lies along one axis, d if it is spread evenly over d. No decomposition is needed.

    Parameters
    ----------
    gram : Gram
        Of n stimuli.

    Returns
    -------
    float
        Between 1 and n - 1; NaN where the features do not differ between stimuli.

    References
    ----------
    Gao, P. et al. 2017, "A theory of multineuronal dimensionality, dynamics and measurement", bioRxiv 214262.
    """
    kernel = gram.values
    n = len(kernel)
    sums = kernel.sum(axis=1)
    # Norm and trace of H K H, H = 1 - 11ᵀ/n, without forming it.
    squares = np.vdot(kernel, kernel) - 2 * (sums @ sums) / n + (sums.sum() / n) ** 2
    trace = np.trace(kernel) - sums.sum() / n
    return float(trace**2 / squares) if trace > _rounding(gram) else float("nan")


@dataclass(frozen=True)
class VarianceSpectrum:
    """How the variance of a layer's features is shared among their principal components.

    Attributes
    ----------
    shares : ndarray (d,)
        Share of the variance along each component, descending; those below the rounding of the Gram
        matrix are left out.
    effective_dimensionality : float
    exponent : float
        α of the power law share ∝ rank^(-α); NaN where there are too few components.
    amplitude : float
        The fitted share at rank 1.
    fitted : (int, int)
        First and last rank (counted from 1) that the power law was fitted to; (0, 0) if it was not.
    n_stimuli, n_features : int
    """

    shares: np.ndarray
    effective_dimensionality: float
    exponent: float
    amplitude: float
    fitted: tuple[int, int]
    n_stimuli: int
    n_features: int

    @property
    def cumulative(self) -> np.ndarray:
        """Share of the variance in the first 1, 2, ... d components (d,)."""
        return np.cumsum(self.shares)

    def components_for(self, share: float) -> int:
        """Fewest leading components that hold a share of the variance; 0 where there is none."""
        return min(int(np.searchsorted(self.cumulative, share)) + 1, len(self.shares))


def spectrum(gram: Gram) -> VarianceSpectrum:
    """Eigenvalues of the centred Gram matrix as shares of variance, with a fitted power law.

    The power law share_k = a k^(-α) is fitted by least squares of log share on log k with weights 1/k
    (every octave of ranks counts the same) over ranks 11 to 500, as Stringer et al. 2019 fit neural
    spectra; the last rank is lower where n / 5 or the number of components is. Theirs is a
    cross-validated PCA because neurons are noisy; features have no noise, so this is a plain one.

    Parameters
    ----------
    gram : Gram
        Of n stimuli.

    Returns
    -------
    VarianceSpectrum
        Without components, and all NaN, where the features do not differ between stimuli.

    References
    ----------
    Stringer, C. et al. 2019, "High-dimensional geometry of population responses in visual cortex",
    Nature 571:361-365.
    """
    n = len(gram.values)
    means = gram.values.mean(axis=0)
    centred = gram.values - means - means[:, None] + means.mean()
    eigenvalues = eigvalsh(centred, overwrite_a=True, check_finite=False)[::-1]
    kept = eigenvalues[: n - 1][eigenvalues[: n - 1] > _rounding(gram)]
    shares = kept / kept.sum() if len(kept) else kept
    exponent, amplitude, fitted = _power_law(shares, n)
    return VarianceSpectrum(
        shares, effective_dimensionality(gram), exponent, amplitude, fitted, n, gram.n_features
    )


def _rounding(gram: Gram) -> float:
    """Size of what is rounding in a Gram matrix, which holds products about the mean."""
    return gram.resolution * (float(np.trace(gram.values)) + gram.origin_norm)


def _power_law(shares: np.ndarray, n: int) -> tuple[float, float, tuple[int, int]]:
    """Exponent, amplitude and range of ranks of the fit that `spectrum` describes."""
    last = min(LAST_RANK, n // LAST_SHARE, len(shares))
    if last - FIRST_RANK + 1 < LEAST_RANKS:
        return float("nan"), float("nan"), (0, 0)
    ranks = np.arange(FIRST_RANK, last + 1)
    # np.polyfit squares its weights
    slope, intercept = np.polyfit(np.log(ranks), np.log(shares[FIRST_RANK - 1 : last]), 1, w=ranks**-0.5)
    return float(-slope), float(np.exp(intercept)), (FIRST_RANK, last)


@dataclass(frozen=True)
class LambdaCurve:
    """Held-out error as a function of lambda, over splits and neuroids, and the lambdas that were chosen.

    Attributes
    ----------
    lambdas : ndarray (L,)
        All that were tried in any split, ascending.
    error : ndarray (L,)
        Mean over splits and neuroids of held-out error / the mean predictor's; below 1 is better than
        predicting the mean. NaN where `coverage` is below 1.
    quartiles : ndarray (2, L)
        Lower and upper quartile over neuroids of the same, averaged over splits; NaN likewise.
    coverage : ndarray (L,)
        Share of (split, neuroid) pairs that a lambda was tried for.
    chosen : ndarray (L,) of int
        How many pairs chose it.
    share_at_edge, share_at_infinity : float
        Shares of pairs whose best lambda was the last that could be tried, and whose best prediction
        was the mean response.
    n_splits, n_neuroids : int
    n_left_out : int
        Neuroids that do not vary in the training part of some split: they have no relative error and
        are not in `error`, `quartiles` and `coverage`.
    """

    lambdas: np.ndarray
    error: np.ndarray
    quartiles: np.ndarray
    coverage: np.ndarray
    chosen: np.ndarray
    share_at_edge: float
    share_at_infinity: float
    n_splits: int
    n_neuroids: int
    n_left_out: int

    @property
    def partial(self) -> np.ndarray:
        """Lambdas (L,) that were not tried for every split and neuroid."""
        return self.coverage < 1


def lambda_curve(choices: Sequence[LambdaChoice]) -> LambdaCurve:
    """Gather the choices of several splits into one curve.

    A growing grid tries outer lambdas only for the neuroids that want them, and a mean over those alone
    could not be compared with a mean over all. So the curve is drawn where every split and neuroid
    has an error, and the rest is marked as partial and not averaged.
    Grids lie relative to each split's own eigenvalues: lambdas of different splits within a factor of
    `SAME_LAMBDA` count as one, at their geometric mean; nothing is interpolated.

    Parameters
    ----------
    choices : sequence of LambdaChoice
        One for each split, of the same q neuroids.

    Returns
    -------
    LambdaCurve

    Raises
    ------
    InputError
        If there are no choices, or they are of different neuroids.
    """
    if not choices or len({len(choice.lambdas) for choice in choices}) > 1:
        raise InputError(
            f"a lambda curve needs the choices of one or more splits for the same neuroids, these are for "
            f"{[len(choice.lambdas) for choice in choices]}"
        )
    lambdas, groups = _union_grid([choice.grid for choice in choices])
    of_mean = np.array([choice.error_of_mean for choice in choices])
    varying = np.flatnonzero((of_mean > 0).all(axis=0))
    relative = np.full((len(lambdas), len(choices), len(varying)), np.nan)
    for index, (choice, group) in enumerate(zip(choices, groups, strict=True)):
        relative[group, index] = choice.errors[:, varying] / of_mean[index, varying]
    coverage = np.isfinite(relative).mean(axis=(1, 2)) if len(varying) else np.zeros(len(lambdas))
    complete = coverage == 1
    error, quartiles = np.full(len(lambdas), np.nan), np.full((2, len(lambdas)), np.nan)
    error[complete] = relative[complete].mean(axis=(1, 2))
    if complete.any():
        quartiles[:, complete] = np.quantile(relative[complete].mean(axis=1), [0.25, 0.75], axis=1)
    chosen = np.concatenate([choice.lambdas for choice in choices])
    return LambdaCurve(
        lambdas,
        error,
        quartiles,
        coverage,
        _count(chosen[np.isfinite(chosen)], lambdas),
        float(np.mean([choice.at_edge for choice in choices])),
        float(np.isinf(chosen).mean()),
        len(choices),
        of_mean.shape[1],
        of_mean.shape[1] - len(varying),
    )


def _union_grid(grids: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """All lambdas (L,) of several grids, near ones merged, and the place of each grid's own among them.

    Two lambdas of one grid are never merged, however dense it is.
    """
    values = np.concatenate(grids)
    owners = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
    order = np.argsort(values, kind="stable")
    places = np.empty(len(values), dtype=int)
    place, first, seen = -1, 0.0, set[int]()
    for index in order:
        owner = int(owners[index])
        if place < 0 or values[index] > SAME_LAMBDA * first or owner in seen:
            place, first, seen = place + 1, values[index], set()
        seen.add(owner)
        places[index] = place
    members = np.bincount(places, minlength=place + 1)
    lambdas = np.exp(np.bincount(places, np.log(values), minlength=place + 1) / members)
    return lambdas, [places[owners == owner] for owner in range(len(grids))]


def _count(chosen: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """How many of the chosen lambdas are nearest to each of the grid's (L,)."""
    if not len(lambdas):
        return np.zeros(0, dtype=int)
    borders = np.sqrt(lambdas[1:] * lambdas[:-1])
    return np.bincount(np.searchsorted(borders, chosen), minlength=len(lambdas))
