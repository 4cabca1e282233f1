"""Principal component regression from a Gram matrix: the components of the training stimuli, then ridge.

With U S Uᵀ the centred training kernel's eigendecomposition, the training stimuli's scores on its k
leading principal components are Z = U_k S_k^½: no other stimulus has a say in them. Ridge with
intercept on the scores is

    min over w, b of  ||y - Z w - b||² + λ ||w||²

and, Z being orthogonal, its solution is diagonal: α = U_k (S_k + λ)⁻¹ U_kᵀ y in the dual form of
`itprobe.metrics.ridge`. λ is chosen by cross-validation on the scores, as scikit-learn's ``RidgeCV``
after ``PCA`` does: the components are found once on all training stimuli and are not found again
within each inner fold. The held-out stimuli of the split take part in neither.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from itprobe.errors import InputError
from itprobe.metrics.ridge import (
    LambdaChoice,
    RidgeSolution,
    Spectrum,
    centred_spectrum,
    choose_automatically,
    choose_from_grid,
    solve_ridge,
)

FOLD_SEED = 0
"""Seed of the inner folds' shuffling: the same stimuli always fall into the same folds."""


@dataclass(frozen=True)
class Fold:
    """An inner fold's scores and their own principal axes, along which ridge is diagonal.

    Attributes
    ----------
    train, held_out : ndarray of int
        Rows of the training stimuli.
    scores : ndarray (n_train, k)
        Of the rows to train on, about their mean.
    axes : ndarray (k, d)
        Orthonormal columns: directions of the principal axes of `scores`.
    eigenvalues : ndarray (d,)
        Sum of squares of `scores` along each axis.
    held_out_loadings : ndarray (n_held_out, d)
        Held-out scores along the axes, about the same mean.
    """

    train: np.ndarray
    held_out: np.ndarray
    scores: np.ndarray
    axes: np.ndarray
    eigenvalues: np.ndarray
    held_out_loadings: np.ndarray


