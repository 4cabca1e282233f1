"""What the page of a model shows: its layers in every table, and each result in detail."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from itprobe.leaderboard.result import Interval, Neuroid, RecordingInfo, Result
from itprobe.leaderboard.site.charts import (
    Curve,
    Histogram,
    Scatter,
    ceiling_scatter,
    histogram,
    layer_curve,
    power_of_ten,
)
from itprobe.leaderboard.site.reproduce import reproduce_command
from itprobe.leaderboard.site.tables import Row, Table
from itprobe.leaderboard.site.ties import MOST_NAMED
from itprobe.leaderboard.site.words import in_natural_order, number, page_name, parameters, small

MOST_DRAWN = 2000
"""Neuroids that a scatter shows; with more it is a histogram."""

AUTO = "auto"

Quartiles = list[tuple[str, str, list[str]]]


@dataclass(frozen=True)
class Model:
    """A network, control or fitted candidate: all results whose candidates differ in the layer alone."""

    name: str
    rows: list[tuple[Table, Row]]

    @property
    def page(self) -> str:
        """File name of its page, without ending."""
        return page_name(self.name)


@dataclass(frozen=True)
class ResultView:
    """One result in detail."""

    row: Row
    anchor: str
    key: str
    open: bool
    value: float | None
    interval: Interval | None
    scatter: Scatter | None
    spread: Histogram | None
    lambdas: Histogram | None
    lambda_note: str
    quartiles: Quartiles
    neuroid_file: str | None
    tied_with: list[str]
    tied_more: int
    chosen: list[tuple[str, int]]
    command: str | None
    parameters: list[tuple[str, str]]

    @property
    def result(self) -> Result:
        """Of the row."""
        return self.row.result


@dataclass(frozen=True)
class Section:
    """A model's results in one table, in the natural order of their layers."""

    table: Table
    recording: RecordingInfo
    score: str
    curve: Curve | None
    comparable: bool
    results: list[ResultView]


def model_name(result: Result) -> str:
    """Candidate id without its layer."""
    layer = result.candidate.layer
    return result.candidate.id.removesuffix(f":{layer}") if layer else result.candidate.id


def models_of(tables: Iterable[Table]) -> list[Model]:
    """All models, by name."""
    rows: dict[str, list[tuple[Table, Row]]] = defaultdict(list)
    for table in tables:
        for row in table.rows:
            rows[model_name(row.result)].append((table, row))
    return [Model(name, rows[name]) for name in sorted(rows)]


def anchor_of(row: Row) -> str:
    """Id of a result within a page."""
    return f"r-{row.entry.sha256[:16]}"


def key_of(row: Row) -> str:
    """Name of a result in addresses and data files."""
    return row.entry.sha256[:16]


def score_of(result: Result) -> tuple[float | None, Interval | None]:
    """What a table's rows show as their score: the median r, or the similarity."""
    pearson = result.scores.pearson_r
    if pearson is not None:
        return pearson.median, pearson.ci95
    return result.scores.primary.value, result.scores.primary.ci95


def ceiling_of(table: Table) -> float | None:
    """√ of the median reliability, which caps the median r; None where it is not known or not positive."""
    reliability = table.reliability
    if reliability is None or not table.of_neuroids or not 0 < reliability.median <= 1:
        return None
    return math.sqrt(reliability.median)


def comparable(table: Table) -> bool:
    """Whether there is something to compare on a page of its own."""
    return len(table.compared) > 1


def sections_of(model: Model, neuroid_file: Callable[[Row], str]) -> list[Section]:
    """A model's results, table by table; `neuroid_file` names the CSV of a result's neuroids."""
    by_table: dict[str, tuple[Table, list[Row]]] = {}
    for table, row in model.rows:
        by_table.setdefault(table.name, (table, []))[1].append(row)
    return [_section(table, rows, neuroid_file) for table, rows in by_table.values()]


def _section(table: Table, rows: Sequence[Row], neuroid_file: Callable[[Row], str]) -> Section:
    in_order = sorted(
        rows,
        key=lambda row: (
            row.result.candidate.layer == AUTO,
            in_natural_order(row.result.candidate.layer or ""),
        ),
    )
    first = min(range(len(in_order)), key=lambda k: table.rows.index(in_order[k]))
    layers = [row for row in in_order if row.result.candidate.layer not in (None, AUTO)]
    scores = [score_of(row.result) for row in layers]
    curve = layer_curve(
        [str(row.result.candidate.layer) for row in layers],
        [value for value, _ in scores],
        [interval for _, interval in scores],
        ceiling_of(table),
    )
    views = [
        _view(table, row, k == first, neuroid_file(row) if row.result.per_neuroid else None)
        for k, row in enumerate(in_order)
    ]
    score = "r" if table.of_neuroids else table.key.mapping.upper()
    return Section(table, table.recording, score, curve, comparable(table), views)


def _view(table: Table, row: Row, opened: bool, neuroid_file: str | None) -> ResultView:
    result = row.result
    neuroids = result.per_neuroid or []
    scatter = ceiling_scatter(neuroids) if len(neuroids) <= MOST_DRAWN else None
    r = [neuroid.pearson_r for neuroid in neuroids if neuroid.pearson_r is not None]
    standing = row.standing
    ties = [table.compared[place].result.candidate.id for place in standing.ties] if standing else []
    lambdas, note = _lambdas(result, neuroids)
    choice = result.candidate.choice
    value, interval = score_of(result)
    return ResultView(
        row=row,
        anchor=anchor_of(row),
        key=key_of(row),
        open=opened,
        value=value,
        interval=interval,
        scatter=scatter,
        spread=None if scatter else histogram(r, number),
        lambdas=lambdas,
        lambda_note=note,
        quartiles=_quartiles(neuroids),
        neuroid_file=neuroid_file,
        tied_with=ties,
        tied_more=standing.tied - len(ties) if standing else 0,
        chosen=Counter(choice.chosen).most_common(MOST_NAMED) if choice else [],
        command=reproduce_command(result),
        parameters=parameters(result.mapping.params),
    )


def _lambdas(result: Result, neuroids: Sequence[Neuroid]) -> tuple[Histogram | None, str]:
    """Distribution of the finite lambdas, and how many neuroids had none."""
    exponents = [math.log10(neuroid.alpha) for neuroid in neuroids if neuroid.alpha and neuroid.alpha > 0]
    chart = histogram(exponents, power_of_ten)
    without = sum(neuroid.mean_predictor_splits > 0 for neuroid in neuroids)
    note = (
        f" For {without} neuroids the mean response was the best prediction in some split." if without else ""
    )
    return chart, note


def _quartiles(neuroids: Sequence[Neuroid]) -> Quartiles:
    """Lowest, quartiles and highest of each figure over neuroids."""
    if not neuroids:
        return []
    caps = [
        None if neuroid.reliability is None else math.sqrt(max(neuroid.reliability, 0.0))
        for neuroid in neuroids
    ]
    figures: list[tuple[str, list[float | None], Callable[[float | None], str]]] = [
        ("r", [neuroid.pearson_r for neuroid in neuroids], number),
        ("ceiling √ρ", caps, number),
        ("EV", [neuroid.explained_variance for neuroid in neuroids], number),
        ("λ", [neuroid.alpha for neuroid in neuroids], small),
    ]
    rows = []
    for label, values, text in figures:
        known = [value for value in values if value is not None]
        if known:
            cuts = np.quantile(known, [0, 0.25, 0.5, 0.75, 1])
            rows.append((label, str(len(known)), [text(float(cut)) for cut in cuts]))
    return rows
