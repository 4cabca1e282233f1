"""Where features of all stimuli are kept until their Gram matrix is computed: device, memory or disk.

They are written by rows (batches of images) and read by columns (chunks of features). On disk, chunks
are contiguous and read into memory of our own: pages of a memory map would count as resident memory.

Features that are wanted for their products alone are kept as products want them, see `LayerArena.about_origin`.
"""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from itprobe.models.candidate import Features, as_array
from itprobe.models.scratch import Scratch
from itprobe.models.storage import (
    ChunkedStorage,
    DeviceStorage,
    FileStorage,
    FloatName,
    MemoryStorage,
    Storage,
    chunk_slices,
)

Place = Literal["device", "memory", "disk"]

# Stimuli whose mean is the origin, at least: so many that an unusual one among them hardly moves it.
_ORIGIN_ROWS = 64
_LARGEST_HALF = float(np.finfo(np.float16).max)
# The largest value of the first batch becomes 2^10 to 2^11: later ones may be 32 times as large, and what
# is 2^24 times smaller still has all of its digits.
_SCALED_EXPONENT = 11


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
    about_origin : bool
        Whether layers are kept about an origin where that serves, see `kept_rows`.
    """

    def __init__(
        self,
        n: int,
        limits: dict[Place, int],
        device: torch.device,
        scratch: Scratch,
        about_origin: bool = False,
    ) -> None:
        self.n = n
        self._about_origin = about_origin
        self._left: dict[Place, float] = {"disk": math.inf, **limits}
        self._device = device
        self._scratch = scratch

    def keeps_origin(self, n_features: int, dtype: FloatName, place: Place) -> bool:
        """Whether a layer is kept about an origin."""
        return place != "device" and kept_rows(self.n, n_features, dtype, self._about_origin) > self.n

    def storage(
        self, name: str, n_features: int, dtype: FloatName, place: Place, about_origin: bool
    ) -> Storage:
        """Take room for a layer; about an origin, it has two rows more."""
        shape = (self.n + 2 * about_origin, n_features)
        self._left[place] -= size(shape, dtype)
        if place == "memory":
            return ChunkedStorage(shape) if about_origin else MemoryStorage(shape, dtype)
        if place == "device":
            return DeviceStorage(shape, dtype, self._device)
        return FileStorage(shape, dtype, self._scratch, f"{name}.{dtype}")

    def nearest(self, n_features: int, dtype: FloatName, place: Place) -> Place:
        """`place` itself where it has room for one more layer, else the disk."""
        return place if size((self.n, n_features), dtype) <= self._left[place] else "disk"

    def give_back(self, n_features: int, dtype: FloatName, place: Place, about_origin: bool) -> None:
        """Count a released storage's room as free."""
        self._left[place] += size((self.n + 2 * about_origin, n_features), dtype)


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

    Attributes
    ----------
    about_origin : bool
        Whether features are kept less an origin near their mean, with the origin and ones as two more rows: one
        product of such rows gives all products with the origin and sums over features, too, and rounds
        less than one about zero. The origin is the mean of the stimuli that are written first.
    """

    def __init__(self, arena: Arena, name: str, n_features: int, dtype: FloatName, place: Place) -> None:
        self.name, self.n_features, self.dtype, self.place = name, n_features, dtype, place
        self.about_origin = arena.keeps_origin(n_features, dtype, place)
        self._arena = arena
        self._origin: np.ndarray | None = None
        self._scale = 1.0
        self._scaled = False
        self._storage: Storage | None = arena.storage(name, n_features, dtype, place, self.about_origin)

    def write(self, rows: slice, values: Features) -> None:
        """Keep the features (b, p) of a batch; batches come in the order of their rows."""
        if self.dtype == "float16":
            peak = max(float(values.max()), -float(values.min()))
            if peak and not self._scaled:
                self._scale, self._scaled = power_of_two(peak), True
            if peak * self._scale > _LARGEST_HALF:
                self._widen()
        self._held().write(rows, values * self._scale if self._scaled else values, self._origin)
        if self.about_origin and self._origin is None and rows.stop >= min(_ORIGIN_ROWS, self._arena.n):
            self._settle_origin(rows.stop)

    def chunks(self) -> Iterator[Features]:
        """Features (n, c), float32, chunk by chunk; tensors where they lie on a device."""
        if self.about_origin:
            for rows in self.chunks_about_origin():
                yield rows[:-2] + rows[-2]
            return
        for columns in chunk_slices(self.n_features):
            yield self._decoded(self._held().read(columns))

    def chunks_about_origin(self) -> Iterator[np.ndarray]:
        """Rows (n + 2, c), float32, chunk by chunk, see `about_origin`."""
        for columns in chunk_slices(self.n_features):
            yield as_array(self._held().read(columns))

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
            self._arena.give_back(self.n_features, self.dtype, self.place, self.about_origin)

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

    def _settle_origin(self, stop: int) -> None:
        """Put the rows that are there about their mean."""
        held = self._held()
        self._origin = np.empty(self.n_features, np.float32)
        for columns in chunk_slices(self.n_features):
            few = as_array(held.read(columns, stop))
            # From the first one on, so that features which are equal for all stimuli become 0 to the last bit.
            origin = few[0] + (few - few[0]).mean(axis=0)
            self._origin[columns] = origin
            held.write_columns(columns, few - origin)
            held.write_columns(columns, np.stack([origin, np.ones_like(origin)]), row=self._arena.n)

    def _widen(self) -> None:
        place = self._arena.nearest(self.n_features, "float32", self.place)
        wide = self._arena.storage(self.name, self.n_features, "float32", place, about_origin=False)
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


def kept_rows(n: int, n_features: int, dtype: FloatName, about_origin: bool) -> int:
    """Rows that a layer of n stimuli takes: two more about an origin, see `LayerArena.about_origin`.

    Few features (no more than stimuli) stay as they are: their products are computed in float64. So do those in
    float16, which has no digits to spare.
    """
    return n + 2 if about_origin and dtype == "float32" and n_features > n else n


def size(shape: tuple[int, int], dtype: FloatName) -> int:
    """Bytes of an array."""
    return shape[0] * shape[1] * np.dtype(dtype).itemsize
