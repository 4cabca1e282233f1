"""Variance partitioning between layers, models and controls."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from tabulate import tabulate
from torch import nn

from itprobe.api import plan_requests
from itprobe.benchmarks import load_benchmark
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.partition import check_spaces, partition_variance
from itprobe.benchmarks.spaces import in_order, space_grams
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.leaderboard import SIMULATED_NOTE
from itprobe.metrics import DEFAULT_SEED, Gram
from itprobe.metrics.store import GramStore
from itprobe.models import Precision
from itprobe.provenance import versions


def partition(
    spaces: Sequence[str | nn.Module],
    benchmark: str,
    *,
    seed: int = DEFAULT_SEED,
    device: str = "auto",
    precision: Precision = "full",
    extraction: Extraction = Extraction(),
) -> xr.Dataset:
    """Unique and shared explained variance of two to four feature spaces.

    Parameters
    ----------
    spaces : sequence of candidate ids
        Each with one layer, e.g. ``["torchvision/resnet50:layer3", "pixels", "latents"]``.
    benchmark : str
        A ``-banded`` one, e.g. ``simulated_small.IT-banded``.
    seed : int
        Of splits and bootstrap.
    device : str
    precision : {"full", "tf32", "bf16"}
        Of the forward passes.
    extraction : Extraction
        How features are kept until their Gram matrix is there.

    Returns
    -------
    Dataset
        As `itprobe.benchmarks.partition.partition_variance` gives it; attributes say which recording,
        split, seed, weights and versions it came from.

    Raises
    ------
    InputError
        If the benchmark is of another mapping, a space names no layer or more than one, or there are not
        two to four different spaces.
    """
    bench = load_benchmark(benchmark)
    if bench.benchmark_id.mapping != "banded" or bench.fitted is None:
        raise InputError(
            f"a partition needs a benchmark whose mapping takes several spaces, e.g. "
            f"{benchmark.replace(f'-{bench.benchmark_id.mapping}', '-banded')}, not {benchmark}"
        )
    requests = []
    for space in spaces:
        (request,) = plan_requests([space], device=device, precision=precision)
        if len(request.layers) != 1 or "," in request.layers[0]:
            some = ", ".join(request.layers[:3])
            raise InputError(
                f"{request.candidate.identifier}: a space is one layer, e.g. "
                f"{request.candidate.identifier}:LAYER with one of {some}, ..."
            )
        requests.append(request)
    check_spaces([f"{request.candidate.identifier}:{request.layers[0]}" for request in requests])
    target = bench.target
    for request in requests:
        request.candidate.check_stimuli(target.stimulus_set)
    digest = stimulus_set_sha256(target.stimulus_set)
    order = target.stimuli["stimulus_id"].to_numpy()
    grams: dict[str, Gram] = {}
    for request in requests:
        for layer, (gram,), ids in space_grams(
            request.candidate, target.stimulus_set, digest, request.layers, "ridge", GramStore(), extraction
        ):
            control = request.candidate.track == "control"
            name = request.candidate.identifier if control else f"{request.candidate.identifier}:{layer}"
            grams[name] = in_order(gram, ids, order)
    plan = bench.plan(seed)
    dataset = partition_variance(grams, order, target, bench.fitted, plan, seed)
    dataset.attrs |= {
        "benchmark": str(bench.benchmark_id),
        "recording_sha256": str(target.recording["sha256"]),
        "stimulus_set_sha256": digest,
        "simulated": int(bool(target.recording["simulated"])),
        "n_splits": len(plan.splits),
        "seed": seed,
        "weights_sha256": ", ".join(str(request.candidate.weights_sha256) for request in requests),
        **versions(),
    }
    return dataset


def partition_table(dataset: xr.Dataset) -> str:
    """Format a partition for the terminal: a row for each set of spaces, and what the figures are."""
    joint = float(dataset["explained_mean"][-1])
    rows = []
    for one in range(dataset.sizes["spaces"]):
        row = dataset.isel(spaces=one)
        kind = "only" if int(row["n_spaces"]) == 1 else "shared by"
        part = float(row["part_mean"])
        rows.append(
            [
                f"{kind} {row['spaces'].item()}",
                _number(part),
                _bounds(row["part_ci95"].values),
                f"{part / joint:.1%}" if joint > 0 else "-",
                _number(float(row["explained_mean"])),
            ]
        )
    headers = ["part", "explained variance", "95 % interval", "of all", "explained by these together"]
    heading = (
        f"{dataset.attrs['benchmark']}: {dataset.sizes['neuroid']} neuroids, {dataset.attrs['n_splits']} splits, "
        f"seed {dataset.attrs['seed']}\n"
        f"all spaces together explain {_number(joint)} "
        f"{_bounds(dataset['explained_ci95'].values[-1])} of the variance of held-out responses"
    )
    notes = (
        "Means over neuroids. A part is what these spaces could explain and the others cannot; a shared part "
        "below 0 means that the spaces explain more together than each by itself."
    )
    for warning in filter(None, dataset.attrs["warnings"].split("\n")):
        notes += f"\nNote: {warning}"
    if dataset.attrs["simulated"]:
        notes += f"\n{SIMULATED_NOTE}"
    return f"{heading}\n\n{tabulate(rows, headers=headers, disable_numparse=True)}\n\n{notes}"


def _number(value: float) -> str:
    return f"{value:.3f}"


def _bounds(bounds: np.ndarray) -> str:
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
