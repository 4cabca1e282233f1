"""One candidate layer on one benchmark: predictions for held-out stimuli, scores, and how sure they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from itprobe.benchmarks.aggregate import number
from itprobe.benchmarks.inter_animal import InterAnimalCeiling
from itprobe.benchmarks.noise_corrected import NoiseCorrected, noise_corrected
from itprobe.benchmarks.summary import SECTIONS, Summary, summarise
from itprobe.benchmarks.target import Target
from itprobe.errors import InputError
from itprobe.metrics import (
    Gram,
    HeldOut,
    Mapping,
    Similarity,
    SplitPlan,
    WholeSetMapping,
    explained_variance,
    pearson_r,
    predict_held_out,
)
from itprobe.metrics.crossvalidate import SplitResult, check_same_stimuli
from itprobe.metrics.diagnostics import effective_dimensionality
from itprobe.metrics.lambda_search import LambdaChoice
from itprobe.metrics.variance import is_constant
from itprobe.progress import progress_bar

if TYPE_CHECKING:
    from itprobe.models.fitted import FitReport


@dataclass(frozen=True)
class Evaluation:
    """What came out of mapping one layer's features to a target.

    Attributes
    ----------
    held_out : HeldOut
    pearson_r, explained_variance : ndarray (splits, q)
        NaN all over, as the predictions, where the features have no variance.
    corrected : NoiseCorrected or None
        None where there are no repetitions.
    lambdas : ndarray (splits, q)
        Infinity: the mean response was the best prediction.
    at_edge : ndarray (splits, q) of bool
    choices : list of LambdaChoice or None
        How lambda was chosen in each split; None for mappings without one.
    n_features : int or None
        None for candidates that predict responses themselves.
    effective_dimensionality : float or None
        None where the features have no variance, or several spaces were mapped together.
    plan : SplitPlan
    seed : int
    warnings : list of str
    target : Target
    inter_animal : InterAnimalCeiling or None
    shares : ndarray (splits, spaces, q) or None
        Of the feature spaces in each neuroid's kernel; None for mappings from one space.
    fits : list of FitReport or None
        How a fitted candidate was trained in each split.
    """

    held_out: HeldOut
    pearson_r: np.ndarray
    explained_variance: np.ndarray
    corrected: NoiseCorrected | None
    lambdas: np.ndarray
    at_edge: np.ndarray
    choices: list[LambdaChoice | None]
    n_features: int | None
    effective_dimensionality: float | None
    plan: SplitPlan
    seed: int
    warnings: list[str]
    target: Target
    inter_animal: InterAnimalCeiling | None = None
    shares: np.ndarray | None = None
    fits: "list[FitReport] | None" = None

    @cached_property
    def summary(self) -> Summary:
        """Aggregates with intervals, and against the ceilings."""
        return summarise(
            self.held_out,
            self.pearson_r,
            self.explained_variance,
            self.target,
            self.seed,
            self.corrected,
            self.inter_animal,
        )


def evaluate(
    grams: Gram | Sequence[Gram],
    stimulus_ids: np.ndarray,
    target: Target,
    mapping: Mapping,
    plan: SplitPlan,
    seed: int,
    label: str = "features",
    inter_animal: InterAnimalCeiling | None = None,
) -> Evaluation:
    """Fit the mapping on each split's training stimuli and predict its test stimuli.

    Features and responses are joined by stimulus id: the rows of `grams` may stand in any order.
    Features without variance are not mapped: all their scores are NaN, and a warning says so.

    Parameters
    ----------
    grams : Gram or sequence of Gram
        Of a layer's features for n stimuli; several for mappings from several feature spaces.
    stimulus_ids : ndarray (n,)
        What the rows of `grams` belong to.
    target : Target
    mapping : Mapping
    plan : SplitPlan
    seed : int
        That drew the plan; it draws the bootstrap samples too.
    label : str
        The layer's name for messages.
    inter_animal : InterAnimalCeiling, optional
        Of the same target, mapping and plan, see `itprobe.benchmarks.inter_animal.inter_animal`.

    Raises
    ------
    InputError
        If the features are of other stimuli than the responses, or no response varies in any test part.
    """
    spaces = [grams] if isinstance(grams, Gram) else list(grams)
    response_ids = target.stimuli["stimulus_id"].to_numpy()
    check_same_stimuli(stimulus_ids, response_ids)
    constant = [is_constant(space) for space in spaces]
    predicted: Iterable[SplitResult] = (
        _no_predictions(target, plan)
        if all(constant)
        else predict_held_out(
            spaces, stimulus_ids, target.responses, response_ids, mapping, plan.splits, target.strata
        )
    )
    results = []
    with progress_bar(len(plan.splits), f"{label}: {mapping.name}", "split") as bar:
        for result in predicted:
            results.append(result)
            bar.update()
    evaluation = scored(results, target, plan, seed, check=not all(constant))
    lone = ["banded: a single feature space, which is plain ridge"]
    return replace(
        evaluation,
        n_features=sum(space.n_features for space in spaces),
        effective_dimensionality=_dimensionality(spaces),
        warnings=evaluation.warnings
        + lone * (mapping.name == "banded" and len(spaces) == 1)
        + _variance_warnings(label, constant),
        inter_animal=inter_animal,
        shares=_shares(results),
    )


def scored(
    results: Sequence[SplitResult], target: Target, plan: SplitPlan, seed: int, check: bool = True
) -> Evaluation:
    """Score held-out predictions, wherever they come from.

    Parameters
    ----------
    results : sequence of SplitResult
        One per split of the plan.
    target : Target
    plan : SplitPlan
    seed : int
        Of the bootstrap.
    check : bool
        Refuse scores that are NaN all over, and say where single ones are.

    Raises
    ------
    InputError
        If no response varies in any test part.
    """
    held_out = HeldOut(
        [result.stimulus_ids for result in results],
        [result.responses for result in results],
        [result.predictions for result in results],
        target.neuroids["neuroid_id"].to_numpy(),
        target.neuroids["animal"].to_numpy(),
    )
    lambdas = np.array([result.lambdas for result in results])
    at_edge = np.array([result.at_edge for result in results])
    pairs = [(result.responses, result.predictions) for result in results]
    r = np.array([pearson_r(y, z) for y, z in pairs])
    notes = list(dict.fromkeys(note for result in results for note in result.notes))
    return Evaluation(
        held_out,
        r,
        np.array([explained_variance(y, z) for y, z in pairs]),
        None if target.noise is None else noise_corrected(held_out, target.noise),
        lambdas,
        at_edge,
        [result.choice for result in results],
        None,
        None,
        plan,
        seed,
        plan.warnings
        + notes
        + (_undefined_warnings(r) + _lambda_warnings(lambdas, at_edge) if check else []),
        target,
    )


def _shares(results: list[SplitResult]) -> np.ndarray | None:
    """Shares of feature spaces (splits, spaces, q), where the mapping has several."""
    shares = [result.weights for result in results if result.weights is not None]
    return np.array(shares) if shares else None


def _variance_warnings(label: str, constant: list[bool]) -> list[str]:
    """Name a layer whose feature spaces, all or some, are the same for every image."""
    if all(constant):
        return [f"{label}: no variance: every image gives the same activations, so there is nothing to score"]
    if any(constant):
        return [
            f"{label}: no variance in {sum(constant)} of its {len(constant)} feature spaces: what they weigh "
            "means nothing"
        ]
    return []


def _no_predictions(target: Target, plan: SplitPlan) -> list[SplitResult]:
    """What features without variance predict: NaN; not the mean response, which would count as r = 0."""
    stimulus_ids = target.stimuli["stimulus_id"].tolist()
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(stimulus_ids)}
    results = []
    for split in plan.splits:
        responses = target.responses[[row_of[stimulus_id] for stimulus_id in split.test]]
        nothing = np.full(responses.shape, np.nan)
        none_at_edge = np.zeros(responses.shape[1], dtype=bool)
        results.append(SplitResult(split.test, responses, nothing, nothing[0], none_at_edge, []))
    return results


@dataclass(frozen=True)
class SimilarityEvaluation:
    """What came out of comparing a layer's features with a target over all stimuli at once.

    Attributes
    ----------
    similarity : Similarity
        NaN where the features have no variance.
    n_features : int
    effective_dimensionality : float or None
        None where the features have no variance.
    seed : int
        Of the bootstrap.
    warnings : list of str
    target : Target
    """

    similarity: Similarity
    n_features: int
    effective_dimensionality: float | None
    seed: int
    warnings: list[str]
    target: Target

    @property
    def summary(self) -> Summary:
        """Sections of the result file's scores; there are no neuroids in them."""
        value, ci95 = self.similarity.value, self.similarity.ci95
        section: dict[str, object] = {
            "value": number(value),
            "ci95": ci95 if np.isfinite(ci95).all() else None,
        }
        sections: Summary = dict.fromkeys(SECTIONS)
        return {"primary": {"name": "similarity", **section}, **sections, "similarity": section}


