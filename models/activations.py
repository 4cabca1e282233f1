"""Features of all stimuli at once, in memory or, where that is short, in a temporary folder on disk."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from itprobe.errors import InputError
from itprobe.files import file_name_of, make_folder
from itprobe.models.candidate import Candidate
from itprobe.models.stream import stimulus_ids

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

_FOLDER = "itprobe-activations"
_BYTES = np.dtype(np.float32).itemsize


class Activations:
    """Features of several layers, rows in the order of `stimulus_ids`.

    Attributes
    ----------
    stimulus_ids : np.ndarray
        (n,) texts.
    layers : list of str
    on_disk : bool
        Whether the arrays are memory maps of temporary files.
    """

    def __init__(self, ids: np.ndarray, arrays: dict[str, np.ndarray], on_disk: bool) -> None:
        self.stimulus_ids = ids
        self.layers = list(arrays)
        self.on_disk = on_disk
        self._arrays = arrays

    def __getitem__(self, layer: str) -> np.ndarray:
        """Features (n, p), float32."""
        return self._arrays[layer]


@contextmanager
def record_activations(
    candidate: Candidate,
    stimulus_set: "StimulusSet",
    layers: Sequence[str],
    batch_size: int | None = None,
    memory_budget: int | None = None,
) -> Iterator[Activations]:
    """Features of several layers for all stimuli, from one pass.

    Parameters
    ----------
    candidate : Candidate
    stimulus_set : StimulusSet
        n stimuli.
    layers : sequence of str
    batch_size : int, optional
        The candidate's own by default.
    memory_budget : int, optional
        Bytes the arrays may take in memory; half of what is free by default. Above it they lie in a
        folder under ``$ITPROBE_SCRATCH`` (else the system's temporary folder), which is removed at the
        end, whatever happens; folders of processes that were killed are removed at the next start.

    Yields
    ------
    Activations

    Raises
    ------
    InputError
        As `Candidate.stream` does, and if the disk has no room (how much is needed).
    """
    budget = psutil.virtual_memory().available // 2 if memory_budget is None else memory_budget
    ids = stimulus_ids(stimulus_set)
    scratch: Path | None = None
    arrays: dict[str, np.ndarray] = {}
    try:
        for rows, features in candidate.stream(stimulus_set, layers, batch_size):
            if not arrays:
                shapes = {name: (len(ids), values.shape[1]) for name, values in features.items()}
                needed = sum(n * p for n, p in shapes.values()) * _BYTES
                if needed > budget:
                    scratch = _make_scratch(needed)
                arrays = {name: _empty(shape, name, scratch) for name, shape in shapes.items()}
            for name, values in features.items():
                arrays[name][rows] = values
        yield Activations(ids, arrays, on_disk=scratch is not None)
    finally:
        arrays.clear()
        if scratch is not None:
            shutil.rmtree(scratch)


def remove_leftovers(root: Path) -> None:
    """Remove folders under `root` that processes of this machine left behind when they were killed."""
    for folder in root.glob(f"{_FOLDER}-{_host()}-*"):
        pid, _, started = folder.name.removeprefix(f"{_FOLDER}-{_host()}-").partition("-")
        owner = f"{pid}-{started.partition('-')[0]}"
        if pid.isdigit() and owner != _process_key(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _make_scratch(needed: int) -> Path:
    root = Path(os.environ.get("ITPROBE_SCRATCH") or tempfile.gettempdir()).expanduser()
    make_folder(root)
    remove_leftovers(root)
    _require_space(root, needed, shutil.disk_usage(root).free)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-{_host()}-{_process_key(os.getpid())}-", dir=root))


def _empty(shape: tuple[int, int], name: str, scratch: Path | None) -> np.ndarray:
    if scratch is None:
        return np.empty(shape, dtype=np.float32)
    path = scratch / f"{file_name_of(name)}.f32"
    needed = shape[0] * shape[1] * _BYTES
    with path.open("wb") as stream:
        try:
            _reserve(stream.fileno(), needed)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _require_space(scratch, needed, 0)
    return np.memmap(path, dtype=np.float32, mode="r+", shape=shape)


def _reserve(descriptor: int, size: int) -> None:
    # A sparse file would kill the process when the disk fills up in the middle of the run.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _require_space(folder: Path, needed: int, free: int) -> None:
    if needed > free:
        raise InputError(
            f"the activations need {needed / 1e9:.2f} GB of disk in {folder}, which has too little; "
            "set ITPROBE_SCRATCH to a larger disk, or ask for fewer layers or pooled ones (LAYER~pool4)"
        )


def _host() -> str:
    return file_name_of(socket.gethostname()).replace("-", "_")


def _process_key(pid: int) -> str | None:
    """A process's id and start, or None if it is gone; ids are used again, their starts are not."""
    try:
        return f"{pid}-{int(psutil.Process(pid).create_time())}"
    except psutil.NoSuchProcess:
        return None
