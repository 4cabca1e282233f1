"""What all pictures of sweeps have in common: colours, markers, what they name, and how they are written."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from itprobe.errors import InputError
from itprobe.files import atomic_file
from itprobe.leaderboard.ranking import SIMULATED_NOTE
from itprobe.leaderboard.result import Interval, Result

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's palette: distinguishable with any colour vision."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))
"""They differ with the colours, so that pictures read in grey print too."""

ENDINGS = (".png", ".svg")
"""Every picture is written as both."""

MOST_LABELS = 40
"""Layer names that one axis shows; of more, every second (third, ...) is named."""

LONGEST_LABEL = 34
"""Characters of a layer's name on an axis."""


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, sizes in inches, on white: it reads on dark pages too."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, caption: str) -> Path:
    """Write ``NAME.png`` and ``NAME.svg``, whichever of them `path` is, and the caption to ``NAME.txt``.

    The same figure gives the same bytes: no date, and no random ids, stand in the files.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If `path` is neither.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise InputError(f"cannot draw to {path}: the name must end in {' or '.join(ENDINGS)}")
    for ending in ENDINGS:
        metadata = {"Date": None} if ending == ".svg" else None
        with mpl.rc_context({"svg.hashsalt": "itprobe"}), atomic_file(path.with_suffix(ending)) as temporary:
            figure.savefig(temporary, dpi=160, metadata=metadata)
    with atomic_file(path.with_suffix(".txt")) as temporary:
        temporary.write_text(caption, encoding="utf-8")
    return path


def primary_score(result: Result) -> tuple[float, Interval]:
    """Median r, or similarity, and its 95 % interval; NaN for a layer without a score."""
    pearson = result.scores.pearson_r
    value, ci95 = (
        (pearson.median, pearson.ci95)
        if pearson
        else (result.scores.primary.value, result.scores.primary.ci95)
    )
    nothing = float("nan")
    return (nothing if value is None else value), ci95 or (nothing, nothing)


def score_label(result: Result) -> str:
    """What `primary_score` is, for an axis."""
    return "median r" if result.scores.pearson_r else result.mapping.name.upper()


def r_ceiling(result: Result) -> tuple[float, Interval] | None:
    """Root of the median reliability, which caps the median r, and its interval; None where there is none."""
    reliability = result.scores.reliability
    if result.scores.pearson_r is None or reliability is None or result.scores.ceiled is None:
        return None
    low, high = (max(bound, 0.0) ** 0.5 for bound in reliability.ci95)
    return reliability.median**0.5, (low, high)


def check_comparable(results: Iterable[Result], same_mapping: bool = True) -> Result:
    """Refuse results that cannot stand in one picture; give the first.

    Raises
    ------
    InputError
        If there are none, or they differ in recording, region, splits, seed, or (where asked) mapping.
    """
    results = list(results)
    if not results:
        raise InputError("there is nothing to draw: no results were given")
    keys: dict[str, set[tuple[str, str | int]]] = {
        "recordings": {(result.recording.sha256, result.recording.region) for result in results},
        "splits": {(result.split.name, result.split.seed) for result in results if result.split.n_splits > 0},
        "mappings": {(result.mapping.name, str(result.mapping.params)) for result in results},
    }
    if not same_mapping:
        del keys["mappings"]
    for what, values in keys.items():
        if len(values) > 1:
            raise InputError(
                f"results of {len(values)} different {what} cannot stand in one picture: "
                f"{', '.join(sorted({result.benchmark.id for result in results})[:3])}; draw each by itself"
            )
    return results[0]


def data_line(result: Result) -> str:
    """Name what was predicted; simulated data are called simulated."""
    recording = result.recording
    return (
        f"{'simulated recording ' if recording.simulated else ''}{recording.id}, region {recording.region}, "
        f"{recording.n_stimuli:,} stimuli, {recording.n_neuroids} neuroids"
    )


def splits_text(result: Result) -> str:
    """Name the splits and the seed."""
    split = result.split
    if split.n_splits == 0:
        return f"{split.name}, seed {split.seed}"
    by = f" by {split.coord}" if split.coord else ""
    return f"{split.n_splits} {split.name!r} split{'s' * (split.n_splits > 1)}{by}, seed {split.seed}"


def mapping_text(result: Result) -> str:
    """Name the mapping and its parameters."""
    params = ", ".join(f"{name} {value}" for name, value in result.mapping.params.items())
    return f"{result.mapping.name}{f' ({params})' if params else ''}"


def caption_text(sentences: Iterable[str], results: Iterable[Result]) -> str:
    """A caption: what is shown, then the data, splits, seeds and candidates that made it."""
    results = list(results)
    first = results[0]
    splits = "; ".join(dict.fromkeys(splits_text(result) for result in results))
    mappings = "; ".join(dict.fromkeys(mapping_text(result) for result in results))
    predicted = next((result for result in results if result.split.n_splits), None)
    intervals = (
        f" Intervals of r: 95 % bootstrap over stimuli and neuroids, seed {predicted.split.seed}."
        if predicted
        else ""
    )
    candidates = dict.fromkeys(_without_layer(result) for result in results)
    repetitions = f"{first.recording.repetitions_median:g} repetitions (median)"
    paragraphs = [
        " ".join(sentences),
        f"Data: {'' if first.recording.simulated else 'recording '}{data_line(first)}, {repetitions}, sha256 "
        f"{first.recording.sha256[:12]}. Splits: {splits}. Mapping: {mappings}.{intervals} Candidates: "
        f"{', '.join(candidates)}.",
        f"Recording: {first.recording.citation}",
    ]
    if first.recording.simulated:
        paragraphs.append(SIMULATED_NOTE)
    return "\n\n".join(paragraphs) + "\n"


def _without_layer(result: Result) -> str:
    candidate = result.candidate
    return candidate.id.removesuffix(f":{candidate.layer}") if candidate.layer else candidate.id


def name_layers(axes: Axes, positions: np.ndarray, names: list[str]) -> None:
    """Write layer names below an axis so that they do not touch, whatever their number."""
    step = -(-len(names) // MOST_LABELS)
    shown = [short_name(name) for name in names]
    level = len(names) <= 8 and max(len(name) for name in names) <= 10
    axes.set_xticks(positions[::step], shown[::step], fontsize=8, rotation=0 if level else 90)


def short_name(name: str) -> str:
    """Cut a long layer name at its beginning: what tells layers apart stands at the end."""
    return name if len(name) <= LONGEST_LABEL else f"…{name[1 - LONGEST_LABEL :]}"


def height_of_names(names: list[str]) -> float:
    """Inches that `name_layers` takes below the axis, beyond those of short names."""
    return 0.07 * max(0, max(len(short_name(name)) for name in names) - 10)


def tidy(axes: Axes) -> None:
    """Take away the frame's upper and right sides."""
    axes.spines[["top", "right"]].set_visible(False)
