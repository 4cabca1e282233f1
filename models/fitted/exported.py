"""Exported fits read again: nothing in their folders is unpickled, and nothing damaged or altered is taken."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from itprobe.errors import InputError, unknown_name
from itprobe.files import sha256_file
from itprobe.models.candidate import NetworkCandidate
from itprobe.models.fitted.export_format import CHECK, FIT, FORMAT, BackboneNote, Description, on_known_inputs
from itprobe.models.fitted.finished import CONFIG, WEIGHTS, Probe, from_tensors
from itprobe.models.fitted.inputs import PreparedRows, TensorInputs, resized_images
from itprobe.models.fitted.networks import NETWORKS, FittedNetwork, Task
from itprobe.models.fitted.predicting import predictions
from itprobe.models.fitted.registry import on_backbone
from itprobe.models.fitted.training import placed
from itprobe.models.identifiers import CandidateId, FittedId, parse_candidate, parse_fitted
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.registry import load_candidate
from itprobe.models.stream import choose_device, stimulus_ids
from itprobe.models.user_code import one_line
from itprobe.models.weights import build_seeded

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

_TOLERANCE = 1e-3
"""Of outputs on known inputs, relative to the largest: far above rounding on other machines."""
_MISFITS = (RuntimeError, ValueError, KeyError, IndexError, TypeError, MemoryError)
"""What torch and our own checks raise where weights, settings and task do not belong together."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A fit that was read from a folder.

    Attributes
    ----------
    description : Description
    device : torch.device
    """

    description: Description
    device: torch.device
    _network: FittedNetwork = field(repr=False)
    _rows: Callable[[], PreparedRows] = field(repr=False)
    _mean: np.ndarray = field(repr=False)
    _deviation: np.ndarray = field(repr=False)
    _probe: Probe | None = field(repr=False)

    @property
    def identifier(self) -> str:
        """Name that tells recording, split, seed and weights; see `Description.identifier`."""
        return self.description.identifier

    @property
    def neuroid_ids(self) -> list[str]:
        """Of the q columns of a prediction; their numbers where the recording's ids were not exported."""
        return self.description.neuroid_ids or [str(j) for j in range(self.description.task.n_neuroids)]

    @cached_property
    def training_stimuli(self) -> frozenset[str]:
        """Ids of all stimuli that it was fitted to."""
        return frozenset(self.description.training_stimuli)

    def predict(self, stimuli: "StimulusSet") -> np.ndarray:
        """Predict responses (m, q) to m stimuli, in the units of those that it was fitted to."""
        # Rows of its own for each call: nothing of earlier stimuli is kept.
        inputs = TensorInputs(self._rows().of(stimuli), self.device)
        return predictions(self._network, inputs, self._mean, self._deviation, self._probe)

    def trained_on(self, stimuli: "StimulusSet | Sequence[str]") -> int:
        """Count the stimuli, or stimulus ids, that it was fitted to: on them no score is a held-out score."""
        ids = stimulus_ids(stimuli) if hasattr(stimuli, "columns") else stimuli
        return len(self.training_stimuli.intersection(map(str, ids)))


def load_exported(folder: str | Path, device: str = "auto", backbone: str | None = None) -> Exported:
    """Read a fit that was exported.

    Nothing in the folder is unpickled or run. A backbone of the form ``path/to/file.py::factory`` is named in
    ``fit.json``, and that file is run, as wherever it is named: know it before you load what others exported.

    Parameters
    ----------
    folder : str or Path
    device : str
        ``auto`` (cuda, else mps, else cpu) or a torch device.
    backbone : str, optional
        ``NAME[@WEIGHTS]`` of the backbone here, where it lies elsewhere than when the fit was exported.

    Raises
    ------
    InputError
        If there is no export, it is damaged, was altered or has another format, it has a setting that is not
        known here, its backbone is not the one it was fitted with, or its network computes something else.
    """
    folder = Path(folder)
    described = _read_description(folder)
    tensors = _read_weights(folder, described)
    parsed = parse_fitted(described.candidate)
    if parsed is None:
        raise unknown_name(f"fitted candidate in {folder / CONFIG}", described.candidate, NETWORKS)
    settings = _settings(parsed.kind, described.settings, folder)
    place = choose_device(device)
    rows, build = _inputs_and_network(folder, described, parsed, settings, device, backbone)
    try:
        # Laid out as in the fit: sums then run in the same order, to the last bit.
        network = placed(build_seeded(lambda: build(described.task), 0), torch.device("cpu"))
        weights, mean, deviation, probe = from_tensors(tensors)
        network.load_state_dict(weights)
        network.eval()
        _check_shapes(described, mean, deviation, probe)
        _check_outputs(tensors[CHECK], on_known_inputs(network, probe))
    except _MISFITS as error:
        raise InputError(
            f"the export {folder} cannot be made into a network ({one_line(error)}); export the fit anew"
        ) from error
    return Exported(described, place, network.to(place), rows, mean, deviation, probe)


