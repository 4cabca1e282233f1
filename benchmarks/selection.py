"""Which layer, chosen without a look at what it is scored on.

The layer that scores best on the test stimuli has, by being the best of many, had luck with them: its score
is too high. Here each split's layer is chosen on inner folds of that split's training stimuli, and only then
scored on its test stimuli (nested cross-validation: Varma & Simon 2006, BMC Bioinformatics 7:91; Cawley &
Talbot 2010, JMLR 11:2079). What the best layer's own score lies above that is the selection bias.

The scores on inner folds belong to one layer (`inner_scores`); the choice follows from those of all layers
(`choose`), and the figures from the choice and the layers' own held-out predictions (`select`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from itprobe.benchmarks.aggregate import per_split
from itprobe.benchmarks.evaluation import Evaluation
from itprobe.benchmarks.noise_corrected import noise_corrected
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
    pearson_r,
    predict_held_out,
    resample,
)
from itprobe.metrics.inference import Difference
from itprobe.metrics.inner_folds import inner_folds as folds_of
from itprobe.metrics.variance import is_constant

INNER_FOLDS = 3
"""Each is one more fit per split, to two thirds of its training stimuli."""
FEWEST_IN_FOLD = 5
"""Stimuli that a layer's r within an inner fold is taken over, at least."""


