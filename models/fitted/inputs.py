"""What fitted networks are shown: images, or the output of a frozen layer; each stimulus is prepared once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from itprobe.errors import InputError
from itprobe.files import sha256_file
from itprobe.models.candidate import NetworkCandidate
from itprobe.models.identifiers import parse_layer
from itprobe.models.maps import as_map, map_shape
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.stream import image_batches, image_paths

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

PREPARED_AT_ONCE = 64
"""Images that are decoded ahead of their use."""
WIDE = 2**19
"""Bytes of a layer's output for one stimulus, in float32, above which it is kept in half precision.

Neither the number of stimuli nor free memory has a say: they would change the weights that come of it.
"""
DEVICE_SHARE = 0.4
"""Part of a GPU's free memory that inputs may take; more than that travel batch by batch."""

Prepare = Callable[["StimulusSet"], Iterator[tuple[slice, Tensor]]]


class PreparedRows:
    """Rows of a tensor by image, each computed when it is first asked for.

    Splits, and copies of a candidate, share them: what is kept depends on images alone, never on responses.
    An image is known by its bytes, so that one that was written anew is computed anew.

    Parameters
    ----------
    prepare : callable
        Gives the rows of a stimulus set, batch by batch.
    """

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._rows: dict[str, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "PreparedRows":
        return self

    def of(self, stimuli: "StimulusSet") -> Tensor:
        """Rows (n, ...) of a stimulus set, in its order.

        Raises
        ------
        InputError
            If there are no stimuli, or an image cannot be read.
        """
        keys = [_digest(path) for path in image_paths(stimuli)]
        if not keys:
            raise InputError("there are no stimuli; give one at least")
        missing = [row for row, key in enumerate(keys) if key not in self._rows]
        if missing:
            part = stimuli.iloc[missing].reset_index(drop=True)
            part.stimulus_paths, part.identifier = stimuli.stimulus_paths, stimuli.identifier
            for rows, values in self._prepare(part):
                for place, value in zip(missing[rows], values, strict=True):
                    self._rows[keys[place]] = value
        return torch.stack([self._rows[key] for key in keys])


def _digest(path: str | Path) -> str:
    """Of an image's bytes; empty where there is no file, which reading it then reports."""
    return sha256_file(path) if Path(path).is_file() else ""


def resized_images(side: int) -> PreparedRows:
    """Whole images as 8-bit RGB of `side` x `side`, (n, 3, side, side)."""
    plain = Preprocessing((side, side), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def prepare(stimuli: "StimulusSet") -> Iterator[tuple[slice, Tensor]]:
        for rows, images in image_batches(stimuli, plain, PREPARED_AT_ONCE, "fitted network"):
            yield rows, (images * 255).round().to(torch.uint8)

    return PreparedRows(prepare)


def prepared_images(backbone: NetworkCandidate) -> PreparedRows:
    """Images as a backbone takes them, (n, channel, height, width), in half precision."""

    def prepare(stimuli: "StimulusSet") -> Iterator[tuple[slice, Tensor]]:
        batches = image_batches(stimuli, backbone.preprocessing, PREPARED_AT_ONCE, backbone.identifier)
        for rows, images in batches:
            yield rows, _in_half(images, f"the preprocessing of {backbone.identifier} gives values")

    return PreparedRows(prepare)


def _in_half(values: Tensor, described: str) -> Tensor:
    """Values in half precision; beyond its largest number they are refused."""
    kept = values.half()
    if not torch.isfinite(kept).all():
        raise InputError(
            f"{described} up to {float(values.abs().max()):.3g}, more than half precision holds (65,504); choose a "
            "narrower layer, or scale the images"
        )
    return kept


def layer_outputs(backbone: NetworkCandidate, layer: str) -> PreparedRows:
    """Output of a frozen layer for each image, (n, channels, height, width) where it is a map.

    Kept in half precision where the layer is wide: features of networks with normalised activations lie far
    below its largest number, and one beyond it is refused.
    """

    def prepare(stimuli: "StimulusSet") -> Iterator[tuple[slice, Tensor]]:
        parsed, shape = parse_layer(layer), layer_shape(backbone, layer)
        given = shape if parsed.pool else backbone.traced[parsed.module].shape
        wide = 4 * int(np.prod(shape)) > WIDE
        for rows, features in backbone.stream(stimuli, [layer]):
            values = torch.from_numpy(features[layer]).reshape(-1, *given)
            if not parsed.pool and map_shape(given) is not None:
                values = as_map(values)
            label = f"layer {layer} of {backbone.identifier} has activations"
            yield rows, _in_half(values, label) if wide else values.clone()

    return PreparedRows(prepare)


def layer_shape(backbone: NetworkCandidate, layer: str) -> tuple[int, ...]:
    """Shape of `layer_outputs` for one image; ``~poolSIDE`` makes a map of SIDE x SIDE."""
    parsed = parse_layer(layer)
    shape = backbone.traced[parsed.module].shape
    found = map_shape(shape)
    if found is None or parsed.pool is None:
        return found or shape
    return found[0], parsed.pool, parsed.pool


class TensorInputs:
    """Inputs of n stimuli from a tensor, with shifts and mirror images while training.

    Parameters
    ----------
    rows : Tensor (n, ...)
        8-bit values become 0-1.
    device : torch.device
    shift : float
        Largest shift, as part of the side.
    flip : bool
    """

    def __init__(self, rows: Tensor, device: torch.device, shift: float = 0.0, flip: bool = False) -> None:
        self.device, self.shift, self.flip = device, shift, flip
        self.rows = rows.to(device) if _fits(rows, device) else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.rows.shape[1:])

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs (b, ...) float32 of some rows (b,); augmented where a generator is given."""
        values = self.rows[rows.to(self.rows.device)].to(self.device)
        values = values.float() / 255 if values.dtype == torch.uint8 else values.float()
        if values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        if generator is None:
            return values
        if self.shift:
            values = shifted(values, self.shift, generator)
        if self.flip:
            mirrored = torch.rand(len(values), generator=generator) < 0.5
            values = torch.where(mirrored.to(self.device)[:, None, None, None], values.flip(-1), values)
        return values


def _fits(rows: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return rows.numel() * rows.element_size() < DEVICE_SHARE * free


def shifted(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Move each image (b, c, h, w) by up to `most` of its side, its edges repeated."""
    height, width = images.shape[-2:]
    reach = round(most * min(height, width))
    if reach == 0:
        return images
    padded = pad(images, (reach, reach, reach, reach), mode="replicate")
    moves = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [
            image[:, down : down + height, right : right + width]
            for image, (down, right) in zip(padded, moves, strict=True)
        ]
    )


def channel_statistics(inputs: TensorInputs) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (c,) of each channel over all rows; a constant channel has deviation 1."""
    total, squares = torch.zeros(2, inputs.shape[0], dtype=torch.float64)
    count = 0
    for rows in torch.arange(len(inputs)).split(256):
        values = inputs.batch(rows).double()
        others = [axis for axis in range(values.ndim) if axis != 1]
        total += values.sum(others).cpu()
        squares += values.square().sum(others).cpu()
        count += values.numel() // values.shape[1]
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    deviation = torch.where(variance > 1e-12 * (mean.square() + 1e-30), variance.sqrt(), 1.0)
    return mean.float(), deviation.float()
