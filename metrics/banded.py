"""Banded ridge: several feature spaces, each with its own share in the kernel of each neuroid.

For spaces k = 1..m with Gram matrices K_k, each divided by its mean eigenvalue, the objective is

    min over w, b of  ||y - Σ_k X_k w_k - b||² + λ Σ_k ||w_k||² / γ_k,     γ on the simplex,

which is ridge with the kernel Σ_k γ_k K_k. γ and λ are chosen per neuroid by held-out error within the
training stimuli, γ among candidates spaced by logarithms of their ratios. See Nunez-Elizalde, Huth &
Gallant 2019, NeuroImage 197:482-492, and Dupre la Tour et al. 2022, NeuroImage 264:119728 (himalaya).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from itprobe.errors import InputError
from itprobe.metrics.lambda_search import LambdaChoice, frame_of_kernel
from itprobe.metrics.mapping import Prediction, SplitRows
from itprobe.metrics.ridge import RidgeMapping
from itprobe.progress import progress_bar

LEVELS = {2: (0, -0.5, -1, -1.5, -2, -np.inf), 3: (0, -1, -np.inf)}
"""Decades by which a space's share may lie below the largest one, by number of spaces."""

N_RANDOM = 24
"""With more spaces the candidates are drawn: so many, beside the single spaces and equal shares."""

RANDOM_SEED = 0


