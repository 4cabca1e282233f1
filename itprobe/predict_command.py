"""The command ``itprobe predict``."""

import argparse

from itprobe.command_options import add_computing, extraction_of


def add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "predict",
        help="predict responses that a board's host withholds",
        description="Fit a candidate to the stimuli of a recording that have responses and predict those that have "
        "none; where all have some, the split's test part from its training part. The board's host grades the file.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="e.g. efficientnet_lite0:_blocks.12, efficientnet_lite0:auto, or convnet",
    )
    parser.add_argument("--recording", required=True, metavar="R", help="a name, or the path of a recording")
    parser.add_argument("--out", required=True, metavar="PREDS.nc", help="the file to write")
    parser.add_argument("--region", help="default: the recording's only one, or IT")
    parser.add_argument(
        "--split",
        default="course",
        help="where all stimuli have responses: one with a single part (default course)",
    )
    parser.add_argument(
        "--mapping",
        default="ridge",
        help="of frozen candidates (default ridge); fitted: an own one learns responses",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the mapping or of a fitted candidate; may be repeated",
    )
    add_computing(parser)
    parser.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> None:
    """Predict, and say what was written."""
    from itprobe.metrics.options import read_options
    from itprobe.predicting import predict

    answers = predict(
        options.model,
        options.recording,
        options.out,
        split=options.split,
        region=options.region,
        mapping=options.mapping,
        options=read_options(options.set),
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        extraction=extraction_of(options),
    )
    about = answers.about
    print(
        f"{about.candidate.id} ({about.mapping.name}) fitted to {about.recording.n_train} stimuli of "
        f"{about.recording.id}, region {about.recording.region}\n"
        f"predictions: {len(answers.stimulus_ids)} stimuli x {len(answers.neuroid_ids)} neuroids: {options.out}"
    )
    for warning in about.warnings:
        print(f"Note: {warning}")
