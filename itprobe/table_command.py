"""The command ``itprobe table``."""

import argparse
from pathlib import Path

from itprobe.command_options import add_computing, extraction_of

DEFAULT_OUT = "itprobe-table"
ROW_NAMES = (
    "pixels, layer2-trained, layer2-random, layer3-trained, layer3-random, data-driven, dual-task, combined-layer2, "
    "combined-layer3, autoencoder, finetuned, readout, ridge, random-seeds, object_onehot, category_onehot, latents"
)
"""Those of `itprobe.report_rows.ROWS`, which takes seconds to import."""


def add_table(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "table",
        help="the report's Table I beside what a correct protocol gives",
        description='Run every approach of the report "Predicting IT Neuron Activity", and some more, without leakage, '
        "and print its Table I beside ours. What was trained before is taken from the cache.",
    )
    parser.add_argument(
        "--recording",
        default="simulated_small",
        metavar="R",
        help="default simulated_small, which is simulated",
    )
    parser.add_argument("--region", help="default: the recording's only one, or IT")
    parser.add_argument(
        "--backbone",
        metavar="MODEL",
        help="network whose layers stand for the report's (default torchvision/resnet50; efficientnet_lite0 where its "
        "weights cannot be fetched, which is said)",
    )
    parser.add_argument("--split", default="course", help="default course: 81 %% train, 9 %% test")
    parser.add_argument(
        "--splits",
        type=int,
        default=1,
        metavar="K",
        help="draw the split K times, with seeds from --seed on; networks are trained anew for each (default 1)",
    )
    parser.add_argument(
        "--random-seeds",
        type=int,
        default=3,
        metavar="K",
        help="random networks in the row over seeds (default 3)",
    )
    parser.add_argument(
        "--rows",
        default="",
        metavar="ROW,ROW",
        help=f"only these, e.g. pixels,layer3-trained; there are {ROW_NAMES}",
    )
    parser.add_argument(
        "--tuned",
        metavar="DIR",
        help="take parameters of fitted candidates from the files that itprobe tune wrote there; candidates without "
        "a file keep their defaults",
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="also run the report's protocol as it was: shuffled activations against unshuffled responses, the last "
        "layer's weights for every layer, its lambda grid; and each of these mistakes alone",
    )
    add_computing(parser)
    parser.add_argument("--out", default=DEFAULT_OUT, metavar="DIR", help=f"default {DEFAULT_OUT}")
    parser.set_defaults(run=run_table)


def run_table(options: argparse.Namespace) -> None:
    """Make the table, print it, and write it as Markdown, CSV and picture."""
    from itprobe.errors import InputError
    from itprobe.files import atomic_file
    from itprobe.leaderboard.report_table import draw_table, to_csv, to_markdown, to_text
    from itprobe.report import TableSettings, make_table, mistakes_text
    from itprobe.tuned_parameters import NOT_TUNED, read_tuned

    if options.precision != "full":
        raise InputError("--precision: the table is made in full precision; leave it out")
    if options.splits < 1:
        raise InputError(f"--splits must be at least 1, not {options.splits}")
    settings = TableSettings(
        recording=options.recording,
        region=options.region,
        backbone=options.backbone,
        split=options.split,
        seeds=tuple(range(options.seed, options.seed + options.splits)),
        random_seeds=options.random_seeds,
        rows=tuple(part.strip() for part in options.rows.split(",") if part.strip()),
        published=options.as_published,
        device=options.device,
        extraction=extraction_of(options),
        tuned=read_tuned(options.tuned) if options.tuned else NOT_TUNED,
    )
    out = Path(options.out)
    made = make_table(settings, out / "results")
    print(to_text(made.rows, made.heading))
    texts = [to_markdown(made.rows, made.heading)]
    if made.mistakes is not None:
        print(mistakes_text(made.mistakes, "simple"))
        texts.append(mistakes_text(made.mistakes, "pipe"))
        with atomic_file(out / "mistakes.csv") as temporary:
            made.mistakes.to_csv(temporary, index=False)
    with atomic_file(out / "table.md") as temporary:
        temporary.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    to_csv(made.rows, out / "table.csv")
    picture = draw_table(made.rows, made.heading, out / "table.png")
    print(
        f"table: {out / 'table.md'}, {out / 'table.csv'}\npicture: {picture}\nresult files: {out / 'results'}"
    )
