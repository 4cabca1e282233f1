"""The command line, ``itprobe COMMAND``: `build_parser` has the list of commands.

Exit codes: 0 done; 2 bad input, with one line that says what was wrong, where, and what to do; 1 a fault
of ours; 130 interrupted.
"""

import argparse
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from itprobe import __version__
from itprobe.command_options import add_computing, extraction_of
from itprobe.errors import InputError
from itprobe.export_command import add_export
from itprobe.leaderboard_command import add_leaderboard
from itprobe.predict_command import add_predict
from itprobe.submit_command import add_submit, add_validate
from itprobe.sweep_command import add_sweep
from itprobe.table_command import add_table
from itprobe.tune_command import add_tune

if TYPE_CHECKING:
    from itprobe.api import ScoredLayer

DEFAULT_RESULTS = "itprobe-results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    # Brain-Score's own classes set this off at every import; a user can do nothing about it.
    warnings.filterwarnings("ignore", message="xarray subclass", category=FutureWarning)
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        _leave(f"itprobe: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt:
        _leave("itprobe: interrupted; finished results stay where they are", 130)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except Exception:
        traceback.print_exc()
        _leave("itprobe: this is a fault of itprobe, please report the lines above", 1)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code) from None


def build_parser() -> argparse.ArgumentParser:
    """Make the parser; every command has a function in `run`."""
    parser = argparse.ArgumentParser(
        prog="itprobe",
        description="Score vision models, layer by layer, on how well they predict macaque IT responses.",
    )
    parser.add_argument("--version", action="version", version=f"itprobe {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_list(commands)
    _add_score(commands)
    add_sweep(commands)
    add_table(commands)
    add_tune(commands)
    add_export(commands)
    add_submit(commands)
    add_validate(commands)
    _add_partition(commands)
    _add_recording(commands)
    _add_cache(commands)
    add_leaderboard(commands)
    add_predict(commands)
    return parser


def _add_list(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("list", help="list what can be scored, and on what")
    parser.add_argument("what", choices=sorted(LISTS))
    parser.set_defaults(run=run_list)


def _add_score(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "score",
        help="score candidates on a benchmark and rank them",
        description="Score candidates NAME[@WEIGHTS][:LAYER] on a benchmark, rank them, write result files "
        "and a picture. A network without a layer is scored at each of its blocks.",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="e.g. efficientnet_lite0:_blocks.12")
    parser.add_argument("--benchmark", required=True, metavar="ID", help="e.g. simulated_small.IT-ridge")
    parser.add_argument(
        "--layer",
        action="append",
        default=[],
        metavar="L",
        help="layer for models that name none: NAME, NAME~pool4, NAME,NAME (for -banded), 'blocks' (default), "
        "'all', or 'auto': the block chosen in each split on inner folds of its training stimuli; may be repeated",
    )
    add_computing(parser)
    parser.add_argument(
        "--results", default=DEFAULT_RESULTS, metavar="DIR", help=f"default {DEFAULT_RESULTS}"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the results as JSON lines instead of a table"
    )
    parser.add_argument(
        "--shared-lambda", action="store_true", help="one lambda for all neuroids instead of one for each"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the mapping, e.g. n_components=50 (pcr, pls), folds=5 or lambdas=1,10,100 (ridge), "
        "distance=euclidean (rsa), unbiased=false (cka); may be repeated",
    )
    parser.add_argument(
        "--diagnostics",
        action="store_true",
        help="also draw each layer's spectrum and lambda curve beside its result file; not of auto",
    )
    parser.set_defaults(run=run_score)


def _add_partition(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "partition",
        help="unique and shared explained variance of several feature spaces",
        description="What two to four feature spaces, each NAME[@WEIGHTS]:LAYER or a control, explain alone "
        "and share, by banded ridge from every set of them on the same splits.",
    )
    parser.add_argument(
        "spaces", nargs="+", metavar="SPACE", help="e.g. efficientnet_lite0:_blocks.12 pixels"
    )
    parser.add_argument("--benchmark", required=True, metavar="ID", help="e.g. simulated_small.IT-banded")
    add_computing(parser)
    parser.add_argument("--out", metavar="FILE.nc", help="also write all figures, neuroid by neuroid")
    parser.set_defaults(run=run_partition)


def _add_recording(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("recording", help="describe, package or fetch a recording")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    describe = actions.add_parser("describe", help="stimuli, neuroids, repetitions, reliability")
    describe.add_argument("recording", metavar="R", help="a name (itprobe list recordings) or a path")
    describe.add_argument("--contact-sheet", metavar="PNG", help="also draw the stimuli into this file")
    describe.set_defaults(run=run_describe)

    package = actions.add_parser("package", help="make a recording from images and an array of responses")
    package.add_argument(
        "--stimuli", required=True, metavar="DIR|ZIP", help="images; name order = stimulus order"
    )
    package.add_argument("--responses", required=True, metavar="FILE", help=".npz, .npy, .csv or .h5")
    package.add_argument("--region", required=True, help="e.g. IT")
    package.add_argument("--out", required=True, metavar="R.nc")
    package.add_argument("--citation", default="not given", metavar="TEXT", help="where the data come from")
    package.add_argument(
        "--visual-degrees", type=float, default=8.0, metavar="DEG", help="width of the images (default 8)"
    )
    package.set_defaults(run=run_package)

    fetch = actions.add_parser("fetch", help="download a public recording")
    fetch.add_argument("recording", metavar="R", help="MajajHong2015.public")
    fetch.set_defaults(run=run_fetch)


def _add_cache(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "cache", help="what is kept of known layers on known stimuli, and of trainings"
    )
    parser.add_argument("action", choices=["info", "clear"])
    parser.add_argument("--fits", action="store_true", help="clear networks trained on responses, too")
    parser.set_defaults(run=run_cache)


def _list_models() -> list[str]:
    from itprobe.models import list_candidates
    from itprobe.models.fitted.registry import FITTED_NAMES, NOTES

    fitted = [f"{name}\tfitted\t{NOTES[name.partition('+')[0]]}" for name in FITTED_NAMES]
    return fitted + [f"{item.identifier}\t{item.track}\t{item.note}" for item in list_candidates()]


def _list_benchmarks() -> list[str]:
    from itprobe.benchmarks import list_benchmarks

    return list_benchmarks()


def _list_recordings() -> list[str]:
    from itprobe.data import RECORDINGS

    return list(RECORDINGS)


def _list_mappings() -> list[str]:
    from itprobe.benchmarks.identifiers import MAPPING_NAMES

    return MAPPING_NAMES


LISTS: dict[str, Callable[[], list[str]]] = {
    "benchmarks": _list_benchmarks,
    "mappings": _list_mappings,
    "models": _list_models,
    "recordings": _list_recordings,
}


def run_list(options: argparse.Namespace) -> None:
    """Print the names of a kind, one a line."""
    print("\n".join(LISTS[options.what]()))


def run_score(options: argparse.Namespace) -> None:
    """Score, print the ranking, and say where the files are."""
    from itprobe.files import file_name_of
    from itprobe.leaderboard import draw_ranking, ranking_table

    results = []
    try:
        for scored in _scored(options):
            results.append(scored.result)
            if options.json:
                print(scored.result.model_dump_json(), flush=True)
    finally:  # a candidate that fails does not take the finished ones with it
        if results and not options.json:
            folder = Path(options.results)
            picture = draw_ranking(results, folder / f"{file_name_of(results[0].benchmark.id)}.png")
            print(ranking_table(results))
            print(f"\n{len(results)} result files: {folder}\npicture: {picture}")


def _scored(options: argparse.Namespace) -> "Iterator[ScoredLayer]":
    """Score layers through a mapping, or fit candidates to the responses, as the benchmark asks."""
    from itprobe.api import plan_requests, score_requests
    from itprobe.benchmarks import parse_benchmark
    from itprobe.benchmarks.identifiers import FITTED
    from itprobe.fitting import score_fitted
    from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS, with_options

    name = parse_benchmark(options.benchmark).mapping  # misspelt, it is known before networks are loaded
    if name == FITTED:
        _check_fitted_options(options)
        return score_fitted(
            options.models,
            options.benchmark,
            seed=options.seed,
            device=options.device,
            options=_mapping_options(options),
            results=options.results,
        )
    kind = {**MAPPINGS, **WHOLE_SET_MAPPINGS}[name]
    if options.shared_lambda and not hasattr(kind, "per_neuroid"):
        raise InputError(f"--shared-lambda: {name} has no lambda; leave it out")
    mapping = with_options(kind, _mapping_options(options))
    extraction = extraction_of(options)
    requests = plan_requests(
        options.models, options.layer, options.device, precision=options.precision, auto=True
    )
    return score_requests(
        requests,
        options.benchmark,
        seed=options.seed,
        results=options.results,
        mapping=mapping,
        extraction=extraction,
        diagnostics=options.diagnostics,
    )


def _check_fitted_options(options: argparse.Namespace) -> None:
    """Refuse options that mean something to mappings from frozen layers alone."""
    asked = {
        "--layer": bool(options.layer),
        "--diagnostics": options.diagnostics,
        "--shared-lambda": options.shared_lambda,
        "--precision": options.precision != "full",
        "--memory": options.memory is not None,
        "--features": options.features != "float32",
    }
    for option in [option for option, given in asked.items() if given]:
        raise InputError(f"{option} means nothing to candidates that are fitted to responses; leave it out")


def _mapping_options(options: argparse.Namespace) -> dict[str, str]:
    """Read ``--set NAME=VALUE`` and ``--shared-lambda``."""
    from itprobe.metrics.options import read_options

    chosen = read_options(options.set)
    if options.shared_lambda:
        chosen["per_neuroid"] = "false"
    return chosen


def run_partition(options: argparse.Namespace) -> None:
    """Partition explained variance and print the parts."""
    from itprobe.files import atomic_file, make_folder
    from itprobe.partitioning import partition, partition_table

    if options.out:
        make_folder(Path(options.out).parent)  # better known before hours of work
    dataset = partition(
        options.spaces,
        options.benchmark,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        extraction=extraction_of(options),
    )
    print(partition_table(dataset))
    if options.out:
        with atomic_file(Path(options.out)) as temporary:
            dataset.to_netcdf(temporary, engine="netcdf4")
        print(f"\nall figures: {options.out}")


def run_describe(options: argparse.Namespace) -> None:
    """Print what a recording holds."""
    from itprobe.benchmarks import recording_reliability
    from itprobe.data import check_contact_sheet_path, contact_sheet, describe_recording, load_recording

    if options.contact_sheet:
        check_contact_sheet_path(options.contact_sheet)
    assembly = load_recording(options.recording)
    sheet = options.contact_sheet and contact_sheet(assembly.attrs["stimulus_set"], options.contact_sheet)
    reliability = recording_reliability(assembly)
    print(describe_recording(assembly, reliability.rho if reliability else None))
    if sheet:
        print(f"contact sheet: {sheet}")


def run_package(options: argparse.Namespace) -> None:
    """Package images and responses as a recording."""
    from itprobe.data import package_recording

    path = package_recording(
        options.stimuli,
        options.responses,
        options.region,
        options.out,
        visual_degrees=options.visual_degrees,
        citation=options.citation,
    )
    print(f"recording: {path}\nscore on it: itprobe score MODEL --benchmark '{path}#{options.region}-ridge'")


def run_fetch(options: argparse.Namespace) -> None:
    """Download a recording."""
    from itprobe.data import fetch_recording

    print(f"{options.recording}: {fetch_recording(options.recording)}")


def run_cache(options: argparse.Namespace) -> None:
    """Say what is cached, or remove the Gram matrices and, if it is asked for, the trained networks."""
    from itprobe.metrics.store import GramStore
    from itprobe.models.fitted.cache import clear_fits, fit_sizes, fits_folder

    store = GramStore()
    if options.action == "clear":
        print(f"removed {store.clear()} Gram matrices from {store.folder}")
        if options.fits:
            print(f"removed {clear_fits()} fits from {fits_folder()}")
        return
    sizes, fits = store.sizes(), fit_sizes()
    print(f"{len(sizes)} Gram matrices, {sum(sizes) / 1e6:.1f} MB, in {store.folder}")
    print(f"{len(fits)} fits, {sum(fits) / 1e6:.1f} MB, in {fits_folder()}")
