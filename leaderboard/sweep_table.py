"""A sweep for the terminal: layers by mappings for each model, the best marked, and what is tied with it."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from itprobe.leaderboard.ranking import SIMULATED_NOTE

BEST, TIED = "*", "~"
MOST_NAMED = 6
"""Tied layers named below a table; more are counted only."""

COMBINATION_NOTE = (
    "Only this layer explains: explained variance (mean over neuroids) of all layers together minus that of all "
    "but this one, with its paired interval."
)


def sweep_table(
    table: pd.DataFrame,
    attributes: Mapping[Hashable, Any],
    selection: pd.DataFrame | None = None,
    combination: pd.DataFrame | None = None,
) -> str:
    """Format a sweep.

    Parameters
    ----------
    table : DataFrame
        One row per model, layer and mapping, with model, baseline, layer, depth, mapping, score, low, high,
        best, tied_with_best, n_features, as `itprobe.sweeping` makes it and ``sweep.csv`` holds it.
    attributes : mapping
        Of the sweep's Dataset: recording, region, n_stimuli, split, seed, simulated.
    selection : DataFrame, optional
        What layers were chosen within the training stimuli, as in ``selection.csv``.
    combination : DataFrame, optional
        What all layers of a model explain together, as in ``combination.csv``.

    Returns
    -------
    str
        A block for each model. Several seeds of random weights are one block of means and ranges.
    """
    blocks = []
    choices = dict(_by_label(selection))
    joint = dict(_by_label(combination))
    for name, own in _by_label(table):
        parts = [_block(name, own) if own["model"].nunique() == 1 else _block_of_seeds(name, own)]
        parts += [_choices(choices[name])] if name in choices else []
        parts += [_combination(joint[name])] if name in joint else []
        blocks.append("\n".join(parts))
    notes = _footnotes(table, attributes)
    if joint:
        notes.insert(2, COMBINATION_NOTE)
    return "\n\n".join([_heading(attributes), *blocks, "\n".join(notes)])


def _by_label(table: pd.DataFrame | None) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each model; those of several seeds of random weights together."""
    if table is None:
        return []
    label = table["baseline"].fillna("").astype(str)
    label = label.where(label != "", table["model"])
    return [(str(name), own) for name, own in table.groupby(label, sort=False)]


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
            text = _spread(known) if len(known) else "-"
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
    return f"{row['score']:z.3f}{bounds}"


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


def _choices(rows: pd.DataFrame) -> str:
    """What was chosen within the training stimuli under each mapping, beside the naive choice."""
    return "\n".join(
        _choice(str(mapping), own.to_dict("records")[0])
        if len(own) == 1
        else _choices_of_seeds(str(mapping), own)
        for mapping, own in rows.groupby("mapping", sort=False)
    )


def _choice(mapping: str, row: Mapping[Hashable, Any]) -> str:
    chosen = row["chosen"].split(";")
    (first, times), *others = Counter(chosen).most_common()
    counts = [f"{first} ({times} of {len(chosen)} splits)", *(f"{layer} ({k})" for layer, k in others)]
    return (
        f"{mapping}: layer chosen inside the training part: {', '.join(counts)}: r {_figure(row, 'nested')}; "
        f"naive best {_figure(row, 'naive')}; selection bias {_figure(row, 'bias')}"
    )


def _choices_of_seeds(mapping: str, rows: pd.DataFrame) -> str:
    counts = Counter(layer for chosen in rows["chosen"] for layer in chosen.split(";"))
    named = ", ".join(f"{layer} ({times})" for layer, times in counts.most_common(MOST_NAMED))
    return (
        f"{mapping}: layer chosen inside the training part (splits of all seeds): {named}: "
        f"r {_spread(rows['nested'])}; naive best {_spread(rows['naive'])}; selection bias {_spread(rows['bias'])}"
    )


def _combination(rows: pd.DataFrame) -> str:
    """All layers of a model together, and what each adds to the others."""
    of_fit = {str(fit): own for fit, own in rows.groupby("fit", sort=False)}
    everything, equal, without = of_fit["all"], of_fit["equal"], of_fit["without"]
    title = (
        f"{int(everything['n_layers'].iloc[0])} layers together (banded): r {_figures(everything, 'r')}, explained "
        f"variance {_figures(everything, 'explained_variance')}; in equal shares: r {_figures(equal, 'r')} "
        f"({rows['seconds'].sum():.0f} s)"
    )
    body = [
        ["" if own["depth"].isna().all() else f"{int(own['depth'].iloc[0])}", layer, _figures(own, "unique")]
        for layer, own in without.groupby("layer", sort=False)
    ]
    align = ("right", "left", "left")
    return f"{title}\n" + tabulate(
        body, headers=["", "layer", "only this layer explains"], disable_numparse=True, colalign=align
    )


def _figures(rows: pd.DataFrame, name: str) -> str:
    """A figure with its interval; of several seeds their mean and range."""
    return _figure(rows.to_dict("records")[0], name) if len(rows) == 1 else _spread(rows[name])


def _figure(row: Mapping[Hashable, Any], name: str) -> str:
    return f"{row[name]:z.3f} [{row[f'{name}_low']:z.3f}, {row[f'{name}_high']:z.3f}]"


def _spread(values: pd.Series) -> str:
    return f"{values.mean():z.3f} ({values.min():z.3f} .. {values.max():z.3f})"


def _footnotes(table: pd.DataFrame, attributes: Mapping[Hashable, Any]) -> list[str]:
    lines = [
        f"{BEST} best layer; {TIED} not separable from it: the 95 % interval of the paired difference (over stimuli, "
        "neuroids) holds 0. Not corrected for choosing the best.",
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
