"""The command ``itprobe sweep``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from itprobe.command_options import add_computing, extraction_of

if TYPE_CHECKING:
    from itprobe.workers import Workers

DEFAULT_OUT = "itprobe-sweep"
MOST_CAPS = 6
INNER_FOLDS = 3
"""As in `itprobe.benchmarks.selection`, whose import would take seconds."""


def add_sweep(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "sweep",
        help="score all layers of models under several mappings, and say which layers are best",
        description="Score the layers of models NAME[@WEIGHTS][:LAYER] under several mappings, with one forward "
        "pass per model. A sweep that was interrupted goes on where it stood.",
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="e.g. efficientnet_lite0 torchvision/resnet50"
    )
    parser.add_argument(
        "--models", dest="list", metavar="FILE", help="more models, one a line; # starts a comment"
    )
    parser.add_argument("--recording", required=True, metavar="R", help="a name, or the path of a recording")
    parser.add_argument("--region", help="default: the recording's only one, or IT")
    parser.add_argument(
        "--layers",
        default="blocks",
        metavar="L,L",
        help="'blocks' (default), 'all', or names, for models that name no layer",
    )
    parser.add_argument(
        "--mappings", default="ridge", metavar="M,M", help="e.g. ridge,pls,rsa (default ridge)"
    )
    parser.add_argument(
        "--split", default="brainscore", help="default brainscore; means nothing to rsa and cka"
    )
    parser.add_argument(
        "--random-seeds",
        type=int,
        default=1,
        metavar="K",
        help="seeds that NAME@random stands for (default 1)",
    )
    parser.add_argument(
        "--resume",
        default="only-missing",
        metavar="POLICY",
        help="only-missing (default): take over results that are there; always: compute all anew, in a folder of "
        "another sweep, too; never: refuse a folder with results; only-cache: no forward pass, layers that are not "
        "known are skipped",
    )
    parser.add_argument(
        "--inner-folds",
        type=int,
        default=INNER_FOLDS,
        metavar="K",
        help=f"choose each split's layer on K folds of its training stimuli, and score it on its test stimuli "
        f"(default {INNER_FOLDS}; each fold is one more fit per split; 0: no such choice)",
    )
    parser.add_argument(
        "--combine",
        action="store_true",
        help="also fit all layers of a model together by banded ridge, and without each of them: what only this "
        "layer explains; L layers (3 to 32) take about (L + 1) x (L + 25) ridge fits of all splits (9 blocks, 640 "
        "images: 2 minutes of a core, and it grows with the cube of the images)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the mappings that have it, e.g. n_components=50 (pcr, pls), folds=5 (ridge, banded, pcr); "
        "may be repeated",
    )
    parser.add_argument(
        "--lambda-caps",
        metavar="C,C",
        help="largest lambdas of other grids, to see which layer would be best under them (default 1e3,1e4)",
    )
    add_computing(parser)
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="processes of this machine that share the work (default 1)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler whose workers share the work, e.g. tcp://10.0.0.5:8786 (docs/cluster.md)",
    )
    parser.add_argument("--out", default=DEFAULT_OUT, metavar="DIR", help=f"default {DEFAULT_OUT}")
    parser.set_defaults(run=run_sweep)


def _caps_of(text: str | None) -> list[float]:
    """Read ``--lambda-caps``."""
    from itprobe.errors import InputError
    from itprobe.sweeping.pictures import LAMBDA_CAPS

    if text is None:
        return list(LAMBDA_CAPS)
    try:
        caps = {float(part) for part in text.split(",") if part.strip()}
    except ValueError:
        caps = {-1.0}
    if len(caps) > MOST_CAPS or not all(0 < cap < float("inf") for cap in caps):
        raise InputError(
            f"--lambda-caps {text}: write at most {MOST_CAPS} positive numbers, with commas between them"
        )
    return sorted(caps)


def _named(name: str, reason: str) -> str:
    """A reason with the model's name in front, unless it begins with it."""
    return reason if reason.startswith(name) else f"{name}: {reason}"


def run_sweep(options: argparse.Namespace) -> None:
    """Sweep, here or on several processes or machines."""
    from itprobe.workers import open_workers

    with open_workers(options.jobs, options.scheduler) as workers:  # before imports that take seconds
        _sweep(options, workers)


def _sweep(options: argparse.Namespace, workers: "Workers | None") -> None:
    """Sweep, print the table, and say what failed and where the files are."""
    from itprobe.errors import InputError
    from itprobe.leaderboard.sweep_table import sweep_table
    from itprobe.metrics.options import read_options
    from itprobe.sweeping import Settings, carry_out, read_models
    from itprobe.sweeping.pictures import draw_sweep

    models = [*options.models, *(read_models(options.list) if options.list else [])]
    layers, mappings = (
        [part.strip() for part in text.split(",") if part.strip()]
        for text in (options.layers, options.mappings)
    )
    if not layers:
        raise InputError("--layers is empty; write blocks, all, or names with commas between them")
    caps = _caps_of(options.lambda_caps)
    settings = Settings(
        region=options.region,
        layers=layers,
        mappings=list(dict.fromkeys(mappings)),
        split=options.split,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        extraction=extraction_of(options),
        resume=options.resume,
        seeds_of_random=options.random_seeds,
        inner_folds=options.inner_folds,
        combine=options.combine,
        parameters=read_options(options.set),
    )
    outcome = carry_out(models, options.recording, settings, options.out, workers)
    print(sweep_table(outcome.table, outcome.dataset.attrs, outcome.selection, outcome.combination))
    taken_over = f", {outcome.n_taken_over} of them taken over" if outcome.n_taken_over else ""
    n_results = sum(result is not None for result in outcome.results)
    n_results += 0 if outcome.combination is None else len(outcome.combination)
    print(f"\n{n_results} results{taken_over}: {Path(options.out) / 'results'}")
    tables = ["sweep.csv", "selection.csv", *["combination.csv"] * (outcome.combination is not None)]
    print(f"figures: {', '.join(str(Path(options.out) / name) for name in ('sweep.nc', *tables))}")
    pictures = draw_sweep(outcome.table, outcome.results, outcome.curves, Path(options.out), caps)
    beside = "each as SVG too, its caption in a .txt"
    print(f"pictures: {Path(options.out) / '*.png'} ({len(pictures)}; {beside})")
    for name, left in outcome.skipped.items():
        print(f"skipped, not stored: {name}: {', '.join(left)}", file=sys.stderr)
    for name, reason in outcome.failures.items():
        print(f"failed: {_named(name, ' '.join(reason.split()))}", file=sys.stderr)
    if options.combine and outcome.combination is not None and outcome.combination.empty:
        print(
            "not combined: that takes 3 to 32 layers; two are compared by itprobe partition", file=sys.stderr
        )
    if outcome.failures:
        raise InputError(
            f"{len(outcome.failures)} of the sweep's parts failed, see the lines above; the others are finished in "
            f"{options.out}, and the same command tries only those that failed again"
        )
