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

import numpy as np

from itprobe.errors import InputError
from itprobe.metrics.dual import DualSolution, solve_ridge
from itprobe.metrics.held_out_errors import held_out_errors
from itprobe.metrics.inner_folds import inner_folds
from itprobe.metrics.lambda_search import (
    LambdaChoice,
    frame_of_spectrum,
    run_search,
    search_automatically,
    search_grid,
)
from itprobe.metrics.mapping import FittedPerSplit
from itprobe.metrics.spectrum import centred_spectrum


@dataclass(frozen=True)
class PcrMapping(FittedPerSplit):
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
        if self.n_components < 1 or self.n_components != int(self.n_components):
            raise InputError(f"pcr needs a whole number of components, at least 1, not {self.n_components}")
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
        n, q = responses.shape
        spectrum = centred_spectrum(kernel, resolution, self.n_components).leading(self.n_components)
        folds, note = inner_folds(n, self.folds, strata)
        errors_of = held_out_errors(spectrum, responses, [held_out for _, held_out in folds])
        if self.lambdas is None:
            search = search_automatically(q, frame_of_spectrum(spectrum), self.per_neuroid)
        else:
            search = search_grid(q, np.array(self.lambdas), self.per_neuroid)
        choice = run_search(search, errors_of)
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

    solution: DualSolution
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
