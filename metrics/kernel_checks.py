"""Whether a matrix that someone hands in can be a matrix of inner products at all."""

import numpy as np
from scipy.linalg import LinAlgError, cholesky, eigvalsh

from itprobe.errors import InputError

ROUNDING = 1e-5
"""Asymmetry and negative eigenvalues up to this, relative to the kernel's size, are float32 rounding."""

_BLOCK_ROWS = 256


def check_kernel(kernel: np.ndarray) -> None:
    """Refuse a kernel that is not symmetric or, once centred, not positive semi-definite beyond rounding.

    Rounding is `ROUNDING` times the largest entry for the asymmetry, and times the Frobenius norm for
    eigenvalues: about what products of float32 features summed in float32 can be off by. Centring
    comes first because every mapping centres: minus half of squared distances will do.

    Parameters
    ----------
    kernel : ndarray (n, n)
        Inner products of n stimuli about any origin. Left as it is.

    Raises
    ------
    InputError
        If it is not square or not finite; by how much it is asymmetric; how negative its most negative
        eigenvalue is relative to the largest. A Cholesky factorisation decides (n³/3 flops); eigenvalues are
        computed only for the message.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise InputError(f"a kernel must be a square matrix of inner products, this one is {kernel.shape}")
    if not np.isfinite(kernel).all():
        missing = int((~np.isfinite(kernel)).sum())
        raise InputError(
            f"the kernel has {missing} entries that are NaN or infinite; leave those stimuli out"
        )
    check_symmetric(kernel)
    centred = _centred(kernel)
    rounding = ROUNDING * float(np.linalg.norm(kernel))
    if rounding == 0 or _is_positive_definite(centred + rounding * np.eye(len(kernel))):
        return
    eigenvalues = eigvalsh(centred, check_finite=False)
    raise InputError(
        f"the kernel is not positive semi-definite: its most negative eigenvalue, after centring, is "
        f"{eigenvalues[0]:.2g}, {-eigenvalues[0] / np.abs(eigenvalues).max():.2g} times the largest in size; "
        "no features have such inner products: give similarities that are inner products (X @ X.T), not "
        "distances or correlations over pairwise complete data"
    )


def check_symmetric(kernel: np.ndarray) -> None:
    """Refuse a square kernel whose entries differ from their mirror images by more than `ROUNDING` of the largest.

    Raises
    ------
    InputError
        By how much.
    """
    largest = max(float(kernel.max(initial=0)), -float(kernel.min(initial=0)))
    blocks = (slice(start, start + _BLOCK_ROWS) for start in range(0, len(kernel), _BLOCK_ROWS))
    asymmetry = max((float(np.abs(kernel[rows] - kernel[:, rows].T).max()) for rows in blocks), default=0.0)
    if asymmetry > ROUNDING * largest:
        raise InputError(
            f"the kernel is not symmetric: entries differ from their mirror images by up to {asymmetry:.2g}, "
            f"{asymmetry / largest:.1%} of the largest entry; give the inner products of the stimuli with "
            "themselves (X @ X.T), rows and columns in the same order"
        )


def _centred(kernel: np.ndarray) -> np.ndarray:
    means = (kernel.mean(axis=0) + kernel.mean(axis=1)) / 2
    return (kernel + kernel.T) / 2 - means - means[:, None] + means.mean()


def _is_positive_definite(matrix: np.ndarray) -> bool:
    """Whether all eigenvalues are above 0, up to n · 1e-16 of the largest (Higham 2002, theorem 10.7)."""
    try:
        cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return False
    return True
