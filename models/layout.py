"""How images and weights lie in memory: convolutions on a CPU are faster where channels come last.

torch's convolutions for CPUs compute with channels last and put everything else into that order and back, layer by
layer. Networks that are in that order from the start take .4 to 1 of the time (two cores, 15 networks of torchvision
and timm; transformers and ConvNeXt gain nothing), and give the same numbers but for rounding.
"""

import torch
from torch import nn

from itprobe.models.layers import TracedModule, trace

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# Rounding of very deep networks stays far below this part of a layer's largest output; reading memory in a wrong order
# does not.
_SAME = 1e-3


def traced_and_laid_out(
    module: nn.Module, images: torch.Tensor
) -> tuple[dict[str, TracedModule], torch.memory_format]:
    """Run a network once, as `trace` does, and put it into the order in which it runs faster.

    Channels come last on a CPU, where there are convolutions over space and every module gives the same that way: a
    network that reads its memory in an order of its own (``view``, ``as_strided``) fails or gives something else.

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
    plain, last = torch.contiguous_format, torch.channels_last
    with torch.random.fork_rng(devices=[]):
        traced, samples = trace(module, images)
    if images.device.type != "cpu" or not any(isinstance(part, _CONVOLUTIONS) for part in module.modules()):
        return traced, plain
    try:
        nn.Module.to(module, memory_format=last)  # a network may have a `to` of its own
        with torch.random.fork_rng(devices=[]):
            again, others = trace(module, images.contiguous(memory_format=last))
        if again == traced and all(_same(samples[name], others[name]) for name in traced):
            return again, last
    except Exception:  # a user's network may fail in any way; as it is, it has just run
        pass
    nn.Module.to(module, memory_format=plain)
    return traced, plain


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = float(one.abs().nan_to_num(posinf=0).max()) if len(one) else 0.0
    return torch.allclose(one, other, rtol=0, atol=_SAME * scale, equal_nan=True)
