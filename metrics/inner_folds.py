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
        Why there are fewer folds than asked for, or why they are not balanced although strata were given;
        else empty.
    """
    asked, folds = folds, min(folds, n)
    note = f"{folds} inner folds instead of {asked}: there are {n} training stimuli" if folds < asked else ""
    labels = None if strata is None else np.asarray(strata).astype(str)
    rarest = 0 if labels is None else int(np.unique(labels, return_counts=True)[1].min())
    if labels is not None and rarest >= folds:
        codes = np.unique(labels, return_inverse=True)[1]
        splitter = StratifiedKFold(folds, shuffle=True, random_state=FOLD_SEED)
        return list(splitter.split(np.zeros(n), codes)), note
    if labels is not None:
        note = (
            f"{note}; " * bool(note)
            + f"inner folds not stratified: the rarest of the strata has {rarest} stimuli"
        )
    return list(KFold(folds, shuffle=True, random_state=FOLD_SEED).split(np.zeros(n))), note
