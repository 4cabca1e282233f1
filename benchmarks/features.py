"""Gram matrices of a candidate's layers: from the store where they are known, else from one forward pass."""

import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.errors import InputError
from itprobe.metrics import Gram, gram_matrix
from itprobe.metrics.store import GramKey, GramStore
from itprobe.models import Candidate, NetworkCandidate, record_activations


def layer_grams(
    candidate: Candidate,
    stimulus_set: StimulusSet,
    stimuli_sha256: str,
    layers: Sequence[str],
    store: GramStore | None,
) -> Iterator[tuple[str, Gram, np.ndarray]]:
    """Gram matrices of several layers, at most one forward pass for all that the store does not have.

    Parameters
    ----------
    candidate : Candidate
    stimulus_set : StimulusSet
    stimuli_sha256 : str
        Digest of ids and images.
    layers : sequence of str
    store : GramStore or None
        None computes everything and keeps nothing.

    Yields
    ------
    (str, Gram, ndarray)
        Layer, Gram matrix, and the stimulus ids of its rows.
    """
    keys = gram_keys(candidate, stimuli_sha256, layers) if store else {}
    missing = []
    for layer in layers:
        known = store.load(keys[layer]) if store and layer in keys else None
        if known is None:
            missing.append(layer)
        else:
            yield layer, *known
    if not missing:
        return
    with record_activations(candidate, stimulus_set, missing) as activations:
        for layer in missing:
            gram = gram_matrix(activations[layer])
            if store and layer in keys:
                try:
                    store.save(keys[layer], gram, activations.stimulus_ids)
                except InputError as error:  # a cache that cannot be written is no reason to lose a score
                    warnings.warn(f"Gram matrix not kept: {error} (set ITPROBE_HOME)", stacklevel=2)
            yield layer, gram, activations.stimulus_ids


def gram_keys(candidate: Candidate, stimuli_sha256: str, layers: Sequence[str]) -> dict[str, GramKey]:
    """Keys of layers in the store; none where features depend on more than packages, weights and images.

    A user's own code may change between two runs without any digest showing it, so it is never stored.
    """
    if candidate.code is None or candidate.preprocessing is None or candidate.preprocessing.transform:
        return {}
    device = candidate.device.type if isinstance(candidate, NetworkCandidate) else "cpu"
    code = f"{candidate.code}, pillow {version('pillow')}, torch {torch.__version__}, {device}"
    return {
        layer: GramKey(
            candidate.weights_sha256 or candidate.identifier,
            layer,
            candidate.preprocessing.digest,
            stimuli_sha256,
            code,
        )
        for layer in layers
    }
