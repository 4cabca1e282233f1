"""The work of a sweep: every layer of a model under every mapping, from one forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np

from itprobe.api import Request, build_result, plan_requests
from itprobe.benchmarks import Evaluation, PredictivityBenchmark, SimilarityEvaluation
from itprobe.benchmarks.features import gram_keys
from itprobe.benchmarks.selection import InnerScores, inner_scores
from itprobe.benchmarks.spaces import grams_of_spaces, in_order, spaces_of
from itprobe.errors import InputError
from itprobe.metrics import Gram
from itprobe.metrics.store import GramStore
from itprobe.models import Candidate, NetworkCandidate, parse_layer
from itprobe.progress import progress_bar
from itprobe.provenance import provenance
from itprobe.sweeping.archive import Archive, Identity, asked_for
from itprobe.sweeping.fits import Job, planned_jobs
from itprobe.sweeping.plan import Settings, SweptModel

LayerGrams = tuple[str, list[Gram], np.ndarray]
Pending = dict[str, list[Job]]
"""Jobs that are not done, by layer."""


@dataclass(frozen=True)
class Entry:
    """One layer of one model under one mapping.

    Attributes
    ----------
    model : str
        The candidate's id without the layer.
    baseline : str or None
        The id that this seed of random weights stands for.
    layer : str
    depth : int or None
        Rank of the layer among the swept ones, in order of execution; None for several at once.
    mapping : str
    path : Path or None
        Its result file; None where it was skipped.
    """

    model: str
    baseline: str | None
    layer: str
    depth: int | None
    mapping: str
    path: Path | None


@dataclass
class Progress:
    """What a sweep has done so far.

    Attributes
    ----------
    entries : list of Entry
    failures : dict of str to str
        Models that failed, with one line each.
    skipped : dict of str to list of str
        Layers left out because their features would have taken a forward pass.
    n_taken_over : int
        Results that were there already.
    """

    entries: list[Entry] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    n_taken_over: int = 0


def sweep_models(
    models: Sequence[SweptModel],
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
) -> Progress:
    """Score every model, one after the other; one that fails is noted and the next has its turn.

    Parameters
    ----------
    models : sequence of SweptModel
    benches : sequence of PredictivityBenchmark
        One per mapping, with the same target.
    stimuli_sha256 : str
    settings : Settings
    archive : Archive
        Each result is in it as soon as it is there.
    """
    progress = Progress()
    seen: set[str] = set()
    with progress_bar(len(models), "sweep", "model") as bar:
        for model in models:
            name = model.name
            try:
                request = request_of(model, settings)
                name = request.candidate.identifier
                if name in seen:
                    raise InputError(f"{name} has the weights of another model of this sweep; give it once")
                seen.add(name)
                _sweep_model(request, model.baseline, benches, stimuli_sha256, settings, archive, progress)
            except InputError as error:
                progress.failures[name if name not in progress.failures else f"{name} (again)"] = str(error)
            bar.update()
    return progress


def request_of(model: SweptModel, settings: Settings) -> Request:
    """A model of a sweep, loaded, with the layers to score.

    Raises
    ------
    InputError
        If the model or a layer does not exist.
    """
    preprocessing = None if isinstance(model.given[0], str) else settings.preprocessing  # ids bring their own
    (request,) = plan_requests(
        model.given, settings.layers, settings.device, preprocessing, settings.precision
    )
    return request


def _sweep_model(
    request: Request,
    baseline: str | None,
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
    progress: Progress,
) -> None:
    """Do all jobs of a model."""
    candidate, name = request.candidate, request.candidate.identifier
    depths = layer_depths(candidate, request.layers)
    jobs = planned_jobs(request.layers, benches, settings)
    paths: dict[Job, Path | None] = {}
    try:
        for job, path in done_jobs(candidate, jobs, stimuli_sha256, settings, archive, progress):
            paths[job] = path
            if path is None and job.layer not in progress.skipped.setdefault(name, []):
                progress.skipped[name].append(job.layer)
    finally:  # what was scored before a failure counts; in the order asked for, whenever it was computed
        progress.entries += [
            Entry(name, baseline, job.layer, depths[job.layer], job.mapping, paths[job])
            for job in jobs
            if job in paths
        ]


def done_jobs(
    candidate: Candidate,
    jobs: Sequence[Job],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
    progress: Progress,
) -> Iterator[tuple[Job, Path | None]]:
    """Take over what is known of some jobs of a model, and do the rest.

    Yields
    ------
    (Job, Path or None)
        Each job and its result file; None, at the end, for those that would have taken a forward pass. What is
        taken over is counted in `progress`.
    """
    candidate.check_stimuli(jobs[0].bench.target.stimulus_set)
    pending: Pending = {}
    asked: dict[Job, Identity] = {}
    for job in jobs:
        asked[job] = asked_for(
            candidate, job.layer, job.bench, stimuli_sha256, settings.seed, settings.extraction
        )
        path = None if settings.resume == "always" else archive.find(asked[job], job.inner_folds)
        if path is None:
            pending.setdefault(job.layer, []).append(job)
        else:
            progress.n_taken_over += 1
            yield job, path
    for job, path in _scored(candidate, pending, stimuli_sha256, settings, archive):
        yield job, path
        pending[job.layer].remove(job)
    for job in [job for left in pending.values() for job in left]:
        # Scores without those of inner folds are better than none, where no pass may be made.
        path = archive.find(asked[job]) if settings.resume == "only-cache" else None
        progress.n_taken_over += path is not None
        yield job, path


def _scored(
    candidate: Candidate,
    pending: Pending,
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
) -> Iterator[tuple[Job, Path]]:
    """Do pending jobs; each result is on disk when it is handed out."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
    with progress_bar(sum(map(len, pending.values())), candidate.identifier, "score") as bar:
        for layer, grams, ids in _grams(candidate, pending, stimuli_sha256, settings):
            for job in list(pending[layer]):
                own = grams if job.mapping == "banded" else grams[:1]
                evaluation, inner = _evaluated(job, own, ids, settings.seed)
                origin = provenance(
                    candidate, settings.extraction.dtype, settings.seed, started, monotonic() - clock
                )
                result = build_result(candidate, layer, job.bench, evaluation, stimuli_sha256, origin)
                yield job, archive.save(result, evaluation, ids, inner)
                bar.update()
                clock = monotonic()


