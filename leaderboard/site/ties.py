"""Which candidates of a table can be told apart, and the ranks that follow.

Two candidates differ where the percentile interval of their paired difference in median r, over draws of stimuli and
neuroids that both share, leaves out 0. A candidate's rank is 1 + the number of candidates that lie wholly above it.
"Cannot be told apart" is not transitive, so ranks count who is above and groups of equals are not formed.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from itprobe.metrics import interval
from itprobe.metrics.inference import LEVEL

MOST_NAMED = 12
"""Tied candidates that are named one by one."""


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands among those that it was compared with.

    Attributes
    ----------
    rank : int
        1 + the number of other candidates that lie wholly above.
    tied : int
        Number of other candidates that cannot be told apart from it.
    compared : int
        Number of other candidates that it was compared with.
    ties : tuple of int
        Places of the first `MOST_NAMED` candidates that it is tied with, each by its first row.
    """

    rank: int
    tied: int
    compared: int
    ties: tuple[int, ...]


def standings(draws: Sequence[np.ndarray], candidates: Sequence[Hashable]) -> list[Standing]:
    """Rank candidates.

    Parameters
    ----------
    draws : sequence of ndarray (B,)
        Draws of each one's score, paired: draw b is of the same resample for all.
    candidates : sequence of hashable (C,)
        Rows of one candidate are not compared with each other and count once for the others: it is above where one
        of its rows is.
    """
    names = {name: place for place, name in enumerate(dict.fromkeys(candidates))}
    own = np.array([names[name] for name in candidates], dtype=int)
    first_rows = np.unique(own, return_index=True)[1]
    above = wholly_above(_stacked(draws))
    higher, lower = np.zeros((2, len(names), len(own)), dtype=bool)
    np.logical_or.at(higher, own, above)
    np.logical_or.at(lower, own, above.T)
    tied = ~(higher | lower)
    for either in (higher, tied):
        either[own, np.arange(len(own))] = False
    return [
        Standing(
            1 + int(higher[:, row].sum()),
            int(tied[:, row].sum()),
            len(names) - 1,
            tuple(int(place) for place in first_rows[tied[:, row]][:MOST_NAMED]),
        )
        for row in range(len(own))
    ]


def wholly_above(draws: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Matrix (C, C) of bool: the interval of the difference of row and column lies above 0.

    The lower end of a percentile interval lies between two neighbouring order statistics. Both are above 0, or
    neither is, for nearly all pairs, which the number of draws that are not above 0 tells; only where 0 lies between
    them the interval itself is taken.
    """
    count, n = draws.shape
    below = int((1 - level) / 2 * (n - 1))
    above = np.zeros((count, count), dtype=bool)
    partial = np.isnan(draws).any(axis=1)
    for i in range(count):
        not_above = (draws[i] <= draws).sum(axis=1)
        above[i] = not_above <= below
        doubtful = (not_above == below + 1) | partial | partial[i]
        for j in np.flatnonzero(doubtful):
            above[i, j] = interval(draws[i] - draws[j], level)[0] > 0
    return above


def _stacked(draws: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(draws) if len(draws) else np.zeros((0, 1))
