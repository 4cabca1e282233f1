"""A result scored again from its per-stimulus predictions, and held against what it claims."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.benchmarks.aggregate import number
from itprobe.benchmarks.evaluation import Evaluation, scored
from itprobe.benchmarks.target import Target
from itprobe.leaderboard.board.claims import TOLERANCE, same
from itprobe.leaderboard.result import Result
from itprobe.metrics import HeldOut, Reliability, Split, SplitPlan, mean_over_splits
from itprobe.metrics.crossvalidate import SplitResult

COPIED_R = 1 - 1e-6
"""No prediction of a noisy response correlates with it by more."""
MOST_NAMED = 8
"""Differences that are named; the rest is counted."""
_SINGLE = float(np.finfo(np.float32).eps)
_LOOSEST = 0.05
_INTERVAL_TOLERANCE = 5e-3
_NOT_COMPARED = ("inter_animal", "by_array")


def check_predictions_of(result: Result, held_out: HeldOut) -> list[str]:
    """Say what is wrong with predictions by themselves, before they are scored: sizes, ids, values.

    Returns
    -------
    list of str
        One line each; where there is one, scoring again makes no sense.
    """
    findings = []
    if len(held_out.stimulus_ids) != result.split.n_splits:
        findings.append(
            f"{len(held_out.stimulus_ids)} splits of predictions, {result.split.n_splits} are claimed"
        )
    if any(len(ids) < 2 or len(set(ids)) < len(ids) for ids in held_out.stimulus_ids):
        findings.append("a split's predictions are of fewer than two stimuli, or of one stimulus twice")
    claimed = [one.neuroid_id for one in result.per_neuroid or []]
    if sorted(claimed) != sorted(held_out.neuroid_ids.tolist()):
        findings.append("predictions are of other neuroids than the scores")
    if not all(np.isfinite(part).all() for part in held_out.responses):
        findings.append("responses are NaN or infinite")
    nothing = all(np.isnan(part).all() for part in held_out.predictions)
    if not nothing and not all(np.isfinite(part).all() for part in held_out.predictions):
        findings.append("predictions are NaN or infinite")
    return findings


def differing_claims(result: Result, held_out: HeldOut, target: Target | None = None) -> list[str]:
    """Score predictions again and name the claims that differ by more than rounding.

    Parameters
    ----------
    result : Result
    held_out : HeldOut
        That `check_predictions_of` finds nothing wrong with.
    target : Target, optional
        The recording's own: then reliability and scores freed of noise are computed again, too. Without it the
        reliability of each neuroid is taken as claimed.

    Returns
    -------
    list of str
        One line each.
    """
    evaluation = score_again(result, held_out, target)
    findings = copied(evaluation.pearson_r)
    claimed = result.scores.model_dump()
    # Predictions that hardly vary are kept with few digits: what their rounding may change is allowed for.
    slack = _slack(held_out)
    tolerance = TOLERANCE + float(slack.mean())
    skipped = {*_NOT_COMPARED, *(["noise_corrected"] if evaluation.corrected is None else [])}
    computed = {name: section for name, section in evaluation.summary.items() if name not in skipped}
    differences = list(_differences(claimed, computed, tolerance))
    differences += _neuroid_differences(result, evaluation, slack)
    if len(differences) > MOST_NAMED:
        differences = [*differences[:MOST_NAMED], f"and {len(differences) - MOST_NAMED} more claims differ"]
    return findings + differences


def score_again(result: Result, held_out: HeldOut, target: Target | None = None) -> Evaluation:
    """Score predictions as a result's own run did; without a target, with the claimed reliability."""
    target = _claimed_target(result, held_out) if target is None else _in_order(target, held_out.neuroid_ids)
    undefined = np.full(len(held_out.neuroid_ids), np.nan)
    results = [
        SplitResult(ids, responses, predictions, undefined, np.zeros(len(undefined), dtype=bool), [])
        for ids, responses, predictions in zip(
            held_out.stimulus_ids, held_out.responses, held_out.predictions, strict=True
        )
    ]
    plan = SplitPlan([Split(ids[:0], ids) for ids in held_out.stimulus_ids], result.split.coord, [])
    return scored(results, target, plan, result.split.seed, check=False)


def _claimed_target(result: Result, held_out: HeldOut) -> Target:
    """All that aggregates need of a target, from the result itself."""
    order = {one.neuroid_id: one for one in result.per_neuroid or []}
    rho = np.array([order[str(name)].reliability for name in held_out.neuroid_ids], dtype=np.float64)
    claimed, reliability = result.scores.reliability, None
    if claimed is not None and np.isfinite(rho).any():
        nothing = np.zeros(len(rho), dtype=int)
        reliability = Reliability(rho, rho, nothing, claimed.n_halves, claimed.kind, claimed.seed)
    neuroids = pd.DataFrame({"neuroid_id": held_out.neuroid_ids, "animal": held_out.animals})
    return Target(
        region=result.recording.region,
        stimuli=pd.DataFrame(),
        stimulus_set=StimulusSet(),
        responses=np.empty((0, len(rho))),
        neuroids=neuroids,
        reliability=reliability,
        noise=None,
        repetitions_median=result.recording.repetitions_median,
        recording={},
        warnings=[],
    )


