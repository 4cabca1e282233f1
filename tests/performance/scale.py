"""Seconds and memory of the Gram matrix and of each mapping as n and p grow, with fitted exponents.

Run as ``python tests/performance/scale.py`` on an idle machine: it writes docs/scale.csv and docs/scale.png.
Features are made up, with a power-law spectrum. Each size runs in a process of its own, so that its peak
memory is its own; features are in memory (a network's would be streamed) and counted.
"""

import argparse
import csv
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from machine import describe_machine, planted_responses, power_law_features, restart_with_fair_settings
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from itprobe.files import atomic_file
from itprobe.metrics import MAPPINGS, SPLITS, gram_matrix, predict_held_out

DOCS = Path(__file__).parents[2] / "docs"
STIMULI, FEATURES = (800, 1600, 3200, 6400, 12_800), (2_000, 8_000, 32_000, 128_000, 400_000, 800_000)
P_FIXED, N_FIXED, NEUROIDS = 16_000, 800, 168
TIMED = ("ridge", "pcr", "pls")
LARGEST = {"pcr": 6400}
"""Beyond this many stimuli a mapping is not timed: ten decompositions would take most of an hour."""
# Okabe & Ito's palette, with markers for print without colours
STYLES = {
    "gram": ("#000000", "o"),
    "ridge": ("#0072B2", "s"),
    "pcr": ("#D55E00", "^"),
    "pls": ("#009E73", "D"),
}
Row = dict[str, float | str]


def main() -> None:
    """Measure, fit, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for scale.csv and scale.png")
    parser.add_argument("--largest-n", type=int, default=STIMULI[-1])
    parser.add_argument("--largest-p", type=int, default=FEATURES[-1])
    parser.add_argument("--p", type=int, default=P_FIXED, help="features while n grows")
    parser.add_argument("--mappings", nargs="*", choices=TIMED, default=TIMED)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the script run?")
    options = parser.parse_args()
    stimuli = (100, 150, 200) if options.quick else [n for n in STIMULI if n <= options.largest_n]
    features = (300, 600, 1200) if options.quick else [p for p in FEATURES if p <= options.largest_p]
    p_fixed, n_fixed, neuroids = (300, 100, 5) if options.quick else (options.p, N_FIXED, NEUROIDS)
    print(describe_machine(stimuli[0] if options.quick else 3200))
    rows: list[Row] = []
    for n in stimuli:
        rows += in_own_process(n, p_fixed, neuroids, tuple(options.mappings), "n")
    for p in features:
        rows += in_own_process(n_fixed, p, neuroids, (), "p")
    fits = {key: exponent(rows, *key) for key in {(str(row["what"]), str(row["grows"])) for row in rows}}
    for (what, grows), value in sorted(fits.items()):
        print(f"{what} grows as {grows}^{value:.2f} (least squares over the upper half of the sizes)")
    write(rows, fits, options.out)


def in_own_process(n: int, p: int, q: int, mappings: tuple[str, ...], grows: str) -> list[Row]:
    """Run one size in a forked process, print and return its rows."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        rows = pool.submit(measure, n, p, q, mappings, grows).result()
    for row in rows:
        print(
            f"n = {n:6d}, p = {p:7d}: {row['what']:5} {row['seconds']:9.3f} s, peak {row['peak_gb']:.2f} GB",
            flush=True,
        )
    return rows


def measure(n: int, p: int, q: int, mappings: tuple[str, ...], grows: str) -> list[Row]:
    """Seconds of the Gram matrix and of all ten splits of each mapping; peak memory of the process so far."""
    features = power_law_features(n, p)
    responses = planted_responses(features, q)
    ids = np.array([f"im{i:06d}" for i in range(n)])
    strata = np.resize([f"object{k}" for k in range(8)], n)
    splits = SPLITS["brainscore"](pd.DataFrame({"stimulus_id": ids, "object_name": strata}), 1).splits
    rows: list[Row] = []

    def note(what: str, started: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        seconds = perf_counter() - started
        rows.append({"grows": grows, "what": what, "n": n, "p": p, "seconds": seconds, "peak_gb": peak})

    start = perf_counter()
    gram = gram_matrix(features)
    note("gram", start)
    del features
    for name in mappings:
        if n > LARGEST.get(name, n):
            continue
        start = perf_counter()
        for _ in predict_held_out(gram, ids, responses, ids, MAPPINGS[name](), splits, strata):
            pass
        note(name, start)
    return rows


def exponent(rows: list[Row], what: str, grows: str) -> float:
    """Slope of log seconds over log size; small sizes are left out, where fixed costs hide it."""
    sizes, seconds = curve(rows, what, grows)
    upper = max(2, (len(sizes) + 1) // 2)
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes[-upper:]), np.log(seconds[-upper:]), 1)[0])


def curve(rows: list[Row], what: str, grows: str) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and seconds of one line."""
    mine = [row for row in rows if (row["what"], row["grows"]) == (what, grows)]
    return np.array([row[grows] for row in mine], float), np.array([row["seconds"] for row in mine], float)


def write(rows: list[Row], fits: dict[tuple[str, str], float], out: Path) -> None:
    """Write scale.csv and scale.png."""
    with atomic_file(out / "scale.csv") as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "fitted_exponent"])
        writer.writeheader()
        for row in rows:
            fitted = fits[str(row["what"]), str(row["grows"])]
            values = {"seconds": f"{row['seconds']:.4f}", "peak_gb": f"{row['peak_gb']:.3f}"}
            writer.writerow({**row, **values, "fitted_exponent": f"{fitted:.3f}"})
    figure = Figure(figsize=(9.5, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes, grows, label in zip(
        figure.subplots(1, 2), ("n", "p"), ("stimuli n", "features p"), strict=True
    ):
        fixed = {int(row["p" if grows == "n" else "n"]) for row in rows if row["grows"] == grows}
        other = f"p = {min(fixed):,}, ten splits" if grows == "n" else f"n = {min(fixed):,}"
        axes.set(xscale="log", yscale="log", xlabel=f"{label} ({other})", ylabel="seconds")
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, rows, fits, grows)
        axes.legend(frameon=False, fontsize=8)
    with atomic_file(out / "scale.png") as temporary:
        figure.savefig(temporary, dpi=160)
    print(f"wrote {out / 'scale.csv'} and scale.png")


def draw(axes, rows: list[Row], fits: dict[tuple[str, str], float], grows: str) -> None:
    """Draw the lines of one panel, sizes as ticks."""
    for what, (colour, marker) in STYLES.items():
        sizes, seconds = curve(rows, what, grows)
        if not len(sizes):
            continue
        label = f"{'Gram matrix' if what == 'gram' else what} ~ {grows}^{fits[what, grows]:.2f}"
        axes.plot(sizes, seconds, color=colour, marker=marker, markersize=4, linewidth=1.6, label=label)
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], fontsize=8, rotation=30)
        axes.set_xticks([], minor=True)


if __name__ == "__main__":
    restart_with_fair_settings()
    main()
