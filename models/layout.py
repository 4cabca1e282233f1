"""How images and weights lie in memory: convolutions on a CPU are faster where channels come last.

torch's convolutions for CPUs compute with channels last and put everything else into that order and back, layer by
layer. Networks that are in that order from the start take .4 to .9 of the time (two cores, 15 networks of torchvision
and timm; transformers take the same), and give the same numbers but for rounding.
"""

import torch
from torch import nn

from itprobe.models.layers import TracedModule, first_tensor, trace

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# Rounding of very deep networks stays far below this part of the largest output; reading memory in a wrong order does
# not.
_SAME = 1e-3


def traced_and_laid_out(
    module: nn.Module, images: torch.Tensor
) -> tuple[dict[str, TracedModule], torch.memory_format]:
    """Run a network once, as `trace` does, and put it into the order in which it runs faster.

    Channels come last on a CPU, where there are convolutions over space and the network gives the same that way: one
    that reads its memory in an order of its own (``view``, ``as_strided``) fails or gives something else.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode; its weights are put into the order that is given back.
    images : torch.Tensor
        (b, channel, height, width), b > 1.

    Returns
    -------
    dict of str to TracedModule
    torch.memory_format
        That images are to have.
    """
    plain = torch.contiguous_format
    with torch.random.fork_rng(devices=[]):
        traced, output = trace(module, images)
    given = first_tensor(output)
    given = None if given is None else given.clone()  # the network may keep it, and write into it again
    if images.device.type != "cpu" or not any(isinstance(part, _CONVOLUTIONS) for part in module.modules()):
        return traced, plain
    last = torch.channels_last
    try:
        module.to(memory_format=last)
        with torch.random.fork_rng(devices=[]):
            again, output = trace(module, images.contiguous(memory_format=last))
        if again == traced and _same(given, first_tensor(output)):
            return again, last
    except Exception:  # a user's network may fail in any way; as it is, it has just run
        pass
    module.to(memory_format=plain)
    return traced, plain


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    scale = float(one.abs().nan_to_num(posinf=0).max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=0, atol=_SAME * scale, equal_nan=True)
