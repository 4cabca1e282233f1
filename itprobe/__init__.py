"""itprobe scores any vision model, layer by layer, on how well it predicts macaque IT responses."""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Without this every load_* of Brain-Score runs a hidden `pip install`; it must be set before
# brainscore_vision is imported, and a user's own choice stays.
os.environ.setdefault("BS_INSTALL_DEPENDENCIES", "no")

# In a checkout the rooms lie beside this folder, not inside it: there, let `itprobe.data` be found too.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "setup.py").is_file() and (_checkout / "benchmarks" / "brainscore_plugin").is_dir():
    __path__.append(str(_checkout))

try:
    __version__ = version("itprobe")
except PackageNotFoundError:
    __version__ = "0+checkout"

_PUBLIC = {
    "Extraction": "itprobe.benchmarks.features",
    "InputError": "itprobe.errors",
    "brain_model": "itprobe.brain",
    "load_recording": "itprobe.data",
    "partition": "itprobe.partitioning",
    "score": "itprobe.api",
    "sweep": "itprobe.sweeping",
    "table": "itprobe.report",
}
__all__ = [
    "Extraction",
    "InputError",
    "__version__",
    "brain_model",
    "load_recording",
    "partition",
    "score",
    "sweep",
    "table",
]


def __getattr__(name: str) -> object:
    # The rooms import itprobe.errors, so this module must not import the rooms before it is asked to.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'itprobe' has no attribute {name!r}")
