"""One candidate layer on one benchmark: predictions for held-out stimuli, scores, and how sure they are."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from itprobe.benchmarks.summary import Summary, summarise
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
from itprobe.metrics.crossvalidate import check_same_stimuli
from itprobe.progress import progress_bar


@dataclass(frozen=True)
class Evaluation:
    """What came out of mapping one layer's features to a target.

    Attributes
    ----------
    held_out : HeldOut
    pearson_r, explained_variance : ndarray (splits, q)
    lambdas : ndarray (splits, q)
        Infinity: the mean response was the best prediction.
    at_edge : ndarray (splits, q) of bool
    n_features : int
    plan : SplitPlan
    seed : int
    warnings : list of str
    target : Target
    """

    held_out: HeldOut
    pearson_r: np.ndarray
    explained_variance: np.ndarray
    lambdas: np.ndarray
    at_edge: np.ndarray
    n_features: int
    plan: SplitPlan
    seed: int
    warnings: list[str]
    target: Target

    @cached_property
    def summary(self) -> Summary:
        """Aggregates with intervals, and against the ceiling."""
        return summarise(self.held_out, self.pearson_r, self.explained_variance, self.target, self.seed)


def evaluate(
    gram: Gram,
    stimulus_ids: np.ndarray,
    target: Target,
    mapping: Mapping,
    plan: SplitPlan,
    seed: int,
    label: str = "features",
) -> Evaluation:
    """Fit the mapping on each split's training stimuli and predict its test stimuli.

    Features and responses are joined by stimulus id: the rows of `gram` may stand in any order.

    Parameters
    ----------
    gram : Gram
        Of a layer's features for n stimuli.
    stimulus_ids : ndarray (n,)
        What the rows of `gram` belong to.
    target : Target
    mapping : Mapping
    plan : SplitPlan
    seed : int
        That drew the plan; it draws the bootstrap samples too.
    label : str
        The layer's name for messages.

    Raises
    ------
    InputError
        If the features are of other stimuli than the responses.
    """
    results = []
    with progress_bar(len(plan.splits), f"{label}: {mapping.name}", "split") as bar:
        for result in predict_held_out(
            gram,
            stimulus_ids,
            target.responses,
            target.stimuli["stimulus_id"].to_numpy(),
            mapping,
            plan.splits,
            target.strata,
        ):
            results.append(result)
            bar.update()
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
    return Evaluation(
        held_out,
        r,
        np.array([explained_variance(y, z) for y, z in pairs]),
        lambdas,
        at_edge,
        gram.n_features,
        plan,
        seed,
        [*plan.warnings, *dict.fromkeys(note for result in results for note in result.notes)]
        + _undefined_warnings(r)
        + _lambda_warnings(lambdas, at_edge),
        target,
    )


@dataclass(frozen=True)
class SimilarityEvaluation:
    """What came out of comparing a layer's features with a target over all stimuli at once.

    Attributes
    ----------
    similarity : Similarity
    n_features : int
    seed : int
        Of the bootstrap.
    warnings : list of str
    target : Target
    """

    similarity: Similarity
    n_features: int
    seed: int
    warnings: list[str]
    target: Target

    @property
    def summary(self) -> Summary:
        """Sections of the result file's scores; there are no neuroids in them."""
        section: dict[str, object] = {"value": self.similarity.value, "ci95": self.similarity.ci95}
        return {
            "primary": {"name": "similarity", **section},
            "similarity": section,
            "pearson_r": None,
            "explained_variance": None,
            "reliability": None,
            "ceiled": None,
            "ceiled_per_neuroid": None,
        }


def compare(
    gram: Gram, stimulus_ids: np.ndarray, target: Target, mapping: WholeSetMapping, seed: int
) -> SimilarityEvaluation:
    """Compare features with responses over all stimuli, joined by stimulus id.

    Parameters
    ----------
    gram : Gram
        Of a layer's features for n stimuli.
    stimulus_ids : ndarray (n,)
        What the rows of `gram` belong to.
    target : Target
    mapping : WholeSetMapping
    seed : int

    Raises
    ------
    InputError
        If the features are of other stimuli than the responses, or have no variance.
    """
    response_ids = target.stimuli["stimulus_id"].to_numpy()
    check_same_stimuli(stimulus_ids, response_ids)
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(response_ids)}
    responses = target.responses[[row_of[stimulus_id] for stimulus_id in stimulus_ids]]
    similarity = mapping.compare(gram, responses, seed)
    if np.isnan(similarity.value):
        raise InputError(f"{mapping.name}: the features or the responses do not differ between stimuli")
    return SimilarityEvaluation(similarity, gram.n_features, seed, [], target)


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
