"""Variance partitioning: what feature spaces explain alone and what they share."""

from collections.abc import Mapping as Table
from itertools import combinations

import numpy as np

Spaces = frozenset[str]
"""Names of some feature spaces."""


def all_subsets(names: list[str]) -> list[Spaces]:
    """Every set of at least one of the names, small ones first."""
    return [frozenset(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]


def variance_parts(explained: Table[Spaces, np.ndarray]) -> dict[Spaces, np.ndarray]:
    """Split the variance that all spaces explain together into unique and shared parts.

    The part of a set T is what every space in T could explain and no space outside T can
    (commonality analysis, by inclusion and exclusion)::

        part(T) = Σ over U ⊆ T of (-1)^(|U| + 1) explained((all - T) ∪ U)

    so that ``part({a}) = explained(all) - explained(all - {a})`` is what only `a` explains, and all parts
    add up to ``explained(all)``. See Mood 1971, Am. Educ. Res. J. 8:191; for encoding models de Heer
    et al. 2017, J. Neurosci. 37:6539-6557.

    Parameters
    ----------
    explained : mapping of frozenset to ndarray
        Held-out explained variance of a joint mapping from each set of spaces, every non-empty one; any
        shape.

    Returns
    -------
    dict of frozenset to ndarray
        Parts by the same sets. A shared part may be negative: two spaces that suppress each other's
        noise explain more together than the sum of both. Nothing is clipped.
    """
    everything = max(explained, key=len)
    parts = {}
    for subset in explained:
        rest = everything - subset
        inner = [frozenset(), *all_subsets(sorted(subset))]
        terms = [
            (-1) ** (len(some) + 1) * explained[rest | some] for some in inner if rest | some
        ]  # without any space nothing is explained
        parts[subset] = np.sum(terms, axis=0)
    return parts
