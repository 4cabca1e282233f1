"""One layer's diagnostics as a picture: its spectrum, and the lambdas that its responses chose."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from itprobe.files import atomic_file
from itprobe.leaderboard.figure_style import caption_text, new_figure, save_figure
from itprobe.leaderboard.ranking import SIMULATED_NOTE, heading
from itprobe.leaderboard.result import Result
from itprobe.metrics.diagnostics import LambdaCurve, VarianceSpectrum

# Okabe & Ito's palette: distinguishable with any colour vision; the lines differ in style and grey value too.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"


def draw_diagnostics(
    spectrum: VarianceSpectrum, curve: LambdaCurve | None, result: Result, path: str | Path
) -> Path:
    """Draw one layer's spectrum and, beside it, its lambda curve; the caption goes to a text file beside it.

    Parameters
    ----------
    spectrum : VarianceSpectrum
        Of the layer's Gram matrix.
    curve : LambdaCurve or None
        None for mappings without a penalty (PLS, RSA, CKA): the spectrum stands alone.
    result : Result
        What the layer scored: names recording, candidate, split and seed.
    path : str or Path
        A PNG or SVG file. ``NAME.png`` gets its caption in ``NAME.txt``.

    Returns
    -------
    Path
    """
    path = Path(path)
    panels = 1 if curve is None else 2
    figure = new_figure(5.4 * panels, 4.7)
    grid = figure.add_gridspec(2, panels, height_ratios=(3, 1), hspace=0.03)
    _draw_spectrum(figure.add_subplot(grid[:, 0]), spectrum)
    if curve is not None:
        upper = figure.add_subplot(grid[0, 1])
        _draw_curve(upper, figure.add_subplot(grid[1, 1], sharex=upper), curve)
    figure.suptitle(_title(result, panels), fontsize=9.5, x=0.01, ha="left")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=160)
    with atomic_file(path.with_suffix(".txt")) as temporary:
        temporary.write_text(caption(spectrum, curve, result), encoding="utf-8")
    return path


def draw_lambda_curve(curve: LambdaCurve, result: Result, path: str | Path) -> Path:
    """Draw one layer's held-out error over lambda with the edges of what was tried, and the lambdas chosen.

    Parameters
    ----------
    curve : LambdaCurve
    result : Result
        What the layer scored: names recording, candidate, split and seed.
    path : str or Path
        ``NAME.png`` or ``NAME.svg``; both are written, and the caption in ``NAME.txt``.

    Returns
    -------
    Path
    """
    figure = new_figure(6.2, 5.2)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1), hspace=0.03)
    upper = figure.add_subplot(grid[0])
    _draw_curve(upper, figure.add_subplot(grid[1], sharex=upper), curve)
    figure.suptitle(_title(result, 1), fontsize=9.5, x=0.01, ha="left")
    sentences = [f"{result.candidate.id}.", _curve_caption(curve, result)]
    return save_figure(figure, path, caption_text(sentences, [result]))


def _title(result: Result, panels: int) -> str:
    recording = result.recording
    data = f"{'simulated recording ' if recording.simulated else ''}{recording.id}, region {recording.region}"
    separator = "\n" if panels == 1 else ", "
    return (
        f"{result.candidate.id}\n{data}{separator}{recording.n_stimuli} stimuli, "
        f"{recording.n_neuroids} neuroids, {result.mapping.name}"
    )


def _draw_spectrum(axes: Axes, spectrum: VarianceSpectrum) -> None:
    """Shares of variance by rank, with the fitted power law, and their running sum."""
    if not len(spectrum.shares):
        _say(axes, "the features do not differ\nbetween stimuli: no variance")
        return
    ranks = np.arange(1, len(spectrum.shares) + 1)
    axes.plot(ranks, spectrum.shares, color=BLUE, linewidth=2, label="of each component")
    axes.plot(ranks, spectrum.cumulative, color=ORANGE, linewidth=1.6, linestyle="--", label="cumulative")
    first, last = spectrum.fitted
    if last:
        reach = np.array([first, last])
        label = f"power law, exponent {spectrum.exponent:.2f}\n(fitted to ranks {first} to {last})"
        fit = spectrum.amplitude * reach**-spectrum.exponent
        axes.plot(reach, fit, color="black", linewidth=1, linestyle="-", marker="|", label=label, zorder=3)
    axes.axvline(
        spectrum.effective_dimensionality,
        color=GREY,
        linewidth=1.2,
        linestyle="-.",
        zorder=0,
        label=f"effective dimensionality {spectrum.effective_dimensionality:.1f}",
    )
    axes.set(xscale="log", yscale="log", xlabel="principal component", ylabel="share of the variance")
    shown = spectrum.shares[spectrum.shares > 1e-8]  # what lies below is float32 rounding or close to it
    axes.set_ylim(shown[-1] / 1.5, 1.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(axes: Axes, histogram: Axes, curve: LambdaCurve) -> None:
    """Held-out error over lambda above, the lambdas that were chosen below."""
    if not len(curve.lambdas):
        _say(axes, "no lambda was tried:\nonly the mean response can be predicted")
        histogram.set_axis_off()
        return
    _draw_error(axes, curve)
    _draw_chosen(histogram, curve)
    for axis in (axes, histogram):
        for edge in (curve.lambdas[0], curve.lambdas[-1]):
            axis.axvline(edge, color="black", linewidth=0.9, linestyle=":")
        axis.spines[["top", "right"]].set_visible(False)


def _draw_error(axes: Axes, curve: LambdaCurve) -> None:
    whole = ~curve.partial
    axes.fill_between(
        curve.lambdas[whole],
        *curve.quartiles[:, whole],
        color=BLUE,
        alpha=0.22,
        linewidth=0,
        label="quartiles over neuroids",
    )
    axes.plot(
        curve.lambdas[whole], curve.error[whole], color=BLUE, linewidth=2, marker="o", ms=3, label="mean"
    )
    axes.axhline(1, color=ORANGE, linewidth=1.2, linestyle="--", label="predicting the mean response")
    for low, high in _runs(curve.partial):
        axes.axvspan(
            curve.lambdas[low],
            curve.lambdas[high],
            color=GREY,
            alpha=0.18,
            linewidth=0,
            label="tried for some only",
        )
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(
        unique.values(),
        unique.keys(),
        frameon=False,
        fontsize=8,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )
    axes.set(xscale="log", ylabel="held-out error / that of the mean")
    axes.set_xlim(curve.lambdas[0] / 2, curve.lambdas[-1] * 2)
    if whole.any():  # a steep rise at small lambdas must not flatten the minimum
        lowest = float(curve.quartiles[0, whole].min())
        axes.set_ylim(lowest - 0.05, min(float(curve.quartiles[1, whole].max()) + 0.05, 2.0))
    axes.tick_params(labelbottom=False)
    _text_at_line(axes, curve.lambdas[0], "grid's edge", height=0.03)
    _text_at_line(axes, curve.lambdas[-1], "grid's edge", height=0.03, right=True)


def _draw_chosen(axes: Axes, curve: LambdaCurve) -> None:
    shares = curve.chosen / (curve.n_splits * curve.n_neuroids)
    borders = np.sqrt(curve.lambdas[1:] * curve.lambdas[:-1])
    width = borders[-1] / borders[-2] if len(borders) > 1 else 2.0
    borders = np.concatenate([curve.lambdas[:1] / width**0.5, borders, curve.lambdas[-1:] * width**0.5])
    axes.bar(
        borders[:-1], shares, np.diff(borders), align="edge", color=BLUE, edgecolor="white", linewidth=0.6
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="λ", ylabel="chosen")
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(
        f"at the edge {curve.share_at_edge:.1%}, at infinity (mean response) {curve.share_at_infinity:.1%}",
        fontsize=8,
        loc="right",
        pad=3,
    )


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index, one beyond on the inside, of each run of true flags: shading joins the curve."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [
        (max(0, int(start) - 1), min(len(flags) - 1, int(end)))
        for start, end in zip(changes[::2], changes[1::2], strict=True)
    ]


def _text_at_line(axes: Axes, x: float, text: str, height: float, right: bool = False) -> None:
    axes.annotate(
        text,
        (x, height),
        xycoords=("data", "axes fraction"),
        xytext=(3 if right else -3, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="bottom",
        fontsize=8,
        rotation=90,
    )


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def caption(spectrum: VarianceSpectrum, curve: LambdaCurve | None, result: Result) -> str:
    """What the picture shows, of which data, layer, split and seed."""
    lines = [
        f"{result.candidate.id}, layer {result.candidate.layer or '(the candidate itself)'}, "
        f"{spectrum.n_features:,} features. {heading(result)}."
    ]
    lines.append(_spectrum_caption(spectrum))
    if curve is not None:
        lines.append(f"Right: {_curve_caption(curve, result)}")
    if result.recording.simulated:
        lines.append(SIMULATED_NOTE)
    return "\n\n".join(lines) + "\n"


def _spectrum_caption(spectrum: VarianceSpectrum) -> str:
    if not len(spectrum.shares):
        return "The features do not differ between stimuli: there is no spectrum."
    text = (
        f"Left: share of the features' variance over {spectrum.n_stimuli:,} stimuli along each of "
        f"{len(spectrum.shares):,} principal components above rounding, and cumulative. Effective dimensionality "
        f"(Σλ)²/Σλ² = {spectrum.effective_dimensionality:.1f}; 90 % of the variance lies in "
        f"{spectrum.components_for(0.9):,} components."
    )
    if spectrum.fitted[1]:
        text += (
            f" Power law with exponent {spectrum.exponent:.2f}, least squares in logarithms with weights 1/rank over "
            f"ranks {spectrum.fitted[0]} to {spectrum.fitted[1]} (as Stringer et al. 2019, who use 11 to 500)."
        )
    return text


def _curve_caption(curve: LambdaCurve, result: Result) -> str:
    selection = result.mapping.params.get("lambda_selection", "inner cross-validation")
    text = (
        f"Error under each λ, by {selection}, relative to predicting the mean response: mean and quartiles "
        f"over {curve.n_neuroids - curve.n_left_out} neuroids, {curve.n_splits} {result.split.name!r} splits, seed "
        f"{result.split.seed}. Below: the λ that each neuroid chose in each split; {curve.share_at_edge:.1%} at the "
        f"edge of what could be tried, {curve.share_at_infinity:.1%} at infinity (the mean response). Dotted: smallest "
        "and largest λ tried."
    )
    if curve.partial.any():
        text += " Grey: λ tried for some neuroids or splits only, over which no mean is drawn."
    if curve.n_left_out:
        text += f" {curve.n_left_out} neuroids that do not vary in a training part are left out."
    return text
