"""Ids of benchmarks: ``RECORDING.REGION-MAPPING[.SPLIT]`` or ``path/to/r.nc#REGION-MAPPING[.SPLIT]``."""

import re
from dataclasses import dataclass

from itprobe.data import RECORDINGS
from itprobe.errors import InputError, unknown_name
from itprobe.metrics import MAPPINGS, SPLITS, WHOLE_SET_MAPPINGS

DEFAULT_SPLIT = "brainscore"

RECORDING_NAMES = {name.replace(".", ""): name for name in RECORDINGS}
"""Recordings by the name that stands in a benchmark id: MajajHong2015public -> MajajHong2015.public."""

FITTED = "fitted"
"""Stands where a mapping's name does: candidates that predict the responses themselves, fitted to each split."""

MAPPING_NAMES = [*MAPPINGS, *WHOLE_SET_MAPPINGS, FITTED]

_FILE = re.compile(r"(?P<recording>.+)#(?P<region>[A-Za-z0-9]+)-(?P<mapping>\w+)(?:\.(?P<split>\w+))?")
_NAMED = re.compile(r"(?P<recording>[^.#]+)\.(?P<region>[A-Za-z0-9]+)-(?P<mapping>\w+)(?:\.(?P<split>\w+))?")


@dataclass(frozen=True)
class BenchmarkId:
    """A benchmark's parts.

    Attributes
    ----------
    recording : str
        As `itprobe.load_recording` takes it: a name or a path.
    region, mapping, split : str
        The split means nothing to mappings that compare all stimuli at once.
    """

    recording: str
    region: str
    mapping: str
    split: str

    def __str__(self) -> str:
        suffix = "" if self.split == DEFAULT_SPLIT else f".{self.split}"
        short = {name: key for key, name in RECORDING_NAMES.items()}.get(self.recording)
        start = f"{short}." if short else f"{self.recording}#"
        return f"{start}{self.region}-{self.mapping}{suffix}"


def parse_benchmark(text: str) -> BenchmarkId:
    """Take a benchmark id apart; ids of the native Brain-Score plugins (``itprobe.…``) are understood too.

    Raises
    ------
    InputError
        If it is not of the form, or names a recording, mapping or split that does not exist.
    """
    match = _FILE.fullmatch(text) or _NAMED.fullmatch(text.removeprefix("itprobe."))
    if match is None:
        form = "RECORDING.REGION-MAPPING[.SPLIT], e.g. simulated_small.IT-ridge, or path/to/r.nc#IT-ridge"
        raise unknown_name("benchmark", text, list_benchmarks(), f"A benchmark is {form}.")
    recording, region, mapping, split = match.groups()
    if mapping not in MAPPING_NAMES:
        raise unknown_name("mapping", mapping, MAPPING_NAMES, f"It stands in the benchmark {text!r}.")
    if split is not None and mapping in WHOLE_SET_MAPPINGS:
        raise InputError(f"benchmark {text!r}: {mapping} compares all stimuli at once; leave out .{split}")
    if split is not None and split not in SPLITS:
        raise unknown_name("split", split, SPLITS, f"It stands in the benchmark {text!r}.")
    if "#" not in text:
        if recording not in RECORDING_NAMES:
            hint = (
                f"It stands in the benchmark {text!r}; an own recording is path/to/r.nc#{region}-{mapping}."
            )
            raise unknown_name("recording", recording, RECORDING_NAMES, hint)
        recording = RECORDING_NAMES[recording]
    elif not recording.endswith((".nc", ".h5")):
        raise InputError(
            f"benchmark {text!r}: before the # stands the path of a recording, ending in .nc or .h5"
        )
    return BenchmarkId(recording, region, mapping, split or DEFAULT_SPLIT)


def list_benchmarks() -> list[str]:
    """Ids of the benchmarks on the named recordings, all of region IT."""
    return [
        str(BenchmarkId(recording, "IT", mapping, split))
        for recording in RECORDING_NAMES.values()
        for mapping in MAPPING_NAMES
        for split in ([DEFAULT_SPLIT] if mapping in WHOLE_SET_MAPPINGS else SPLITS)
    ]
