"""What a sweep is asked to do, and the manifest by which its folder is known again."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from itprobe.benchmarks import BenchmarkId, PredictivityBenchmark, prepare_target
from itprobe.benchmarks.features import Extraction
from itprobe.benchmarks.identifiers import DEFAULT_SPLIT, FITTED
from itprobe.benchmarks.selection import INNER_FOLDS
from itprobe.benchmarks.target import default_region
from itprobe.data import load_recording
from itprobe.errors import InputError, unknown_name
from itprobe.files import atomic_file, make_folder
from itprobe.leaderboard import load_result
from itprobe.metrics import DEFAULT_SEED, MAPPINGS, SPLITS, WHOLE_SET_MAPPINGS
from itprobe.metrics.options import with_shared_options
from itprobe.models import Precision, parse_candidate

Resume = Literal["always", "never", "only-missing", "only-cache"]
MANIFEST = "sweep.json"
MANIFEST_FORMAT = 1
_LAYER_MAPPINGS = [*MAPPINGS, *WHOLE_SET_MAPPINGS]


@dataclass(frozen=True)
class Settings:
    """How models are scored; see `itprobe.sweep` for the meaning of each.

    Raises
    ------
    InputError
        If a mapping, a split or a resume policy does not exist, no mapping has a parameter, or a number is
        out of range.
    """

    region: str | None = None
    layers: list[str] = field(default_factory=lambda: ["blocks"])
    mappings: list[str] = field(default_factory=lambda: ["ridge"])
    split: str = DEFAULT_SPLIT
    seed: int = DEFAULT_SEED
    device: str = "auto"
    precision: Precision = "full"
    extraction: Extraction = Extraction()
    preprocessing: dict[str, Any] | None = None
    resume: Resume = "only-missing"
    seeds_of_random: int = 1
    inner_folds: int = INNER_FOLDS
    combine: bool = False
    parameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.mappings:
            raise InputError(f"a sweep needs a mapping at least, of: {', '.join(_LAYER_MAPPINGS)}")
        if FITTED in self.mappings:
            raise InputError(
                f"a sweep scores layers under mappings, and {FITTED} is none: score candidates that are fitted to the "
                "responses with itprobe score, or with itprobe table"
            )
        for kind, name, known in (
            *(("mapping", mapping, _LAYER_MAPPINGS) for mapping in self.mappings),
            ("split", self.split, list(SPLITS)),
            ("resume policy", self.resume, get_args(Resume)),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        if self.seeds_of_random < 1:
            raise InputError(f"random weights need a seed at least, not {self.seeds_of_random}")
        if self.inner_folds < 0 or self.inner_folds == 1:
            raise InputError(
                f"a layer is chosen on two inner folds at least, not {self.inner_folds}; 0 chooses none"
            )
        sweep_mappings(self)


@dataclass(frozen=True)
class SweptModel:
    """A model of a sweep.

    Attributes
    ----------
    name : str
        Its id without a layer; the class of a module object.
    given : list of str or Module
        What was asked for: ids that differ in the layer only, or one module.
    baseline : str or None
        The id that several seeds of random weights stand for.
    """

    name: str
    given: list[str | nn.Module]
    baseline: str | None = None


def swept_models(models: Sequence[str | nn.Module], seeds_of_random: int = 1) -> list[SweptModel]:
    """Bring together ids that differ in the layer only, and write out the seeds of ``NAME@random``.

    An id that cannot be read is a model of its own: it fails when its turn comes, and no other with it.

    Raises
    ------
    InputError
        If there are no models, or one is given twice.
    """
    if not models:
        raise InputError("no model to sweep; name one, e.g. efficientnet_lite0")
    written_out = [one for model in models for one in _with_seeds(model, seeds_of_random)]
    counts = Counter(text if isinstance(text, str) else id(text) for text, _ in written_out)
    twice = [
        _shown(text) for text, _ in written_out if counts[text if isinstance(text, str) else id(text)] > 1
    ]
    if twice:
        names = ", ".join(dict.fromkeys(twice))
        raise InputError(f"given more than once: {names}; name each model and layer once")
    swept: dict[object, SweptModel] = {}
    for text, baseline in written_out:
        name = _shown(text)
        if isinstance(text, nn.Module):
            swept[id(text)] = SweptModel(name, [text])
        else:
            swept.setdefault(name, SweptModel(name, [], baseline)).given.append(text)
    return list(swept.values())


def _shown(model: str | nn.Module) -> str:
    """Id of a model without its layer; the text itself where it cannot be read."""
    if isinstance(model, nn.Module):
        return type(model).__name__
    try:
        return parse_candidate(model).identifier
    except InputError:
        return model


def _with_seeds(model: str | nn.Module, seeds: int) -> list[tuple[str | nn.Module, str | None]]:
    """``NAME@random`` as several seeds of it, each with the id that they stand for; all else as it is."""
    if seeds == 1 or isinstance(model, nn.Module):
        return [(model, None)]
    try:
        parsed = parse_candidate(model)
    except InputError:
        return [(model, None)]
    if parsed.weights != "random":
        return [(model, None)]
    return [(str(replace(parsed, weights=f"random-{seed}")), parsed.identifier) for seed in range(seeds)]


def read_models(path: str | Path) -> list[str]:
    """Model ids from a file, one a line; what follows ``#`` at the start or after a space is a comment.

    Raises
    ------
    InputError
        If the file cannot be read, or names no model.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read the list of models {path}: {reason}; give a text file") from None
    models = [f" {line}".split(" #")[0].strip() for line in lines]
    named = [model for model in models if model]
    if not named:
        raise InputError(f"{path} names no model; write one id a line")
    return named


