"""Where fits are kept, so that a network is trained once."""

import shutil
from pathlib import Path

from itprobe.files import cache_home


def fits_folder() -> Path:
    """Folder with a folder for each fit: its checkpoint while it is trained, its weights when it is finished."""
    return cache_home() / "fits"


def fit_sizes() -> list[int]:
    """Bytes of each fit, finished or not."""
    folder = fits_folder()
    fits = [fit for fit in folder.iterdir() if fit.is_dir()] if folder.is_dir() else []
    return [sum(file.stat().st_size for file in fit.rglob("*") if file.is_file()) for fit in fits]


def clear_fits() -> int:
    """Remove all fits and give their number; a training that is under way loses its checkpoint."""
    n_fits = len(fit_sizes())
    if n_fits:
        shutil.rmtree(fits_folder())
    return n_fits
