"""Where Brain-Score's tests of a plugin run: an environment of its own, or the present one, untouched."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from itprobe.errors import InputError
from itprobe.leaderboard.submission.archive import unpack
from itprobe.leaderboard.submission.library import KINDS, library_folder
from itprobe.leaderboard.submission.processes import run_process

INSTALL_MINUTES = 60
_TEST_IMAGES = ("rgb1.jpg", "rgb2.jpg", "rgb3.png")
_GUARD = '''
import sys


class NoItprobe:
    """Stands before all finders: a submission has to do without itprobe."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "itprobe":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, NoItprobe())
'''


@dataclass(frozen=True)
class Place:
    """Where tests run.

    Attributes
    ----------
    python : str
        Interpreter.
    library : Path
        The folder ``brainscore_vision`` that has the plugins.
    path : list of Path
        Folders to put before all others that Python searches.
    home : Path
        Home folder, with all caches in it.
    """

    python: str
    library: Path
    path: list[Path]
    home: Path

    def environment(self) -> dict[str, str]:
        """Variables for a process there: none that would change Python, caches apart, nothing installed."""
        unwanted = ("PYTHON", "PYTEST", "ITPROBE", "VIRTUAL_ENV", "RESULTCACHING", "BRAINIO", "BS_", "COV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "RESULTCACHING_HOME": str(self.home / "result_caching"),
            "BRAINIO_HOME": str(self.home / "brainio"),
            "ITPROBE_HOME": os.environ.get("ITPROBE_HOME", str(self.home / "itprobe")),
            # Weights that were downloaded before need not be again.
            "TORCH_HOME": str(Path(torch.hub.get_dir()).parent),
            "HF_HOME": os.environ.get("HF_HOME", str(Path("~/.cache/huggingface").expanduser())),
            "BS_INSTALL_DEPENDENCIES": "no",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, self.path)),
        }


def present_environment(plugins: Mapping[tuple[str, str], Mapping[str, bytes]], scratch: Path) -> Place:
    """The packages installed here, with a copy of Brain-Score's folder that has the plugins too.

    The copy is of links, but for the parts that look for plugins beside themselves; nothing is written to where
    packages are installed.

    Parameters
    ----------
    plugins : mapping
        (kind, name) -> files of the plugin.
    scratch : Path
        An empty folder.

    Raises
    ------
    InputError
        If pytest is not installed here.
    """
    if not find_spec("pytest"):
        raise InputError(
            "pytest is not installed here; pip install 'brainscore-vision[test]', or leave --here out"
        )
    installed = library_folder()
    library = scratch / "packages" / installed.name
    library.mkdir(parents=True)
    for entry in installed.iterdir():
        if entry.name not in (*KINDS, "model_helpers", "__pycache__"):
            (library / entry.name).symlink_to(entry)
    # It resolves links when it looks for a model's region_layer_map.
    shutil.copytree(
        installed / "model_helpers", library / "model_helpers", ignore=shutil.ignore_patterns("__pycache__")
    )
    for kind in KINDS:
        (library / kind).mkdir()
        for entry in (installed / kind).iterdir():
            if (kind, entry.name) not in plugins and entry.name != "__pycache__":
                (library / kind / entry.name).symlink_to(entry)
    guard = scratch / "guard"
    guard.mkdir()
    if not find_spec("pytest_check"):
        # Brain-Score's helper imports it for another purpose than these tests.
        (guard / "pytest_check.py").touch()
    return _furnished(
        Place(sys.executable, library, [library.parent, guard], scratch / "home"), plugins, scratch
    )


def fresh_environment(
    plugins: Mapping[tuple[str, str], Mapping[str, bytes]], scratch: Path, python: str | None = None
) -> Place:
    """A new virtual environment with Brain-Score, the plugins' requirements and the plugins.

    Parameters
    ----------
    plugins : mapping
        (kind, name) -> files of the plugin.
    scratch : Path
        An empty folder; a few GB are needed.
    python : str, optional
        Interpreter to make it with; by default the present one.

    Raises
    ------
    InputError
        If it cannot be made, or a requirement cannot be installed.
    """
    target = scratch / "venv"
    _run([python or sys.executable, "-m", "venv", str(target)], "the environment cannot be made")
    interpreter = str(target / ("Scripts" if os.name == "nt" else "bin") / "python")
    wanted = [f"brainscore-vision[test]=={version('brainscore-vision')}"]
    for (_, name), files in plugins.items():
        if "requirements.txt" in files:
            lines = scratch / f"{name}.txt"
            lines.write_bytes(files["requirements.txt"])
            wanted += ["-r", str(lines)]
        if "setup.py" in files:  # Brain-Score installs it, too
            unpack(files, scratch / "packages" / name)
            wanted.append(str(scratch / "packages" / name))
    pip = [interpreter, "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, *wanted], "the requirements cannot be installed together with Brain-Score")
    where = "import importlib.util as u; print(u.find_spec('brainscore_vision').origin)"
    library = Path(_run([interpreter, "-c", where], "Brain-Score is not there").strip()).parent
    return _furnished(Place(interpreter, library, [scratch / "guard"], scratch / "home"), plugins, scratch)


def _furnished(place: Place, plugins: Mapping[tuple[str, str], Mapping[str, bytes]], scratch: Path) -> Place:
    """Put the plugins, images for Brain-Score's tests, a home and the guard in their places."""
    for (kind, name), files in plugins.items():
        folder = place.library / kind / name
        shutil.rmtree(folder, ignore_errors=True)  # where itprobe put the same plugin
        folder.mkdir()
        unpack(files, folder)
    images = place.library / "model_helpers" / "generic_plugin_tests_resources"
    images.mkdir(exist_ok=True)
    for name in _TEST_IMAGES:
        if not (images / name).is_file():  # the wheel of Brain-Score lacks them
            (images / name).write_bytes(_colours(name))
    place.home.mkdir()
    guard = scratch / "guard"
    guard.mkdir(exist_ok=True)
    (guard / "without_itprobe.py").write_text(_GUARD)
    (guard / "pytest.ini").write_text("[pytest]\n")
    return place


def _colours(name: str) -> bytes:
    """An image of coloured stripes, another for each name."""
    phase = sum(name.encode())
    rows, columns = np.mgrid[0:180, 0:240]
    channels = [(rows * 2 + columns + phase * k) % 256 for k in (1, 3, 7)]
    stream = io.BytesIO()
    kind = "PNG" if name.endswith("png") else "JPEG"
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def _run(command: list[str], failing: str) -> str:
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    try:
        done = run_process(command, INSTALL_MINUTES, env=variables)
    except OSError as error:
        raise InputError(
            f"{failing}: {command[0]}: {error.strerror}; give an interpreter with --python"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{failing}: not done after {INSTALL_MINUTES} minutes") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        telling = next(
            (line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason given"
        )
        raise InputError(f"{failing}: {telling[:300]}")
    return done.stdout
