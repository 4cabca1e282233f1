"""Responses of an own recording, from .npz, .npy, .csv or .h5, in one form."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from itprobe.data.stimuli import count_and_first
from itprobe.data.storage import readable
from itprobe.errors import InputError

STIMULUS_COLUMNS = frozenset(
    [
        "object_name",
        "category_name",
        "variation",
        "background_id",
        "ryz",
        "rxz",
        "rxy",
        "ty",
        "tz",
        "s",
        "size",
        "split",
    ]
)
NEUROID_COORDINATES = frozenset(
    [
        "neuroid_id",
        "region",
        "animal",
        "subregion",
        "hemisphere",
        "arr",
        "array",
        "row",
        "col",
        "x",
        "y",
        "site_id",
        "electrode",
    ]
)
_STIMULUS_PREFIX, _NEUROID_PREFIX = "stimulus.", "neuroid."


@dataclass(frozen=True)
class Responses:
    """What a file of responses holds, in the order of its own stimuli.

    Attributes
    ----------
    values : float32 array (stimulus, repetition, neuroid)
        NaN = missing.
    averaged : bool
        Whether the file had one response per stimulus instead of repetitions.
    stimulus_id : array (stimulus,) or None
        None: the order of the stimuli is that of the image names.
    stimulus_columns, neuroid_coords : dict of str to array
        The further arrays of the file.
    """

    values: np.ndarray
    averaged: bool
    stimulus_id: np.ndarray | None
    stimulus_columns: dict[str, np.ndarray]
    neuroid_coords: dict[str, np.ndarray]


def read_responses(path: str | Path) -> Responses:
    """Read a file of responses.

    Parameters
    ----------
    path : str or Path
        ``.npz`` or ``.h5``: ``responses`` (stimulus, neuroid) or ``counts`` (neuroid, stimulus,
        repetition), with ``stimulus_id`` and further arrays as there are. ``.npy``: one array, two
        dimensions are responses, three are counts. ``.csv``: a header of neuroid ids, one line per
        stimulus; a first column ``stimulus_id`` tells which (lines of the same id are repetitions).

    Raises
    ------
    InputError
        If the file is missing or damaged, its arrays do not fit together, or it is not clear whether
        -1 is a response.

    Notes
    -----
    NaN (in a csv: an empty cell) means missing. What -1 means depends on the array:

    - ``counts``: missing, whatever the type; any other negative number is an error.
    - ``responses`` of integers: missing; lower numbers are an error.
    - ``responses`` of floating-point numbers, and a csv: missing where all others are whole and not
      negative; a response where further negative numbers occur; an error where the others are not
      negative but some are fractions.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no responses at {path}: check the path")
    if path.suffix not in _READERS:
        raise InputError(
            f"responses {path}: cannot read {path.suffix or 'no suffix'}; give {', '.join(_READERS)}"
        )
    with readable(path, "responses"):
        arrays = {name: _decoded(array) for name, array in _READERS[path.suffix](path).items()}
    values, averaged = _values(arrays, path)
    stimulus_id = arrays.pop("stimulus_id", None)
    if stimulus_id is not None:
        _check_length(path, "stimulus_id", stimulus_id, values.shape[0], "stimuli")
        stimulus_id = stimulus_id.astype(str)
    further: dict[str, dict[str, np.ndarray]] = {"stimulus": {}, "neuroid": {}}
    for name, array in arrays.items():
        side, plain_name = _place(path, name, array, values.shape[0], values.shape[2])
        further[side][plain_name] = array
    return Responses(values, averaged, stimulus_id, further["stimulus"], further["neuroid"])


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _read_npy(path: Path) -> dict[str, np.ndarray]:
    array = np.load(path, allow_pickle=False)
    return {"counts" if array.ndim == 3 else "responses": array}


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as source:
        return {name: item[()] for name, item in source.items() if isinstance(item, h5py.Dataset)}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = [line for line in csv.reader(stream) if line]
    if len(lines) < 2:
        raise InputError(f"responses {path}: no lines below the header")
    header = [name.strip() for name in lines[0]]
    has_ids = header[0] == "stimulus_id"
    table = np.full((len(lines) - 1, len(header) - has_ids), np.nan)
    for number, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise InputError(
                f"responses {path}: line {number + 2} has {len(line)} fields, the header has {len(header)}"
            )
        for column in range(has_ids, len(header)):
            table[number, column - has_ids] = _number(line[column], path, number + 2, header[column])
    neuroid_id = np.array(header[has_ids:], dtype=object)
    if not has_ids:
        return {"responses": table, "neuroid_id": neuroid_id}
    ids = np.array([line[0].strip() for line in lines[1:]], dtype=object)
    return {**_stacked(ids, table), "neuroid_id": neuroid_id}


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".h5": _read_h5,
}


def _number(text: str, path: Path, line: int, column: str) -> float:
    try:
        return float(text) if text.strip() else np.nan
    except ValueError:
        raise InputError(
            f"responses {path}: line {line}, column {column!r}: {text!r} is no number; leave missing ones empty"
        ) from None


