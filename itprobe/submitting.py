"""Candidates, and itprobe's own plugins, as submissions to Brain-Score."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from itprobe.api import plan_requests, score_requests
from itprobe.auto_layer import AUTO
from itprobe.benchmarks import parse_benchmark
from itprobe.benchmarks.identifiers import FITTED
from itprobe.errors import InputError, unknown_name
from itprobe.files import atomic_file, check_folder
from itprobe.leaderboard.submission.native import native_plugin
from itprobe.leaderboard.submission.plugin import (
    REGIONS,
    Plugin,
    Weights,
    check_name,
    default_name,
    model_plugin,
    weights_to_submit,
)
from itprobe.leaderboard.submission.recipes import check_exportable, recipe_of
from itprobe.leaderboard.submission.reference import check_reference
from itprobe.leaderboard.submission.rehearsal import rehearse
from itprobe.metrics import DEFAULT_SEED
from itprobe.models import NetworkCandidate, load_candidate
from itprobe.models.identifiers import CandidateId

DEFAULT_BENCHMARK = "MajajHong2015public.IT-ridge"
"""A layer for Brain-Score is chosen where Brain-Score chooses its own: on the public recordings of IT."""


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes
    ----------
    path : Path
        The zip file.
    plugin : Plugin
    weights : Path or None
        The file to be hosted at ``--weights-url``.
    region_layer_map : dict of str to str
        Empty for plugins of itprobe's own.
    notes : list of str
        What the submitter should know, e.g. on what data a layer was chosen.
    """

    path: Path
    plugin: Plugin
    weights: Path | None
    region_layer_map: dict[str, str]
    notes: list[str]


def submit(
    model: str | nn.Module,
    out: str | Path,
    *,
    layer: str | None = None,
    regions: Mapping[str, str] | None = None,
    name: str | None = None,
    bibtex: str | None = None,
    benchmark: str = DEFAULT_BENCHMARK,
    weights_url: str | None = None,
    visual_degrees: float = 8,
    device: str = "auto",
    seed: int = DEFAULT_SEED,
    overwrite: bool = False,
) -> Submission:
    """Write a candidate as a Brain-Score plugin that stands alone, in a zip file.

    Parameters
    ----------
    model : str
        ``NAME[@WEIGHTS][:LAYER]`` of torchvision, timm, efficientnet_lite0 or ``file.py::factory``.
    out : str or Path
        The zip file.
    layer : str, optional
        For every region that `regions` does not name: a layer, ``NAME~pool4``, or ``auto`` for the block that
        `benchmark` chooses within the training stimuli of its splits, the one most splits chose.
    regions : mapping of str to str, optional
        Region -> layer.
    name : str, optional
        Of plugin and model in Brain-Score; by default made of the candidate's id.
    bibtex : str, optional
        One entry, to be shown beside the model.
    benchmark : str
        For the layer ``auto`` alone.
    weights_url : str, optional
        Where weights too large for the zip file will be hosted: they are written beside it, to be put there.
    visual_degrees : float
        Of the model's field of view.
    device : str
    seed : int
        Of the splits that ``auto`` is chosen in.
    overwrite : bool
        Whether a zip file that is there already is replaced.

    Raises
    ------
    InputError
        If the model cannot be written down, a layer or name is none, or a file cannot be written or is there
        already. What can be known without loading the model is said before it is.
    """
    parsed = check_exportable(model)
    wanted = _wanted_layers(parsed, layer, regions or {}, benchmark)
    if name is not None:
        check_name(name)
    if bibtex is not None:
        check_reference(bibtex)
    if not 0 < visual_degrees < 180:
        raise InputError(f"the field of view must be between 0 and 180 degrees, not {visual_degrees:g}")
    _check_out(Path(out), overwrite)
    candidate = load_candidate(CandidateId(parsed.name, parsed.weights), device)
    assert isinstance(candidate, NetworkCandidate), "controls were refused"
    recipe = recipe_of(parsed)
    if name is None:
        name = default_name(recipe)
        check_name(name)
    weights = weights_to_submit(candidate, recipe, weights_url)
    hosted = _file_to_host(weights, Path(out))
    for one in set(wanted.values()) - {AUTO}:
        candidate.check_layer(one)
    notes: list[str] = []
    if AUTO in wanted.values():
        chosen, notes = _chosen_layer(candidate.identifier, benchmark, device, seed)
        wanted = {region: chosen if one == AUTO else one for region, one in wanted.items()}
    plugin = model_plugin(
        candidate,
        recipe,
        name,
        wanted,
        weights=weights,
        bibtex=bibtex,
        visual_degrees=visual_degrees,
        chosen="; ".join(notes) or "layers named by the submitter",
    )
    notes += _shared(wanted)
    if not plugin.files["reference.bib"]:
        notes.append("without --bibtex FILE the model will stand on Brain-Score's board without a reference")
    if recipe.source_file:
        source = Path(parsed.name.partition("::")[0]).expanduser()
        rehearse(plugin.files, source, recipe.title, weights.content if weights and hosted else None)
    path = plugin.write(out)
    if weights and hosted:
        with atomic_file(hosted) as temporary:
            temporary.write_bytes(weights.content)
    return Submission(path, plugin, hosted, wanted, notes)


