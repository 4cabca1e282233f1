"""Which layers' outputs are maps over space, in whatever order their axes come."""

from math import isqrt

from torch import Tensor

MOST_LEADING_TOKENS = 5
"""Class, distillation and register tokens that a transformer may have before those of the image's patches."""


def map_shape(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """What a layer's output is as a map.

    Parameters
    ----------
    shape : tuple of int
        Of the output for one image: channels x height x width; height x width x channels, which is known by two
        equal axes before one that differs (Swin transformers); or tokens x channels, where the tokens are those of
        a square of patches after at most `MOST_LEADING_TOKENS` others (vision transformers).

    Returns
    -------
    (int, int, int) or None
        Channels, height, width; None if it is no map. Two equal axes after the first make a map of channels x
        height x width in any case.
    """
    if len(shape) == 3:
        return (shape[2], shape[0], shape[1]) if _channels_last(shape) else (shape[0], shape[1], shape[2])
    if len(shape) == 2:
        side = isqrt(shape[0])
        if side > 1 and shape[0] - side**2 <= MOST_LEADING_TOKENS:
            return shape[1], side, side
    return None


def as_map(output: Tensor) -> Tensor:
    """Outputs (b, ...) of a layer with a `map_shape` as (b, channels, height, width); leading tokens are left out."""
    shape = tuple(output.shape[1:])
    if len(shape) == 2:
        side = isqrt(shape[0])
        return output[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))
    return output.permute(0, 3, 1, 2) if _channels_last(shape) else output


def _channels_last(shape: tuple[int, ...]) -> bool:
    return shape[0] == shape[1] != shape[2]
