"""Make a recording from images and an array of responses."""

import math
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from PIL import Image

from itprobe.data.assembly import build_assembly, neuroid_coordinates, presentation_coordinates
from itprobe.data.responses import Responses, check_unique, read_responses
from itprobe.data.stimuli import count_and_first, make_stimulus_set, stimulus_set_sha256
from itprobe.data.stimulus_folder import check_apart
from itprobe.data.storage import read_recording, readable, save_recording
from itprobe.errors import InputError
from itprobe.progress import progress_bar

DEFAULT_VISUAL_DEGREES = 8.0


def package_recording(
    stimuli: str | Path,
    responses: str | Path,
    region: str | None,
    out: str | Path,
    *,
    visual_degrees: float = DEFAULT_VISUAL_DEGREES,
    citation: str = "not given",
) -> Path:
    """Make a recording from images and an array file, and write it as ``OUT.nc`` and ``OUT.stimuli/``.

    Parameters
    ----------
    stimuli : str or Path
        Folder or zip of images. A stimulus's id is the image's name without its suffix. The order of
        the names is the order of the stimuli, unless the responses say which stimulus is which.
    responses : str or Path
        ``.npz``, ``.npy``, ``.csv`` or ``.h5``; see `itprobe.data.responses.read_responses`.
    region : str or None
        Region of all neuroids, letters and digits; None where the file has an array ``region``.
    out : str or Path
        Ends in ``.nc``.
    visual_degrees : float
        Degrees of visual angle that an image spans; above 0.
    citation : str
        Where the data come from.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If an image cannot be read, images and responses do not match, the arrays do not fit together,
        `visual_degrees` is no positive number, `out` holds another recording already, or the folder of
        its images is, contains or lies in `stimuli`, or holds files that itprobe did not write.

    Notes
    -----
    A presentation that no neuroid has a response for is left out; a stimulus left without any is an
    error. Where no animal is given it is called ``"unknown"``.
    """
    stimuli, responses, out = (Path(path).expanduser() for path in (stimuli, responses, out))
    if out.suffix != ".nc":
        raise InputError(f"cannot write the recording {out}: the name must end in .nc")
    if not (math.isfinite(visual_degrees) and visual_degrees > 0):
        raise InputError(
            f"images cannot span {visual_degrees} degrees of visual angle: give a positive number, e.g. 8"
        )
    check_apart(out, stimuli)
    found = read_responses(responses)
    with _image_files(stimuli) as images:
        paths = _by_stem(images, stimuli)
        columns = _stimulus_columns(found, paths, responses, stimuli)
        stimulus_set = make_stimulus_set(columns, paths, out.stem)
        rows, repetitions = np.nonzero(~np.isnan(found.values).all(axis=2))
        assembly = build_assembly(
            found.values[rows, repetitions],
            columns["stimulus_id"].to_numpy()[rows],
            repetitions,
            stimulus_set,
            _neuroid_coords(found, region, responses),
            identifier=out.stem,
            visual_degrees=visual_degrees,
            citation=citation,
            averaged=found.averaged,
        )
        if out.exists():
            _refuse_other_content(assembly, out)
        else:
            save_recording(assembly, out)
    return out


@contextmanager
def _image_files(stimuli: Path) -> Iterator[list[Path]]:
    """Give the readable images of a folder or zip, in the order of their names."""
    if stimuli.is_dir():
        yield _checked_images(stimuli, stimuli)
    elif stimuli.is_file():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with readable(stimuli, "a zip of images"), zipfile.ZipFile(stimuli) as archive:
                archive.extractall(folder)
            yield _checked_images(folder, stimuli)
    else:
        raise InputError(f"no stimuli at {stimuli}: give a folder or a zip of images")


def _checked_images(folder: Path, source: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder))]
    files.sort(key=lambda path: path.relative_to(folder).as_posix())
    if not files:
        raise InputError(f"no images in {source}")
    with progress_bar(len(files), "reading images", "image") as bar:
        for path in files:
            _check_image(path, path.relative_to(folder), source)
            bar.update()
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _check_image(path: Path, name: Path, source: Path) -> None:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), path.name)
        raise InputError(f"cannot read the image {name} in {source}: {reason}; repair or remove it") from None


