"""The command ``itprobe sweep``."""

import argparse
import sys
from pathlib import Path

from itprobe.command_options import add_computing, extraction_of

DEFAULT_OUT = "itprobe-sweep"


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
        help="only-missing (default): take over results that are there; always: compute all anew; never: refuse a "
        "folder with results; only-cache: no forward pass, layers that are not known are skipped",
    )
    add_computing(parser)
    parser.add_argument("--out", default=DEFAULT_OUT, metavar="DIR", help=f"default {DEFAULT_OUT}")
    parser.set_defaults(run=run_sweep)


def run_sweep(options: argparse.Namespace) -> None:
    """Sweep, print the table, and say what failed and where the files are."""
    from itprobe.errors import InputError
    from itprobe.leaderboard.sweep_table import sweep_table
    from itprobe.sweeping import Settings, carry_out, read_models
    from itprobe.sweeping.pictures import draw_sweep

    models = [*options.models, *(read_models(options.list) if options.list else [])]
    layers, mappings = (
        [part.strip() for part in text.split(",") if part.strip()]
        for text in (options.layers, options.mappings)
    )
    if not layers:
        raise InputError("--layers is empty; write blocks, all, or names with commas between them")
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
    )
    outcome = carry_out(models, options.recording, settings, options.out)
    print(sweep_table(outcome.table, outcome.dataset.attrs))
    taken_over = f", {outcome.n_taken_over} of them taken over" if outcome.n_taken_over else ""
    n_results = sum(result is not None for result in outcome.results)
    print(f"\n{n_results} results{taken_over}: {Path(options.out) / 'results'}")
    print(f"figures: {Path(options.out) / 'sweep.nc'}, {Path(options.out) / 'sweep.csv'}")
    for picture in draw_sweep(outcome.table, outcome.results, Path(options.out)):
        print(f"picture: {picture}")
    for name, left in outcome.skipped.items():
        print(f"skipped, not stored: {name}: {', '.join(left)}", file=sys.stderr)
    for name, reason in outcome.failures.items():
        print(f"failed: {name}: {' '.join(reason.split())}", file=sys.stderr)
