"""Recordings on disk: ``R.nc`` (BrainIO conventions) and, beside it, ``R.stimuli/`` with the images."""

import glob
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data.assembly import (
    build_assembly,
    neuroid_coordinates,
    presentation_coordinates,
    recording_sha256,
)
from itprobe.data.stimuli import make_stimulus_set, stimulus_set_sha256
from itprobe.data.stimulus_folder import CSV, check_replaceable, holds, stimulus_folder, write_stimuli
from itprobe.errors import InputError
from itprobe.files import make_folder

_TRUTH_GROUP = "truth"
_FORMER = "former"  # where a folder of images waits until its successor is in place
_ATTRIBUTES = (
    "identifier",
    "visual_degrees",
    "citation",
    "simulated",
    "averaged",
    "stimuli_without_responses",
)


def save_recording(assembly: NeuroidAssembly, path: str | Path) -> Path:
    """Write a recording as ``PATH.nc`` and ``PATH.stimuli/``; a recording that lay there is replaced.

    The netCDF file holds one DataArray with coordinates as plain variables and the digests of the
    responses and of the stimuli as attributes; where there is a truth it is the group ``truth``. The
    folder holds ``stimuli.csv`` (stimulus_id, filename, further columns), the image files, and a hidden
    list of these. Both are written whole under other names and then moved into place, the netCDF file
    last; a failure on the way puts the former folder back.

    Parameters
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)
        A recording as `itprobe.data.build_assembly` makes it.
    path : str or Path
        Ends in ``.nc``.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If `path` does not end in ``.nc``, its folder cannot be written, image files are missing, or
        ``PATH.stimuli`` exists and holds images of this recording, or files that itprobe did not write.
    """
    path = Path(path)
    if path.suffix != ".nc":
        raise InputError(f"cannot write the recording {path}: the name must end in .nc")
    stimulus_set = assembly.attrs["stimulus_set"]
    digest = stimulus_set_sha256(stimulus_set)
    folder = stimulus_folder(path)
    kept = holds(folder, stimulus_set, digest)
    if not kept:
        check_replaceable(folder, stimulus_set)
    make_folder(path.parent)
    workplace = Path(tempfile.mkdtemp(dir=path.parent, prefix=_workplace_prefix(path)))
    responses, new, old = workplace / "responses.nc", workplace / "new", workplace / _FORMER
    new.mkdir()
    try:
        _write_netcdf(assembly, digest, responses)
        if not kept:
            write_stimuli(stimulus_set, new)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        responses.replace(path)
    finally:
        if responses.exists():  # not in its place, so the images of what it would replace are still needed
            _put_back(folder, new, old)
        shutil.rmtree(workplace, ignore_errors=True)
    return path


