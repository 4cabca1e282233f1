"""The report's Table I beside what a correct protocol gives, row by row."""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from itprobe.errors import InputError
from itprobe.files import check_folder
from itprobe.leaderboard import Result
from itprobe.leaderboard.ranking import interval_text
from itprobe.leaderboard.report_table import TableHeading, TableRow, to_frame
from itprobe.progress import progress_bar
from itprobe.report_rows import ROWS, RowMaker, TableSettings


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes
    ----------
    heading : TableHeading
    rows : list of TableRow
    results : list of Result
        One per run; several for the row over random seeds.
    mistakes : DataFrame or None
        What each of the report's mistakes alone does: layer, weights, protocol, mean EV and r, and the
        central 99 % of r under shuffles.
    """

    heading: TableHeading
    rows: list[TableRow]
    results: list[Result]
    mistakes: pd.DataFrame | None


def table(recording: str = "simulated_small", **settings: object) -> pd.DataFrame:
    """Make the report's Table I on a recording.

    Parameters
    ----------
    recording : str
    **settings
        See `TableSettings`.

    Returns
    -------
    DataFrame
        See `itprobe.leaderboard.report_table.to_frame`.

    Raises
    ------
    InputError
        If something given cannot be used.
    """
    return to_frame(make_table(TableSettings(recording, **settings)).rows)  # type: ignore[arg-type]


def make_table(settings: TableSettings, out: Path | None = None) -> Table:
    """Run every row of the table.

    A row that the recording cannot give (objects where none are named) stands there with the reason.

    Parameters
    ----------
    settings : TableSettings
    out : Path, optional
        Folder for the result files of all rows.

    Raises
    ------
    InputError
        If the recording, the region, the backbone or a row does not exist, or there are too few stimuli for
        the split.
    """
    if out is not None:
        check_folder(out)
    maker = RowMaker(settings, out)
    settings.tuned.check(
        str(maker.bench.target.recording["sha256"]),
        [f"{settings.split}, seed {seed}" for seed in settings.seeds],
    )
    # What no row can do without is better known before hours of work, the splits before a backbone is loaded.
    _ = maker.plan
    heading = maker.heading
    wanted = settings.rows or tuple(ROWS)
    rows = []
    with progress_bar(len(wanted), "table", "row") as bar:
        for name in wanted:
            try:
                rows.append(maker.row(name))
            except InputError as error:
                rows.append(replace(ROWS[name], note=f"not run: {' '.join(str(error).split())}"))
            bar.update()
    if not any(row.r_mean is not None for row in rows):
        raise InputError(f"no row of the table could be run; {rows[0].label}: {rows[0].note}")
    mistakes = None
    if settings.published:
        rows, mistakes = maker.with_published(dict(zip(wanted, rows, strict=True)))
    return Table(heading, rows, maker.results, mistakes)


def mistakes_text(mistakes: pd.DataFrame, form: str) -> str:
    """What each mistake of the report does by itself, as a table of tabulate's format `form`."""
    body = [
        [
            f"{row['layer']}, {row['weights']}",
            row["protocol"],
            f"{row['ev_mean']:.4f}",
            f"{row['r_mean']:.4f}",
            interval_text((row["null99_low"], row["null99_high"])),
            "inside" if row["inside_null99"] else "outside",
        ]
        for row in mistakes.to_dict("records")
    ]
    headers = ["layer", "protocol", "EV", "r", "99% of shuffles", "r is"]
    grid = tabulate(body, headers, form, disable_numparse=True, colalign=("left", "left", *["right"] * 4))
    return f"What each of the report's mistakes does by itself:\n\n{grid}\n"
