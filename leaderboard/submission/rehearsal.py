"""A submitter's own code, built once from the plugin's files alone, before it is handed over."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from itprobe.errors import InputError
from itprobe.leaderboard.submission.archive import unpack
from itprobe.leaderboard.submission.processes import ended_by_sigterm, run_process

MINUTES = 10
_SCRIPT = """
import importlib.util, os, sys

model_file, folder, forbidden, hosted = sys.argv[1:]
# Packages keep what they download in caches, which may lie below the folder that the code came from.
caches = [os.environ.get(name, "~/.cache") for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME")]
elsewhere = [folder, sys.prefix, sys.base_prefix, *map(os.path.expanduser, caches)]
elsewhere = tuple(os.path.realpath(path) + os.sep for path in elsewhere)
forbidden = os.path.realpath(forbidden) + os.sep


class NoItprobe:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "itprobe":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def only_what_is_submitted(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(forbidden) and not path.startswith(elsewhere) and "site-packages" not in path:
            raise FileNotFoundError(f"{os.path.basename(path)} is not in the submission")


sys.meta_path.insert(0, NoItprobe())
sys.addaudithook(only_what_is_submitted)
spec = importlib.util.spec_from_file_location("model", model_file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
if hosted:
    module.hosted_weights = lambda: hosted
module.build()
"""


def rehearse(files: Mapping[str, bytes], source: Path, title: str, hosted: bytes | None = None) -> None:
    """Build the network in a process that has no itprobe and cannot read the folder it came from.

    Parameters
    ----------
    files : mapping of str to bytes
        The plugin's.
    source : Path
        File with the factory.
    title : str
        Of the candidate.
    hosted : bytes, optional
        Weights that the plugin would download, from an address where they need not be yet.

    Raises
    ------
    InputError
        If the network needs what is not in the plugin: another file, or something in memory.
    """
    with ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="itprobe-rehearsal-") as folder:
        plugin = Path(folder) / "plugin"
        unpack(files, plugin)
        downloaded = ""
        if hosted is not None:
            downloaded = str(Path(folder) / "hosted.safetensors")
            Path(downloaded).write_bytes(hosted)
        command = [sys.executable, "-W", "ignore", "-c", _SCRIPT]
        command += [str(plugin / "model.py"), folder, str(source.resolve().parent), downloaded]
        try:
            done = run_process(command, MINUTES, cwd=Path(folder))
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{title} was not built after {MINUTES} minutes; make its factory quicker"
            ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else "no reason given"
        raise InputError(
            f"{title} cannot be built from what would be submitted ({reason}); "
            "weights go along as file.py::factory@path/to/weights.safetensors, other files cannot"
        )
