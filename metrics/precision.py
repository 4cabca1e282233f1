"""How exactly torch multiplies."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
