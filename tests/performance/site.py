"""Seconds to build the site of a large board, its size, and how long its table takes to be sorted and filtered.

Run as ``python tests/performance/site.py`` on an idle machine; ``--recording it`` has the size of MajajHong2015.public.
The candidates are made up: planted predictions of made-up responses, with result files as `itprobe score` writes them.
The first build computes the draws of all candidates, the second takes them from the cache and replaces the first. What
a reader waits for is timed in headless Chromium, from the click to the next frame that is drawn.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from machine import describe_machine, restart_with_fair_settings

SIZES = {"quick": (120, 12, 3), "v4": (640, 50, 10), "it": (3200, 168, 10)}
"""Stimuli, neuroids and splits, each of which tests a tenth of the stimuli."""

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TIMED = """
async (selector) => {
  const target = document.querySelector(selector);
  const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await drawn();
  const start = performance.now();
  target.click();
  document.body.getBoundingClientRect();
  await drawn();
  return performance.now() - start;
}
"""


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--recording", choices=SIZES, default="v4")
    parser.add_argument("--layers", type=int, default=10, help="candidates that are layers of one model")
    parser.add_argument(
        "--keep", type=Path, help="a folder for board and site, which takes up a board that it holds"
    )
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="itprobe-site-"))
    os.environ["ITPROBE_HOME"] = str(folder / "home")
    try:
        measure(options, folder)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Make a board, build its site twice, and use its largest table."""
    from itprobe.leaderboard.site import build_site

    n, q, splits = SIZES[options.recording]
    print(describe_machine(n))
    start = perf_counter()
    if not (folder / "board").exists():
        make_board(folder / "board", options.candidates, options.layers, n, q, splits)
    print(
        f"{options.candidates} candidates, {n} stimuli, {q} neuroids, {splits} splits (made up in "
        f"{perf_counter() - start:.0f} s)"
    )
    shutil.rmtree(folder / "home", ignore_errors=True)
    for label in ("first build", "build with the draws in the cache"):
        start, computing = perf_counter(), process_time()
        said = build_site(folder / "board", folder / "site")
        print(
            f"{label}: {perf_counter() - start:.1f} s ({process_time() - computing:.1f} s of processor time)"
        )
    print(said)
    sizes = [path.stat().st_size for path in (folder / "site").rglob("*") if path.is_file()]
    print(f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB")
    use(folder / "site")


def use(site: Path) -> None:
    """Time sorting and filtering in a browser, if there is one."""
    binary = os.environ.get("ITPROBE_CHROMIUM") or shutil.which("chromium")
    if binary is None:
        print("no Chromium: sorting is not timed")
        return
    from playwright.sync_api import sync_playwright

    (table,) = (site / "tables").iterdir()
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=binary, args=CHROMIUM).new_page()
        page.goto(table.as_uri())
        rows = page.locator("#rows tr").count()
        for column, name in ((2, "candidate"), (6, "r"), (9, "share of ceiling")):
            button = f"#board thead th:nth-child({column}) button"
            times = [page.evaluate(TIMED, button) for _ in range(6)]
            script = page.evaluate(
                "selector => { const start = performance.now(); document.querySelector(selector).click(); "
                "return performance.now() - start; }",
                button,
            )
            print(
                f"sort {rows} rows by {name}: {np.median(times):.0f} ms until drawn (worst {max(times):.0f}), "
                f"{script:.0f} ms of them in the script"
            )
        print(f"best layers only: {page.evaluate(TIMED, '#best'):.0f} ms until drawn")
        page.locator("#best").click()
        if page.locator("#all").is_visible():
            print(f"list all {rows} rows: {page.evaluate(TIMED, '#all'):.0f} ms until drawn")
            times = [page.evaluate(TIMED, "#board thead th:nth-child(6) button") for _ in range(6)]
            print(f"sort them by r, all listed: {np.median(times):.0f} ms until drawn")


