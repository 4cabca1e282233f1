"""The public API: score candidates on benchmarks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from brainscore_core.metrics import Score
from torch import nn

from itprobe.auto_layer import AUTO, LayerChooser, check_auto
from itprobe.benchmarks import (
    Evaluation,
    PredictivityBenchmark,
    SimilarityEvaluation,
    brainscore_score,
    load_benchmark,
    parse_benchmark,
)
from itprobe.benchmarks.benchmark import VERSION
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.identifiers import FITTED
from itprobe.benchmarks.spaces import space_grams, spaces_of
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.files import check_folder
from itprobe.leaderboard import SIMULATED_NOTE, Result, draw_diagnostics, save_result
from itprobe.leaderboard.result import (
    BenchmarkInfo,
    CandidateInfo,
    MappingInfo,
    Provenance,
    RecordingInfo,
    Scores,
    SplitInfo,
)
from itprobe.metrics import DEFAULT_SEED, Gram, HeldOut, Mapping, WholeSetMapping
from itprobe.metrics.diagnostics import lambda_curve, spectrum
from itprobe.metrics.store import GramStore
from itprobe.models import Candidate, Precision, load_candidate, parse_candidate
from itprobe.provenance import per_neuroid, provenance, training_info


@dataclass(frozen=True)
class ScoredLayer:
    """One candidate layer's result.

    Attributes
    ----------
    result : Result
        What stands in the result file.
    held_out : HeldOut or None
        Predictions for the test stimuli, for paired differences; None for similarities (RSA, CKA).
    score : Score
        The same as Brain-Score object.
    path : Path or None
        The result file, where one was written.
    """

    result: Result
    held_out: HeldOut | None
    score: Score
    path: Path | None


def score(
    model: str | nn.Module,
    benchmark: str,
    *,
    layer: str | None = None,
    seed: int = DEFAULT_SEED,
    device: str = "auto",
    results: str | Path | None = None,
    preprocessing: dict[str, Any] | None = None,
    mapping: Mapping | WholeSetMapping | None = None,
    precision: Precision = "full",
    extraction: Extraction = Extraction(),
) -> Score:
    """Score one layer of a model on a benchmark.

    Parameters
    ----------
    model : str or torch.nn.Module
        A candidate id, e.g. ``efficientnet_lite0:_blocks.12``, or any network; for a ``-fitted`` benchmark
        e.g. ``convnet``.
    benchmark : str
        E.g. ``simulated_small.IT-ridge`` or ``path/to/recording.nc#V4-ridge.course``.
    layer : str, optional
        The layer, where `model` does not name one; ``NAME,NAME`` for a ``-banded`` benchmark; ``auto`` for
        the block that each split chooses on inner folds of its training stimuli.
    seed : int
        Of splits and bootstrap; 1 is Brain-Score's.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    results : str or Path, optional
        Folder to write the result file and the held-out predictions to.
    preprocessing : dict, optional
        For a module object: size, mean, std, interpolation of its images.
    mapping : Mapping, optional
        The benchmark's mapping with other parameters, e.g. ``RidgeMapping(per_neuroid=False)``.
    precision : {"full", "tf32", "bf16"}
        Of the forward pass.
    extraction : Extraction
        Memory that features may take, and the type they are kept in.

    Returns
    -------
    Score
        r |r| / median reliability of the median r where the recording has repetitions, else the median r, with
        ``attrs``: raw, ceiling, ci (95 %), error, summary and result (a `Result`).

    Raises
    ------
    InputError
        If something given cannot be used, in one line.
    """
    if parse_benchmark(benchmark).mapping == FITTED:
        from itprobe.fitting import score_fitted  # it builds on this module

        if not isinstance(model, str) or layer or mapping or preprocessing or precision != "full":
            raise InputError(
                f"{benchmark} is for candidates that are fitted to responses: give an id such as convnet, without "
                "layer, mapping, preprocessing or precision"
            )
        (scored,) = score_fitted([model], benchmark, seed=seed, device=device, results=results)
        scored.score.attrs["result"] = scored.result
        return scored.score
    requests = plan_requests([model], [layer] if layer else [], device, preprocessing, precision, auto=True)
    layers = requests[0].layers
    if len(layers) > 1:
        raise InputError(f"{requests[0].candidate.identifier}: name one layer of: {', '.join(layers)}")
    (scored,) = score_requests(
        requests, benchmark, seed=seed, results=results, mapping=mapping, extraction=extraction
    )
    scored.score.attrs["result"] = scored.result
    return scored.score


@dataclass(frozen=True)
class Request:
    """A loaded candidate and the layers of it to score (``auto`` may be among them), all from one forward pass."""

    candidate: Candidate
    layers: list[str]


def plan_requests(
    models: Sequence[str | nn.Module],
    layers: Sequence[str] = (),
    device: str = "auto",
    preprocessing: dict[str, Any] | None = None,
    precision: Precision = "full",
    auto: bool = False,
) -> list[Request]:
    """Load candidates and settle their layers, so that what is misspelt is known before anything is run.

    Parameters
    ----------
    models : sequence of candidate ids or modules
        Ids that differ in the layer only share a forward pass.
    layers : sequence of str
        Layers for networks whose id names none; "all" and "blocks" stand for many, ``NAME,NAME`` for several
        at once. By default a network's blocks. Controls have one layer and take no notice.
    device : str
    preprocessing : dict, optional
        For module objects.
    precision : {"full", "tf32", "bf16"}
        Of the forward passes.
    auto : bool
        Take ``auto`` for a layer of networks.

    Raises
    ------
    InputError
        If a candidate or a layer does not exist.
    """
    requests: dict[str, Request] = {}
    for model in models:
        if isinstance(model, nn.Module):
            candidate, own = load_candidate(model, device, preprocessing, precision), None
        else:
            parsed = parse_candidate(model)
            own = parsed.layer
            known = requests.get(parsed.identifier)
            candidate = known.candidate if known else load_candidate(parsed, device, precision=precision)
        request = requests.setdefault(candidate.identifier, Request(candidate, []))
        wanted = [own] if own else list(layers)
        if AUTO in wanted:
            check_auto(candidate, auto)
        elif own and candidate.track == "control":
            candidate.check_layer(own)
        for name in _layers_of(candidate, wanted):
            if name not in request.layers:
                request.layers.append(name)
    return list(requests.values())


def _layers_of(candidate: Candidate, wanted: list[str]) -> list[str]:
    """Layer names with "all", "blocks" and the default written out."""
    if candidate.track == "control":
        return candidate.layers()
    names: list[str] = []
    for name in wanted or ["blocks"]:
        if name in ("all", "blocks"):
            found = candidate.layers("all" if name == "all" else "blocks")
            if not found:
                raise InputError(
                    f"{candidate.identifier} has no {'layers' if name == 'all' else 'blocks'} that compute anything: "
                    "no convolution, linear or attention layer; name a module of it that runs, as MODEL:MODULE"
                )
            names += found
        elif name == AUTO:
            names.append(name)
        else:
            names.append(",".join(candidate.resolve_layer(part) for part in name.split(",")))
    return names


def score_requests(
    requests: Sequence[Request],
    benchmark: str,
    *,
    seed: int = DEFAULT_SEED,
    results: str | Path | None = None,
    mapping: Mapping | WholeSetMapping | None = None,
    extraction: Extraction = Extraction(),
    diagnostics: bool = False,
) -> Iterator[ScoredLayer]:
    """Score layers one after the other; each result is written as soon as it is there.

    Parameters
    ----------
    requests : sequence of Request
        From `plan_requests`.
    benchmark : str
    seed : int
    results : str or Path, optional
        Folder for result files.
    mapping : Mapping, optional
        The benchmark's mapping with other parameters.
    extraction : Extraction
        Memory that features may take, and the type they are kept in.
    diagnostics : bool
        Draw each layer's spectrum and lambda curve beside its result file.

    Yields
    ------
    ScoredLayer

    Raises
    ------
    InputError
    """
    bench = load_benchmark(benchmark, mapping)
    if results is not None:
        check_folder(Path(results))
    stimuli = bench.target.stimulus_set
    digest = stimulus_set_sha256(stimuli)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    kind = bench.benchmark_id.mapping
    choosers = [
        LayerChooser(request.candidate, bench, seed) if AUTO in request.layers else None
        for request in requests
    ]
    to_score = [_named(request, chooser) for request, chooser in zip(requests, choosers, strict=True)]
    for request, layers in zip(requests, to_score, strict=True):  # better known before hours of work
        request.candidate.check_stimuli(stimuli)
        for layer in layers:
            spaces_of(request.candidate, layer, kind)
    for request, layers, chooser in zip(requests, to_score, choosers, strict=True):
        candidate, clock = request.candidate, monotonic()
        for layer, grams, ids in space_grams(
            candidate, stimuli, digest, layers, kind, GramStore(), extraction
        ):
            evaluation = bench.evaluate_gram(grams, ids, seed, layer)
            if chooser and layer in chooser.layers:
                chooser.take(layer, grams, ids, evaluation)
            if layer in request.layers:
                origin = provenance(candidate, extraction.dtype, seed, started, monotonic() - clock)
                result = build_result(candidate, layer, bench, evaluation, digest, origin)
                scored = _written(result, evaluation, results)
                if diagnostics and scored.path:
                    _draw_diagnostics(grams, evaluation, scored.result, scored.path)
                yield scored
                clock = monotonic()
        if chooser:
            info, how, nested = chooser.choose()
            origin = provenance(candidate, extraction.dtype, seed, started, monotonic() - clock)
            yield _written(result_of(info, how, bench, nested, digest, origin), nested, results)


def _named(request: Request, chooser: LayerChooser | None) -> list[str]:
    """Layers whose features a request takes."""
    named = [layer for layer in request.layers if layer != AUTO]
    return list(dict.fromkeys([*named, *(chooser.layers if chooser else [])]))


def _written(
    result: Result, evaluation: Evaluation | SimilarityEvaluation, results: str | Path | None
) -> ScoredLayer:
    """A result, in its file where a folder is given."""
    held_out, path = evaluation.held_out if isinstance(evaluation, Evaluation) else None, None
    if results is not None:
        path, result = save_result(result, held_out, results)
    return ScoredLayer(result, held_out, brainscore_score(evaluation), path)


def _draw_diagnostics(
    grams: Sequence[Gram], evaluation: Evaluation | SimilarityEvaluation, result: Result, path: Path
) -> None:
    """Draw the spectrum of each of a layer's spaces, with the lambda curve where lambda was chosen."""
    choices = evaluation.choices if isinstance(evaluation, Evaluation) else []
    chosen = [choice for choice in choices if choice is not None]
    for index, gram in enumerate(grams, start=1):
        suffix = ".diagnostics" if len(grams) == 1 else f".diagnostics{index}"
        picture = path.with_name(f"{path.stem}{suffix}.png")
        draw_diagnostics(spectrum(gram), lambda_curve(chosen) if chosen else None, result, picture)


