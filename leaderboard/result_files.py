"""Result files on disk: written whole or not at all, validated when they are read."""

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from itprobe.errors import InputError
from itprobe.files import atomic_file, sha256_file
from itprobe.leaderboard.board.json_text import LARGEST_JSON, parse_json, printable, read_bytes
from itprobe.leaderboard.board.migrations import migrate
from itprobe.leaderboard.board.predictions_file import check_predictions, predictions_path, read_checked
from itprobe.leaderboard.predictions import write_predictions
from itprobe.leaderboard.result import Predictions, Result
from itprobe.metrics import HeldOut

LARGEST_OWN = 256 * 2**20
"""Bytes of a result file that is read from a folder of one's own."""


def save_result(result: Result, held_out: HeldOut | None, folder: str | Path) -> tuple[Path, Result]:
    """Write a result and its held-out predictions, if there are any; each file appears whole or not at all.

    Returns
    -------
    Path
        Of the JSON file.
    Result
        As written: with the digest of its predictions.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    folder = Path(folder)
    if held_out is not None:
        file = folder / f"{result.name}.predictions.nc"
        write_predictions(held_out, file)
        described = Predictions(
            file=file.name, sha256=sha256_file(file), split_ids=list(range(len(held_out.stimulus_ids)))
        )
        result = result.model_copy(update={"predictions": described})
    path = folder / f"{result.name}.json"
    with atomic_file(path) as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path, result


def load_result(path: str | Path) -> Result:
    """Read and validate a result file of this or an older schema version.

    Raises
    ------
    InputError
        If it cannot be read, is no result, or is of a newer schema.
    """
    try:
        return read_result(Path(path), LARGEST_OWN)[0]
    except InputError as error:
        raise InputError(f"cannot read the result file {path}: it {error}") from None


def read_result(path: Path, limit: int = LARGEST_JSON) -> tuple[Result, str]:
    """Read, migrate and validate a result file that anyone may have written.

    Parameters
    ----------
    path : Path
        A plain file; links are not followed.
    limit : int
        Its largest size in bytes.

    Returns
    -------
    Result
    str
        SHA-256 of the file.

    Raises
    ------
    InputError
        With the reason, as the rest of a sentence about the file.
    """
    content = read_bytes(path, limit)
    migrated = migrate(parse_json(content))
    try:
        # From JSON, so that no type is taken for another one: neither "1" nor true for 1.
        result = Result.model_validate_json(json.dumps(migrated), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"is no valid result: {printable(where)}: {first['msg']}") from None
    return result, hashlib.sha256(content).hexdigest()


def load_held_out(result: Result, folder: str | Path) -> HeldOut:
    """Read the held-out predictions of a result.

    Parameters
    ----------
    result : Result
    folder : str or Path
        Where its JSON file lies.

    Raises
    ------
    InputError
        If the file is missing or is not the one that the result names.
    """
    if result.predictions is None:
        raise InputError(f"the result of {result.candidate.id} has no predictions")
    path = Path(folder) / result.predictions.file
    try:
        check_predictions(predictions_path(result, Path(folder)), result)
    except InputError as error:
        raise InputError(
            f"{path} is missing or differs from what its result file names; score again: the result {error}"
        ) from None
    return read_checked(path, result)