def submit_native(kind: str, out: str | Path, *, overwrite: bool = False) -> Submission:
    """Write itprobe's own benchmarks, metrics or data as a plugin, in a zip file.

    Raises
    ------
    InputError
        If there is no such kind, or the file cannot be written, or is there already and `overwrite` is false.
    """
    _check_out(Path(out), overwrite)
    plugin = native_plugin(kind)
    note = f"these {kind} are code of itprobe: they need it installed, as their requirements.txt says"
    return Submission(plugin.write(out), plugin, None, {}, [note])


def _wanted_layers(
    parsed: CandidateId, layer: str | None, regions: Mapping[str, str], benchmark: str
) -> dict[str, str]:
    """Layer, or ``auto``, of every region, in Brain-Score's order."""
    for region in regions:
        if region not in REGIONS:
            raise unknown_name("region", region, REGIONS)
    if layer and parsed.layer:
        raise InputError(f"{parsed} names a layer already; leave --layer {layer} out")
    default = layer or parsed.layer
    missing = [region for region in REGIONS if region not in regions]
    if missing and not default:
        raise InputError(
            f"{parsed}: no layer for {', '.join(missing)}, for which Brain-Score would download recordings to choose "
            "one; give --layer L, --layer auto, or --regions"
        )
    wanted = {region: regions.get(region) or str(default) for region in REGIONS}
    if any("," in one for one in wanted.values()):
        raise InputError("Brain-Score takes one layer for a region; name one")
    if AUTO in wanted.values() and parse_benchmark(benchmark).mapping == FITTED:
        raise InputError(f"{benchmark} fits networks and chooses no layer; name e.g. {DEFAULT_BENCHMARK}")
    return wanted


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix != ".zip":
        raise InputError(f"--out {out}: a submission is a zip file; give it a name that ends in .zip")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give the name of a file in it")
    if out.exists() and not overwrite:
        raise InputError(f"--out {out} is there already; give another name, or --overwrite to replace it")
    check_folder(out.parent)


def _chosen_layer(candidate: str, benchmark: str, device: str, seed: int) -> tuple[str, list[str]]:
    """Block that most splits chose, and on what data."""
    (request,) = plan_requests([candidate], [AUTO], device, auto=True)
    (scored,) = score_requests([request], benchmark, seed=seed)
    result = scored.result
    choice = result.candidate.choice
    assert choice is not None, "the layer was auto"
    layer, count = Counter(choice.chosen).most_common(1)[0]
    recording = result.recording
    notes = [
        f"{layer} was chosen among {len(choice.among)} blocks on {recording.region} of {recording.id}, within the "
        f"training stimuli of its splits ({count} of {len(choice.chosen)} chose it)"
    ]
    if recording.simulated:
        notes.append(
            f"{recording.id} is simulated: which layer is best there says nothing about the brain; choose on real "
            f"recordings (--benchmark {DEFAULT_BENCHMARK}) before you submit"
        )
    return layer, notes


def _shared(region_layer_map: Mapping[str, str]) -> list[str]:
    if len(set(region_layer_map.values())) > 1:
        return []
    (layer,) = set(region_layer_map.values())
    return [f"{layer} stands for all regions; --regions V1=L,V2=L,V4=L,IT=L names a layer for each"]


def _file_to_host(weights: Weights | None, out: Path) -> Path | None:
    """Where weights that will be downloaded are written: beside the zip file, and over no other weights."""
    if weights is None or weights.url is None:
        return None
    file = out.with_suffix(".safetensors")
    if file.exists() and not (file.is_file() and file.read_bytes() == weights.content):
        raise InputError(
            f"the weights to host would be written to {file}, which is there already and differs; "
            "give --out another name"
        )
    return file
