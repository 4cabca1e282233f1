"""scikit-learn estimators on top of the Gram solvers."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y

from itprobe.metrics.ridge import RidgeMapping


class GramRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
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
    Equal to ``sklearn.linear_model.RidgeCV(alphas, fit_intercept=True)``, at a cost that does not
    grow with p once the Gram matrix is there.
    """

    def __init__(
        self, alphas: str | ArrayLike = "auto", alpha_per_target: bool = True, kernel: str = "linear"
    ) -> None:
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.kernel = kernel

    def fit(self, X: ArrayLike, y: ArrayLike) -> "GramRidgeCV":
        """Fit to features or kernel X and responses y, (n,) or (n, q)."""
        X, y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        if self.kernel not in ("linear", "precomputed"):
            raise ValueError(f"kernel must be 'linear' or 'precomputed', not {self.kernel!r}")
        if self.kernel == "precomputed" and X.shape[0] != X.shape[1]:
            raise ValueError(f"a precomputed kernel must be square to fit, this one is {X.shape}")
        self.n_features_in_ = X.shape[1]
        single = y.ndim == 1
        if self.kernel == "linear":
            self._origin = X.mean(axis=0)
            self._features = X - self._origin
            X = self._features @ self._features.T
        lambdas = None if isinstance(self.alphas, str) else tuple(np.atleast_1d(np.asarray(self.alphas)))
        responses = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        fitted = RidgeMapping(lambdas, self.alpha_per_target).fit(X, responses)
        self._fitted = fitted
        solution, choice = fitted.solution, fitted.choice
        self.dual_coef_ = solution.dual[:, 0] if single else solution.dual
        self.intercept_ = solution.intercept[0] if single else solution.intercept
        self.alpha_ = solution.lambdas[0] if single else solution.lambdas
        self.at_edge_ = choice.at_edge[0] if single else choice.at_edge
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict responses, (m,) or (m, q), for features or kernel rows X."""
        check_is_fitted(self)
        X = check_array(X, dtype=np.float64)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but GramRidgeCV is expecting {self.n_features_in_} features "
                "as input"
            )
        kernel = X if self.kernel == "precomputed" else (X - self._origin) @ self._features.T
        predictions = self._fitted.predict(kernel)
        return predictions[:, 0] if self.dual_coef_.ndim == 1 else predictions

    def _more_tags(self) -> dict[str, object]:
        return {"pairwise": self.kernel == "precomputed", "multioutput": True}
