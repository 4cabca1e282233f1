"""Gram matrices: all that a linear mapping needs to know about a layer's features.

For n stimuli and p features, K = X Xᵀ (n x n) determines ridge regression, PCA, PLS, linear CKA and
Euclidean distances exactly, however large p is; X itself is read once and not kept. Where not even that
fits anywhere, blocks of images meet instead of chunks of features (`gram_from_images`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import blas

from itprobe.metrics.tensor_products import (
    CHUNK_FEATURES,
    Features,
    as_products_type,
    chunked_products,
    exact_products,
    float64_device,
    full_float32_products,
)

_BLOCK_ROWS = 256
# Stimuli whose mean is the origin, at least: so many that an unusual one among them hardly moves it.
_ORIGIN_ROWS = 64
# Of features that came about an origin, so many stimuli show whether it serves: if the mean is this many times as far
# from it as stimuli are from the mean, in squares, rounding would take digits from what lies there.
_PROBED_ROWS, _FAR = 16, 2.0
# Features are copied about an origin a few columns at a time, at least so many: into so many numbers in all.
_NARROWEST, _BUFFER_NUMBERS = 1_000, 8_000_000

ImageBatches = Iterable[tuple[slice, torch.Tensor]]


@dataclass(frozen=True)
class AboutOrigin:
    """Some features of n stimuli as products want them.

    Attributes
    ----------
    rows : ndarray (n + 2, c), row-major
        Features less an origin; the origin; ones. The one product that gives all inner products of stimuli
        gives those with the origin and the sums over features, too.
    """

    rows: np.ndarray


@dataclass(frozen=True)
class Gram:
    """Inner products of the features of n stimuli, about a fixed origin m.

    Attributes
    ----------
    values : ndarray (n, n), float64
        ``(x_i - m) · (x_j - m)``. The origin m is the mean over the stimuli; it only serves accuracy,
        since every mapping centres on its own training stimuli.
    origin_products : ndarray (n,), float64
        ``x_i · m``.
    origin_norm : float
        ``m · m``.
    feature_sums : ndarray (n,), float64
        Sum of each stimulus's features.
    n_features : int
        p.
    resolution : float
        Relative accuracy of `values`: what is below ``resolution * largest eigenvalue`` is rounding.
    """

    values: np.ndarray
    origin_products: np.ndarray
    origin_norm: float
    feature_sums: np.ndarray
    n_features: int
    resolution: float

    def raw(self) -> np.ndarray:
        """Inner products about zero, ``x_i · x_j``, shape (n, n)."""
        return self.values + self.origin_products[:, None] + self.origin_products[None, :] - self.origin_norm

    def take(self, rows: np.ndarray) -> "Gram":
        """The same stimuli in the order of `rows` (n,)."""
        return replace(
            self,
            values=self.values[np.ix_(rows, rows)],
            origin_products=self.origin_products[rows],
            feature_sums=self.feature_sums[rows],
        )


def gram_matrix(features: np.ndarray, chunk_features: int = CHUNK_FEATURES) -> Gram:
    """Compute the Gram matrix of features, chunk by chunk over the features.

    Parameters
    ----------
    features : ndarray (n, p)
        Any float type; may be a memory map, of which one chunk of columns is read at a time.
    chunk_features : int
        Number of features in one product.

    Returns
    -------
    Gram
        As `gram_from_chunks` computes it.
    """
    n, p = features.shape
    chunks = (features[:, start : start + chunk_features] for start in range(0, p, chunk_features))
    return gram_from_chunks(chunks, (n, p), double=features.dtype == np.float64)


def gram_from_chunks(
    chunks: Iterable[Features | AboutOrigin], shape: tuple[int, int], double: bool = False
) -> Gram:
    """Compute the Gram matrix of features that come in chunks, arrays or tensors on any device.

    Parameters
    ----------
    chunks : iterable of ndarray or torch.Tensor (n, c), or of AboutOrigin
        All p features, a few (at most about `CHUNK_FEATURES`) of all stimuli at a time; products are
        computed where a chunk lies, never in tf32.
    shape : (int, int)
        n and p.
    double : bool
        Compute everything in float64.

    Returns
    -------
    Gram
        Products of float32 features are computed in float32 per chunk and added up in float64 (on the
        CPU where the device has no float64: mps); where p <= n everything is float64 (then K has a
        null space, in which float32 rounding would pass for signal).

    Raises
    ------
    ValueError
        If the chunks do not have p features together.
    """
    n, p = shape
    double = double or p <= n
    total: _Sum = _HostSum(n, double)
    seen = 0
    for chunk in chunks:
        if not seen and isinstance(chunk, torch.Tensor):
            total = _TensorSum(n, double, chunk.device)
        seen += total.add(chunk)
    if seen != p:
        raise ValueError(f"the chunks have {seen} features, not {p}")
    return total.gram(p)


class _Sum(ABC):
    """What is added up over chunks of features."""

    def __init__(self, double: bool) -> None:
        self.double = double

    @abstractmethod
    def add(self, chunk: Features | AboutOrigin) -> int:
        """Add the products of a chunk of c features, and give c."""

    @abstractmethod
    def gram(self, n_features: int) -> Gram:
        """What all chunks give together."""


class _HostSum(_Sum):
    """Of arrays, by BLAS, about an origin near the mean, see `AboutOrigin`.

    Only scipy's is used: see `itprobe.metrics.blas` for what alternating with numpy's would cost.
    """

    def __init__(self, n: int, double: bool) -> None:
        super().__init__(double)
        self._n = n
        self._sum = np.zeros((n + 2, n + 2), order="F")
        work = np.float64 if double else np.float32
        self._products: np.ndarray = np.zeros((n + 2, n + 2), work, order="F")
        self._syrk = blas.dsyrk if double else blas.ssyrk
        self._origin_norm = self._origin_sum = 0.0
        self._width = max(_NARROWEST, _BUFFER_NUMBERS // (n + 2))
        self._buffer: np.ndarray = np.empty(0, work)

    def add(self, chunk: Features | AboutOrigin) -> int:
        if not isinstance(chunk, AboutOrigin):
            parts = self._about_origins(np.asarray(chunk))
        elif _lies_near(chunk.rows[:-2]):
            parts = iter([chunk.rows])
        else:
            parts = self._about_origins(chunk.rows[:-2], chunk.rows[-2])
        width = 0
        for rows in parts:
            origin = rows[-2].astype(np.float64)
            self._origin_norm += float(np.sum(origin**2))
            self._origin_sum += float(origin.sum())
            # BLAS wants column-major: the transpose of a row-major array is that without a copy.
            self._products = self._syrk(
                1.0, rows.T, beta=float(width > 0), c=self._products, trans=1, overwrite_c=1
            )
            width += rows.shape[1]
        if width:
            self._sum += self._products
        return width

    def _about_origins(self, chunk: np.ndarray, origin: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Rows (n + 2, w) for some columns of a chunk (n, c) after the other, about the mean of a few stimuli.

        If the chunk itself lies about an `origin` (c,), the rows say so.
        """
        step = min(self._width, chunk.shape[1])
        if self._buffer.size < (self._n + 2) * step:
            self._buffer = np.empty((self._n + 2) * step, self._buffer.dtype)
        for start in range(0, chunk.shape[1], self._width):
            columns = slice(start, start + self._width)
            part = chunk[:, columns]
            rows = self._buffer[: (self._n + 2) * part.shape[1]].reshape(self._n + 2, -1)
            # From the first one on, so that features which are equal for all stimuli are 0 to the last bit.
            few = part[:: max(1, self._n // _ORIGIN_ROWS)].astype(rows.dtype)
            rows[-2], rows[-1] = few[0] + (few - few[0]).mean(axis=0), 1
            np.subtract(part, rows[-2], out=rows[:-2], dtype=rows.dtype)
            if origin is not None:
                rows[-2] += origin[columns]
            yield rows

    def gram(self, n_features: int) -> Gram:
        n = self._n
        return _about_the_mean(
            _symmetric(self._sum[:n, :n]),
            self._sum[:n, n] + self._origin_norm,
            self._origin_norm,
            self._sum[:n, n + 1] + self._origin_sum,
            n_features,
            _resolution(self.double),
        )


def _lies_near(rows: np.ndarray) -> bool:
    """Whether some of the rows (n, c) say that the mean of all lies about as near to zero as the rows to the mean."""
    few = rows[:: max(1, len(rows) // _PROBED_ROWS)]
    mean = few.mean(axis=0)
    return float(mean @ mean) <= _FAR * float(np.square(few - mean).sum(axis=1).mean())


class _TensorSum(_Sum):
    """Of tensors, by matrix products where they lie; sums are kept where there is float64."""

    def __init__(self, n: int, double: bool, device: torch.device) -> None:
        super().__init__(double)
        self._origin_products, self._feature_sums, self._origin_norm = np.zeros(n), np.zeros(n), 0.0
        self._exact = float64_device(device)
        self._device = self._exact if double else device
        self._sum = torch.zeros((n, n), dtype=torch.float64, device=self._exact)

    def add(self, chunk: Features | AboutOrigin) -> int:
        if isinstance(chunk, AboutOrigin):
            raise TypeError("features about an origin are arrays, not tensors")
        values = as_products_type(chunk, self.double, self._device)
        exact = values.to(self._exact)
        origin = exact.mean(dim=0, dtype=torch.float64)
        self._feature_sums += exact.sum(dim=1, dtype=torch.float64).cpu().numpy()
        self._origin_products += exact_products(exact, origin).cpu().numpy()
        self._origin_norm += float(origin @ origin)
        centred = values - origin.to(values.dtype).to(self._device)
        with full_float32_products():
            self._sum += (centred @ centred.T).to(self._exact)
        return values.shape[1]

    def gram(self, n_features: int) -> Gram:
        return Gram(
            _symmetric(self._sum.cpu().numpy()),
            self._origin_products,
            self._origin_norm,
            self._feature_sums,
            n_features,
            _resolution(self.double),
        )


def gram_from_images(
    batches_from: Callable[[int], ImageBatches], shape: tuple[int, int], block: int, met: int = 1
) -> Gram:
    """Compute the Gram matrix of features that fit nowhere: each block of images meets all later images.

    Images are asked for ``ceil(n / block)`` times, each time from the first of a block on, about
    ``n (n / block + 1) / 2`` images in all. With a fixed origin m0 (the mean of the first batch) and
    ``r_i = mean_j (x_i - m0) · (x_j - m0)``, the products about the mean m are, exactly,
    ``(x_i - m) · (x_j - m) = (x_i - m0) · (x_j - m0) - r_i - r_j + mean(r)``.

    Parameters
    ----------
    batches_from : callable
        ``batches_from(row)`` gives, in order, the rows from `row` to n and their features, tensors
        (b, p) on any device. Every call must give the same features.
    shape : (int, int)
        n and p.
    block : int
        Images whose features are held at a time.
    met : int
        Images that meet a block in one product, at least: batches are gathered to so many.

    Returns
    -------
    Gram
        Products in float32 over `CHUNK_FEATURES` features at most, added up in float64; where p <= n
        everything is float64.
    """
    n, p = shape
    double = p <= n
    products = np.zeros((n, n))
    with_origin, feature_sums = np.zeros(n), np.zeros(n)
    origin: torch.Tensor | None = None
    for start in range(0, n, block):
        stop = min(start + block, n)
        held: torch.Tensor | None = None
        for rows, features in _gathered(batches_from(start), met):
            values = as_products_type(
                features, double, float64_device(features.device) if double else features.device
            )
            exact = values.to(float64_device(values.device))
            if origin is None:
                origin = exact.mean(dim=0, dtype=torch.float64).to(values.dtype)
            if start == 0:
                feature_sums[rows] = exact.sum(dim=1, dtype=torch.float64).cpu().numpy()
                with_origin[rows] = exact_products(exact, origin.double()).cpu().numpy()
            centred = values - origin.to(values.device)
            if held is None:
                held = torch.empty((stop - start, p), dtype=values.dtype, device=values.device)
            filled = min(rows.stop, stop) - start
            if rows.start < stop:
                held[rows.start - start : filled] = centred[: stop - rows.start]
            products[start : start + filled, rows] = chunked_products(held[:filled], centred)
    norm = 0.0 if origin is None else float(origin.double() @ origin.double())
    return _about_the_mean(_symmetric(products), with_origin, norm, feature_sums, p, _resolution(double))


def _gathered(batches: ImageBatches, least: int) -> ImageBatches:
    """Consecutive batches put together until they have so many images."""
    waiting: list[torch.Tensor] = []
    start = stop = 0
    for rows, features in batches:
        if not waiting:
            start = rows.start
        waiting.append(torch.as_tensor(features))
        stop = rows.stop
        if stop - start >= least:
            yield slice(start, stop), waiting[0] if len(waiting) == 1 else torch.cat(waiting)
            waiting = []
    if waiting:
        yield slice(start, stop), torch.cat(waiting)


def _about_the_mean(
    values: np.ndarray,
    with_origin: np.ndarray,
    norm: float,
    feature_sums: np.ndarray,
    n_features: int,
    resolution: float,
) -> Gram:
    """Move products (n, n) about m0, in place, with ``x_i · m0`` (n,) and ``m0 · m0``, to the mean m as origin.

    ``x_i · m = x_i · m0 + r_i + mean_j(x_j · m0) - m0 · m0``, and ``m · m`` is its mean over i.
    """
    r = values.mean(axis=1)
    origin_products = with_origin + r + with_origin.mean() - norm
    for start in range(0, len(values), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        values[rows] -= (r[rows, None] + r[None, :]) - r.mean()  # symmetric to the last bit
    return Gram(
        values,
        origin_products,
        float(origin_products.mean()),
        feature_sums,
        n_features,
        resolution,
    )


def _symmetric(upper: np.ndarray) -> np.ndarray:
    """Copy of a matrix (n, n) with its upper triangle on both sides, a block at a time: that stays in the cache."""
    whole = np.array(upper, order="K")
    for start in range(0, len(whole), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        whole[rows.stop :, rows] = whole[rows, rows.stop :].T
        corner = whole[rows, rows]
        whole[rows, rows] = np.triu(corner) + np.triu(corner, 1).T
    return whole if whole.flags.c_contiguous else whole.T


def _resolution(double: bool) -> float:
    return 1e-13 if double else 2e-7
