"""The work of a sweep: every layer of a model under every mapping, from one forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np

from itprobe.api import Request, build_result, plan_requests
from itprobe.benchmarks import PredictivityBenchmark
from itprobe.benchmarks.features import gram_keys
from itprobe.benchmarks.spaces import in_order, space_grams, spaces_of
from itprobe.errors import InputError
from itprobe.metrics import Gram
from itprobe.metrics.store import GramStore
from itprobe.models import Candidate, NetworkCandidate, parse_layer
from itprobe.progress import progress_bar
from itprobe.provenance import provenance
from itprobe.sweeping.archive import Archive, asked_for
from itprobe.sweeping.plan import Settings, SweptModel

LayerGrams = tuple[str, list[Gram], np.ndarray]


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
                (request,) = plan_requests(
                    model.given,
                    settings.layers,
                    settings.device,
                    _preprocessing(model, settings),
                    settings.precision,
                )
                name = request.candidate.identifier
                if name in seen:
                    raise InputError(f"{name} has the weights of another model of this sweep; give it once")
                seen.add(name)
                _sweep_model(request, model.baseline, benches, stimuli_sha256, settings, archive, progress)
            except InputError as error:
                progress.failures[name if name not in progress.failures else f"{name} (again)"] = str(error)
            bar.update()
    return progress


def _preprocessing(model: SweptModel, settings: Settings) -> dict[str, object] | None:
    """Of module objects; ids bring their own."""
    return None if isinstance(model.given[0], str) else settings.preprocessing


def _sweep_model(
    request: Request,
    baseline: str | None,
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
    progress: Progress,
) -> None:
    """Take over what is known of a model, and score the rest."""
    candidate, stimuli = request.candidate, benches[0].target.stimulus_set
    candidate.check_stimuli(stimuli)
    depths = layer_depths(candidate, request.layers)
    jobs = [(layer, bench) for layer in request.layers for bench in _applicable(benches, layer)]
    paths: dict[tuple[str, str], Path | None] = {}
    pending: dict[str, list[PredictivityBenchmark]] = {}
    for layer, bench in jobs:
        identity = asked_for(candidate, layer, bench, stimuli_sha256, settings.seed, settings.extraction)
        path = None if settings.resume == "always" else archive.find(identity)
        if path is None:
            pending.setdefault(layer, []).append(bench)
        else:
            paths[layer, bench.benchmark_id.mapping] = path
            progress.n_taken_over += 1
    try:
        for layer, bench, path in _scored(candidate, pending, benches, stimuli_sha256, settings, archive):
            paths[layer, bench.benchmark_id.mapping] = path
            pending[layer].remove(bench)
        for layer in [layer for layer, left in pending.items() if left]:
            progress.skipped.setdefault(candidate.identifier, []).append(layer)
            paths |= {(layer, bench.benchmark_id.mapping): None for bench in pending[layer]}
    finally:  # what was scored before a failure counts; in the order asked for, whenever it was computed
        done = [(layer, bench.benchmark_id.mapping) for layer, bench in jobs]
        progress.entries += [
            Entry(candidate.identifier, baseline, layer, depths[layer], mapping, paths[layer, mapping])
            for layer, mapping in done
            if (layer, mapping) in paths
        ]


def _scored(
    candidate: Candidate,
    pending: dict[str, list[PredictivityBenchmark]],
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
) -> Iterator[tuple[str, PredictivityBenchmark, Path]]:
    """Score pending layers on their benchmarks; each result is on disk when it is handed out."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
    with progress_bar(sum(map(len, pending.values())), candidate.identifier, "score") as bar:
        for layer, grams, ids in _grams(candidate, pending, benches, stimuli_sha256, settings):
            for bench in list(pending[layer]):
                own = grams if bench.benchmark_id.mapping == "banded" else grams[:1]
                evaluation = bench.evaluate_gram(own, ids, settings.seed, layer)
                origin = provenance(
                    candidate, settings.extraction.dtype, settings.seed, started, monotonic() - clock
                )
                result = build_result(candidate, layer, bench, evaluation, stimuli_sha256, origin)
                yield layer, bench, archive.save(result, evaluation)
                bar.update()
                clock = monotonic()


def _applicable(benches: Sequence[PredictivityBenchmark], layer: str) -> list[PredictivityBenchmark]:
    """Benchmarks that a layer is scored on: several layers at once only under banded ridge, if it is asked for."""
    banded = [bench for bench in benches if bench.benchmark_id.mapping == "banded"]
    return banded if "," in layer and banded else list(benches)


def _grams(
    candidate: Candidate,
    pending: dict[str, list[PredictivityBenchmark]],
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
) -> Iterator[LayerGrams]:
    """Gram matrices of all pending layers, for all mappings from the same pass.

    The spaces of banded ridge begin with the layer itself, which is what the other mappings take.
    """
    if not pending:
        return
    mappings = {bench.benchmark_id.mapping for left in pending.values() for bench in left}
    kind = "banded" if "banded" in mappings else "ridge"
    images_needed = candidate.preprocessing is not None
    if settings.resume == "only-cache" and images_needed:
        yield from _stored_grams(candidate, pending, kind, stimuli_sha256, settings)
        return
    yield from space_grams(
        candidate,
        benches[0].target.stimulus_set,
        stimuli_sha256,
        list(pending),
        kind,
        GramStore(),
        settings.extraction,
    )


def _stored_grams(
    candidate: Candidate,
    pending: dict[str, list[PredictivityBenchmark]],
    kind: str,
    stimuli_sha256: str,
    settings: Settings,
) -> Iterator[LayerGrams]:
    """Gram matrices of those layers alone whose every space is in the store."""
    store = GramStore()
    for layer in list(pending):
        banded = any(bench.benchmark_id.mapping == "banded" for bench in pending[layer])
        spaces = spaces_of(candidate, layer, kind if banded else "ridge")
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
