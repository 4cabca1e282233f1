"""The folder of images beside a recording: what is in it, and when it may be replaced."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data.stimuli import count_and_first, make_stimulus_set, stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.files import file_name_of

CSV = "stimuli.csv"
MARKER = ".itprobe"  # names the files that itprobe wrote: only a folder of nothing else is ever replaced
_LONGEST_STEM = 100  # bytes; file systems take 255, some encrypted ones 143


def stimulus_folder(path: str | Path) -> Path:
    """Folder of the images of the recording at `path`: ``r.nc`` -> ``r.stimuli``."""
    return Path(path).with_suffix(".stimuli")


def check_apart(path: Path, source: Path) -> None:
    """Raise `InputError` if the folder of `path` is, contains or lies in `source`, where the images come from."""
    folder, origin = stimulus_folder(path).resolve(), source.resolve()
    if folder == origin or folder in origin.parents or origin in folder.parents:
        raise InputError(
            f"the images of {path} would be written to {stimulus_folder(path)}, but they are read from {source}: "
            "choose another name, or a folder apart from the stimuli"
        )


def check_replaceable(folder: Path, stimulus_set: StimulusSet) -> None:
    """Raise `InputError` if to replace `folder` would lose images of this set, or files that itprobe did not write."""
    if folder.is_symlink() or folder.is_file():
        raise InputError(
            f"{folder} exists and is no folder that itprobe wrote: move it or choose another name"
        )
    if not folder.is_dir():
        return
    target = folder.resolve()
    paths = stimulus_set.stimulus_paths
    inside = [
        key
        for key in stimulus_set["stimulus_id"]
        if target in (paths[key].resolve(), *paths[key].resolve().parents)
    ]
    if inside:
        raise InputError(
            f"{folder} would be replaced, but it holds images of the recording to be written: "
            f"{count_and_first(inside)}; choose another name"
        )
    marker = folder / MARKER
    written = {MARKER, *marker.read_text(encoding="utf-8").splitlines()} if marker.is_file() else set()
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in written or path.is_dir())
    if foreign:
        raise InputError(
            f"{folder} exists and holds {count_and_first(foreign, 'files')} that itprobe did not write: "
            "move them or choose another name"
        )


def write_stimuli(stimulus_set: StimulusSet, folder: Path) -> None:
    """Write the images, ``stimuli.csv`` and the list of what was written into an empty folder."""
    table = stimuli_table(stimulus_set)
    for key, name in zip(table["stimulus_id"], table["filename"], strict=True):
        shutil.copyfile(stimulus_set.stimulus_paths[key], folder / name)
    (folder / CSV).write_bytes(table.to_csv(index=False).encode())
    (folder / MARKER).write_text("\n".join([CSV, *table["filename"]]) + "\n", encoding="utf-8")


def holds(folder: Path, stimulus_set: StimulusSet, digest: str) -> bool:
    """Whether `folder` holds exactly this stimulus set, so that it need not be written again."""
    table = stimuli_table(stimulus_set)
    csv = folder / CSV
    if not csv.is_file() or csv.read_bytes() != table.to_csv(index=False).encode():
        return False
    paths = {key: folder / name for key, name in zip(table["stimulus_id"], table["filename"], strict=True)}
    if not all(path.is_file() for path in paths.values()):
        return False
    return stimulus_set_sha256(make_stimulus_set(stimulus_set, paths, stimulus_set.identifier)) == digest


def stimuli_table(stimulus_set: StimulusSet) -> pd.DataFrame:
    """Table of ``stimuli.csv``: stimulus_id, filename, further columns."""
    table = pd.DataFrame(stimulus_set)
    names = [_stem(key) + Path(stimulus_set.stimulus_paths[key]).suffix for key in table["stimulus_id"]]
    table.insert(1, "filename", names)
    return table


def _stem(stimulus_id: str) -> str:
    """Name of an image file without suffix; of a long id the beginning and a digest."""
    name = file_name_of(stimulus_id)
    if len(name) <= _LONGEST_STEM:
        return name
    digest = hashlib.sha256(stimulus_id.encode()).hexdigest()[:20]
    return f"{name[: _LONGEST_STEM - len(digest) - 1]}-{digest}"
