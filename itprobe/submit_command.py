"""The commands ``itprobe submit`` and ``itprobe validate``."""

import argparse
import shlex
from pathlib import Path

from itprobe.command_options import seed_number
from itprobe.errors import InputError

_MODEL_OPTIONS = ("layer", "regions", "name", "bibtex", "benchmark", "weights_url")


def add_submit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``submit`` to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "submit",
        help="write a model as a submission to Brain-Score",
        description="Write a model of torchvision, timm, efficientnet_lite0 or file.py::factory as a Brain-Score "
        "plugin that needs no itprobe, in a zip file to upload or to unpack into a pull request; or itprobe's own "
        "benchmarks, metrics or data.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="NAME[@WEIGHTS][:LAYER], e.g. efficientnet_lite0:_blocks.12"
    )
    parser.add_argument("--out", required=True, metavar="FILE.zip")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.zip where it is there already")
    parser.add_argument(
        "--layer",
        metavar="L",
        help="for all regions that --regions leaves out: NAME, NAME~pool4, or 'auto', the block chosen on --benchmark",
    )
    parser.add_argument(
        "--regions", metavar="R=L,R=L", help="layers of single regions, e.g. IT=layer4,V4=layer3"
    )
    parser.add_argument("--name", help="of the plugin and the model (default: made of the model's id)")
    parser.add_argument("--bibtex", metavar="FILE", help="one BibTeX entry, shown beside the model")
    parser.add_argument(
        "--benchmark",
        metavar="ID",
        help="that 'auto' chooses a layer on (default MajajHong2015public.IT-ridge)",
    )
    parser.add_argument(
        "--weights-url",
        metavar="URL",
        help="https address where you host a weights file too large for the zip; it is written beside the zip",
    )
    parser.add_argument(
        "--visual-degrees", type=float, default=8, metavar="D", help="field of view (default 8)"
    )
    parser.add_argument(
        "--plugin",
        choices=("benchmarks", "metrics", "data"),
        help="submit these of itprobe's own, not a model",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--seed", type=seed_number, default=1, help="of the splits for 'auto' (default 1)")
    parser.set_defaults(run=run_submit)


def add_validate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``validate`` to the parser of `itprobe.cli`."""
    parser = commands.add_parser(
        "validate",
        help="check a submission as Brain-Score would",
        description="Check a zip file without running any of it; then run Brain-Score's own tests of plugins, and "
        "the plugin's, in a new environment with its requirements. That runs the submission's code: validate only "
        "what you would run.",
    )
    parser.add_argument("submission", metavar="FILE.zip")
    parser.add_argument(
        "--here",
        action="store_true",
        help="use the packages installed here in place of a new environment (5 GB)",
    )
    parser.add_argument(
        "--python", metavar="PATH", help="interpreter of the new environment (default: this one)"
    )
    parser.add_argument("--static", action="store_true", help="read only, run nothing of it")
    parser.set_defaults(run=run_validate)


def run_submit(options: argparse.Namespace) -> None:
    """Write a submission, and say what is in it and what comes next."""
    from itprobe.submitting import DEFAULT_BENCHMARK, submit, submit_native

    if options.plugin:
        given = [name for name in ("model", *_MODEL_OPTIONS) if getattr(options, name)]
        if given:
            raise InputError(f"--plugin {options.plugin} is no model; leave {given[0].replace('_', '-')} out")
        made = submit_native(options.plugin, options.out, overwrite=options.overwrite)
    elif options.model is None:
        raise InputError("name a model to submit, or one of itprobe's own plugins with --plugin")
    else:
        made = submit(
            options.model,
            options.out,
            layer=options.layer,
            regions=_regions(options.regions),
            name=options.name,
            bibtex=_bibtex(options.bibtex),
            benchmark=options.benchmark or DEFAULT_BENCHMARK,
            weights_url=options.weights_url,
            visual_degrees=options.visual_degrees,
            device=options.device,
            seed=options.seed,
            overwrite=options.overwrite,
        )
    print(f"plugin: {made.plugin.kind}/{made.plugin.name}, {len(made.plugin.files)} files")
    if made.region_layer_map:
        print("layers: " + ", ".join(f"{region} {layer}" for region, layer in made.region_layer_map.items()))
    print("".join(f"note: {note}\n" for note in made.notes), end="")
    if made.weights:
        print(f"weights: {made.weights}\nput that file at {options.weights_url} before you submit")
    print(f"submission: {made.path}\ncheck it: itprobe validate {shlex.quote(str(made.path))}")


def run_validate(options: argparse.Namespace) -> None:
    """Print every check as it is made; a failure of any is bad input."""
    from itprobe.leaderboard.submission.validation import validate

    failed = total = 0
    for check in validate(
        options.submission, here=options.here, python=options.python, run=not options.static
    ):
        print(check, flush=True)
        total += check.state != "note"
        failed += check.state == "failed"
    if failed:
        raise InputError(f"{options.submission}: {failed} of {total} checks failed; see above for what to do")
    print(f"all {total} checks passed: {options.submission}")


def _regions(text: str | None) -> dict[str, str]:
    pairs = [item.partition("=") for item in (text or "").split(",") if item]
    for region, sign, layer in pairs:
        if not (region and sign and layer):
            raise InputError(f"--regions {text}: write R=LAYER,R=LAYER, e.g. IT=layer4,V4=layer3")
    regions = {region: layer for region, _, layer in pairs}
    if len(regions) < len(pairs):
        raise InputError(f"--regions {text}: a region is named twice")
    return regions


def _bibtex(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"--bibtex {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"--bibtex {path} is no text in UTF-8") from None
