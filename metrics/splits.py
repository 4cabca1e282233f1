"""Which stimuli train a mapping and which test it.

A split names stimuli by their stimulus_id, never by row, so that features and responses cannot be
misaligned by it.
"""

from collections.abc import Callable
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
        The stimulus-set column that is balanced over the parts; None where none could be.
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
    _need(stimuli, 20, "brainscore")
    test_size = len(stimuli) - int(0.9 * len(stimuli))
    labels, warnings = _strata(stimuli, least=2, parts=test_size)
    kind = ShuffleSplit if labels is None else StratifiedShuffleSplit
    splitter = kind(n_splits=N_SPLITS, train_size=0.9, random_state=seed)
    return _plan(stimuli, splitter.split(np.zeros(len(stimuli)), labels), labels, warnings)


def kfold(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """10 folds that together test every stimulus once, stratified by object."""
    _need(stimuli, 2 * N_SPLITS, "kfold")
    stimuli = stimuli.sort_values("stimulus_id")
    labels, warnings = _strata(stimuli, least=N_SPLITS, parts=len(stimuli))
    kind = KFold if labels is None else StratifiedKFold
    splitter = kind(n_splits=N_SPLITS, shuffle=True, random_state=seed)
    return _plan(stimuli, splitter.split(np.zeros(len(stimuli)), labels), labels, warnings)


def course(stimuli: pd.DataFrame, seed: int) -> SplitPlan:
    """One split of 81 % train and 9 % test; the last 10 % stay untouched, as in the course NX414.

    A recording that brings its own parts (a stimulus column `split` with train, val and test) keeps
    them: what it calls validation is the test part here, since its test part has no responses.
    """
    if "split" in stimuli and set(stimuli["split"]) >= {"train", "val"}:
        ids = stimuli["stimulus_id"].to_numpy()
        own = stimuli["split"].to_numpy()
        return SplitPlan([Split(ids[own == "train"], ids[own == "val"])], None, [])
    _need(stimuli, 20, "course")
    stimuli = stimuli.sort_values("stimulus_id")
    size = round(len(stimuli) / 10)
    labels, warnings = _strata(stimuli, least=4, parts=round(0.9 * size))
    rows = np.arange(len(stimuli))
    rest, _ = train_test_split(rows, test_size=size, random_state=seed, stratify=labels)
    train, test = train_test_split(
        rest, test_size=0.1, random_state=seed, stratify=None if labels is None else labels[rest]
    )
    return _plan(stimuli, [(train, test)], labels, warnings)


def _plan(stimuli: pd.DataFrame, rows: object, labels: np.ndarray | None, warnings: list[str]) -> SplitPlan:
    ids = stimuli["stimulus_id"].to_numpy()
    splits = [Split(ids[train], ids[test]) for train, test in rows]  # type: ignore[attr-defined]
    return SplitPlan(splits, None if labels is None else STRATIFY_BY, warnings)


SPLITS: dict[str, Callable[[pd.DataFrame, int], SplitPlan]] = {
    "brainscore": brainscore,
    "course": course,
    "kfold": kfold,
}
