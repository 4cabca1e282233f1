"""Scores by depth as a picture: trained and random networks, with intervals and the ceiling."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from itprobe.errors import InputError
from itprobe.leaderboard.figure_style import (
    COLOURS,
    LINES,
    MARKERS,
    caption_text,
    check_comparable,
    data_line,
    height_of_names,
    name_layers,
    new_figure,
    primary_score,
    r_ceiling,
    save_figure,
    score_label,
    tidy,
)
from itprobe.leaderboard.result import Result


@dataclass(frozen=True)
class LayerCurve:
    """Scores of one curve's layers.

    Attributes
    ----------
    layers : list of str
        In the order in which the results name them first: from shallow to deep.
    value : ndarray (L,)
        Mean over the curve's candidates (seeds of random weights); NaN where none has a score.
    interval : ndarray (2, L)
        Mean over the candidates of their 95 % intervals' ends.
    spread : ndarray (2, L)
        Lowest and highest candidate.
    n_candidates : int
        Most that a layer has.
    """

    layers: list[str]
    value: np.ndarray
    interval: np.ndarray
    spread: np.ndarray
    n_candidates: int

    @property
    def best(self) -> int | None:
        """Place of the best layer, None where no layer has a score."""
        return int(np.nanargmax(self.value)) if np.isfinite(self.value).any() else None


def layer_curve(results: list[Result]) -> LayerCurve:
    """Gather the results of one curve by layer: of one candidate, or of several to be averaged."""
    by_layer: dict[str, list[Result]] = {}
    for result in results:
        by_layer.setdefault(result.candidate.layer or result.candidate.id, []).append(result)
    value, interval, spread = np.full(len(by_layer), np.nan), *np.full((2, 2, len(by_layer)), np.nan)
    for column, of_layer in enumerate(by_layer.values()):
        scores = [primary_score(result) for result in of_layer]
        defined = [(score, ci95) for score, ci95 in scores if np.isfinite(score)]
        if defined:
            values = [score for score, _ in defined]
            value[column], spread[:, column] = np.mean(values), (min(values), max(values))
            interval[:, column] = np.mean([ci95 for _, ci95 in defined], axis=0)
    return LayerCurve(list(by_layer), value, interval, spread, max(map(len, by_layer.values())))


def draw_layer_curve(
    groups: Mapping[str, list[Result]],
    path: str | Path,
    ties: Mapping[str, Collection[str]] | None = None,
) -> Path:
    """Draw score by depth, one curve for each group, with 95 % bands and the ceiling.

    Parameters
    ----------
    groups : mapping of str to list of Result
        A curve's name (``trained``, ``random``) to its results, layers from shallow to deep, all of one
        benchmark and seed. Several candidates in one group (random weights of several seeds) become their
        mean, with bars from the lowest to the highest.
    path : str or Path
        ``NAME.png`` or ``NAME.svg``; both are written, and the caption in ``NAME.txt``.
    ties : mapping of str to collection of str, optional
        For each curve, layers that cannot be told from its best one.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there are no results, they are of different benchmarks, or there are more curves than
        distinguishable colours.
    """
    results = [result for group in groups.values() for result in group]
    first = check_comparable(results)
    if len(groups) > len(COLOURS):
        raise InputError(f"at most {len(COLOURS)} curves can be told apart in one picture, not {len(groups)}")
    curves = {name: layer_curve(group) for name, group in groups.items()}
    longest = max((curve.layers for curve in curves.values()), key=len)
    figure = new_figure(float(np.clip(2.4 + 0.34 * len(longest), 6.4, 14)), 5.2 + height_of_names(longest))
    axes = figure.add_subplot()
    positions = _name_depths(axes, curves)
    for index, (name, curve) in enumerate(curves.items()):
        draw_band(axes, positions[name], curve, index, name)
        ring_best(axes, positions[name], curve, (ties or {}).get(name, ()))
    _draw_ceiling(axes, first)
    axes.set_ylabel(
        f"{score_label(first)} on held-out stimuli" if first.split.n_splits else score_label(first)
    )
    axes.set_title(f"{data_line(first)}\n{first.mapping.name}", fontsize=9.5, loc="left")
    axes.axhline(0, color="black", linewidth=0.6, zorder=0)
    tidy(axes)
    handles, labels = axes.get_legend_handles_labels()
    handles.append(_ring_handle(1.8))
    labels.append("best layer")
    if ties:
        handles.append(_ring_handle(0.9))
        labels.append("not separable from it")
    _draw_legend(figure, handles, labels)
    return save_figure(figure, path, caption_text(_curve_sentences(curves, first, ties), results))


def _draw_legend(figure: Figure, handles: list[Artist], labels: list[str]) -> None:
    """Put the legend below in as many columns as fit; where one is too wide, widen the figure."""
    for columns in range(min(3, len(handles)), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5
        )
        width = legend.get_window_extent().width / figure.dpi
        if width <= figure.get_figwidth() or columns == 1:
            break
        legend.remove()
    rows = -(-len(handles) // columns)
    height = figure.get_figheight() + 0.17 * max(0, rows - 2)
    figure.set_size_inches(max(figure.get_figwidth(), width + 0.1), height)


def _name_depths(axes: Axes, curves: Mapping[str, LayerCurve]) -> dict[str, np.ndarray]:
    """Place every curve's layers on the axis: by name where the curves share them, else by relative depth."""
    longest = max((curve.layers for curve in curves.values()), key=len)
    if all(set(curve.layers) <= set(longest) for curve in curves.values()):
        name_layers(axes, np.arange(len(longest)), longest)
        axes.set_xlabel("layer")
        return {
            name: np.array([longest.index(layer) for layer in curve.layers]) for name, curve in curves.items()
        }
    axes.set_xlabel("relative depth (first layer 0, last layer 1)")
    return {name: np.linspace(0, 1, len(curve.layers)) for name, curve in curves.items()}


