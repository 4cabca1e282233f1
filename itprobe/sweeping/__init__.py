"""Sweeps: every layer of many models under several mappings, resumable, with ties of the best layer."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import xarray as xr
from torch import nn

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.identifiers import DEFAULT_SPLIT
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.leaderboard import Result
from itprobe.metrics import DEFAULT_SEED
from itprobe.models import Precision
from itprobe.provenance import versions
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.jobs import Progress, sweep_models
from itprobe.sweeping.plan import (
    Resume,
    Settings,
    claim_folder,
    forget_models,
    read_models,
    sweep_benchmarks,
    swept_models,
)
from itprobe.sweeping.summary import as_attribute, gather, sweep_dataset, tidy_table, write_summary

__all__ = ["Outcome", "Resume", "Settings", "carry_out", "read_models", "sweep"]


@dataclass(frozen=True)
class Outcome:
    """What a sweep found.

    Attributes
    ----------
    dataset : Dataset
        See `sweep`.
    table : DataFrame
        One row per model, layer and mapping, see `itprobe.sweeping.summary.tidy_table`.
    results : list of Result or None
        As the rows of `table`; None where a layer was skipped.
    failures : dict of str to str
        Models that failed, and why.
    skipped : dict of str to list of str
        Layers of models that would have taken a forward pass, under ``only-cache``.
    n_taken_over : int
        Results that were there already.
    """

    dataset: xr.Dataset
    table: pd.DataFrame
    results: list[Result | None]
    failures: dict[str, str]
    skipped: dict[str, list[str]]
    n_taken_over: int


def sweep(
    models: str | nn.Module | Sequence[str | nn.Module],
    recording: str,
    *,
    region: str | None = None,
    layers: str | Sequence[str] = "blocks",
    mappings: Sequence[str] = ("ridge",),
    split: str = DEFAULT_SPLIT,
    seed: int = DEFAULT_SEED,
    device: str = "auto",
    precision: Precision = "full",
    extraction: Extraction = Extraction(),
    preprocessing: dict[str, Any] | None = None,
    out: str | Path | None = None,
    resume: Resume = "only-missing",
    seeds_of_random: int = 1,
) -> xr.Dataset:
    """Score layers of models under several mappings, with one forward pass per model.

    Parameters
    ----------
    models : candidate ids or modules
    recording : str
        A name, or the path of an own recording.
    region : str, optional
        The recording's only one by default, else IT.
    layers : str or sequence of str
        ``blocks``, ``all``, or names, for models whose id names no layer; ``NAME,NAME`` is for banded alone.
    mappings : sequence of str
    split : str
        Means nothing to rsa and cka.
    seed : int
        Of splits and bootstrap.
    device : str
    precision : {"full", "tf32", "bf16"}
    extraction : Extraction
    preprocessing : dict, optional
        For module objects.
    out : str or Path, optional
        Folder for ``sweep.nc``, ``sweep.csv``, ``sweep.json`` (what was asked for) and ``results/``.
    resume : {"only-missing", "always", "never", "only-cache"}
        What becomes of results in `out`. ``only-missing`` takes over those that agree in candidate,
        weights, benchmark and its version, recording, stimuli, mapping and its parameters, seed, precision,
        device and version of itprobe. ``always`` computes all anew. ``never`` refuses a folder that holds any.
        ``only-cache`` is ``only-missing`` without a forward pass: layers whose Gram matrices are not stored
        are skipped.
    seeds_of_random : int
        Seeds, from 0 on, that ``NAME@random`` stands for; with 1 it is what it always is, seed 0.

    Returns
    -------
    Dataset
        See `itprobe.sweeping.summary.sweep_dataset`; attributes: recording and its digests, split, seed,
        versions, and as JSON the models that failed and the layers that were skipped.

    Raises
    ------
    InputError
        If nothing at all could be scored, a model is given twice, `out` holds another sweep, or
        the recording, a mapping or the split does not exist.
    """
    settings = Settings(
        region,
        [layers] if isinstance(layers, str) else list(layers),
        [mappings] if isinstance(mappings, str) else list(dict.fromkeys(mappings)),
        split,
        seed,
        device,
        precision,
        extraction,
        preprocessing,
        resume,
        seeds_of_random,
    )
    return carry_out(
        [models] if isinstance(models, str | nn.Module) else models, recording, settings, out
    ).dataset


def carry_out(
    models: Sequence[str | nn.Module], recording: str, settings: Settings, out: str | Path | None = None
) -> Outcome:
    """Do what `sweep` does, and give all that came out.

    Raises
    ------
    InputError
        As `sweep`.
    """
    planned = swept_models(models, settings.seeds_of_random)
    benches = sweep_benchmarks(recording, settings)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()) if out is None else out)
        claim_folder(folder, planned, settings, benches[0])
        archive = Archive(folder / "results")
        digest = stimulus_set_sha256(benches[0].target.stimulus_set)
        progress = sweep_models(planned, benches, digest, settings, archive)
        scored = {entry.model for entry in progress.entries}
        forget_models(folder, [name for name in progress.failures if name not in scored])
        if not any(entry.path for entry in progress.entries):
            raise InputError(_nothing_scored(progress))
        gathered = gather(progress.entries, archive)
        table = tidy_table(gathered)
        dataset = sweep_dataset(gathered, table, benches[0].target)
        dataset.attrs |= _attributes(benches[0], digest, settings, progress)
        if out is not None:
            write_summary(dataset, table, folder)
    return Outcome(
        dataset,
        table,
        [one.result for one in gathered],
        progress.failures,
        progress.skipped,
        progress.n_taken_over,
    )


def _nothing_scored(progress: Progress) -> str:
    if not progress.failures:
        n_layers = sum(map(len, progress.skipped.values()))
        return f"nothing was scored: no Gram matrix of the {n_layers} layers is stored; resume only-missing"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in progress.failures.items())
    return f"nothing was scored: {reasons}"


def _attributes(
    bench: PredictivityBenchmark, stimuli_sha256: str, settings: Settings, progress: Progress
) -> dict[str, object]:
    target = bench.target
    return {
        "recording": str(target.recording["identifier"]),
        "recording_sha256": str(target.recording["sha256"]),
        "stimulus_set_sha256": stimuli_sha256,
        "region": target.region,
        "n_stimuli": len(target.stimuli),
        "simulated": int(bool(target.recording["simulated"])),
        "split": settings.split,
        "seed": settings.seed,
        "precision": settings.precision,
        "features": settings.extraction.dtype,
        "failures": as_attribute(progress.failures),
        "skipped": as_attribute(progress.skipped),
        **versions(),
    }
