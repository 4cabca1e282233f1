"""Two layers or models neuroid by neuroid, each neuroid with its own ceiling, as a picture."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from itprobe.errors import InputError
from itprobe.leaderboard.figure_style import (
    MARKERS,
    caption_text,
    check_comparable,
    data_line,
    new_figure,
    save_figure,
    tidy,
)
from itprobe.leaderboard.result import Result
from itprobe.metrics import HeldOut, paired_difference
from itprobe.metrics.inference import Difference


def draw_neuroid_scatter(
    one: Result,
    other: Result,
    path: str | Path,
    held_out: tuple[HeldOut, HeldOut] | None = None,
    chosen_as: str = "",
) -> Path:
    """Draw each neuroid's r under two candidates against each other, with its ceiling √ρ.

    Parameters
    ----------
    one, other : Result
        Of the same recording, splits and seed; `one` is drawn upwards, `other` to the right.
    path : str or Path
        ``NAME.png`` or ``NAME.svg``; both are written, and the caption in ``NAME.txt``.
    held_out : tuple of HeldOut, optional
        Their predictions, in this order: give the paired difference in the title, and a marker for each
        animal.
    chosen_as : str
        How the two were chosen, for the caption.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If a result has no neuroids (RSA, CKA), the two cannot be compared, or the predictions are of other
        neuroids.
    """
    first = check_comparable([one, other], same_mapping=False)
    ids, r, ceiling = _paired_neuroids(one, other)
    animals = np.full(len(ids), "")
    difference = None
    if held_out is not None:
        animal_of = dict(zip(held_out[0].neuroid_ids, held_out[0].animals, strict=True))
        if not set(ids) <= set(animal_of):
            raise InputError("the held-out predictions are of other neuroids than the results")
        animals = np.array([str(animal_of[neuroid_id]) for neuroid_id in ids])
        difference = paired_difference(*held_out, seed=first.split.seed)
    figure = new_figure(6.6, 6.1)
    axes = figure.add_subplot()
    _draw_ceilings(axes, ceiling)
    _draw_points(figure, axes, r, ceiling, animals)
    finite = np.concatenate([r[np.isfinite(r)], ceiling[np.isfinite(ceiling)]])
    low, high = finite.min() - 0.04, finite.max() + 0.04
    axes.plot([low, high], [low, high], color="black", linewidth=0.9, zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(f"r of {_name(other, one)}")
    axes.set_ylabel(f"r of {_name(one, other)}")
    axes.set_title(f"{data_line(first)}\n{_difference_text(one, other, difference)}", fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    tidy(axes)
    sentences = _sentences(one, other, r, ceiling, difference)
    if chosen_as:
        sentences.append(f"Chosen as {chosen_as}; the interval is not corrected for this choice.")
    return save_figure(figure, path, caption_text(sentences, [one, other]))


def _paired_neuroids(one: Result, other: Result) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids (q,), r under both (2, q) and ceilings √ρ (q,) of the neuroids, joined by id.

    NaN where something is not defined; a reliability below 0 caps r at 0.
    """
    tables = []
    for result in (one, other):
        if result.per_neuroid is None:
            raise InputError(
                f"{result.candidate.id} on {result.benchmark.id} has no scores of single neuroids"
            )
        tables.append({neuroid.neuroid_id: neuroid for neuroid in result.per_neuroid})
    if tables[0].keys() != tables[1].keys():
        raise InputError(f"{one.candidate.id} and {other.candidate.id} were scored on different neuroids")
    ids = list(tables[0])
    r = np.array([[_number(table[key].pearson_r) for key in ids] for table in tables])
    rho = np.array([_number(tables[0][key].reliability) for key in ids])
    return ids, r, np.sqrt(np.maximum(rho, 0))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _draw_ceilings(axes: Axes, ceiling: np.ndarray) -> None:
    """A tick across the diagonal for each neuroid's ceiling, which caps r under both candidates."""
    known = ceiling[np.isfinite(ceiling)]
    if len(known):
        axes.plot(
            known,
            known,
            linestyle="",
            marker=(2, 0, 45),
            markersize=11,
            markeredgecolor="#666666",
            markeredgewidth=0.8,
            zorder=1,
            label="ceiling √ρ of a neuroid",
        )


def _draw_points(figure: Figure, axes: Axes, r: np.ndarray, ceiling: np.ndarray, animals: np.ndarray) -> None:
    """One point a neuroid, coloured by its ceiling, with a marker for each animal."""
    known = np.isfinite(ceiling)
    for index, animal in enumerate(np.unique(animals)):
        own = animals == animal
        label = f"animal {animal} ({own.sum()} neuroids)" if animal else f"neuroid ({own.sum()})"
        marker = MARKERS[index % len(MARKERS)]
        style: dict[str, Any] = {
            "marker": marker,
            "s": 34,
            "edgecolors": "black",
            "linewidths": 0.6,
            "zorder": 3,
        }
        axes.scatter([], [], facecolors="white", label=label, **style)
        if (own & ~known).any():
            axes.scatter(r[1, own & ~known], r[0, own & ~known], facecolors="#cccccc", **style)
        if (own & known).any():
            points = axes.scatter(
                r[1, own & known],
                r[0, own & known],
                c=ceiling[own & known],
                cmap="cividis",
                vmin=ceiling[known].min(),
                vmax=ceiling[known].max(),
                **style,
            )
    if known.any():
        figure.colorbar(points, ax=axes, shrink=0.75, pad=0.02, label="ceiling √ρ")


def _name(result: Result, beside: Result) -> str:
    """The candidate, with the mapping where the two differ in it."""
    name = result.candidate.id
    return name if result.mapping.name == beside.mapping.name else f"{name} ({result.mapping.name})"


def _difference_text(one: Result, other: Result, difference: Difference | None) -> str:
    medians = [result.scores.pearson_r.median if result.scores.pearson_r else None for result in (one, other)]
    values = " and ".join("-" if value is None else f"{value:.3f}" for value in medians)
    if difference is None:
        return f"median r {values}"
    low, high = difference.ci95
    return f"median r {values}: paired difference {difference.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _sentences(
    one: Result, other: Result, r: np.ndarray, ceiling: np.ndarray, difference: Difference | None
) -> list[str]:
    both = np.isfinite(r).all(axis=0)
    above = int((r[0, both] > r[1, both]).sum())
    sentences = [
        f"Pearson r of each neuroid on held-out stimuli, mean over splits: {_name(one, other)} (upwards) against "
        f"{_name(other, one)} (to the right). {above} of {both.sum()} neuroids lie above the diagonal.",
        f"{_difference_text(one, other, difference).capitalize()}.",
    ]
    if np.isfinite(ceiling).any():
        sentences.append(
            "Colour, and ticks across the diagonal: each neuroid's ceiling, the root of its reliability, which caps "
            "r under both; 0 where the reliability is below 0, grey where it is not known."
        )
    return sentences
