"""Gram matrices on disk, so that a known layer on known stimuli costs no forward pass."""

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time

import numpy as np
import xarray as xr

from itprobe.errors import InputError
from itprobe.files import atomic_file, cache_home, sha256_values
from itprobe.metrics.gram import Gram

FORMAT = 2
"""Goes up when Gram matrices are computed or stored in another way: older files are then not found."""

_ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class GramKey:
    """All that changes the numbers in a Gram matrix.

    Attributes
    ----------
    features : str
        Digest of architecture and weights, or the name of what has none (pixels).
    layer : str
        With its pooling.
    preprocessing : str
        Digest; the size of the images is in it.
    stimuli : str
        Digest of stimulus ids and images.
    code : str
        Packages and versions that computed the features, and the kind of device.
    precision : str
        Of the forward pass.
    dtype : str
        Type that features were kept in before their products were computed.
    """

    features: str
    layer: str
    preprocessing: str
    stimuli: str
    code: str
    precision: str = "full"
    dtype: str = "float32"

    @property
    def digest(self) -> str:
        """What the file is called."""
        return sha256_values(FORMAT, *asdict(self).values())


class GramStore:
    """A folder of Gram matrices, one netCDF file each; several processes may write to it at once.

    Parameters
    ----------
    folder : Path, optional
        ``grams`` in `itprobe.files.cache_home` by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_home() / "grams"

    def _path(self, key: GramKey) -> Path:
        return self.folder / f"{key.digest}.nc"

    def load(self, key: GramKey) -> tuple[Gram, np.ndarray] | None:
        """Gram matrix and stimulus ids (n,) of a key; None if there is none.

        A file that is damaged or was altered is not served: it is removed, with a warning.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with xr.open_dataset(path) as dataset:
                dataset.load()
            gram, ids = _unpack(dataset)
            intact = dataset.attrs["sha256"] == _digest(key, gram, ids)
        except (OSError, ValueError, KeyError, RuntimeError):
            intact = False
        if not intact:
            warnings.warn(f"{path} is damaged; it is computed again", stacklevel=2)
            path.unlink(missing_ok=True)
            return None
        return gram, ids

    def save(self, key: GramKey, gram: Gram, stimulus_ids: np.ndarray) -> None:
        """Store a Gram matrix; the file appears whole or not at all.

        Raises
        ------
        InputError
            If the folder cannot be written, or its disk is full.
        """
        upper = np.triu_indices(len(gram.values))
        dataset = xr.Dataset(
            {
                "upper_triangle": ("pair", gram.values[upper]),
                "origin_products": ("stimulus", gram.origin_products),
                "feature_sums": ("stimulus", gram.feature_sums),
            },
            coords={"stimulus_id": ("stimulus", stimulus_ids.astype(str))},
            attrs={
                "key": json.dumps(asdict(key)),
                "origin_norm": gram.origin_norm,
                "n_features": gram.n_features,
                "resolution": gram.resolution,
                "sha256": _digest(key, gram, stimulus_ids),
            },
        )
        with atomic_file(self._path(key)) as temporary:
            try:
                dataset.to_netcdf(temporary, engine="netcdf4")
            except (OSError, RuntimeError) as error:  # netCDF tells of a full disk by either
                raise InputError(f"cannot write in {self.folder}: {error}; is the disk full?") from error

    def sizes(self) -> list[int]:
        """Bytes of each stored file."""
        return [path.stat().st_size for path in self._whole_files()]

    def clear(self) -> int:
        """Remove all stored files, and what killed processes left half-written; returns how many were stored."""
        paths = self._whole_files()
        # Another process may be writing: taking its file away would make it fail.
        long_ago = time() - _ABANDONED_SECONDS
        abandoned = [path for path in self.folder.glob(".*.nc") if path.stat().st_mtime < long_ago]
        for path in paths + abandoned:
            path.unlink(missing_ok=True)
        return len(paths)

    def _whole_files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.nc") if not path.name.startswith(".")]


def _unpack(dataset: xr.Dataset) -> tuple[Gram, np.ndarray]:
    n = dataset.sizes["stimulus"]
    values = np.zeros((n, n))
    values[np.triu_indices(n)] = dataset["upper_triangle"].values
    gram = Gram(
        values + np.triu(values, 1).T,
        dataset["origin_products"].values,
        float(dataset.attrs["origin_norm"]),
        dataset["feature_sums"].values,
        int(dataset.attrs["n_features"]),
        float(dataset.attrs["resolution"]),
    )
    return gram, dataset["stimulus_id"].values.astype(str)


def _digest(key: GramKey, gram: Gram, stimulus_ids: np.ndarray) -> str:
    """Of everything that is served."""
    return sha256_values(
        key.digest,
        gram.values,
        gram.origin_products,
        gram.origin_norm,
        gram.feature_sums,
        gram.n_features,
        gram.resolution,
        stimulus_ids.astype(str),
    )
