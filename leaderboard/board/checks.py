"""Whether a submitted result may go on a board: everything that speaks against it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

from itprobe.benchmarks import prepare_target
from itprobe.benchmarks.target import Target
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.leaderboard.board.claims import WITHHELD, contradictions, implausible
from itprobe.leaderboard.board.reading import Board, Entry, digests_of, printable_name, revision, same_result
from itprobe.leaderboard.board.rescoring import check_predictions_of, differing_claims
from itprobe.leaderboard.result import RecordingInfo, Result
from itprobe.leaderboard.result_files import load_held_out
from itprobe.metrics import SPLITS, HeldOut

RESPONSE_TOLERANCE = 1e-5
"""Relative: responses are averaged in float64 and kept in float32."""
_SHORT = 12


@dataclass(frozen=True)
class Reference:
    """What is known of the responses that a result is about.

    Attributes
    ----------
    name : str
        For messages: a recording, or another entry of the board.
    recording : RecordingInfo
        What a result file says of it.
    responses : DataFrame (stimulus_id, neuroid_id) or None
        None where only a similarity without predictions is known of it.
    test_parts : list of ndarray or None
        Stimuli that each split tests, where the splits are the same.
    target : Target or None
        Where the recording itself is at hand.
    """

    name: str
    recording: RecordingInfo
    responses: pd.DataFrame | None
    test_parts: list[np.ndarray] | None
    target: Target | None


def objections(entry: Entry, board: Board, assembly: NeuroidAssembly | None = None) -> list[str]:
    """Say everything that speaks against adding a result to a board.

    Parameters
    ----------
    entry : Entry
        Of a valid file, from `itprobe.leaderboard.board.reading.read_entry`.
    board : Board
        What is there.
    assembly : NeuroidAssembly, optional
        The recording, where it is at hand. Else the result's responses are held against those of other entries.

    Returns
    -------
    list of str
        One line each; empty where nothing does.
    """
    result = entry.result
    found = [*repeated(entry, board), *contradictions(result), *implausible(result)]
    if result.split.name == WITHHELD:
        return [
            *found,
            "only the host scores withheld responses: `itprobe leaderboard grade` puts the result there",
        ]
    try:
        reference = _of_recording(result, assembly) if assembly is not None else _of_board(result, board)
    except InputError as error:
        return [*found, str(error)]
    found += _recording_differences(result, reference)
    if result.per_neuroid is None:
        return found
    held_out, fault = _held_out(entry)
    if held_out is None:
        return [*found, fault]
    wrong = check_predictions_of(result, held_out) or list(_response_differences(held_out, reference))
    return [*found, *(wrong or differing_claims(result, held_out, reference.target))]


def repeated(entry: Entry, board: Board) -> Iterator[str]:
    """Say whether the board has the result, a newer revision of it, or its predictions under another name."""
    result = entry.result
    for other in board.entries:
        theirs, name = other.result, printable_name(other.path)
        if _same_run(theirs, result):
            yield f"the board has this very result: {name}"
        elif result.predictions and theirs.predictions and _same_predictions(result, theirs):
            yield f"its predictions are those of {name}, file for file"
        elif _revisions(theirs, result) and revision(other) > revision(entry):
            yield f"the board has a newer revision of it: {name}, of {theirs.provenance.started}"


def content_of(result: Result) -> str:
    """A result's content, wherever its predictions lie."""
    named = result.predictions and result.predictions.model_copy(update={"file": "-"})
    return result.model_copy(update={"predictions": named}).model_dump_json()


def _same_run(one: Result, other: Result) -> bool:
    """Equal but for the predictions' file, whose bytes hold the time at which it was written."""
    if one.provenance != other.provenance:
        return False  # which most entries end with
    mine, theirs = (result.model_dump_json(exclude={"predictions"}) for result in (one, other))
    return mine == theirs


def _revisions(one: Result, other: Result) -> bool:
    return same_result(one) == same_result(other) and digests_of(one) == digests_of(other)


def _same_predictions(one: Result, other: Result) -> bool:
    assert one.predictions
    assert other.predictions
    return one.predictions.sha256 == other.predictions.sha256


def _held_out(entry: Entry) -> tuple[HeldOut | None, str]:
    """A result's predictions, or what is wrong with them."""
    if entry.result.predictions is None:
        return None, "it has no predictions per stimulus, so that it cannot be scored again"
    try:
        return load_held_out(entry.result, entry.path.parent), ""
    except InputError as error:
        return None, str(error)


