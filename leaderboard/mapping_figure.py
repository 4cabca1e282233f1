"""Layers under several mappings as a picture: do the mappings agree on which layer is best?"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import kendalltau, spearmanr

from itprobe.leaderboard.figure_style import (
    COLOURS,
    caption_text,
    check_comparable,
    data_line,
    height_of_names,
    name_layers,
    new_figure,
    save_figure,
    tidy,
)
from itprobe.leaderboard.result import Result
from itprobe.leaderboard.sweep_figures import LayerCurve, draw_band, layer_curve, ring_best


@dataclass(frozen=True)
class RankAgreement:
    """How far mappings agree in how they rank layers.

    Attributes
    ----------
    mappings : list of str
    kendall, spearman : ndarray (m, m)
        Kendall's τ-b and Spearman's ρ over the layers that both mappings score; NaN for fewer than two.
    n_layers : ndarray (m, m) of int
    """

    mappings: list[str]
    kendall: np.ndarray
    spearman: np.ndarray
    n_layers: np.ndarray


def rank_agreement(scores: Mapping[str, Mapping[str, float]]) -> RankAgreement:
    """Compare how mappings rank layers.

    Parameters
    ----------
    scores : mapping of str to mapping of str to float
        Mapping to layer to score; layers that one lacks, or scores NaN, do not count for it.
    """
    names = list(scores)
    kendall, spearman = np.eye(len(names)), np.eye(len(names))
    n_layers = np.diag([int(np.isfinite(list(own.values())).sum()) for own in scores.values()])
    for (i, one), (j, other) in combinations(enumerate(scores.values()), 2):
        pairs = np.array([(one[layer], other[layer]) for layer in one if layer in other]).reshape(-1, 2)
        x, y = pairs[np.isfinite(pairs).all(axis=1)].T
        enough = len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
        kendall[i, j] = kendall[j, i] = kendalltau(x, y).statistic if enough else np.nan
        spearman[i, j] = spearman[j, i] = spearmanr(x, y).statistic if enough else np.nan
        n_layers[i, j] = n_layers[j, i] = len(x)
    return RankAgreement(names, kendall, spearman, n_layers)


def draw_mappings_by_layer(groups: Mapping[str, list[Result]], path: str | Path) -> Path:
    """Draw one panel of scores by layer for each mapping, and how far their rankings of layers agree.

    Parameters
    ----------
    groups : mapping of str to list of Result
        A mapping's name to the results of one candidate (or of several seeds) under it, layers from shallow
        to deep, on one recording and split.
    path : str or Path
        ``NAME.png`` or ``NAME.svg``; both are written, and the caption in ``NAME.txt``.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there are no results, or they are of different recordings, splits or seeds.
    """
    results = [result for group in groups.values() for result in group]
    first = check_comparable(results, same_mapping=False)
    curves = {name: layer_curve(group) for name, group in groups.items()}
    agreement = rank_agreement(
        {name: dict(zip(curve.layers, curve.value, strict=True)) for name, curve in curves.items()}
    )
    layers = list(dict.fromkeys(layer for curve in curves.values() for layer in curve.layers))
    width = float(np.clip(1.6 + 0.3 * len(layers), 5, 11))
    side = max(2.6, 0.62 * len(groups) + 0.9)
    figure = new_figure(width + side, max(3.6, 1.35 * len(groups) + 1.7) + height_of_names(layers))
    grid = figure.add_gridspec(len(groups), 2, width_ratios=(width, side))
    axes: Axes | None = None
    for index, (name, curve) in enumerate(curves.items()):
        axes = figure.add_subplot(grid[index, 0], sharex=axes)
        x = np.array([layers.index(layer) for layer in curve.layers])
        draw_band(axes, x, curve, index % len(COLOURS), name)
        ring_best(axes, x, curve, ())
        axes.set_ylabel(f"{name}\n{_short_label(groups[name][0])}", fontsize=9)
        axes.margins(y=0.22)
        axes.tick_params(labelbottom=index == len(groups) - 1)
        tidy(axes)
    assert axes is not None
    name_layers(axes, np.arange(len(layers)), layers)
    axes.set_xlabel("layer")
    _draw_agreement(figure.add_subplot(grid[:, 1]), agreement)
    figure.suptitle(
        f"{_title(_models(results))}\n{data_line(first)}",
        fontsize=9.5,
        x=0.01,
        ha="left",
    )
    return save_figure(figure, path, caption_text(_agreement_sentences(curves, agreement), results))


def _short_label(result: Result) -> str:
    return "median r" if result.scores.pearson_r else "similarity"


def _title(models: list[str]) -> str:
    """Name one model; of several seeds of one, the first and how many there are."""
    return models[0] if len(models) == 1 else f"{models[0]} and {len(models) - 1} more"


def _models(results: list[Result]) -> list[str]:
    names = dict.fromkeys(
        result.candidate.id.removesuffix(f":{result.candidate.layer}") for result in results
    )
    return [*names] if len(names) <= 3 else [*list(names)[:3], "..."]


def _draw_agreement(axes: Axes, agreement: RankAgreement) -> None:
    """Kendall's τ above the diagonal, Spearman's ρ below it."""
    m = len(agreement.mappings)
    shown = np.where(np.triu(np.ones((m, m), dtype=bool)), agreement.kendall, agreement.spearman)
    np.fill_diagonal(shown, np.nan)
    axes.set_facecolor("#e4e4e4")
    axes.imshow(shown, cmap="cividis", vmin=-1, vmax=1)
    axes.set_anchor("N")
    for (i, j), value in np.ndenumerate(shown):
        if i != j:
            text = "-" if np.isnan(value) else f"{value:.2f}"
            dark = np.isfinite(value) and value < 0.1
            axes.text(j, i, text, ha="center", va="center", fontsize=8.5, color="white" if dark else "black")
    axes.set_xticks(range(m), agreement.mappings, fontsize=8.5, rotation=0 if m <= 4 else 90)
    axes.set_yticks(range(m), agreement.mappings, fontsize=8.5)
    axes.set_title("agreement in the layers' ranks\nupper: Kendall τ, lower: Spearman ρ", fontsize=8.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _agreement_sentences(curves: Mapping[str, LayerCurve], agreement: RankAgreement) -> list[str]:
    sentences = ["Scores by layer under each mapping, with 95 % intervals; rings: each mapping's best layer."]
    for name, curve in curves.items():
        if curve.best is not None:
            sentences.append(f"{name}: {curve.layers[curve.best]} ({curve.value[curve.best]:.3f}).")
    for i, j in combinations(range(len(agreement.mappings)), 2):
        if agreement.n_layers[i, j] < 2:
            continue
        sentences.append(
            f"{agreement.mappings[i]} and {agreement.mappings[j]}: Kendall τ {agreement.kendall[i, j]:.2f}, Spearman ρ "
            f"{agreement.spearman[i, j]:.2f} over {agreement.n_layers[i, j]} layers."
        )
    return sentences
