"""Ridge regression from a Gram matrix, with lambda chosen by leave-one-out inside the training part.

For training rows T the objective is, per neuroid,

    min over w, b of  ||y_T - X_T w - b||² + λ ||w||²

whose solution depends on X only through K = X Xᵀ: w = X_Tᵀ α with α = U (S + λ)⁻¹ Uᵀ y_T, where
U S Uᵀ is the eigendecomposition of K_TT restricted to vectors orthogonal to 1 (that restriction *is*
the unpenalised intercept). The residual that stimulus i would have if it were left out is α_i / D_i
with D_i = Σ_k U_ik² / (S_k + λ); see Rifkin & Lippert 2007, "Notes on regularized least squares".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import eigh

STEPS_PER_DECADE = 3
"""Density of the automatic lambda grid."""

FIRST_DECADES = (-2, 3)
"""The automatic grid starts with these decades about the mean eigenvalue and grows where needed."""

CAP_ABOVE_TOP = 1e4
"""The grid does not grow beyond this multiple of the largest eigenvalue; then comes infinity."""

HeldOutErrors = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Mean squared held-out errors (L, q) of responses (n, q) under lambdas (L,); infinity is the mean predictor."""


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of a training Gram matrix with the intercept taken out.

    Attributes
    ----------
    vectors : ndarray (n, n - 1)
        Orthonormal columns, each orthogonal to the vector of ones; null directions included.
    eigenvalues : ndarray (n - 1,)
        Descending, clipped at 0.
    floor : float
        The smallest lambda that rounding errors of the Gram matrix allow.
    """

    vectors: np.ndarray
    eigenvalues: np.ndarray
    floor: float


def centred_spectrum(kernel: np.ndarray, resolution: float = 1e-13) -> Spectrum:
    """Decompose a kernel on the space orthogonal to ones.

    A Householder reflection turns the vector of ones into the first axis; what is left after dropping
    that axis is the kernel centred on these n rows, without an eigenvalue for the constant.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Inner products of the n training stimuli about any origin.
    resolution : float
        Relative accuracy of `kernel`, see `Gram`.
    """
    n = len(kernel)
    normal = np.full(n, 1 / np.sqrt(n))
    normal[0] += 1
    beta = 2 / (normal @ normal)
    projected = beta * (kernel @ normal)
    half = projected - beta / 2 * (normal @ projected) * normal
    reflected = kernel - np.outer(normal, half) - np.outer(half, normal)
    eigenvalues, inner = eigh(reflected[1:, 1:], driver="evd", overwrite_a=True, check_finite=False)
    eigenvalues = np.maximum(eigenvalues[::-1], 0)
    vectors = np.vstack([np.zeros(n - 1), inner[:, ::-1]])
    vectors -= beta * np.outer(normal, normal @ vectors)
    largest = max(eigenvalues[0], kernel.diagonal().max())
    return Spectrum(vectors, eigenvalues, max(resolution * largest, np.finfo(float).tiny))


def leave_one_out_errors(spectrum: Spectrum, responses: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """Mean squared leave-one-out error for each lambda and neuroid.

    Parameters
    ----------
    spectrum : Spectrum
        Of the n training stimuli.
    responses : ndarray (n, q)
    lambdas : ndarray (L,)
        Positive; infinity stands for the mean predictor.

    Returns
    -------
    ndarray (L, q)
    """
    n = len(responses)
    loadings = spectrum.vectors.T @ responses
    inverse = 1 / (spectrum.eigenvalues[:, None] + lambdas[None, :])
    leverage = (spectrum.vectors**2) @ inverse
    errors = np.empty((len(lambdas), responses.shape[1]))
    for index, value in enumerate(lambdas):
        if np.isinf(value):
            residuals = (responses - responses.mean(axis=0)) * n / (n - 1)
        else:
            dual = spectrum.vectors @ (loadings * inverse[:, index, None])
            residuals = dual / leverage[:, index, None]
        errors[index] = np.mean(residuals**2, axis=0)
    return errors


@dataclass(frozen=True)
class LambdaChoice:
    """The lambda of each neuroid and how it came about.

    Attributes
    ----------
    lambdas : ndarray (q,)
        Infinity where no lambda predicted better than the mean response.
    at_edge : ndarray (q,) of bool
        The best lambda was the first or last of the grid, and the grid could not grow.
    grid : ndarray (L,)
        All finite lambdas tried, ascending.
    errors : ndarray (L, q)
        Their held-out errors; NaN where a lambda was not tried for a neuroid.
    """

    lambdas: np.ndarray
    at_edge: np.ndarray
    grid: np.ndarray
    errors: np.ndarray


def choose_from_grid(
    spectrum: Spectrum,
    responses: np.ndarray,
    grid: np.ndarray,
    per_neuroid: bool = True,
    errors_of: HeldOutErrors | None = None,
) -> LambdaChoice:
    """Choose lambda by held-out error from a fixed grid.

    Parameters
    ----------
    spectrum : Spectrum
    responses : ndarray (n, q)
    grid : ndarray (L,)
        Positive lambdas.
    per_neuroid : bool
        One lambda per neuroid, or one for all by the mean error over neuroids (as scikit-learn's
        ``RidgeCV`` with ``alpha_per_target=False``).
    errors_of : callable, optional
        How a lambda is judged; by leave-one-out if not given.
    """
    grid = np.sort(grid)
    errors = (errors_of or partial(leave_one_out_errors, spectrum))(responses, grid)
    judged = errors if per_neuroid else np.repeat(errors.mean(axis=1, keepdims=True), errors.shape[1], axis=1)
    best = judged.argmin(axis=0)
    at_edge = ((best == 0) | (best == len(grid) - 1)) & (len(grid) > 1)
    return LambdaChoice(grid[best], at_edge, grid, errors)


def choose_automatically(
    spectrum: Spectrum,
    responses: np.ndarray,
    per_neuroid: bool = True,
    errors_of: HeldOutErrors | None = None,
) -> LambdaChoice:
    """Choose lambda by held-out error from a logarithmic grid that grows where an optimum is on its edge.

    The grid lies relative to the mean eigenvalue, so the choice does not depend on the unit of the
    features. It grows for the neuroids that need it, down to the spectrum's floor and up to
    `CAP_ABOVE_TOP` times the largest eigenvalue. Infinity, the mean predictor, always competes.

    Parameters
    ----------
    spectrum : Spectrum
    responses : ndarray (n, q)
    per_neuroid : bool
        One lambda per neuroid, or one for all by the mean error over neuroids.
    errors_of : callable, optional
        How a lambda is judged; by leave-one-out if not given.
    """
    errors_of = errors_of or partial(leave_one_out_errors, spectrum)
    if not np.any(spectrum.eigenvalues > spectrum.floor):  # constant features: only the mean can be predicted
        q = responses.shape[1]
        return LambdaChoice(np.full(q, np.inf), np.zeros(q, bool), np.empty(0), np.empty((0, q)))
    scale = spectrum.eigenvalues.mean()
    lowest = int(np.ceil(STEPS_PER_DECADE * np.log10(spectrum.floor / scale)))
    highest = int(np.floor(STEPS_PER_DECADE * np.log10(CAP_ABOVE_TOP * spectrum.eigenvalues[0] / scale)))
    low, high = (int(np.clip(STEPS_PER_DECADE * d, lowest, highest)) for d in FIRST_DECADES)
    table = {step: np.full(responses.shape[1], np.nan) for step in range(low, high + 1)}
    wanted, todo = list(table), np.arange(responses.shape[1])
    while wanted and len(todo):
        lambdas = scale * 10.0 ** (np.array(wanted) / STEPS_PER_DECADE)
        for step, row in zip(wanted, errors_of(responses[:, todo], lambdas), strict=True):
            table.setdefault(step, np.full(responses.shape[1], np.nan))[todo] = row
        steps = np.array(sorted(table))
        errors = np.array([table[step] for step in steps])
        judged = errors if per_neuroid else errors.mean(axis=1, keepdims=True) + 0 * errors
        best = steps[np.nanargmin(judged, axis=0)]
        wanted, todo = _next_steps(best, steps, lowest, highest, per_neuroid)
    grid = scale * 10.0 ** (steps / STEPS_PER_DECADE)
    of_mean = errors_of(responses, np.array([np.inf]))[0]
    of_best = np.nanmin(judged, axis=0)
    mean_is_best = of_mean <= of_best if per_neuroid else np.full(len(of_best), of_mean.mean() <= of_best[0])
    mean_is_best |= best == highest  # at the cap a prediction is the mean but for rounding
    lambdas = np.where(mean_is_best, np.inf, scale * 10.0 ** (best / STEPS_PER_DECADE))
    return LambdaChoice(lambdas, (best == lowest) & ~mean_is_best, grid, errors)


def _next_steps(
    best: np.ndarray, steps: np.ndarray, lowest: int, highest: int, per_neuroid: bool
) -> tuple[list[int], np.ndarray]:
    """Grid steps to try next and the neuroids they are for: one decade beyond each edge that was hit."""
    low_hit = (best == steps[0]) & (steps[0] > lowest)
    high_hit = (best == steps[-1]) & (steps[-1] < highest)
    below = range(max(lowest, steps[0] - STEPS_PER_DECADE), steps[0]) if low_hit.any() else range(0)
    above = (
        range(steps[-1] + 1, min(highest, steps[-1] + STEPS_PER_DECADE) + 1) if high_hit.any() else range(0)
    )
    todo = np.flatnonzero(low_hit | high_hit) if per_neuroid else np.arange(len(best))
    return [int(step) for step in (*below, *above)], todo


@dataclass(frozen=True)
class RidgeSolution:
    """Fitted ridge in its dual form.

    Attributes
    ----------
    dual : ndarray (n, q)
        α; each column sums to 0.
    intercept : ndarray (q,)
        For predictions ``kernel(test, train) @ dual + intercept``, kernel about the training origin.
    lambdas : ndarray (q,)
    """

    dual: np.ndarray
    intercept: np.ndarray
    lambdas: np.ndarray

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predict responses, shape (m, q), from the kernel between m stimuli and the training ones (m, n)."""
        return kernel @ self.dual + self.intercept


