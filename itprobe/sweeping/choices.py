"""Which layer of each model is chosen within the training stimuli, and what that choice scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from itprobe.benchmarks.selection import InnerScores, Selection, can_choose, select
from itprobe.metrics import HeldOut
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.summary import Scored

Selections = dict[tuple[str, str], Selection]
"""By model and mapping."""

COLUMNS = (
    "model",
    "baseline",
    "mapping",
    "n_layers",
    "inner_folds",
    "chosen",
    "nested",
    "nested_low",
    "nested_high",
    "naive_layer",
    "naive",
    "naive_low",
    "naive_high",
    "bias",
    "bias_low",
    "bias_high",
)


def selections(gathered: Sequence[Scored], archive: Archive, inner_folds: int) -> Selections:
    """Choose among the layers of each model under each mapping, from what their files hold.

    Parameters
    ----------
    gathered : sequence of Scored
    archive : Archive
    inner_folds : int
        Layers that were not scored on so many do not take part.

    Returns
    -------
    dict of (str, str) to Selection
        Of models with several layers, one of which varies at least.
    """
    groups: dict[tuple[str, str], list[Scored]] = {}
    for one in gathered:
        if one.inner is not None and one.inner.n_folds == inner_folds:
            groups.setdefault((one.entry.model, one.entry.mapping), []).append(one)
    inner = {key: {one.entry.layer: _inner(one) for one in own} for key, own in groups.items()}
    return {
        key: _selection(own, inner[key], archive)
        for key, own in groups.items()
        if len(own) > 1 and can_choose(inner[key])
    }


def _inner(one: Scored) -> InnerScores:
    assert one.inner is not None
    return one.inner


def _selection(layers: Sequence[Scored], inner: dict[str, InnerScores], archive: Archive) -> Selection:
    by_layer = {one.entry.layer: one for one in layers}

    def held_out(layer: str) -> HeldOut:
        path = by_layer[layer].entry.path
        assert path is not None
        predictions = archive.load(path).held_out
        assert predictions is not None
        return predictions

    outer_r = {
        layer: one.splits["pearson_r"].values for layer, one in by_layer.items() if one.splits is not None
    }
    result = layers[0].result
    assert result is not None
    return select(inner, outer_r, held_out, result.split.seed)


def selection_table(chosen: Selections, baselines: Mapping[str, str | None]) -> pd.DataFrame:
    """One row per model and mapping.

    Parameters
    ----------
    chosen : dict of (str, str) to Selection
    baselines : mapping of str to (str or None)
        Of each model: the id that its seed of random weights stands for.

    Returns
    -------
    DataFrame
        model, baseline, mapping, n_layers (to choose from), inner_folds, chosen (the layers of the outer splits,
        in their order, with semicolons between them), and with low and high of their 95 % intervals: nested (r of
        the chosen layers), naive (that of naive_layer, the best one) and bias (naive - nested, paired).
    """
    rows = []
    for (model, mapping), one in chosen.items():
        row: dict[str, object] = {
            "model": model,
            "baseline": baselines[model],
            "mapping": mapping,
            "n_layers": len(one.layers),
            "inner_folds": one.n_folds,
            "chosen": ";".join(one.chosen),
            "naive_layer": one.naive_layer,
        }
        for name, (value, (low, high)) in one.figures.items():
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def with_selections(dataset: xr.Dataset, chosen: Selections) -> xr.Dataset:
    """Add the choices to a sweep's Dataset.

    Returns
    -------
    Dataset
        With inner_r (model, layer, mapping, split), the scores that layers are chosen by; chosen_layer (model,
        mapping, split), empty where none is chosen; naive_layer (model, mapping); and with their 95 % intervals
        nested_score, naive_score and selection_bias (model, mapping).
    """
    sizes = dataset.sizes
    cells = sizes["model"], sizes["mapping"]
    places = {dim: [str(name) for name in dataset[dim].values] for dim in ("model", "layer", "mapping")}
    inner_r = np.full((cells[0], sizes["layer"], cells[1], sizes["split"]), np.nan)
    layers = np.full((*cells, sizes["split"]), "", dtype=object)
    naive = np.full(cells, "", dtype=object)
    values, bounds = np.full((3, *cells), np.nan), np.full((3, *cells, 2), np.nan)
    for (model, mapping), one in chosen.items():
        at = places["model"].index(model), places["mapping"].index(mapping)
        rows = [places["layer"].index(layer) for layer in one.layers]
        inner_r[at[0], rows, at[1], : len(one.chosen)] = one.inner_r.T
        layers[at][: len(one.chosen)] = one.chosen
        naive[at] = one.naive_layer
        for place, (value, ci95) in enumerate(one.figures.values()):
            values[place][at], bounds[place][at] = value, ci95
    dims = ("model", "mapping")
    added: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "inner_r": (("model", "layer", "mapping", "split"), inner_r),
        "chosen_layer": ((*dims, "split"), layers.astype(str)),
        "naive_layer": (dims, naive.astype(str)),
    }
    names = (
        ("nested_score", "nested_ci95"),
        ("naive_score", "naive_ci95"),
        ("selection_bias", "selection_bias_ci95"),
    )
    for place, (name, interval) in enumerate(names):
        added |= {name: (dims, values[place]), interval: ((*dims, "bound"), bounds[place])}
    return dataset.assign(added)
