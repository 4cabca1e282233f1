"""Partial least squares from a Gram matrix, converged exactly.

Kernel PLS2 (Rosipal & Trejo 2001, "Kernel partial least squares regression in reproducing kernel
Hilbert space", J. Mach. Learn. Res. 2:97-123). With K and Y centred on the training stimuli, T the
scores found so far (orthonormal columns) and P = 1 - T Tᵀ, the next component maximises the covariance
between features and responses that T leaves over:

    c = leading eigenvector of Y_dᵀ K Y_d,   u = Y_d c,   t = P K u / ||P K u||,   Y_d = P Y

where the power iteration of scikit-learn's ``PLSRegression(scale=False)`` ends up if it is given the
time; with a tolerance it is cut off where scikit-learn cuts it off. Nothing of the size of K or Y is
deflated: Y_d = Y - T Lᵀ with loadings L = Yᵀ T is orthogonal to T, so Y_dᵀ P K P Y_d is the matrix above, and
it follows from component to component by

    M_d+1 = M_d - l vᵀ - v lᵀ + (tᵀ K t) l lᵀ,   l = Y_dᵀ t,   v = Y_dᵀ K t.

With U the columns u, K U = T R with R upper triangular, and the prediction is K(new, train) U R⁻¹ Tᵀ Y, the
same as Rosipal & Trejo's K(new, train) U (Tᵀ K U)⁻¹ Tᵀ Y. A component reads K twice (K u and K t), and all
splits in step read it together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, qr, solve_triangular

from itprobe.errors import InputError
from itprobe.metrics.blas import product
from itprobe.metrics.dual import DualSolution
from itprobe.metrics.lambda_search import LambdaChoice
from itprobe.metrics.mapping import Prediction, SplitRows

EXPLAINED = 1e-12
"""Responses whose residual is smaller than this, relative to where they started, are explained."""

ROUNDING = 1e-15
"""Responses whose residual is smaller than this, relative to their own size, are constant."""

FADED = 1e-2
"""M is computed anew when it has shrunk to this share: rounding of what it was is then too much of it."""

MOST_ITERATIONS = 500
"""After so many steps scikit-learn's power iteration ends, wherever it is."""

MOST_BYTES = 5e8
"""Splits that go in step may take so much memory for their matrices M."""


@dataclass(frozen=True)
class KernelImages:
    """K Y of all n stimuli, from which that of any training set's centred responses follows.

    A training set of many leaves out few: K_train (Y_train - 1 μᵀ) is K Y less what those contribute and less
    (K_train 1) μᵀ, which costs a product with them alone instead of one with the whole kernel per split.

    Attributes
    ----------
    kernel : ndarray (n, n)
    responses : ndarray (n, q)
        About any origin; near their mean, little is lost by subtracting.
    images : ndarray (n, q)
        ``kernel @ responses``.
    sums : ndarray (n,)
        Of the kernel's rows.
    norm : float
        Of the kernel (Frobenius).
    """

    kernel: np.ndarray
    responses: np.ndarray
    images: np.ndarray
    sums: np.ndarray
    norm: float

    @classmethod
    def of(cls, kernel: np.ndarray, responses: np.ndarray) -> "KernelImages":
        """Compute them for all stimuli: kernel (n, n), responses (n, q)."""
        norm = float(np.linalg.norm(kernel))
        return cls(kernel, responses, product(kernel, responses), kernel.sum(axis=0), norm)

    def centred(self, train: np.ndarray) -> np.ndarray:
        """``kernel[:, train] @ (responses[train] - their mean)``, (n, q)."""
        left_out = np.delete(np.arange(len(self.kernel)), train)
        rows = self.kernel[left_out]  # the kernel is symmetric, and its rows lie together
        images = self.images - product(rows.T, self.responses[left_out])
        images -= np.outer(self.sums - rows.sum(axis=0), self.responses[train].mean(axis=0))
        return images


