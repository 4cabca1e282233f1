"""What the installed Brain-Score has registered, found as Brain-Score itself finds it: by text."""

import importlib.util
import re
from functools import cache
from pathlib import Path

from itprobe.errors import InputError

KINDS = {
    "models": ("model_registry",),
    "benchmarks": ("benchmark_registry",),
    "metrics": ("metric_registry",),
    "data": ("data_registry", "stimulus_set_registry"),
}
"""Folders of plugins, and the registries that plugins there fill."""


def library_folder() -> Path:
    """Folder of the installed ``brainscore_vision``; it is not imported.

    Raises
    ------
    InputError
        If it is not installed.
    """
    spec = importlib.util.find_spec("brainscore_vision")
    if spec is None or spec.origin is None:
        raise InputError("brainscore-vision is not installed here; pip install brainscore-vision")
    return Path(spec.origin).parent


def literal_ids(source: str, registry: str) -> list[str]:
    """Ids that Brain-Score's text search finds in a plugin's ``__init__.py``, in order.

    It looks for a line with ``registry['id']``, in either sort of quotes.
    """
    found = re.findall(rf"{registry}\[(['\"])(.{{1,200}}?)\1\]", source)
    return [identifier for _, identifier in found]


@cache
def registered(kind: str) -> dict[str, str]:
    """Ids of all installed plugins of a kind -> folder that registers them."""
    ids: dict[str, str] = {}
    for init in sorted((library_folder() / kind).glob("*/__init__.py")):
        source = init.read_text(encoding="utf-8", errors="replace")
        for registry in KINDS[kind]:
            ids |= dict.fromkeys(literal_ids(source, registry), init.parent.name)
    return ids


def registered_folder(kind: str, identifier: str) -> str | None:
    """Folder of the installed plugin with this id or name, whatever its case; None where it is free."""
    folded = identifier.lower()
    folders = {path.name for path in (library_folder() / kind).iterdir() if path.is_dir()}
    return next(
        (folder for name, folder in registered(kind).items() if name.lower() == folded),
        next((folder for folder in folders if folder.lower() == folded), None),
    )
