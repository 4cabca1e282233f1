"""Results put on a board: checked, written whole under names of their own, one writer at a time."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

from itprobe.errors import InputError
from itprobe.files import atomic_file, make_folder, sha256_file, sha256_values
from itprobe.leaderboard.board.checks import content_of, objections, repeated
from itprobe.leaderboard.board.claims import implausible
from itprobe.leaderboard.board.predictions_file import predictions_path
from itprobe.leaderboard.board.reading import Board, Entry, read_board, read_entry
from itprobe.leaderboard.board.rescoring import copied
from itprobe.leaderboard.result import Result
from itprobe.leaderboard.result_files import save_result
from itprobe.metrics import HeldOut, pearson_r

_LONGEST = 140
"""Of a name, before the digest and the ending."""


class Rejected(InputError):
    """A result may not go on a board.

    Attributes
    ----------
    reasons : list of str
        One line each.
    """

    def __init__(self, file: Path, reasons: list[str]) -> None:
        count = f"{len(reasons)} reason{'s' * (len(reasons) > 1)}"
        super().__init__(f"{file.name!a} was not added, for {count}: {'; '.join(reasons)}")
        self.reasons = reasons


def add_result(file: str | Path, board: str | Path, recording: NeuroidAssembly | None = None) -> Path:
    """Check a result file and its predictions, and copy both to a board's folder.

    Nothing on the board is changed: a newer revision stands beside the older one, which `read_board` then marks as
    superseded.

    Parameters
    ----------
    file : str or Path
        A result file; its predictions lie beside it.
    board : str or Path
        The board's folder; it is made where there is none.
    recording : NeuroidAssembly, optional
        What the result is about, where the board has no other result on it, or to check against the data themselves.

    Returns
    -------
    Path
        Of the JSON file on the board.

    Raises
    ------
    InputError
        If the file cannot be read, or, as `Rejected`, something speaks against it; nothing is written then.
    """
    file, board = Path(file), Path(board)
    try:
        entry = read_entry(file)
    except InputError as error:
        raise Rejected(file, [f"it {error}"]) from None
    there = read_board(board) if board.is_dir() else Board([], [])
    _refuse(file, objections(entry, there, recording))
    with board_lock(board):
        _refuse(file, list(repeated(entry, read_board(board))))  # another writer may have been quicker
        return put(entry, board)


def _refuse(file: Path, reasons: list[str]) -> None:
    if reasons:
        raise Rejected(file, reasons)


def add_graded(result: Result, held_out: HeldOut, board: str | Path) -> Path:
    """Put a result that the host graded on a board, with its predictions and the withheld responses beside them.

    Raises
    ------
    InputError
        If the board cannot be written, or, as `Rejected`, has this very result, or the result is implausible.
    """
    board = Path(board)
    with tempfile.TemporaryDirectory() as folder:
        path, _ = save_result(result, held_out, folder)
        entry = read_entry(path)
        r = np.array([pearson_r(y, z) for y, z in zip(held_out.responses, held_out.predictions, strict=True)])
        with board_lock(board):
            _refuse(path, [*repeated(entry, read_board(board)), *implausible(result), *copied(r)])
            return put(entry, board)


@contextmanager
def board_lock(board: Path) -> Iterator[None]:
    """Keep other writers out of a board's folder, which is made where there is none."""
    make_folder(board)
    handle = os.open(board, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # given back by the system even where this process is killed
        yield
    finally:
        os.close(handle)


def put(entry: Entry, board: Path) -> Path:
    """Copy a result and its predictions to a board under a name that holds its digest.

    The predictions come first: a reader never sees a result whose predictions are still on their way.
    """
    name = board_name(entry.result)
    result = entry.result
    if result.predictions is not None:
        target = board / f"{name}.predictions.nc"
        with atomic_file(target) as temporary:
            shutil.copyfile(predictions_path(result, entry.path.parent), temporary)
            if sha256_file(temporary) != result.predictions.sha256:
                raise InputError(
                    f"{entry.path.name!a}: its predictions changed while they were read; add it again"
                )
        result = result.model_copy(
            update={"predictions": result.predictions.model_copy(update={"file": target.name})}
        )
    path = board / f"{name}.json"
    with atomic_file(path) as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def board_name(result: Result) -> str:
    """File name on a board, without ending: the result's own and a digest of its content."""
    return f"{result.name[:_LONGEST]}__{sha256_values(content_of(result))[:16]}"