def sweep_mappings(settings: Settings) -> dict[str, Any]:
    """Mappings of a sweep by name, with the parameters that are set; banded is among them to combine layers.

    Raises
    ------
    InputError
        If a parameter belongs to none of them, or has no such value.
    """
    known = {**MAPPINGS, **WHOLE_SET_MAPPINGS}
    names = dict.fromkeys([*settings.mappings, *["banded"] * settings.combine])
    kinds = {name: known[name] for name in names if name in known}
    return dict(zip(kinds, with_shared_options(list(kinds.values()), settings.parameters), strict=True))


def sweep_benchmarks(recording: str, settings: Settings) -> list[PredictivityBenchmark]:
    """One benchmark per mapping, all with the same target, which is loaded once.

    Raises
    ------
    InputError
        If the recording or the region does not exist, or there are several regions and none is named.
    """
    assembly = load_recording(recording)
    region = settings.region or default_region(assembly)
    target = prepare_target(assembly, region)
    benchmarks, mappings = [], sweep_mappings(settings)
    for name in dict.fromkeys(settings.mappings):
        split = DEFAULT_SPLIT if name in WHOLE_SET_MAPPINGS else settings.split
        benchmark = PredictivityBenchmark(
            BenchmarkId(recording, region, name, split), mapping=mappings.get(name)
        )
        benchmark.target = target
        benchmarks.append(benchmark)
    return benchmarks


def claim_folder(
    out: Path, models: list[SweptModel], settings: Settings, benchmark: PredictivityBenchmark
) -> None:
    """Write the manifest of a sweep into its folder, unless the folder is another sweep's.

    The same sweep, and one with more models, layers or mappings, may go on in a folder. A folder without
    results, as a misspelt name leaves it, belongs to nobody. Where the policy is ``always``, a folder of
    another sweep becomes this one's: its result files stay, its tables and pictures are replaced.

    Raises
    ------
    InputError
        If the folder holds another sweep, or any where the policy is ``never``.
    """
    path = out / MANIFEST
    manifest = _manifest(models, settings, benchmark)
    held = any((out / "results").glob("[!.]*.json"))
    if settings.resume == "never" and held:
        raise InputError(
            f"{out} holds results of a sweep already; choose another folder, or resume: only-missing"
        )
    if held and path.exists() and settings.resume != "always":
        before = _read_manifest(path)
        before["models"] = _with_results(before["models"], out / "results")
        _check_same(out, before, manifest)
    make_folder(out / "results")
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _with_results(names: object, results: Path) -> list[str]:
    """Of a manifest's models, those that have a result: others were misspelt, or were not reached."""
    assert isinstance(names, list)
    known = set()
    for path in results.glob("[!.]*.json"):
        with suppress(InputError):  # what is damaged is told of where results are taken over
            one = load_result(path).candidate
            known.add(one.id.removesuffix(f":{one.layer}") if one.layer else one.id)
    # A module object stands there by its class, in its results with the digest of its weights behind it.
    return [name for name in names if any(one == name or one.startswith(f"{name}-") for one in known)]


def forget_models(out: Path, names: Collection[str]) -> None:
    """Take models that failed out of a folder's manifest, so that the sweep may go on without them."""
    path = out / MANIFEST
    manifest = _read_manifest(path)
    models = manifest["models"]
    assert isinstance(models, list)
    manifest["models"] = [name for name in models if name not in names]
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _manifest(
    models: list[SweptModel], settings: Settings, benchmark: PredictivityBenchmark
) -> dict[str, object]:
    recording = benchmark.target.recording
    given = settings.preprocessing or {}
    return {
        "format": MANIFEST_FORMAT,
        "recording": str(recording["identifier"]),
        "recording_sha256": str(recording["sha256"]),
        "region": benchmark.benchmark_id.region,
        "split": settings.split,
        "seed": settings.seed,
        "precision": settings.precision,
        "features": settings.extraction.dtype,
        "preprocessing": {key: str(given[key]) for key in sorted(given)},
        "models": [model.name for model in models],
        "layers": settings.layers,
        "mappings": settings.mappings,
        "parameters": settings.parameters,
    }


def _read_manifest(path: Path) -> dict[str, object]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; choose another folder") from None
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        raise InputError(
            f"{path} is no manifest of a sweep that this itprobe can resume; choose another folder"
        )
    return manifest


def _check_same(out: Path, held: dict[str, object], asked: dict[str, object]) -> None:
    for name, now in asked.items():
        before = held.get(name, {})
        extended = (
            isinstance(now, list) and isinstance(before, list) and set(map(str, before)) <= set(map(str, now))
        )
        if before != now and not extended:
            raise InputError(
                f"{out} holds another sweep: its {name}: {_text(before)}, now asked for: {_text(now)}; "
                "choose another folder, ask for the same or more of the same, or have the folder taken over: resume "
                "always"
            )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
