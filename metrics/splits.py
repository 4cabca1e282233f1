"""Which stimuli train a mapping and which test it.

A split names stimuli by their stimulus_id, never by row, so that features and responses cannot be
misaligned by it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
    train_test_split,
)

from itprobe.errors import InputError

STRATIFY_BY = "object_name"
N_SPLITS = 10
LEAST_GROUPS = 3
LEAST_TRAIN, LEAST_TEST = 10, 3
"""Fewest stimuli of a part: a correlation over fewer than 3 says nothing."""
FEW_TEST = 10
"""Test parts smaller than this are worth a warning."""
DEFAULT_SEED = 1
"""Brain-Score's own random_state."""


@dataclass(frozen=True)
class Split:
    """Stimulus ids of one split; stimuli in neither part are left out of it."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class SplitPlan:
    """The splits of a benchmark.

    Attributes
    ----------
    splits : list of Split
    coord : str or None
        The stimulus-set column that is balanced over the parts, or, in splits by group, the one whose
        groups never stand in both parts; None where there is none.
    warnings : list of str
    """

    splits: list[Split]
    coord: str | None
    warnings: list[str]


def _strata(stimuli: pd.DataFrame, least: int, parts: int) -> tuple[np.ndarray | None, list[str]]:
    """Labels to balance by, or None with the reason where that is impossible."""
    if STRATIFY_BY not in stimuli:
        return None, [f"not stratified: the stimulus set has no column {STRATIFY_BY}"]
    labels = stimuli[STRATIFY_BY].astype(str).to_numpy()
    counts = np.unique(labels, return_counts=True)[1]
    if counts.min() < least or len(counts) > parts:
        return None, [
            f"not stratified by {STRATIFY_BY}: {len(counts)} objects, the rarest with {counts.min()} stimuli"
        ]
    return labels, []


def _balanced(labels: np.ndarray | None) -> str | None:
    return None if labels is None else STRATIFY_BY


def _need(stimuli: pd.DataFrame, least: int, name: str) -> None:
    if len(stimuli) < least:
        raise InputError(
            f"split {name!r} needs at least {least} stimuli with responses, there are {len(stimuli)}"
        )


def brainscore(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """10 random splits, 90 % train and 10 % test, stratified by object: Brain-Score's cross-validation.

    The rows are taken in the order given, which must be Brain-Score's averaged order to draw the
    very splits that Brain-Score draws.
    """
    _need(stimuli, 10 * LEAST_TEST, "brainscore")
    test_size = len(stimuli) - int(0.9 * len(stimuli))
    labels, warnings = _strata(stimuli, least=2, parts=test_size)
    kind = ShuffleSplit if labels is None else StratifiedShuffleSplit
    splitter = kind(n_splits=N_SPLITS, train_size=0.9, random_state=seed)
    return _plan(stimuli, splitter.split(np.zeros(len(stimuli)), labels), _balanced(labels), warnings)


def kfold(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """10 folds that together test every stimulus once, stratified by object."""
    _need(stimuli, LEAST_TEST * N_SPLITS, "kfold")
    stimuli = stimuli.sort_values("stimulus_id")
    labels, warnings = _strata(stimuli, least=N_SPLITS, parts=len(stimuli))
    kind = KFold if labels is None else StratifiedKFold
    splitter = kind(n_splits=N_SPLITS, shuffle=True, random_state=seed)
    return _plan(stimuli, splitter.split(np.zeros(len(stimuli)), labels), _balanced(labels), warnings)


def course(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """One split of 81 % train and 9 % test; the last 10 % stay untouched, as in the course NX414.

    A recording that brings its own parts (a stimulus column `split` with train, val and test) keeps
    them: what it calls validation is the test part here, since its test part has no responses.
    """
    if "split" in stimuli and set(stimuli["split"]) >= {"train", "val"}:
        ids = stimuli["stimulus_id"].to_numpy()
        own = stimuli["split"].to_numpy()
        return SplitPlan([Split(ids[own == "train"], ids[own == "val"])], None, [])
    _need(stimuli, 12 * LEAST_TEST, "course")
    stimuli = stimuli.sort_values("stimulus_id")
    size = round(len(stimuli) / 10)
    labels, warnings = _strata(stimuli, least=4, parts=round(0.9 * size))
    rows = np.arange(len(stimuli))
    rest, _ = train_test_split(rows, test_size=size, random_state=seed, stratify=labels)
    train, test = train_test_split(
        rest, test_size=0.1, random_state=seed, stratify=None if labels is None else labels[rest]
    )
    return _plan(stimuli, [(train, test)], _balanced(labels), warnings)


def object_out(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """10 folds of whole objects (`object_name`) that together test every stimulus once.

    How well a mapping carries over to objects that it was not fitted on. Objects go to folds at
    random, the folds as even in stimuli as that allows; with fewer than 10 objects each is a fold.
    """
    return _group_folds(stimuli, seed, "object_out", "object_name", N_SPLITS)


def category_out(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """One split for each category (`category_name`), which is tested and trained on all others.

    Nothing is random about it; the seed plays no part.
    """
    return _group_folds(stimuli, seed, "category_out", "category_name", len(stimuli))


def background_out(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """10 folds by background (`background_id`): no image is tested on a background seen in training.

    Where every stimulus has a background of its own these are plain random folds.
    """
    return _group_folds(stimuli, seed, "background_out", "background_id", N_SPLITS)


def variation(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """Train on the stimuli of low `variation` and test on the high ones; then the other way round.

    The two parts are the lowest level and all levels above it, however many there are: only the
    lowest (objects in one pose, in the centre) differs in kind. Nothing is random about it; the seed
    plays no part.
    """
    _need(stimuli, 20, "variation")
    stimuli = stimuli.sort_values("stimulus_id")
    levels = pd.to_numeric(_groups(stimuli, "variation", "variation"), errors="coerce")
    if np.isnan(levels).any():
        raise InputError("split 'variation' needs numbers in the stimulus set's column variation")
    if levels.min() == levels.max():
        raise InputError(
            f"split 'variation' needs two levels of variation, all {len(stimuli)} stimuli have {levels.min():g}"
        )
    low, high = np.flatnonzero(levels == levels.min()), np.flatnonzero(levels > levels.min())
    return _group_plan(stimuli, [(low, high), (high, low)], "variation", "variation")


def _groups(stimuli: pd.DataFrame, name: str, column: str) -> np.ndarray:
    """Group of each stimulus."""
    if column not in stimuli:
        there = ", ".join(sorted(str(c) for c in stimuli.columns))
        raise InputError(
            f"split {name!r} needs the stimulus-set column {column}; this stimulus set has the columns {there}"
        )
    missing = int(stimuli[column].isna().sum())
    if missing:
        raise InputError(
            f"split {name!r} needs {column} of every stimulus, {missing} of {len(stimuli)} have none"
        )
    return stimuli[column].astype(str).to_numpy()


def _group_folds(stimuli: pd.DataFrame, seed: int, name: str, column: str, folds: int) -> SplitPlan:
    """Folds of whole groups: large groups first, each to the fold that has the fewest stimuli yet."""
    _need(stimuli, 20, name)
    stimuli = stimuli.sort_values("stimulus_id")
    groups, code = np.unique(_groups(stimuli, name, column), return_inverse=True)
    if len(groups) < LEAST_GROUPS:
        raise InputError(
            f"split {name!r} needs at least {LEAST_GROUPS} groups by {column}, there are {len(groups)}: "
            + ", ".join(groups)
        )
    sizes = np.bincount(code)
    fold_of, filled = np.arange(len(groups)), np.zeros(folds, dtype=int)
    if len(groups) > folds:
        drawn = np.random.default_rng(seed).permutation(len(groups))
        for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:
            fold_of[group] = filled.argmin()
            filled[fold_of[group]] += sizes[group]
    fold = fold_of[code]
    rows = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]
    return _group_plan(stimuli, rows, name, column)


def _group_plan(
    stimuli: pd.DataFrame, rows: list[tuple[np.ndarray, np.ndarray]], name: str, column: str
) -> SplitPlan:
    train, test = (min(len(parts[side]) for parts in rows) for side in (0, 1))
    if train < LEAST_TRAIN or test < LEAST_TEST:
        raise InputError(
            f"split {name!r} by {column} leaves {train} stimuli to train on or {test} to test on; it needs "
            f"at least {LEAST_TRAIN} and {LEAST_TEST}"
        )
    return _plan(stimuli, rows, column, [])


def _plan(
    stimuli: pd.DataFrame,
    rows: Iterable[tuple[np.ndarray, np.ndarray]],
    coord: str | None,
    warnings: list[str],
) -> SplitPlan:
    ids = stimuli["stimulus_id"].to_numpy()
    splits = [Split(ids[train], ids[test]) for train, test in rows]
    smallest = min(len(split.test) for split in splits)
    if smallest < FEW_TEST:
        warnings = [*warnings, f"test parts of only {smallest} stimuli: correlations within them say little"]
    return SplitPlan(splits, coord, warnings)


SPLITS: dict[str, Callable[[pd.DataFrame, int], SplitPlan]] = {
    "brainscore": brainscore,
    "course": course,
    "kfold": kfold,
    "object_out": object_out,
    "category_out": category_out,
    "variation": variation,
    "background_out": background_out,
}
