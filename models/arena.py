"""Where features of all stimuli are kept until their Gram matrix is computed: device, memory or disk.

They are written by rows (batches of images) and read by columns (chunks of features). On disk, chunks
are contiguous and read into memory of our own: pages of a memory map would count as resident memory.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from itprobe.models.candidate import Features, as_array
from itprobe.models.scratch import Scratch

Place = Literal["device", "memory", "disk"]
FloatName = Literal["float32", "float16"]

CHUNK_FEATURES = 12_000
"""Features that lie together on disk and are read at a time."""

_LARGEST_HALF = float(np.finfo(np.float16).max)
# The largest value of the first batch becomes 2^10 to 2^11: later ones may be 32 times as large, and what
# is 2^24 times smaller still has all of its digits.
_SCALED_EXPONENT = 11


def chunk_slices(n_features: int, width: int = CHUNK_FEATURES) -> list[slice]:
    """Columns of each chunk, in order."""
    return [slice(start, min(start + width, n_features)) for start in range(0, n_features, width)]


class Storage(ABC):
    """An array (n, p) of one type, written by rows and read by chunks of columns."""

    @abstractmethod
    def write(self, rows: slice, values: Features) -> None:
        """Keep rows (b, p)."""

    @abstractmethod
    def write_columns(self, columns: slice, values: Features) -> None:
        """Keep columns (n, c) of one of `chunk_slices`."""

    @abstractmethod
    def read(self, columns: slice) -> Features:
        """Columns (n, c) of one of `chunk_slices`; not to be changed."""

    @abstractmethod
    def release(self) -> None:
        """Free the room it took."""


class MemoryStorage(Storage):
    """In memory."""

    def __init__(self, shape: tuple[int, int], dtype: FloatName) -> None:
        self.values = np.empty(shape, dtype)  # zeros would be touched page by page when they are written

    def write(self, rows: slice, values: Features) -> None:  # noqa: D102
        # By all cores, where NumPy takes one.
        torch.as_tensor(self.values[rows]).copy_(torch.as_tensor(values))

    def write_columns(self, columns: slice, values: Features) -> None:  # noqa: D102
        self.values[:, columns] = as_array(values)

    def read(self, columns: slice) -> Features:  # noqa: D102
        return self.values[:, columns]

    def release(self) -> None:  # noqa: D102
        self.values = np.empty((0, 0), self.values.dtype)


class DeviceStorage(Storage):
    """In a device's memory."""

    def __init__(self, shape: tuple[int, int], dtype: FloatName, device: torch.device) -> None:
        self._values = torch.empty(shape, dtype=getattr(torch, dtype), device=device)

    def write(self, rows: slice, values: Features) -> None:  # noqa: D102
        self._values[rows] = torch.as_tensor(values, device=self._values.device)

    def write_columns(self, columns: slice, values: Features) -> None:  # noqa: D102
        self._values[:, columns] = torch.as_tensor(values, device=self._values.device)

    def read(self, columns: slice) -> Features:  # noqa: D102
        return self._values[:, columns]

    def release(self) -> None:  # noqa: D102
        self._values = self._values.new_empty(0)


class FileStorage(Storage):
    """In a file, chunk after chunk of columns, each with all rows."""

    def __init__(self, shape: tuple[int, int], dtype: FloatName, scratch: Scratch, name: str) -> None:
        self._n, self._p = shape
        self._dtype = np.dtype(dtype)
        self._scratch, self._name = scratch, name
        self._descriptor = scratch.reserve(name, self._n * self._p * self._dtype.itemsize)

    def write(self, rows: slice, values: Features) -> None:  # noqa: D102
        array = as_array(values)
        for columns in chunk_slices(self._p):
            self._write(array[:, columns], self._offset(columns, rows.start))

    def write_columns(self, columns: slice, values: Features) -> None:  # noqa: D102
        self._write(as_array(values), self._offset(columns, 0))

    def read(self, columns: slice) -> Features:  # noqa: D102
        chunk = np.empty((self._n, columns.stop - columns.start), self._dtype)
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


