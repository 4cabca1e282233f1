"""Eigendecomposition of Gram matrices with the intercept taken out."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from itprobe.metrics.blas import product
from itprobe.metrics.lapack import leading_eigenpairs


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of the Gram matrix of n stimuli on the space orthogonal to the vector of ones.

    Attributes
    ----------
    vectors : ndarray (n, d)
        Orthonormal columns, each orthogonal to the vector of ones. With d < n - 1 the directions that
        are left out are null directions of the Gram matrix (or, after `leading`, dropped ones).
    eigenvalues : ndarray (d,)
        Descending, clipped at 0.
    floor : float
        The smallest lambda that rounding errors of the Gram matrix allow.
    """

    vectors: np.ndarray
    eigenvalues: np.ndarray
    floor: float

    @property
    def rank(self) -> int:
        """Number of eigenvalues above rounding."""
        return int(np.sum(self.eigenvalues > self.floor))

    def leading(self, k: int) -> "Spectrum":
        """The k leading components, or as many as are above rounding."""
        k = min(k, self.rank)
        return Spectrum(self.vectors[:, :k], self.eigenvalues[:k], self.floor)


def centred_spectrum(kernel: np.ndarray, resolution: float = 1e-13, leading: int | None = None) -> Spectrum:
    """Decompose a kernel on the space orthogonal to ones.

    A Householder reflection turns the vector of ones into the first axis; what is left after dropping
    that axis is the kernel centred on these n rows, without an eigenvalue for the constant.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Inner products of the n stimuli about any origin.
    resolution : float
        Relative accuracy of `kernel`, see `Gram`.
    leading : int, optional
        Only so many leading components, which takes less time.

    Returns
    -------
    Spectrum
        With all n - 1 directions, null ones included, unless fewer are asked for.
    """
    n = len(kernel)
    normal = np.full(n, 1 / np.sqrt(n))
    normal[0] += 1
    beta = 2 / (normal @ normal)
    projected = beta * product(kernel, normal[:, None])[:, 0]
    half = projected - beta / 2 * (normal @ projected) * normal
    centred = kernel[1:, 1:] - np.outer(normal[1:], half[1:])
    centred -= np.outer(half[1:], normal[1:])
    if leading is None or leading >= n - 1:
        eigenvalues, inner = eigh(centred, driver="evd", overwrite_a=True, check_finite=False)
    else:
        eigenvalues, inner = leading_eigenpairs(centred.T, leading)
    eigenvalues = np.maximum(eigenvalues[::-1], 0)
    vectors = np.vstack([np.zeros(len(eigenvalues)), inner[:, ::-1]])
    vectors -= beta * np.outer(normal, product(normal[None, :], vectors))
    return Spectrum(vectors, eigenvalues, rounding_floor(kernel, eigenvalues[0], resolution))


def centred_kernel(kernel: np.ndarray) -> np.ndarray:
    """Inner products (n, n) about the mean of the n stimuli, from those about any origin."""
    means = kernel.mean(axis=0)
    centred = kernel - (means - means.mean())
    centred -= means[:, None]
    return centred


def thin_spectrum(features: np.ndarray, floor: float) -> Spectrum:
    """Decompose the Gram matrix of few features by way of their covariance, at a cost of n p².

    Parameters
    ----------
    features : ndarray (n, p)
        p < n; need not be centred.
    floor : float
        Eigenvalues up to this are rounding.

    Returns
    -------
    Spectrum
        Without null directions.
    """
    centred = features - features.mean(axis=0)
    eigenvalues, axes = eigh(product(centred.T, centred), driver="evd", check_finite=False)
    kept = np.flatnonzero(eigenvalues > floor)[::-1]
    vectors = product(centred, axes[:, kept] / np.sqrt(eigenvalues[kept]))
    return Spectrum(vectors, eigenvalues[kept], floor)


def rounding_floor(kernel: np.ndarray, top: float, resolution: float) -> float:
    """Size of what is rounding in a kernel with the largest centred eigenvalue `top`."""
    return max(resolution * max(float(top), float(kernel.diagonal().max())), float(np.finfo(float).tiny))
