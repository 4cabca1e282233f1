"""NX414: the course's ``IT_data.h5``, with averaged IT responses to ImageNet-normalised images."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image
from tqdm import tqdm

from itprobe.data.assembly import build_assembly
from itprobe.data.stimuli import make_stimulus_set, stimulus_set_sha256
from itprobe.data.storage import readable
from itprobe.errors import InputError
from itprobe.files import atomic_folder, cache_home, sha256_file
from itprobe.progress import progress_bar

IDENTIFIER = "NX414"
VARIABLE = "ITPROBE_NX414"
CITATION = (
    "Responses: Majaj NJ, Hong H, Solomon EA, DiCarlo JJ (2015), Journal of Neuroscience 35(39):13402-13418, "
    "averaged over repetitions and normalised for the EPFL course NX-414, Brain-like computation and intelligence"
)
VISUAL_DEGREES = 8.0
SPLITS = ("train", "val", "test")
SPLITS_WITH_RESPONSES = ("train", "val")
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)[:, None, None]
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)[:, None, None]
_KIND = "the course's IT_data.h5"
_IMAGES_AT_ONCE = 32  # 19 MB as float32
_DIGEST = "stimuli.sha256"


def load_nx414(path: str | Path | None = None) -> NeuroidAssembly:
    """Load the course's recording.

    Parameters
    ----------
    path : str or Path, optional
        ``IT_data.h5``; by default what ``$ITPROBE_NX414`` says.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)
        The images of ``train`` and ``val``, one row each, region IT. The stimulus set also holds those
        of ``test``, which have no responses; its column ``split`` tells them apart. The animal of a
        neuroid is not in the file: ``"unknown"``.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged or of another layout.

    Notes
    -----
    The images are turned back to bytes once and kept in ``cache_home()/nx414/DIGEST-OF-THE-FILE``.
    """
    path = _path(path)
    with readable(path, _KIND):
        source = h5py.File(path, "r")
    with source:
        with readable(path, _KIND):
            sizes = _sizes(source, path)
            frame = _frame(source)
            values = np.concatenate([source[f"spikes_{split}"][:] for split in SPLITS_WITH_RESPONSES])
        stimulus_set = _stimulus_set(source, frame, cache_home() / "nx414" / sha256_file(path))
    shown = frame.loc[frame["split"].isin(SPLITS_WITH_RESPONSES), "stimulus_id"]
    n_neuroids = values.shape[1]
    return build_assembly(
        values,
        shown.to_numpy(),
        np.zeros(len(shown), dtype=np.int64),
        stimulus_set,
        {
            "neuroid_id": [f"nx414-{number:03d}" for number in range(n_neuroids)],
            "region": ["IT"] * n_neuroids,
            "animal": ["unknown"] * n_neuroids,
        },
        identifier=IDENTIFIER,
        visual_degrees=VISUAL_DEGREES,
        citation=CITATION,
        averaged=True,
        stimuli_without_responses=sizes["test"],
    )


def _path(path: str | Path | None) -> Path:
    given = path or os.environ.get(VARIABLE)
    if not given:
        raise InputError(f"{IDENTIFIER}: set {VARIABLE} to the path of IT_data.h5, or give that path instead")
    found = Path(given).expanduser()
    if not found.is_file():
        raise InputError(
            f"no file at {found}: check {'the path' if path else VARIABLE} (IT_data.h5 is expected)"
        )
    return found


def _sizes(source: h5py.File, path: Path) -> dict[str, int]:
    """Number of images of each split, once names and shapes of all arrays are found to be right."""
    expected = [f"{kind}_{split}" for kind in ("stimulus", "object") for split in SPLITS]
    expected += [f"spikes_{split}" for split in SPLITS_WITH_RESPONSES]
    lacking = [name for name in expected if name not in source]
    if lacking:
        raise InputError(
            f"{path} has not the layout of IT_data.h5: {', '.join(lacking)} missing; "
            "package other arrays with `itprobe recording package`"
        )
    sizes = {split: len(source[f"stimulus_{split}"]) for split in SPLITS}
    for name in expected:
        kind, split = name.split("_")
        shape = source[name].shape
        if len(source[name]) != sizes[split]:
            raise InputError(
                f"{path}: stimulus_{split} has {sizes[split]} images, but {name} has {shape[0]} rows"
            )
        if kind == "stimulus" and (len(shape) != 4 or shape[1] != 3):
            raise InputError(f"{path}: {name} has shape {shape}, not (images, 3, height, width)")
    neuroids = {split: source[f"spikes_{split}"].shape[1:] for split in SPLITS_WITH_RESPONSES}
    if len(set(neuroids.values())) > 1:
        raise InputError(f"{path}: spikes_train and spikes_val differ in neuroids: {neuroids}")
    return sizes


def _frame(source: h5py.File) -> pd.DataFrame:
    """One row per image: stimulus_id, object_name, split."""
    rows = [
        (f"nx414-{split}-{number:05d}", name, split)
        for split in SPLITS
        for number, name in enumerate(_names(source[f"object_{split}"]))
    ]
    return pd.DataFrame(rows, columns=["stimulus_id", "object_name", "split"])


def _names(dataset: h5py.Dataset) -> list[str]:
    return [name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in dataset[:].ravel()]


def _stimulus_set(source: h5py.File, frame: pd.DataFrame, folder: Path) -> StimulusSet:
    """Take the images from the cache; images that do not match their digest are made again."""
    paths = {key: folder / f"{key}.png" for key in frame["stimulus_id"]}
    if folder.is_dir() and not _is_whole(frame, paths, folder):
        shutil.rmtree(folder)
    if not folder.is_dir():
        with atomic_folder(folder) as target:
            made = {key: target / path.name for key, path in paths.items()}
            with progress_bar(len(frame), "writing the images of NX414", "image") as bar:
                for split in SPLITS:
                    _write_images(source[f"stimulus_{split}"], f"nx414-{split}", target, bar)
            digest = stimulus_set_sha256(make_stimulus_set(frame, made, IDENTIFIER))
            (target / _DIGEST).write_text(digest, encoding="ascii")
    return make_stimulus_set(frame, paths, IDENTIFIER)


def _is_whole(frame: pd.DataFrame, paths: dict[str, Path], folder: Path) -> bool:
    digest = folder / _DIGEST
    if not digest.is_file() or not all(path.is_file() for path in paths.values()):
        return False
    return digest.read_text(encoding="ascii") == stimulus_set_sha256(
        make_stimulus_set(frame, paths, IDENTIFIER)
    )


def _write_images(dataset: h5py.Dataset, prefix: str, folder: Path, bar: "tqdm[None]") -> None:
    """Write each image (3, h, w) of `dataset` as PNG."""
    for number, image in enumerate(_images(dataset)):
        pixels = np.moveaxis(_bytes(image, f"{dataset.name}[{number}]"), 0, -1)
        Image.fromarray(pixels).save(folder / f"{prefix}-{number:05d}.png", compress_level=1)
        bar.update()


def _images(dataset: h5py.Dataset) -> Iterator[np.ndarray]:
    """Read a few images at a time: all of them do not fit in memory."""
    for begin in range(0, len(dataset), _IMAGES_AT_ONCE):
        with readable(Path(dataset.file.filename), _KIND):
            chunk = dataset[begin : begin + _IMAGES_AT_ONCE]
        yield from chunk


def _bytes(image: np.ndarray, name: str) -> np.ndarray:
    """Undo the ImageNet normalisation: (3, h, w) float -> uint8, x -> round(255 (x std + mean))."""
    levels = 255 * (image.astype(np.float32) * _STD + _MEAN)
    if not (levels.min() > -2 and levels.max() < 257):  # also false for NaN
        raise InputError(
            f"{name.lstrip('/')}: values from {image.min():.3g} to {image.max():.3g} "
            "are not those of an ImageNet-normalised image"
        )
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
