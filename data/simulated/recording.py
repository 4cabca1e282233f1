"""The simulated recordings: made from a seed, and kept in the cache."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

from itprobe.data.assembly import build_assembly
from itprobe.data.simulated.images import write_stimuli
from itprobe.data.simulated.neurons import (
    GAIN_VARIANCE,
    Sites,
    animal_numbers,
    draw_counts,
    make_sites,
    neuroid_coordinates,
)
from itprobe.data.simulated.scenes import make_latents
from itprobe.data.simulated.teacher import PLANTED_BLOCK, teacher, teacher_features
from itprobe.data.stimuli import make_stimulus_set
from itprobe.data.storage import read_recording, save_recording
from itprobe.errors import InputError, unknown_name
from itprobe.files import atomic_file, atomic_folder, cache_home, make_folder, sha256_file

VERSION = 1  # raise it when anything here changes what a seed gives: old caches are then left alone
CITATION = "simulated by itprobe (no real neurons)"
VISUAL_DEGREES = 8.0
MIN_STIMULI = 64


@dataclass(frozen=True)
class Size:
    """Number of stimuli and sites, and the mean number of trials of a stimulus."""

    n_stimuli: int
    n_neuroids: int
    repetitions: int


SIMULATED = {"simulated": Size(3200, 168, 28), "simulated_small": Size(640, 40, 20)}


def load_simulated(identifier: str, seed: int = 0) -> NeuroidAssembly:
    """Load a simulated recording from the cache, or make it there.

    A cached recording that is damaged is made again.

    Parameters
    ----------
    identifier : str
        ``"simulated"`` (3200 stimuli, 168 sites, about 28 repetitions) or ``"simulated_small"`` (640,
        40, about 20).
    seed : int
        Of everything: shapes, scenes, backgrounds, teacher, sites and spikes.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)
        Spike counts; the planted truth is ``attrs["truth"]``, see `make_simulated`.

    Raises
    ------
    InputError
        If the name is unknown, the seed negative, or the cache cannot be written.
    """
    if identifier not in SIMULATED:
        raise unknown_name("simulated recording", identifier, SIMULATED)
    folder = cache_home() / "recordings" / f"{identifier}-v{VERSION}-seed{seed}"
    path = folder / f"{identifier}.nc"
    if _is_whole(path):
        try:
            return read_recording(path)
        except InputError:  # damaged images: made again below
            pass
    size = SIMULATED[identifier]
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".stimuli-") as images:
        recording = make_simulated(
            size.n_stimuli,
            size.n_neuroids,
            seed,
            folder=images,
            repetitions=size.repetitions,
            identifier=identifier,
        )
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as target:
            digest = sha256_file(save_recording(recording, target / path.name))
            with atomic_file(_digest_file(target / path.name)) as text:
                text.write_text(digest)
    return read_recording(path)


def make_simulated(
    n_stimuli: int,
    n_neuroids: int,
    seed: int = 0,
    *,
    folder: str | Path,
    repetitions: int = 20,
    identifier: str = "simulated",
) -> NeuroidAssembly:
    """Make a simulated recording; only the stimuli are written, as PNG files.

    Parameters
    ----------
    n_stimuli : int
        At least 64, one per object; multiples of 640 are balanced over objects and variation levels.
    n_neuroids : int
        At least 2, one per animal.
    seed : int
        The same seed gives the same bytes on processors of one kind with the same libraries. Elsewhere products
        round otherwise: a few pixels change by one grey level, and the noise is another draw.
    folder : str or Path
        Where the images go; made where it is missing.
    repetitions : int
        Mean number of trials per stimulus; the number itself varies by 10% to either side.
    identifier : str
        Name of the recording.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)
        Spike counts in 100 ms. ``attrs["truth"]`` is a Dataset: ``signal`` (stimulus, neuroid), the
        noiseless expected count; ``reliability`` (neuroid), of the average over trials;
        ``share_teacher``, ``share_object``, ``share_pose`` (neuroid), parts of the drive's variance;
        ``fano`` (neuroid), the mean Fano factor; attributes ``planted_block``, ``gain_variance``.

    Raises
    ------
    InputError
        If a number is too small, or the folder cannot be written.
    """
    _check_numbers(n_stimuli, n_neuroids, seed, repetitions)
    folder = Path(folder)
    make_folder(folder)
    latents = make_latents(n_stimuli, seed)
    images, paths = write_stimuli(latents, seed, folder)
    spread = repetitions // 10
    trials = np.random.default_rng([seed, 6]).integers(
        repetitions - spread, repetitions + spread + 1, n_stimuli
    )
    sites = make_sites(teacher_features(teacher(seed), images), latents, trials, n_neuroids, seed)
    stimulus_ids = latents["stimulus_id"].to_numpy()
    neuroids = neuroid_coordinates(n_neuroids)
    return build_assembly(
        draw_counts(sites.signal, trials, animal_numbers(n_neuroids), np.random.default_rng([seed, 7])),
        np.repeat(stimulus_ids, trials),
        np.concatenate([np.arange(count) for count in trials]),
        make_stimulus_set(latents, paths, f"itprobe.{identifier}-v{VERSION}-seed{seed}"),
        neuroids,
        identifier=identifier,
        visual_degrees=VISUAL_DEGREES,
        citation=CITATION,
        simulated=True,
        truth=_truth(sites, stimulus_ids, neuroids["neuroid_id"]),
    )


def _truth(sites: Sites, stimulus_ids: np.ndarray, neuroid_ids: np.ndarray) -> xr.Dataset:
    shares = dict(zip(("share_teacher", "share_object", "share_pose"), sites.shares, strict=True))
    fano = (1 + GAIN_VARIANCE * sites.signal).mean(axis=0)
    per_neuroid = {"reliability": sites.reliability, **shares, "fano": fano}
    return xr.Dataset(
        {
            "signal": (("stimulus", "neuroid"), sites.signal),
            **{name: ("neuroid", values) for name, values in per_neuroid.items()},
        },
        coords={
            "stimulus_id": ("stimulus", stimulus_ids.astype(object)),
            "neuroid_id": ("neuroid", neuroid_ids.astype(object)),
        },
        attrs={"planted_block": PLANTED_BLOCK, "gain_variance": GAIN_VARIANCE},
    )


def _check_numbers(n_stimuli: int, n_neuroids: int, seed: int, repetitions: int) -> None:
    limits = {
        "stimuli": (n_stimuli, MIN_STIMULI),
        "neuroids": (n_neuroids, 2),
        "repetitions": (repetitions, 2),
        "seed": (seed, 0),
    }
    for name, (value, least) in limits.items():
        if value < least:
            raise InputError(f"cannot simulate a recording with {name} = {value}: give at least {least}")


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether the netCDF file, truth and coordinates included, is as it was written."""
    digest = _digest_file(path)
    return path.is_file() and digest.is_file() and digest.read_text() == sha256_file(path)
