"""scikit-learn estimator of banded ridge."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, check_X_y

from itprobe.metrics.banded import BandedRidgeMapping
from itprobe.metrics.estimators import read_alphas
from itprobe.metrics.kernel_checks import check_kernel


class GramBandedRidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression with a penalty of its own for each feature space, chosen by cross-validation.

    Parameters
    ----------
    groups : array-like (p,), optional
        Feature space of each column of X, where ``kernel="linear"``; one space if not given.
    alphas : "auto" or array-like of float
        Lambdas to choose from, for kernels scaled to a mean eigenvalue of 1.
    alpha_per_target : bool
        Lambda and shares per column of y, or the same for all.
    folds : int, optional
        Inner folds; leave-one-out if not given.
    candidates : array-like (c, m), optional
        Shares of the m spaces to try; log-spaced on the simplex by default.
    kernel : {"linear", "precomputed"}
        X holds features (n, p), or one matrix of inner products per space: (m, n, n) in `fit` and
        (m, k, n) in `predict`.

    Attributes
    ----------
    shares_ : ndarray (m,) or (m, q)
        Share of each space in the kernel; NaN where the mean of y is the prediction.
    groups_ : ndarray (m,)
        Labels of the spaces, in the order of `shares_`.
    alpha_ : float or ndarray (q,)
    at_edge_ : bool or ndarray (q,)
    n_features_in_ : int
        With ``kernel="precomputed"``, the number of training samples.

    Notes
    -----
    The problem of himalaya's ``GroupRidgeCV`` and ``MultipleKernelRidgeCV``, over deterministic candidates.
    """

    def __init__(
        self,
        groups: ArrayLike | None = None,
        alphas: str | ArrayLike = "auto",
        alpha_per_target: bool = True,
        folds: int | None = None,
        candidates: ArrayLike | None = None,
        kernel: str = "linear",
    ) -> None:
        self.groups = groups
        self.alphas = alphas
        self.alpha_per_target = alpha_per_target
        self.folds = folds
        self.candidates = candidates
        self.kernel = kernel

    def fit(self, X: ArrayLike, y: ArrayLike, strata: ArrayLike | None = None) -> "GramBandedRidgeCV":
        """Fit to features or kernels X and responses y, (n,) or (n, q); `strata` (n,) balance the folds."""
        kernels, responses = self._precomputed(X, y) if self.kernel == "precomputed" else self._linear(X, y)
        labels = None if strata is None else np.asarray(strata)
        check_consistent_length(responses, labels)
        fitted = self._mapping().fit(kernels, responses.reshape(len(responses), -1), strata=labels)
        self._single, self._fitted = responses.ndim == 1, fitted
        self.shares_, self.alpha_ = self._shaped(fitted.shares), self._shaped(fitted.lambdas)
        self.at_edge_ = self._shaped(fitted.at_edge)
        return self

    def _shaped(self, values: np.ndarray) -> Any:
        """`values` (..., q) as they are, or without their last axis where y was one-dimensional."""
        return values[..., 0] if self._single else values

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict responses, (k,) or (k, q), for features or kernel rows X."""
        check_is_fitted(self)
        if self.kernel == "precomputed":
            kernels = list(check_array(X, dtype=np.float64, allow_nd=True))
            expected = len(self.groups_), self.n_features_in_
            if kernels[0].ndim != 2 or (len(kernels), kernels[0].shape[1]) != expected:
                raise ValueError(
                    f"kernels to predict from must be of shape ({expected[0]}, k, {expected[1]})"
                )
        else:
            features = check_array(X, dtype=np.float64)
            if features.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {features.shape[1]} features, but {type(self).__name__} is expecting "
                    f"{self.n_features_in_} features as input"
                )
            centred = features - self._origin
            kernels = [centred[:, mask] @ self._features[:, mask].T for mask in self._masks]
        return self._shaped(self._fitted.predict(kernels))

    def _mapping(self) -> BandedRidgeMapping:
        alphas = read_alphas(self.alphas)
        candidates = None
        if self.candidates is not None:
            candidates = tuple(tuple(map(float, row)) for row in np.atleast_2d(np.asarray(self.candidates)))
        return BandedRidgeMapping(alphas, self.alpha_per_target, self.folds, candidates)

    def _linear(self, X: ArrayLike, y: ArrayLike) -> tuple[list[np.ndarray], np.ndarray]:
        """Kernels (m, n, n) and responses from features."""
        if self.kernel != "linear":
            raise ValueError(f"kernel must be 'linear' or 'precomputed', not {self.kernel!r}")
        features, responses = check_X_y(
            X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2
        )
        self.n_features_in_ = features.shape[1]
        groups = np.zeros(features.shape[1]) if self.groups is None else np.asarray(self.groups)
        if groups.shape != (features.shape[1],):
            raise ValueError(f"groups must name the space of each of {features.shape[1]} features")
        self.groups_ = np.unique(groups)
        self._masks = [groups == group for group in self.groups_]
        self._origin = features.mean(axis=0)
        self._features = features - self._origin
        kernels = [self._features[:, mask] @ self._features[:, mask].T for mask in self._masks]
        return kernels, np.asarray(responses, dtype=np.float64)

    def _precomputed(self, X: ArrayLike, y: ArrayLike) -> tuple[list[np.ndarray], np.ndarray]:
        """Kernels (m, n, n) and responses as they were given."""
        kernels = check_array(X, dtype=np.float64, allow_nd=True)
        if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2]:
            raise ValueError(
                f"precomputed kernels must be of shape (spaces, n, n), these are {kernels.shape}"
            )
        for kernel in kernels:
            check_kernel(kernel)
        responses = check_array(y, dtype=np.float64, ensure_2d=False)
        check_consistent_length(kernels[0], responses)
        self.n_features_in_ = kernels.shape[1]
        self.groups_ = np.arange(len(kernels))
        return list(kernels), responses

    def _more_tags(self) -> dict[str, object]:
        return {"multioutput": True}
