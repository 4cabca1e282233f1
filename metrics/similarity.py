"""How similar two representations of the same stimuli are: RSA and linear CKA.

Nothing is fitted. RSA compares two dissimilarity matrices (see `itprobe.metrics.rdm`) over all pairs of
stimuli; CKA compares two Gram matrices. Rows of both are the same stimuli in the same order.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau, rankdata

from itprobe.errors import InputError

LEAST_STIMULI = 4
"""Unbiased CKA divides by n - 3; three stimuli have three pairs, and no comparison is worth its name."""


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of two vectors of distances (N,)."""
    return cosine(first - first.mean(), second - second.mean())


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman correlation of two vectors of distances (N,), ties at their mean rank."""
    return pearson(rankdata(first), rankdata(second))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of the angle between two vectors of distances (N,)."""
    return float(ratio(first @ second, first @ first, second @ second))


def kendall_tau_a(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's τ_a, (concordant - discordant) / all pairs of entries: ties count as neither.

    τ_b, which scipy computes in O(N log N), divides by the pairs that are tied in neither vector
    instead: it would prefer models that predict ties (Nili et al. 2014).
    """
    total = len(first) * (len(first) - 1) / 2
    untied = [total - (counts * (counts - 1.0)).sum() / 2 for counts in map(_multiplicities, (first, second))]
    tau_b = kendalltau(first, second, method="asymptotic").statistic
    return float(tau_b * np.sqrt(untied[0] / total) * np.sqrt(untied[1] / total))


def _multiplicities(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_counts=True)[1]


def ratio(cross: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``cross / √(own · other)``; NaN where one of them is not positive: there is no variance to share."""
    own, other = (np.where(np.asarray(variance) > 0, variance, np.nan) for variance in (own, other))
    return cross / np.sqrt(own) / np.sqrt(other)


VECTOR_COMPARISONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "spearman": spearman,
    "pearson": pearson,
    "kendall": kendall_tau_a,
    "cosine": cosine,
}
WHITENED_COMPARISONS = {"whitened_correlation": True, "whitened_cosine": False}
"""Whether the mean distance is taken off first, by name."""
COMPARISONS = (*VECTOR_COMPARISONS, *WHITENED_COMPARISONS)


def compare_rdms(first: np.ndarray, second: np.ndarray, method: str = "spearman") -> float:
    """Similarity of two dissimilarity matrices of the same stimuli, over all pairs of them.

    Parameters
    ----------
    first, second : ndarray (n, n)
        Symmetric. Stimuli without distances (a row of NaN in either) are left out.
    method : {"spearman", "pearson", "kendall", "cosine", "whitened_correlation", "whitened_cosine"}
        ``kendall`` is τ_a. The whitened ones weigh the pairs by the inverse of the covariance that
        noise of equal size in every stimulus gives their squared distances,
        V = (C Cᵀ)∘(C Cᵀ) with C the matrix of contrasts between any two stimuli (Diedrichsen et al.
        2021, Neurons Behav. Data Anal. Theory; rsatoolbox's ``cosine_cov`` and ``corr_cov``).
        The quadratic form d₁ᵀ V⁻¹ d₂ equals, up to a factor, the product of the doubly centred
        matrices, so that V (n²/2 x n²/2) is never formed.

    Returns
    -------
    float
        NaN where a matrix has no variance over the pairs, or fewer than 4 stimuli are left.

    Raises
    ------
    InputError
        If the shapes differ, single distances are missing, or the method is unknown.
    """
    first, second = shared_stimuli(first, second, method)
    if len(first) < LEAST_STIMULI or is_constant(first) or is_constant(second):
        return float("nan")
    if method in WHITENED_COMPARISONS:
        return float(whitened_values(first, second, WHITENED_COMPARISONS[method])[0])
    pairs = np.triu_indices(len(first), 1)
    return float(VECTOR_COMPARISONS[method](first[pairs], second[pairs]))


