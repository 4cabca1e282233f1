"""Products of torch's tensors on any device, exact where the device allows."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

Features = np.ndarray | torch.Tensor

CHUNK_FEATURES = 12_000
"""One float32 product sums this many features before it is added up in float64: longer sums lose accuracy, shorter
ones speed."""

# What is copied to float64 at a time: a whole chunk in float64 would double the peak of memory.
_EXACT_FEATURES = 1_000


@contextmanager
def full_float32_products() -> Iterator[None]:
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


def chunked_products(left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
    """Products (a, b) of rows (a, p) and (b, p): each chunk in their own type, the sum in float64."""
    exact = float64_device(left.device)
    total = torch.zeros((len(left), len(right)), dtype=torch.float64, device=exact)
    with full_float32_products():
        for start in range(0, left.shape[1], CHUNK_FEATURES):
            columns = slice(start, start + CHUNK_FEATURES)
            total += (left[:, columns] @ right[:, columns].T).to(exact)
    return total.cpu().numpy()


def exact_products(values: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
    """``values @ origin`` (n,) in float64, a few features at a time."""
    parts = zip(values.split(_EXACT_FEATURES, dim=1), origin.split(_EXACT_FEATURES), strict=True)
    total = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    for part, part_of_origin in parts:
        total += part.double() @ part_of_origin
    return total


def as_products_type(values: Features, double: bool, device: torch.device) -> torch.Tensor:
    """Features on a device, float64 or float32."""
    return torch.as_tensor(values).to(device).to(torch.float64 if double else torch.float32)


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device
