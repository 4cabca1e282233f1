"""Builds the site: every file into a new folder, which then takes the place of the old one."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from itprobe import __version__
from itprobe.errors import InputError
from itprobe.files import atomic_folder
from itprobe.leaderboard.board.reading import PATTERN, Board, read_board
from itprobe.leaderboard.site.downloads import comparison_data, neuroids_csv, table_csv
from itprobe.leaderboard.site.model_views import comparable, models_of
from itprobe.leaderboard.site.pages import Pages, neuroid_file
from itprobe.leaderboard.site.tables import Table, make_tables
from itprobe.progress import progress_bar

MARKER = "itprobe-site.json"
"""Says that a folder is a site, and which files are its own."""


def build_site(results: str | Path, out: str | Path, title: str = "itprobe leaderboard") -> str:
    """Make a static site of a folder of result files.

    The same results give the same files. Draws for the ties are kept in the cache.

    Parameters
    ----------
    results : str or Path
        Folder with result files and their predictions.
    out : str or Path
        A new or empty folder, or a site that was built before and holds nothing else; it is replaced as a whole.
    title : str

    Returns
    -------
    str
        What was built, for the terminal.

    Raises
    ------
    InputError
        If there is no such folder or no result where some should be, or the other one is no site.
    """
    out = Path(out)
    check_destination(out)
    board = read_board(Path(results))
    if not board.entries:
        _check_new_board(Path(results), board, out)
    with progress_bar(len(board.entries), "comparing", "result") as bar:
        tables = make_tables(board.entries, bar.update)
    with replaced_folder(out) as folder:
        write_site(folder, title, board, tables)
    n_results = sum(len(table.rows) for table in tables)
    lines = [f"{_count(n_results, 'result')} in {_count(len(tables), 'table')}: {out / 'index.html'}"]
    if board.refused:
        lines.append(f"{_count(len(board.refused), 'file')} refused, with reasons: {out / 'checks.html'}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _check_new_board(results: Path, board: Board, out: Path) -> None:
    """A board may be empty when it is new; else an empty site is hardly meant.

    Raises
    ------
    InputError
        If files were refused, there are folders among them, or a site would be replaced by an empty one.
    """
    if board.refused:
        first = board.refused[0]
        raise InputError(
            f"no file in {results} is a valid result; of {_count(len(board.refused), 'file')} refused the first is "
            f"{first.file}: it {first.reason}"
        )
    folders = sorted(path for path in results.glob("[!.]*") if path.is_dir())
    if folders or out.exists():
        with_results = [path for path in folders if any(path.glob(PATTERN))]
        hint = f"; there are some in {with_results[0]}" if with_results else ""
        raise InputError(f"there are no result files in {results}{hint}")


def write_site(folder: Path, title: str, board: Board, tables: Sequence[Table]) -> None:
    """Write all files of a site into an empty folder."""
    names = []
    for name, text in _texts(Pages(title, board, tables), tables):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        names.append(name)
    for source in sorted(files("itprobe.leaderboard.site").joinpath("static").iterdir(), key=str):
        name = f"static/{source.name}"
        (folder / "static").mkdir(exist_ok=True)
        (folder / name).write_bytes(source.read_bytes())
        names.append(name)
    marker = {"itprobe": __version__, "files": sorted(names)}
    (folder / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _texts(pages: Pages, tables: Sequence[Table]) -> Iterator[tuple[str, str]]:
    """Names and contents of all files that are made."""
    yield "index.html", pages.index()
    yield "about.html", pages.about()
    yield "checks.html", pages.checks()
    yield "data/all.csv", table_csv(tables)
    for table in tables:
        yield f"tables/{table.name}.html", pages.table(table)
        yield f"data/{table.name}.csv", table_csv([table])
        if comparable(table):
            yield f"compare/{table.name}.html", pages.compare(table)
            for name, script in comparison_data(table):
                yield f"data/{table.name}/{name}.js", script
        for row in table.rows:
            if row.result.per_neuroid:
                yield f"data/{neuroid_file(row)}", neuroids_csv(row.result)
    for model in models_of(tables):
        yield f"models/{model.page}.html", pages.model(model)


def check_destination(out: Path) -> None:
    """Make sure that a folder may be replaced.

    Raises
    ------
    InputError
        If it holds anything but a site of ours.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise InputError(f"{out} is no folder: name a new folder, or a site that was built before")
    own = _own_files(out)
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in own:
            raise InputError(
                f"{out} holds {name!r}, which is no part of a site that itprobe made: move it away or name a new folder"
            )


def _own_files(folder: Path) -> set[str]:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return {MARKER, *map(str, marker["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder; on success it takes the place of `out`, on failure `out` stays as it was."""
    retired = None
    try:
        with atomic_folder(out) as temporary:
            yield temporary
            if out.exists():
                retired = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name[:40]}-old-"))
                out.rename(retired / "site")
    except BaseException:
        if retired is not None and not out.exists():
            (retired / "site").rename(out)
        raise
    finally:
        if retired is not None:
            shutil.rmtree(retired, ignore_errors=True)