def simplex_candidates(n_spaces: int) -> np.ndarray:
    """Shares of feature spaces to try, log-spaced.

    Parameters
    ----------
    n_spaces : int

    Returns
    -------
    ndarray (c, n_spaces)
        Each row sums to 1. The single spaces are among them, so that a space that only adds noise can
        be left out. Up to three spaces: all combinations of `LEVELS` relative to the largest share;
        beyond: log-uniform draws over three decades from a fixed seed.
    """
    if n_spaces == 1:
        return np.ones((1, 1))
    if n_spaces in LEVELS:
        levels = LEVELS[n_spaces]
        exponents = np.array([row for row in product(levels, repeat=n_spaces) if max(row) == 0])
    else:
        draws = np.random.default_rng(RANDOM_SEED).uniform(-3, 0, (N_RANDOM, n_spaces))
        single = np.where(np.eye(n_spaces) > 0, 0, -np.inf)
        exponents = np.vstack([single, np.zeros(n_spaces), draws])
    shares = 10.0**exponents
    return shares / shares.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class BandedRidgeMapping:
    """Ridge from several feature spaces; shares and lambda by cross-validation within the training stimuli.

    Parameters
    ----------
    lambdas : tuple of float, optional
        A fixed grid, for kernels whose mean eigenvalue is 1; by default a grid that grows by itself.
    per_neuroid : bool
        Shares and lambda per neuroid, or the same for all.
    folds : int, optional
        Inner folds; leave-one-out if not given.
    candidates : tuple of tuple of float, optional
        Shares to try, one row per candidate; `simplex_candidates` by default.
    """

    lambdas: tuple[float, ...] | None = None
    per_neuroid: bool = True
    folds: int | None = None
    candidates: tuple[tuple[float, ...], ...] | None = None

    name = "banded"

    def __post_init__(self) -> None:
        self._ridge()  # refuses wrong folds

    def _ridge(self) -> RidgeMapping:
        return RidgeMapping(self.lambdas, self.per_neuroid, self.folds)

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        shares: object = "log-spaced simplex" if self.candidates is None else [*map(list, self.candidates)]
        return {**self._ridge().parameters(), "shares": shares, "scaled_by": "mean eigenvalue of each space"}

    def shares(self, n_spaces: int) -> np.ndarray:
        """Candidates (c, n_spaces).

        Raises
        ------
        InputError
            If the given candidates are no shares of as many spaces.
        """
        if self.candidates is None:
            return simplex_candidates(n_spaces)
        shares = np.array([row for row in self.candidates if len(row) == n_spaces], dtype=np.float64)
        fits = len(shares) == len(self.candidates) > 0 and np.isfinite(shares).all()
        if not fits or (shares < 0).any() or (shares.sum(axis=1) <= 0).any():
            raise InputError(
                f"banded: every candidate needs {n_spaces} shares, none negative and not all 0; "
                f"got {self.candidates}"
            )
        return shares / shares.sum(axis=1, keepdims=True)

    def fit(
        self,
        kernels: Sequence[np.ndarray],
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> "FittedBanded":
        """Fit on training stimuli: kernels (m, n, n), responses (n, q), labels of inner folds (n,)."""
        scales = _scales(kernels, resolution)
        best: _Table = {}
        for shares in self.shares(len(kernels)):
            weights = shares * scales
            fitted = self._ridge().fit(_mixed(kernels, weights), responses, resolution, strata)
            found = {
                "dual": fitted.solution.dual,
                "intercept": fitted.solution.intercept,
                "weights": weights[:, None],
                **_chosen(fitted.choice, shares),
            }
            best = self._better(best, found)
        return FittedBanded(
            best["dual"],
            best["intercept"],
            np.broadcast_to(best["weights"], (len(kernels), responses.shape[1])),
            np.broadcast_to(best["shares"], (len(kernels), responses.shape[1])),
            best["lambdas"],
            best["at_edge"],
            fitted.notes,
        )

    def predict_splits(
        self,
        kernels: Sequence[np.ndarray],
        responses: np.ndarray,
        splits: Sequence[SplitRows],
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
        n_features: int | None = None,
    ) -> Iterator[Prediction]:
        """Predict the test stimuli of each split from several spaces, see `Mapping.predict_splits`.

        The spaces are scaled by their mean eigenvalue over all stimuli, which is their unit and sees no
        response.
        """
        scales = _scales(kernels, resolution)
        candidates = self.shares(len(kernels))
        best: list[_Table] = [{} for _ in splits]
        notes: list[list[str]] = [[] for _ in splits]
        with progress_bar(len(candidates), "banded: shares", "candidate") as bar:
            for shares in candidates:
                mixed = _mixed(kernels, shares * scales)
                predicted = self._ridge().predict_splits(
                    [mixed], responses, splits, resolution, strata, n_features
                )
                for index, one in enumerate(predicted):
                    assert one.choice is not None
                    found = {"predictions": one.predictions, **_chosen(one.choice, shares)}
                    best[index], notes[index] = self._better(best[index], found), one.notes
                bar.update()
        for table, note in zip(best, notes, strict=True):
            shares = np.broadcast_to(table["shares"], (len(kernels), responses.shape[1]))
            yield Prediction(table["predictions"], table["lambdas"], table["at_edge"], note, weights=shares)

    def _better(self, old: "_Table", new: "_Table") -> "_Table":
        """Of two tables the columns with the smaller error; all of one where the neuroids share lambda."""
        if not old:
            return new
        better = new["error"] < old["error"]
        if not self.per_neuroid:
            better = np.full(len(better), new["error"].mean() < old["error"].mean())
        return {key: np.where(better, new[key], old[key]) for key in new}


_Table = dict[str, np.ndarray]
"""What a candidate gave, by name; the last axis of every array is the neuroid (or stands for all of them)."""


def _chosen(choice: LambdaChoice, shares: np.ndarray) -> _Table:
    """What is kept of a candidate's choice of lambda."""
    return {
        "error": choice.error,
        "lambdas": choice.lambdas,
        "at_edge": choice.at_edge,
        "shares": np.where(np.isinf(choice.lambdas), np.nan, shares[:, None]),
    }


def _scales(kernels: Sequence[np.ndarray], resolution: float) -> np.ndarray:
    """1 / mean eigenvalue of each centred kernel; 0 for one that is constant."""
    frames = [frame_of_kernel(kernel, resolution) for kernel in kernels]
    return np.array([0.0 if frame.constant else 1 / frame.scale for frame in frames])


def _mixed(kernels: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Weighted sum of kernels (n, n)."""
    total = np.zeros_like(kernels[0])
    for kernel, weight in zip(kernels, weights, strict=True):
        if weight:
            total += weight * kernel
    return total


@dataclass(frozen=True)
class FittedBanded:
    """A ridge solution from m spaces.

    Attributes
    ----------
    dual : ndarray (n, q)
    intercept : ndarray (q,)
        For predictions ``Σ_k weights_k kernel_k(test, train) @ dual + intercept``.
    weights : ndarray (m, q)
        Shares divided by the spaces' mean eigenvalues.
    shares : ndarray (m, q)
        Share of each space in each neuroid's kernel, of which the mean eigenvalue is 1; NaN where the
        mean response is the prediction.
    lambdas : ndarray (q,)
    at_edge : ndarray (q,) of bool
    notes : list of str
    """

    dual: np.ndarray
    intercept: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    lambdas: np.ndarray
    at_edge: np.ndarray
    notes: list[str]

    def predict(self, kernels: Sequence[np.ndarray]) -> np.ndarray:
        """Predict responses (k, q) from kernels (m, k, n) between k stimuli and the training ones."""
        parts = [kernel @ (self.dual * weight) for kernel, weight in zip(kernels, self.weights, strict=True)]
        return np.sum(parts, axis=0) + self.intercept