def compare(
    gram: Gram,
    stimulus_ids: np.ndarray,
    target: Target,
    mapping: WholeSetMapping,
    seed: int,
    label: str = "features",
) -> SimilarityEvaluation:
    """Compare features with responses over all stimuli, joined by stimulus id.

    Parameters
    ----------
    gram : Gram
        Of a layer's features for n stimuli; without variance, their similarity is NaN.
    stimulus_ids : ndarray (n,)
        What the rows of `gram` belong to.
    target : Target
    mapping : WholeSetMapping
    seed : int
    label : str
        The layer's name for messages.

    Raises
    ------
    InputError
        If the features are of other stimuli than the responses, or the responses have no variance.
    """
    response_ids = target.stimuli["stimulus_id"].to_numpy()
    check_same_stimuli(stimulus_ids, response_ids)
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(response_ids)}
    responses = target.responses[[row_of[stimulus_id] for stimulus_id in stimulus_ids]]
    similarity = mapping.compare(gram, responses, seed)
    constant = is_constant(gram)
    warnings = _variance_warnings(label, [constant])
    if np.isnan(similarity.value) and not constant:
        warnings.append(f"{label}: {mapping.name} is not defined: its features set no stimuli apart")
    return SimilarityEvaluation(similarity, gram.n_features, _dimensionality([gram]), seed, warnings, target)