def _stacked(ids: np.ndarray, table: np.ndarray) -> dict[str, np.ndarray]:
    """Lines (line, neuroid) of the same id become repetitions: counts (neuroid, stimulus, repetition)."""
    row, unique = pd.factorize(ids)
    if len(unique) == len(ids):
        return {"responses": table, "stimulus_id": ids}
    repetition = pd.Series(row).groupby(row).cumcount().to_numpy()
    counts = np.full((table.shape[1], len(unique), repetition.max() + 1), np.nan)
    counts[:, row, repetition] = table.T
    return {"counts": counts, "stimulus_id": np.asarray(unique, dtype=object)}


def _decoded(array: np.ndarray) -> np.ndarray:
    """Bytes as text: h5 and old numpy files hold names so."""
    array = np.asarray(array)
    if array.dtype.kind not in "SO":
        return array
    texts = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(texts, dtype=object).reshape(array.shape)


def _values(arrays: dict[str, np.ndarray], path: Path) -> tuple[np.ndarray, bool]:
    """Take the responses out of `arrays`: (stimulus, repetition, neuroid), and whether they are averages."""
    given = [name for name in ("responses", "counts") if name in arrays]
    if len(given) != 1:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(
            f"{path} must hold either responses (stimulus, neuroid) or counts (neuroid, stimulus, repetition); "
            f"it has {names}"
        )
    name = given[0]
    array = arrays.pop(name)
    layout = ("stimulus", "neuroid") if name == "responses" else ("neuroid", "stimulus", "repetition")
    if array.ndim != len(layout) or 0 in array.shape:
        raise InputError(f"{path}: {name} has shape {array.shape}, not ({', '.join(layout)})")
    where = f"{path}: {name}"
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where} holds {array.dtype}, not numbers")
    # Lines of a csv are stacked as counts are, but nothing says that they are counts.
    is_missing = _no_counts if name == "counts" and path.suffix != ".csv" else _no_responses
    values = np.where(is_missing(array, where), np.nan, array).astype(np.float32)
    _check_values(values, where)
    return (values[:, None, :], True) if name == "responses" else (np.moveaxis(values, 0, -1), False)


def _no_counts(array: np.ndarray, where: str) -> np.ndarray:
    """Which counts stand for a missing one: -1, of any type."""
    negative = array[(array < 0) & (array != -1)]
    if negative.size:
        raise InputError(
            f"{where} has {negative.size} negative values besides -1 (down to {negative.min():g}), which counts "
            "never are; give such responses as a csv with one line per presentation"
        )
    return array == -1


def _no_responses(array: np.ndarray, where: str) -> np.ndarray:
    """Which responses of -1 stand for a missing one: all or none."""
    missing = array == -1
    others = array[~missing & ~np.isnan(array)]
    if array.dtype.kind == "i" and (others < 0).any():
        raise InputError(
            f"{where} holds integers below -1 (down to {array.min()}); -1 means missing, so give negative "
            "responses as floating-point numbers"
        )
    if not missing.any() or (others < 0).any():
        return np.zeros_like(missing)
    if (others != np.rint(others)).any():
        raise InputError(
            f"{where} holds {missing.sum()} values of exactly -1 and no other negative ones: is -1 a response? "
            "Write NaN for missing ones (in a csv leave the cell empty)"
        )
    return missing


def _check_values(values: np.ndarray, where: str) -> None:
    if np.isinf(values).any():
        raise InputError(f"{where} holds {np.isinf(values).sum()} infinite values; use NaN for missing ones")
    if np.isnan(values).all():
        raise InputError(f"{where} holds no response: all {values.size} values are missing")


def _place(path: Path, name: str, array: np.ndarray, n_stimuli: int, n_neuroids: int) -> tuple[str, str]:
    """Whether a further array belongs to the stimuli or the neuroids, and its name without a prefix.

    A known name or a prefix decides; else the length does.
    """
    if name.startswith(_STIMULUS_PREFIX) or name in STIMULUS_COLUMNS:
        _check_length(path, name, array, n_stimuli, "stimuli")
        return "stimulus", name.removeprefix(_STIMULUS_PREFIX)
    if name.startswith(_NEUROID_PREFIX) or name in NEUROID_COORDINATES:
        _check_length(path, name, array, n_neuroids, "neuroids")
        return "neuroid", name.removeprefix(_NEUROID_PREFIX)
    fits = [
        side
        for side, size in (("stimulus", n_stimuli), ("neuroid", n_neuroids))
        if array.ndim == 1 and len(array) == size
    ]
    if len(fits) == 1:
        return fits[0], name
    why = (
        f"there are as many stimuli as neuroids ({n_stimuli}), so name it "
        f"{_STIMULUS_PREFIX}{name} or {_NEUROID_PREFIX}{name}"
        if fits
        else f"it has shape {array.shape}, but there are {n_stimuli} stimuli and {n_neuroids} neuroids"
    )
    raise InputError(f"{path}: cannot tell what the array {name!r} describes: {why}")


def _check_length(path: Path, name: str, array: np.ndarray, size: int, what: str) -> None:
    if array.shape != (size,):
        raise InputError(f"{path}: {name} has shape {array.shape}, but the responses have {size} {what}")


def check_unique(path: Path, ids: np.ndarray) -> None:
    """Raise `InputError` if stimulus ids occur twice."""
    series = pd.Series(ids)
    if series.duplicated().any():
        twice = series[series.duplicated()].unique()
        raise InputError(
            f"{path}: {count_and_first(twice, 'stimulus ids')} occur twice; use counts for repetitions"
        )
