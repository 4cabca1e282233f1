"""Feature spaces of a layer: one for most mappings, several for banded ridge."""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.benchmarks.features import Extraction, layer_grams
from itprobe.errors import InputError
from itprobe.metrics import Gram
from itprobe.metrics.store import GramStore
from itprobe.models import Candidate, NetworkCandidate
from itprobe.models.maps import map_shape

RESOLUTIONS = (4, 1)
"""Sides of the pooled maps that stand beside a layer in full."""


def spaces_of(candidate: Candidate, layer: str, mapping: str) -> list[str]:
    """Names of the feature spaces that a mapping takes for a layer.

    Banded ridge takes the layers of ``NAME,NAME`` as they are; a single unpooled layer with spatial
    extent is taken in full and pooled to 4 x 4 and 1 x 1, and weighed anew for each neuroid.

    Raises
    ------
    InputError
        If several layers are given to a mapping that takes one.
    """
    names = layer.split(",")
    if mapping != "banded":
        if len(names) > 1:
            raise InputError(
                f"layer {layer!r} of {candidate.identifier} names {len(names)} layers; "
                f"{mapping} takes one: score each by itself, or several with a -banded benchmark"
            )
        return names
    if len(names) > 1 or "~" in layer or not isinstance(candidate, NetworkCandidate):
        return list(dict.fromkeys(names))
    found = map_shape(candidate.traced[layer].shape)
    side_in_full = found[1] if found is not None and found[1] == found[2] else 0
    return [layer, *(f"{layer}~pool{side}" for side in RESOLUTIONS if side_in_full > side)]


def space_grams(
    candidate: Candidate,
    stimulus_set: StimulusSet,
    stimuli_sha256: str,
    layers: Sequence[str],
    mapping: str,
    store: GramStore | None,
    extraction: Extraction = Extraction(),
) -> Iterator[tuple[str, list[Gram], np.ndarray]]:
    """Gram matrices of all spaces of several layers, from at most one forward pass.

    Parameters
    ----------
    mapping : str
        Its name; the others as in `layer_grams`.

    Yields
    ------
    (str, list of Gram, ndarray)
        Layer, one Gram matrix for each of its spaces, and the stimulus ids of their rows.
    """
    spaces = {layer: spaces_of(candidate, layer, mapping) for layer in layers}
    yield from grams_of_spaces(candidate, stimulus_set, stimuli_sha256, spaces, store, extraction)


def grams_of_spaces(
    candidate: Candidate,
    stimulus_set: StimulusSet,
    stimuli_sha256: str,
    spaces: Table[str, Sequence[str]],
    store: GramStore | None,
    extraction: Extraction = Extraction(),
) -> Iterator[tuple[str, list[Gram], np.ndarray]]:
    """Gram matrices of sets of spaces, each set as soon as all of it is there; see `space_grams`.

    Parameters
    ----------
    spaces : mapping of str to sequence of str
        Sets by name; a space may be in several. The others as in `layer_grams`.
    """
    pending = dict(spaces)
    wanted = list(dict.fromkeys(name for names in pending.values() for name in names))
    held: dict[str, Gram] = {}
    order: np.ndarray | None = None
    for name, gram, ids in layer_grams(candidate, stimulus_set, stimuli_sha256, wanted, store, extraction):
        order = ids if order is None else order
        held[name] = in_order(gram, ids, order)
        for layer in [layer for layer, names in pending.items() if set(names) <= set(held)]:
            yield layer, [held[space] for space in pending.pop(layer)], order
        held = {
            space: kept for space, kept in held.items() if any(space in names for names in pending.values())
        }


def in_order(gram: Gram, ids: np.ndarray, order: np.ndarray) -> Gram:
    """A Gram matrix with rows `ids` (n,) brought into the order of other stimulus ids (n,)."""
    if np.array_equal(ids, order):
        return gram
    return gram.take(pd.Index(ids).get_indexer(order))
