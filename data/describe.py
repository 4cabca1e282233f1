"""What is in a recording: its figures as text, and its stimuli as a picture."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image, ImageDraw, ImageFont, ImageOps

from itprobe.data.assembly import repetitions_per_stimulus
from itprobe.errors import InputError
from itprobe.files import atomic_file, make_folder

LOW_RELIABILITY = 0.3
_TILE = 128  # pixels
_LABEL = 30  # two lines of text
_GAP = 6


def recording_figures(assembly: NeuroidAssembly, reliability: np.ndarray | None = None) -> dict[str, Any]:
    """Count what is in a recording.

    Parameters
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)
    reliability : array (neuroid,), optional
        Reliability of each neuroid's average over repetitions; NaN where it is not defined.

    Returns
    -------
    dict
        Plain numbers, texts and dicts, fit for JSON. ``reliability`` is None where it is not given.
    """
    values = assembly.transpose("presentation", "neuroid").values
    missing = np.isnan(values)
    repetitions = repetitions_per_stimulus(assembly)
    neuroids = Counter(zip(assembly["region"].values, assembly["animal"].values, strict=True))
    stimulus_set = assembly.attrs["stimulus_set"]
    figures: dict[str, Any] = {
        name: assembly.attrs[name]
        for name in ("identifier", "simulated", "citation", "sha256", "averaged", "visual_degrees")
    }
    figures |= {
        "stimuli": len(stimulus_set),
        "stimuli_without_responses": assembly.attrs["stimuli_without_responses"],
        "presentations": values.shape[0],
        "neuroids": {f"{region} {animal}": count for (region, animal), count in sorted(neuroids.items())},
        "repetitions": {
            "min": int(repetitions.min()),
            "median": float(np.median(repetitions)),
            "max": int(repetitions.max()),
        },
        "missing_values": int(missing.sum()),
        "missing_share": float(missing.mean()),
        "neuroids_without_responses": int(missing.all(axis=0).sum()),
        "constant_neuroids": _constant_neuroids(values, missing),
        "labels": {
            name: int(stimulus_set[name].nunique())
            for name in ("object_name", "category_name", "variation")
            if name in stimulus_set
        },
        "reliability": None if reliability is None else _reliability_figures(np.asarray(reliability)),
    }
    return figures


def describe_recording(assembly: NeuroidAssembly, reliability: np.ndarray | None = None) -> str:
    """Describe a recording in a few lines.

    Parameters
    ----------
    assembly : NeuroidAssembly (presentation, neuroid)
    reliability : array (neuroid,), optional
        Reliability of each neuroid's average over repetitions; NaN where it is not defined.

    Returns
    -------
    str
        One fact a line, no newline at the end.
    """
    figures = recording_figures(assembly, reliability)
    lines = [("recording", figures["identifier"])]
    lines.append(("origin", "simulated, not a recording of a brain" if figures["simulated"] else "recorded"))
    lines.append(("citation", figures["citation"] or "none"))
    lines.append(("digest", f"sha256 {figures['sha256']}"))
    without = figures["stimuli_without_responses"]
    span = f", each {figures['visual_degrees']:g} degrees wide"
    lines.append(
        ("stimuli", f"{figures['stimuli']}{f' ({without} without responses)' if without else ''}{span}")
    )
    lines.append(("labels", _counts(figures["labels"]) or "none"))
    lines.append(("presentations", str(figures["presentations"])))
    lines.append(("neuroids", f"{assembly.sizes['neuroid']}: {_counts(figures['neuroids'])}"))
    lines.append(("repetitions", _repetitions_line(figures)))
    lines.append(("missing values", f"{figures['missing_values']} ({figures['missing_share']:.2%})"))
    empty, constant = figures["neuroids_without_responses"], figures["constant_neuroids"]
    lines.append(("faulty neuroids", f"{empty} without any response, {constant} constant"))
    lines.append(("reliability", _reliability_line(figures)))
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in lines)


def contact_sheet(stimulus_set: StimulusSet, path: str | Path, columns: int = 8, rows: int = 6) -> Path:
    """Draw stimuli in a grid, labelled with object and stimulus id, as PNG.

    Parameters
    ----------
    stimulus_set : StimulusSet
        Of more stimuli than the grid holds, evenly spaced ones are taken, in the order of the set.
    path : str or Path
        The ``.png`` file to write.
    columns, rows : int
        Size of the grid, at most.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If `path` is no path for a sheet (see `check_contact_sheet_path`), or the grid would be empty.
    """
    path = check_contact_sheet_path(path)
    if columns < 1 or rows < 1:
        raise InputError(f"a contact sheet needs at least one row and one column, not {rows} x {columns}")
    n_shown = min(columns * rows, len(stimulus_set))
    chosen = np.linspace(0, len(stimulus_set) - 1, n_shown).round().astype(int)
    columns = min(columns, n_shown)
    cell = (_TILE + _GAP, _TILE + _LABEL + _GAP)
    size = (columns * cell[0] + _GAP, math.ceil(n_shown / columns) * cell[1] + _GAP)
    sheet = Image.new("RGB", size, "white")
    for number, row in enumerate(chosen):
        corner = (_GAP + number % columns * cell[0], _GAP + number // columns * cell[1])
        _draw_tile(sheet, corner, stimulus_set.iloc[row], stimulus_set)
    with atomic_file(path) as temporary:
        sheet.save(temporary)
    return path


def check_contact_sheet_path(path: str | Path) -> Path:
    """Give `path` with ``~`` filled in, if a contact sheet can be written there: a quick check before long work.

    Raises
    ------
    InputError
        If it does not end in ``.png``, is a folder, or its folder cannot be made or written.
    """
    path = Path(path).expanduser()
    if path.suffix != ".png":
        raise InputError(f"cannot draw the contact sheet {path}: the name must end in .png")
    if path.is_dir():
        raise InputError(f"cannot draw the contact sheet {path}: it is a folder; choose another name")
    make_folder(path.parent)
    return path


def _draw_tile(
    sheet: Image.Image, corner: tuple[int, int], stimulus: "pd.Series[Any]", stimulus_set: StimulusSet
) -> None:
    key = stimulus["stimulus_id"]
    with Image.open(stimulus_set.stimulus_paths[key]) as image:
        tile = ImageOps.contain(_as_rgb(image), (_TILE, _TILE))
    x, y = corner
    sheet.paste(tile, (x + (_TILE - tile.width) // 2, y + (_TILE - tile.height) // 2))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    labels = [str(stimulus[name]) for name in ("object_name", "stimulus_id") if name in stimulus]
    for line, label in enumerate(labels):
        draw.text((x, y + _TILE + 1 + 14 * line), _shortened(label, font), fill="black", font=font)


def _as_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; 16-bit grey is scaled, where Pillow's own conversion would cut it off at 255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    return image.convert("RGB")


def _shortened(label: str, font: Any) -> str:
    """Cut out the middle of a label that is wider than a tile: ids differ at their ends."""
    kept = len(label)
    shown = label
    while font.getlength(shown) > _TILE:
        kept -= 1
        shown = f"{label[: kept // 2]}…{label[len(label) - (kept - kept // 2) :]}"
    return shown


def _constant_neuroids(values: np.ndarray, missing: np.ndarray) -> int:
    """Number of neuroids (presentation, neuroid) that have responses, all of them equal."""
    highest = np.where(missing, -np.inf, values).max(axis=0)
    lowest = np.where(missing, np.inf, values).min(axis=0)
    return int((highest == lowest).sum())


def _reliability_figures(reliability: np.ndarray) -> dict[str, float | int]:
    defined = reliability[np.isfinite(reliability)]
    figures: dict[str, float | int] = {
        "undefined": int(reliability.size - defined.size),
        "below_0.3": int((defined < LOW_RELIABILITY).sum()),
    }
    if defined.size:
        low, high = np.percentile(defined, [5, 95])
        figures |= {
            "median": float(np.median(defined)),
            "mean": float(defined.mean()),
            "percentile_5": float(low),
            "percentile_95": float(high),
        }
    return figures


def _counts(figures: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in figures.items())


def _repetitions_line(figures: dict[str, Any]) -> str:
    if figures["averaged"]:
        return "none: the responses were averaged already"
    counts = figures["repetitions"]
    return f"{counts['min']} to {counts['max']} per stimulus, median {counts['median']:g}"


def _reliability_line(figures: dict[str, Any]) -> str:
    found = figures["reliability"]
    if figures["averaged"]:
        return "not known: without repetitions it cannot be estimated"
    if figures["repetitions"]["max"] < 2:
        return "not known: no stimulus was shown twice"
    if found is None:
        return "not computed"
    if "median" not in found:
        return f"undefined for all {found['undefined']} neuroids"
    return (
        f"median {found['median']:.2f}, mean {found['mean']:.2f}, "
        f"5-95% {found['percentile_5']:.2f} to {found['percentile_95']:.2f}; "
        f"{found['below_0.3']} below {LOW_RELIABILITY}, {found['undefined']} undefined"
    )
