"""Held-out predictions: fit a mapping on each split's training stimuli and predict its test stimuli."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from itprobe.errors import InputError
from itprobe.metrics.gram import Gram
from itprobe.metrics.kernel_checks import check_symmetric
from itprobe.metrics.lambda_search import LambdaChoice
from itprobe.metrics.mapping import Mapping, SplitRows
from itprobe.metrics.splits import Split


@dataclass(frozen=True)
class SplitResult:
    """One split's test stimuli, measured and predicted.

    Attributes
    ----------
    stimulus_ids : ndarray (n_test,)
    responses, predictions : ndarray (n_test, q)
    lambdas : ndarray (q,)
    at_edge : ndarray (q,) of bool
    notes : list of str
    choice : LambdaChoice or None
    weights : ndarray (spaces, q) or None
        See `itprobe.metrics.mapping.Prediction`.
    """

    stimulus_ids: np.ndarray
    responses: np.ndarray
    predictions: np.ndarray
    lambdas: np.ndarray
    at_edge: np.ndarray
    notes: list[str]
    choice: LambdaChoice | None = None
    weights: np.ndarray | None = None


def predict_held_out(
    grams: Gram | Sequence[Gram],
    feature_ids: np.ndarray,
    responses: np.ndarray,
    response_ids: np.ndarray,
    mapping: Mapping,
    splits: list[Split],
    strata: np.ndarray | None = None,
) -> Iterator[SplitResult]:
    """Fit and predict split by split; features and responses are joined by stimulus id, never by row.

    Parameters
    ----------
    grams : Gram or sequence of Gram
        Of n stimuli's features; several, with the same rows, for mappings from several feature spaces.
    feature_ids : ndarray (n,)
        Stimulus id of each row of `grams`.
    responses : ndarray (n, q)
    response_ids : ndarray (n,)
        Stimulus id of each row of `responses`.
    mapping : Mapping
    splits : list of Split
    strata : ndarray (n,), optional
        Label of each row of `responses` that inner folds are balanced by.

    Yields
    ------
    SplitResult

    Raises
    ------
    InputError
        If features and responses are of different stimuli, a stimulus stands twice on one side, or values
        are missing, or a Gram matrix is not symmetric.
    """
    check_same_stimuli(feature_ids, response_ids)
    spaces = [grams] if isinstance(grams, Gram) else list(grams)
    undefined = int((~np.isfinite(responses)).any(axis=0).sum())
    if undefined:
        raise InputError(
            f"{undefined} of {responses.shape[1]} neuroids have responses that are NaN or infinite; leave them out"
        )
    if not all(np.isfinite(gram.values).all() for gram in spaces):
        raise InputError("the features hold NaN or infinite values; leave out what has them")
    for gram in spaces:
        check_symmetric(gram.values)
    rows = pd.Index(feature_ids)
    order = pd.Index(response_ids).get_indexer(feature_ids)  # responses in the features' order
    predicted = mapping.predict_splits(
        [gram.values for gram in spaces],
        responses[order],
        [SplitRows(rows.get_indexer(split.train), rows.get_indexer(split.test)) for split in splits],
        max(gram.resolution for gram in spaces),
        None if strata is None else strata[order],
        sum(gram.n_features for gram in spaces),
    )
    for split, result in zip(splits, predicted, strict=True):
        measured = responses[pd.Index(response_ids).get_indexer(split.test)]
        yield SplitResult(
            split.test,
            measured,
            result.predictions,
            result.lambdas,
            result.at_edge,
            result.notes,
            result.choice,
            result.weights,
        )


def check_same_stimuli(feature_ids: np.ndarray, response_ids: np.ndarray) -> None:
    """Refuse features and responses of different stimuli, saying how many lack on which side, and which."""
    features, responses = set(feature_ids), set(response_ids)
    for lacking, side in ((responses - features, "features"), (features - responses, "responses")):
        if lacking:
            some = ", ".join(sorted(map(str, lacking))[:3])
            raise InputError(
                f"stimuli do not match: {len(lacking)} have no {side} ({some}{', ...' * (len(lacking) > 3)}); "
                "features and responses must be of the same stimulus ids"
            )
    for ids, distinct, side in (
        (feature_ids, features, "features"),
        (response_ids, responses, "averaged responses"),
    ):
        if len(distinct) < len(ids):
            raise InputError(f"stimulus ids must be unique: {len(ids) - len(distinct)} repeat in the {side}")
