"""Matrix products by the BLAS that scipy's LAPACK uses.

numpy and scipy each bring their own OpenBLAS with its own threads. Those of one go on spinning for some
milliseconds after a product; a factorisation by the other then finds the cores taken, and a loop that
alternates between the two runs at half its speed.
"""

import numpy as np

from itprobe.metrics.lapack import multiply


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left @ right`` of float64 matrices (a, b) and (b, c), column-major.

    Nothing is copied where both are contiguous, row-major or column-major.
    """
    (a, trans_a), (b, trans_b) = (
        (matrix, False) if matrix.flags.f_contiguous else (matrix.T, True) for matrix in (left, right)
    )
    return multiply(np.asfortranarray(a, float), np.asfortranarray(b, float), trans_a, trans_b)
