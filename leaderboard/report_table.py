"""Table I of the report ("Predicting IT Neuron Activity") beside what a correct protocol gives.

What the report printed stands in columns of its own, marked as reported; a cell without a run is empty.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from tabulate import tabulate

from itprobe.benchmarks.summary import Summary
from itprobe.errors import InputError
from itprobe.files import atomic_file
from itprobe.leaderboard.figure_style import COLOURS, new_figure, save_figure, tidy
from itprobe.leaderboard.ranking import SIMULATED_NOTE, interval_text, number_text

WIDEST_TEXT = 120
"""Columns of a terminal."""

PAIRS = {
    "ci95": ("r_mean_ci95_low", "r_mean_ci95_high"),
    "as_published": ("as_published_ev", "as_published_r"),
    "null99": ("null99_low", "null99_high"),
}
"""Columns that hold the two numbers of a field."""


@dataclass(frozen=True)
class TableRow:
    """One row; None where nothing was reported, run or defined.

    Attributes
    ----------
    label : str
    track : {"frozen", "fitted", "control"}
    reported_ev, reported_r : float or None
        As printed in the report, means over its 168 sites.
    candidate : str or None
        Candidate id of our run.
    ev_mean, r_mean, r_median : float or None
        Over neuroids, of our run.
    ci95 : (float, float) or None
        Of `r_mean`, bootstrap over stimuli and neuroids.
    share_of_ceiling : float or None
        r |r| / median reliability, r the median.
    training_seconds : float or None
    as_published : (float, float) or None
        Mean EV and mean r under the report's protocol with its mistakes.
    null99 : (float, float) or None
        Central 99 % of the mean r of that protocol under shuffled rows.
    note : str
        E.g. which layer of the backbone stands for the report's.
    """

    label: str
    track: str
    reported_ev: float | None = None
    reported_r: float | None = None
    candidate: str | None = None
    ev_mean: float | None = None
    r_mean: float | None = None
    r_median: float | None = None
    ci95: tuple[float, float] | None = None
    share_of_ceiling: float | None = None
    training_seconds: float | None = None
    as_published: tuple[float, float] | None = None
    null99: tuple[float, float] | None = None
    note: str = ""


REPORT_ROWS = {
    "pixels": TableRow("pixels", "frozen", -0.0899, 0.2115),
    "layer2-trained": TableRow("layer2, trained", "frozen", 1.27e-08, 0.0151),
    "layer2-random": TableRow("layer2, random", "frozen", 1.99e-05, 0.00736),
    "layer3-trained": TableRow("layer3, trained", "frozen", -0.0044, 0.0149),
    "layer3-random": TableRow("layer3, random", "frozen", -0.0402, -0.0039),
    "data-driven": TableRow("data-driven", "fitted", 0.0012, 0.0769),
    "dual-task": TableRow("dual-task", "fitted", 0.0408, 0.2312),
    "combined-layer2": TableRow("combined, layer2", "fitted", 0.1901, 0.4397),
    "combined-layer3": TableRow("combined, layer3", "fitted", 0.2990, 0.5587),
    "autoencoder": TableRow("autoencoder", "fitted", 0.0912, 0.3085),
}
"""The report's rows in its order with what it printed; nothing of ours."""

FURTHER_ROWS = {
    "finetuned": TableRow("fine-tuned end to end", "fitted"),
    "readout": TableRow("factorised readout", "fitted"),
    "ridge": TableRow("ridge on full features", "frozen"),
    "random-seeds": TableRow("ridge, random over seeds", "frozen"),
    "object_onehot": TableRow("object, one-hot", "control"),
    "category_onehot": TableRow("category, one-hot", "control"),
    "latents": TableRow("pose, position and size", "control"),
}
"""Rows that the report does not have."""


@dataclass(frozen=True)
class TableHeading:
    """What all rows were scored on.

    Attributes
    ----------
    recording, region, citation : str
    n_stimuli, n_neuroids : int
    simulated : bool
    split, seeds : str
        E.g. ``course`` and ``seeds 1 to 5``.
    backbone : str
        The network whose layers stand for the report's, with whatever there is to say about its weights.
    ceiling_r : float or None
        Mean over neuroids of √ρ, which caps the mean r; None where there are no repetitions.
    """

    recording: str
    region: str
    citation: str
    n_stimuli: int
    n_neuroids: int
    simulated: bool
    split: str
    seeds: str
    backbone: str
    ceiling_r: float | None = None

    def __str__(self) -> str:
        return (
            f"Table I: {'simulated ' * self.simulated}recording {self.recording}, region {self.region}, "
            f"{self.n_stimuli:,} stimuli, {self.n_neuroids} neuroids; split {self.split}, {self.seeds}; "
            f"backbone {self.backbone}"
        )