def shared_stimuli(first: np.ndarray, second: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Both matrices over the stimuli that have distances in both."""
    if method not in COMPARISONS:
        raise InputError(f"unknown comparison of RDMs {method!r}; there are {', '.join(COMPARISONS)}")
    if first.shape != second.shape or first.ndim != 2 or len(first) != first.shape[1]:
        raise InputError(
            f"RDMs must be square and of the same stimuli, these are {first.shape} and {second.shape}"
        )
    defined = [np.isnan(rdm).sum(axis=1) < len(rdm) - 1 for rdm in (first, second)]
    kept = np.flatnonzero(defined[0] & defined[1])
    if len(kept) < len(first):
        first, second = first[np.ix_(kept, kept)], second[np.ix_(kept, kept)]
    for rdm in (first, second):
        if np.isnan(rdm).any():
            raise InputError(
                f"an RDM lacks {int(np.isnan(rdm).sum()) // 2} single distances; leave those stimuli out"
            )
    return first, second


def has_variance(rdm: np.ndarray) -> bool:
    """Whether there is anything to compare another matrix with: enough stimuli, not all equally far apart."""
    defined = np.flatnonzero(np.isnan(rdm).sum(axis=1) < len(rdm) - 1)
    return len(defined) >= LEAST_STIMULI and not is_constant(rdm[np.ix_(defined, defined)])


def is_constant(rdm: np.ndarray) -> bool:
    """Whether all distances are equal but for rounding."""
    off_diagonal = rdm[np.triu_indices(len(rdm), 1)]
    return bool(np.ptp(off_diagonal) <= 1e-12 * np.abs(off_diagonal).max())


def linear_cka(first: np.ndarray, second: np.ndarray, unbiased: bool = False) -> float:
    """Linear centred kernel alignment of two Gram matrices of the same stimuli.

    Parameters
    ----------
    first, second : ndarray (n, n)
        Inner products about any origin (`Gram.values` will do).
    unbiased : bool
        False: Kornblith et al. 2019, ICML. It grows with the number of features over stimuli.
        True: each product is Song et al.'s (2012, JMLR 13:1393) unbiased estimate HSIC₁, in which no
        stimulus meets itself; it can be negative.

    Returns
    -------
    float
        NaN where a matrix has no variance (or none that the unbiased estimate finds).

    Raises
    ------
    InputError
        If the shapes differ or there are fewer than 4 stimuli.
    """
    return float(cka_values(first, second, unbiased)[0])


def whitened_values(first: np.ndarray, second: np.ndarray, correlation: bool) -> np.ndarray:
    """Whitened cosine or correlation (1 + n,): of all stimuli, then with each left out."""
    n = len(first)
    sizes = np.append(n, np.full(n, n - 1.0))

    def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        both, dot, sum_one, sum_other = _sums(one, other)
        centred = both - 2 * dot / sizes + sum_one * sum_other / sizes**2
        if correlation:  # what the mean distance over pairs, with 0 on the diagonal, contributes
            centred = centred - sum_one * sum_other / (sizes**2 * (sizes - 1))
        return centred

    return ratio(product(first, second), product(first, first), product(second, second))


def cka_values(first: np.ndarray, second: np.ndarray, unbiased: bool) -> np.ndarray:
    """CKA (1 + n,): of all stimuli, then with each left out."""
    n = len(first)
    if first.shape != second.shape or first.shape != (n, n) or n < LEAST_STIMULI:
        raise InputError(
            f"CKA needs two square Gram matrices of the same {LEAST_STIMULI} or more stimuli, these are "
            f"{first.shape} and {second.shape}"
        )
    sizes = np.append(n, np.full(n, n - 1.0))
    rounding = [(n * 1e-14 * np.abs(gram).max()) ** 2 for gram in (first, second)]
    first, second = _centred(first), _centred(second)  # changes neither estimate but its accuracy
    if unbiased:
        off_diagonal = ~np.eye(n, dtype=bool)
        first, second = first * off_diagonal, second * off_diagonal

    def hsic(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        both, dot, sum_one, sum_other = _sums(one, other)
        if unbiased:
            return both + sum_one * sum_other / ((sizes - 1) * (sizes - 2)) - 2 * dot / (sizes - 2)
        return both - 2 * dot / sizes + sum_one * sum_other / sizes**2

    own, other = hsic(first, first), hsic(second, second)
    return ratio(
        hsic(first, second), np.where(own > rounding[0], own, 0), np.where(other > rounding[1], other, 0)
    )


def _centred(gram: np.ndarray) -> np.ndarray:
    means = gram.mean(axis=0)
    return gram - means[:, None] - means[None, :] + means.mean()


def _sums(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What products of centred matrices consist of (4, 1 + n): of all rows, then with each left out.

    With row sums a = A1 and b = B1: ``Σ A∘B``, ``a · b``, ``Σ A`` and ``Σ B``.
    """
    a, b = first.sum(axis=1), second.sum(axis=1)
    shared = np.einsum("ij,ij->i", first, second)
    corner_a, corner_b = first.diagonal(), second.diagonal()
    both = shared.sum() - 2 * shared + corner_a * corner_b
    dot = a @ b - first @ b - second @ a + shared - (a - corner_a) * (b - corner_b)
    sum_a, sum_b = a.sum() - 2 * a + corner_a, b.sum() - 2 * b + corner_b
    whole = np.array([shared.sum(), a @ b, a.sum(), b.sum()])
    return np.column_stack([whole, np.array([both, dot, sum_a, sum_b])])
