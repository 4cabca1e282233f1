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


def add_fit(parser: argparse.ArgumentParser, held: str) -> None:
    """Options of commands that fit one candidate to a part of a recording; `held` says what ``--set`` is for."""
    parser.add_argument(
        "candidate", metavar="CANDIDATE", help="e.g. convnet, or combined+efficientnet_lite0:_blocks.8"
    )
    parser.add_argument("--recording", required=True, metavar="R", help="a name, or the path of a recording")
    parser.add_argument("--region", help="default: the recording's only one, or IT")
    parser.add_argument("--split", default="course", help="whose training stimuli are used (default course)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help=f"{held}; may be repeated"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--seed", type=seed_number, default=1, help="of split and training (default 1)")


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
