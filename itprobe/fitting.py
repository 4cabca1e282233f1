"""Candidates that are fitted to responses, scored: refitted for each split, with their loss curves."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from itprobe.api import ScoredLayer, result_of
from itprobe.benchmarks import brainscore_score, load_benchmark
from itprobe.benchmarks.evaluation import Evaluation
from itprobe.benchmarks.identifiers import FITTED
from itprobe.data import stimulus_set_sha256
from itprobe.files import check_folder
from itprobe.leaderboard import Result, save_result
from itprobe.leaderboard.result import CandidateInfo, MappingInfo
from itprobe.leaderboard.training_figure import draw_training
from itprobe.metrics import DEFAULT_SEED
from itprobe.models.fitted import FittedCandidate, load_fitted
from itprobe.provenance import provenance


def score_fitted(
    models: Sequence[str | FittedCandidate],
    benchmark: str,
    *,
    seed: int = DEFAULT_SEED,
    device: str = "auto",
    options: Mapping[str, str] | None = None,
    results: str | Path | None = None,
) -> Iterator[ScoredLayer]:
    """Fit and score candidates one after the other; each result is written as soon as it is there.

    Weights that were fitted before, to the same responses with the same parameters, are taken from the
    cache; a training that was interrupted goes on where it stood.

    Parameters
    ----------
    models : sequence of str or FittedCandidate
        E.g. ``convnet`` or ``combined+efficientnet_lite0:_blocks.8``.
    benchmark : str
        E.g. ``simulated_small.IT-fitted.course``.
    seed : int
        Of splits, bootstrap and training.
    device : str
    options : mapping of str to str, optional
        Parameters as text, for all candidates that are given by id.
    results : str or Path, optional
        Folder for result files and loss curves.

    Yields
    ------
    ScoredLayer

    Raises
    ------
    InputError
        If something given cannot be used.
    """
    candidates = [
        load_fitted(model, device, seed, options) if isinstance(model, str) else model for model in models
    ]
    bench = load_benchmark(benchmark)
    if results is not None:
        check_folder(Path(results))
    digest = stimulus_set_sha256(bench.target.stimulus_set)
    for candidate in candidates:
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
        evaluation = bench.evaluate_fitted(candidate, seed)
        origin = provenance(candidate, "float32", seed, started, monotonic() - clock)
        result = result_of(
            fitted_info(candidate), fitted_mapping(candidate), bench, evaluation, digest, origin
        )
        path = None
        if results is not None:
            path, result = save_result(result, evaluation.held_out, results)
            _draw(evaluation, result, path)
        yield ScoredLayer(result, evaluation.held_out, brainscore_score(evaluation), path)


def fitted_info(candidate: FittedCandidate) -> CandidateInfo:
    """What a result file says of a fitted candidate."""
    return CandidateInfo(
        id=candidate.identifier,
        layer=None,
        track=candidate.track,
        weights=candidate.weights_kind,
        weights_sha256=candidate.weights_sha256,
        n_features=None,
        effective_dimensionality=None,
    )


def fitted_mapping(candidate: FittedCandidate) -> MappingInfo:
    """What stands in the place of a mapping: the candidate's own parameters."""
    return MappingInfo(name=FITTED, params=candidate.parameters(), spaces=[])


def _draw(evaluation: Evaluation, result: Result, path: Path) -> None:
    """Draw the loss curves of all splits beside the result file."""
    trained = [fit.trained for fit in evaluation.fits or [] if fit.trained is not None]
    if trained:
        draw_training(trained, result, path.with_name(f"{path.stem}.training.png"))
