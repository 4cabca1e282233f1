"""The fitted candidates there are, by name, and how one is made of an id and parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from itprobe.errors import InputError, unknown_name
from itprobe.files import sha256_values
from itprobe.models.candidate import NetworkCandidate
from itprobe.models.fitted.candidate import Design, FittedCandidate, NetworkFit
from itprobe.models.fitted.inputs import PreparedRows, layer_outputs, prepared_images, resized_images
from itprobe.models.fitted.networks import NETWORKS, FittedNetwork, Task
from itprobe.models.fitted.settings import TrainingSettings
from itprobe.models.fitted.user import UserFitted
from itprobe.models.identifiers import FITTED, FITTED_ON_BACKBONE, FittedId, parse_fitted
from itprobe.models.registry import load_candidate
from itprobe.models.stream import choose_device

FITTED_NAMES = (
    *FITTED,
    *(f"{kind}+BACKBONE{':LAYER' * (kind != 'finetuned')}" for kind in FITTED_ON_BACKBONE),
)

LARGEST_SIDE = 2048


@dataclass(frozen=True)
class FromImages:
    """Parameters of candidates that start from the images themselves.

    Attributes
    ----------
    side : int
        Images are shown whole, resized to side x side.
    """

    side: int = 64

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 1 <= self.side <= LARGEST_SIDE:
            raise InputError(f"side must be from 1 to {LARGEST_SIDE} pixels, not {self.side}")


DEFAULTS: dict[str, TrainingSettings] = {
    "convnet": TrainingSettings(epochs=40, shift=0.03),
    "dual_task": TrainingSettings(epochs=30, shift=0.03),
    "autoencoder": TrainingSettings(epochs=30, patience=6),
    "combined": TrainingSettings(epochs=12, lr=3e-4, patience=5),
    "readout": TrainingSettings(epochs=40, lr=1e-2),
    "finetuned": TrainingSettings(epochs=6, lr=1e-3, patience=4, shift=0.1),
}
"""How each kind is trained unless told otherwise."""

NOTES: dict[str, str] = {
    "convnet": "three convolutions and two linear layers, trained on the responses",
    "dual_task": "shared trunk, objects and responses (Kell et al. 2018)",
    "autoencoder": "images through a bottleneck, linear probe; pull=1 draws the bottleneck to the responses",
    "combined": "convolutions on a frozen layer, e.g. combined+torchvision/resnet50:layer3",
    "readout": "where and what of a frozen layer, per neuroid (Klindt et al. 2017)",
    "finetuned": "a trained network, trained on end to end from ridge on its layer; finetuned+BACKBONE[:LAYER]",
}

_DEEP = 0.75
"""Where a fine-tuned network is read by default, as part of its blocks: IT is best predicted well before the end."""


def load_fitted(
    candidate: str | FittedId,
    device: str = "auto",
    seed: int = 0,
    options: Mapping[str, str] | None = None,
    checkpoints: Path | None = None,
) -> FittedCandidate:
    """Make a fitted candidate.

    Parameters
    ----------
    candidate : str or FittedId
        E.g. ``convnet`` or ``combined+efficientnet_lite0:_blocks.8``, or ``path/to/file.py::factory`` whose
        factory gives an object with ``fit(stimuli, responses, labels)`` and ``predict(stimuli)``.
    device : str
        ``auto`` (cuda, else mps, else cpu) or a torch device.
    seed : int
        Of weights, validation part, order of stimuli, augmentation and dropout.
    options : mapping of str to str, optional
        Parameters as text, e.g. ``{"epochs": "20", "widths": "16,32,64"}``.
    checkpoints : Path, optional
        See `NetworkFit`.

    Raises
    ------
    InputError
        If there is no such candidate, backbone, layer or parameter.
    """
    if isinstance(candidate, str) and "::" in candidate and parse_fitted(candidate) is None:
        if options:
            raise InputError(
                f"{candidate} has parameters of its own making; set {', '.join(options)} in the file"
            )
        return UserFitted(candidate, seed)
    parsed = parse_fitted(candidate) if isinstance(candidate, str) else candidate
    if parsed is None:
        hint = (
            "(a candidate that is not fitted to the responses itself is scored with a mapping, e.g. on a -ridge "
            "benchmark)"
        )
        raise unknown_name("fitted candidate", str(candidate), FITTED_NAMES, hint)
    settings, training, images = _with_options(parsed.kind, options or {})
    if parsed.backbone is None:
        design = Design(
            settings,
            training,
            seed,
            settings.build,
            resized_images(images.side),
            standardised=True,
            needs_labels=parsed.kind == "dual_task",
            extra={"side": images.side},
        )
        return NetworkFit(str(parsed), design, choose_device(device), checkpoints=checkpoints)
    backbone = load_candidate(parsed.backbone, device)
    if not isinstance(backbone, NetworkCandidate):
        raise InputError(
            f"{parsed}: {backbone.identifier} is no network; write e.g. {parsed.kind}+efficientnet_lite0"
            + ":_blocks.8" * (parsed.kind != "finetuned")
        )
    layer = parsed.backbone.layer or _default_layer(parsed, backbone)
    backbone.check_layer(layer)
    rows, build = on_backbone(parsed.kind, backbone, layer, settings)
    design = Design(
        settings,
        training,
        seed,
        build,
        rows,
        standardised=parsed.kind != "finetuned",
        needs_labels=False,
        extra={"layer": layer},
        backbone=sha256_values(backbone.weights_sha256, backbone.preprocessing.digest, backbone.code),
        origin=backbone,
    )
    return NetworkFit(
        str(parsed), design, backbone.device, backbone.weights_sha256, backbone.weights_kind, checkpoints
    )


def on_backbone(
    kind: str, backbone: NetworkCandidate, layer: str, settings: Any
) -> tuple[PreparedRows, Callable[[Task], FittedNetwork]]:
    """Inputs of a candidate that stands on a backbone, and what builds its network."""
    if kind == "finetuned":
        return prepared_images(backbone), partial(settings.build, backbone=backbone.module, layer=layer)
    return layer_outputs(backbone, layer), settings.build


def _default_layer(parsed: FittedId, backbone: NetworkCandidate) -> str:
    blocks = backbone.layers("blocks")
    if parsed.kind != "finetuned":
        raise InputError(f"{parsed} names no layer; write e.g. {parsed}:{blocks[int(_DEEP * len(blocks))]}")
    return blocks[min(len(blocks) - 1, int(_DEEP * len(blocks)))]


def _with_options(kind: str, options: Mapping[str, str]) -> tuple[Any, TrainingSettings, FromImages]:
    """Settings of a kind with some of them given as text."""
    parts: list[Any] = [NETWORKS[kind](), DEFAULTS[kind], FromImages()]
    owners = parts[:2] + parts[2:] * (kind in FITTED)
    places = {item.name: place for place, part in enumerate(owners) for item in fields(part)}
    for name, text in options.items():
        if name not in places:
            raise unknown_name(f"parameter of {kind}", name, places)
        place = places[name]
        parts[place] = replace(parts[place], **{name: _value(kind, name, text, type(parts[place]))})
    return parts[0], parts[1], parts[2]


def _value(kind: str, name: str, text: str, owner: type) -> Any:
    """Read a parameter's text as its annotation says; numbers of a tuple have commas between them."""
    hint = get_type_hints(owner)[name]
    given: object = None if text.lower() == "none" else text
    if "tuple" in str(hint) and given is not None:
        given = [part for part in text.split(",") if part]
    try:
        return TypeAdapter(hint).validate_python(given)
    except ValidationError:
        form = str(hint).replace("typing.", "") if not isinstance(hint, type) else hint.__name__
        raise InputError(f"parameter {name} of {kind} must be {form}, not {text!r}") from None
