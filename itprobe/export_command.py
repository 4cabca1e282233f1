"""The command ``itprobe export``."""

import argparse

from itprobe.command_options import add_fit


def add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "export",
        help="write a candidate that is fitted to responses as a folder that stands alone",
        description="Fit a candidate to the training stimuli of one split, or take that fit from the cache, and write "
        "its weights (safetensors) and all else (JSON) to a folder, which loads in Python and as a Brain-Score model.",
    )
    add_fit(parser, "a parameter of the candidate")
    parser.add_argument(
        "--index", type=int, default=1, metavar="N", help="which of the split's parts, from 1 on (default 1)"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="a folder that does not exist yet, or is empty"
    )
    parser.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> None:
    """Fit, export, and say how the folder is loaded."""
    from itprobe.exporting import export
    from itprobe.metrics.options import read_options

    made, r = export(
        options.candidate,
        options.recording,
        options.out,
        region=options.region,
        split=options.split,
        index=options.index,
        seed=options.seed,
        device=options.device,
        options=read_options(options.set),
    )
    folder = str(options.out)
    print(
        f"{made.identifier}: fitted to {len(made.training_stimuli)} stimuli, mean r on the held-out ones "
        f"{r:.3f} over {len(made.neuroid_ids)} neuroids\n"
        f"export: {folder}\n"
        f"in Python: from itprobe.models.fitted import load_exported; load_exported({folder!r}).predict(stimuli)\n"
        f"as a Brain-Score model: from itprobe.models.fitted.brainscore import brain_model; brain_model({folder!r})"
    )
