"""Which layer, chosen without a look at what it is scored on.

The layer that scores best on the test stimuli has, by being the best of many, had luck with them: its score
is too high. Here each split's layer is chosen on inner folds of that split's training stimuli, and only then
scored on its test stimuli (nested cross-validation: Varma & Simon 2006, BMC Bioinformatics 7:91; Cawley &
Talbot 2010, JMLR 11:2079). What the best layer's own score lies above that is the selection bias.
"""

from collections import Counter
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from itprobe.benchmarks.aggregate import per_split
from itprobe.benchmarks.target import Target
from itprobe.errors import InputError
from itprobe.metrics import (
    Gram,
    HeldOut,
    Mapping,
    Split,
    SplitPlan,
    interval,
    mean_over_splits,
    paired_difference,
    pearson_r,
    predict_held_out,
    resample,
)
from itprobe.metrics.crossvalidate import SplitResult
from itprobe.metrics.inference import Difference
from itprobe.metrics.inner_folds import inner_folds as folds_of
from itprobe.metrics.variance import is_constant
from itprobe.progress import progress_bar

INNER_FOLDS = 5


@dataclass(frozen=True)
class Estimate:
    """A median r (mean over splits of the median over neuroids) and its bootstrap interval.

    Attributes
    ----------
    value : float
    ci95 : tuple of float
        Stimuli and neuroids resampled, the layers as they were chosen.
    """

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Selection:
    """Layers chosen within the training stimuli, and what they score beside the naive choice.

    Attributes
    ----------
    layers : list of str
        The candidates, in the order given.
    chosen : list of str
        The layer of each outer split.
    inner_r : ndarray (splits, layers)
        What the choice was made by: mean over a split's inner folds of the median r over neuroids. NaN for
        layers without variance, which are never chosen.
    outer_r : ndarray (splits, layers)
        Median r over neuroids on the split's test stimuli, after fitting to all its training stimuli.
    nested_held_out, naive_held_out : HeldOut
        Test predictions of the chosen layers, and of the naive choice.
    nested : Estimate
        Score of the chosen layers: the honest figure.
    naive_layer : str
        The layer with the best outer score.
    naive : Estimate
        That score, with an interval that knows nothing of the choice.
    bias : Difference
        Naive minus nested, paired over stimuli and neuroids.
    n_folds : int
        Inner folds.
    warnings : list of str
        Why the inner folds are not balanced, though the objects are known.
    """

    layers: list[str]
    chosen: list[str]
    inner_r: np.ndarray
    outer_r: np.ndarray
    nested_held_out: HeldOut
    naive_held_out: HeldOut
    nested: Estimate
    naive_layer: str
    naive: Estimate
    bias: Difference
    n_folds: int
    warnings: list[str]

    def __str__(self) -> str:
        counts = ", ".join(f"{layer} ({times})" for layer, times in Counter(self.chosen).most_common())
        return (
            f"layer chosen on {self.n_folds} inner folds in {len(self.chosen)} splits: {counts}; "
            f"r {_text(self.nested)}. Naive, the best of {len(self.layers)} layers on the test stimuli themselves: "
            f"{self.naive_layer}, r {_text(self.naive)}. Selection bias {_text(self.bias)}."
        )


def _text(figure: Estimate | Difference) -> str:
    return f"{figure.value:.3f} [{figure.ci95[0]:.3f}, {figure.ci95[1]:.3f}]"


