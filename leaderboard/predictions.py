"""Held-out predictions as compact netCDF: paired intervals over stimuli need them."""

from pathlib import Path

import numpy as np
import xarray as xr

from itprobe.files import atomic_file
from itprobe.metrics import HeldOut


def write_predictions(held_out: HeldOut, path: Path) -> None:
    """Write pairs of response and prediction; the file appears whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with atomic_file(path) as temporary:
        _dataset(held_out).to_netcdf(
            temporary, engine="netcdf4", encoding={"prediction": {"zlib": True}, "response": {"zlib": True}}
        )


def _dataset(held_out: HeldOut) -> xr.Dataset:
    """Held-out pairs as one table: a row per split and test stimulus, float32."""
    split = np.repeat(np.arange(len(held_out.stimulus_ids)), [len(ids) for ids in held_out.stimulus_ids])
    return xr.Dataset(
        {
            "prediction": (("row", "neuroid"), np.concatenate(held_out.predictions).astype(np.float32)),
            "response": (("row", "neuroid"), np.concatenate(held_out.responses).astype(np.float32)),
        },
        coords={
            "split": ("row", split),
            "stimulus_id": ("row", np.concatenate(held_out.stimulus_ids).astype(str)),
            "neuroid_id": ("neuroid", held_out.neuroid_ids.astype(str)),
            "animal": ("neuroid", held_out.animals.astype(str)),
        },
    )
