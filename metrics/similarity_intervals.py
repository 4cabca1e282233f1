"""How sure a similarity of two representations is: bootstrap and jackknife over stimuli.

Stimuli are what was sampled, so they are what is resampled, never pairs of them. A stimulus drawn twice
forms a pair with itself whose distance is 0 in both matrices: such pairs would feign similarity and are
left out (Nili et al. 2014, PLoS Comput. Biol. 10:e1003553). Where a statistic has no form without them
(the whitened comparisons, CKA), the interval comes from the jackknife, which repeats no stimulus.

An interval is about what the statistic estimates with that many stimuli: biased CKA and the whitened
cosine lie above their value for infinitely many stimuli, and so do their intervals.
"""

from collections.abc import Iterator

import numpy as np
from scipy.stats import t as student_t

from itprobe.errors import InputError
from itprobe.metrics.inference import LEVEL, N_BOOTSTRAP
from itprobe.metrics.similarity import (
    LEAST_STIMULI,
    WHITENED_COMPARISONS,
    cka_values,
    is_constant,
    kendall_tau_a,
    ratio,
    shared_stimuli,
    whitened_values,
)


def bootstrap_rsa(
    first: np.ndarray, second: np.ndarray, method: str = "spearman", n: int = N_BOOTSTRAP, seed: int = 0
) -> np.ndarray:
    """Similarities of two RDMs over resampled stimuli.

    Stimuli are drawn with replacement; a pair counts as often as its two stimuli were drawn together,
    and pairs of a stimulus with itself are left out. The draws depend on the stimuli's number and the
    seed only: two candidates compared with the same recording get the same draws, so that
    differences of draws are paired.

    Parameters
    ----------
    first, second : ndarray (n_stimuli, n_stimuli)
    method : {"spearman", "pearson", "kendall", "cosine"}
        For 3200 stimuli a draw takes milliseconds by ``pearson`` and ``cosine`` (matrix products),
        tenths of a second by ``spearman`` (ranks anew in each draw), seconds by ``kendall``.
    n : int
        Number of draws B.
    seed : int

    Returns
    -------
    ndarray (B,)

    Raises
    ------
    InputError
        As `compare_rdms`; and for the whitened methods, whose covariance has no form for repeated
        stimuli: take `jackknife_rsa`.
    """
    if method in WHITENED_COMPARISONS:
        raise InputError(
            f"no bootstrap over repeated stimuli for {method!r}; its interval is the jackknife's"
        )
    first, second = shared_stimuli(first, second, method)
    size = len(first)
    if size < LEAST_STIMULI or is_constant(first) or is_constant(second):
        return np.full(n, np.nan)
    counts = np.random.default_rng([seed, 3]).multinomial(size, np.full(size, 1 / size), size=n)
    if method in ("pearson", "cosine"):
        return _weighted_cosines(first, second, counts.astype(np.float64), centred=method == "pearson")
    draw = {"spearman": _spearman_draws, "kendall": _kendall_draws}[method]
    return np.fromiter(draw(first, second, counts), dtype=np.float64, count=n)


def _weighted_cosines(first: np.ndarray, second: np.ndarray, counts: np.ndarray, centred: bool) -> np.ndarray:
    """Cosine or correlation (B,) over pairs of which (i, j) counts c_i c_j times, i ≠ j."""
    off_diagonal = ~np.eye(len(first), dtype=bool)
    if centred:  # for accuracy; each draw has its own mean
        first, second = (rdm - rdm.mean(where=off_diagonal) for rdm in (first, second))
    first, second = first * off_diagonal, second * off_diagonal

    def over_pairs(values: np.ndarray) -> np.ndarray:
        return np.einsum("bi,bi->b", counts @ values, counts)

    cross, own, other = over_pairs(first * second), over_pairs(first**2), over_pairs(second**2)
    if centred:
        total = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
        sums = over_pairs(first), over_pairs(second)
        cross = cross - sums[0] * sums[1] / total
        own, other = own - sums[0] ** 2 / total, other - sums[1] ** 2 / total
    return ratio(cross, own, other)


def _spearman_draws(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> Iterator[float]:
    """Spearman correlation of each draw; distances are ranked among those that the draw repeats."""
    rows, columns = np.triu_indices(len(first), 1)
    codes = [np.unique(rdm[rows, columns], return_inverse=True)[1] for rdm in (first, second)]
    for count in counts.astype(np.float64):
        weights = count[rows] * count[columns]
        total = weights.sum()
        ranks = []
        for code in codes:
            tied = np.bincount(code, weights)
            middle = np.cumsum(tied) - tied / 2  # the mean rank of tied values, less one half
            ranks.append(middle[code] - total / 2)
        weighted = weights * ranks[0]
        yield float(ratio(weighted @ ranks[1], weighted @ ranks[0], (weights * ranks[1]) @ ranks[1]))


def _kendall_draws(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> Iterator[float]:
    rows, columns = np.triu_indices(len(first), 1)
    distances = first[rows, columns], second[rows, columns]
    for count in counts:
        repeats = count[rows] * count[columns]
        yield kendall_tau_a(np.repeat(distances[0], repeats), np.repeat(distances[1], repeats))


def jackknife_rsa(first: np.ndarray, second: np.ndarray, method: str = "whitened_correlation") -> np.ndarray:
    """Whitened similarities of two RDMs with each stimulus left out in turn, at the cost of one.

    Parameters
    ----------
    first, second : ndarray (n, n)
    method : {"whitened_correlation", "whitened_cosine"}

    Returns
    -------
    ndarray (n',)
        Of the n' stimuli that have distances; see `jackknife_interval`.

    Raises
    ------
    InputError
        As `compare_rdms`; and for other methods, which have `bootstrap_rsa`.
    """
    if method not in WHITENED_COMPARISONS:
        raise InputError(f"the jackknife is for {' and '.join(WHITENED_COMPARISONS)}, not {method!r}")
    first, second = shared_stimuli(first, second, method)
    if len(first) <= LEAST_STIMULI or is_constant(first) or is_constant(second):
        return np.full(len(first), np.nan)
    return whitened_values(first, second, WHITENED_COMPARISONS[method])[1:]


def jackknife_cka(first: np.ndarray, second: np.ndarray, unbiased: bool = False) -> np.ndarray:
    """Linear CKA with each stimulus left out in turn, at the cost of one.

    Parameters
    ----------
    first, second : ndarray (n, n)
    unbiased : bool

    Returns
    -------
    ndarray (n,)
        See `jackknife_interval`.

    Raises
    ------
    InputError
        As `linear_cka`.
    """
    return cka_values(first, second, unbiased)[1:]


def jackknife_interval(value: float, leave_one_out: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval about a value, its variance by the jackknife: (n - 1)/n Σ (θ_i - θ̄)².

    Parameters
    ----------
    value : float
    leave_one_out : ndarray (n,)
        The value with each stimulus left out in turn. For the difference between two candidates both
        are differences.
    level : float
    """
    n = len(leave_one_out)
    error = np.sqrt((n - 1) * np.var(leave_one_out))
    reach = student_t.ppf((1 + level) / 2, n - 1) * error
    return float(value - reach), float(value + reach)
