"""A board's folder: every result file in it, valid or refused with the reason."""

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from itprobe.errors import InputError
from itprobe.leaderboard.board.json_text import printable
from itprobe.leaderboard.board.predictions_file import check_predictions, predictions_path
from itprobe.leaderboard.result import Result
from itprobe.leaderboard.result_files import read_result

PATTERN = "[!.]*.json"
"""Hidden files are those that are still being written."""


@dataclass(frozen=True)
class Entry:
    """One valid result file of a board.

    Attributes
    ----------
    path : Path
        The JSON file.
    result : Result
    sha256 : str
        Digest of the JSON file's bytes.
    flags : list of str
        What a reader should know: no predictions, another result of this name with other weights ...
    superseded_by : str or None
        Name of the file that holds a newer revision of the same result.
    """

    path: Path
    result: Result
    sha256: str
    flags: list[str]
    superseded_by: str | None


@dataclass(frozen=True)
class Refused:
    """A file of the board's folder that is no result, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Board:
    """What lies in a board's folder, sorted by file name."""

    entries: list[Entry]
    refused: list[Refused]


def read_board(folder: Path) -> Board:
    """Read all result files of a folder, whoever wrote them.

    A file that cannot be a result is refused with its reason and never keeps the others from being read. A result
    whose predictions lie in the folder and are not what it says is refused, too; one without predictions is flagged.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}: give the folder that holds the result files")
    entries, refused = [], []
    for path in sorted(folder.glob(PATTERN)):
        try:
            entries.append(read_entry(path))
        except InputError as error:
            refused.append(Refused(printable_name(path), " ".join(str(error).split())))
    return Board(_related(entries), refused)


def read_entry(path: Path) -> Entry:
    """Read one result file and look at its predictions; not yet compared with other entries.

    Raises
    ------
    InputError
        With the reason for which it is refused.
    """
    result, digest = read_result(path)
    flags = []
    if result.predictions is not None:
        predictions = predictions_path(result, path.parent)
        if not predictions.exists() and not predictions.is_symlink():
            flags.append("its predictions are missing: it could not be scored again")
        else:
            check_predictions(predictions, result)
    else:
        flags.append("it has no predictions per stimulus: it could not be scored again")
    return Entry(path, result, digest, flags, None)


def printable_name(path: Path) -> str:
    """A file's name as it can be shown: as it is where it is plain, else quoted and escaped."""
    return path.name if path.name.isprintable() and len(path.name) <= 255 else printable(path.name, 255)


def same_result(result: Result) -> Hashable:
    """What makes two results revisions of one: candidate, recording by its own name, benchmark, seed, parameters.

    A benchmark's id may hold the path under which a recording lay, which differs from lab to lab.
    """
    return (
        result.candidate.id,
        result.recording.id,
        result.recording.region,
        (result.mapping.name, json.dumps(result.mapping.params, sort_keys=True)),
        (result.split.name, result.split.seed),
        (result.provenance.precision, result.provenance.features),
    )


def digests_of(result: Result) -> tuple[str | None, ...]:
    """What `same_result` leaves open: which weights, responses and images it was."""
    return (
        result.candidate.weights_sha256,
        result.recording.sha256,
        result.recording.stimulus_set_sha256,
    )


def _related(entries: Sequence[Entry]) -> list[Entry]:
    """Mark older revisions, and results of one name that are not of one thing."""
    by_name: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_name[same_result(entry.result)].append(entry)
    marked = {}
    for group in by_name.values():
        newest: dict[tuple[str | None, ...], Entry] = {}
        for entry in sorted(group, key=revision):
            newest[digests_of(entry.result)] = entry
        for entry in group:
            last = newest[digests_of(entry.result)]
            others = [other for other in newest.values() if other is not last]
            marked[entry.path] = replace(
                entry,
                flags=entry.flags + [_differs(entry, other) for other in others],
                superseded_by=None if last is entry else printable_name(last.path),
            )
    return [marked[entry.path] for entry in entries]


def revision(entry: Entry) -> tuple[int, str, str]:
    """Sorts the revisions of a result, newest last."""
    result = entry.result
    return result.benchmark.version, result.provenance.started, entry.sha256


def _differs(entry: Entry, other: Entry) -> str:
    names = ("weights", "responses", "images")
    pairs = zip(names, digests_of(entry.result), digests_of(other.result), strict=True)
    differing = " and ".join(name for name, own, theirs in pairs if own != theirs)
    return f"same id as {printable_name(other.path)}, other {differing}"
