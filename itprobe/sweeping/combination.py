"""All swept layers of a model together, and what each of them adds to the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.errors import InputError
from itprobe.metrics import interval, resample
from itprobe.metrics.inference import N_BOOTSTRAP
from itprobe.progress import progress_bar
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.fits import JointFits, joint_fits
from itprobe.sweeping.jobs import Progress, done_jobs, layer_depths, request_of
from itprobe.sweeping.plan import Settings, SweptModel

COLUMNS = (
    "model",
    "baseline",
    "fit",
    "layer",
    "depth",
    "n_layers",
    "r",
    "r_low",
    "r_high",
    "explained_variance",
    "explained_variance_low",
    "explained_variance_high",
    "unique",
    "unique_low",
    "unique_high",
    "seconds",
)


@dataclass(frozen=True)
class Combined:
    """Joint fits of a model, with their result files.

    Attributes
    ----------
    model : str
        The candidate's id without the layer.
    baseline : str or None
        The id that this seed of random weights stands for.
    everything, equal : Path
    without : dict of str to Path
    depths : dict of str to (int or None)
        Of each layer.
    """

    model: str
    baseline: str | None
    everything: Path
    equal: Path
    without: dict[str, Path]
    depths: dict[str, int | None]


def combine_models(
    models: Sequence[SweptModel],
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
) -> tuple[list[Combined], Progress]:
    """Fit the layers of each model together, after they were scored one by one.

    Their Gram matrices come from the store; where there are none, as for a user's own code, that is another
    forward pass.

    Parameters
    ----------
    models, benches, stimuli_sha256, settings, archive
        As for `itprobe.sweeping.jobs.sweep_models`.

    Returns
    -------
    list of Combined
        Without models that have fewer than three layers, or some that are not stored, under ``only-cache``.
    Progress
        Failures, and how many results were taken over.
    """
    combined, progress = [], Progress()
    with progress_bar(len(models), "combining layers", "model") as bar:
        for model in models:
            try:
                one = _combine(model, benches, stimuli_sha256, settings, archive, progress)
            except InputError as error:
                progress.failures[f"{model.name}, layers together"] = str(error)
            else:
                combined += [one] if one else []
            bar.update()
    return combined, progress


def _combine(
    model: SweptModel,
    benches: Sequence[PredictivityBenchmark],
    stimuli_sha256: str,
    settings: Settings,
    archive: Archive,
    progress: Progress,
) -> Combined | None:
    request = request_of(model, settings)
    candidate = request.candidate
    fits: JointFits | None = joint_fits(request.layers, benches, settings)
    if fits is None:
        return None
    paths: dict[int, Path] = {}
    places = {job: place for place, job in enumerate(fits.jobs)}
    for job, path in done_jobs(candidate, fits.jobs, stimuli_sha256, settings, archive, progress):
        if path is not None:
            paths[places[job]] = path
    if len(paths) < len(places):
        return None
    everything, equal, *without = (paths[place] for place in range(len(places)))
    return Combined(
        candidate.identifier,
        model.baseline,
        everything,
        equal,
        dict(zip(fits.without, without, strict=True)),
        layer_depths(candidate, request.layers),
    )


def combination_table(combined: Sequence[Combined], archive: Archive) -> pd.DataFrame:
    """What banded ridge from all layers of a model explains, and what is lost without each of them.

    Returns
    -------
    DataFrame
        A row per fit: ``all`` (layer: all of them, joined by commas), ``equal`` (the same with equal shares, chosen
        by nothing but lambda) and one ``without`` each layer. r is the median and explained_variance the mean over
        neuroids; unique is the explained variance of all layers minus that of all but this one. Intervals (95 %)
        resample stimuli and neuroids together; that of unique is paired. seconds is what the fit took.
    """
    rows: list[dict[str, object]] = []
    for one in combined:
        of_model = {"model": one.model, "baseline": one.baseline, "n_layers": len(one.without)}
        whole = _JointFit.read(one.everything, archive)
        names = ",".join(one.without)
        rows.append(of_model | {"fit": "all", "layer": names} | whole.figures)
        rows.append(of_model | {"fit": "equal", "layer": names} | _JointFit.read(one.equal, archive).figures)
        for layer, path in one.without.items():
            rest = _JointFit.read(path, archive)
            unique = _figure("unique", whole.explained - rest.explained, interval(whole.draws - rest.draws))
            row = {"fit": "without", "layer": layer, "depth": one.depths[layer]}
            rows.append(of_model | row | rest.figures | unique)
    return pd.DataFrame(rows, columns=list(COLUMNS))


@dataclass(frozen=True)
class _JointFit:
    """Explained variance of a fit, its bootstrap draws (B,), and what the table says of it."""

    explained: float
    draws: np.ndarray
    figures: dict[str, object]

    @classmethod
    def read(cls, path: Path, archive: Archive) -> "_JointFit":
        record = archive.load(path)
        scores, held_out = record.result.scores, record.held_out
        assert held_out is not None
        assert scores.pearson_r is not None
        assert scores.explained_variance is not None
        mean = scores.explained_variance.mean
        figures = {
            **_figure("r", scores.pearson_r.median, scores.pearson_r.ci95),
            **_figure("explained_variance", mean, scores.explained_variance.ci95_mean),
            "seconds": record.result.provenance.seconds,
        }
        if mean is None:  # what does not vary explains nothing
            return cls(0.0, np.zeros(N_BOOTSTRAP), figures)
        resampled = resample(held_out, seed=record.result.split.seed)
        return cls(mean, resampled.aggregate("explained_variance", "mean"), figures)


def _figure(name: str, value: float | None, bounds: tuple[float, float] | None) -> dict[str, object]:
    low, high = bounds or (np.nan, np.nan)
    return {name: np.nan if value is None else value, f"{name}_low": low, f"{name}_high": high}


def with_combination(dataset: xr.Dataset, table: pd.DataFrame) -> xr.Dataset:
    """Add what `combination_table` found to a sweep's Dataset.

    Returns
    -------
    Dataset
        With combined_score and combined_explained_variance (model) of all layers together, and unique_variance
        (model, layer), each with a 95 % interval.
    """
    models, layers = ([str(name) for name in dataset[dim].values] for dim in ("model", "layer"))
    unique = np.full((len(models), len(layers), 3), np.nan)
    combined = np.full((2, len(models), 3), np.nan)
    for row in table.to_dict("records"):
        model = models.index(row["model"])
        if row["fit"] == "all":
            for place, name in enumerate(("r", "explained_variance")):
                combined[place, model] = _with_bounds(row, name)
        elif row["fit"] == "without":
            unique[model, layers.index(row["layer"])] = _with_bounds(row, "unique")
    added: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name, values in (
        ("combined_score", combined[0]),
        ("combined_explained_variance", combined[1]),
        ("unique_variance", unique),
    ):
        dims = ("model", "layer")[: values.ndim - 1]
        added |= {name: (dims, values[..., 0]), f"{name}_ci95": ((*dims, "bound"), values[..., 1:])}
    return dataset.assign(added)


def _with_bounds(row: dict, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_low"], row[f"{name}_high"]
