"""Modules that lie beside a candidate's file: importable from it, and nobody else's."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from itprobe.files import sha256_file, sha256_values

_INSTALLED = "site-packages"


class Neighbours:
    """What a candidate's file imports from its own folder (or one that it adds to ``sys.path``).

    Python knows a module by its name alone, so that of two files which both import their ``helper`` the
    second would get the first one's. Each candidate therefore keeps its own: they are in
    ``sys.modules`` only while its code is loaded or runs.

    Parameters
    ----------
    folder : Path
        Of the candidate's file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Let code import from the folder, as a script there could; ``sys.path`` is as before at the end."""
        path = sys.path.copy()
        hidden = _taken({name for name in list(sys.modules) if self._hides(name)})
        before = set(sys.modules)
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            added = {entry for entry in sys.path if entry not in path and _INSTALLED not in entry}
            roots = {self.folder, *(Path(entry).resolve() for entry in added)}
            new = _top_level(set(sys.modules) - before)
            own = {name for name in new if _lies_in(sys.modules[name], roots)}
            self._modules = _taken(own)
            sys.modules.update(hidden)
            sys.path[:] = path

    @contextmanager
    def present(self) -> Iterator[None]:
        """Let code that runs later import again what was imported while it was loaded, and nothing new."""
        own = _top_level(set(self._modules))
        hidden = _taken(own)
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            # Another candidate that came in between has taken its own away again.
            self._modules.update(_taken({name for name in own if self._is_own(name)}))
            sys.modules.update(hidden)

    @property
    def digest(self) -> str:
        """SHA-256 over the files of the candidate and of what it imported from there."""
        return sha256_values(*sorted(sha256_file(file) for file in set(self.files().values())))

    def files(self) -> dict[str, Path]:
        """Files of what the candidate imported from there, by the modules' dotted names."""
        files = {name: getattr(module, "__file__", None) for name, module in self._modules.items()}
        return {name: Path(file) for name, file in files.items() if file}

    def _is_own(self, name: str) -> bool:
        return sys.modules.get(name) is self._modules[name]

    def _hides(self, name: str) -> bool:
        """Whether a module that somebody else imported stands in the way of one in the folder."""
        if name in sys.stdlib_module_names or name.startswith("__") or "." in name:
            return False
        if not any((self.folder / place).is_file() for place in (f"{name}.py", f"{name}/__init__.py")):
            return False
        file = getattr(sys.modules[name], "__file__", None) or ""
        # Installed packages stay: compiled ones cannot be imported twice.
        return _INSTALLED not in file and not _lies_in(sys.modules[name], {self.folder})


def _taken(names: set[str]) -> dict[str, ModuleType]:
    """Take top-level modules of these names, and all in them, out of ``sys.modules``."""
    inside = [name for name in list(sys.modules) if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in inside}


def _top_level(names: set[str]) -> set[str]:
    return {name for name in names if "." not in name}


def _lies_in(module: ModuleType, roots: set[Path]) -> bool:
    """Whether a top-level module is a file or a folder right in one of the folders."""
    packages = list(getattr(module, "__path__", []))
    file = getattr(module, "__file__", None)
    places = packages or ([file] if file else [])
    return any(Path(place).parent.resolve() in roots for place in places)
