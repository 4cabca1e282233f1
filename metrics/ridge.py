"""Ridge regression from a Gram matrix, with lambda chosen inside the training part.

For training rows T the objective is, per neuroid,

    min over w, b of  ||y_T - X_T w - b||² + λ ||w||²

whose solution depends on X only through K = X Xᵀ: w = X_Tᵀ α with α = U (S + λ)⁻¹ Uᵀ y_T, where
U S Uᵀ is the eigendecomposition of K_TT restricted to vectors orthogonal to 1 (that restriction *is*
the unpenalised intercept).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from itprobe.errors import InputError
from itprobe.metrics.dual import DualSolution, solve_ridge
from itprobe.metrics.held_out_errors import held_out_errors
from itprobe.metrics.inner_folds import inner_folds
from itprobe.metrics.lambda_search import (
    Frame,
    LambdaChoice,
    LambdaSearch,
    frame_of_kernel,
    run_search,
    search_automatically,
    search_grid,
)
from itprobe.metrics.mapping import Prediction, SplitRows
from itprobe.metrics.ridge_splits import (
    predict_from_few_features,
    predict_together,
    together_is_cheaper,
)
from itprobe.metrics.spectrum import centred_kernel, centred_spectrum


@dataclass(frozen=True)
class RidgeMapping:
    """Ridge from features to responses; lambda by cross-validation within the training stimuli.

    Parameters
    ----------
    lambdas : tuple of float, optional
        A fixed grid; by default a grid that grows by itself.
    per_neuroid : bool
        One lambda per neuroid, or one for all.
    folds : int, optional
        Inner folds that choose lambda, balanced by object where it is known; leave-one-out if not given.

    Raises
    ------
    InputError
        If there are fewer than two folds.
    """

    lambdas: tuple[float, ...] | None = None
    per_neuroid: bool = True
    folds: int | None = None

    name = "ridge"

    def __post_init__(self) -> None:
        if self.folds is not None and self.folds < 2:
            raise InputError(f"ridge needs at least 2 inner folds to choose lambda, not {self.folds}")

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        how = "leave-one-out" if self.folds is None else f"{self.folds}-fold"
        return {
            "lambda_grid": "automatic" if self.lambdas is None else list(self.lambdas),
            "lambda_selection": f"{how} within the training stimuli",
            "lambda_per_neuroid": self.per_neuroid,
        }

    def search(self, q: int, frame: Frame) -> LambdaSearch:
        """Search for the lambdas of q neuroids."""
        if self.lambdas is None:
            return search_automatically(q, frame, self.per_neuroid)
        return search_grid(q, np.array(self.lambdas), self.per_neuroid)

    def inner_folds(self, strata: np.ndarray | None, n: int) -> tuple[list[np.ndarray] | None, str]:
        """Rows held out together among n training stimuli (None: one by one), and a note on them."""
        if self.folds is None:
            return None, ""
        folds, note = inner_folds(n, self.folds, strata)
        return [held_out for _, held_out in folds], note

    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
        frame: Frame | None = None,
    ) -> "FittedRidge":
        """Fit on training stimuli: kernel (n, n), responses (n, q).

        `frame` places the automatic grid; the kernel's own by default.
        """
        spectrum = centred_spectrum(kernel, resolution)
        folds, note = self.inner_folds(strata, len(kernel))
        search = self.search(responses.shape[1], frame or frame_of_kernel(kernel, resolution))
        choice = run_search(search, held_out_errors(spectrum, responses, folds))
        notes = [note] if note else []
        return FittedRidge(solve_ridge(kernel, spectrum, responses, choice.lambdas), choice, notes)

    def predict_splits(
        self,
        kernels: Sequence[np.ndarray],
        responses: np.ndarray,
        splits: Sequence[SplitRows],
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
        n_features: int | None = None,
    ) -> Iterator[Prediction]:
        """Predict the test stimuli of each split, see `Mapping.predict_splits`.

        Whichever is cheapest is done: one inverse per lambda for all splits, one decomposition per split, or,
        with few features, one decomposition for all; the numbers are the same to rounding.
        """
        (kernel,) = kernels
        frame = frame_of_kernel(kernel, resolution)
        kernel = centred_kernel(kernel)

        def predict_apart(split: SplitRows) -> Prediction:
            within = None if strata is None else strata[split.train]
            training = kernel[np.ix_(split.train, split.train)]
            fitted = self.fit(training, responses[split.train], resolution, within, frame)
            predictions = fitted.predict(kernel[np.ix_(split.test, split.train)])
            return Prediction(predictions, fitted.lambdas, fitted.at_edge, fitted.notes, fitted.choice)

        n, q = responses.shape
        if n_features is not None and n_features <= n // 4:
            spectrum = centred_spectrum(kernel, resolution)
            yield from predict_from_few_features(self, spectrum, responses, splits, strata, frame)
        elif together_is_cheaper(n, q, splits):
            yield from predict_together(self, kernel, responses, splits, strata, frame, predict_apart)
        else:
            yield from map(predict_apart, splits)


@dataclass(frozen=True)
class FittedRidge:
    """A ridge solution with the choice of lambda behind it."""

    solution: DualSolution
    choice: LambdaChoice
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
