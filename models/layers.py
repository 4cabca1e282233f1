"""Which layers a network has: found by running it once, not by reading its code."""

import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules import dropout, padding

from itprobe.errors import InputError, unknown_name
from itprobe.models.identifiers import LayerName, parse_layer
from itprobe.models.maps import map_shape

# Their output is their input, rearranged or padded: no layer of its own.
_PASSING_ON = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    dropout._DropoutNd,
    padding._ConstantPadNd,
    padding._CircularPadNd,
    padding._ReflectionPadNd,
    padding._ReplicationPadNd,
)
_SAMPLED = 2_000
_TRANSPARENT_FORWARDS = {nn.Sequential.forward, nn.ModuleList.forward, nn.ModuleDict.forward}


@dataclass(frozen=True)
class TracedModule:
    """What a dry run saw of a module.

    Attributes
    ----------
    name : str
        Its name in the network.
    shape : tuple of int
        Of its output (the first tensor in it), without the stimulus axis.
    calls : int
        How often it ran; the last call is the one that is recorded.
    source : str
        Name of the first module that gave this very tensor: a stage ends with its last block, and
        dropout hands its input on.
    in_memory : tuple of int
        Axes of `shape`, from the one whose steps in memory are the widest to the narrowest.
    """

    name: str
    shape: tuple[int, ...]
    calls: int
    source: str
    in_memory: tuple[int, ...] = field(default=(), compare=False)


def first_tensor(output: Any) -> torch.Tensor | None:
    """First tensor in a module's output, which may be a tensor, or tuples, lists and dicts of them."""
    if isinstance(output, torch.Tensor):
        return output
    items = (
        output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else ()
    )
    return next((tensor for item in items if (tensor := first_tensor(item)) is not None), None)


