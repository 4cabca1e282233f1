"""Error by layer and lambda as a picture: the best layer depends on which lambdas may be tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.ticker import LogLocator, NullFormatter

from itprobe.errors import InputError
from itprobe.leaderboard.figure_style import (
    COLOURS,
    LINES,
    MARKERS,
    MOST_LABELS,
    caption_text,
    check_comparable,
    data_line,
    new_figure,
    save_figure,
    short_name,
    tidy,
)
from itprobe.leaderboard.result import Result
from itprobe.metrics.diagnostics import LambdaCurve

WORST_SHOWN = 1.02
"""Relative errors above this have the same colour: they are worse than predicting the mean response."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class LambdaByLayer:
    """Held-out error of every layer under every lambda, one lambda for all neuroids.

    Attributes
    ----------
    layers : list of str
        From shallow to deep.
    lambdas : ndarray (L,)
        All that were tried for any layer, ascending.
    error : ndarray (layers, L)
        Mean over splits and neuroids of held-out error within the training stimuli / that of predicting
        the mean response; NaN where a lambda was not tried for a layer (for all its neuroids).
    """

    layers: list[str]
    lambdas: np.ndarray
    error: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """Column (layers,) of each layer's optimum; -1 for a layer without any error."""
        found = np.isfinite(self.error).any(axis=1)
        return np.where(found, np.where(np.isfinite(self.error), self.error, np.inf).argmin(axis=1), -1)

    def under_cap(self, cap: float) -> "LambdaByLayer":
        """What is left if lambda may not exceed `cap`."""
        allowed = self.lambdas <= cap * (1 + 1e-9)  # a mean of equal lambdas differs from them by rounding
        return LambdaByLayer(self.layers, self.lambdas[allowed], self.error[:, allowed])


def lambda_by_layer(curves: Mapping[str, LambdaCurve]) -> LambdaByLayer:
    """Gather how the error depends on lambda, layer by layer.

    Grids of different layers lie relative to their own features; they stand side by side and nothing is
    interpolated.

    Parameters
    ----------
    curves : mapping of str to LambdaCurve
        Layer, from shallow to deep, to its curve over all splits, see `itprobe.metrics.diagnostics.lambda_curve`.

    Returns
    -------
    LambdaByLayer

    Raises
    ------
    InputError
        If there are no layers.
    """
    if not curves:
        raise InputError("a picture of lambda by layer needs the curve of at least one layer")
    lambdas = np.unique(np.concatenate([curve.lambdas for curve in curves.values()]))
    error = np.full((len(curves), len(lambdas)), np.nan)
    for row, curve in enumerate(curves.values()):
        error[row, np.searchsorted(lambdas, curve.lambdas)] = curve.error
    tried = np.isfinite(error).any(axis=0)
    return LambdaByLayer(list(curves), lambdas[tried], error[:, tried])


@dataclass(frozen=True)
class BestLayer:
    """The layer with the least error.

    Attributes
    ----------
    layer : str
    value : float
        The lambda that gives the least error.
    error : float
    n_compared : int
        Layers for which a lambda below the cap was tried; fewer than all make the comparison unfair, and
        call for a fixed grid, ``RidgeMapping(lambdas=...)``.
    """

    layer: str
    value: float
    error: float
    n_compared: int


def best_layer_under_cap(table: LambdaByLayer, cap: float = np.inf) -> BestLayer:
    """Find the best layer if lambda may not exceed a cap.

    Parameters
    ----------
    table : LambdaByLayer
    cap : float
        Infinity lets all lambdas compete.

    Raises
    ------
    InputError
        If no lambda that was tried lies below the cap.
    """
    left = table.under_cap(cap)
    if not np.isfinite(left.error).any():
        raise InputError(
            f"no lambda up to {cap:g} was tried: the smallest is {table.lambdas[0]:g}"
            if len(table.lambdas)
            else "no lambda was tried for any layer"
        )
    row, column = np.unravel_index(np.nanargmin(left.error), left.error.shape)
    compared = int(np.isfinite(left.error).any(axis=1).sum())
    return BestLayer(left.layers[row], float(left.lambdas[column]), float(left.error[row, column]), compared)