def measured(
    row: TableRow, summary: Summary, candidate: str, training_seconds: float | None = None, note: str = ""
) -> TableRow:
    """Fill a row with a run, whose `summary` is that of `itprobe.benchmarks.summary.summarise`."""
    figures = {key: summary[key] or {} for key in ("explained_variance", "pearson_r", "ceiled")}
    taken = {
        "ev_mean": figures["explained_variance"].get("mean"),
        "r_mean": figures["pearson_r"].get("mean"),
        "r_median": figures["pearson_r"].get("median"),
        "ci95": figures["pearson_r"].get("ci95_mean"),
        "share_of_ceiling": figures["ceiled"].get("value"),
    }
    return replace(row, candidate=candidate, training_seconds=training_seconds, note=note, **taken)  # type: ignore[arg-type]


def to_frame(rows: Sequence[TableRow]) -> pd.DataFrame:
    """Columns as the fields of `TableRow`, `PAIRS` in two; NaN, or an empty text, where there is nothing."""
    records = []
    for row in rows:
        record = asdict(row) | {"candidate": row.candidate or ""}
        for field, names in PAIRS.items():
            record |= dict(zip(names, record.pop(field) or (None, None), strict=True))
        records.append(record)
    frame = pd.DataFrame(records)
    texts = ["label", "track", "candidate", "note"]
    return frame.astype({name: float for name in frame.columns if name not in texts})


def to_csv(rows: Sequence[TableRow], path: str | Path) -> Path:
    """Write `to_frame` as CSV, whole or not at all."""
    with atomic_file(path) as temporary:
        to_frame(rows).to_csv(temporary, index=False)
    return Path(path)


def to_text(rows: Sequence[TableRow], heading: TableHeading) -> str:
    """Format the table for a terminal; the report's protocol, where it was run, as a second block."""
    notes = [fill(line, WIDEST_TEXT) for line in _footnotes(rows, heading)]
    return "\n\n".join([fill(str(heading), WIDEST_TEXT), *_grids(rows, "simple"), "\n".join(notes)]) + "\n"


def to_markdown(rows: Sequence[TableRow], heading: TableHeading) -> str:
    """Format the table as Markdown, the heading above it and notes as a list below."""
    notes = [f"- {line}" for line in _footnotes(rows, heading)]
    return "\n\n".join([f"**{heading}**", *_grids(rows, "pipe"), "\n".join(notes)]) + "\n"


def _grids(rows: Sequence[TableRow], form: str) -> list[str]:
    """All rows; and those that the report's protocol was run for, with it beside the aligned run."""
    if not rows:
        raise InputError("there is nothing to put in the table: no rows were given")
    body = [
        [
            *_printed(row),
            *map(number_text, (row.ev_mean, row.r_mean)),
            interval_text(row.ci95),
            *map(number_text, (row.r_median, row.share_of_ceiling)),
            "-" if row.training_seconds is None else f"{row.training_seconds:,.0f}",
        ]
        for row in rows
    ]
    headers = ["EV", "r", "95% interval", "median r", "of ceiling", "training s"]
    grids = [_grid(headers, body, form)]
    run = [row for row in rows if row.as_published]
    if run:
        headers = ["EV as published", "r as published", "99% of shuffles", "EV aligned", "r aligned"]
        body = [
            [
                *_printed(row),
                *(_short_number(figure) for figure in row.as_published or ()),
                interval_text(row.null99),
                *map(number_text, (row.ev_mean, row.r_mean)),
            ]
            for row in run
        ]
        grids.append(_grid(headers, body, form))
    return grids


def _grid(headers: list[str], body: list[list[str]], form: str) -> str:
    headers = ["", "reported EV", "reported r", *headers]
    if form == "simple":  # in two lines the columns are narrow enough for a terminal
        headers = [header.replace(" ", "\n", 1) for header in headers]
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate(body, headers=headers, tablefmt=form, disable_numparse=True, colalign=align)


