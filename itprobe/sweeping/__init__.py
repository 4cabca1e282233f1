"""Sweeps: every layer of many models under several mappings, resumable, with ties of the best layer."""

from collections.abc import Mapping, Sequence
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
from itprobe.benchmarks.selection import INNER_FOLDS, check_inner_folds
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.leaderboard import Result
from itprobe.metrics import DEFAULT_SEED
from itprobe.metrics.diagnostics import LambdaCurve
from itprobe.models import Precision
from itprobe.provenance import versions
from itprobe.sweeping.archive import Archive, stored_curve
from itprobe.sweeping.choices import selection_table, selections, with_selections
from itprobe.sweeping.combination import combination_table, combine_models, with_combination
from itprobe.sweeping.jobs import Progress
from itprobe.sweeping.plan import (
    Resume,
    Settings,
    claim_folder,
    forget_models,
    read_models,
    sweep_benchmarks,
    swept_models,
)
from itprobe.sweeping.schedule import sweep_on
from itprobe.sweeping.summary import as_attribute, gather, sweep_dataset, tidy_table, write_summary
from itprobe.workers import Workers, open_workers

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
    curves : list of LambdaCurve or None
        As the rows of `table`: how the error depends on lambda, see `itprobe.sweeping.archive.stored_curve`.
    selection : DataFrame
        One row per model and mapping, see `itprobe.sweeping.choices.selection_table`; no rows without inner folds.
    combination : DataFrame or None
        See `itprobe.sweeping.combination.combination_table`; None where layers were not combined.
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
    curves: list[LambdaCurve | None]
    selection: pd.DataFrame
    combination: pd.DataFrame | None
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
    inner_folds: int = INNER_FOLDS,
    combine: bool = False,
    parameters: Mapping[str, str] | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
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
        Folder for ``sweep.nc``, ``sweep.csv``, ``selection.csv``, ``combination.csv``, ``sweep.json`` (what was
        asked for) and ``results/``.
    resume : {"only-missing", "always", "never", "only-cache"}
        What becomes of results in `out`. ``only-missing`` takes over those that agree in candidate,
        weights, benchmark and its version, recording, stimuli, mapping and its parameters, seed, precision,
        device and version of itprobe. ``always`` computes all anew. ``never`` refuses a folder that holds any.
        ``only-cache`` is ``only-missing`` without a forward pass: layers whose Gram matrices are not stored
        are skipped.
    seeds_of_random : int
        Seeds, from 0 on, that ``NAME@random`` stands for; with 1 it is what it always is, seed 0.
    inner_folds : int
        Folds of each split's training stimuli on which its layer is chosen, each one more fit per split;
        0 chooses none. Means nothing to rsa and cka, which have no splits.
    combine : bool
        Also fit all single layers of a model (3 to 32) together by banded ridge, with equal shares, and
        without each of them.
    parameters : mapping of str to str, optional
        Of the mappings, as text, e.g. ``{"n_components": "50"}``; each goes to the mappings that have it.
    jobs : int
        Processes of this machine that share the work; 1 is this process alone.
    scheduler : str, optional
        Address of a Dask scheduler whose workers share the work instead; see ``docs/cluster.md``.

    Returns
    -------
    Dataset
        See `itprobe.sweeping.summary.sweep_dataset`, `itprobe.sweeping.choices.with_selections` and, with
        `combine`, `itprobe.sweeping.combination.with_combination`; attributes: recording and its digests, split, seed,
        versions, and as JSON the models that failed and the layers that were skipped.

    Raises
    ------
    InputError
        If nothing at all could be scored, a model is given twice, `out` holds another sweep, the
        recording, a mapping, a parameter or the split does not exist, or the scheduler does not answer.
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
        inner_folds,
        combine,
        dict(parameters or {}),
    )
    several = [models] if isinstance(models, str | nn.Module) else models
    with open_workers(jobs, scheduler) as workers:
        return carry_out(several, recording, settings, out, workers).dataset


def carry_out(
    models: Sequence[str | nn.Module],
    recording: str,
    settings: Settings,
    out: str | Path | None = None,
    workers: Workers | None = None,
) -> Outcome:
    """Do what `sweep` does, on `workers` from `open_workers` where there are any, and give all that came out.

    Raises
    ------
    InputError
        As `sweep`.
    """
    planned = swept_models(models, settings.seeds_of_random)
    with ExitStack() as stack:
        benches = sweep_benchmarks(recording, settings)
        if settings.inner_folds and benches[0].fitted:  # better known before a forward pass
            check_inner_folds(benches[0].plan(settings.seed), settings.inner_folds)
        folder = Path(stack.enter_context(TemporaryDirectory()) if out is None else out)
        claim_folder(folder, planned, settings, benches[0])
        archive = Archive(folder / "results")
        digest = stimulus_set_sha256(benches[0].target.stimulus_set)
        progress = sweep_on(workers, planned, benches, digest, settings, archive)
        scored = {entry.model for entry in progress.entries}
        forget_models(folder, [name for name in progress.failures if name not in scored])
        if not any(entry.path for entry in progress.entries):
            raise InputError(_nothing_scored(progress))
        gathered = gather(progress.entries, archive)
        table = tidy_table(gathered)
        chosen = selections(gathered, archive, settings.inner_folds)
        selection = selection_table(chosen, {entry.model: entry.baseline for entry in progress.entries})
        dataset = with_selections(sweep_dataset(gathered, table, benches[0].target), chosen)
        tables, combination = {"sweep": table, "selection": selection}, None
        if settings.combine:
            left = [model for model in planned if model.name not in progress.failures]
            archive = Archive(folder / "results")  # with what was scored just now
            combined, further = combine_models(left, benches, digest, settings, archive)
            tables["combination"] = combination = combination_table(combined, archive)
            dataset = with_combination(dataset, combination)
            progress.failures |= further.failures
            progress.n_taken_over += further.n_taken_over
        dataset.attrs |= _attributes(benches[0], digest, settings, progress)
        if out is not None:
            write_summary(dataset, tables, folder)
    return Outcome(
        dataset,
        table,
        [one.result for one in gathered],
        [stored_curve(one.splits) for one in gathered],
        selection,
        combination,
        progress.failures,
        progress.skipped,
        progress.n_taken_over,
    )


def _nothing_scored(progress: Progress) -> str:
    if not progress.failures:
        n_layers = sum(map(len, progress.skipped.values()))
        return f"nothing was scored: no Gram matrix of the {n_layers} layers is stored; resume only-missing"
    reasons = "; ".join(
        reason if reason.startswith(name) else f"{name}: {reason}"
        for name, reason in progress.failures.items()
    )
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
        "inner_folds": settings.inner_folds,
        "parameters": as_attribute(settings.parameters),
        "failures": as_attribute(progress.failures),
        "skipped": as_attribute(progress.skipped),
        **versions(),
    }
