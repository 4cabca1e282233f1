"""Candidate ids: ``NAME[@WEIGHTS][:LAYER]``, and the names of layers."""

import re
from dataclasses import dataclass

from itprobe.errors import InputError
from itprobe.models.brainscore_zoo.registrations import PREFIX, split_layer

FITTED = ("convnet", "dual_task", "autoencoder")
FITTED_ON_BACKBONE = ("combined", "readout", "finetuned")
_POOLED = re.compile(r"pool([1-9]\d*)")


@dataclass(frozen=True)
class CandidateId:
    """A parsed candidate id.

    Attributes
    ----------
    name : str
        The source and the model, e.g. ``torchvision/resnet50`` or ``path/to/file.py::factory``.
    weights : str or None
        ``random``, ``random-SEED``, a name the source knows, or a path; None means the source's own.
    layer : str or None
        A layer as `parse_layer` reads it.
    """

    name: str
    weights: str | None = None
    layer: str | None = None

    @property
    def identifier(self) -> str:
        """The id without its layer: ``NAME[@WEIGHTS]``."""
        return self.name if self.weights is None else f"{self.name}@{self.weights}"

    def __str__(self) -> str:
        return self.identifier if self.layer is None else f"{self.identifier}:{self.layer}"


@dataclass(frozen=True)
class LayerName:
    """A module's name and, where its output is spatially pooled, the side of the pooled map."""

    module: str
    pool: int | None = None

    def __str__(self) -> str:
        return self.module if self.pool is None else f"{self.module}~pool{self.pool}"


@dataclass(frozen=True)
class FittedId:
    """A parsed id of a candidate that is fitted to responses.

    Attributes
    ----------
    kind : str
        E.g. ``convnet`` or ``combined``.
    backbone : CandidateId or None
        The network, with or without a layer, that it starts from.
    """

    kind: str
    backbone: CandidateId | None

    def __str__(self) -> str:
        return self.kind if self.backbone is None else f"{self.kind}+{self.backbone}"


def parse_candidate(text: str) -> CandidateId:
    """Split a candidate id into name, weights and layer.

    ``::`` (a factory in a Python file) is read first, then ``+`` (a fitted candidate on a backbone),
    then the layer after the last ``:``, then the weights after ``@``. A path before ``::`` may hold
    any of the other signs; a path to weights must not hold ``:``; names of Brain-Score's zoo may.

    Raises
    ------
    InputError
        If a part is empty, or the id names a fitted candidate, which has no layers to map.
    """
    if parse_fitted(text):
        raise InputError(
            f"candidate {text!r} is fitted to the responses themselves; score it on a -fitted benchmark, e.g. "
            "simulated_small.IT-fitted.course"
        )
    path, separator, rest = text.partition("::")
    if not separator:
        path, rest = "", text
    if not separator and text.startswith(PREFIX):
        head, colon, layer = split_layer(text)
    else:
        head, colon, layer = rest.rpartition(":") if ":" in rest else (rest, "", "")
    name, at, weights = head.partition("@")
    for part, sign, what in ((layer, colon, "layer after ':'"), (weights, at, "weights after '@'")):
        if sign and not part:
            raise InputError(f"candidate {text!r}: the {what} is empty; write NAME[@WEIGHTS][:LAYER]")
    if not name or (separator and not path):
        raise InputError(f"candidate {text!r}: the name is empty; write NAME[@WEIGHTS][:LAYER]")
    return CandidateId(path + separator + name, weights or None, layer or None)


def parse_layer(text: str) -> LayerName:
    """Split ``NAME[~poolSIDE]`` into the module's name and the side of the pooled map.

    Raises
    ------
    InputError
        If what follows ``~`` is not ``pool`` and a positive number.
    """
    module, tilde, suffix = text.partition("~")
    match = _POOLED.fullmatch(suffix)
    if not module or (tilde and match is None):
        raise InputError(f"layer {text!r} cannot be read; write NAME, NAME~pool4 or NAME~pool1")
    return LayerName(module, int(match.group(1)) if match else None)


def parse_fitted(text: str) -> FittedId | None:
    """Read ``KIND`` or ``KIND+BACKBONE[:LAYER]``; None where it names no fitted candidate.

    Raises
    ------
    InputError
        If a kind that has no backbone is given one, or the other way round.
    """
    kind, plus, backbone = text.partition("+")
    if plus and kind in FITTED_ON_BACKBONE:
        if re.split(r"[@:+]", backbone, maxsplit=1)[0] in (*FITTED, *FITTED_ON_BACKBONE):
            raise InputError(
                f"candidate {text!r}: {backbone} is fitted to responses itself and no backbone; write e.g. "
                f"{kind}+efficientnet_lite0"
            )
        return FittedId(kind, parse_candidate(backbone))
    if kind in FITTED_ON_BACKBONE:
        raise InputError(f"candidate {text!r} needs a backbone; write e.g. {kind}+efficientnet_lite0")
    name = re.split(r"[@:+]", text, maxsplit=1)[0]
    if name in FITTED and name != text:
        raise InputError(f"candidate {text!r}: {name} starts from random numbers; write {name}")
    return FittedId(text, None) if name in FITTED else None
