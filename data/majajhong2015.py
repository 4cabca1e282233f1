"""MajajHong2015.public: macaque V4 and IT multi-unit sites, 3200 images, through Brain-Score's loader.

Brain-Score downloads straight to the final place (an interrupted download then blocks later runs) and
may try for minutes without a network. So the three files are fetched and checked here first; its
loader then finds them.
"""

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.fetch import get_local_data_path
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data.assembly import build_assembly, neuroid_coordinates, presentation_coordinates
from itprobe.data.stimuli import make_stimulus_set
from itprobe.data.storage import readable
from itprobe.errors import InputError
from itprobe.files import atomic_file, atomic_folder
from itprobe.progress import progress_bar

IDENTIFIER = "MajajHong2015.public"
CITATION = (
    "Majaj NJ, Hong H, Solomon EA, DiCarlo JJ (2015). Simple learned weighted sums of inferior temporal "
    "neuronal firing rates accurately predict human core object recognition performance. "
    "Journal of Neuroscience 35(39):13402-13418. doi:10.1523/JNEUROSCI.5181-14.2015"
)
VISUAL_DEGREES = 8.0
_BUCKET = "brainscore-storage"
_PREFIX = "brainio-brainscore"
_VERSION = {"VersionId": "null"}  # the one that Brain-Score registered
# Short, for a user without a network: S3 has many addresses, and each is tried for this long.
_CONNECT_SECONDS = 2
_READ_SECONDS = 10
_CLEAR = "Delete it and run `itprobe recording fetch MajajHong2015.public`"


@dataclass(frozen=True)
class RemoteFile:
    """A file of the recording: its name, and the SHA-1 that is also the name of its folder."""

    name: str
    sha1: str

    @property
    def path(self) -> Path:
        """Where Brain-Score looks for it: ``$BRAINIO_HOME/SHA1/NAME``."""
        return Path(get_local_data_path()) / self.sha1 / self.name


RESPONSES = RemoteFile("assy_dicarlo_MajajHong2015_public.nc", "13d28ca0ce88ee550b54db3004374ae19096e9b9")
TABLE = RemoteFile("stimulus_hvm-public.csv", "5ca7a3da00d8e9c694a9cd725df5ba0ad6d735af")
IMAGES = RemoteFile("stimulus_hvm-public.zip", "8aa44e038d7b551efa8077467622f9d48d72e473")
FILES = (RESPONSES, TABLE, IMAGES)


def load_majajhong2015() -> NeuroidAssembly:
    """Load MajajHong2015.public, downloading its three files where they are missing.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)
        All regions (IT and V4), one row per image and repetition; the presentation coordinates stand in
        Brain-Score's order, so that averages come in its order too.

    Raises
    ------
    InputError
        If files are neither there nor downloadable, or one of them is damaged.

    Notes
    -----
    Majaj, Hong, Solomon & DiCarlo 2015; counts of 70-170 ms after the image's onset, images of 8 degrees.
    """
    fetch_majajhong2015()
    from brainscore_vision import load_dataset  # imports much; only this recording needs it

    with readable(RESPONSES.path, "the responses of MajajHong2015.public"):
        loaded = load_dataset(IDENTIFIER)
        loaded = loaded.isel(time_bin=0) if "time_bin" in loaded.dims else loaded
        loaded = loaded.transpose("presentation", "neuroid")
        values = loaded.values
    presentation = presentation_coordinates(loaded)
    source = loaded.attrs["stimulus_set"]
    columns = _with_columns_of_the_file(source, presentation)
    stimulus_set = make_stimulus_set(columns, source.stimulus_paths, str(source.identifier))
    return build_assembly(
        values,
        presentation["stimulus_id"],
        presentation["repetition"],
        stimulus_set,
        neuroid_coordinates(loaded),
        identifier=IDENTIFIER,
        visual_degrees=VISUAL_DEGREES,
        citation=CITATION,
        # The file may call the id image_id; Brain-Score keeps both, equal, and sorts by the first.
        coordinate_order=["stimulus_id" if name == "image_id" else name for name in presentation],
    )


def fetch_majajhong2015() -> Path:
    """Make sure that the three files are there and whole, and return the folder they lie under.

    Returns
    -------
    Path
        ``$BRAINIO_HOME``, by default ``~/.brainio``.

    Raises
    ------
    InputError
        If a file is damaged, or missing and not downloadable.
    """
    for file in FILES:
        if not file.path.is_file():
            _download(file)
        elif _sha1(file.path) != file.sha1:
            raise InputError(f"{file.path} is incomplete or damaged (its SHA-1 is not {file.sha1}). {_CLEAR}")
    _unpack(IMAGES.path)
    return Path(get_local_data_path())


def _with_columns_of_the_file(stimulus_set: StimulusSet, presentation: dict[str, np.ndarray]) -> pd.DataFrame:
    """Add what only the responses' file says of a stimulus: Brain-Score sorts averages by that too."""
    columns = pd.DataFrame(stimulus_set)
    trials = pd.DataFrame(presentation).drop(columns=["repetition"]).groupby("stimulus_id", sort=False)
    constant = trials.nunique(dropna=False).max() == 1
    first = trials.first()
    for name in constant.index[constant]:
        if name not in columns:
            columns[name] = first[name].reindex(columns["stimulus_id"]).to_numpy()
    return columns


def _download(file: RemoteFile) -> None:
    """Download to a temporary name; only a file with the right digest is moved into place."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    client = _s3_client()
    key = f"{_PREFIX}/{file.name}"
    try:
        size = client.head_object(Bucket=_BUCKET, Key=key)["ContentLength"]
        with atomic_file(file.path) as temporary:
            with progress_bar(size, f"downloading {file.name}", "B") as bar:
                client.download_file(_BUCKET, key, str(temporary), ExtraArgs=_VERSION, Callback=bar.update)
            if _sha1(temporary) != file.sha1:
                raise InputError(
                    f"{file.name} came damaged from s3://{_BUCKET}/{key}; try again. {_by_hand()}"
                )
    except (Boto3Error, BotoCoreError, ClientError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot download {IDENTIFIER}: {reason}. {_by_hand()}") from None


def _s3_client() -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    return boto3.client(
        "s3",
        config=Config(
            signature_version=UNSIGNED,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
        ),
    )


def _by_hand() -> str:
    places = ", ".join(f"{file.sha1}/{file.name}" for file in FILES)
    return f"Connect to the internet, or put the three files under {get_local_data_path()}: {places}"


def _unpack(archive: Path) -> None:
    """Unpack the images beside the archive, all or none; an incomplete folder is made again.

    Brain-Score takes any folder of that name to be whole, even after an interrupted unpacking.
    """
    folder = archive.with_suffix("")
    with readable(archive, "a zip of images"), zipfile.ZipFile(archive) as source:
        sizes = {item.filename: item.file_size for item in source.infolist() if not item.is_dir()}
        if sizes == {path.name: path.stat().st_size for path in folder.glob("*")}:
            return
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as target, progress_bar(len(sizes), "unpacking", "image") as bar:
            for name in sizes:
                source.extract(name, target)
                bar.update()


def _sha1(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()
