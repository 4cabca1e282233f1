"""The command ``itprobe tune``."""

import argparse
from pathlib import Path

from itprobe.command_options import add_fit

DEFAULT_OUT = "itprobe-tuning"


def add_tune(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "tune",
        help="search parameters of a candidate that is fitted to responses",
        description="Search parameters of a fitted candidate with Optuna, on parts of the training stimuli; the "
        "test part is not read. Run the same command again to go on, or in several processes or on several "
        "machines with one --storage to share the work.",
    )
    add_fit(parser, "a parameter that is held fixed")
    parser.add_argument("--trials", type=int, default=50, metavar="N", help="of the whole study (default 50)")
    parser.add_argument(
        "--storage", metavar="URL", help="of Optuna, e.g. sqlite:///study.db (default: a file in DIR)"
    )
    parser.add_argument("--out", default=DEFAULT_OUT, metavar="DIR", help=f"default {DEFAULT_OUT}")
    parser.set_defaults(run=run_tune)


def run_tune(options: argparse.Namespace) -> None:
    """Search, print the best parameters, and draw the study."""
    from itprobe.files import file_name_of
    from itprobe.leaderboard.tuning_figure import draw_tuning
    from itprobe.metrics.options import read_options
    from itprobe.tuning import tune

    tuned = tune(
        options.candidate,
        options.recording,
        options.trials,
        region=options.region,
        split=options.split,
        seed=options.seed,
        storage=options.storage,
        device=options.device,
        options=read_options(options.set),
        out=options.out,
    )
    print(
        f"{options.candidate}: best of {tuned.n_trials} trials, r {tuned.value:.3f} on inner held-out stimuli"
    )
    print(" ".join(f"--set {name}={value}" for name, value in tuned.parameters.items()))
    best = Path(options.out) / f"{file_name_of(options.candidate)}.json"
    about = {"candidate": options.candidate, "recording": options.recording, "split": options.split}
    picture = draw_tuning(tuned.values, tuned.importances, about, best.with_suffix(".png"))
    print(f"parameters: {best}\npicture: {picture}")