class PlsComponents:
    """Components of some training stimuli among n, found one after the other.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Inner products about any origin.
    responses : ndarray (n, q)
        Those of other stimuli than the training ones play no part.
    train : ndarray of int
        Rows of the training stimuli.
    n_components : int
    resolution : float
        Relative accuracy of `kernel`, see `Gram`.
    tolerance : float, optional
        Ends the search for a direction early, see `PlsMapping`.
    known : KernelImages, optional
        Of the same kernel and the same responses about any origin, where several training sets are searched.

    Attributes
    ----------
    scores : ndarray (d, n)
        Tᵀ: orthonormal rows that sum to 0, 0 for other stimuli.
    weights : ndarray (d, n)
        Uᵀ, likewise.
    images : ndarray (d, n)
        ``weights @ kernel``, for all stimuli.
    exhausted : str
        What ended the search early, "features" or "responses"; else empty.
    """

    def __init__(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        train: np.ndarray,
        n_components: int,
        resolution: float,
        tolerance: float | None = None,
        known: KernelImages | None = None,
    ) -> None:
        n, q = responses.shape
        self._tolerance = tolerance
        self._kernel, self._train = kernel, train
        self._responses = np.zeros((n, q))
        self._responses[train] = responses[train] - responses[train].mean(axis=0)
        self._explained = max(
            EXPLAINED * float(np.linalg.norm(self._responses)),
            ROUNDING * float(np.linalg.norm(responses[train])),
        )
        norm = float(np.linalg.norm(kernel)) if known is None else known.norm
        self._floor = resolution * norm  # rounding of K v for a v of length 1
        self._scores, self._weights, self._images = np.zeros((3, min(n_components, len(train)), n))
        self._loadings = np.zeros((len(self._scores), q))
        self.found, self.exhausted = 0, ""
        self._renew(None if known is None else known.centred(train))

    @property
    def scores(self) -> np.ndarray:  # noqa: D102
        return self._scores[: self.found]

    @property
    def weights(self) -> np.ndarray:  # noqa: D102
        return self._weights[: self.found]

    @property
    def images(self) -> np.ndarray:  # noqa: D102
        return self._images[: self.found]

    def _renew(self, images: np.ndarray | None = None) -> None:
        """Compute M from the residual responses, and their images (n, q) where these are known."""
        residual = self._responses
        if self.found:
            residual = residual - product(self.scores.T, self._loadings[: self.found])
        if np.linalg.norm(residual) <= self._explained:
            self.exhausted = "responses"
            return
        self._matrix = product(residual.T, product(self._kernel, residual) if images is None else images)
        self._size = float(np.trace(self._matrix))

    def direction(self) -> np.ndarray:
        """The next u (n,); the search has not ended."""
        if self._tolerance is None:
            last = len(self._matrix) - 1
            leading = eigh(self._matrix, subset_by_index=[last, last], check_finite=False)[1]
        else:
            leading = _power_iteration(self._matrix, self._tolerance)
        explained = product(self.scores.T, product(self._loadings[: self.found], leading))
        self._direction = (product(self._responses, leading) - explained)[:, 0]
        return self._direction

    def score(self, image: np.ndarray) -> np.ndarray | None:
        """The next t (n,) from K u (n,); None where only rounding is left of the features."""
        score = np.zeros(len(image))
        score[self._train] = image[self._train] - image[self._train].mean()
        for _ in range(2):  # one pass leaves rounding of the size of what it took away
            score -= product(self.scores.T, product(self.scores, score[:, None]))[:, 0]
        length = np.linalg.norm(score)
        if length <= self._floor * np.linalg.norm(self._direction):
            self.exhausted = "features"
            return None
        score /= length
        self._weights[self.found], self._images[self.found] = self._direction, image
        self._scores[self.found] = score
        return score

    def deflate(self, image: np.ndarray) -> None:
        """Take the newest component out of M, from K t (n,)."""
        score = self._scores[self.found]
        before = self.scores, self._loadings[: self.found]
        pair = np.column_stack([score, image])
        both = product(pair.T, self._responses) - product(product(pair.T, before[0].T), before[1])
        loadings, across = both
        self._loadings[self.found] = loadings
        self.found += 1
        self._matrix -= np.outer(loadings, across) + np.outer(across, loadings)
        self._matrix += (score @ image) * np.outer(loadings, loadings)
        if np.trace(self._matrix) <= FADED * self._size:
            self._renew()

    def coefficients(self, responses: np.ndarray) -> np.ndarray:
        """R⁻¹ Tᵀ Y (d, q) for responses (n, q): what the columns of K U are multiplied with."""
        explained = product(self.scores, responses)
        if not self.found:
            return explained
        return solve_triangular(product(self.scores, self.images.T), explained, check_finite=False)


def _power_iteration(matrix: np.ndarray, tolerance: float) -> np.ndarray:
    """Leading eigenvector (q, 1) of M (q, q), as far as scikit-learn's ``PLSRegression`` goes for it.

    Its steps w = XᵀY_d c / ||XᵀY_d c||, c = Y_dᵀX w are c = M c seen from the responses, and its criterion
    ||w - w_before||² is 2 - 2 cᵀM c_before / √(cᵀM c · c_beforeᵀM c_before). It starts at the first response.
    """
    weights = np.zeros((len(matrix), 1))
    weights[np.argmax(np.diag(matrix) > 0)] = 1
    for _ in range(MOST_ITERATIONS - 1):
        image = matrix @ weights
        following = image / (np.linalg.norm(image) or 1)
        sizes = (following.T @ matrix @ following).item() * (weights.T @ image).item()
        if sizes <= 0:  # nothing but rounding is left of the features
            break
        change = 2 - 2 * (following.T @ image).item() / np.sqrt(sizes)
        weights = following
        if change < tolerance:
            break
    return weights


