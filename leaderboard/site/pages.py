"""The pages: what each template is given."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from itprobe import __version__
from itprobe.leaderboard.board.reading import Board, Entry
from itprobe.leaderboard.figure import kind_of
from itprobe.leaderboard.ranking import SIMULATED_NOTE
from itprobe.leaderboard.reported import ROWS
from itprobe.leaderboard.result import Result
from itprobe.leaderboard.site.charts import Axis, reach, whisker
from itprobe.leaderboard.site.model_views import (
    Model,
    anchor_of,
    ceiling_of,
    comparable,
    key_of,
    model_name,
    score_of,
    sections_of,
)
from itprobe.leaderboard.site.tables import Row, Table
from itprobe.leaderboard.site.words import (
    between,
    breakable,
    count,
    number,
    page_name,
    parameters,
    plain,
    small,
)
from itprobe.metrics.inference import N_BOOTSTRAP

MENU = (
    ("index", "index.html", "Tables"),
    ("about", "about.html", "How to read them"),
    ("checks", "checks.html", "Checks"),
)

KINDS = {
    "trained network": "trained",
    "random network": "random",
    "own network": "own",
    "fitted to responses": "fitted",
    "control": "control",
}
"""Short names of the kinds of candidates."""


class Pages:
    """Renders pages; every text of a result file is escaped, and cleaned of what could disturb its line.

    Parameters
    ----------
    title : str
        Of the site.
    board : Board
    tables : sequence of Table
    """

    def __init__(self, title: str, board: Board, tables: Sequence[Table]) -> None:
        self.board, self.tables, self.title = board, tables, title
        self.environment = Environment(
            loader=PackageLoader("itprobe.leaderboard.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_clean,
        )
        self.environment.filters |= {
            "plain": plain,
            "breakable": breakable,
            "number": number,
            "between": between,
            "small": small,
            "count": count,
        }
        self.environment.globals |= {
            "version": __version__,
            "site_title": title,
            "menu": MENU,
            "simulated_note": SIMULATED_NOTE,
            "n_draws": N_BOOTSTRAP,
            "n_results": sum(len(table.rows) for table in tables),
        }

    def render(self, template: str, root: str = "", here: str = "", **context: object) -> str:
        """Render a template; `root` leads from the page to the site's own folder."""
        return self.environment.get_template(f"{template}.html").render(root=root, here=here, **context)

    def index(self) -> str:
        """All tables, by recording and region."""
        groups = []
        for _, tables in groupby(
            self.tables, key=lambda table: (table.key.recording_sha256, table.key.region)
        ):
            own = list(tables)
            groups.append(
                {
                    "anchor": page_name(own[0].recording.id, own[0].key.recording_sha256, own[0].key.region),
                    "recording": own[0].recording,
                    "tables": [
                        {
                            "table": table,
                            "first": table.rows[0],
                            "n_candidates": len({row.result.candidate.id for row in table.rows}),
                        }
                        for table in own
                    ],
                }
            )
        entries = self._entries()
        return self.render(
            "index",
            here="index",
            groups=groups,
            n_refused=len(self.board.refused),
            n_flagged=sum(bool(entry.flags) for entry in entries),
            n_superseded=sum(entry.superseded_by is not None for entry in entries),
        )

    def table(self, table: Table) -> str:
        """One table."""
        first, cap = table.rows[0].result, ceiling_of(table)
        limits = [limit for row in table.rows for limit in _limits(row.result)]
        axis = Axis(*reach([*limits, cap]), 6.0, 134.0)
        rows = list(_rows(table, axis))
        untested: dict[str, list[str]] = defaultdict(list)
        for row in table.rows:
            if row.standing is None and table.of_neuroids:
                untested[row.untested].append(row.result.candidate.id)
        ceiled = next((row.result.scores.ceiled for row in table.rows if row.result.scores.ceiled), None)
        return self.render(
            "table",
            root="../",
            table=table,
            key=table.key,
            recording=table.recording,
            reliability=table.reliability,
            cap=cap,
            cap_at=None if cap is None else axis.at(cap),
            inter_animal=first.scores.inter_animal,
            of_neuroids=table.of_neuroids,
            formula=ceiled.formula if ceiled else None,
            parameters=parameters(first.mapping.params) if table.key.parameters else [],
            kinds=sorted({str(row["kind"]) for row in rows}),
            several_layers=len({row["model"] for row in rows}) < len(rows),
            comparable=comparable(table),
            axis=axis.ticks(3),
            rows=rows,
            untested=sorted(untested.items()),
        )

    def model(self, model: Model) -> str:
        """One model in all tables."""
        sections = sections_of(model, neuroid_file)
        return self.render("model", root="../", model=model, sections=sections)

    def compare(self, table: Table) -> str:
        """Two candidates of a table."""
        return self.render("compare", root="../", table=table, recording=table.recording)

    def _entries(self) -> list[Entry]:
        """All entries, with the flags that those on tables have got there."""
        shown = {row.entry.path: row.entry for table in self.tables for row in table.rows}
        return [shown.get(entry.path, entry) for entry in self.board.entries]

    def checks(self) -> str:
        """What was refused, flagged or superseded."""
        entries = self._entries()
        return self.render(
            "checks",
            here="checks",
            refused=self.board.refused,
            flagged=[
                {"entry": entry, "anchor": f"r-{entry.sha256[:16]}"} for entry in entries if entry.flags
            ],
            superseded=[entry for entry in entries if entry.superseded_by is not None],
        )

    def about(self) -> str:
        """How the tables are read."""
        return self.render("about", here="about", reported=ROWS)


def neuroid_file(row: Row) -> str:
    """Path of the CSV of a result's neuroids, in the site's folder of data."""
    return f"neuroids/{key_of(row)}.csv"


def _clean(value: object) -> object:
    """Clean what templates print, but for what they have made themselves."""
    return plain(value, len(value) + 1) if isinstance(value, str) and not isinstance(value, Markup) else value


def _limits(result: Result) -> tuple[float | None, ...]:
    value, interval = score_of(result)
    return (value, *(interval or ()))


def _rows(table: Table, axis: Axis) -> Iterator[dict[str, object]]:
    """What the lines of a table show."""
    seen: set[str] = set()
    for row in table.rows:
        result, model = row.result, model_name(row.result)
        value, interval = score_of(result)
        explained, ceiled = result.scores.explained_variance, result.scores.ceiled
        yield {
            "key": key_of(row),
            "anchor": anchor_of(row),
            "model": model,
            "page": page_name(model),
            "layer": result.candidate.layer,
            "kind": KINDS[kind_of(result)],
            "best": model not in seen and value is not None,
            "variant": row.variant,
            "flags": row.entry.flags,
            "rank": row.standing.rank if row.standing else None,
            "tied": row.standing.tied if row.standing else None,
            "untested": row.untested,
            "value": value,
            "interval": interval,
            "whisker": whisker(axis, value, interval),
            "ev": explained.median if explained else None,
            "share": ceiled.value if ceiled else None,
            "share_interval": ceiled.ci95 if ceiled else None,
            "size": result.training[0].n_parameters if result.training else result.candidate.n_features,
            "date": result.provenance.started[:10],
        }
        seen.add(model)
