"""Which models Brain-Score's zoo has: found as Brain-Score finds them, in the text of its plugins.

No plugin is imported: many of them load packages or download weights when they are.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from itprobe.errors import InputError, unknown_name
from itprobe.files import sha256_file, sha256_values

PREFIX = "brainscore/"
_OURS = "itprobe"
_REGISTRATION = re.compile(r"^\s*model_registry\[(['\"])(.+?)\1\]", re.MULTILINE)


@cache
def plugins() -> dict[str, Path]:
    """Every model's name and the folder of the plugin that registers it, sorted by name."""
    spec = find_spec("brainscore_vision")
    assert spec is not None and spec.submodule_search_locations
    found: dict[str, Path] = {}
    for init in Path(spec.submodule_search_locations[0]).glob("models/*/__init__.py"):
        if init.parent.name != _OURS:
            text = init.read_text(encoding="utf-8", errors="replace")
            found |= {match.group(2): init.parent for match in _REGISTRATION.finditer(text)}
    return dict(sorted(found.items()))


def plugin_of(name: str) -> Path:
    """Folder of the plugin that registers a model.

    Raises
    ------
    InputError
        If there is no such model, with the nearest names.
    """
    if name not in plugins():
        raise unknown_name("model of Brain-Score's zoo", name, plugins(), "(see: itprobe list models)")
    return plugins()[name]


def plugin_digest(name: str) -> str:
    """SHA-256 over the files of a model's plugin: its code and which layers stand for which regions."""
    folder = plugin_of(name)
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and path.name != "test.py"
    ]
    return sha256_values(*(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files))


def split_layer(text: str) -> tuple[str, str, str]:
    """Split ``brainscore/NAME[:LAYER]``; some names in the zoo hold a ``:`` themselves.

    Returns
    -------
    (str, str, str)
        ``brainscore/NAME``, ``:`` or nothing, and the layer or nothing.

    Raises
    ------
    InputError
        If there is no name.
    """
    given = text.removeprefix(PREFIX)
    if not given or given.startswith(":"):
        raise InputError(f"candidate {text!r}: the name is empty; write {PREFIX}NAME[:LAYER]")
    with_colon = [name for name in plugins() if ":" in name and f"{given}:".startswith(f"{name}:")]
    name = max(with_colon, key=len, default="")
    if name:
        rest = given.removeprefix(name)
        return PREFIX + name, rest[:1], rest[1:]
    head, colon, layer = given.rpartition(":")
    return (PREFIX + head, colon, layer) if colon else (PREFIX + layer, "", "")
