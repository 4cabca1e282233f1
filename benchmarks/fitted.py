"""Candidates that are fitted to responses: refitted for every split, and shown nothing of its test part."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.benchmarks.evaluation import Evaluation, scored
from itprobe.benchmarks.target import Target
from itprobe.errors import InputError
from itprobe.metrics import SplitPlan
from itprobe.metrics.crossvalidate import SplitResult
from itprobe.metrics.splits import Split
from itprobe.progress import progress_bar

if TYPE_CHECKING:
    from itprobe.models.fitted import FittedCandidate


def evaluate_fitted(
    candidate: "FittedCandidate", target: Target, plan: SplitPlan, split_name: str, seed: int
) -> Evaluation:
    """Fit a fresh copy of a candidate to each split's training stimuli and score its predictions.

    What the copy is given are copies of the training rows and, once it is fitted, the test stimuli without
    their responses. Nothing that it learned in one split reaches the next.

    Parameters
    ----------
    candidate : FittedCandidate
    target : Target
    plan : SplitPlan
    split_name : str
        For checkpoints and exports.
    seed : int
        That drew the plan; it draws the bootstrap samples too.

    Raises
    ------
    InputError
        If the candidate cannot be fitted, or predicts something that is not a response to each stimulus.
    """
    results, fits = [], []
    with progress_bar(len(plan.splits), candidate.identifier, "split") as bar:
        for index, split in enumerate(plan.splits):
            context = split_context(target, split_name, index + 1, len(plan.splits), seed)
            result, fitted = fit_split(candidate, target, split, context)
            results.append(result)
            fits.append(fitted.report)
            bar.update()
    known = [report for report in fits if report is not None]
    return replace(scored(results, target, plan, seed), fits=known if len(known) == len(fits) else None)


def split_context(target: Target, split_name: str, part: int, parts: int, seed: int) -> dict[str, str]:
    """What a fit is for, as checkpoints and exports carry it; `part` counts from 1."""
    return {
        "recording": str(target.recording["identifier"]),
        "recording_sha256": str(target.recording["sha256"]),
        "region": target.region,
        "split": f"{split_name}, {part} of {parts}",
        "split_seed": str(seed),
    }


def fit_split(
    candidate: "FittedCandidate", target: Target, split: Split, context: dict[str, str]
) -> "tuple[SplitResult, FittedCandidate]":
    """Fit a fresh copy of a candidate to a split's training stimuli and predict its test stimuli.

    Returns
    -------
    SplitResult
    FittedCandidate
        The copy that was fitted.
    """
    train, test = (_rows(target, ids) for ids in (split.train, split.test))
    responses = target.responses[train]  # by fancy indexing a copy: no view leads to the other rows
    fitted = candidate.fresh(context, _reliability(target, split.train, responses))
    labels = None if target.strata is None else target.strata[train]
    fitted.fit(_shown(target, split.train), responses, labels)
    predictions = np.array(fitted.predict(_shown(target, split.test)), dtype=np.float64)
    measured = target.responses[test]
    if predictions.shape != measured.shape or not np.isfinite(predictions).all():
        raise InputError(
            f"{candidate.identifier} predicted an array of shape {predictions.shape} for {len(test)} stimuli and "
            f"{measured.shape[1]} neuroids"
            + ("" if predictions.shape != measured.shape else ", with NaN in it")
        )
    without = np.full(measured.shape[1], np.nan)
    result = SplitResult(split.test, measured, predictions, without, np.zeros(len(without), dtype=bool), [])
    return result, fitted


def _rows(target: Target, ids: np.ndarray) -> np.ndarray:
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(target.stimuli["stimulus_id"])}
    return np.array([row_of[stimulus_id] for stimulus_id in ids])


def _shown(target: Target, ids: np.ndarray) -> StimulusSet:
    """Some stimuli, in the order of `ids`, with the paths of these images alone."""
    whole = target.stimulus_set
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(whole["stimulus_id"])}
    part = whole.iloc[[row_of[stimulus_id] for stimulus_id in ids]].reset_index(drop=True).copy()
    part.stimulus_paths = {stimulus_id: whole.stimulus_paths[stimulus_id] for stimulus_id in ids}
    part.identifier = whole.identifier
    return part


def _reliability(target: Target, ids: np.ndarray, responses: np.ndarray) -> np.ndarray | None:
    """Signal's share (q,) in the variance of training responses (n, q), from their own trials alone.

    NaN where a neuroid's training responses are all the same.
    """
    if target.noise is None:
        return None
    variance = responses.var(axis=0, ddof=1)
    noise = target.noise.of(ids)
    return np.clip(1 - noise / np.where(variance > 0, variance, np.nan), 0, 1)
