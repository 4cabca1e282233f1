"""Which recordings there are, by name, and the one function that loads any of them."""

from collections.abc import Callable
from pathlib import Path

from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly

from itprobe.data import majajhong2015, nx414
from itprobe.data.storage import read_recording
from itprobe.errors import InputError, unknown_name


def _simulated(identifier: str) -> NeuroidAssembly:
    from itprobe.data.simulated import load_simulated  # renders images: not needed for real recordings

    return load_simulated(identifier)


RECORDINGS: dict[str, Callable[[], NeuroidAssembly]] = {
    "simulated": lambda: _simulated("simulated"),
    "simulated_small": lambda: _simulated("simulated_small"),
    majajhong2015.IDENTIFIER: majajhong2015.load_majajhong2015,
    nx414.IDENTIFIER: nx414.load_nx414,
}
_FETCHERS: dict[str, Callable[[], Path]] = {majajhong2015.IDENTIFIER: majajhong2015.fetch_majajhong2015}


def load_recording(identifier: str | Path) -> NeuroidAssembly:
    """Load a recording by name, or from a file.

    Parameters
    ----------
    identifier : str or Path
        A name in `RECORDINGS`, the path of an own recording (``.nc``), or of the course's
        ``IT_data.h5`` (``.h5``); ``~`` is the home folder.

    Returns
    -------
    NeuroidAssembly (presentation, neuroid)
        float32, NaN = missing; attributes ``stimulus_set``, ``sha256``, ``simulated``, ``averaged``,
        ``visual_degrees``, ``citation``.

    Raises
    ------
    InputError
        If the name is unknown, or the files are missing, damaged or do not match.
    """
    name = str(identifier)
    if name in RECORDINGS:
        return RECORDINGS[name]()
    path = Path(name).expanduser()
    if path.suffix == ".nc":
        return read_recording(path)
    if path.suffix == ".h5":
        return nx414.load_nx414(path)
    raise unknown_name("recording", name, RECORDINGS, "(or give the path of a .nc or .h5 file)")


def fetch_recording(identifier: str) -> Path:
    """Download a recording's files where they are not there yet, and say in which folder they lie.

    Parameters
    ----------
    identifier : str
        Only ``MajajHong2015.public`` can be downloaded.

    Raises
    ------
    InputError
        If it is no recording that can be downloaded, or the download fails.
    """
    if identifier in _FETCHERS:
        return _FETCHERS[identifier]()
    if identifier in RECORDINGS:
        raise InputError(f"{identifier} is not downloaded; only {', '.join(_FETCHERS)} can be fetched")
    raise unknown_name("recording", identifier, _FETCHERS, "Only these can be fetched.")