def _read_description(folder: Path) -> Description:
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}, no JSON"
        raise InputError(f"{folder} holds no exported fit: {path} cannot be read ({reason})") from None
    held = content.get("format") if isinstance(content, dict) else None
    if held != FORMAT:
        raise InputError(
            f"the export {folder} has format {held!r}, this itprobe reads format {FORMAT}; export the fit anew, or "
            "use the itprobe that wrote it"
        )
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}; export the fit anew") from None


def _read_weights(folder: Path, described: Description) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"the export {folder} has no {WEIGHTS}; export the fit anew")
    digest = sha256_file(path)
    if digest != described.weights_sha256:
        raise InputError(
            f"{path} is damaged or was altered: its SHA-256 is {digest[:16]}..., {CONFIG} says "
            f"{described.weights_sha256[:16]}...; export the fit anew"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path} is no safetensors file ({reason}); export the fit anew") from None
    if metadata.get(FIT) != described.digest:
        raise InputError(f"{folder / CONFIG} was altered after {WEIGHTS} was written; export the fit anew")
    return tensors


def _settings(kind: str, values: dict[str, Any], folder: Path) -> Any:
    made = NETWORKS[kind]
    known = [item.name for item in fields(made)]
    for name in values:
        if name not in known:
            raise unknown_name(
                f"setting of {kind} in {folder / CONFIG}",
                name,
                known,
                "(it was exported by another version of itprobe)",
            )
    try:
        return TypeAdapter(made).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{folder / CONFIG}: settings: {where}: {first['msg']}") from None


def _inputs_and_network(
    folder: Path, described: Description, parsed: FittedId, settings: Any, device: str, elsewhere: str | None
) -> tuple[Callable[[], PreparedRows], Callable[[Task], FittedNetwork]]:
    note, layer = described.backbone, described.layer
    if parsed.backbone is None and described.side is not None:
        return partial(resized_images, described.side), settings.build
    if parsed.backbone is None or note is None or layer is None:
        raise InputError(
            f"{folder / CONFIG}: {parsed} needs its backbone and layer, or the side of its images"
        )
    identity = parsed.backbone if elsewhere is None else parse_candidate(elsewhere)
    loaded = _load_backbone(folder, identity, device, note, parsed.kind == "finetuned")
    loaded.check_layer(layer)
    _, build = on_backbone(parsed.kind, loaded, layer, settings)
    return lambda: on_backbone(parsed.kind, loaded, layer, settings)[0], build


def _load_backbone(
    folder: Path, identity: CandidateId, device: str, note: BackboneNote, finetuned: bool
) -> NetworkCandidate:
    """The backbone, which must be the one of the fit; of one that was fine-tuned the architecture alone."""
    if finetuned:  # its weights are in the export: none are fetched to be written over
        identity = CandidateId(identity.name, None if "::" in identity.name else "random")
    try:
        loaded = load_candidate(identity, device)
    except InputError as error:
        raise InputError(f"the backbone of {folder} cannot be had: {error}") from None
    if not isinstance(loaded, NetworkCandidate):
        raise InputError(f"the backbone of {folder} cannot be {loaded.identifier}, which is no network")
    if finetuned and note.preprocessing is not None:
        loaded.preprocessing = Preprocessing.from_user(note.preprocessing)
    pairs = {
        "weights": ("" if finetuned else loaded.weights_sha256, "" if finetuned else note.weights_sha256),
        "preprocessing": (loaded.preprocessing.digest, note.preprocessing_sha256),
    }
    for what, (here, there) in pairs.items():
        if here != there:
            raise InputError(
                f"the backbone {identity} has other {what} than the one that {folder} was fitted with: "
                f"{str(here)[:16]}... here, {there[:16]}... there"
            )
    if loaded.code != note.code:
        warnings.warn(
            f"{folder}: its backbone ran on {note.code} when it was fitted, here it runs on {loaded.code}",
            stacklevel=4,
        )
    return loaded


def _check_outputs(expected: Tensor, outputs: Tensor) -> None:
    """Refuse a network whose code has changed since it was exported."""
    scale = float(expected.abs().max())
    if expected.shape != outputs.shape or not bool(((outputs - expected).abs() <= _TOLERANCE * scale).all()):
        raise InputError(
            "the network gives other outputs here than when it was exported; the code of it or of its backbone changed"
        )


def _check_shapes(
    described: Description, mean: np.ndarray, deviation: np.ndarray, probe: Probe | None
) -> None:
    q = described.task.n_neuroids
    found = {"mean": mean.shape, "deviation": deviation.shape}
    if probe is not None:
        found |= {
            "probe.intercept": probe.intercept.shape,
            "probe.coefficients": probe.coefficients.shape[1:],
        }
    for name, shape in found.items():
        if shape != (q,):
            raise InputError(f"{name} has shape {shape}, {(q,)} is needed")
    if described.neuroid_ids is not None and len(described.neuroid_ids) != q:
        raise InputError(f"{len(described.neuroid_ids)} neuroid ids for {q} neuroids")
