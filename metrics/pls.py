"""Partial least squares from a Gram matrix, converged exactly.

Kernel PLS2 (Rosipal & Trejo 2001, "Kernel partial least squares regression in reproducing kernel
Hilbert space", J. Mach. Learn. Res. 2:97-123). With K and Y centred on the training stimuli, T the
scores found so far (orthonormal columns) and P = 1 - T Tᵀ, the next component maximises the covariance
between features and responses that T leaves over:

    c = leading eigenvector of Y_dᵀ K Y_d,   u = Y_d c,   t = P K u / ||P K u||,   Y_d = P Y

where the power iteration of scikit-learn's ``PLSRegression(scale=False)`` ends up if it is given the
time. K is never deflated: Y_d is orthogonal to T already, so Y_dᵀ P K P Y_d is the matrix above, and
K Y_d follows from component to component by a rank-one update. With U the columns u, K U = T R with R
upper triangular, and the prediction is K(new, train) U R⁻¹ Tᵀ Y, the same as Rosipal & Trejo's
K(new, train) U (Tᵀ K U)⁻¹ Tᵀ Y.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, qr, solve_triangular

from itprobe.errors import InputError
from itprobe.metrics.dual import DualSolution
from itprobe.metrics.lambda_search import LambdaChoice
from itprobe.metrics.mapping import FittedPerSplit

EXPLAINED = 1e-12
"""Responses whose residual is smaller than this, relative to where they started, are explained."""

ROUNDING = 1e-15
"""Responses whose residual is smaller than this, relative to their own size, are constant."""


@dataclass(frozen=True)
class PlsComponents:
    """Components of n training stimuli.

    Attributes
    ----------
    scores : ndarray (n, d)
        T, orthonormal columns that sum to 0.
    dual : ndarray (n, d)
        U R⁻¹: scores are ``kernel @ dual``, up to a constant per column.
    exhausted : str
        What ended the search early, "features" or "responses"; else empty.
    """

    scores: np.ndarray
    dual: np.ndarray
    exhausted: str


def pls_components(
    kernel: np.ndarray, responses: np.ndarray, n_components: int, resolution: float = 1e-13
) -> PlsComponents:
    """Find the PLS components, by one small eigendecomposition and two products K v each.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Inner products of the training stimuli about any origin.
    responses : ndarray (n, q)
    n_components : int
    resolution : float
        Relative accuracy of `kernel`, see `Gram`.
    """
    n = len(kernel)
    residual = _rotated(responses - responses.mean(axis=0))
    products = kernel @ residual
    explained = max(EXPLAINED * np.linalg.norm(residual), ROUNDING * np.linalg.norm(responses))
    floor = resolution * np.linalg.norm(kernel)  # rounding of K v for a v of length 1
    scores, weights = np.empty((2, n, min(n_components, n)))
    found, exhausted = 0, ""
    while found < n_components:
        if np.linalg.norm(residual) <= explained:
            exhausted = "responses"
            break
        direction = residual @ _leading_eigenvector(residual.T @ products)
        image = kernel @ direction
        score = _orthogonal(image - image.mean(), scores[:, :found])
        length = np.linalg.norm(score)
        if length <= floor * np.linalg.norm(direction):
            exhausted = "features"
            break
        score /= length
        loadings = residual.T @ score
        residual -= np.outer(score, loadings)
        products -= np.outer(kernel @ score, loadings)
        scores[:, found], weights[:, found] = score, direction
        found += 1
    scores, weights = scores[:, :found], weights[:, :found]
    triangle = scores.T @ (kernel @ weights)
    dual = solve_triangular(triangle.T, weights.T, lower=True).T if found else weights
    return PlsComponents(scores, dual, exhausted)


def _rotated(responses: np.ndarray) -> np.ndarray:
    """Responses (n, q) as they are, or rotated into n columns where q > n.

    Components do not change under a rotation of the responses, and the small matrix is then n x n.
    """
    n, q = responses.shape
    return qr(responses.T, mode="r", check_finite=False)[0][:n].T if q > n else responses


def _leading_eigenvector(matrix: np.ndarray) -> np.ndarray:
    last = len(matrix) - 1
    return eigh(matrix, subset_by_index=[last, last], check_finite=False)[1][:, 0]


def _orthogonal(vector: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Part of `vector` orthogonal to the orthonormal columns of `basis`."""
    for _ in range(2):  # one pass leaves rounding of the size of what it took away
        vector = vector - basis @ (basis.T @ vector)
    return vector


@dataclass(frozen=True)
class PlsMapping(FittedPerSplit):
    """Partial least squares regression, features and responses centred but not scaled.

    Parameters
    ----------
    n_components : int
        Brain-Score's metric uses 25. Clipped, with a note, to what the training stimuli allow.

    Raises
    ------
    InputError
        If there is not at least one component.
    """

    n_components: int = 25

    name = "pls"

    def __post_init__(self) -> None:
        if self.n_components < 1:
            raise InputError(f"pls needs at least 1 component, not {self.n_components}")

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        return {"n_components": self.n_components, "scaled": False}

    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> "FittedPls":
        """Fit on training stimuli: kernel (n, n), responses (n, q). Nothing is chosen, so no `strata` are used."""
        components = pls_components(kernel, responses, self.n_components, resolution)
        dual = components.dual @ (components.scores.T @ responses)
        intercept = (responses - kernel @ dual).mean(axis=0)
        solution = DualSolution(dual, intercept, np.full(responses.shape[1], np.nan))
        found = components.scores.shape[1]
        notes = []
        if components.exhausted:
            notes.append(
                f"pls: {found} components instead of {self.n_components}: "
                f"they exhaust the {components.exhausted} of {len(kernel)} training stimuli"
            )
        return FittedPls(solution, found, notes)


@dataclass(frozen=True)
class FittedPls:
    """A solution on `n_components` components."""

    solution: DualSolution
    n_components: int
    notes: list[str]

    @property
    def lambdas(self) -> np.ndarray:
        """NaN (q,): there is no penalty."""
        return self.solution.lambdas

    @property
    def at_edge(self) -> np.ndarray:
        """False (q,): there is no penalty."""
        return np.zeros(len(self.solution.lambdas), dtype=bool)

    @property
    def choice(self) -> LambdaChoice | None:
        """None: nothing is chosen."""
        return None

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predict responses (m, q) from the kernel between m stimuli and the training ones (m, n)."""
        return self.solution.predict(kernel)