def make_board(folder: Path, candidates: int, layers: int, n: int, q: int, splits: int) -> None:
    """Write result files and predictions of candidates with r from .1 to .6."""
    from itprobe.leaderboard import Result, save_result
    from itprobe.metrics import HeldOut, interval, resample

    rng = np.random.default_rng(0)
    y = rng.normal(size=(n, q)).astype(np.float32).astype(np.float64)
    ids = np.array([f"im{k:05d}" for k in range(n)])
    rows = [rng.permutation(n)[: n // 10] for _ in range(splits)]
    neuroids, animals = np.array([f"n{j:04d}" for j in range(q)]), np.resize(["a", "b"], q)
    stimuli, measured = [ids[row] for row in rows], [y[row] for row in rows]
    for k in range(candidates):
        r = rng.uniform(0.1, 0.6)
        z = (r * y + np.sqrt(1 - r**2) * rng.normal(size=y.shape)).astype(np.float32).astype(np.float64)
        data = HeldOut(stimuli, measured, [z[row] for row in rows], neuroids, animals)
        plain = resample(data, stimuli=False, neuroids=False, n=1)
        median = float(plain.aggregate("pearson_r", "median")[0])
        few = resample(data, n=40).aggregate("pearson_r", "median")
        record = result(
            f"model{k // layers:04d}", f"layer{k % layers}", median, interval(few), plain.pearson_r[0], data
        )
        save_result(Result.model_validate(record), data, folder)


def result(model, layer, median, ci95, r, data) -> dict[str, object]:
    """A result file's content."""
    from itprobe.metrics import RidgeMapping

    share = {"value": median * abs(median) / 0.81, "ci95": [end * abs(end) / 0.81 for end in ci95]}
    intervals = dict.fromkeys(("ci95_neuroids", "ci95_stimuli", "ci95_mean"), ci95)
    return {
        "candidate": {
            "id": f"{model}:{layer}",
            "layer": layer,
            "track": "frozen",
            "weights": "trained",
            "weights_sha256": "0" * 64,
            "n_features": 50_000,
            "effective_dimensionality": 31.4,
        },
        "benchmark": {"id": "made-up.nc#IT-ridge", "version": 1},
        "recording": {
            "id": "made-up",
            "sha256": "1" * 64,
            "region": "IT",
            "n_stimuli": len(set(np.concatenate(data.stimulus_ids))),
            "n_neuroids": len(data.neuroid_ids),
            "repetitions_median": 30.0,
            "simulated": True,
            "stimulus_set_sha256": "2" * 64,
            "citation": "made up to measure how long a site takes",
        },
        "mapping": {"name": "ridge", "params": RidgeMapping().parameters(), "spaces": [layer]},
        "split": {"name": "brainscore", "n_splits": len(data.responses), "seed": 1, "coord": None},
        "scores": {
            **dict.fromkeys(("similarity", "inter_animal", "ceiled_per_neuroid", "noise_corrected")),
            "primary": {"name": "ceiled", **share},
            "pearson_r": {
                "median": median,
                "median_of_means": median,
                "mean": median,
                "ci95": ci95,
                **intervals,
                "per_split": [median] * len(data.responses),
                "by_animal": None,
                "by_array": None,
            },
            "explained_variance": {"median": median**2, "mean": median**2, "ci95": ci95, **intervals},
            "reliability": {
                "median": 0.81,
                "mean": 0.8,
                "kind": "made up",
                "ci95": [0.7, 0.9],
                "n_halves": 100,
                "seed": 0,
                "n_below_0_3": 0,
                "n_undefined": 0,
            },
            "ceiled": {**share, "formula": "r |r| / median reliability, r = median r"},
        },
        "per_neuroid": [
            {
                "neuroid_id": str(key),
                "pearson_r": float(value),
                "explained_variance": float(value) ** 2,
                "r2_er": None,
                "feve": None,
                "reliability": 0.81,
                "alpha": 1e3 * (1 + j),
                "mean_predictor_splits": 0,
                "shares": None,
            }
            for j, (key, value) in enumerate(zip(data.neuroid_ids, r.mean(axis=0), strict=True))
        ],
        "predictions": None,
        "warnings": [],
        "provenance": {
            **dict.fromkeys(("itprobe", "brainscore_vision", "torch", "numpy", "python"), "0"),
            "device": "cpu",
            "precision": "full",
            "features": "float32",
            "seed": 1,
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 1.0,
            "peak_memory_mb": 1000.0,
        },
    }


if __name__ == "__main__":
    restart_with_fair_settings()
    main()
