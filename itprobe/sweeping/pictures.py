"""Pictures of a sweep: layer curves of all models for each mapping, and mappings side by side for each model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from itprobe.files import file_name_of
from itprobe.leaderboard import Result
from itprobe.leaderboard.figure_style import COLOURS
from itprobe.leaderboard.mapping_figure import draw_mappings_by_layer
from itprobe.leaderboard.sweep_figures import draw_layer_curve


def draw_sweep(table: pd.DataFrame, results: Sequence[Result | None], folder: Path) -> list[Path]:
    """Draw what a sweep found, each picture with its caption in a text file beside it.

    Parameters
    ----------
    table : DataFrame
        A row per model, layer and mapping, see `itprobe.sweeping.summary.tidy_table`.
    results : sequence of Result or None
        As the rows of `table`.
    folder : Path

    Returns
    -------
    list of Path
        One layer curve per mapping (of the first models, if there are more than colours) and, where there
        are several mappings, one comparison of them per model with several layers.
    """
    baseline = table["baseline"].fillna("")
    rows = table.assign(curve=baseline.where(baseline != "", table["model"]), row=range(len(table)))
    rows = rows[rows["depth"].notna() & np.array([result is not None for result in results])]
    rows = rows.sort_values("depth", kind="stable")
    curves = [str(name) for name in dict.fromkeys(rows.sort_values("row")["curve"])]

    def results_of(own: pd.DataFrame) -> list[Result]:
        return [result for row in own["row"] if (result := results[row]) is not None]

    pictures = []
    for mapping in dict.fromkeys(rows["mapping"]):
        groups: dict[str, list[Result]] = {}
        ties: dict[str, list[str]] = {}
        for curve in curves[: len(COLOURS)]:
            own = rows[(rows["mapping"] == mapping) & (rows["curve"] == curve)]
            if len(own):
                groups[curve] = results_of(own)
                if own["model"].nunique() == 1:
                    ties[curve] = own[own["tied_with_best"] == True]["layer"].tolist()  # noqa: E712
        pictures.append(draw_layer_curve(groups, folder / f"layers-{mapping}.png", ties))
    for curve in curves:
        own = rows[rows["curve"] == curve]
        if own["mapping"].nunique() > 1 and own["layer"].nunique() > 1:
            groups = {
                str(name): results_of(of_mapping) for name, of_mapping in own.groupby("mapping", sort=False)
            }
            pictures.append(draw_mappings_by_layer(groups, folder / f"mappings-{file_name_of(curve)}.png"))
    return pictures