def _in_order(target: Target, neuroid_ids: np.ndarray) -> Target:
    """A target whose neuroids stand in the order of the predictions, as they do in any run of itprobe."""
    rows = pd.Index(target.neuroids["neuroid_id"]).get_indexer(neuroid_ids)
    if np.array_equal(rows, np.arange(len(target.neuroids))):
        return target
    reliability, noise = target.reliability, target.noise
    return replace(
        target,
        responses=target.responses[:, rows],
        neuroids=target.neuroids.iloc[rows].reset_index(drop=True),
        reliability=reliability
        and replace(
            reliability,
            half_r=reliability.half_r[rows],
            rho=reliability.rho[rows],
            skipped=reliability.skipped[rows],
        ),
        noise=noise and replace(noise, means=noise.means[:, rows], variances=noise.variances[:, rows]),
    )


def copied(r: np.ndarray) -> list[str]:
    """Say so where predictions, by their correlations (splits, q), are the responses themselves."""
    neuroids = int((r > COPIED_R).any(axis=0).sum())
    if not neuroids:
        return []
    return [f"predictions of {neuroids} neuroids are their responses, or a linear function of them"]


def _slack(held_out: HeldOut) -> np.ndarray:
    """What rounding predictions to float32 may change in each neuroid's r, at most `_LOOSEST`; (q,)."""
    parts = []
    for predictions in held_out.predictions:
        spread = predictions.std(axis=0)
        size = np.abs(predictions).max(axis=0) * _SINGLE
        parts.append(np.divide(4 * size, spread, out=np.full_like(spread, _LOOSEST), where=spread > 0))
    return np.minimum(np.nan_to_num(np.max(parts, axis=0)), _LOOSEST)


def _differences(
    claimed: object, computed: object, tolerance: float, where: tuple[str, ...] = ()
) -> Iterator[str]:
    """Walk through what was computed and name each figure that the claim differs from."""
    if isinstance(computed, Mapping) and isinstance(claimed, Mapping):
        for name, value in computed.items():
            if name not in _NOT_COMPARED:
                yield from _differences(claimed.get(name), value, tolerance, (*where, str(name)))
    elif isinstance(computed, list) and isinstance(claimed, list) and len(computed) == len(claimed):
        for index, (one, other) in enumerate(zip(claimed, computed, strict=True), start=1):
            yield from _differences(one, other, tolerance, (*where, str(index)))
    elif not _agree(claimed, computed, tolerance, where) and not _left_out(claimed, where):
        yield f"{'.'.join(where)} is claimed to be {_shown(claimed)}; the predictions give {_shown(computed)}"


def _left_out(claimed: object, where: tuple[str, ...]) -> bool:
    """Files from before scores were freed of noise have none."""
    return claimed is None and where == ("noise_corrected",)


def _agree(claimed: object, computed: object, tolerance: float, where: tuple[str, ...]) -> bool:
    if isinstance(claimed, tuple | list) and isinstance(computed, tuple | list):
        # Bootstrap draws are the same, but older versions of itprobe drew them in another order.
        wide = _INTERVAL_TOLERANCE + 0.1 * abs(computed[1] - computed[0]) + tolerance
        return all(same(one, other, wide) for one, other in zip(claimed, computed, strict=True))
    if isinstance(claimed, bool | str) or isinstance(computed, bool | str):
        return claimed == computed
    if isinstance(claimed, int | float) and isinstance(computed, int | float):
        scale = 10 * max(1.0, abs(computed)) if where[0] == "noise_corrected" else 1.0
        return same(float(claimed), float(computed), tolerance * scale)
    return claimed is None and computed is None


def _neuroid_differences(result: Result, evaluation: Evaluation, slack: np.ndarray) -> Iterator[str]:
    """Scores of single neuroids, each with what rounding allows it."""
    claimed = {one.neuroid_id: one for one in result.per_neuroid or []}
    computed = {
        "pearson_r": mean_over_splits(evaluation.pearson_r),
        "explained_variance": mean_over_splits(evaluation.explained_variance),
    }
    if evaluation.target.reliability is not None:
        computed["reliability"] = evaluation.target.reliability.rho
    for name, values in computed.items():
        wrong = [
            str(neuroid)
            for neuroid, value, loose in zip(evaluation.held_out.neuroid_ids, values, slack, strict=True)
            if not same(getattr(claimed[str(neuroid)], name), number(value), TOLERANCE + float(loose))
        ]
        if wrong:
            some = ", ".join(ascii(neuroid) for neuroid in wrong[:3])
            yield f"{name} of {len(wrong)} neuroids ({some}{', ...' * (len(wrong) > 3)}) is not what predictions give"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list) and len(value) <= 2:
        return f"[{', '.join(_shown(item) for item in value)}]"
    return ascii(value)[:60]