def _by_stem(images: Sequence[Path], source: Path) -> dict[str, Path]:
    paths = {path.stem: path for path in images}
    if len(paths) < len(images):
        stems = pd.Series([path.stem for path in images])
        twice = stems[stems.duplicated()].unique()
        raise InputError(
            f"{source}: {count_and_first(twice, 'image names')} occur twice but for folder or suffix; "
            "rename them, the name is the stimulus_id"
        )
    return paths


def _stimulus_columns(
    found: Responses, paths: dict[str, Path], responses: Path, stimuli: Path
) -> pd.DataFrame:
    """Columns of the stimulus set, one row per stimulus of the file of responses, in its order."""
    if found.stimulus_id is None:
        if len(found.values) != len(paths):
            raise InputError(
                f"{stimuli} holds {len(paths)} images, but {responses} has {len(found.values)} stimuli"
            )
        _refuse_ambiguous_order(list(paths), stimuli)
        ids = np.array(list(paths), dtype=object)
    else:
        by_name = {path.name: stem for stem, path in paths.items()}
        ids = np.array([by_name.get(key, key) for key in found.stimulus_id], dtype=object)
        check_unique(responses, ids)
        _check_ids(set(ids), set(paths), responses, stimuli)
    return pd.DataFrame({"stimulus_id": ids, **found.stimulus_columns})


def _check_ids(ids: set[str], stems: set[str], responses: Path, stimuli: Path) -> None:
    faults = []
    if ids - stems:
        faults.append(f"{count_and_first(sorted(ids - stems), 'stimulus ids')} of {responses} have no image")
    if stems - ids:
        faults.append(f"{count_and_first(sorted(stems - ids), 'images')} of {stimuli} have no response")
    if faults:
        raise InputError(f"stimuli and responses do not match: {' and '.join(faults)}")


def _refuse_ambiguous_order(names: list[str], stimuli: Path) -> None:
    """Raise `InputError` where names differ only in numbers that sort otherwise as numbers than as text."""

    def pattern(name: str) -> str:
        return re.sub(r"\d+", "0", name)

    for _, group in groupby(sorted(names, key=pattern), key=pattern):
        as_text = sorted(group)
        as_numbers = sorted(as_text, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
        for text, number in zip(as_text, as_numbers, strict=True):
            if text != number:
                raise InputError(
                    f"the order of the images in {stimuli} is not clear: as text {text} comes before {number}; "
                    "pad the numbers with zeros, or give stimulus_id with the responses"
                )


def _neuroid_coords(found: Responses, region: str | None, responses: Path) -> dict[str, np.ndarray]:
    coords = dict(found.neuroid_coords)
    n_neuroids = found.values.shape[2]
    if (region is None) == ("region" not in coords):
        fault = "no region is given" if region is None else "the region is given twice (argument and array)"
        raise InputError(f"{responses}: {fault}; give it once")
    if region is not None:
        coords["region"] = np.array([region] * n_neuroids, dtype=object)
    for name in sorted(set(coords["region"].astype(str))):
        if not re.fullmatch(r"[A-Za-z0-9]+", name):
            raise InputError(f"region {name!r} must be letters and digits, as in IT or V4")
    width = len(str(n_neuroids - 1))
    coords.setdefault("neuroid_id", np.array([f"{i:0{width}d}" for i in range(n_neuroids)], dtype=object))
    return {"neuroid_id": coords.pop("neuroid_id"), "region": coords.pop("region"), **coords}


def _refuse_other_content(assembly: NeuroidAssembly, out: Path) -> None:
    """Raise `InputError` unless `out` already holds this very recording."""
    try:
        there = read_recording(out)
    except InputError as error:
        raise InputError(
            f"{out} exists and is no whole recording: delete it or choose another name ({error})"
        ) from None
    if _content(there) != _content(assembly):
        raise InputError(f"{out} exists and holds another recording: delete it or choose another name")


def _content(assembly: NeuroidAssembly) -> dict[str, object]:
    names = ("sha256", "visual_degrees", "citation", "averaged")
    coords = {**presentation_coordinates(assembly), **neuroid_coordinates(assembly)}
    return {
        **{name: assembly.attrs[name] for name in names},
        "stimuli": stimulus_set_sha256(assembly.attrs["stimulus_set"]),
        "coordinates": {name: [str(item) for item in column] for name, column in coords.items()},
    }
