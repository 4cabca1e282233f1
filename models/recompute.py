"""Layers that are computed again and again, block by block of images, instead of being kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from itprobe.models.candidate import Candidate
from itprobe.models.placement import Blocks

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

_PROBE_BATCHES = 3


@dataclass(frozen=True)
class Recomputed:
    """A layer whose features are kept nowhere.

    Attributes
    ----------
    candidate : Candidate
    stimulus_set : StimulusSet
        n stimuli.
    layer : str
    n_features : int
    blocks : Blocks
        Images to hold at a time, and in a batch.
    any_order : bool
        As `Candidate.stream_tensors` takes it.
    """

    candidate: Candidate
    stimulus_set: "StimulusSet"
    layer: str
    n_features: int
    blocks: Blocks
    any_order: bool = False

    def batches_from(self, row: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows from `row` on and their features (b, p) float32, from the part of the network up to the layer.

        Raises
        ------
        InputError
            As `Candidate.stream` does.
        """
        batches = self.candidate.stream_tensors(
            self.stimulus_set, [self.layer], self.blocks.batch, row, self.any_order
        )
        for rows, features in batches:
            yield rows, features[self.layer]


def can_recompute(candidate: Candidate) -> bool:
    """Whether features of an image depend on that image alone: not where columns are z-scored."""
    return candidate.preprocessing is not None


def seconds_per_image(
    candidate: Candidate, stimulus_set: "StimulusSet", layer: str, batch_size: int | None
) -> float:
    """Time to read an image and compute it up to a layer, measured on the first few batches."""
    size = candidate.batch_size if batch_size is None else batch_size
    first = stimulus_set.iloc[: _PROBE_BATCHES * size]
    started = perf_counter()
    for _, features in candidate.stream_tensors(first, [layer], batch_size):
        float(features[layer][0, 0])  # a GPU is waited for
    return (perf_counter() - started) / len(first)
