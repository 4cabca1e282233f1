"""A result's predictions, whoever wrote them: where they may lie, and whether they are what the result says."""

import os
import stat
from pathlib import Path

import numpy as np

from itprobe.errors import InputError
from itprobe.files import sha256_file
from itprobe.leaderboard.board.arrays import check_arrays, read_arrays
from itprobe.leaderboard.result import Result
from itprobe.metrics import HeldOut

LARGEST_FILE = 256 * 2**20
"""Bytes."""
SUFFIX = ".nc"
_VARIABLES = {
    "prediction": ("row", "neuroid"),
    "response": ("row", "neuroid"),
    "split": ("row",),
    "stimulus_id": ("row",),
    "neuroid_id": ("neuroid",),
    "animal": ("neuroid",),
}
_TEXTS = ("stimulus_id", "neuroid_id", "animal")


def predictions_path(result: Result, folder: Path) -> Path:
    """Path of a result's predictions, which lie beside its JSON and nowhere else.

    Raises
    ------
    InputError
        If the result names a path, or a file of another kind.
    """
    assert result.predictions is not None
    name = result.predictions.file
    plain = name.isprintable() and not set(name) & set("/\\\0")
    if not plain or len(name) > 255 or not name.endswith(SUFFIX):
        raise InputError(
            f"names its predictions {name[:80]!a}, which is no plain file name ending in {SUFFIX}"
        )
    return folder / name


def check_predictions(path: Path, result: Result) -> None:
    """Make sure that a file is the one that a result names, and is safe to read.

    Only its digest and its declared sizes and types are looked at.

    Raises
    ------
    InputError
        With the reason, for a sentence about the result.
    """
    assert result.predictions is not None
    check_plain_file(path, LARGEST_FILE)
    if sha256_file(path) != result.predictions.sha256:
        raise InputError(f"has predictions {path.name!a} whose sha256 is not the one that it names")
    check_arrays(path, _VARIABLES, _TEXTS)


def check_plain_file(path: Path, largest: int) -> None:
    """Refuse links, pipes, devices and what is too large, without opening it.

    Raises
    ------
    InputError
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        raise InputError(f"{path.name!a} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path.name!a} is a link or no plain file")
    if status.st_size > largest:
        raise InputError(f"{path.name!a} has {status.st_size:,} bytes; the limit is {largest:,}")


def read_checked(path: Path, result: Result) -> HeldOut:
    """Read a result's predictions once `check_predictions` has found nothing wrong with them.

    Raises
    ------
    InputError
    """
    assert result.predictions is not None
    arrays, _ = read_arrays(path, _VARIABLES, _TEXTS)
    rows = [np.flatnonzero(arrays["split"] == k) for k in result.predictions.split_ids]
    return HeldOut(
        [arrays["stimulus_id"][row] for row in rows],
        [arrays["response"][row] for row in rows],
        [arrays["prediction"][row] for row in rows],
        arrays["neuroid_id"],
        arrays["animal"],
    )
