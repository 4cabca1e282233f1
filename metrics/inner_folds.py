"""Folds within the training stimuli, by which lambdas are chosen."""

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

FOLD_SEED = 0
"""Seed of the inner folds' shuffling: the same stimuli always fall into the same folds."""


def inner_folds(
    n: int, folds: int, strata: np.ndarray | None
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Shuffled folds of n training stimuli, balanced by `strata` where every stratum has `folds` members.

    Returns
    -------
    list of (ndarray, ndarray)
        Rows to train on and rows held out.
    str
        Why the folds are not balanced although strata were given; else empty.
    """
    folds = min(folds, n)
    rarest = 0 if strata is None else int(np.unique(strata, return_counts=True)[1].min())
    if strata is not None and rarest >= folds:
        codes = np.unique(strata, return_inverse=True)[1]
        splitter = StratifiedKFold(folds, shuffle=True, random_state=FOLD_SEED)
        return list(splitter.split(np.zeros(n), codes)), ""
    note = (
        "" if strata is None else f"inner folds not stratified: the rarest of the strata has {rarest} stimuli"
    )
    return list(KFold(folds, shuffle=True, random_state=FOLD_SEED).split(np.zeros(n))), note