def find_components(searches: Sequence[PlsComponents], kernel: np.ndarray, n_components: int) -> None:
    """Find components of several training sets in step, so that they read the kernel (n, n) together."""
    for _ in range(n_components):
        going = [one for one in searches if not one.exhausted]
        if not going:
            return
        images = product(kernel, np.array([one.direction() for one in going]).T)
        scores = [one.score(image) for one, image in zip(going, images.T, strict=True)]
        going = [one for one in going if not one.exhausted]
        if not going:
            return
        images = product(kernel, np.array([score for score in scores if score is not None]).T)
        for one, image in zip(going, images.T, strict=True):
            one.deflate(image)


def _rotated(responses: np.ndarray) -> np.ndarray:
    """Responses (n, q) as they are, or rotated into n columns where q > n.

    Components do not change under a rotation of the responses, and the small matrix is then n x n.
    """
    n, q = responses.shape
    return qr(responses.T, mode="r", check_finite=False)[0][:n].T if q > n else responses


@dataclass(frozen=True)
class PlsMapping:
    """Partial least squares regression, features and responses centred but not scaled.

    Parameters
    ----------
    n_components : int
        Brain-Score's metric uses 25. Clipped, with a note, to what the training stimuli allow.
    tolerance : float, optional
        Cuts each component's search off where scikit-learn's ``PLSRegression(tol=tolerance)`` does, at its
        default of 1e-6 in Brain-Score's metric, for scores equal to theirs. Without, components are exact.

    Raises
    ------
    InputError
        If there is not at least one component, or the tolerance is not positive.
    """

    n_components: int = 25
    tolerance: float | None = None

    name = "pls"

    def __post_init__(self) -> None:
        if self.n_components < 1 or self.n_components != int(self.n_components):
            raise InputError(f"pls needs a whole number of components, at least 1, not {self.n_components}")
        if self.tolerance is not None and not 0 < self.tolerance < np.inf:
            raise InputError(
                f"the tolerance of pls must be a positive number, e.g. 1e-6, not {self.tolerance}"
            )

    def parameters(self) -> dict[str, object]:
        """Parameters as they stand in a result file."""
        exact: dict[str, object] = {"n_components": self.n_components, "scaled": False}
        return exact if self.tolerance is None else exact | {"tolerance": self.tolerance}

    def fit(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
    ) -> "FittedPls":
        """Fit on training stimuli: kernel (n, n), responses (n, q). Nothing is chosen, so no `strata` are used."""
        everything = np.arange(len(kernel))
        one = self._search(kernel, self._seen_from(responses), everything, resolution)
        find_components([one], kernel, self.n_components)
        dual = one.weights.T @ one.coefficients(responses)
        intercept = (responses - kernel @ dual).mean(axis=0)
        solution = DualSolution(dual, intercept, np.full(responses.shape[1], np.nan))
        return FittedPls(solution, one.found, self._notes(one, len(kernel)))

    def predict_splits(
        self,
        kernels: Sequence[np.ndarray],
        responses: np.ndarray,
        splits: Sequence[SplitRows],
        resolution: float = 1e-13,
        strata: np.ndarray | None = None,
        n_features: int | None = None,
    ) -> Iterator[Prediction]:
        """Predict the test stimuli of each split, splits in step, see `Mapping.predict_splits`."""
        (kernel,) = kernels
        seen = self._seen_from(responses)
        n, q = seen.shape
        shared = KernelImages.of(kernel, seen - seen.mean(axis=0))
        in_step = max(1, int(MOST_BYTES / (8 * q * (q + n))))
        for start in range(0, len(splits), in_step):
            group = splits[start : start + in_step]
            found = [self._search(kernel, seen, split.train, resolution, shared) for split in group]
            find_components(found, kernel, self.n_components)
            for split, one in zip(group, found, strict=True):
                yield self._prediction(split, one, responses)

    def _search(
        self,
        kernel: np.ndarray,
        responses: np.ndarray,
        train: np.ndarray,
        resolution: float,
        known: KernelImages | None = None,
    ) -> PlsComponents:
        return PlsComponents(kernel, responses, train, self.n_components, resolution, self.tolerance, known)

    def _seen_from(self, responses: np.ndarray) -> np.ndarray:
        """Responses (n, q), rotated where that saves work; a search that is cut off depends on their axes."""
        return _rotated(responses) if self.tolerance is None else responses

    def _prediction(self, split: SplitRows, one: PlsComponents, responses: np.ndarray) -> Prediction:
        coefficients = one.coefficients(responses)
        images = one.images[:, split.test] - one.images[:, split.train].mean(axis=1, keepdims=True)
        predictions = product(images.T, coefficients) + responses[split.train].mean(axis=0)
        q = responses.shape[1]
        none = np.full(q, np.nan), np.zeros(q, dtype=bool)
        return Prediction(predictions, *none, self._notes(one, len(split.train)))

    def _notes(self, one: PlsComponents, n: int) -> list[str]:
        if not one.exhausted:
            return []
        return [
            f"pls: {one.found} components instead of {self.n_components}: "
            f"they exhaust the {one.exhausted} of {n} training stimuli"
        ]


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