def choose_layer(
    grams: Table[str, Sequence[Gram]],
    stimulus_ids: np.ndarray,
    target: Target,
    mapping: Mapping,
    plan: SplitPlan,
    seed: int,
    inner_folds: int = INNER_FOLDS,
) -> Selection:
    """Choose each split's layer on inner folds of its training stimuli and score it on its test stimuli.

    The inner folds are random, balanced by object where it is known, whatever the outer splits are. Of equal
    layers the first is chosen. No response to a split's test stimuli takes part in its choice; their features
    do only through what the mapping takes from them, as in every score.

    Parameters
    ----------
    grams : mapping of str to sequence of Gram
        Layer to its feature spaces (one for all mappings but banded ridge); each is asked for once, so that a
        mapping may load them when they are needed.
    stimulus_ids : ndarray (n,)
        What the rows of all Gram matrices belong to.
    target : Target
    mapping : Mapping
    plan : SplitPlan
        The outer splits.
    seed : int
        Of the bootstrap; the folds of given stimuli are always the same.
    inner_folds : int
        Each fit of a mapping to a split becomes this many more.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If there are no layers, none of them varies, fewer than two folds are asked for, or features and
        responses are of different stimuli.
    """
    layers = list(grams)
    if not layers or inner_folds < 2:
        raise InputError(
            f"choosing a layer needs at least one layer and two inner folds, not {len(layers)} and {inner_folds}"
        )
    inner, warnings = inner_splits(plan, target, inner_folds)
    n_outer, n_inner = len(plan.splits), [len(splits) for splits in inner]
    inner_r, outer_r = np.full((2, n_outer, len(layers)), np.nan)
    outer: dict[str, list[SplitResult]] = {}
    # The outer splits go along: what a mapping computes for all splits at once serves them too.
    splits = [split for splits in inner for split in splits] + plan.splits
    with progress_bar(len(layers), f"choosing the layer: {mapping.name}", "layer") as bar:
        for column, layer in enumerate(layers):
            results = _predict(grams[layer], stimulus_ids, target, mapping, splits)
            if results:
                r = per_split(
                    np.array([pearson_r(s.responses, s.predictions) for s in results]), np.nanmedian
                )
                of_folds, outer_r[:, column] = np.split(r, [sum(n_inner)])
                inner_r[:, column] = _mean_of_each(of_folds, n_inner)
                outer[layer] = results[sum(n_inner) :]
            bar.update()
    if not np.isfinite(inner_r).any(axis=1).all():
        raise InputError("no layer can be chosen: none has features that differ between stimuli")
    chosen = [layers[column] for column in np.nanargmax(inner_r, axis=1)]
    naive_layer = layers[int(np.nanargmax(mean_over_splits(outer_r)))]
    nested = _held_out([outer[layer][index] for index, layer in enumerate(chosen)], target)
    naive = _held_out(outer[naive_layer], target)
    return Selection(
        layers=layers,
        chosen=chosen,
        inner_r=inner_r,
        outer_r=outer_r,
        nested_held_out=nested,
        naive_held_out=naive,
        nested=_estimate(nested, seed),
        naive_layer=naive_layer,
        naive=_estimate(naive, seed),
        bias=paired_difference(naive, nested, seed=seed),
        n_folds=inner_folds,
        warnings=warnings,
    )


def inner_splits(plan: SplitPlan, target: Target, folds: int) -> tuple[list[list[Split]], list[str]]:
    """For each outer split, the folds of its training stimuli; its test stimuli are in none of them.

    Returns
    -------
    list of list of Split
        Outer splits x folds.
    list of str
        Why the folds are not balanced although the objects are known.
    """
    rows = pd.Index(target.stimuli["stimulus_id"])
    inner, notes = [], []
    for split in plan.splits:
        strata = None if target.strata is None else target.strata[rows.get_indexer(split.train)]
        parts, note = folds_of(len(split.train), folds, strata)
        inner.append([Split(split.train[train], split.train[test]) for train, test in parts])
        notes.append(note)
    return inner, [f"choosing the layer: {note}" for note in dict.fromkeys(notes) if note]


def _predict(
    spaces: Sequence[Gram], stimulus_ids: np.ndarray, target: Target, mapping: Mapping, splits: list[Split]
) -> list[SplitResult]:
    """Held-out predictions of all splits; none for a layer without variance."""
    if all(is_constant(space) for space in spaces):
        return []
    response_ids = target.stimuli["stimulus_id"].to_numpy()
    return list(
        predict_held_out(spaces, stimulus_ids, target.responses, response_ids, mapping, splits, target.strata)
    )


def _mean_of_each(of_folds: np.ndarray, n_inner: list[int]) -> list[float]:
    """Mean over each outer split's own folds; folds in which no response varies have no r and do not count."""
    parts = np.split(of_folds, np.cumsum(n_inner)[:-1])
    return [float(mean_over_splits(part[:, None])[0]) for part in parts]


def _held_out(results: list[SplitResult], target: Target) -> HeldOut:
    return HeldOut(
        [result.stimulus_ids for result in results],
        [result.responses for result in results],
        [result.predictions for result in results],
        target.neuroids["neuroid_id"].to_numpy(),
        target.neuroids["animal"].to_numpy(),
    )


def _estimate(held_out: HeldOut, seed: int) -> Estimate:
    plain = resample(held_out, stimuli=False, neuroids=False, n=1).aggregate("pearson_r", "median")
    return Estimate(float(plain[0]), interval(resample(held_out, seed=seed).aggregate("pearson_r", "median")))
