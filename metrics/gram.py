"""Gram matrices: all that a linear mapping needs to know about a layer's features.

For n stimuli and p features, K = X Xᵀ (n x n) determines ridge regression, PCA, PLS, linear CKA and
Euclidean distances exactly, however large p is; X itself is read once and not kept. Where not even that
fits anywhere, blocks of images meet instead of chunks of features (`gram_from_images`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import blas

# One float32 product sums this many features before it is added up in float64: longer sums lose
# accuracy, shorter ones speed.
CHUNK_FEATURES = 12_000
# What is copied to float64 at a time: a whole chunk in float64 would double the peak of memory.
_SLAB_ROWS = 256
_SLAB_FEATURES = 1_000

Features = np.ndarray | torch.Tensor
ImageBatches = Iterable[tuple[slice, torch.Tensor]]


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


def gram_from_chunks(chunks: Iterable[Features], shape: tuple[int, int], double: bool = False) -> Gram:
    """Compute the Gram matrix of features that come in chunks, arrays or tensors on any device.

    Parameters
    ----------
    chunks : iterable of ndarray or torch.Tensor (n, c)
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
        total.add(chunk)
        seen += chunk.shape[1]
    if seen != p:
        raise ValueError(f"the chunks have {seen} features, not {p}")
    return total.gram(p)


class _Sum(ABC):
    """What is added up over chunks of features."""

    def __init__(self, n: int, double: bool) -> None:
        self.double = double
        self.origin_products = np.zeros(n)
        self.feature_sums = np.zeros(n)
        self.origin_norm = 0.0

    @abstractmethod
    def add(self, chunk: Features) -> None:
        """Add the products of a chunk (n, c)."""

    @abstractmethod
    def _upper(self) -> np.ndarray:
        """Sum of products (n, n); only its upper triangle counts."""

    def gram(self, n_features: int) -> Gram:
        return Gram(
            _symmetric(self._upper()),
            self.origin_products,
            self.origin_norm,
            self.feature_sums,
            n_features,
            _resolution(self.double),
        )


class _HostSum(_Sum):
    """Of arrays, by BLAS.

    Only scipy's is used: see `itprobe.metrics.blas` for what alternating with numpy's would cost.
    """

    def __init__(self, n: int, double: bool) -> None:
        super().__init__(n, double)
        self._sum = np.zeros((n, n), order="F")

    def add(self, chunk: Features) -> None:
        work, syrk = (np.float64, blas.dsyrk) if self.double else (np.float32, blas.ssyrk)
        array = np.asarray(chunk)
        # Sums of a few rows at a time: near enough to the mean, and in the type that the features have.
        slabs = (array[start : start + _SLAB_ROWS] for start in range(0, len(array), _SLAB_ROWS))
        origin = sum(slab.sum(axis=0, dtype=work).astype(np.float64) for slab in slabs) / len(array)
        origin = origin.astype(work)
        exact = origin.astype(np.float64)
        norm = float(np.sum(exact**2))
        values = np.subtract(array, origin, dtype=work, order="C")
        # What is left after the origin is small, and so is its rounding.
        self.feature_sums += exact.sum()
        self.origin_products += norm
        self.origin_norm += norm
        for start in range(0, values.shape[1], _SLAB_FEATURES):
            columns = slice(start, start + _SLAB_FEATURES)
            self.feature_sums += values[:, columns].sum(axis=1)
            self.origin_products += np.einsum("ij,j->i", values[:, columns], origin[columns])
        # BLAS wants column-major: the transpose of a row-major array is that without a copy.
        self._sum += syrk(1.0, values.T, trans=1)

    def _upper(self) -> np.ndarray:
        return self._sum


