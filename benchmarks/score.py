"""Evaluations as Brain-Score Score objects."""

import numpy as np
import pandas as pd
from brainscore_core.metrics import Score

from itprobe.benchmarks.evaluation import Evaluation, SimilarityEvaluation
from itprobe.benchmarks.target import Target


def brainscore_score(evaluation: Evaluation | SimilarityEvaluation) -> Score:
    """Make the Score of an evaluation.

    Returns
    -------
    Score
        Ceiled where there is a ceiling: r |r| / median reliability of the median r; else the median r. Attributes:
        ``raw`` (median r, whose own ``raw`` is r of each split and neuroid), ``ceiling``, ``ci`` (95 %
        interval, stimuli and neuroids resampled together), ``error`` (Brain-Score's: spread over
        overlapping splits, no interval) and ``summary`` (all aggregates). A similarity has no ceiling and
        no error. A layer without variance has NaN for score, raw, error and interval.
    """
    if isinstance(evaluation, SimilarityEvaluation):
        similarity = Score(evaluation.similarity.value)
        similarity.attrs |= {"ci": evaluation.similarity.ci95, "summary": evaluation.summary, "ceiling": None}
        similarity.attrs[Score.RAW_VALUES_KEY] = Score(evaluation.similarity.value)
        return similarity
    summary, target = evaluation.summary, evaluation.target
    primary, pearson = summary["primary"], summary["pearson_r"]
    assert primary is not None
    assert pearson is not None
    raw = Score(_value(pearson["median"]))
    raw.attrs[Score.RAW_VALUES_KEY] = _per_neuroid(evaluation.pearson_r, target.neuroids)
    per_split = np.array(pearson["per_split"], dtype=np.float64)
    defined = per_split[np.isfinite(per_split)]
    raw.attrs["error"] = float(defined.std() / np.sqrt(len(defined))) if len(defined) else float("nan")
    raw.attrs["ci"] = _interval(pearson["ci95"])
    score = Score(_value(primary["value"]))
    score.attrs[Score.RAW_VALUES_KEY] = raw
    score.attrs["error"] = raw.attrs["error"]
    score.attrs["ci"] = _interval(primary["ci95"])
    score.attrs["summary"] = summary
    score.attrs["ceiling"] = ceiling_score(target)
    return score


def _value(number: object) -> object:
    """Return what a summary states, NaN where it states nothing."""
    return float("nan") if number is None else number


def _interval(bounds: object) -> object:
    return (float("nan"), float("nan")) if bounds is None else bounds


def ceiling_score(target: Target) -> Score | None:
    """Make the Score of a target's reliability: median over neuroids, the neuroids' own as ``raw``."""
    if target.reliability is None:
        return None
    rho = target.reliability.rho
    score = Score(float(np.nanmedian(rho)))
    score.attrs[Score.RAW_VALUES_KEY] = _per_neuroid(rho[None], target.neuroids).isel(split=0)
    return score


def _per_neuroid(values: np.ndarray, neuroids: pd.DataFrame) -> Score:
    """Values (splits, q) with the neuroids' coordinates."""
    coords = {name: ("neuroid", column.to_numpy()) for name, column in neuroids.items()}
    return Score(values, coords={"split": np.arange(len(values)), **coords}, dims=["split", "neuroid"])
