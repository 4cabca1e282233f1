"""A recording in two: a public part with all images, and the responses to some of them, which the host keeps."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data.assembly import build_assembly, neuroid_coordinates, presentation_coordinates
from itprobe.data.stimuli import make_stimulus_set, stimulus_set_sha256
from itprobe.data.storage import readable, save_recording
from itprobe.errors import InputError
from itprobe.files import atomic_file

PART = "split"
"""Stimulus column that says which part a stimulus is in, as in the course's recording."""
_KIND = "withheld responses"
_INHERITED = ("identifier", "visual_degrees", "citation", "simulated", "averaged")
_OWN = ("public_sha256", "public_stimulus_set_sha256", "split", "part", "seed", "sha256")


@dataclass(frozen=True)
class Drawn:
    """How the withheld stimuli were drawn: the split's name, its seed, and which of its parts (from 1)."""

    split: str
    part: int
    seed: int


@dataclass(frozen=True)
class Withheld:
    """Responses that the host keeps.

    Attributes
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)
        A recording of the withheld stimuli alone, with their repetitions; its stimulus set has no images.
    public_sha256, public_stimulus_set_sha256 : str
        Digests of the public part that belongs to it: its responses, and all images.
    drawn : Drawn
    """

    assembly: NeuroidAssembly
    public_sha256: str
    public_stimulus_set_sha256: str
    drawn: Drawn


def withhold(
    assembly: NeuroidAssembly,
    parts: dict[str, str],
    withheld: Collection[str],
    neuroid_ids: Collection[str],
    drawn: Drawn,
    folder: str | Path,
) -> tuple[Path, Path]:
    """Write ``public.nc`` (with ``public.stimuli/``) and ``withheld.nc``.

    The public part has the images of all stimuli and the responses to those that are not withheld; what a simulated
    recording knows of its truth is in neither. The withheld part can be read by its owner alone.

    Parameters
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)
        A recording with responses to all its stimuli.
    parts : dict of str to str
        Part of each stimulus id, which becomes the stimulus column `PART`.
    withheld : collection of str
        Stimulus ids.
    neuroid_ids : collection of str
        Neuroids that are kept; the others are in neither file.
    drawn : Drawn
    folder : str or Path

    Returns
    -------
    Path, Path
        The public and the withheld file.

    Raises
    ------
    InputError
        If the files cannot be written, or there are withheld responses already.
    """
    folder = Path(folder)
    path = folder / "withheld.nc"
    if path.exists():
        raise InputError(
            f"{path} exists, and what is published belongs to it; choose another folder, or move both away"
        )
    stimuli = assembly.attrs["stimulus_set"]
    frame = pd.DataFrame(stimuli).assign(**{PART: [parts[key] for key in stimuli["stimulus_id"]]})
    named = make_stimulus_set(frame, stimuli.stimulus_paths, f"{stimuli.identifier}-public")
    kept = np.isin(assembly["neuroid_id"].values, list(neuroid_ids))
    hidden = np.isin(assembly["stimulus_id"].values, list(withheld))
    public = _part(assembly, ~hidden, kept, named, f"{assembly.attrs['identifier']}-public", len(withheld))
    rows = np.flatnonzero(frame["stimulus_id"].isin(list(withheld)))
    own = _without_images(frame.iloc[rows], f"{stimuli.identifier}-withheld")
    secret = _part(assembly, hidden, kept, own, assembly.attrs["identifier"], 0)
    about = {
        "public_sha256": public.attrs["sha256"],
        "public_stimulus_set_sha256": stimulus_set_sha256(named),
        "split": drawn.split,
        "part": drawn.part,
        "seed": drawn.seed,
        "sha256": secret.attrs["sha256"],
    }
    public_path = save_recording(public, folder / "public.nc")
    with atomic_file(path) as temporary:
        _dataset(secret, about).to_netcdf(temporary, engine="netcdf4", encoding={"response": {"zlib": True}})
    path.chmod(0o600)
    return public_path, path


def read_withheld(path: str | Path) -> Withheld:
    """Read what `withhold` wrote for the host.

    Raises
    ------
    InputError
        If the file is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no withheld responses at {path}: make them with `itprobe leaderboard withhold`")
    with (
        readable(path, _KIND),
        xr.open_dataset(path, engine="netcdf4", decode_times=False) as source,
    ):
        data = source.load()
    lacking = [name for name in (*_INHERITED, *_OWN) if name not in data.attrs]
    if lacking or "response" not in data:
        raise InputError(f"{path} holds no withheld responses; give the file that leaderboard withhold wrote")
    coords = {
        dim: {str(name): column.values for name, column in data.coords.items() if column.dims == (dim,)}
        for dim in ("presentation", "neuroid")
    }
    columns = pd.DataFrame({k: v for k, v in coords["presentation"].items() if k != "repetition"})
    stimuli = _without_images(columns.drop_duplicates("stimulus_id"), f"{data.attrs['identifier']}-withheld")
    assembly = build_assembly(
        data["response"].transpose("presentation", "neuroid").values,
        coords["presentation"]["stimulus_id"],
        coords["presentation"]["repetition"],
        stimuli,
        coords["neuroid"],
        coordinate_order=list(coords["presentation"]),
        **{name: data.attrs[name] for name in _INHERITED},
    )
    if assembly.attrs["sha256"] != data.attrs["sha256"]:
        raise InputError(f"the withheld responses {path} do not match their digest: the file is damaged")
    drawn = Drawn(str(data.attrs["split"]), int(data.attrs["part"]), int(data.attrs["seed"]))
    responses, images = (str(data.attrs[name]) for name in ("public_sha256", "public_stimulus_set_sha256"))
    return Withheld(assembly, responses, images, drawn)


def _part(
    assembly: NeuroidAssembly,
    presentations: np.ndarray,
    neuroids: np.ndarray,
    stimuli: StimulusSet,
    identifier: str,
    without_responses: int,
) -> NeuroidAssembly:
    """Some presentations and neuroids as a recording of their own, with its own digest."""
    values = assembly.transpose("presentation", "neuroid").values[np.ix_(presentations, neuroids)]
    coords = presentation_coordinates(assembly)
    return build_assembly(
        values,
        coords["stimulus_id"][presentations],
        coords["repetition"][presentations],
        stimuli,
        {name: column[neuroids] for name, column in neuroid_coordinates(assembly).items()},
        stimuli_without_responses=without_responses,
        coordinate_order=list(coords),
        **{name: assembly.attrs[name] for name in _INHERITED if name != "identifier"},
        identifier=identifier,
    )


def _without_images(frame: pd.DataFrame, identifier: str) -> StimulusSet:
    stimuli = StimulusSet(frame.reset_index(drop=True))
    stimuli.identifier = identifier
    stimuli.stimulus_paths = {}
    return stimuli


def _dataset(assembly: NeuroidAssembly, about: dict[str, object]) -> xr.Dataset:
    coords = {name: ("presentation", values) for name, values in presentation_coordinates(assembly).items()}
    coords |= {name: ("neuroid", values) for name, values in neuroid_coordinates(assembly).items()}
    attrs = {name: assembly.attrs[name] for name in _INHERITED} | about
    plain = {name: int(value) if isinstance(value, bool) else value for name, value in attrs.items()}
    return xr.Dataset(
        {"response": (("presentation", "neuroid"), assembly.values)}, coords=coords, attrs=plain
    )
