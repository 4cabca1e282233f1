"""itprobe's own benchmarks, metrics and data as Brain-Score plugins; unlike models, they need itprobe."""

import importlib.util
from pathlib import Path

from itprobe.errors import InputError, unknown_name
from itprobe.leaderboard.submission.library import KINDS, literal_ids
from itprobe.leaderboard.submission.plugin import Plugin, itprobe_version, rendered

NATIVE_KINDS = ("benchmarks", "metrics", "data")
NATIVE_NAME = "itprobe"
"""Of the folder, in a submission as where a wheel of itprobe puts it: what is installed later replaces it."""


def native_plugin(kind: str) -> Plugin:
    """Take the registrations that itprobe installs as a plugin of its own.

    Parameters
    ----------
    kind : str
        ``benchmarks``, ``metrics`` or ``data``.

    Raises
    ------
    InputError
        If there is no such kind, or itprobe is not installed.
    """
    if kind not in NATIVE_KINDS:
        raise unknown_name("kind of plugin", kind, NATIVE_KINDS)
    spec = importlib.util.find_spec(f"brainscore_vision.{kind}.{NATIVE_NAME}")
    if spec is None or spec.origin is None:
        raise InputError(f"itprobe's {kind} are not installed as Brain-Score plugins; pip install itprobe")
    source = Path(spec.origin).read_text(encoding="utf-8")
    identifiers = literal_ids(source, KINDS[kind][0])
    simulated = [identifier for identifier in identifiers if ".simulated_small." in identifier]
    test = rendered(f"test_{kind}.py", identifiers=identifiers, simulated=simulated)
    files = {
        "__init__.py": source.encode(),
        "test.py": test,
        "requirements.txt": f"itprobe=={itprobe_version()}\n".encode(),
    }
    return Plugin(kind, NATIVE_NAME, files)