def inner_folds(
    n: int, folds: int, strata: np.ndarray | None
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Shuffled folds of n training stimuli, balanced by `strata` where every stratum has `folds` members.

    Returns
    -------
    list of (ndarray, ndarray)
        Rows to train on and rows held out.
    str
        Why the folds are not balanced although strata were given; else empty.
    """
    folds = min(folds, n)
    rarest = 0 if strata is None else int(np.unique(strata, return_counts=True)[1].min())
    if strata is not None and rarest >= folds:
        codes = np.unique(strata, return_inverse=True)[1]
        splitter = StratifiedKFold(folds, shuffle=True, random_state=FOLD_SEED)
        return list(splitter.split(np.zeros(n), codes)), ""
    note = (
        "" if strata is None else f"inner folds not stratified: the rarest of the strata has {rarest} stimuli"
    )
    return list(KFold(folds, shuffle=True, random_state=FOLD_SEED).split(np.zeros(n))), note


def solve_fold(scores: np.ndarray, train: np.ndarray, held_out: np.ndarray, floor: float) -> Fold:
    """Turn one inner fold to its principal axes by one eigendecomposition on its smaller side.

    Parameters
    ----------
    scores : ndarray (n, k)
    train, held_out : ndarray of int
    floor : float
        Eigenvalues up to this are rounding; their axes are left out.
    """
    mean = scores[train].mean(axis=0)
    rows, held_out_rows = scores[train] - mean, scores[held_out] - mean
    if rows.shape[1] <= len(rows):
        eigenvalues, axes = np.linalg.eigh(rows.T @ rows)
        kept = eigenvalues > floor
        axes, eigenvalues = axes[:, kept], eigenvalues[kept]
    else:
        eigenvalues, vectors = np.linalg.eigh(rows @ rows.T)
        kept = eigenvalues > floor
        eigenvalues = eigenvalues[kept]
        axes = rows.T @ (vectors[:, kept] / np.sqrt(eigenvalues))
    return Fold(train, held_out, rows, axes, eigenvalues, held_out_rows @ axes)


def k_fold_errors(folds: list[Fold], responses: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """Mean squared held-out error for each lambda and neuroid, averaged over the folds.

    Parameters
    ----------
    folds : list of Fold
    responses : ndarray (n, q)
    lambdas : ndarray (L,)
        Positive; infinity stands for the mean predictor.

    Returns
    -------
    ndarray (L, q)
        As scikit-learn's ``GridSearchCV`` with ``scoring="neg_mean_squared_error"``: every fold has
        the same weight.
    """
    errors = np.zeros((len(lambdas), responses.shape[1]))
    for fold in folds:
        mean = responses[fold.train].mean(axis=0)
        products = fold.axes.T @ (fold.scores.T @ (responses[fold.train] - mean))
        held_out = responses[fold.held_out] - mean
        for index, value in enumerate(lambdas):
            coefficients = products / (fold.eigenvalues[:, None] + value)
            errors[index] += np.mean((held_out - fold.held_out_loadings @ coefficients) ** 2, axis=0)
    return errors / len(folds)


def leading_components(spectrum: Spectrum, k: int) -> Spectrum:
    """The k leading components of a training kernel, or as many as are above rounding."""
    k = min(k, int(np.sum(spectrum.eigenvalues > spectrum.floor)))
    return Spectrum(spectrum.vectors[:, :k], spectrum.eigenvalues[:k], spectrum.floor)


@dataclass(frozen=True)
class PcrMapping:
    """Ridge on the principal components of the training stimuli's features; lambda by k-fold.

    Parameters
    ----------
    n_components : int
        Clipped, with a note, to what the training stimuli allow.
    lambdas : tuple of float, optional
        A fixed grid; by default a grid that grows by itself.
    folds : int
        Inner folds that choose lambda.
    per_neuroid : bool
        One lambda per neuroid, or one for all.

    Raises
    ------
    InputError
        If there is not at least one component or there are not at least two folds.
    """

    n_components: int = 1000
    lambdas: tuple[float, ...] | None = None
    folds: int = 5
    per_neuroid: bool = True

    name = "pcr"

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise InputError(f"pcr needs at least 1 component, not {self.n_components}")
        if self.folds < 2:
            raise InputError(f"pcr needs at least 2 inner folds to choose lambda, not {self.folds}")

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        return {
            "n_components": self.n_components,
            "lambda_grid": "automatic" if self.lambdas is None else list(self.lambdas),
            "lambda_selection": f"{self.folds}-fold on the components of the training stimuli",
            "lambda_per_neuroid": self.per_neuroid,
        }

    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> "FittedPcr":
        """Fit on training stimuli: kernel (n, n), responses (n, q), labels to balance inner folds by (n,)."""
        n = len(kernel)
        spectrum = leading_components(centred_spectrum(kernel, resolution), self.n_components)
        scores = spectrum.vectors * np.sqrt(spectrum.eigenvalues)
        rows, note = inner_folds(n, self.folds, strata)
        errors_of = partial(k_fold_errors, [solve_fold(scores, *fold, spectrum.floor) for fold in rows])
        if self.lambdas is None:
            choice = choose_automatically(spectrum, responses, self.per_neuroid, errors_of)
        else:
            choice = choose_from_grid(
                spectrum, responses, np.array(self.lambdas), self.per_neuroid, errors_of
            )
        notes = [note] if note else []
        found = len(spectrum.eigenvalues)
        if found < self.n_components:
            notes.append(
                f"pcr: {found} components instead of {self.n_components}: "
                f"the features of {n} training stimuli have no more"
            )
        return FittedPcr(solve_ridge(kernel, spectrum, responses, choice.lambdas), choice, found, notes)


@dataclass(frozen=True)
class FittedPcr:
    """A ridge solution on `n_components` components, with the choice of lambda behind it."""

    solution: RidgeSolution
    choice: LambdaChoice
    n_components: int
    notes: list[str]

    @property
    def lambdas(self) -> np.ndarray:
        """Lambda of each neuroid (q,)."""
        return self.choice.lambdas

    @property
    def at_edge(self) -> np.ndarray:
        """Whether each neuroid's lambda lies on the grid's edge (q,)."""
        return self.choice.at_edge

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predict responses (m, q) from the kernel between m stimuli and the training ones (m, n)."""
        return self.solution.predict(kernel)