def _printed(row: TableRow) -> list[str]:
    """The label, and what the report printed, to its own digits."""
    values = (row.reported_ev, row.reported_r)
    four = ["" if value is None else f"{value:.4f}" for value in values]
    reported = (
        "-" if value is None else text if float(text) == value else f"{value:.3g}"
        for value, text in zip(values, four, strict=True)
    )
    return [row.label, *reported]


def _short_number(value: float) -> str:
    """Three decimals, or a power of ten where they would all be 0: the report printed such figures."""
    return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"


def _footnotes(rows: Sequence[TableRow], heading: TableHeading) -> list[str]:
    """What the columns mean, what stands for what, and that simulated data are simulated."""
    lines = [
        'Reported: Table I of "Predicting IT Neuron Activity", on its own 288 images; - nothing reported, or not run. '
        "EV, r: means over neuroids on held-out stimuli; interval of r: bootstrap over stimuli and neuroids; "
        "of ceiling: r |r| / median reliability, r the median."
    ]
    if any(row.as_published for row in rows):
        lines.append(
            "As published: the report's protocol with its mistakes (shuffled activations, the last layer's weights "
            "for every layer, lambda from a grid whose edge it runs to); 99 % of shuffles: central range of its "
            "mean r when rows are shuffled again; aligned: this table's own run."
        )
    if heading.ceiling_r is not None:
        lines.append(f"Ceiling of r: √ρ, mean over neuroids {heading.ceiling_r:.3f}.")
    for row in rows:
        said = "; ".join(text for text in (row.candidate, row.note) if text)
        lines += [f"{row.label}: {said}."] if said else []
    return [*lines, SIMULATED_NOTE] if heading.simulated else lines


def draw_table(rows: Sequence[TableRow], heading: TableHeading, path: str | Path) -> Path:
    """Draw every row's mean r: reported, as published with what shuffles give, and ours; and the ceiling.

    Parameters
    ----------
    rows : sequence of TableRow
        From top to bottom; a gap stands before the first that the report does not have.
    heading : TableHeading
    path : str or Path
        A PNG or SVG file. ``NAME.png`` gets its caption in ``NAME.txt``.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there are no rows, or the path ends otherwise.
    """
    if not rows:
        raise InputError("there is nothing to draw: no rows were given")
    further = np.cumsum([row.reported_r is None for row in rows]) > 0
    heights = np.arange(len(rows)) + 0.6 * further
    figure = new_figure(8.6, 2.1 + 0.34 * len(rows))
    axes = figure.add_subplot()
    axes.use_sticky_edges = False  # room beside the bands of shuffles, too
    for height, row in zip(heights, rows, strict=True):
        _draw_row(axes, float(height), row)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    axes.set_ylim(heights[-1] + 0.7, -0.7)
    axes.set_yticks(heights, [row.label for row in rows], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("Pearson r on held-out stimuli, mean over neuroids")
    if heading.ceiling_r is not None:
        label = f"ceiling √ρ = {heading.ceiling_r:.2f}"
        axes.axvline(heading.ceiling_r, color="black", linestyle="--", linewidth=1.1, label=label)
    axes.set_title(fill(str(heading), 96), fontsize=9, loc="left")
    tidy(axes)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(), once.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8.5
    )
    lines = [str(heading) + ".", *_footnotes(rows, heading), f"Recording: {heading.citation}"]
    return save_figure(figure, path, "\n\n".join(lines) + "\n")


def _draw_row(axes: Axes, height: float, row: TableRow) -> None:
    """One row's marks, which differ in shape and filling as well as in colour."""
    if row.null99:
        low, high = row.null99
        axes.barh(height, high - low, left=low, height=0.8, color="#bbbbbb", label="99 % of shuffles")
    if row.reported_r is not None:
        axes.plot(
            row.reported_r,
            height,
            marker="D",
            linestyle="",
            markersize=7.5,
            markerfacecolor="white",
            markeredgecolor="black",
            label="reported, on its own images",
        )
    if row.as_published:
        style: dict[str, Any] = {"marker": "x", "linestyle": "", "markersize": 6.5, "markeredgewidth": 2.0}
        axes.plot(row.as_published[1], height, color=COLOURS[1], label="as published, here", **style)
    if row.ci95:
        axes.plot(row.ci95, [height, height], color=COLOURS[0], linewidth=2.2, solid_capstyle="butt")
    if row.r_mean is not None:
        axes.plot(
            row.r_mean,
            height,
            marker="o",
            linestyle="",
            markersize=6.5,
            color=COLOURS[0],
            label="ours, 95 % interval",
        )