def _dimensionality(spaces: Sequence[Gram]) -> float | None:
    """Effective dimensionality of a single feature space that has variance."""
    if len(spaces) > 1 or is_constant(spaces[0]):
        return None
    return number(effective_dimensionality(spaces[0]))


def _undefined_warnings(r: np.ndarray) -> list[str]:
    """What a reader should know of undefined correlations (splits, q); refuse if there are no others."""
    undefined = np.isnan(r)
    if undefined.all():
        raise InputError("no neuroid's responses differ within any test part; there is nothing to correlate")
    if not undefined.any():
        return []
    return [f"constant within a test part, so without r there: responses {_where(undefined)}"]


def _lambda_warnings(lambdas: np.ndarray, at_edge: np.ndarray) -> list[str]:
    """What lambdas and edge flags (splits, q) a reader of the score should know of."""
    warnings = []
    if at_edge.any():
        warnings.append(
            f"lambda: the optimum lies on the grid's edge {_where(at_edge)}: for these, smaller or larger "
            "lambdas might do better"
        )
    if np.isinf(lambdas).any():
        warnings.append(
            f"mean predictor: no lambda predicted better than the mean response {_where(np.isinf(lambdas))}; "
            "their r counts as 0"
        )
    return warnings


def _where(flagged: np.ndarray) -> str:
    """Say how many neuroids and fits a flag (splits, q) is about."""
    neuroids = int(flagged.any(axis=0).sum())
    return f"for {neuroids} neuroid{'s' * (neuroids > 1)} ({flagged.mean():.1%} of all fits)"