def build_result(
    candidate: Candidate,
    layer: str,
    bench: PredictivityBenchmark,
    evaluation: Evaluation | SimilarityEvaluation,
    stimuli_digest: str,
    origin: Provenance,
) -> Result:
    """Everything the result file says about one layer."""
    network = candidate.track != "control"
    spaces = spaces_of(candidate, layer, bench.benchmark_id.mapping)
    info = CandidateInfo(
        id=f"{candidate.identifier}:{layer}" if network else candidate.identifier,
        layer=layer if network else None,
        track=candidate.track,
        weights=candidate.weights_kind,
        weights_sha256=candidate.weights_sha256,
        n_features=evaluation.n_features,
        effective_dimensionality=evaluation.effective_dimensionality,
    )
    mapping = MappingInfo(name=bench.benchmark_id.mapping, params=bench.parameters, spaces=spaces)
    return result_of(info, mapping, bench, evaluation, stimuli_digest, origin)


def result_of(
    candidate: CandidateInfo,
    mapping: MappingInfo,
    bench: PredictivityBenchmark,
    evaluation: Evaluation | SimilarityEvaluation,
    stimuli_digest: str,
    origin: Provenance,
) -> Result:
    """Everything the result file says about one candidate, of whatever track."""
    target = bench.target
    warnings = [*target.warnings, *evaluation.warnings]
    if target.recording["simulated"]:
        warnings.append(SIMULATED_NOTE)
    return Result(
        candidate=candidate,
        benchmark=BenchmarkInfo(id=str(bench.benchmark_id), version=VERSION),
        recording=RecordingInfo(
            id=str(target.recording["identifier"]),
            sha256=str(target.recording["sha256"]),
            region=target.region,
            n_stimuli=len(target.stimuli),
            n_neuroids=len(target.neuroids),
            repetitions_median=target.repetitions_median,
            simulated=bool(target.recording["simulated"]),
            stimulus_set_sha256=stimuli_digest,
            citation=str(target.recording["citation"]),
        ),
        mapping=mapping,
        split=_split_info(evaluation, bench.benchmark_id.split),
        scores=Scores.model_validate(evaluation.summary),
        per_neuroid=per_neuroid(evaluation, mapping.spaces),
        predictions=None,
        training=training_info(evaluation),
        warnings=warnings,
        provenance=origin,
    )


def _split_info(evaluation: Evaluation | SimilarityEvaluation, name: str) -> SplitInfo:
    if isinstance(evaluation, SimilarityEvaluation):
        return SplitInfo(name="all stimuli at once", n_splits=0, seed=evaluation.seed, coord=None)
    plan = evaluation.plan
    return SplitInfo(name=name, n_splits=len(plan.splits), seed=evaluation.seed, coord=plan.coord)
