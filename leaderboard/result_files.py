"""Result files on disk: written whole or not at all, validated when they are read."""

import json
from pathlib import Path

from pydantic import ValidationError

from itprobe.errors import InputError
from itprobe.files import atomic_file, sha256_file
from itprobe.leaderboard.predictions import read_predictions, write_predictions
from itprobe.leaderboard.result import SCHEMA_VERSION, Predictions, Result
from itprobe.metrics import HeldOut


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
    """Read and validate a result file.

    Raises
    ------
    InputError
        If it cannot be read, is no result, or is of a newer schema.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read the result file {path}: {error}") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version!r}; this itprobe reads version {SCHEMA_VERSION}"
        )
    try:
        return Result.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is no valid result: {where}: {first['msg']}") from None


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
    if not path.is_file() or sha256_file(path) != result.predictions.sha256:
        raise InputError(f"{path} is missing or differs from what its result file names; score again")
    return read_predictions(path, result.predictions.split_ids)
