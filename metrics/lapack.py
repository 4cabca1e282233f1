"""The BLAS and LAPACK that scipy brings, called so that other Python threads run meanwhile.

scipy's own wrappers hold Python's interpreter lock while LAPACK works, so that two threads never compute at the
same time. The same routines lie open for compiled code in ``scipy.linalg.cython_blas`` and ``cython_lapack``; ctypes
calls them from there and lets go of the lock. All matrices are float64 and column-major; checks are the caller's.
"""

import ctypes
from collections.abc import Callable

import numpy as np
from scipy.linalg import cython_blas, cython_lapack

_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.restype, _name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
_address_of = ctypes.pythonapi.PyCapsule_GetPointer
_address_of.restype, _address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _routine(module: object, name: str) -> Callable[..., None]:
    """A routine that takes letters, whole numbers, floats and arrays, all handed on by address."""
    capsule = module.__pyx_capi__[name]  # type: ignore[attr-defined]
    signature = _name_of(capsule)
    arguments = signature.count(b",") + 1
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(_address_of(capsule, signature))

    def run(*values: str | int | float | np.ndarray | ctypes.c_int) -> None:
        held = [_by_address(value) for value in values]
        call(*[x.ctypes.data if isinstance(x, np.ndarray) else ctypes.addressof(x) for x in held])

    return run


def _by_address(value: str | int | float | np.ndarray | ctypes.c_int) -> np.ndarray | ctypes._SimpleCData:
    if isinstance(value, str):
        return ctypes.c_char(value.encode())
    if isinstance(value, float):
        return ctypes.c_double(value)
    return ctypes.c_int(int(value)) if isinstance(value, int | np.integer) else value


_dgemm, _dsyrk = _routine(cython_blas, "dgemm"), _routine(cython_blas, "dsyrk")
_dpotrf, _dpotrs = _routine(cython_lapack, "dpotrf"), _routine(cython_lapack, "dpotrs")
_dsytrd, _dstevd = _routine(cython_lapack, "dsytrd"), _routine(cython_lapack, "dstevd")
_dormtr = _routine(cython_lapack, "dormtr")

_BLOCK = 64


def multiply(left: np.ndarray, right: np.ndarray, trans_left: bool, trans_right: bool) -> np.ndarray:
    """Product (a, b), column-major, of column-major matrices, each transposed first where so wished."""
    a, inner = left.shape[::-1] if trans_left else left.shape
    others, b = right.shape[::-1] if trans_right else right.shape
    if inner != others:  # the routine would read beyond its arrays
        raise ValueError(f"matrices of {a} x {inner} and {others} x {b} have no product")
    out = np.zeros((a, b), order="F")
    if out.size and inner:
        letters = ("T" if trans_left else "N"), ("T" if trans_right else "N")
        _dgemm(*letters, a, b, inner, 1.0, left, len(left), right, len(right), 0.0, out, a)
    return out


def add_products(block: np.ndarray, sign: float, factors: np.ndarray) -> None:
    """Add ``sign * factors.T @ factors``, factors (k, m), to the upper triangle of `block` (m, m) in place."""
    k, m = factors.shape
    _dsyrk("U", "T", m, k, sign, factors, k, 1.0, block, m)


def solve_positive_definite(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve for `right` (m, q), from the upper triangle of `matrix` (m, m); both may be overwritten.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """
    m, q = right.shape
    right = np.asfortranarray(right)
    failed = ctypes.c_int()
    _dpotrf("U", m, matrix, m, failed)
    if failed.value:
        raise np.linalg.LinAlgError(f"minor {failed.value} of a matrix is not positive definite")
    _dpotrs("U", m, q, matrix, m, right, m, failed)
    return right


def leading_eigenpairs(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues (k,), ascending, and eigenvectors (n, k) of a symmetric matrix (n, n), overwritten.

    The steps of LAPACK's ``dsyevd``, of which the last, from the eigenvectors of the tridiagonal matrix to those of
    `matrix`, is taken for these k alone; LAPACK's own way to ask for a part of them takes longer than all of them.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the eigenvalues do not converge.
    """
    n = len(matrix)
    failed = ctypes.c_int()
    diagonal, beside, scales = np.empty(n), np.empty(n), np.empty(n)
    work = np.empty(_BLOCK * n)
    _dsytrd("L", n, matrix, n, diagonal, beside, scales, work, len(work), failed)
    of_tridiagonal, integers = np.empty((n, n), order="F"), np.empty(3 + 5 * n, np.intc)
    work = np.empty(1 + 4 * n + n**2)
    _dstevd("V", n, diagonal, beside, of_tridiagonal, n, work, len(work), integers, len(integers), failed)
    if failed.value:
        raise np.linalg.LinAlgError("the eigenvalues of a kernel did not converge")
    vectors = of_tridiagonal[:, n - k :].copy(order="F")
    work = np.empty(_BLOCK * (k + _BLOCK + 1))  # the block's own triangle lies there, too
    _dormtr("L", "L", "N", n, k, matrix, n, scales, vectors, n, work, len(work), failed)
    return diagonal[n - k :], vectors