class _TensorSum(_Sum):
    """Of tensors, by matrix products where they lie; sums are kept where there is float64."""

    def __init__(self, n: int, double: bool, device: torch.device) -> None:
        super().__init__(n, double)
        self._exact = _float64_device(device)
        self._device = self._exact if double else device
        self._sum = torch.zeros((n, n), dtype=torch.float64, device=self._exact)

    def add(self, chunk: Features) -> None:
        values = _tensor(chunk, self.double, self._device)
        exact = values.to(self._exact)
        origin = exact.mean(dim=0, dtype=torch.float64)
        self.feature_sums += exact.sum(dim=1, dtype=torch.float64).cpu().numpy()
        self.origin_products += _exact_products(exact, origin).cpu().numpy()
        self.origin_norm += float(origin @ origin)
        centred = values - origin.to(values.dtype).to(self._device)
        with _full_float32_products():
            self._sum += (centred @ centred.T).to(self._exact)

    def _upper(self) -> np.ndarray:
        return self._sum.cpu().numpy()


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
            values = _tensor(
                features, double, _float64_device(features.device) if double else features.device
            )
            exact = values.to(_float64_device(values.device))
            if origin is None:
                origin = exact.mean(dim=0, dtype=torch.float64).to(values.dtype)
            if start == 0:
                feature_sums[rows] = exact.sum(dim=1, dtype=torch.float64).cpu().numpy()
                with_origin[rows] = _exact_products(exact, origin.double()).cpu().numpy()
            centred = values - origin.to(values.device)
            if held is None:
                held = torch.empty((stop - start, p), dtype=values.dtype, device=values.device)
            filled = min(rows.stop, stop) - start
            if rows.start < stop:
                held[rows.start - start : filled] = centred[: stop - rows.start]
            products[start : start + filled, rows] = _chunked_products(held[:filled], centred)
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
    """Move products (n, n) about m0, with ``x_i · m0`` (n,) and ``m0 · m0``, to the mean m as origin.

    ``x_i · m = x_i · m0 + r_i + mean_j(x_j · m0) - m0 · m0``, and ``m · m`` is its mean over i.
    """
    r = values.mean(axis=1)
    origin_products = with_origin + r + with_origin.mean() - norm
    return Gram(
        values - (r[:, None] + r[None, :]) + r.mean(),  # symmetric to the last bit
        origin_products,
        float(origin_products.mean()),
        feature_sums,
        n_features,
        resolution,
    )


def _chunked_products(left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
    """Products (a, b) of rows (a, p) and (b, p): each chunk in their own type, the sum in float64."""
    exact = _float64_device(left.device)
    total = torch.zeros((len(left), len(right)), dtype=torch.float64, device=exact)
    with _full_float32_products():
        for start in range(0, left.shape[1], CHUNK_FEATURES):
            columns = slice(start, start + CHUNK_FEATURES)
            total += (left[:, columns] @ right[:, columns].T).to(exact)
    return total.cpu().numpy()


def _exact_products(values: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
    """``values @ origin`` (n,) in float64, a few features at a time."""
    parts = zip(values.split(_SLAB_FEATURES, dim=1), origin.split(_SLAB_FEATURES), strict=True)
    total = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    for part, part_of_origin in parts:
        total += part.double() @ part_of_origin
    return total


def _tensor(values: Features, double: bool, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(values).to(device).to(torch.float64 if double else torch.float32)


def _float64_device(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device


def _symmetric(upper: np.ndarray) -> np.ndarray:
    """Copy of a matrix (n, n) with its upper triangle on both sides, a block at a time: that stays in the cache."""
    whole = np.array(upper, order="C")
    for start in range(0, len(whole), _SLAB_ROWS):
        rows = slice(start, start + _SLAB_ROWS)
        whole[rows.stop :, rows] = whole[rows, rows.stop :].T
        corner = whole[rows, rows]
        whole[rows, rows] = np.triu(corner) + np.triu(corner, 1).T
    return whole


def _resolution(double: bool) -> float:
    return 1e-13 if double else 2e-7


@contextmanager
def _full_float32_products() -> Iterator[None]:
    """Keep a GPU from rounding float32 factors to tf32, which costs 3e-4 in r."""
    # From torch 2.9 on, the older switch raises where somebody has used the newer one.
    matmul = torch.backends.cuda.matmul
    switch, off = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    before = getattr(matmul, switch)
    setattr(matmul, switch, off)
    try:
        yield
    finally:
        setattr(matmul, switch, before)