def draw_lambda_heat_map(
    table: LambdaByLayer, result: Result, path: str | Path, caps: Sequence[float] = ()
) -> Path:
    """Draw error by lambda and layer with each layer's optimum, and what caps on lambda do to the best layer.

    Parameters
    ----------
    table : LambdaByLayer
    result : Result
        Of one of the layers: names recording, candidate, mapping, splits and seed.
    path : str or Path
        ``NAME.png`` or ``NAME.svg``; both are written, and the caption in ``NAME.txt``.
    caps : sequence of float
        Largest lambdas allowed, e.g. by a published grid. One below all that were tried is drawn, and said
        to have no best layer.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If no lambda was tried for any layer, or there are more caps than distinguishable colours.
    """
    if len(caps) >= len(COLOURS):
        raise InputError(f"at most {len(COLOURS) - 1} caps can be told apart in one picture, not {len(caps)}")
    check_comparable([result])
    caps = sorted(caps, reverse=True)
    limits = [np.inf, *(cap for cap in caps if np.isfinite(table.under_cap(cap).error).any())]
    bests = [best_layer_under_cap(table, cap) for cap in limits]
    n = len(table.layers)
    names = [short_name(layer) for layer in table.layers]
    width = 8.6 + 0.07 * max(len(name) for name in names)
    figure = new_figure(width, float(np.clip(1.9 + 0.24 * n, 4.6, 12)))
    grid = figure.add_gridspec(1, 2, width_ratios=(2.2, 1))
    axes = figure.add_subplot(grid[0], xscale="log")
    mesh = _draw_cells(axes, table)
    _draw_optima(axes, table)
    _draw_caps(axes, caps)
    step = -(-n // MOST_LABELS)
    axes.set_yticks(np.arange(0, n, step), names[::step], fontsize=8)
    axes.set_ylim(n - 0.5, -0.5)
    borders = _borders(table.lambdas)
    axes.set_xlim(min([borders[0], *(c / 2 for c in caps)]), max([borders[-1], *(c * 2 for c in caps)]))
    axes.set(xlabel="λ", ylabel="layer, from shallow to deep")
    axes.xaxis.set_major_locator(LogLocator(numticks=9))
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure.colorbar(
        mesh,
        ax=axes,
        location="right",
        extend="max",
        pad=0.02,
        label="held-out error / that of the mean response",
    )
    beside = figure.add_subplot(grid[1], sharey=axes)
    _draw_under_caps(beside, table, limits, bests)
    axes.set_title(
        f"{result.candidate.id.removesuffix(f':{result.candidate.layer}')}, {result.mapping.name}\n{data_line(result)}",
        fontsize=9.5,
        loc="left",
        pad=28 if caps else 6,
    )
    sentences = _sentences(table, limits, bests)
    sentences += [f"Nothing as small as {_cap_name(cap)} was tried." for cap in caps if cap not in limits]
    return save_figure(figure, path, caption_text(sentences, [result]))


def _draw_caps(axes: Axes, caps: Sequence[float]) -> None:
    for index, cap in enumerate(caps, start=1):
        axes.axvline(cap, color="white", linewidth=3.6)
        axes.axvline(cap, color="black", linewidth=1.6, linestyle=LINES[index])
        axes.annotate(
            _cap_name(cap),
            (cap, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 11 * (index % 2)),  # neighbours at two heights, or they would touch
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
        )


def _cap_name(cap: float) -> str:
    if np.isinf(cap):
        return "no cap"
    power = round(np.log10(cap))
    plain = not np.isclose(cap, 10.0**power, rtol=1e-9) or 0 <= power < 3
    return f"λ ≤ {cap:g}" if plain else f"λ ≤ 10{str(power).translate(_SUPERSCRIPTS)}"


def _borders(lambdas: np.ndarray) -> np.ndarray:
    """Borders (L + 1,) of cells about lambdas (L,), halfway between them in the logarithm."""
    logs = np.log10(lambdas)
    if len(logs) == 1:
        return np.array([lambdas[0] / 2, lambdas[0] * 2])
    middle = (logs[1:] + logs[:-1]) / 2
    return 10.0 ** np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]])


