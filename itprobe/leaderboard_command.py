"""The command ``itprobe leaderboard``."""

import argparse
import sys

from itprobe.command_options import seed_number
from itprobe.errors import InputError


def add_leaderboard(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of `itprobe.cli`."""
    parser = commands.add_parser("leaderboard", help="a board of result files: its site, and what goes on it")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions)
    _add_add(actions)
    _add_withhold(actions)
    _add_grade(actions)


def _add_build(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    build = actions.add_parser(
        "build",
        help="make a static site of a folder of result files",
        description="Make a static site of a folder of result files: ranked tables with ties, a page per model, a page "
        "that compares two candidates, all figures as CSV. It needs no server and asks nothing of any other.",
    )
    build.add_argument("results", metavar="RESULTS", help="a folder of result files, with their predictions")
    build.add_argument(
        "--out", required=True, metavar="SITE", help="a new or empty folder, or a site made before"
    )
    build.add_argument("--title", default="itprobe leaderboard", metavar="TEXT", help="the site's name")
    build.set_defaults(run=run_build)


def run_build(options: argparse.Namespace) -> None:
    """Build the site and say what is in it."""
    from itprobe.leaderboard.site import build_site

    print(build_site(options.results, options.out, title=options.title))


def _add_add(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = actions.add_parser(
        "add",
        help="check a result file and put it on a board",
        description="Check a result file and score it again from its per-stimulus predictions, which lie beside it; "
        "copy both to the board's folder if nothing speaks against them. Nothing on the board is overwritten.",
    )
    add.add_argument(
        "files", nargs="+", metavar="FILE", help="a result file (.json) that itprobe score wrote"
    )
    add.add_argument("--board", required=True, metavar="DIR", help="the board's folder")
    add.add_argument(
        "--recording",
        metavar="R",
        help="what the result is about, to check responses, splits and ceiling against; needed where the board has "
        "nothing on that recording yet",
    )
    add.set_defaults(run=run_add)


def _add_withhold(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    withhold = actions.add_parser(
        "withhold",
        help="make a public part of a recording, without the responses to a test part",
        description="Write public.nc with all images and the responses to all stimuli but the withheld ones, and "
        "withheld.nc with those, which the board's host keeps: the stimuli that the split leaves untouched (course: "
        "10 %), else the test stimuli of one of its parts.",
    )
    withhold.add_argument("recording", metavar="R", help="a name, or the path of a recording")
    withhold.add_argument("--split", default="course", help="default course")
    withhold.add_argument(
        "--index", type=int, default=1, metavar="N", help="which of the split's parts, from 1 on (default 1)"
    )
    withhold.add_argument("--seed", type=seed_number, default=1, help="of the split (default 1)")
    withhold.add_argument("--out", required=True, metavar="DIR", help="the folder to write to")
    withhold.set_defaults(run=run_withhold)


def _add_grade(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    grade = actions.add_parser(
        "grade",
        help="score predictions of withheld stimuli",
        description="Score what itprobe predict wrote against the responses that the board's host keeps.",
    )
    grade.add_argument("predictions", metavar="PREDS", help="the file that itprobe predict wrote")
    grade.add_argument(
        "--withheld", required=True, metavar="FILE", help="withheld.nc, as leaderboard withhold wrote it"
    )
    grade.add_argument("--board", metavar="DIR", help="put the result on this board")
    grade.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    grade.set_defaults(run=run_grade)


def run_add(options: argparse.Namespace) -> None:
    """Add one file after the other; of those that are rejected, print every reason."""
    from itprobe.data import load_recording
    from itprobe.leaderboard.board.adding import Rejected, add_result

    recording = load_recording(options.recording) if options.recording else None
    rejected = []
    for file in options.files:
        try:
            print(f"{file}: added as {add_result(file, options.board, recording)}", flush=True)
        except Rejected as rejection:
            rejected.append(file)
            for reason in rejection.reasons:
                print(f"{file}: {' '.join(reason.split())}", file=sys.stderr)
    if rejected:
        raise InputError(
            f"{len(rejected)} of {len(options.files)} files were not added, for the reasons above"
        )


def run_withhold(options: argparse.Namespace) -> None:
    """Write both parts and say which of them is whose."""
    from itprobe.data import load_recording
    from itprobe.leaderboard.board.withholding import withhold_test_part

    public, withheld, counts = withhold_test_part(
        load_recording(options.recording), options.out, options.split, options.index, options.seed
    )
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(
        f"stimuli: {parts}\npublish: {public} and {public.with_suffix('.stimuli')}\n"
        f"keep: {withheld} (the responses to the {counts['test']} test stimuli)"
    )


def run_grade(options: argparse.Namespace) -> None:
    """Grade predictions, print the score, and put it on a board where one is given."""
    from itprobe.data.withheld import read_withheld
    from itprobe.grading import grade
    from itprobe.leaderboard import ranking_table
    from itprobe.leaderboard.board.adding import add_graded
    from itprobe.leaderboard.board.answers import read_answers

    result, held_out = grade(read_answers(options.predictions), read_withheld(options.withheld))
    path = add_graded(result, held_out, options.board) if options.board else None
    print(result.model_dump_json() if options.json else ranking_table([result]))
    if path and not options.json:
        print(f"\nadded as {path}; its predictions file holds the withheld responses: publish the site alone")