def draw_band(axes: Axes, x: np.ndarray, curve: LayerCurve, index: int, name: str) -> None:
    """Draw a curve at depths x (L,) in the colour, marker and line of its index, with its intervals."""
    colour = COLOURS[index]
    order = np.argsort(x)
    x, low, high = x[order], *curve.interval[:, order]
    several = curve.n_candidates > 1
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        x,
        curve.value[order],
        color=colour,
        linestyle=LINES[index],
        marker=MARKERS[index],
        linewidth=1.8,
        markersize=5,
        label=f"{name} (mean and range of {curve.n_candidates})" if several else name,
    )
    if several:
        axes.vlines(x, *curve.spread[:, order], color=colour, linewidth=2.6, alpha=0.75)


def ring_best(axes: Axes, x: np.ndarray, curve: LayerCurve, ties: Collection[str]) -> None:
    """Draw a thick ring about the best layer, thin ones about its ties."""
    if curve.best is None:
        return
    tied = [place for place, layer in enumerate(curve.layers) if layer in ties and place != curve.best]
    for places, width in (([curve.best], 1.8), (tied, 0.9)):
        axes.scatter(
            x[places],
            curve.value[places],
            s=110,
            facecolors="none",
            edgecolors="black",
            linewidths=width,
            zorder=4,
        )


def _ring_handle(width: float) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="o", markersize=9, markerfacecolor="none", color="black", mew=width
    )


def _draw_ceiling(axes: Axes, result: Result) -> None:
    ceiling = r_ceiling(result)
    if ceiling is None:
        return
    value, (low, high) = ceiling
    axes.axhspan(low, high, color="#999999", alpha=0.3, linewidth=0, zorder=0)
    axes.axhline(
        value,
        color="black",
        linewidth=1.1,
        linestyle=(0, (1, 2)),
        label=f"ceiling √ρ {value:.2f} [{low:.2f}, {high:.2f}]",
    )


def _curve_sentences(
    curves: Mapping[str, LayerCurve], first: Result, ties: Mapping[str, Collection[str]] | None
) -> list[str]:
    what = (
        "Median Pearson r over neuroids, mean over splits, on held-out stimuli"
        if first.scores.pearson_r
        else f"{first.mapping.name.upper()} over all stimuli"
    )
    sentences = [f"{what}, by layer from shallow to deep; bands: 95 % intervals."]
    for name, curve in curves.items():
        if curve.n_candidates > 1:
            sentences.append(
                f"{name}: mean of {curve.n_candidates} candidates, bars from the lowest to the highest, band: mean of "
                "their intervals."
            )
        if curve.best is not None:
            tied = [layer for layer in curve.layers if layer in (ties or {}).get(name, ())]
            tied = [layer for layer in tied if layer != curve.layers[curve.best]]
            sentences.append(
                f"{name}: best layer {curve.layers[curve.best]} ({curve.value[curve.best]:.3f})"
                + (f", not separable from {', '.join(tied)}" if tied else "")
                + " (rings)."
            )
    if r_ceiling(first) is not None:
        sentences.append("Dotted: ceiling of r, the root of the median reliability, with its 95 % interval.")
    return sentences