def _draw_cells(axes: Axes, table: LambdaByLayer) -> QuadMesh:
    """Each layer's own lambdas as a row of cells; bright is good, and good is bright in grey print too."""
    colours = Normalize(float(np.nanmin(table.error)), WORST_SHOWN)
    if colours.vmin is not None and colours.vmin >= WORST_SHOWN:
        colours.vmax = colours.vmin + WORST_SHOWN - 1
    for row, error in enumerate(table.error):
        tried = np.isfinite(error)
        if tried.any():
            mesh = axes.pcolormesh(
                _borders(table.lambdas[tried]),
                [row - 0.5, row + 0.5],
                error[None, tried],
                norm=colours,
                cmap="cividis_r",
                rasterized=True,
            )
    axes.set_facecolor("#e4e4e4")
    return mesh


def _draw_optima(axes: Axes, table: LambdaByLayer) -> None:
    rows = np.flatnonzero(table.best >= 0)
    axes.plot(
        table.lambdas[table.best[rows]],
        rows,
        linestyle="",
        marker="o",
        markersize=6,
        markerfacecolor="white",
        markeredgecolor="black",
        markeredgewidth=1.3,
        zorder=4,
    )


def _draw_under_caps(
    axes: Axes, table: LambdaByLayer, limits: Sequence[float], bests: Sequence[BestLayer]
) -> None:
    """Each layer's least error under every cap; a ring about the best layer of each."""
    rows = np.arange(len(table.layers))
    for index, (cap, best) in enumerate(zip(limits, bests, strict=True)):
        left = table.under_cap(cap)
        least = np.where(left.best >= 0, left.error[rows, left.best], np.nan)
        axes.plot(
            least,
            rows,
            color=COLOURS[index],
            linestyle=LINES[index],
            marker=MARKERS[index],
            markersize=4,
            linewidth=1.5,
            label=f"{_cap_name(cap)}: {short_name(best.layer)}{_among(table, best)}",
        )
        axes.scatter(
            best.error,
            table.layers.index(best.layer),
            s=110,
            facecolors="none",
            edgecolors="black",
            linewidths=1.6,
            zorder=4,
        )
    axes.tick_params(labelleft=False)
    axes.set_xlabel("least error")
    axes.legend(
        title="best layer",
        title_fontsize=8.5,
        frameon=False,
        fontsize=8,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.1,
    )
    tidy(axes)


def _among(table: LambdaByLayer, best: BestLayer) -> str:
    """Say so where not all layers could be compared."""
    n = len(table.layers)
    return "" if best.n_compared == n else f"\n(of {best.n_compared} of {n} layers)"


def _sentences(table: LambdaByLayer, limits: Sequence[float], bests: Sequence[BestLayer]) -> list[str]:
    n = len(table.layers)
    sentences = [
        f"Held-out error within the training stimuli, relative to predicting the mean response, of {n} layers "
        "under each λ, one λ for all neuroids; mean over neuroids and splits. Bright is good; grey: not tried. "
        f"Circles: each layer's optimum. Values above {WORST_SHOWN} have one colour. Right: each layer's least error."
    ]
    for cap, best in zip(limits, bests, strict=True):
        sentences.append(
            f"Best layer, {_cap_name(cap)}: {best.layer} (error {best.error:.3f} at λ = {best.value:.3g}"
            + (")." if best.n_compared == n else f"; only {best.n_compared} layers were tried there).")
        )
    if not np.isfinite(table.error).all():
        sentences.append(
            "Grids lie relative to each layer's own features: under a cap, layers are compared at the nearest λ that "
            "was tried for each."
        )
    return sentences
