"""What a sweep found: a table with a row per model, layer and mapping, and a Dataset down to neuroids and splits."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from itprobe.benchmarks import Target
from itprobe.benchmarks.selection import InnerScores
from itprobe.files import atomic_file
from itprobe.leaderboard import Result
from itprobe.metrics import Similarity
from itprobe.metrics.inference import interval, resample
from itprobe.metrics.whole_set import similarity_difference
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.jobs import Entry

PER_SPLIT = ("pearson_r", "explained_variance", "lambda")


@dataclass(frozen=True)
class Scored:
    """An entry with what its files hold.

    Attributes
    ----------
    entry : Entry
    result : Result or None
        None where the entry was skipped.
    splits : Dataset or None
        See `itprobe.sweeping.archive.Record`.
    draws : ndarray (B,) or None
        Bootstrap draws, over stimuli and neuroids, of the median r; paired between entries of the same
        mapping. None for similarities.
    inner : InnerScores or None
        Scores within the training stimuli.
    similarity : Similarity or None
    stimulus_order : str
        In which its draws were made; they are paired with those of the same order.
    """

    entry: Entry
    result: Result | None
    splits: xr.Dataset | None
    draws: np.ndarray | None
    inner: InnerScores | None = None
    similarity: Similarity | None = None
    stimulus_order: str = ""


def gather(entries: Iterable[Entry], archive: Archive) -> list[Scored]:
    """Read what the entries' files hold; the same whether they were computed just now or long ago."""
    gathered = []
    for entry in entries:
        if entry.path is None:
            gathered.append(Scored(entry, None, None, None))
            continue
        record = archive.load(entry.path)
        draws = None
        if record.held_out is not None and record.result.scores.primary.value is not None:
            draws = resample(record.held_out, seed=record.result.split.seed).aggregate("pearson_r", "median")
        gathered.append(
            Scored(
                entry,
                record.result,
                record.splits,
                draws,
                record.inner,
                record.similarity,
                record.stimulus_order,
            )
        )
    return gathered


def rank_value(scored: Scored) -> float | None:
    """The figure by which layers are compared: median r, or the similarity."""
    if scored.result is None:
        return None
    scores = scored.result.scores
    section = scores.pearson_r or scores.similarity
    return (
        None if section is None else section.median if section is scores.pearson_r else scores.primary.value
    )


def best_and_ties(gathered: Sequence[Scored]) -> dict[int, bool | None]:
    """Compare the layers of one model under one mapping.

    A layer is tied with the best where the 95 % interval of their difference holds 0: bootstrap draws of
    both over the same stimuli and neuroids, as `itprobe.metrics.paired_difference` takes them; for
    similarities draws over the same stimuli, see `itprobe.metrics.whole_set.similarity_difference`. That the best
    was chosen among many is not corrected for, which makes the set of ties too small rather than too large.

    Parameters
    ----------
    gathered : sequence of Scored

    Returns
    -------
    dict of int to (bool or None)
        For each place in `gathered` that has a score, the best one first: whether it is tied with the
        best (the best is with itself); None where pairs cannot be compared (similarities of stimuli in
        another order).
    """
    values = [rank_value(one) for one in gathered]
    places = [place for place, value in enumerate(values) if value is not None]
    if not places:
        return {}
    best = max(places, key=lambda place: (values[place], -place))
    tied: dict[int, bool | None] = {best: True}
    for place in places:
        if place != best:
            tied[place] = _tied(gathered[best], gathered[place])
    return tied


def _tied(best: Scored, other: Scored) -> bool | None:
    if best.similarity is not None and other.similarity is not None:
        if best.stimulus_order != other.stimulus_order:
            return None
        low, _ = similarity_difference(best.similarity, other.similarity).ci95
    elif best.draws is not None and other.draws is not None:
        low, _ = interval(best.draws - other.draws)
    else:
        return None
    return bool(low <= 0)


def tidy_table(gathered: Sequence[Scored]) -> pd.DataFrame:
    """One row per model, layer and mapping.

    Returns
    -------
    DataFrame
        model, baseline, track, weights, layer, depth, mapping, status (``scored``, ``no variance``,
        ``skipped``), score (median r or similarity) with low and high of its 95 % interval,
        explained_variance (median), ceiled (r |r| / median reliability) and its interval, per_neuroid_share
        (median over reliable neuroids), n_features, effective_dimensionality, alpha_median (over neuroids), best
        and tied_with_best (empty where nothing can be compared).
    """
    rows = [_row(one) for one in gathered]
    groups: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(gathered):
        groups.setdefault((one.entry.model, one.entry.mapping), []).append(place)
    for places in groups.values():
        ties = best_and_ties([gathered[place] for place in places])
        for rank, (within, tied) in enumerate(ties.items()):
            rows[places[within]] |= {"best": rank == 0, "tied_with_best": tied}
    return pd.DataFrame(rows)


