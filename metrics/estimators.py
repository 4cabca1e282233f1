"""scikit-learn estimators on top of the Gram solvers."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, check_X_y

from itprobe.metrics.dual import DualSolution
from itprobe.metrics.kernel_checks import check_kernel
from itprobe.metrics.pcr import PcrMapping
from itprobe.metrics.pls import PlsMapping
from itprobe.metrics.ridge import RidgeMapping


class _GramEstimator(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """What the estimators share: features or a kernel in, a dual solution with intercept out."""

    kernel: str

    def _kernel_and_responses(self, X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Check what `fit` was given; returns a kernel (n, n) and responses (n, q)."""
        features, responses = check_X_y(
            X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2
        )
        if self.kernel not in ("linear", "precomputed"):
            raise ValueError(f"kernel must be 'linear' or 'precomputed', not {self.kernel!r}")
        if self.kernel == "precomputed":
            check_kernel(features)
        self.n_features_in_ = features.shape[1]
        self._single = responses.ndim == 1
        responses = np.asarray(responses, dtype=np.float64).reshape(len(features), -1)
        if self.kernel == "precomputed":
            return features, responses
        self._origin = features.mean(axis=0)
        self._features = features - self._origin
        return self._features @ self._features.T, responses

    def _keep(self, solution: DualSolution) -> None:
        self._solution = solution
        self.dual_coef_ = self._shaped(solution.dual)
        self.intercept_ = self._shaped(solution.intercept)

    def _shaped(self, values: np.ndarray) -> Any:
        """`values` (..., q) as they are, or without their last axis where y was one-dimensional."""
        return values[..., 0] if self._single else values

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict responses, (m,) or (m, q), for features or kernel rows X."""
        check_is_fitted(self)
        features = check_array(X, dtype=np.float64)
        if features.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {features.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        if self.kernel == "linear":
            features = (features - self._origin) @ self._features.T
        return self._shaped(self._solution.predict(features))

    def _more_tags(self) -> dict[str, object]:
        return {"pairwise": self.kernel == "precomputed", "multioutput": True}


class GramRidgeCV(_GramEstimator):
    """Ridge regression with intercept, solved through the Gram matrix, lambda by leave-one-out.

    Parameters
    ----------
    alphas : "auto" or array-like of float
        Lambdas to choose from; "auto" is a logarithmic grid that grows until no optimum lies on its
        edge, with the mean predictor (infinity) as a competitor.
    alpha_per_target : bool
        One lambda per column of y, or one for all.
    kernel : {"linear", "precomputed"}
        Whether X holds features (n, p) or inner products, (n, n) in `fit` and (m, n) in `predict`.
    folds : int, optional
        Inner folds that choose lambda; leave-one-out if not given.

    Attributes
    ----------
    alpha_ : float or ndarray (q,)
    dual_coef_ : ndarray (n,) or (n, q)
    intercept_ : float or ndarray (q,)
        Belongs to features about the training mean ("linear") or about the kernel's own origin
        ("precomputed").
    at_edge_ : bool or ndarray (q,)
        Whether the best lambda was the first or last that could be tried.
    n_features_in_ : int

    Notes
    -----
    Without folds equal to ``sklearn.linear_model.RidgeCV(alphas, fit_intercept=True)``, at a cost that does not
    grow with p once the Gram matrix is there.
    """

    def __init__(
        self,
        alphas: str | ArrayLike = "auto",
        alpha_per_target: bool = True,
        kernel: str = "linear",
        folds: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.kernel = kernel
        self.folds = folds

    def fit(self, X: ArrayLike, y: ArrayLike, strata: ArrayLike | None = None) -> "GramRidgeCV":
        """Fit to features or kernel X and responses y, (n,) or (n, q); folds are balanced by `strata` (n,)."""
        K, responses = self._kernel_and_responses(X, y)
        labels = None if strata is None else np.asarray(strata)
        check_consistent_length(K, labels)
        mapping = RidgeMapping(read_alphas(self.alphas), self.alpha_per_target, self.folds)
        fitted = mapping.fit(K, responses, strata=labels)
        self._keep(fitted.solution)
        self.alpha_, self.at_edge_ = self._shaped(fitted.lambdas), self._shaped(fitted.at_edge)
        return self


class GramPCR(_GramEstimator):
    """Principal component regression: ridge on the leading components of X, lambda by k-fold.

    Parameters
    ----------
    n_components : int
        Clipped, with a warning, to what X allows.
    alphas : "auto" or array-like of float
        Lambdas to choose from, as in `GramRidgeCV`.
    alpha_per_target : bool
        One lambda per column of y, or one for all.
    folds : int
        Inner folds that choose lambda.
    kernel : {"linear", "precomputed"}
        Whether X holds features (n, p) or inner products, (n, n) in `fit` and (m, n) in `predict`.

    Attributes
    ----------
    n_components_ : int
        Components used.
    alpha_, dual_coef_, intercept_, at_edge_, n_features_in_
        As in `GramRidgeCV`.

    Notes
    -----
    Equal to ``PCA(n_components, svd_solver="full")`` followed by ``GridSearchCV(Ridge(), ...,
    scoring="neg_mean_squared_error")`` on the components.
    """

    def __init__(
        self,
        n_components: int = 1000,
        alphas: str | ArrayLike = "auto",
        alpha_per_target: bool = True,
        folds: int = 5,
        kernel: str = "linear",
    ) -> None:
        self.n_components = n_components
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.folds = folds
        self.kernel = kernel

    def fit(self, X: ArrayLike, y: ArrayLike, strata: ArrayLike | None = None) -> "GramPCR":
        """Fit to features or kernel X and responses y, (n,) or (n, q); `strata` (n,) balance the folds."""
        K, responses = self._kernel_and_responses(X, y)
        labels = None if strata is None else np.asarray(strata)
        check_consistent_length(K, labels)
        mapping = PcrMapping(self.n_components, read_alphas(self.alphas), self.folds, self.alpha_per_target)
        fitted = mapping.fit(K, responses, strata=labels)
        _warn(fitted.notes)
        self._keep(fitted.solution)
        self.n_components_ = fitted.n_components
        self.alpha_, self.at_edge_ = self._shaped(fitted.lambdas), self._shaped(fitted.at_edge)
        return self


class GramPLS(_GramEstimator):
    """Partial least squares regression, centred but not scaled, converged exactly.

    Parameters
    ----------
    n_components : int
        Clipped, with a warning, to what X and y allow.
    kernel : {"linear", "precomputed"}
        Whether X holds features (n, p) or inner products, (n, n) in `fit` and (m, n) in `predict`.

    Attributes
    ----------
    n_components_ : int
        Components used.
    dual_coef_, intercept_, n_features_in_
        As in `GramRidgeCV`.

    Notes
    -----
    Equal to ``sklearn.cross_decomposition.PLSRegression(n_components, scale=False)`` with a `tol` so
    small that it converges.
    """

    def __init__(self, n_components: int = 25, kernel: str = "linear") -> None:
        self.n_components = n_components
        self.kernel = kernel

    def fit(self, X: ArrayLike, y: ArrayLike) -> "GramPLS":
        """Fit to features or kernel X and responses y, (n,) or (n, q)."""
        K, responses = self._kernel_and_responses(X, y)
        fitted = PlsMapping(self.n_components).fit(K, responses)
        _warn(fitted.notes)
        self._keep(fitted.solution)
        self.n_components_ = fitted.n_components
        return self


def read_alphas(alphas: str | ArrayLike) -> tuple[float, ...] | None:
    """Grid of a mapping; None is the automatic one.

    Raises
    ------
    ValueError
        If it is neither "auto" nor one positive number at least.
    """
    if isinstance(alphas, str) and alphas == "auto":
        return None
    try:
        grid = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    except ValueError:
        grid = np.empty(0)
    if grid.ndim != 1 or not grid.size or not (np.isfinite(grid) & (grid > 0)).all():
        raise ValueError(f"alphas must be 'auto' or positive numbers, not {alphas!r}")
    return tuple(grid.tolist())


def _warn(notes: list[str]) -> None:
    """Show a fit's notes to whoever called `fit`."""
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=3)