def solve_ridge(
    kernel: np.ndarray, spectrum: Spectrum, responses: np.ndarray, lambdas: np.ndarray
) -> RidgeSolution:
    """Solve ridge regression for given lambdas.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Of the training stimuli, about any origin.
    spectrum : Spectrum
        ``centred_spectrum(kernel)``.
    responses : ndarray (n, q)
    lambdas : ndarray (q,)
        Infinity gives the mean response as prediction.
    """
    loadings = spectrum.vectors.T @ responses
    dual = spectrum.vectors @ (loadings / (spectrum.eigenvalues[:, None] + lambdas[None, :]))
    intercept = (responses - kernel @ dual).mean(axis=0)
    return RidgeSolution(dual, intercept, lambdas)


@dataclass(frozen=True)
class RidgeMapping:
    """Ridge from features to responses; lambda by leave-one-out within the training stimuli.

    Parameters
    ----------
    lambdas : tuple of float, optional
        A fixed grid; by default a grid that grows by itself.
    per_neuroid : bool
        One lambda per neuroid, or one for all.
    """

    lambdas: tuple[float, ...] | None = None
    per_neuroid: bool = True

    name = "ridge"

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        return {
            "lambda_grid": "automatic" if self.lambdas is None else list(self.lambdas),
            "lambda_selection": "leave-one-out within the training stimuli",
            "lambda_per_neuroid": self.per_neuroid,
        }

    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> "FittedRidge":
        """Fit on training stimuli: kernel (n, n), responses (n, q)."""
        spectrum = centred_spectrum(kernel, resolution)
        if self.lambdas is None:
            choice = choose_automatically(spectrum, responses, self.per_neuroid)
        else:
            choice = choose_from_grid(spectrum, responses, np.array(self.lambdas), self.per_neuroid)
        return FittedRidge(solve_ridge(kernel, spectrum, responses, choice.lambdas), choice)


@dataclass(frozen=True)
class FittedRidge:
    """A ridge solution with the choice of lambda behind it."""

    solution: RidgeSolution
    choice: LambdaChoice

    @property
    def lambdas(self) -> np.ndarray:
        """Lambda of each neuroid (q,)."""
        return self.choice.lambdas

    @property
    def at_edge(self) -> np.ndarray:
        """Whether each neuroid's lambda lies on the grid's edge (q,)."""
        return self.choice.at_edge

    @property
    def notes(self) -> list[str]:
        """Nothing beyond the lambdas."""
        return []

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predict responses (m, q) from the kernel between m stimuli and the training ones (m, n)."""
        return self.solution.predict(kernel)
