"""What the scripts of this folder share: fair settings, clocks, the machine's own rate, made-up features."""

import os
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np
from scipy.linalg import blas

UNFAIR = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Where these are set they can halve numpy's speed and leave scipy's alone: off for every side."""


KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62)}
"""With these glibc keeps memory that was given back for what the process asks for next."""


def restart_with_fair_settings(keep_memory: bool = False) -> None:
    """Start the script anew without the settings in `UNFAIR`; they are read only when a BLAS is loaded.

    Parameters
    ----------
    keep_memory : bool
        Also with those in `KEPT`.
    """
    kept = KEPT if keep_memory else {}
    fair = {name: value for name, value in os.environ.items() if name not in UNFAIR} | kept
    if fair == dict(os.environ):
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], fair)


def seconds_of(function: Callable[[], object], repeats: int = 1) -> float:
    """Shortest of some runs: what disturbs a run only ever makes it longer."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return min(times)


def product_rate(n: int, columns: int | None = None) -> float:
    """Flops per second of float64 products (n, n) @ (n, columns); columns = n by default."""
    columns = columns or n
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(n, n)), rng.normal(size=(n, columns))
    return 2 * n**2 * columns / seconds_of(lambda: left @ right, repeats=3)


def symmetric_rate(n: int, dtype: type = np.float64) -> float:
    """Flops per second of symmetric products A Aᵀ of (n, n) matrices, n³ flops each."""
    matrix = np.asfortranarray(np.random.default_rng(0).normal(size=(n, n)), dtype=dtype)
    product = blas.dsyrk if dtype == np.float64 else blas.ssyrk
    return n**3 / seconds_of(lambda: product(1.0, matrix), repeats=3)


def describe_machine(n: int) -> str:
    """One line: cores, and the rates that bound what follows."""
    return (
        f"machine: {len(os.sched_getaffinity(0))} cores; products of {n} x {n}: float64 "
        f"{product_rate(n) / 1e9:.0f} GFLOP/s, symmetric float64 {symmetric_rate(n) / 1e9:.0f}, "
        f"symmetric float32 {symmetric_rate(n, np.float32) / 1e9:.0f}"
    )


def power_law_features(n: int, p: int, exponent: float = 1.0, rank: int = 500, seed: int = 0) -> np.ndarray:
    """Features (n, p), float32, whose variance along principal component k falls as k^(-exponent).

    Iteration counts and conditioning depend on the spectrum, so white noise would flatter the peers.
    """
    rng = np.random.default_rng(seed)
    rank = min(rank, n, p)
    scales = np.arange(1, rank + 1, dtype=np.float32) ** np.float32(-exponent / 2)
    latents = rng.standard_normal((n, rank), dtype=np.float32) * scales
    features = np.empty((n, p), dtype=np.float32)
    for start in range(0, p, 20_000):
        part = features[:, start : start + 20_000]
        np.matmul(latents, rng.standard_normal((rank, part.shape[1]), dtype=np.float32), out=part)
        part += 0.02 * rng.standard_normal(part.shape, dtype=np.float32) + 1
    return features


def planted_responses(features: np.ndarray, q: int, seed: int = 1) -> np.ndarray:
    """Responses (n, q) that depend on some of the features, with as much noise as signal."""
    rng = np.random.default_rng(seed)
    some = features[:, rng.choice(features.shape[1], min(50, features.shape[1]), replace=False)]
    signal = some.astype(np.float64) @ rng.normal(size=(some.shape[1], q))
    return signal - signal.mean(axis=0) + signal.std() * rng.normal(size=signal.shape)
