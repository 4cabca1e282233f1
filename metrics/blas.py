"""Matrix products by the BLAS that scipy's LAPACK uses.

numpy and scipy each bring their own OpenBLAS with its own threads. Those of one go on spinning for some
milliseconds after a product; a factorisation by the other then finds the cores taken, and a loop that
alternates between the two runs at half its speed.
"""

import numpy as np
from scipy.linalg import blas


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left @ right`` of float64 matrices (a, b) and (b, c), column-major.

    Nothing is copied where both are contiguous, row-major or column-major.
    """
    (a, trans_a), (b, trans_b) = (
        (matrix, 0) if matrix.flags.f_contiguous else (matrix.T, 1) for matrix in (left, right)
    )
    return blas.dgemm(1.0, a, b, trans_a=trans_a, trans_b=trans_b)
