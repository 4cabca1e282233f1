"""Pictures of a sweep: layers, mappings side by side, neuroids, and how the error depends on lambda."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from itprobe.files import file_name_of
from itprobe.leaderboard import Result, load_held_out
from itprobe.leaderboard.diagnostics_figure import draw_lambda_curve
from itprobe.leaderboard.figure_style import COLOURS
from itprobe.leaderboard.lambda_figure import draw_lambda_heat_map, lambda_by_layer
from itprobe.leaderboard.mapping_figure import draw_mappings_by_layer
from itprobe.leaderboard.neuroid_figure import draw_neuroid_scatter
from itprobe.leaderboard.sweep_figures import draw_layer_curve
from itprobe.metrics.diagnostics import LambdaCurve
from itprobe.progress import progress_bar

LAMBDA_CAPS = (1e3, 1e4)
"""Drawn where none are given: where grids of three and of four decades to either side of 1 end."""

KINDS = ("layers", "neuroids", "lambda-layers", "lambda-curve", "mappings")
FORMATS = (".png", ".svg", ".txt")


def draw_sweep(
    table: pd.DataFrame,
    results: Sequence[Result | None],
    curves: Sequence[LambdaCurve | None],
    folder: Path,
    caps: Sequence[float] = LAMBDA_CAPS,
) -> list[Path]:
    """Draw what a sweep found, each picture as PNG and SVG with its caption in a text file beside them.

    Parameters
    ----------
    table : DataFrame
        A row per model, layer and mapping, see `itprobe.sweeping.summary.tidy_table`.
    results : sequence of Result or None
        As the rows of `table`.
    curves : sequence of LambdaCurve or None
        As the rows of `table`.
    folder : Path
        Of the sweep; the held-out predictions are in its ``results``.
    caps : sequence of float
        Largest lambdas of other people's grids, see `itprobe.leaderboard.lambda_figure`.

    Returns
    -------
    list of Path
        The PNG files. For each mapping: ``layers``, the layer curves (of the first models, if there are
        more than colours), and ``neuroids``, two candidates neuroid by neuroid. For each model and mapping
        with lambdas: ``lambda-layers``, a heat map of its layers, and ``lambda-curve`` of its best one. For
        each model with several mappings and layers: ``mappings``. Seeds of random weights count as one
        model; where a picture can show one seed only, it is the first, or the middle one by score. Pictures
        of what an earlier run of the sweep had and this one lacks are removed.
    """
    baseline = table["baseline"].fillna("")
    rows = table.assign(
        group=baseline.where(baseline != "", table["model"]),
        result=pd.Series([*results], index=table.index, dtype=object),
        lambda_curve=pd.Series([*curves], index=table.index, dtype=object),
    )
    rows = rows[rows["depth"].notna() & rows["result"].notna()]
    groups = [str(name) for name in dict.fromkeys(rows["group"])]
    rows = rows.sort_values("depth", kind="stable")
    pictures = []
    by_mapping = rows.groupby("mapping", sort=False)
    with progress_bar(len(by_mapping) + len(groups), "pictures", "part") as bar:
        for mapping, own in by_mapping:
            pictures += _draw_layers(own, groups[: len(COLOURS)], folder / f"layers-{mapping}.png")
            pictures += _draw_neuroids(own, folder / f"neuroids-{mapping}.png")
            bar.update()
        for group in groups:
            pictures += _draw_group(rows[rows["group"] == group], folder, file_name_of(group), caps)
            bar.update()
    _remove_others(folder, {path.stem for path in pictures})
    return pictures


def _remove_others(folder: Path, drawn: set[str]) -> None:
    """Remove pictures that were not drawn this time; only where picture and caption stand there together."""
    for kind in KINDS:
        for path in folder.glob(f"{kind}-*.png"):
            files = [path.with_name(f"{path.stem}{ending}") for ending in FORMATS]
            if path.stem not in drawn and all(file.is_file() for file in files):
                for file in files:
                    file.unlink()


def _draw_layers(rows: pd.DataFrame, groups: Sequence[str], path: Path) -> list[Path]:
    """Layer curves of the named groups under one mapping."""
    of_group = {group: own for group in groups if len(own := rows[rows["group"] == group])}
    ties = {
        group: own[own["tied_with_best"] == True]["layer"].tolist()  # noqa: E712 (None is neither)
        for group, own in of_group.items()
        if own["model"].nunique() == 1
    }
    results = {group: own["result"].tolist() for group, own in of_group.items()}
    return [draw_layer_curve(results, path, ties)] if results else []


def _draw_neuroids(rows: pd.DataFrame, path: Path) -> list[Path]:
    """Two candidates under one mapping, neuroid by neuroid, where there are two."""
    pair = contenders(rows)
    if pair is None:
        return []
    one, other, chosen_as = pair
    held_out = [load_held_out(result, path.parent / "results") for result in (one, other)]
    return [draw_neuroid_scatter(one, other, path, (held_out[0], held_out[1]), chosen_as)]


def contenders(rows: pd.DataFrame) -> tuple[Result, Result, str] | None:
    """Choose the two candidates that are worth comparing neuroid by neuroid.

    Parameters
    ----------
    rows : DataFrame
        Of one mapping: model, group, layer, score, tied_with_best, result.

    Returns
    -------
    (Result, Result, str) or None
        The better first, and how they were chosen: the best layers of the two best models (of several seeds of
        random weights, the middle one); with one model its best layer and the next that can be told from it.
        None for similarities, or a single candidate.
    """
    with_neuroids = np.array([result.per_neuroid is not None for result in rows["result"]])
    rows = rows[rows["score"].notna() & with_neuroids]
    if rows.empty:
        return None
    rows = rows.sort_values("score", ascending=False, kind="stable")
    best_of_models = rows.drop_duplicates("model")
    middles = [own.iloc[len(own) // 2] for _, own in best_of_models.groupby("group", sort=False)]
    if len(middles) > 1:
        one, other, *_ = sorted(middles, key=lambda row: -row["score"])
        return one["result"], other["result"], "the best layers of the two best models"
    best, *others = rows[rows["model"] == middles[0]["model"]].to_dict("records")
    apart = [row for row in others if row["tied_with_best"] == False]  # noqa: E712 (None is neither)
    if apart:
        return best["result"], apart[0]["result"], "the best layer and the best that differs from it"
    if others:
        return best["result"], others[0]["result"], "the two best layers, which cannot be told apart"
    return None


def _draw_group(rows: pd.DataFrame, folder: Path, name: str, caps: Sequence[float]) -> list[Path]:
    """Pictures of one model: its lambdas under each mapping, and its mappings side by side."""
    pictures, by_mapping = [], rows.groupby("mapping", sort=False)
    for mapping, own in by_mapping:
        pictures += _draw_lambdas(own, folder, f"{mapping}-{name}", caps)
    if len(by_mapping) > 1 and rows["layer"].nunique() > 1:
        results = {str(mapping): own["result"].tolist() for mapping, own in by_mapping}
        pictures.append(draw_mappings_by_layer(results, folder / f"mappings-{name}.png"))
    return pictures


def _draw_lambdas(rows: pd.DataFrame, folder: Path, name: str, caps: Sequence[float]) -> list[Path]:
    """Error over lambda of one model under one mapping: of all its layers, and of the best."""
    rows = rows[rows["model"] == rows["model"].iloc[0]]
    known = [curve is not None and np.isfinite(curve.error).any() for curve in rows["lambda_curve"]]
    rows = rows[rows["score"].notna() & np.array(known, dtype=bool)]
    if rows.empty:
        return []
    best = rows.sort_values("score", ascending=False, kind="stable").iloc[0]
    pictures = [draw_lambda_curve(best["lambda_curve"], best["result"], folder / f"lambda-curve-{name}.png")]
    if len(rows) > 1:
        by_layer = lambda_by_layer(dict(zip(rows["layer"], rows["lambda_curve"], strict=True)))
        path = folder / f"lambda-layers-{name}.png"
        pictures.insert(0, draw_lambda_heat_map(by_layer, best["result"], path, caps))
    return pictures
