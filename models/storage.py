"""Arrays of features (n, p) on a device, in memory or on disk, written by rows and read by chunks of columns."""

import os
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch

from itprobe.models.candidate import Features, as_array
from itprobe.models.scratch import Scratch

FloatName = Literal["float32", "float16"]

CHUNK_FEATURES = 12_000
"""Features that lie together on disk and are read at a time."""


def chunk_slices(n_features: int, width: int = CHUNK_FEATURES) -> list[slice]:
    """Columns of each chunk, in order."""
    return [slice(start, min(start + width, n_features)) for start in range(0, n_features, width)]


class Storage(ABC):
    """An array (n, p) of one type."""

    @abstractmethod
    def write(self, rows: slice, values: Features, origin: np.ndarray | None = None) -> None:
        """Keep rows (b, p), less an origin (p,)."""

    @abstractmethod
    def write_columns(self, columns: slice, values: Features, row: int = 0) -> None:
        """Keep (b, c) in columns that are one of `chunk_slices`, from a row on."""

    @abstractmethod
    def read(self, columns: slice, stop: int | None = None) -> Features:
        """Rows up to `stop` (all) of columns that are one of `chunk_slices`, (b, c); not to be changed."""

    @abstractmethod
    def release(self) -> None:
        """Free the room it took."""


class MemoryStorage(Storage):
    """In memory, row after row."""

    def __init__(self, shape: tuple[int, int], dtype: FloatName) -> None:
        self.values = np.empty(shape, dtype)  # zeros would be touched page by page when they are written

    def write(self, rows: slice, values: Features, origin: np.ndarray | None = None) -> None:  # noqa: D102
        _put(torch.as_tensor(self.values[rows]), values, origin)

    def write_columns(self, columns: slice, values: Features, row: int = 0) -> None:  # noqa: D102
        self.values[row : row + len(values), columns] = as_array(values)

    def read(self, columns: slice, stop: int | None = None) -> Features:  # noqa: D102
        return self.values[:stop, columns]

    def release(self) -> None:  # noqa: D102
        self.values = np.empty((0, 0), self.values.dtype)


class ChunkedStorage(Storage):
    """In memory, float32, chunk after chunk of columns, each with all rows: so products read it without a copy."""

    def __init__(self, shape: tuple[int, int]) -> None:
        n, p = shape
        whole = p // CHUNK_FEATURES
        # Whole chunks in one array, (chunks, n, c): a batch of rows is then written in one call.
        # By NumPy, which asks for huge pages, and whatever torch's default type and device are.
        self._whole = torch.from_numpy(np.empty((whole, n, CHUNK_FEATURES), np.float32))
        self._last = torch.from_numpy(np.empty((1, n, p - whole * CHUNK_FEATURES), np.float32))

    def write(self, rows: slice, values: Features, origin: np.ndarray | None = None) -> None:  # noqa: D102
        given = torch.as_tensor(values)
        end = len(self._whole) * CHUNK_FEATURES
        for kept, columns in ((self._whole, slice(0, end)), (self._last, slice(end, None))):
            if not kept.numel():
                continue
            parts = given[:, columns].unflatten(1, (len(kept), -1)).movedim(1, 0)
            about = None if origin is None else torch.as_tensor(origin[columns]).view(len(kept), 1, -1)
            _put(kept[:, rows], parts, about)

    def write_columns(self, columns: slice, values: Features, row: int = 0) -> None:  # noqa: D102
        self._chunk(columns)[row : row + len(values)] = torch.as_tensor(values)

    def read(self, columns: slice, stop: int | None = None) -> Features:  # noqa: D102
        return self._chunk(columns)[:stop].numpy()

    def release(self) -> None:  # noqa: D102
        self._whole, self._last = self._whole.new_empty(0), self._last.new_empty(0)

    def _chunk(self, columns: slice) -> torch.Tensor:
        number = columns.start // CHUNK_FEATURES
        return self._whole[number] if number < len(self._whole) else self._last[0]


class DeviceStorage(Storage):
    """In a device's memory."""

    def __init__(self, shape: tuple[int, int], dtype: FloatName, device: torch.device) -> None:
        self._values = torch.empty(shape, dtype=getattr(torch, dtype), device=device)

    def write(self, rows: slice, values: Features, origin: np.ndarray | None = None) -> None:  # noqa: D102
        _put(self._values[rows], values, origin)

    def write_columns(self, columns: slice, values: Features, row: int = 0) -> None:  # noqa: D102
        self._values[row : row + len(values), columns] = torch.as_tensor(values, device=self._values.device)

    def read(self, columns: slice, stop: int | None = None) -> Features:  # noqa: D102
        return self._values[:stop, columns]

    def release(self) -> None:  # noqa: D102
        self._values = self._values.new_empty(0)


class FileStorage(Storage):
    """In a file, chunk after chunk of columns, each with all rows."""

    def __init__(self, shape: tuple[int, int], dtype: FloatName, scratch: Scratch, name: str) -> None:
        self._n, self._p = shape
        self._dtype = np.dtype(dtype)
        self._scratch, self._name = scratch, name
        self._descriptor = scratch.reserve(name, self._n * self._p * self._dtype.itemsize)

    def write(self, rows: slice, values: Features, origin: np.ndarray | None = None) -> None:  # noqa: D102
        array = as_array(values)
        for columns in chunk_slices(self._p):
            part = array[:, columns]
            self._write(part if origin is None else part - origin[columns], self._offset(columns, rows.start))

    def write_columns(self, columns: slice, values: Features, row: int = 0) -> None:  # noqa: D102
        self._write(as_array(values), self._offset(columns, row))

    def read(self, columns: slice, stop: int | None = None) -> Features:  # noqa: D102
        chunk = np.empty((self._n if stop is None else stop, columns.stop - columns.start), self._dtype)
        _read_all(self._descriptor, chunk, self._offset(columns, 0))
        return chunk

    def release(self) -> None:  # noqa: D102
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._scratch.discard(self._name)

    def _write(self, values: np.ndarray, offset: int) -> None:
        part = np.ascontiguousarray(values, dtype=self._dtype)
        with self._scratch.room(part.nbytes):
            _write_all(self._descriptor, part, offset)

    def _offset(self, columns: slice, row: int) -> int:
        width = columns.stop - columns.start
        return (self._n * columns.start + row * width) * self._dtype.itemsize


def _put(kept: torch.Tensor, values: Features, origin: np.ndarray | torch.Tensor | None) -> None:
    """Write values, less an origin, into what is kept: by all cores, where NumPy takes one."""
    if origin is None:
        kept.copy_(torch.as_tensor(values))
    else:
        torch.sub(torch.as_tensor(values).to(kept), torch.as_tensor(origin), out=kept)


def _write_all(descriptor: int, array: np.ndarray, offset: int) -> None:
    left = array.data.cast("B")
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _read_all(descriptor: int, array: np.ndarray, offset: int) -> None:
    left = array.data.cast("B")
    while left:
        got = os.preadv(descriptor, [left], offset)
        if not got:
            raise OSError("a temporary file of activations ends too early")
        left, offset = left[got:], offset + got
