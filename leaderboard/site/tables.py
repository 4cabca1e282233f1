"""Tables of a board: which results may stand in one, and where each candidate stands in it."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

from itprobe.benchmarks.identifiers import FITTED
from itprobe.files import sha256_values
from itprobe.leaderboard.board.reading import Entry
from itprobe.leaderboard.reported import Reported, reported_beside
from itprobe.leaderboard.result import RecordingInfo, ReliabilityInfo, Result
from itprobe.leaderboard.site.tested import MISSING, NO_SCORE, Comparison, Tested
from itprobe.leaderboard.site.ties import Standing, standings
from itprobe.leaderboard.site.words import page_name, plain
from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS

T = TypeVar("T")


class TableKey(NamedTuple):
    """All that results of one table have in common: they differ in the candidate alone.

    `parameters` are the mapping's, as JSON; fitted candidates have their own, which are a part of the candidate.
    """

    recording_sha256: str
    stimulus_set_sha256: str
    region: str
    benchmark_version: int
    track: str
    mapping: str
    parameters: str
    split: str
    n_splits: int
    coord: str | None
    seed: int


@dataclass(frozen=True, eq=False)
class Row:
    """One result in its table.

    Attributes
    ----------
    entry : Entry
    standing : Standing or None
        None where it could not be compared with others: `untested` says why.
    tested : Tested or None
    untested : str
    variant : str
        What tells it from other rows of the same candidate: precision, or a fitted candidate's parameters.
    """

    entry: Entry
    standing: Standing | None
    tested: Tested | None
    untested: str
    variant: str

    @property
    def result(self) -> Result:
        """Of the entry."""
        return self.entry.result


@dataclass(frozen=True, eq=False)
class Table:
    """Results on one thing, best first and those that could not be compared last, and figures reported elsewhere."""

    key: TableKey
    rows: list[Row]
    reported: list[Reported]

    @cached_property
    def name(self) -> str:
        """File name of its page, without ending."""
        recording = self.recording
        title = f"{recording.id} {recording.region} {self.key.mapping} {self.key.split} {self.key.track}"
        return page_name(title, *self.key)

    @cached_property
    def recording(self) -> RecordingInfo:
        """As most results describe it."""
        return most_common([row.result.recording for row in self.rows])

    @cached_property
    def reliability(self) -> ReliabilityInfo | None:
        """As most results that have one describe it."""
        stated = [row.result.scores.reliability for row in self.rows]
        known = [reliability for reliability in stated if reliability is not None]
        return most_common(known) if known else None

    @cached_property
    def of_neuroids(self) -> bool:
        """Whether each neuroid is predicted; RSA and CKA compare whole sets."""
        return any(row.result.scores.pearson_r is not None for row in self.rows)

    @property
    def is_default(self) -> bool:
        """Whether the mapping's parameters are its own defaults; those of fitted candidates differ by candidate."""
        maker = MAPPINGS.get(self.key.mapping) or WHOLE_SET_MAPPINGS.get(self.key.mapping)
        return maker is None or _as_text(maker().parameters()) == self.key.parameters

    @cached_property
    def compared(self) -> list[Row]:
        """Rows that were compared with each other."""
        return [row for row in self.rows if row.standing is not None]


def most_common(values: Sequence[T]) -> T:
    """The most frequent of some values; of several, the first by its text."""
    texts = Counter(map(repr, values))
    return min(values, key=lambda value: (-texts[repr(value)], repr(value)))


def key_of(result: Result) -> TableKey:
    """Table in which a result stands."""
    fitted = result.candidate.track == "fitted"
    return TableKey(
        result.recording.sha256,
        result.recording.stimulus_set_sha256,
        result.recording.region,
        result.benchmark.version,
        "fitted" if fitted else "frozen",
        result.mapping.name,
        "" if fitted else _as_text(result.mapping.params),
        result.split.name,
        result.split.n_splits,
        result.split.coord,
        result.split.seed,
    )


def _as_text(params: object) -> str:
    return json.dumps(params, sort_keys=True)


def make_tables(entries: Iterable[Entry], done: Callable[[], object] = lambda: None) -> list[Table]:
    """Put results into tables and rank them; superseded ones are left out.

    Tables come by recording and region, default parameters first, the frozen track first, then by mapping and split.
    `done` is called for each result.
    """
    grouped: dict[TableKey, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.superseded_by is None:
            grouped[key_of(entry.result)].append(entry)
    return sorted((_table(key, own, done) for key, own in grouped.items()), key=_place)


def _place(table: Table) -> tuple[object, ...]:
    key, recording = table.key, table.recording
    return (
        recording.simulated,
        recording.id,
        key.recording_sha256,
        key.region,
        not table.is_default,
        key.track != "frozen",
        [*MAPPINGS, *WHOLE_SET_MAPPINGS, FITTED, key.mapping].index(key.mapping),
        -len(table.rows),
        *map(str, key),
    )


def _table(key: TableKey, entries: list[Entry], done: Callable[[], object]) -> Table:
    ordered = sorted(entries, key=_by_score)
    found = Comparison(key.seed, done=done).tested(ordered)
    tested = [one for one in found if isinstance(one, Tested)]
    names = [
        candidate_of(entry.result)
        for entry, one in zip(ordered, found, strict=True)
        if isinstance(one, Tested)
    ]
    places = iter(standings([one.draws for one in tested], names))
    rows = [
        Row(entry, next(places), one, "", _variant(entry.result))
        if isinstance(one, Tested)
        else Row(_doubted(entry, one), None, None, one, _variant(entry.result))
        for entry, one in zip(ordered, found, strict=True)
    ]
    if tested:  # a score that nobody could check does not stand above others
        rows.sort(key=lambda row: row.standing is None)
    table = Table(key, rows, [])
    recording = table.recording
    beside = reported_beside(recording.id, recording.region, key.track, key.mapping, key.split)
    return replace(table, reported=list(beside))


def _doubted(entry: Entry, reason: str) -> Entry:
    """An entry that could not be compared, with the reason among its flags unless they say it already."""
    known = entry.result.predictions is None or reason in (NO_SCORE, MISSING)
    return entry if known else replace(entry, flags=[*entry.flags, reason])


def _by_score(entry: Entry) -> tuple[object, ...]:
    """Sorts by the primary score, best first; those without one come last."""
    value = entry.result.scores.primary.value
    return value is None, -(value or 0.0), entry.result.candidate.id, entry.sha256


def candidate_of(result: Result) -> Hashable:
    """What counts as one candidate in a table; precision makes no other one of it, a fitted one's parameters do."""
    fitted = result.candidate.track == "fitted"
    return result.candidate.id, _as_text(result.mapping.params) if fitted else ""


def _variant(result: Result) -> str:
    """What is unusual about how a row was computed."""
    parts = []
    if result.candidate.track == "fitted":
        parts.append(f"parameters {sha256_values(_as_text(result.mapping.params))[:8]}")
    if result.provenance.precision != "full":
        parts.append(f"{plain(result.provenance.precision, 20)} forward pass")
    if result.provenance.features != "float32":
        parts.append(f"features {plain(result.provenance.features, 20)}")
    return ", ".join(parts)
