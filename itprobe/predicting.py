"""Predictions of stimuli whose responses are withheld, from a candidate fitted to all the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np
import pandas as pd

from itprobe.api import plan_requests
from itprobe.auto_layer import AUTO
from itprobe.benchmarks import prepare_target
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.fitted import fit_split, split_context
from itprobe.benchmarks.identifiers import FITTED, MAPPING_NAMES
from itprobe.benchmarks.selection import InnerScores, choose, inner_scores
from itprobe.benchmarks.spaces import space_grams, spaces_of
from itprobe.benchmarks.target import Target, default_region
from itprobe.data import load_recording, stimulus_set_sha256
from itprobe.errors import InputError, unknown_name
from itprobe.files import check_folder
from itprobe.fitting import fitted_info, fitted_mapping
from itprobe.leaderboard.board.answers import About, Answers, PublicPart, write_answers
from itprobe.leaderboard.result import CandidateInfo, MappingInfo, TrainingInfo
from itprobe.metrics import (
    DEFAULT_SEED,
    MAPPINGS,
    SPLITS,
    Gram,
    Split,
    SplitPlan,
    predict_held_out,
    with_options,
)
from itprobe.metrics import Mapping as ResponseMapping
from itprobe.metrics.crossvalidate import SplitResult
from itprobe.metrics.diagnostics import effective_dimensionality
from itprobe.metrics.store import GramStore
from itprobe.metrics.variance import is_constant
from itprobe.models import Candidate, Precision
from itprobe.models.fitted import FITTED_NAMES, FittedCandidate, load_fitted
from itprobe.provenance import provenance, training_of


@dataclass(frozen=True)
class Task:
    """What is to be predicted from what.

    Attributes
    ----------
    target : Target
        Of all stimuli that play a part; in place of responses that are not known stand zeros.
    split : Split
    name : str or None
        Of the split that was drawn; None where the test stimuli are those without responses.
    recording : PublicPart
    """

    target: Target
    split: Split
    name: str | None
    recording: PublicPart

    @property
    def plan(self) -> SplitPlan:
        """The one split."""
        return SplitPlan([self.split], None, [])


@dataclass(frozen=True)
class _Predicted:
    """What one candidate predicts, and what a result file says of it."""

    result: SplitResult
    candidate: CandidateInfo
    mapping: MappingInfo
    training: list[TrainingInfo] | None
    warnings: list[str]
    source: Candidate | FittedCandidate


def predict(
    model: str,
    recording: str,
    out: str | Path,
    *,
    split: str = "course",
    region: str | None = None,
    mapping: str = "ridge",
    options: Mapping[str, str] | None = None,
    seed: int = DEFAULT_SEED,
    device: str = "auto",
    precision: Precision = "full",
    extraction: Extraction = Extraction(),
) -> Answers:
    """Fit a candidate to stimuli with responses, predict the others, and write the predictions with their origin.

    Lambda, layer and epoch are chosen within the stimuli with responses.

    Parameters
    ----------
    model : str
        ``NAME[@WEIGHTS]:LAYER``, also with the layer ``auto``; a control; or a candidate that is fitted to responses.
    recording : str
        A name, or the path of a recording. Where it has stimuli without responses, these are predicted from all
        others; else the test part of the split from its training part.
    out : str or Path
        The netCDF file to write.
    split : str
        With a single part, e.g. ``course``.
    region : str, optional
        By default the recording's only one, or IT.
    mapping : str
        Of frozen candidates; ``fitted`` says that a candidate of one's own code learns the responses itself.
    options : mapping of str to str, optional
        Parameters of the mapping, or of a fitted candidate, as text.
    seed : int
        Of the split and of trainings.
    device : str
    precision : {"full", "tf32", "bf16"}
    extraction : Extraction

    Returns
    -------
    Answers
        As written.

    Raises
    ------
    InputError
        If something given cannot be used.
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(f"{out} is a folder: name the file to write, e.g. {out / 'preds.nc'}")
    check_folder(out.parent)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
    task = prepare_task(recording, split, region, seed)
    if mapping == FITTED or model.partition("+")[0] in {name.partition("+")[0] for name in FITTED_NAMES}:
        made = _by_fit(model, task, split, seed, device, options)
    else:
        made = _by_mapping(model, task, _mapping(mapping, options), device, precision, extraction)
    origin = provenance(made.source, extraction.dtype, seed, started, monotonic() - clock)
    about = About(
        candidate=made.candidate,
        mapping=made.mapping,
        recording=task.recording,
        split=task.name,
        seed=seed,
        training=made.training,
        warnings=[*task.target.warnings, *made.warnings],
        provenance=origin,
    )
    neuroid_ids = task.target.neuroids["neuroid_id"].to_numpy()
    answers = Answers(
        about, made.result.stimulus_ids, neuroid_ids, made.result.predictions, made.result.lambdas
    )
    write_answers(answers, out)
    return answers


