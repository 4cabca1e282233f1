"""Gram matrices: all that a linear mapping needs to know about a layer's features.

For n stimuli and p features, K = X Xᵀ (n x n) determines ridge regression, PCA, PLS, linear CKA and
Euclidean distances exactly, however large p is; X itself is read once and not kept.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas

# One float32 product sums this many features before it is added up in float64: longer sums lose
# accuracy, shorter ones speed.
CHUNK_FEATURES = 12_000


@dataclass(frozen=True)
class Gram:
    """Inner products of the features of n stimuli, about a fixed origin m.

    Attributes
    ----------
    values : ndarray (n, n), float64
        ``(x_i - m) · (x_j - m)``. The origin m is the mean over the stimuli; it only serves accuracy,
        since every mapping centres on its own training stimuli.
    origin_products : ndarray (n,), float64
        ``x_i · m``.
    origin_norm : float
        ``m · m``.
    feature_sums : ndarray (n,), float64
        Sum of each stimulus's features.
    n_features : int
        p.
    resolution : float
        Relative accuracy of `values`: what is below ``resolution * largest eigenvalue`` is rounding.
    """

    values: np.ndarray
    origin_products: np.ndarray
    origin_norm: float
    feature_sums: np.ndarray
    n_features: int
    resolution: float

    def raw(self) -> np.ndarray:
        """Inner products about zero, ``x_i · x_j``, shape (n, n)."""
        return self.values + self.origin_products[:, None] + self.origin_products[None, :] - self.origin_norm


def gram_matrix(features: np.ndarray, chunk_features: int = CHUNK_FEATURES) -> Gram:
    """Compute the Gram matrix of features, chunk by chunk over the features.

    Parameters
    ----------
    features : ndarray (n, p)
        Any float type; may be a memory map, of which one chunk of columns is read at a time.
    chunk_features : int
        Number of features in one product.

    Returns
    -------
    Gram
        Products of float32 features are computed in float32 per chunk and added up in float64; where
        p <= n, or where the features are float64, everything is float64 (then K has a null space, in
        which float32 rounding would pass for signal).
    """
    n, p = features.shape
    double = features.dtype == np.float64 or p <= n
    work = np.float64 if double else np.float32
    syrk = blas.dsyrk if double else blas.ssyrk
    upper = np.zeros((n, n))
    origin_products, feature_sums, origin_norm = np.zeros(n), np.zeros(n), 0.0
    for start in range(0, p, chunk_features):
        chunk = np.asarray(features[:, start : start + chunk_features], dtype=work)
        origin = chunk.mean(axis=0, dtype=np.float64)
        feature_sums += chunk.sum(axis=1, dtype=np.float64)
        origin_products += chunk @ origin
        origin_norm += float(origin @ origin)
        # BLAS wants column-major: the transpose of a row-major array is that without a copy.
        upper += syrk(1.0, (chunk - origin.astype(work)).T, trans=1)
    values = np.triu(upper) + np.triu(upper, 1).T
    return Gram(values, origin_products, origin_norm, feature_sums, p, 1e-13 if double else 2e-7)
