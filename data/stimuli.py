"""Stimulus sets: which images there are, where their files lie, and a digest of both."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.errors import InputError

# Names of a file and a second name of the id: they say where an image lies, not what it shows.
NOT_COLUMNS = ("filename", "image_id")


def make_stimulus_set(columns: pd.DataFrame, paths: Mapping[str, Path], identifier: str) -> StimulusSet:
    """Make a Brain-Score stimulus set whose ids are texts and whose files all exist.

    Parameters
    ----------
    columns : DataFrame
        One row per stimulus; column ``stimulus_id`` (unique) and any others. Columns ``filename`` and
        ``image_id`` are left out: `paths` and ``stimulus_id`` say the same.
    paths : mapping of str to Path
        Image file of each stimulus id.
    identifier : str
        Name of the stimulus set.

    Raises
    ------
    InputError
        If an id occurs twice, or an id has no file.
    """
    frame = columns.drop(columns=[name for name in NOT_COLUMNS if name in columns]).reset_index(drop=True)
    frame["stimulus_id"] = frame["stimulus_id"].astype(str)
    for name in frame.columns:
        frame[name] = _plain_column(frame[name])
    twice = frame.loc[frame["stimulus_id"].duplicated(), "stimulus_id"].unique()
    if len(twice):
        raise InputError(
            f"stimulus set {identifier}: {count_and_first(twice)} occur twice; ids must be unique"
        )
    frame = frame[["stimulus_id", *(name for name in frame.columns if name != "stimulus_id")]]
    stimulus_set = StimulusSet(frame)
    stimulus_set.identifier = identifier
    stimulus_set.stimulus_paths = {key: Path(paths[key]) for key in frame["stimulus_id"] if key in paths}
    check_stimulus_files(stimulus_set)
    return stimulus_set


def check_stimulus_files(stimulus_set: StimulusSet) -> None:
    """Raise `InputError` unless each stimulus has an image file, saying how many lack one and which."""
    paths = stimulus_set.stimulus_paths
    lacking = [key for key in stimulus_set["stimulus_id"] if key not in paths or not paths[key].is_file()]
    if lacking:
        where = f" in {paths[lacking[0]].parent}" if lacking[0] in paths else ""
        raise InputError(
            f"stimulus set {stimulus_set.identifier}: image files are missing{where}: "
            f"{count_and_first(lacking)}; put them back or make the recording again"
        )


def stimulus_set_sha256(stimulus_set: StimulusSet) -> str:
    """SHA-256 over (stimulus_id, bytes of the image file), sorted by id.

    Parameters
    ----------
    stimulus_set : StimulusSet
        With ``stimulus_paths``; its columns and the order of its rows do not count.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    InputError
        If image files are missing.
    """
    check_stimulus_files(stimulus_set)
    digest = hashlib.sha256()
    for key in sorted(stimulus_set["stimulus_id"]):
        image = Path(stimulus_set.stimulus_paths[key]).read_bytes()
        digest.update(f"{len(key)}:{key}:{len(image)}:".encode())
        digest.update(image)
    return digest.hexdigest()


def count_and_first(names: Iterable[object], noun: str = "") -> str:
    """Say how many there are and name the first three: ``12 stimuli (a, b, c, ...)``."""
    listed = list(names)
    first = ", ".join(str(name) for name in listed[:3])
    return f"{len(listed)}{' ' + noun if noun else ''} ({first}{', ...' if len(listed) > 3 else ''})"


def _plain_column(column: "pd.Series[Any]") -> np.ndarray:
    """Numbers and truth values stay; everything else becomes text, with ``""`` for a missing one."""
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return values
    return np.array(["" if pd.isna(value) else str(value) for value in values], dtype=object)