def _of_recording(result: Result, assembly: NeuroidAssembly) -> Reference:
    target = prepare_target(assembly, result.recording.region)
    ids, neuroids = target.stimuli["stimulus_id"], target.neuroids["neuroid_id"]
    recording = RecordingInfo(
        id=str(target.recording["identifier"]),
        sha256=str(target.recording["sha256"]),
        region=target.region,
        n_stimuli=len(ids),
        n_neuroids=len(neuroids),
        repetitions_median=target.repetitions_median,
        simulated=bool(target.recording["simulated"]),
        stimulus_set_sha256=stimulus_set_sha256(target.stimulus_set),
        citation=str(target.recording["citation"]),
    )
    responses = pd.DataFrame(target.responses, index=ids, columns=neuroids)
    parts = None
    if result.split.name in SPLITS:
        parts = [split.test for split in SPLITS[result.split.name](target.stimuli, result.split.seed).splits]
    return Reference(f"the recording {recording.id}", recording, responses, parts, target)


def _of_board(result: Result, board: Board) -> Reference:
    """Another result on the same responses; best one with predictions on the same splits."""
    known = [other for other in board.entries if other.result.recording.sha256 == result.recording.sha256]
    known = [other for other in known if other.result.recording.region == result.recording.region]
    if not known:
        raise InputError(
            f"its recording {result.recording.id!a} (digest {result.recording.sha256[:_SHORT]}..., region "
            f"{result.recording.region}) is unknown: no entry of the board is on it; give it with --recording"
        )
    known.sort(key=lambda other: (_held_out(other)[0] is not None, other.result.split == result.split))
    best = known[-1]
    held_out, _ = _held_out(best)
    same_splits = best.result.split == result.split
    return Reference(
        f"the entry {printable_name(best.path)}",
        best.result.recording,
        None if held_out is None else _table(held_out, held_out.responses),
        held_out.stimulus_ids if held_out and same_splits else None,
        None,
    )


def _table(held_out: HeldOut, values: list[np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame(
        np.concatenate(values), index=np.concatenate(held_out.stimulus_ids), columns=held_out.neuroid_ids
    )
    return table[~table.index.duplicated()]


def _recording_differences(result: Result, reference: Reference) -> Iterator[str]:
    claimed, known = result.recording.model_dump(), reference.recording.model_dump()
    # The same recording may go by the name under which it lies in another folder.
    for name in [name for name in claimed if name not in ("id", "citation")]:
        if claimed[name] != known[name]:
            yield f"recording.{name} is {_short(claimed[name])}; {reference.name} has {_short(known[name])}"


def _short(value: object) -> str:
    return f"{value[:_SHORT]!a}" if isinstance(value, str) else f"{value}"


def _response_differences(held_out: HeldOut, reference: Reference) -> Iterator[str]:
    """Responses must be the recording's own, and the test stimuli those of the split."""
    if reference.test_parts is not None:
        parts = [set(ids) for ids in reference.test_parts]
        if parts != [set(ids) for ids in held_out.stimulus_ids]:
            yield f"its test stimuli are not those that its split and seed draw ({reference.name})"
    if reference.responses is None:
        return
    foreign = set(held_out.neuroid_ids) != set(reference.responses.columns)
    if foreign or _foreign_stimuli(set().union(*held_out.stimulus_ids), reference):
        yield f"it predicts stimuli or neuroids that {reference.name} does not have"
        return
    compared = 0
    for ids, responses in zip(held_out.stimulus_ids, held_out.responses, strict=True):
        own = pd.DataFrame(responses, index=ids, columns=held_out.neuroid_ids)
        theirs = reference.responses.reindex(index=own.index, columns=own.columns).to_numpy()
        known = np.isfinite(theirs)
        compared += int(known.sum())
        scale = np.abs(theirs[known]).max(initial=0)
        differing = int((np.abs(own.to_numpy() - theirs)[known] > RESPONSE_TOLERANCE * scale).sum())
        if differing:
            yield f"{differing} of the responses in its predictions are not those of {reference.name}"
            return
    if not compared:
        yield f"none of its responses can be compared with those of {reference.name}: give --recording"


def _foreign_stimuli(stimulus_ids: set[str], reference: Reference) -> bool:
    """Whether stimuli cannot be the recording's; of these another entry knows some, and how many there are."""
    assert reference.responses is not None
    known = set(reference.responses.index)
    if reference.target is not None:
        return not stimulus_ids <= known
    return len(known | stimulus_ids) > reference.recording.n_stimuli