def read_recording(path: str | Path) -> NeuroidAssembly:
    """Read a recording that `save_recording` wrote.

    Parameters
    ----------
    path : str or Path
        The ``.nc`` file; the folder ``.stimuli`` lies beside it.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)

    Raises
    ------
    InputError
        If the file is missing, truncated or no recording, its digest or that of the stimuli does not
        match, or stimuli and responses do not have the same ids.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no recording at {path}: check the path, or make one with `itprobe recording package`"
        )
    data, truth = _read_netcdf(path)
    _check_layout(data, path)
    presentation, neuroid = _coordinates(data, "presentation"), _coordinates(data, "neuroid")
    stimulus_set = _read_stimuli(path, presentation, str(data.attrs["stimulus_set_identifier"]))
    if stimulus_set_sha256(stimulus_set) != data.attrs["stimulus_set_sha256"]:
        raise InputError(
            f"the images in {stimulus_folder(path)} are not those that {path} was made with: "
            f"{_remedy(path, 'put the original images back')}"
        )
    attrs = {name: data.attrs[name] for name in _ATTRIBUTES}
    assembly = build_assembly(
        data.transpose("presentation", "neuroid").values,
        presentation["stimulus_id"],
        presentation["repetition"],
        stimulus_set,
        neuroid,
        truth=truth,
        coordinate_order=list(presentation),
        **attrs,
    )
    if assembly.attrs["sha256"] != data.attrs["sha256"]:
        raise InputError(
            f"the recording {path} does not match its digest: the file is damaged; make it again"
        )
    return assembly


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what netCDF4, h5py and zipfile raise on a truncated or foreign file into one clear line."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot read {path} as {kind}: it is truncated, damaged or of another kind ({reason}); "
            "copy or make it again"
        ) from None


def _workplace_prefix(path: Path) -> str:
    return f".{path.stem[:40]}-saving-"


def _put_back(folder: Path, new: Path, old: Path) -> None:
    """Undo as much of the exchange of the folders as had been done."""
    if not new.exists():
        folder.rename(new)
    if old.exists():
        old.rename(folder)


def _remedy(path: Path, usual: str) -> str:
    """What to do about faulty images; a save that was killed may have left the right ones elsewhere."""
    former = sorted(path.parent.glob(f"{glob.escape(_workplace_prefix(path))}*/{_FORMER}"))
    saved = f" (a save was interrupted: the images from before it are in {former[-1]})" if former else ""
    return f"{usual}{saved}, or delete both and make the recording again"


def _write_netcdf(assembly: NeuroidAssembly, stimulus_digest: str, path: Path) -> None:
    coords = {name: ("presentation", values) for name, values in presentation_coordinates(assembly).items()}
    coords |= {name: ("neuroid", values) for name, values in neuroid_coordinates(assembly).items()}
    values = assembly.transpose("presentation", "neuroid").values.astype(np.float32)
    attrs = {name: _netcdf_attribute(assembly.attrs[name]) for name in _ATTRIBUTES}
    attrs["stimulus_set_identifier"] = assembly.attrs["stimulus_set_identifier"]
    attrs["stimulus_set_sha256"] = stimulus_digest
    # The digest is taken anew: an assembly cut to a region still carries that of the whole recording.
    attrs["sha256"] = recording_sha256(
        values,
        *(np.asarray(assembly[name].values) for name in ("stimulus_id", "repetition", "neuroid_id")),
    )
    data = xr.DataArray(
        values, dims=("presentation", "neuroid"), coords=coords, name="responses", attrs=attrs
    )
    data.to_netcdf(path, engine="netcdf4", encoding={"responses": {"zlib": True, "complevel": 1}})
    truth = assembly.attrs.get("truth")
    if truth is not None:
        truth.to_netcdf(path, engine="netcdf4", mode="a", group=_TRUTH_GROUP)


def _netcdf_attribute(value: object) -> object:
    return int(value) if isinstance(value, bool) else value


def _read_netcdf(path: Path) -> tuple[xr.DataArray, xr.Dataset | None]:
    with readable(path, "a recording (netCDF)"):
        with xr.open_dataarray(path, engine="netcdf4", decode_times=False) as data:
            data.load()
        try:
            with xr.open_dataset(path, engine="netcdf4", group=_TRUTH_GROUP, decode_times=False) as truth:
                return data, truth.load()
        except OSError as error:
            if "group not found" not in str(error):
                raise
            return data, None


def _coordinates(data: xr.DataArray, dim: str) -> dict[str, np.ndarray]:
    return {str(name): column.values for name, column in data.coords.items() if column.dims == (dim,)}


def _check_layout(data: xr.DataArray, path: Path) -> None:
    """Raise `InputError` unless dimensions, coordinates and attributes of a recording are there."""
    if set(data.dims) != {"presentation", "neuroid"}:
        raise InputError(
            f"{path} is no recording: its dimensions are {tuple(data.dims)}, not ('presentation', 'neuroid')"
        )
    required = {"presentation": ("stimulus_id", "repetition"), "neuroid": ("neuroid_id", "region", "animal")}
    for dim, names in required.items():
        for name in names:
            if name not in data.coords or data[name].dims != (dim,):
                raise InputError(f"{path} is no recording: it has no {dim} coordinate {name!r}")
    for name in (*_ATTRIBUTES, "stimulus_set_identifier", "stimulus_set_sha256", "sha256"):
        if name not in data.attrs:
            raise InputError(
                f"{path} is no recording: it has no attribute {name!r}; write it with save_recording"
            )


def _read_stimuli(path: Path, presentation: dict[str, np.ndarray], identifier: str) -> StimulusSet:
    """Read the folder of stimuli; a column has the type of the presentation coordinate of that name."""
    folder = stimulus_folder(path)
    csv = folder / CSV
    if not csv.is_file():
        raise InputError(
            f"the recording {path} has no stimuli: {csv} is missing; "
            f"{_remedy(path, 'put the folder back beside it')}"
        )
    with readable(csv, "a table of stimuli"):
        frame = pd.read_csv(csv, dtype=str, keep_default_na=False, encoding="utf-8")
        if not {"stimulus_id", "filename"} <= set(frame.columns):
            raise InputError(f"{csv} has no columns stimulus_id and filename; make the recording again")
        for name in set(frame.columns) - {"stimulus_id", "filename"}:
            kind = presentation[name].dtype.kind if name in presentation else "O"
            frame[name] = _typed(frame[name], kind)
    paths = {key: folder / file for key, file in zip(frame["stimulus_id"], frame["filename"], strict=True)}
    return make_stimulus_set(frame, paths, identifier)


def _typed(texts: "pd.Series[str]", kind: str) -> "pd.Series[Any]":
    """Texts of a table as the kind of number (numpy's letter) they were; other kinds stay texts."""
    if kind == "b":
        return texts == "True"
    if kind in "iu":
        return texts.astype(np.int64)
    if kind == "f":
        return texts.replace("", "nan").map(float)
    return texts