def prepare_task(recording: str, split: str, region: str | None, seed: int) -> Task:
    """Find out which stimuli are to be predicted, and from which.

    Raises
    ------
    InputError
        If the recording, region or split does not exist, or the split has several parts.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    assembly = load_recording(recording)
    target = prepare_target(assembly, region or default_region(assembly))
    whole, known = assembly.attrs["stimulus_set"], target.stimuli["stimulus_id"].to_numpy()
    unknown = np.array([key for key in whole["stimulus_id"] if key not in set(known)], dtype=object)
    name: str | None = None
    if len(unknown):
        chosen, target = Split(known, unknown), _extended(target, whole, unknown)
    else:
        plan = SPLITS[split](target.stimuli, seed)
        if len(plan.splits) > 1:
            raise InputError(
                f"the split {split} has {len(plan.splits)} parts and {recording} no stimuli without responses: take a "
                "split with one part, e.g. course"
            )
        (chosen,), name = plan.splits, split
    info = PublicPart(
        id=str(target.recording["identifier"]),
        sha256=str(target.recording["sha256"]),
        region=target.region,
        stimulus_set_sha256=stimulus_set_sha256(target.stimulus_set),
        n_train=len(chosen.train),
    )
    return Task(target, chosen, name, info)


def _extended(target: Target, whole: pd.DataFrame, unknown: np.ndarray) -> Target:
    """A target that also holds stimuli without responses; what stands in their place is no response to anything."""
    rows = pd.DataFrame(whole)[whole["stimulus_id"].isin(set(unknown))].set_index("stimulus_id")
    stimuli = pd.concat([target.stimuli, rows.loc[unknown].reset_index()], ignore_index=True)
    # Mappings are fitted to training rows alone; of the others they need no more than that they are numbers.
    nothing = np.zeros((len(unknown), target.responses.shape[1]))
    responses = np.concatenate([target.responses, nothing])
    return replace(target, stimuli=stimuli, stimulus_set=whole, responses=responses)


def _mapping(name: str, options: Mapping[str, str] | None) -> ResponseMapping:
    if name not in MAPPINGS:
        if name in MAPPING_NAMES:
            raise InputError(
                f"{name} compares all stimuli at once and predicts nothing; take {', '.join(MAPPINGS)}"
            )
        raise unknown_name("mapping", name, MAPPINGS)
    return with_options(MAPPINGS[name], dict(options or {}))


def _by_fit(
    model: str, task: Task, split: str, seed: int, device: str, options: Mapping[str, str] | None
) -> _Predicted:
    """Train a candidate on responses."""
    candidate = load_fitted(model, device, seed, options)
    context = split_context(task.target, task.name or "all with responses", 1, 1, seed)
    result, fitted = fit_split(candidate, task.target, task.split, context)
    training = training_of([fitted.report]) if fitted.report is not None else None
    return _Predicted(result, fitted_info(candidate), fitted_mapping(candidate), training, [], candidate)


def _by_mapping(
    model: str,
    task: Task,
    mapping: ResponseMapping,
    device: str,
    precision: Precision,
    extraction: Extraction,
) -> _Predicted:
    """Map one layer of a frozen candidate, named or chosen on inner folds of the training stimuli."""
    (request,) = plan_requests([model], [], device, precision=precision, auto=True)
    candidate, layers = request.candidate, request.layers
    if len(layers) > 1:
        raise InputError(f"{candidate.identifier}: name one layer of: {', '.join([AUTO, *layers])}")
    candidate.check_stimuli(task.target.stimulus_set)
    notes: list[str] = []
    layer = layers[0]
    if layer == AUTO:
        layer, notes = _chosen_layer(candidate, task, mapping, extraction)
    ((_, grams, ids),) = _grams(candidate, task, [layer], mapping, extraction)
    if all(is_constant(gram) for gram in grams):
        raise InputError(
            f"{candidate.identifier}:{layer} has no variance: every image gives the same activations"
        )
    (result,) = predict_held_out(
        grams,
        ids,
        task.target.responses,
        task.target.stimuli["stimulus_id"].to_numpy(),
        mapping,
        [task.split],
        task.target.strata,
    )
    network = candidate.track != "control"
    named = AUTO if layers[0] == AUTO else layer
    info = CandidateInfo(
        id=f"{candidate.identifier}:{named}" if network else candidate.identifier,
        layer=named if network else None,
        track=candidate.track,
        weights=candidate.weights_kind,
        weights_sha256=candidate.weights_sha256,
        n_features=sum(gram.n_features for gram in grams),
        effective_dimensionality=float(effective_dimensionality(grams[0])) if len(grams) == 1 else None,
    )
    how = MappingInfo(
        name=mapping.name, params=mapping.parameters(), spaces=spaces_of(candidate, layer, mapping.name)
    )
    return _Predicted(result, info, how, None, [*notes, *result.notes], candidate)


def _chosen_layer(
    candidate: Candidate, task: Task, mapping: ResponseMapping, extraction: Extraction
) -> tuple[str, list[str]]:
    """The block that predicts best on inner folds of the training stimuli, and what to say of the choice."""
    inner: dict[str, InnerScores] = {}
    blocks = candidate.layers("blocks")
    for layer, grams, ids in _grams(candidate, task, blocks, mapping, extraction):
        inner[layer] = inner_scores(grams, ids, task.target, mapping, task.plan)
    (chosen,) = choose({layer: inner[layer] for layer in blocks})
    return chosen, [f"layer {chosen} of {len(blocks)}, chosen on inner folds of the training stimuli"]


def _grams(
    candidate: Candidate, task: Task, layers: list[str], mapping: ResponseMapping, extraction: Extraction
) -> Iterator[tuple[str, list[Gram], np.ndarray]]:
    stimuli = task.target.stimulus_set
    digest = task.recording.stimulus_set_sha256
    return space_grams(candidate, stimuli, digest, layers, mapping.name, GramStore(), extraction)