def _evaluated(
    job: Job, grams: Sequence[Gram], stimulus_ids: np.ndarray, seed: int
) -> tuple[Evaluation | SimilarityEvaluation, InnerScores | None]:
    """Evaluate a job, and score it within the training stimuli where that is asked for."""
    bench = job.bench
    evaluation = bench.evaluate_gram(grams, stimulus_ids, seed, job.label)
    if not job.inner_folds or bench.fitted is None:
        return evaluation, None
    inner = inner_scores(grams, stimulus_ids, bench.target, bench.fitted, bench.plan(seed), job.inner_folds)
    return replace(evaluation, warnings=[*evaluation.warnings, *inner.warnings]), inner


def _grams(
    candidate: Candidate,
    pending: Pending,
    stimuli_sha256: str,
    settings: Settings,
) -> Iterator[LayerGrams]:
    """Gram matrices of all pending layers, for all mappings from the same pass.

    The spaces of banded ridge begin with the layer itself, which is what the other mappings take.
    """
    if not pending:
        return
    some_job = next(iter(pending.values()))[0]
    kinds = {
        layer: "banded" if any(job.mapping == "banded" for job in jobs) else "ridge"
        for layer, jobs in pending.items()
    }
    spaces = {layer: spaces_of(candidate, layer, kind) for layer, kind in kinds.items()}
    if settings.resume == "only-cache" and candidate.preprocessing is not None:  # it needs the images
        yield from _stored_grams(candidate, spaces, stimuli_sha256, settings)
        return
    yield from grams_of_spaces(
        candidate,
        some_job.bench.target.stimulus_set,
        stimuli_sha256,
        spaces,
        GramStore(),
        settings.extraction,
    )


def _stored_grams(
    candidate: Candidate, spaces_by_layer: dict[str, list[str]], stimuli_sha256: str, settings: Settings
) -> Iterator[LayerGrams]:
    """Gram matrices of those layers alone whose every space is in the store."""
    store = GramStore()
    for layer, spaces in spaces_by_layer.items():
        keys = gram_keys(candidate, stimuli_sha256, spaces, settings.extraction)
        known = [store.load(keys[space]) if space in keys else None for space in spaces]
        found = [one for one in known if one is not None]
        if len(found) == len(spaces):
            order = found[0][1]
            yield layer, [in_order(gram, ids, order) for gram, ids in found], order


def layer_depths(candidate: Candidate, layers: Sequence[str]) -> dict[str, int | None]:
    """Rank of each layer among `layers`, in order of execution; the same for a layer and its pooled versions."""
    if not isinstance(candidate, NetworkCandidate):
        return dict.fromkeys(layers, 0)
    order = {name: place for place, name in enumerate(candidate.traced)}
    places = {layer: order[parse_layer(layer).module] for layer in layers if "," not in layer}
    ranks = {place: rank for rank, place in enumerate(sorted(set(places.values())))}
    return {layer: ranks[places[layer]] if layer in places else None for layer in layers}
