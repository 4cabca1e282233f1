"""Options that several commands have."""

import argparse
from typing import TYPE_CHECKING

from itprobe.errors import InputError

if TYPE_CHECKING:
    from itprobe.benchmarks.features import Extraction


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Options of all commands that run networks."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--precision", default="full", help="of the forward pass: full (default), tf32 or bf16"
    )
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="what features may take in memory (default: half of what is free); the rest goes to disk or is "
        "computed again",
    )
    parser.add_argument(
        "--features",
        default="float32",
        metavar="TYPE",
        help="features are kept as float32 (default) or float16",
    )
    parser.add_argument(
        "--seed", type=seed_number, default=1, help="of splits and bootstrap (default 1, Brain-Score's)"
    )


def seed_number(text: str) -> int:
    """Parse a seed: a whole number that numpy's generators take."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**32 - 1}")
    return int(text)


def extraction_of(options: argparse.Namespace) -> "Extraction":
    """Read ``--memory`` and ``--features``."""
    from itprobe.benchmarks.features import Extraction

    budget = options.memory
    if budget is not None and not 0 <= budget < 1e9:
        raise InputError(f"--memory {budget:g}: the memory budget must be a number of GB, e.g. 4 or 0.5")
    return Extraction(None if budget is None else int(budget * 1e9), options.features)
