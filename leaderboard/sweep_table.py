"""A sweep for the terminal: layers by mappings for each model, the best marked, and what is tied with it."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from itprobe.leaderboard.ranking import SIMULATED_NOTE

BEST, TIED = "*", "~"
MOST_NAMED = 6
"""Tied layers named below a table; more are counted only."""


def sweep_table(table: pd.DataFrame, attributes: Mapping[Hashable, Any]) -> str:
    """Format a sweep.

    Parameters
    ----------
    table : DataFrame
        One row per model, layer and mapping, with model, baseline, layer, depth, mapping, score, low, high,
        best, tied_with_best, n_features, as `itprobe.sweeping` makes it and ``sweep.csv`` holds it.
    attributes : mapping
        Of the sweep's Dataset: recording, region, n_stimuli, split, seed, simulated.

    Returns
    -------
    str
        A block for each model. Several seeds of random weights are one block of means and ranges.
    """
    baseline = table["baseline"].fillna("").astype(str).to_numpy()
    label = np.where(baseline != "", baseline, table["model"])
    blocks = []
    for name in dict.fromkeys(label):
        own = table[label == name]
        blocks.append(_block(name, own) if own["model"].nunique() == 1 else _block_of_seeds(name, own))
    return "\n\n".join([_heading(attributes), *blocks, "\n".join(_footnotes(table, attributes))])


def _heading(attributes: Mapping[Hashable, Any]) -> str:
    kind = "simulated recording" if attributes["simulated"] else "recording"
    return (
        f"sweep: {kind} {attributes['recording']}, region {attributes['region']}, {attributes['n_stimuli']} "
        f"stimuli; split {attributes['split']}, seed {attributes['seed']}"
    )


def _block(name: str, rows: pd.DataFrame) -> str:
    """One model: a row per layer, a column per mapping."""
    mappings = list(dict.fromkeys(rows["mapping"]))
    cells = {
        (row["layer"], row["mapping"]): f"{_score(row)} {_mark(row)}".rstrip()
        for row in rows.to_dict("records")
    }
    lines = [f"{name}", _grid(rows, mappings, cells)]
    for mapping in mappings:
        lines.append(_ties(mapping, rows[rows["mapping"] == mapping]))
    return "\n".join(lines)


def _block_of_seeds(name: str, rows: pd.DataFrame) -> str:
    """Seeds of one network's random weights: mean over seeds, lowest and highest."""
    mappings = list(dict.fromkeys(rows["mapping"]))
    cells, notes = {}, []
    for mapping in mappings:
        of_mapping = rows[rows["mapping"] == mapping]
        by_layer = of_mapping.groupby("layer", sort=False)["score"]
        means = by_layer.mean()
        best = means.idxmax() if means.notna().any() else None
        for layer, scores in by_layer:
            known = scores.dropna()
            text = f"{known.mean():.3f} ({known.min():.3f} .. {known.max():.3f})" if len(known) else "-"
            cells[str(layer), mapping] = f"{text} {BEST if layer == best else ''}".rstrip()
        notes.append(_seeds_note(mapping, of_mapping))
    n_seeds = rows["model"].nunique()
    title = f"{name}: {n_seeds} seeds, mean (lowest .. highest)"
    return "\n".join([title, _grid(rows, mappings, cells), *notes])


def _seeds_note(mapping: str, rows: pd.DataFrame) -> str:
    """How the best layers of the seeds spread, and how large their sets of ties are."""
    winners = rows[rows["best"].astype(bool)]
    if winners.empty:
        return f"{mapping}: no layer has a score"
    counts = ", ".join(f"{layer} ({count})" for layer, count in winners["layer"].value_counts().items())
    spread = (
        f"; SD of the best score over seeds {winners['score'].std(ddof=1):.3f}" if len(winners) > 1 else ""
    )
    known = rows["tied_with_best"].notna() & ~rows["best"].astype(bool)
    if not known.any():
        return f"{mapping}: best layer (seeds): {counts}{spread}"
    sizes = (rows["tied_with_best"] == True).groupby(rows["model"]).sum()  # noqa: E712 (None is neither)
    return f"{mapping}: best layer (seeds): {counts}{spread}; layers in the set of ties: {sizes.mean():.1f} on average"


def _grid(rows: pd.DataFrame, mappings: list[str], cells: Mapping[tuple[str, str], str]) -> str:
    layers = rows.drop_duplicates("layer")
    layers = layers.iloc[np.argsort(layers["depth"].to_numpy(dtype=float), kind="stable")]
    features = rows.groupby("layer", sort=False)["n_features"].min()  # banded counts its pooled maps too
    body = [
        [
            "" if pd.isna(row["depth"]) else f"{int(row['depth'])}",
            row["layer"],
            "-" if pd.isna(features[row["layer"]]) else f"{int(features[row['layer']]):,}",
            *(cells.get((row["layer"], mapping), "-") for mapping in mappings),
        ]
        for row in layers.to_dict("records")
    ]
    align = ("right", "left", "right", *["left"] * len(mappings))
    return tabulate(body, headers=["", "layer", "features", *mappings], disable_numparse=True, colalign=align)


def _score(row: Mapping[Hashable, Any]) -> str:
    if pd.isna(row["score"]):
        return "-"
    bounds = "" if pd.isna(row["low"]) else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['score']:.3f}{bounds}"


def _mark(row: Mapping[Hashable, Any]) -> str:
    if row["best"]:
        return BEST
    # From a CSV file the column comes as True, False and NaN, so that a plain truth test would not do.
    return TIED if row["tied_with_best"] == True else ""  # noqa: E712


def _ties(mapping: str, rows: pd.DataFrame) -> str:
    """Which layer is best under a mapping, and which are not separable from it."""
    scored = rows[rows["score"].notna()]
    if scored.empty:
        return f"{mapping}: no layer has a score"
    best = scored[scored["best"].astype(bool)]["layer"].iloc[0]
    if len(scored) == 1:
        return f"{mapping}: {best} is the only layer with a score"
    others = scored[~scored["best"].astype(bool)]
    if others["tied_with_best"].isna().all():
        return f"{mapping}: best {best}; differences between layers are not tested under {mapping}"
    tied = others[others["tied_with_best"] == True]["layer"].tolist()  # noqa: E712
    named = f", with {', '.join(tied)}" if 0 < len(tied) <= MOST_NAMED else ""
    return f"{mapping}: best {best}; set of ties: {len(tied) + 1} of {len(scored)} layers{named}"


def _footnotes(table: pd.DataFrame, attributes: Mapping[Hashable, Any]) -> list[str]:
    lines = [
        f"{BEST} best layer; {TIED} not separable from it: the 95 % interval of the difference, bootstrap over "
        "the same stimuli and neuroids, holds 0. Not corrected for choosing the best.",
        "Scores: median r over neuroids, mean over splits (rsa, cka: similarity), with 95 % intervals; "
        "- no score.",
    ]
    dead = table[table["status"] == "no variance"]
    if len(dead):
        names = dict.fromkeys(f"{row['model']}:{row['layer']}" for row in dead.to_dict("records"))
        lines.append(f"No variance, so no score: {', '.join(names)}.")
    if attributes["simulated"]:
        lines.append(SIMULATED_NOTE)
    return lines