class Arena:
    """Room for the features of several layers within limits.

    Parameters
    ----------
    n : int
        Number of stimuli.
    limits : dict of Place to int
        Bytes that may be taken on the device and in memory; the disk has none but its own.
    device : torch.device
    scratch : Scratch
    """

    def __init__(self, n: int, limits: dict[Place, int], device: torch.device, scratch: Scratch) -> None:
        self.n = n
        self._left: dict[Place, float] = {"disk": math.inf, **limits}
        self._device = device
        self._scratch = scratch

    def storage(self, name: str, n_features: int, dtype: FloatName, place: Place) -> Storage:
        """Take room for a layer."""
        shape = (self.n, n_features)
        self._left[place] -= size(shape, dtype)
        if place == "memory":
            return MemoryStorage(shape, dtype)
        if place == "device":
            return DeviceStorage(shape, dtype, self._device)
        return FileStorage(shape, dtype, self._scratch, f"{name}.{dtype}")

    def nearest(self, n_features: int, dtype: FloatName, place: Place) -> Place:
        """`place` itself where it has room for one more layer, else the disk."""
        return place if size((self.n, n_features), dtype) <= self._left[place] else "disk"

    def give_back(self, n_features: int, dtype: FloatName, place: Place) -> None:
        """Count a released storage's room as free."""
        self._left[place] += size((self.n, n_features), dtype)


class LayerArena:
    """One layer's features (n, p): float32, or float16 with a scale that suits the layer.

    The scale is a power of two, chosen at the first batch that is not all zero. Where a later value is
    too large for it, the layer goes on in float32, with what was recorded before.

    Parameters
    ----------
    arena : Arena
    name : str
    n_features : int
    dtype : {"float32", "float16"}
    place : {"device", "memory", "disk"}
    """

    def __init__(self, arena: Arena, name: str, n_features: int, dtype: FloatName, place: Place) -> None:
        self.name, self.n_features, self.dtype, self.place = name, n_features, dtype, place
        self._arena = arena
        self._scale = 1.0
        self._scaled = False
        self._storage: Storage | None = arena.storage(name, n_features, dtype, place)

    def write(self, rows: slice, values: Features) -> None:
        """Keep the features (b, p) of a batch."""
        if self.dtype == "float16":
            peak = max(float(values.max()), -float(values.min()))
            if peak and not self._scaled:
                self._scale, self._scaled = power_of_two(peak), True
            if peak * self._scale > _LARGEST_HALF:
                self._widen()
        self._held().write(rows, values * self._scale if self._scaled else values)

    def chunks(self) -> Iterator[Features]:
        """Features (n, c), float32, chunk by chunk; tensors where they lie on a device."""
        for columns in chunk_slices(self.n_features):
            yield self._decoded(self._held().read(columns))

    def array(self) -> np.ndarray:
        """All features in memory: (n, p) float32."""
        held = self._held()
        if isinstance(held, MemoryStorage) and self.dtype == "float32":
            return held.values
        whole = np.empty((self._arena.n, self.n_features), np.float32)
        for columns, chunk in zip(chunk_slices(self.n_features), self.chunks(), strict=True):
            whole[:, columns] = as_array(chunk)
        return whole

    def release(self) -> None:
        """Free the room; the features are gone."""
        if self._storage is not None:
            self._storage.release()
            self._storage = None
            self._arena.give_back(self.n_features, self.dtype, self.place)

    def _held(self) -> Storage:
        if self._storage is None:
            raise ValueError(f"the features of {self.name!r} were released")
        return self._storage

    def _decoded(self, chunk: Features) -> Features:
        if self.dtype == "float32":
            return chunk
        single = chunk.float() if isinstance(chunk, torch.Tensor) else chunk.astype(np.float32)
        single /= self._scale
        return single

    def _widen(self) -> None:
        place = self._arena.nearest(self.n_features, "float32", self.place)
        wide = self._arena.storage(self.name, self.n_features, "float32", place)
        try:
            self._copy_to(wide)
        except BaseException:
            wide.release()
            raise
        self.release()
        self._storage, self.dtype, self.place = wide, "float32", place
        self._scale, self._scaled = 1.0, False

    def _copy_to(self, wide: Storage) -> None:
        narrow = self._held()
        for columns in chunk_slices(self.n_features):
            wide.write_columns(columns, self._decoded(narrow.read(columns)))


def power_of_two(peak: float) -> float:
    """Scale that brings a largest absolute value to between 2^10 and 2^11."""
    exponent = _SCALED_EXPONENT - math.frexp(peak)[1]
    return math.ldexp(1.0, max(-100, min(100, exponent)))


def size(shape: tuple[int, int], dtype: FloatName) -> int:
    """Bytes of an array."""
    return shape[0] * shape[1] * np.dtype(dtype).itemsize


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