def _row(one: Scored) -> dict[str, object]:
    entry, result = one.entry, one.result
    row: dict[str, object] = {
        "model": entry.model,
        "baseline": entry.baseline,
        "track": None,
        "weights": None,
        "layer": entry.layer,
        "depth": entry.depth,
        "mapping": entry.mapping,
        "status": "skipped",
        **dict.fromkeys(
            ("score", "low", "high", "explained_variance", "ceiled", "ceiled_low", "ceiled_high"), np.nan
        ),
        **dict.fromkeys(
            ("per_neuroid_share", "n_features", "effective_dimensionality", "alpha_median"), np.nan
        ),
        "best": False,
        "tied_with_best": None,
    }
    if result is None:
        return row
    scores, value = result.scores, rank_value(one)
    section = scores.pearson_r or scores.similarity
    assert section is not None
    low, high = section.ci95 or (np.nan, np.nan)
    ceiled, each = scores.ceiled, scores.ceiled_per_neuroid
    ceiled_low, ceiled_high = (ceiled.ci95 if ceiled else None) or (np.nan, np.nan)
    explained = scores.explained_variance
    alphas = [n.alpha for n in result.per_neuroid or [] if n.alpha is not None]
    return row | {
        "track": result.candidate.track,
        "weights": result.candidate.weights,
        "status": "no variance" if value is None else "scored",
        "score": _nan(value),
        "low": low,
        "high": high,
        "explained_variance": _nan(explained.median if explained else None),
        "ceiled": _nan(ceiled.value if ceiled else None),
        "ceiled_low": ceiled_low,
        "ceiled_high": ceiled_high,
        "per_neuroid_share": _nan(each.value if each else None),
        "n_features": result.candidate.n_features,
        "effective_dimensionality": _nan(result.candidate.effective_dimensionality),
        "alpha_median": float(np.median(alphas)) if alphas else np.nan,
    }


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def sweep_dataset(gathered: Sequence[Scored], table: pd.DataFrame, target: Target) -> xr.Dataset:
    """Everything by model, layer, mapping, split and neuroid.

    Parameters
    ----------
    gathered : sequence of Scored
    table : DataFrame
        From `tidy_table`, rows as `gathered`.
    target : Target

    Returns
    -------
    Dataset
        r, explained_variance, lambda (model, layer, mapping, split, neuroid), NaN where a model lacks a
        layer and for similarities; similarity (model, layer, mapping); score with score_ci95
        (..., bound) and tied_with_best (1, 0, or -1 where not known); ceiling (neuroid): reliability of the
        average response. Coordinates: depth (model, layer), baseline (model), animal (neuroid).
    """
    places = {dim: list(dict.fromkeys(table[dim])) for dim in ("model", "layer", "mapping")}
    n_splits = max((one.splits.sizes["split"] for one in gathered if one.splits is not None), default=0)
    q = len(target.neuroids)
    cells = tuple(map(len, places.values()))
    values = {name: np.full((*cells, n_splits, q), np.nan) for name in PER_SPLIT}
    similarity, score = np.full((2, *cells), np.nan)
    bounds = np.full((*cells, 2), np.nan)
    tied = np.full(cells, -1, dtype=np.int8)
    depth = np.full(cells[:2], np.nan)
    for one, row in zip(gathered, table.to_dict("records"), strict=True):
        at = tuple(index.index(row[dim]) for dim, index in places.items())
        score[at], bounds[at] = row["score"], (row["low"], row["high"])
        depth[at[:2]] = np.nan if one.entry.depth is None else one.entry.depth
        if row["tied_with_best"] is not None:
            tied[at] = row["tied_with_best"]
        if one.splits is None:
            similarity[at] = row["score"]
        else:
            for name in PER_SPLIT:
                values[name][at] = one.splits[name].values
    dims = ("model", "layer", "mapping")
    rho = target.reliability.rho if target.reliability else np.full(q, np.nan)
    baseline = table.groupby("model", sort=False)["baseline"].first().fillna("")
    return xr.Dataset(
        {
            "r": ((*dims, "split", "neuroid"), values["pearson_r"]),
            "explained_variance": ((*dims, "split", "neuroid"), values["explained_variance"]),
            "lambda": ((*dims, "split", "neuroid"), values["lambda"]),
            "similarity": (dims, similarity),
            "score": (dims, score),
            "score_ci95": ((*dims, "bound"), bounds),
            "tied_with_best": (dims, tied),
            "ceiling": ("neuroid", rho),
        },
        coords={
            **places,
            "split": np.arange(n_splits),
            "bound": ["low", "high"],
            "neuroid": target.neuroids["neuroid_id"].to_numpy().astype(str),
            "animal": ("neuroid", target.neuroids["animal"].to_numpy().astype(str)),
            "depth": (dims[:2], depth),
            "baseline": ("model", [str(baseline[model]) for model in places["model"]]),
        },
    )


def write_summary(dataset: xr.Dataset, tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Write ``sweep.nc``, and each table as ``NAME.csv``; each appears whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    compressed = {name: {"zlib": True} for name in ("r", "explained_variance", "lambda")}
    with atomic_file(out / "sweep.nc") as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=compressed)
    for name, table in tables.items():
        with atomic_file(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def as_attribute(value: object) -> str:
    """Text of a list or dict that netCDF attributes cannot hold."""
    return json.dumps(value, ensure_ascii=False)
