"""The ranked bars with intervals and ceiling, as a picture."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from itprobe.files import atomic_file
from itprobe.leaderboard.ranking import heading, ranked
from itprobe.leaderboard.result import Result

# Okabe & Ito's palette: distinguishable with any colour vision.
COLOURS = {
    "trained network": "#0072B2",
    "random network": "#E69F00",
    "own network": "#CC79A7",
    "fitted to responses": "#009E73",
    "control": "#999999",
}


def kind_of(result: Result) -> str:
    """Which group of bars a result belongs to."""
    if result.candidate.track == "control":
        return "control"
    if result.candidate.track == "fitted":
        return "fitted to responses"
    kinds = {"trained": "trained network", "random": "random network"}
    return kinds.get(result.candidate.weights or "", "own network")


def draw_ranking(results: list[Result], path: str | Path) -> Path:
    """Draw each result's median r, or similarity, with its 95 % interval, best on top, and the ceiling.

    A layer without a score stands at the bottom with its name alone.

    Parameters
    ----------
    results : list of Result
        Of one benchmark.
    path : str or Path
        A PNG or SVG file.

    Returns
    -------
    Path
    """
    order = ranked(results)[::-1]
    figure = Figure(figsize=(8.5, 1.9 + 0.34 * len(order)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for height, result in enumerate(order):
        value, ci95 = _value(result)
        if value is None or ci95 is None:
            continue
        axes.barh(height, value, color=COLOURS[kind_of(result)], height=0.72)
        axes.plot(ci95, [height, height], color="black", linewidth=1.6, solid_capstyle="butt")
        axes.text(max(*ci95, 0) + 0.012, height, f"{value:.3f}", va="center", fontsize=8)
    axes.set_ylim(-0.5, len(order) - 0.5)
    axes.set_yticks(range(len(order)), [result.candidate.id for result in order], fontsize=9)
    _draw_ceiling(axes, order[0])
    used = {kind_of(result) for result in order}
    handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    axes.set_xlabel(
        "Pearson r on held-out stimuli (median over neuroids, 95% interval)"
        if order[0].scores.pearson_r
        else f"{order[0].mapping.name.upper()} (all stimuli, 95% interval)"
    )
    figure.suptitle(heading(order[0]).replace(": ", "\n", 1), fontsize=9.5, x=0.01, ha="left")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=160)
    return Path(path)


def _value(result: Result) -> tuple[float | None, tuple[float, float] | None]:
    """What a bar shows, and its interval."""
    pearson = result.scores.pearson_r
    return (
        (pearson.median, pearson.ci95)
        if pearson
        else (result.scores.primary.value, result.scores.primary.ci95)
    )


def _draw_ceiling(axes: object, result: Result) -> None:
    """Draw the line that reliability sets for r: the root of the median reliability."""
    reliability = result.scores.reliability
    axes.set_xlim(right=1.0)  # type: ignore[attr-defined]
    if reliability is None or result.scores.ceiled is None:
        return
    cap = reliability.median**0.5
    axes.axvline(cap, color="black", linestyle="--", linewidth=1)  # type: ignore[attr-defined]
    axes.annotate(  # type: ignore[attr-defined]
        f"ceiling √ρ = {cap:.2f}",
        (cap, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8,
        rotation=90,
    )
