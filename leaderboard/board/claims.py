"""What a result file says of itself, held against itself."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from itprobe.benchmarks.benchmark import VERSION
from itprobe.benchmarks.summary import CEILED_FORMULA
from itprobe.leaderboard.result import Neuroid, Result
from itprobe.metrics import ceiled_r2

TOLERANCE = 1e-4
"""Figures that differ by less differ by rounding: predictions are kept in float32."""

WITHHELD = "withheld"
"""Name of the split of results whose test responses the board's host keeps."""

WHOLE_SET = "all stimuli at once"


def contradictions(result: Result) -> list[str]:
    """Say where figures of a result do not agree with each other; it needs nothing but the result.

    Returns
    -------
    list of str
        One line each.
    """
    return [*_primary(result), *_benchmark(result), *_shares(result), *_neuroids(result)]


def implausible(result: Result) -> list[str]:
    """Say what no honest run brings about: more than the ceiling, equal neuroids, a start in the future."""
    return [*_above_ceiling(result), *_equal_neuroids(result), *_provenance(result)]


def _primary(result: Result) -> Iterator[str]:
    primary, scores = result.scores.primary, result.scores
    sections = {
        "pearson_r": scores.pearson_r and (scores.pearson_r.median, scores.pearson_r.ci95),
        "ceiled": scores.ceiled and (scores.ceiled.value, scores.ceiled.ci95),
        "similarity": scores.similarity and (scores.similarity.value, scores.similarity.ci95),
    }
    if sections.get(primary.name) is None:
        yield f"its primary score {primary.name!a} is none of its scores"
    elif sections[primary.name] != (primary.value, primary.ci95):
        yield f"its primary score is not its {primary.name}"


def _benchmark(result: Result) -> Iterator[str]:
    """The id must say what the rest of the file does."""
    whole, name = result.scores.similarity is not None, result.split.name
    suffix = "" if name in ("brainscore", WHOLE_SET) else f".{name}"
    ending = f"{result.recording.region}-{result.mapping.name}{suffix}"
    if not result.benchmark.id.endswith((f".{ending}", f"#{ending}")):
        yield f"its benchmark {result.benchmark.id!a} does not end in {ending!a}, which is what the file says"
    if whole != (name == WHOLE_SET) or whole != (result.scores.pearson_r is None):
        yield "it is neither a similarity over all stimuli nor a prediction of test stimuli"
    if result.scores.pearson_r is not None:
        splits = len(result.scores.pearson_r.per_split)
        if splits != result.split.n_splits or splits == 0:
            yield f"it has {result.split.n_splits} splits and scores of {splits}"


def _shares(result: Result) -> Iterator[str]:
    ceiled, r, reliability = result.scores.ceiled, result.scores.pearson_r, result.scores.reliability
    if ceiled is None:
        return
    if r is None or reliability is None or reliability.median <= 0:
        yield "it has a share of the ceiling without a ceiling"
    elif ceiled.formula != CEILED_FORMULA:
        yield f"its share of the ceiling is by another formula than {CEILED_FORMULA!r}"
    elif not same(ceiled.value, None if r.median is None else ceiled_r2(r.median, reliability.median)):
        yield f"its share of the ceiling {ceiled.value} is not {CEILED_FORMULA}"


def _neuroids(result: Result) -> Iterator[str]:
    neuroids, r = result.per_neuroid, result.scores.pearson_r
    if (neuroids is None) != (r is None):
        yield "it has either scores of neuroids or a score over neuroids, but not both"
    if neuroids is None or r is None:
        return
    if len(neuroids) != result.recording.n_neuroids:
        yield f"it lists {len(neuroids)} neuroids of {result.recording.n_neuroids}"
    if len({one.neuroid_id for one in neuroids}) < len(neuroids):
        yield "it lists neuroids twice"
    if not same(r.median_of_means, _median([one.pearson_r for one in neuroids])):
        yield f"its median_of_means {r.median_of_means} is not the median of its neuroids' r"


def _above_ceiling(result: Result) -> Iterator[str]:
    """r² / ρ and EV / ρ above 1, with all of their interval."""
    ceiled, explained = result.scores.ceiled, result.scores.explained_variance
    reliability = result.scores.reliability
    if ceiled is not None and ceiled.ci95 is not None and ceiled.ci95[0] > 1:
        yield f"r² / reliability is {ceiled.value:.3f}, above 1 with all of its interval (from {ceiled.ci95[0]:.3f})"
    low = explained and explained.ci95
    if reliability is not None and low and low[0] > reliability.ci95[1] > 0:
        yield (
            f"explained variance, from {low[0]:.3f}, lies above the reliability (up to {reliability.ci95[1]:.3f}), "
            "which caps it"
        )


def _equal_neuroids(result: Result) -> Iterator[str]:
    """Only the mean predictor, whose r counts as 0, scores the same for all neuroids."""
    neuroids = result.per_neuroid or []
    for name in ("pearson_r", "explained_variance"):
        values = [value for one in neuroids if (value := getattr(one, name)) not in (None, 0)]
        if len(values) > 1 and np.ptp(values) < 1e-9 and not _all_means(neuroids, result.split.n_splits):
            yield f"{name} is the same, {values[0]:.6g}, for all of its {len(values)} neuroids"


def _all_means(neuroids: list[Neuroid], n_splits: int) -> bool:
    return all(one.mean_predictor_splits == n_splits for one in neuroids)


def _provenance(result: Result) -> Iterator[str]:
    started = datetime.fromisoformat(result.provenance.started)
    if started > datetime.now(UTC) + timedelta(days=1):  # clocks differ, but not by that
        yield f"it started in the future ({result.provenance.started}), which would supersede all later ones"
    if result.benchmark.version != VERSION:
        yield f"it is of benchmark version {result.benchmark.version}; this itprobe scores version {VERSION}"
    if result.candidate.track == "frozen" and result.candidate.weights_sha256 is None:
        yield "its network's weights have no digest"


def _median(values: list[float | None]) -> float | None:
    finite = [value for value in values if value is not None]
    return float(np.median(finite)) if finite else None


def same(claimed: float | None, computed: float | None, tolerance: float = TOLERANCE) -> bool:
    """Whether two figures agree but for rounding; two undefined ones do."""
    if claimed is None or computed is None:
        return claimed is computed
    return math.isclose(claimed, computed, rel_tol=TOLERANCE, abs_tol=tolerance)