@dataclass(frozen=True)
class InnerScores:
    """What one layer scores within the training stimuli.

    Attributes
    ----------
    r : ndarray (splits,)
        Mean over an outer split's inner folds of the median r over neuroids; NaN for a layer without variance.
    n_folds : int
    warnings : list of str
        Why the folds are not balanced, though the objects are known.
    """

    r: np.ndarray
    n_folds: int
    warnings: list[str]


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
        What the choice was made by, see `InnerScores`.
    outer_r : ndarray (splits, layers)
        Median r over neuroids on the split's test stimuli, after fitting to all its training stimuli.
    nested_held_out : HeldOut
        Test predictions of the chosen layers.
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
    """

    layers: list[str]
    chosen: list[str]
    inner_r: np.ndarray
    outer_r: np.ndarray
    nested_held_out: HeldOut
    nested: Estimate
    naive_layer: str
    naive: Estimate
    bias: Difference
    n_folds: int

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Chosen layers and in how many splits, the most frequent first."""
        return Counter(self.chosen).most_common()

    @property
    def figures(self) -> dict[str, tuple[float, tuple[float, float]]]:
        """Nested and naive score and the bias, each with its 95 % interval."""
        named = {"nested": self.nested, "naive": self.naive}
        return {name: (one.value, one.ci95) for name, one in named.items()} | {
            "bias": (self.bias.value, self.bias.ci95)
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{layer} ({times})" for layer, times in self.counts)
        return (
            f"layer chosen on {self.n_folds} inner folds in {len(self.chosen)} splits: {counts}; "
            f"r {_text(self.nested)}. Naive, the best of {len(self.layers)} layers on the test stimuli themselves: "
            f"{self.naive_layer}, r {_text(self.naive)}. Selection bias {_text(self.bias)}."
        )


def _text(figure: Estimate | Difference) -> str:
    return f"{figure.value:z.3f} [{figure.ci95[0]:z.3f}, {figure.ci95[1]:z.3f}]"


def inner_scores(
    spaces: Sequence[Gram],
    stimulus_ids: np.ndarray,
    target: Target,
    mapping: Mapping,
    plan: SplitPlan,
    n_folds: int = INNER_FOLDS,
) -> InnerScores:
    """Score a layer on inner folds of each outer split's training stimuli.

    The folds are random, balanced by object where it is known, whatever the outer splits are; those of given
    stimuli are always the same. No response to a split's test stimuli takes part in its scores; their features
    do only through what the mapping takes from them, as in every score.

    Parameters
    ----------
    spaces : sequence of Gram
        The layer's feature spaces (one for all mappings but banded ridge).
    stimulus_ids : ndarray (n,)
        What the rows of the Gram matrices belong to.
    target : Target
    mapping : Mapping
    plan : SplitPlan
        The outer splits.
    n_folds : int

    Raises
    ------
    InputError
        If fewer than two folds are asked for, or features and responses are of different stimuli.
    """
    if n_folds < 2:
        raise InputError(f"choosing a layer needs at least two inner folds, not {n_folds}")
    inner, warnings = inner_splits(plan, target, n_folds)
    if all(is_constant(space) for space in spaces):
        return InnerScores(np.full(len(inner), np.nan), n_folds, warnings)
    response_ids = target.stimuli["stimulus_id"].to_numpy()
    splits = [split for folds in inner for split in folds]
    predicted = predict_held_out(
        spaces, stimulus_ids, target.responses, response_ids, mapping, splits, target.strata
    )
    of_folds = _medians(np.array([pearson_r(one.responses, one.predictions) for one in predicted]))
    ends = np.cumsum([len(folds) for folds in inner])
    # Folds in which no response varies have no r and do not count.
    means = [mean_over_splits(part[:, None])[0] for part in np.split(of_folds, ends[:-1])]
    return InnerScores(np.array(means), n_folds, warnings)


def inner_splits(plan: SplitPlan, target: Target, folds: int) -> tuple[list[list[Split]], list[str]]:
    """For each outer split, the folds of its training stimuli; its test stimuli are in none of them.

    Returns
    -------
    list of list of Split
        Outer splits x folds.
    list of str
        Why the folds are not balanced although the objects are known.
    """
    check_inner_folds(plan, folds)
    rows = pd.Index(target.stimuli["stimulus_id"])
    inner, notes = [], []
    for split in plan.splits:
        strata = None if target.strata is None else target.strata[rows.get_indexer(split.train)]
        parts, note = folds_of(len(split.train), folds, strata)
        inner.append([Split(split.train[train], split.train[test]) for train, test in parts])
        notes.append(note)
    return inner, [f"choosing the layer: {note}" for note in dict.fromkeys(notes) if note]


def check_inner_folds(plan: SplitPlan, folds: int) -> None:
    """Raise `InputError` if inner folds would hold too few stimuli to correlate over."""
    smallest = min(len(split.train) for split in plan.splits)
    if smallest // folds < FEWEST_IN_FOLD:
        raise InputError(
            f"{folds} inner folds of {smallest} training stimuli are too small to choose a layer on; take at most "
            f"{smallest // FEWEST_IN_FOLD}, or 0 to choose none"
        )


def can_choose(inner: Table[str, InnerScores]) -> bool:
    """Whether there is a layer with a score within the training stimuli of every split."""
    return bool(inner) and bool(np.isfinite([one.r for one in inner.values()]).any(axis=0).all())


def choose(inner: Table[str, InnerScores]) -> list[str]:
    """Layer of each split: the best on its inner folds, of equal ones the first.

    Raises
    ------
    InputError
        If there are no layers, or none with a score.
    """
    if not can_choose(inner):
        raise InputError(
            f"no layer can be chosen among {len(inner)}: none has features that differ between stimuli"
        )
    layers, r = list(inner), np.array([one.r for one in inner.values()])
    return [layers[place] for place in np.nanargmax(r, axis=0)]


def select(
    inner: Table[str, InnerScores],
    outer_r: Table[str, np.ndarray],
    held_out: Callable[[str], HeldOut],
    seed: int,
) -> Selection:
    """Choose each split's layer, and set its score beside that of the naive choice.

    Parameters
    ----------
    inner : mapping of str to InnerScores
        Of each layer.
    outer_r : mapping of str to ndarray (splits, q)
        Pearson r of each layer on the test stimuli.
    held_out : callable
        Gives a layer's predictions for the test stimuli; asked for the layers that are chosen only.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        As `choose`.
    """
    chosen = choose(inner)
    layers = list(inner)
    r = np.array([_medians(outer_r[layer]) for layer in layers]).T
    naive_layer = layers[int(np.nanargmax(mean_over_splits(r)))]
    kept = {layer: held_out(layer) for layer in dict.fromkeys([*chosen, naive_layer])}
    nested_held_out = join_held_out(chosen, kept)
    nested_r = r[np.arange(len(chosen)), [layers.index(layer) for layer in chosen]]
    nested, nested_draws = _estimate(nested_r, nested_held_out, seed)
    naive, naive_draws = _estimate(r[:, layers.index(naive_layer)], kept[naive_layer], seed)
    return Selection(
        layers=layers,
        chosen=chosen,
        inner_r=np.array([one.r for one in inner.values()]).T,
        outer_r=r,
        nested_held_out=nested_held_out,
        nested=nested,
        naive_layer=naive_layer,
        naive=naive,
        bias=Difference(naive.value - nested.value, interval(naive_draws - nested_draws)),
        n_folds=next(iter(inner.values())).n_folds,
    )


def join_held_out(chosen: Sequence[str], held_out: Table[str, HeldOut]) -> HeldOut:
    """Predictions of each split's chosen layer for its test stimuli, as those of one candidate."""
    some = held_out[chosen[0]]
    splits = [held_out[layer] for layer in chosen]
    return HeldOut(
        [one.stimulus_ids[k] for k, one in enumerate(splits)],
        [one.responses[k] for k, one in enumerate(splits)],
        [one.predictions[k] for k, one in enumerate(splits)],
        some.neuroid_ids,
        some.animals,
    )


def nested_evaluation(selection: Selection, evaluations: Table[str, Evaluation]) -> Evaluation:
    """Evaluation of a candidate whose layer is chosen anew in each split.

    Parameters
    ----------
    selection : Selection
    evaluations : mapping of str to Evaluation
        Of the chosen layers at least, on the same benchmark.

    Returns
    -------
    Evaluation
        n_features and effective_dimensionality are those of the layer chosen most often (of equally frequent
        ones the first); there are no shares, since layers may have different numbers of feature spaces. What
        a layer's own evaluation warns of stands with the layer's name.
    """
    chosen = list(enumerate(evaluations[layer] for layer in selection.chosen))
    usual = evaluations[selection.counts[0][0]]
    held_out, noise = selection.nested_held_out, usual.target.noise
    warnings = [*usual.plan.warnings]
    for layer, _ in selection.counts:
        own = [note for note in evaluations[layer].warnings if note not in usual.plan.warnings]
        warnings += [note if note.startswith(layer) else f"{layer}: {note}" for note in own]
    return replace(
        usual,
        held_out=held_out,
        pearson_r=np.array([one.pearson_r[k] for k, one in chosen]),
        explained_variance=np.array([one.explained_variance[k] for k, one in chosen]),
        corrected=None if noise is None else noise_corrected(held_out, noise),
        lambdas=np.array([one.lambdas[k] for k, one in chosen]),
        at_edge=np.array([one.at_edge[k] for k, one in chosen]),
        choices=[one.choices[k] for k, one in chosen],
        warnings=[*warnings, str(selection)],
        shares=None,
    )


def _medians(r: np.ndarray) -> np.ndarray:
    """Median over neuroids (splits,) of r (splits, q)."""
    return per_split(r, np.nanmedian)


def _estimate(r: np.ndarray, held_out: HeldOut, seed: int) -> tuple[Estimate, np.ndarray]:
    """Mean of r (splits,) with its interval, and the bootstrap draws behind that."""
    draws = resample(held_out, seed=seed).aggregate("pearson_r", "median")
    return Estimate(float(np.nanmean(r)), interval(draws)), draws
