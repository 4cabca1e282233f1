"""Which layers are kept where, and which are computed again: pure functions of sizes and costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Spilled = Literal["disk", "recompute", "nowhere"]


MET_AT_ONCE = 64
"""Images that meet a held block in one product, where there is room: fewer only wait for memory."""

PRODUCT_RATE = 2e11
"""Float32 operations a second taken for the products of a few cores; a GPU's cost nothing beside the rest."""


class Blocks(NamedTuple):
    """How a memory budget is split where blocks of images meet.

    Attributes
    ----------
    held : int
        Images held.
    met : int
        Images that meet them in one product.
    batch : int
        Images that go through the network at once.
    """

    held: int
    met: int
    batch: int


@dataclass(frozen=True)
class SpillCost:
    """What a layer costs that does not fit in memory.

    Attributes
    ----------
    n_bytes : int
        Of all its features.
    seconds_per_image : float
        To read an image and run the network up to this layer; infinite where it cannot be computed again.
    n_blocks : int
        Blocks of images that the memory budget makes of the stimuli; 0 where it holds no two images.
    product_seconds : float
        What products of blocks cost more than those of one matrix with itself.
    """

    n_bytes: int
    seconds_per_image: float
    n_blocks: int
    product_seconds: float = 0.0


def fitting(sizes: Mapping[str, int], budget: int) -> list[str]:
    """Layers that are kept within a budget, the smallest first, so that as many as possible are.

    Parameters
    ----------
    sizes : mapping of str to int
        Bytes of each layer.
    budget : int
        Bytes for all of them.
    """
    kept, taken = [], 0
    for name in sorted(sizes, key=sizes.__getitem__):
        taken += sizes[name]
        if taken > budget:
            break
        kept.append(name)
    return kept


def image_blocks(n: int, image_bytes: int, budget: int, batch_size: int) -> Blocks | None:
    """Split a budget between images that are held and a batch that meets them.

    Parameters
    ----------
    n : int
        Number of stimuli.
    image_bytes : int
        Of one image's features.
    budget : int
        Bytes for the images held and, twice (as they come and about the origin), for those that meet them.
    batch_size : int
        Images in a batch where there is room.

    Returns
    -------
    Blocks or None
        None where the budget holds no two images.
    """
    images = budget // max(1, image_bytes)
    if images < 2:
        return None
    batch = max(1, min(batch_size, images // 4))
    met = max(batch, min(MET_AT_ONCE, images // 8))
    return Blocks(max(1, min(n, images - 2 * met)), met, batch)


def disk_seconds(cost: SpillCost, bandwidth: float) -> float:
    """Time to write and to read a layer at `bandwidth` bytes a second."""
    return 2 * cost.n_bytes / bandwidth if bandwidth else math.inf


def recompute_seconds(cost: SpillCost, n: int) -> float:
    """Time to compute a layer of n images in blocks.

    Each of b blocks meets itself and all later images: ``n (b + 1) / 2`` images in all.
    """
    if not cost.n_blocks:
        return math.inf
    return n * (cost.n_blocks + 1) / 2 * cost.seconds_per_image + cost.product_seconds


def place_spilled(
    costs: Mapping[str, SpillCost], n: int, bandwidth: float, free_disk: int
) -> dict[str, Spilled]:
    """Choose, for layers that do not fit in memory, between the disk and computing them again.

    The cheaper of the two is taken; a layer that the disk has no room for is computed again. Where room
    is short, those that save most by it are written first.

    Parameters
    ----------
    costs : mapping of str to SpillCost
    n : int
        Number of stimuli.
    bandwidth : float
        Bytes a second to and from the disk.
    free_disk : int
        Bytes.

    Returns
    -------
    dict of str to {"disk", "recompute", "nowhere"}
        "nowhere" where neither is possible.
    """
    by_disk = {name: disk_seconds(cost, bandwidth) for name, cost in costs.items()}
    again = {name: recompute_seconds(cost, n) for name, cost in costs.items()}
    placed: dict[str, Spilled] = {}
    for name in sorted(costs, key=lambda name: _saved(again[name], by_disk[name]), reverse=True):
        possible = math.isfinite(again[name])
        if costs[name].n_bytes <= free_disk and (by_disk[name] <= again[name] or not possible):
            placed[name] = "disk"
            free_disk -= costs[name].n_bytes
        else:
            placed[name] = "recompute" if possible else "nowhere"
    return placed


def _saved(again: float, by_disk: float) -> float:
    return math.inf if math.isinf(again) else again - by_disk
