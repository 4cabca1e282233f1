"""Features of all stimuli at once, from one pass: on the device, in memory or on disk, or computed again."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

from itprobe.models.arena import Arena, LayerArena, Place, kept_rows, size
from itprobe.models.candidate import Candidate, Features
from itprobe.models.placement import PRODUCT_RATE, SpillCost, fitting, image_blocks, place_spilled
from itprobe.models.recompute import Recomputed, can_recompute, seconds_per_image
from itprobe.models.scratch import Scratch, no_room
from itprobe.models.storage import FloatName
from itprobe.models.stream import stimulus_ids

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

Batches = Iterable[tuple[slice, dict[str, torch.Tensor]]]


class Activations:
    """Features of several layers, rows in the order of `stimulus_ids`.

    Attributes
    ----------
    stimulus_ids : np.ndarray
        (n,) texts.
    recomputed : dict of str to Recomputed
        Layers that are kept nowhere, where that was allowed and is better.
    """

    def __init__(
        self, ids: np.ndarray, recorded: dict[str, LayerArena], recomputed: dict[str, Recomputed]
    ) -> None:
        self.stimulus_ids = ids
        self.recomputed = recomputed
        self._recorded = recorded

    @property
    def layers(self) -> list[str]:
        """Recorded layers."""
        return list(self._recorded)

    @property
    def places(self) -> dict[str, Place]:
        """Where each recorded layer lies."""
        return {name: layer.place for name, layer in self._recorded.items()}

    @property
    def on_disk(self) -> bool:
        """Whether a layer lies in a temporary file."""
        return "disk" in self.places.values()

    def __getitem__(self, layer: str) -> np.ndarray:
        """Features (n, p), float32, in memory; read and put together there where they lie elsewhere."""
        return self._recorded[layer].array()

    def n_features(self, layer: str) -> int:
        """Number of features."""
        return self._recorded[layer].n_features

    def dtype(self, layer: str) -> FloatName:
        """Type that a layer is kept in: float32 where float16 was asked for and did not suffice."""
        return self._recorded[layer].dtype

    def chunks(self, layer: str) -> Iterator[Features]:
        """Features (n, c), float32, a few columns at a time; tensors where they lie on a device."""
        return self._recorded[layer].chunks()

    def about_origin(self, layer: str) -> bool:
        """Whether a layer lies about an origin, see `LayerArena.about_origin`."""
        return self._recorded[layer].about_origin

    def chunks_about_origin(self, layer: str) -> Iterator[np.ndarray]:
        """Rows (n + 2, c) of such a layer, float32: features less the origin, the origin, ones."""
        return self._recorded[layer].chunks_about_origin()

    def release(self, layer: str) -> None:
        """Free the room that a layer takes."""
        self._recorded[layer].release()


@dataclass(frozen=True)
class _Recording:
    """What is asked for, and the limits."""

    candidate: Candidate
    stimulus_set: "StimulusSet"
    batch_size: int | None
    dtype: FloatName
    limits: dict[Place, int]
    device: torch.device
    scratch: Scratch
    for_products: bool

    @property
    def about_origin(self) -> bool:
        """Whether layers may be kept about an origin: a GPU computes products in its own way."""
        return self.for_products and self.device.type == "cpu"


@contextmanager
def record_activations(
    candidate: Candidate,
    stimulus_set: "StimulusSet",
    layers: Sequence[str],
    batch_size: int | None = None,
    memory_budget: int | None = None,
    dtype: FloatName = "float32",
    recompute: bool = False,
    for_products: bool = False,
) -> Iterator[Activations]:
    """Features of several layers for all stimuli, from one pass.

    Parameters
    ----------
    candidate : Candidate
    stimulus_set : StimulusSet
        n stimuli.
    layers : sequence of str
    batch_size : int, optional
        The candidate's own by default.
    memory_budget : int, optional
        Bytes the features may take in memory; half of what is free by default. On a GPU they stay in its
        memory where half of what is free there (and no more than the budget) holds all of them. What
        fits in neither lies in a folder under ``$ITPROBE_SCRATCH`` (else the system's temporary folder),
        which is removed at the end, whatever happens; folders of processes that were killed are removed
        at the next start. Beside the budget, the network takes about a dozen batches of the largest
        layer, and reading a layer about three chunks of 12,000 features (4 bytes each) of all stimuli.
    dtype : {"float32", "float16"}
        Type the features are kept in. float16 has a scale per layer; a layer with too large values goes
        on in float32.
    recompute : bool
        Whether layers that do not fit in memory may be left to `Activations.recomputed`: those for which
        the disk is slower, or has no room. With False all are recorded.
    for_products : bool
        Whether features are wanted for the products of stimuli alone. They may then stand in another order than
        that of a layer's output, see `Candidate.stream_tensors`, and about an origin, see
        `Activations.about_origin`.

    Yields
    ------
    Activations

    Raises
    ------
    InputError
        As `Candidate.stream` does, and if the disk has no room (how much is needed).
    """
    device = getattr(candidate, "device", torch.device("cpu"))
    limits: dict[Place, int] = {
        "memory": memory_limit(memory_budget),
        "device": _device_limit(device, memory_budget),
    }
    ids = stimulus_ids(stimulus_set)
    scratch = Scratch()
    asked = _Recording(candidate, stimulus_set, batch_size, dtype, limits, device, scratch, for_products)
    recorded: dict[str, LayerArena] = {}
    try:
        stream = candidate.stream_tensors(stimulus_set, layers, batch_size, any_order=for_products)
        rows, features = next(stream)
        widths = {name: values.shape[1] for name, values in features.items()}
        places, recomputed = _plan(asked, widths, len(ids), recompute)
        if recomputed:
            stream.close()
            batches: Batches = candidate.stream_tensors(
                stimulus_set, list(places), batch_size, any_order=for_products
            )
        else:
            batches = chain([(rows, features)], stream)
        del rows, features
        arena = Arena(len(ids), limits, device, scratch, asked.about_origin)
        for name, place in places.items():
            recorded[name] = LayerArena(arena, name, widths[name], dtype, place)
        if places:
            _fill(recorded, batches)
        yield Activations(ids, recorded, recomputed)
    finally:
        for layer in recorded.values():
            layer.release()
        scratch.remove()


def memory_limit(memory_budget: int | None) -> int:
    """Bytes that may be taken in memory: the budget, or half of what is free."""
    return psutil.virtual_memory().available // 2 if memory_budget is None else memory_budget


def free_on_device(device: torch.device) -> int:
    """Free bytes of a GPU's own memory; 0 for a CPU, whose memory is counted elsewhere."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return 0


def _device_limit(device: torch.device, memory_budget: int | None) -> int:
    half = free_on_device(device) // 2
    return half if memory_budget is None else min(half, memory_budget)


def _plan(
    asked: _Recording, widths: dict[str, int], n: int, recompute: bool
) -> tuple[dict[str, Place], dict[str, Recomputed]]:
    """Where each layer goes, in the order asked for, and those that are left out of the pass."""
    sizes = {
        name: size((kept_rows(n, width, asked.dtype, asked.about_origin), width), asked.dtype)
        for name, width in widths.items()
    }
    if sum(sizes.values()) <= asked.limits["device"]:
        return dict.fromkeys(sizes, "device"), {}
    places: dict[str, Place] = dict.fromkeys(fitting(sizes, asked.limits["memory"]), "memory")
    spilled = {name: width for name, width in widths.items() if name not in places}
    if not spilled:
        return dict.fromkeys(sizes, "memory"), {}
    again: dict[str, Recomputed] = {}
    # What is computed again is never rounded to float16: scores must not depend on how much memory is free.
    if recompute and asked.dtype == "float32" and can_recompute(asked.candidate):
        again = _recomputed(asked, spilled, sizes, n)
    else:
        needed, free = sum(sizes[name] for name in spilled), asked.scratch.free()
        if needed > free:
            raise no_room(needed, asked.scratch.root)
    places |= dict.fromkeys([name for name in spilled if name not in again], "disk")
    return {name: places[name] for name in sizes if name in places}, again


def _recomputed(
    asked: _Recording, widths: dict[str, int], sizes: dict[str, int], n: int
) -> dict[str, Recomputed]:
    """Those of the layers that fit in no memory that are better computed again than written to disk.

    Raises
    ------
    InputError
        If a layer can be neither.
    """
    size_asked = asked.candidate.batch_size if asked.batch_size is None else asked.batch_size
    budget = asked.limits["memory" if asked.device.type == "cpu" else "device"]
    possible: dict[str, Recomputed] = {}
    costs: dict[str, SpillCost] = {}
    for name, width in widths.items():
        # Where p <= n, products are computed in float64.
        blocks = image_blocks(n, width * (8 if width <= n else 4), budget, size_asked)
        costs[name] = SpillCost(sizes[name], math.inf, 0)
        if blocks is not None:
            possible[name] = Recomputed(
                asked.candidate, asked.stimulus_set, name, width, blocks, asked.for_products
            )
            seconds = seconds_per_image(asked.candidate, asked.stimulus_set, name, blocks.batch)
            products = n**2 * width / PRODUCT_RATE if asked.device.type == "cpu" else 0.0
            costs[name] = SpillCost(sizes[name], seconds, -(-n // blocks.held), products)
    free = asked.scratch.free()
    placed = place_spilled(costs, n, asked.scratch.bandwidth() if possible else 0.0, free)
    nowhere = [name for name, place in placed.items() if place == "nowhere"]
    if nowhere:
        also = f", and a memory budget of {budget / 1e9:.3g} GB holds no two images of layer {nowhere[0]!r}"
        raise no_room(sum(sizes[name] for name in nowhere), asked.scratch.root, also)
    return {name: possible[name] for name in widths if placed[name] == "recompute"}


def _fill(recorded: dict[str, LayerArena], batches: Batches) -> None:
    for rows, features in batches:
        for name, values in features.items():
            recorded[name].write(rows, values)