def trace(module: nn.Module, images: torch.Tensor) -> tuple[dict[str, TracedModule], dict[str, torch.Tensor]]:
    """Run `module` once and note every module that gives one tensor row per image.

    Parameters
    ----------
    images : torch.Tensor
        (b, channel, height, width), b > 1, so that outputs whose first axis is not the image stand out.

    Returns
    -------
    dict of str to TracedModule
        In order of (last) execution; the network itself and modules that never run are not in it.
    dict of str to torch.Tensor
        Some numbers of each output, the same places each time.
    """
    traced: dict[str, TracedModule] = {}
    samples: dict[str, torch.Tensor] = {}
    calls: Counter[str] = Counter()
    produced: dict[int, tuple[weakref.ref[torch.Tensor], int, str]] = {}

    def note(name: str, output: Any) -> None:
        calls[name] += 1
        traced.pop(name, None)
        tensor = first_tensor(output)
        if tensor is None or tensor.ndim < 2 or len(tensor) != len(images):
            return
        # An in-place operation hands on the same tensor with a higher version, and other values.
        version = 0 if tensor.is_inference() else tensor._version
        earlier, earlier_version, source = produced.get(id(tensor), (None, -1, name))
        if earlier is None or earlier() is not tensor or earlier_version != version:
            source = name
            produced[id(tensor)] = weakref.ref(tensor), version, name
        flat = tensor.detach().reshape(-1)
        samples[name] = flat[:: max(1, len(flat) // _SAMPLED)].to(torch.float64, copy=True)
        steps = tensor.stride()[1:]
        in_memory = tuple(sorted(range(len(steps)), key=lambda axis: -steps[axis]))
        traced[name] = TracedModule(name, tuple(tensor.shape[1:]), calls[name], source, in_memory)

    hooks = [
        child.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, child in module.named_modules()
        if name
    ]
    try:
        # no_grad instead of inference_mode: only there tensors count their versions
        with torch.no_grad():
            module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return traced, samples


def leaf_layers(module: nn.Module, traced: dict[str, TracedModule]) -> list[str]:
    """Computational leaves, in order of execution.

    A leaf has no children or holds parameters of its own (a convolution with a padding child, an
    attention); dropout, identity, flattening and padding are none.
    """
    modules = dict(module.named_modules())
    return _without_repeats(
        traced,
        [
            name
            for name in traced
            if not isinstance(modules[name], _PASSING_ON)
            and (not any(modules[name].children()) or _owns_parameters(modules[name]))
        ],
    )


def block_layers(module: nn.Module, traced: dict[str, TracedModule]) -> list[str]:
    """Repeated blocks and stages, in order of execution; the leaves where a network has none.

    Blocks are the outermost modules with a forward of their own and at least two modules with
    parameters, at a level where such a class occurs at least twice: residual, inverted-residual,
    transformer, inception and fire blocks. A module that itself holds such blocks is a stage (a dense
    block, a stage of ConvNeXt); it is listed only where its output is not its last block's output.
    """
    blocks: list[str] = []
    stages: list[str] = []

    def walk(prefix: str, parent: nn.Module) -> None:
        parts = _parts(prefix, parent, traced, minimum=2)
        repeated = _has_repeats(parts)
        for name, part in parts:
            if not repeated:
                walk(name, part)
            elif _has_repeats(_parts(name, part, traced, minimum=3)):
                stages.append(name)
                walk(name, part)
            else:
                blocks.append(name)

    walk("", module)
    if not blocks:
        return leaf_layers(module, traced)
    return _without_repeats(traced, blocks + stages)


def all_layers(module: nn.Module, traced: dict[str, TracedModule]) -> list[str]:
    """Blocks and computational leaves, in order of execution; of two with the same output, the block."""
    return _without_repeats(traced, block_layers(module, traced) + leaf_layers(module, traced))


def check_traced_layer(text: str, traced: dict[str, TracedModule], candidate: str) -> LayerName:
    """Read a layer's name and check that the network has it and that it can be pooled as asked.

    Raises
    ------
    InputError
        If there is no such layer, or ``~pool`` is asked of an output that is no square map, see
        `itprobe.models.maps`, or of a map that is smaller than the pooled one.
    """
    layer = parse_layer(text)
    if layer.module not in traced:
        raise unknown_name(f"layer of {candidate}", layer.module, traced)
    if layer.pool is None:
        return layer
    shape = traced[layer.module].shape
    described = " x ".join(map(str, shape))
    found = map_shape(shape)
    if found is None or found[1] != found[2]:
        raise InputError(
            f"layer {text!r} of {candidate} cannot be pooled: its output is {described}, "
            f"no square map and no tokens of one; use {layer.module!r}"
        )
    if found[1] < layer.pool:
        raise InputError(
            f"layer {text!r} of {candidate} cannot be pooled to {layer.pool} x {layer.pool}: "
            f"its output is {described}; use {layer.module!r}"
        )
    return layer


def _parts(
    prefix: str, parent: nn.Module, traced: dict[str, TracedModule], minimum: int
) -> list[tuple[str, nn.Module]]:
    """Modules under `parent` with a forward of their own and enough parametrised modules in them.

    Containers (and modules that only hold others and never run) are looked through.
    """

    def look(prefix: str, parent: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        for key, child in parent.named_children():
            name = f"{prefix}.{key}" if prefix else key
            if type(child).forward in _TRANSPARENT_FORWARDS or name not in traced:
                yield from look(name, child)
            elif sum(map(_owns_parameters, child.modules())) >= minimum:
                yield name, child

    return list(look(prefix, parent))


def _has_repeats(parts: list[tuple[str, nn.Module]]) -> bool:
    return any(count > 1 for count in Counter(type(part) for _, part in parts).values())


def _owns_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _without_repeats(traced: dict[str, TracedModule], names: list[str]) -> list[str]:
    """One name per distinct output, the first in `names`, in order of execution."""
    kept: dict[str, str] = {}
    for name in names:
        kept.setdefault(traced[name].source, name)
    chosen = set(kept.values())
    return [name for name in traced if name in chosen]
