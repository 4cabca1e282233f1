"""Gram matrices of a candidate's layers: from the store where they are known, else from one forward pass."""

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, get_args

import numpy as np
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.errors import InputError, unknown_name
from itprobe.metrics import Gram
from itprobe.metrics.gram import AboutOrigin, gram_from_chunks, gram_from_images
from itprobe.metrics.store import GramKey, GramStore
from itprobe.metrics.tensor_products import Features
from itprobe.models import Activations, Candidate, NetworkCandidate, record_activations
from itprobe.models.activations import memory_limit
from itprobe.progress import progress_bar

Dtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class Extraction:
    """How features are kept until their Gram matrix is computed.

    Attributes
    ----------
    memory_budget : int or None
        Bytes they may take in memory; None is half of what is free. What does not fit lies on disk for
        the time being, or is computed again, whichever is cheaper.
    dtype : {"float32", "float16"}
        Type they are kept in; float16 halves the room.
    """

    memory_budget: int | None = None
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise unknown_name("type of features", str(self.dtype), get_args(Dtype))
        if self.memory_budget is not None and self.memory_budget < 0:
            raise InputError(f"the memory budget must be a number of bytes, not {self.memory_budget}")


def layer_grams(
    candidate: Candidate,
    stimulus_set: StimulusSet,
    stimuli_sha256: str,
    layers: Sequence[str],
    store: GramStore | None,
    extraction: Extraction = Extraction(),
) -> Iterator[tuple[str, Gram, np.ndarray]]:
    """Gram matrices of several layers, at most one forward pass for all that the store does not have.

    Where there is a store, all of them are computed and stored before the first is handed out: work on
    one that fails, or is interrupted, loses none of the others.

    Parameters
    ----------
    candidate : Candidate
    stimulus_set : StimulusSet
    stimuli_sha256 : str
        Digest of ids and images.
    layers : sequence of str
    store : GramStore or None
        None computes everything and keeps nothing.
    extraction : Extraction

    Yields
    ------
    (str, Gram, ndarray)
        Layer, Gram matrix, and the stimulus ids of its rows.

    Raises
    ------
    InputError
        As `record_activations` does.
    """
    candidate.check_stimuli(stimulus_set)  # settles where images go on a model's screen, which the keys tell
    keys = gram_keys(candidate, stimuli_sha256, layers, extraction) if store else {}
    missing = []
    for layer in dict.fromkeys(layers):
        known = store.load(keys[layer]) if store and layer in keys else None
        if known is None:
            missing.append(layer)
        else:
            yield layer, *known
    if not missing:
        return
    made = _computed(candidate, stimulus_set, missing, extraction)
    if store is None or not keys:
        yield from made
        return
    with closing(made):
        ready = _stored(made, store, keys, memory_limit(extraction.memory_budget) // 4)
    for layer in missing:
        known = ready.pop(layer, None) or store.load(keys[layer])
        if known is None:  # another process cleared the store meanwhile
            yield from _computed(candidate, stimulus_set, [layer], extraction)
        else:
            yield layer, *known


def gram_keys(
    candidate: Candidate,
    stimuli_sha256: str,
    layers: Sequence[str],
    extraction: Extraction = Extraction(),
) -> dict[str, GramKey]:
    """Keys of layers in the store; none where features depend on more than packages, weights and images.

    A user's own code may change between two runs without any digest showing it, so it is never stored.
    """
    if candidate.code is None or candidate.preprocessing is None or candidate.preprocessing.transform:
        return {}
    device, precision = "cpu", "full"
    if isinstance(candidate, NetworkCandidate):
        device, precision = candidate.device.type, candidate.precision
    code = f"{candidate.code}, pillow {version('pillow')}, torch {torch.__version__}, {device}"
    return {
        layer: GramKey(
            candidate.weights_sha256 or candidate.identifier,
            layer,
            candidate.preprocessing.digest,
            stimuli_sha256,
            code,
            precision,
            extraction.dtype,
        )
        for layer in layers
    }


def _computed(
    candidate: Candidate, stimulus_set: StimulusSet, layers: Sequence[str], extraction: Extraction
) -> Generator[tuple[str, Gram, np.ndarray], None, None]:
    """Layers one by one, each freed when its Gram matrix is there; those computed again come last."""
    device = candidate.device if isinstance(candidate, NetworkCandidate) else torch.device("cpu")
    with record_activations(
        candidate,
        stimulus_set,
        layers,
        memory_budget=extraction.memory_budget,
        dtype=extraction.dtype,
        recompute=True,
        for_products=True,
    ) as activations:
        n = len(activations.stimulus_ids)
        for layer in activations.layers:
            shape = n, activations.n_features(layer)
            gram = gram_from_chunks(_shown(activations, layer, device), shape)
            activations.release(layer)
            yield layer, gram, activations.stimulus_ids
        for layer, again in activations.recomputed.items():
            gram = gram_from_images(
                again.batches_from, (n, again.n_features), again.blocks.held, again.blocks.met
            )
            yield layer, gram, activations.stimulus_ids


def _stored(
    made: Iterable[tuple[str, Gram, np.ndarray]],
    store: GramStore,
    keys: Mapping[str, GramKey],
    limit: int,
) -> dict[str, tuple[Gram, np.ndarray]]:
    """Store Gram matrices as they come; those that must or may (`limit` bytes) stay in memory are given back."""
    ready: dict[str, tuple[Gram, np.ndarray]] = {}
    for layer, gram, ids in made:
        stored = True
        try:
            store.save(keys[layer], gram, ids)
        except InputError as error:  # a cache that cannot be written is no reason to lose a score
            warnings.warn(f"Gram matrix not kept: {error} (set ITPROBE_HOME)", stacklevel=2)
            stored = False
        if not stored or (len(ready) + 1) * gram.values.nbytes <= limit:
            ready[layer] = gram, ids
    return ready


def _shown(activations: Activations, layer: str, device: torch.device) -> Iterator[Features | AboutOrigin]:
    """Chunks of a layer, on the device where it is a GPU, with a progress bar."""
    with progress_bar(activations.n_features(layer), f"{layer}: products", "feature") as bar:
        if activations.about_origin(layer):
            for rows in activations.chunks_about_origin(layer):
                yield AboutOrigin(rows)
                bar.update(rows.shape[1])
            return
        for chunk in activations.chunks(layer):
            yield chunk if device.type == "cpu" else torch.as_tensor(chunk, device=device)
            bar.update(chunk.shape[1])
