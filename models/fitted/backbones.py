"""Networks of the fitted candidates that stand on a backbone: on a frozen layer's output, or end to end."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from itprobe.errors import InputError, unknown_name
from itprobe.models.candidate import private_copy
from itprobe.models.fitted.blocks import (
    PREDICTION_GAIN,
    FittedNetwork,
    MapShape,
    Task,
    as_map_shape,
    check_range,
    check_sizes,
    conv_stages,
    dense,
    initialised,
)
from itprobe.models.fitted.losses import weighted_mse
from itprobe.models.fitted.readout import (
    FactorisedReadout,
    Mask,
    ReadoutBased,
    ReadoutSettings,
    check_readout,
)
from itprobe.models.fitted.ridge_head import RidgeHead
from itprobe.models.layers import first_tensor, trace
from itprobe.models.maps import as_map
from itprobe.models.user_code import user_code

Head = Literal["ridge", "pool", "readout"]


@dataclass(frozen=True)
class CombinedSettings:
    """Sizes of the convolutional network on a frozen layer's output; the report's best.

    Parameters
    ----------
    widths : tuple of int
        Channels of the 3 x 3 convolutions, each followed by batch norm, ReLU and, where the map is at
        least 2 x 2, 2 x 2 max pooling.
    hidden : tuple of int
        Units of the linear layers between convolutions and responses.
    dropout : float
        Share of units left out before each linear layer.

    Raises
    ------
    InputError
        If a size is not above 0, or the dropout not in [0, 1).
    """

    widths: tuple[int, ...] = (512, 256)
    hidden: tuple[int, ...] = (1024, 512)
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check_sizes("combined", widths=self.widths, hidden=self.hidden)
        check_range("combined", 0, 1, dropout=self.dropout)

    def build(self, task: Task) -> FittedNetwork:
        """Build the network with weights from torch's generator.

        Raises
        ------
        InputError
            If the layer's output is no map.
        """
        return Combined(self, task)


class Combined(FittedNetwork):
    """Frozen features (b, channels, height, width) -> responses (b, q); see `CombinedSettings`."""

    def __init__(self, settings: CombinedSettings, task: Task) -> None:
        super().__init__(task)
        self.stages, shape = conv_stages(as_map_shape(task.input_shape, "combined"), settings.widths)
        self.head = dense(shape, settings.hidden, task.n_neuroids, settings.dropout)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:  # noqa: D102
        return {"responses": self.head(self.stages(self.standardised(inputs)))}


@dataclass(frozen=True)
class FinetunedSettings:
    """Settings of a backbone that is trained end to end, up to one of its layers, with a head on it.

    Parameters
    ----------
    head : {"ridge", "pool", "readout"}
        A linear layer on the whole map that begins as ridge regression from the untouched backbone (the first
        epoch) and ends as ridge regression from the best epoch's features, those of the validation part among
        them, see `ridge_head.RidgeHead`; one on the spatial mean of each channel; or a factorised readout.
    backbone_rate : float
        Learning rate of the backbone as a multiple of the head's: what is trained already moves slowly
        (Howard & Ruder 2018, section 3.2, whose rates differ from layer to layer).
    frozen_norms : bool
        Batch norms of the backbone keep their running statistics; statistics of small batches of few
        stimuli are poor. Their scales and shifts are trained all the same.
    dropout : float
        Share of the head's features (pool) left out in training.
    mask, mask_penalty, weight_penalty, mask_rate
        Of the factorised readout; see `ReadoutSettings`.

    Raises
    ------
    InputError
        If there is no such head or mask, or a number is out of its range.
    """

    head: Head = "ridge"
    backbone_rate: float = 0.1
    frozen_norms: bool = True
    dropout: float = 0.3
    mask: Mask = "l1"
    mask_penalty: float = 0.01
    weight_penalty: float = 0.1
    mask_rate: float = 10.0

    def __post_init__(self) -> None:
        if self.head not in get_args(Head):
            raise unknown_name("head of finetuned", self.head, get_args(Head))
        check_range("finetuned", 0, 1, dropout=self.dropout)
        check_range("finetuned", 0, math.inf, backbone_rate=self.backbone_rate)
        check_readout("finetuned", self.mask, self.mask_penalty, self.weight_penalty, self.mask_rate)

    def build(self, task: Task, backbone: nn.Module, layer: str) -> FittedNetwork:
        """Build the network; the head's weights come from torch's generator.

        Parameters
        ----------
        task : Task
        backbone : torch.nn.Module
            Copied; its own weights stay as they are.
        layer : str
            Name of the module whose output the head reads: (channels, height, width), (tokens, channels)
            or (features,) per stimulus.

        Raises
        ------
        InputError
            If the backbone has no such layer, it cannot be trained, or the backbone fails on such inputs.
        """
        return Finetuned(self, task, backbone, layer)


class Finetuned(ReadoutBased):
    """Images (b, 3, side, side) -> responses (b, q) through a trainable backbone; see `FinetunedSettings`."""

    def __init__(self, settings: FinetunedSettings, task: Task, backbone: nn.Module, layer: str) -> None:
        super().__init__(task)
        self.settings = settings
        self.backbone = Truncated(backbone, layer, task.input_shape)
        shape = self.backbone.map_shape
        # Layers differ by orders of magnitude; the head starts from features of variance 1.
        self.norm: nn.Module = nn.BatchNorm2d(shape[0], affine=False)
        if settings.head == "readout":
            readout = ReadoutSettings(
                settings.mask, settings.mask_penalty, settings.weight_penalty, settings.mask_rate
            )
            self.readout: nn.Module = FactorisedReadout(shape, task.n_neuroids, readout)
        elif settings.head == "ridge":
            self.norm, self.readout = nn.Identity(), RidgeHead(shape, task.n_neuroids)
            self.fits_head = True
        else:
            linear = initialised(nn.Linear(shape[0], task.n_neuroids), PREDICTION_GAIN)
            self.readout = nn.Sequential(SpatialMean(), nn.Dropout(settings.dropout), linear)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:  # noqa: D102
        return {"responses": self.readout(self.norm(self.backbone(self.standardised(inputs))))}

    @torch.no_grad()
    def fit_head(self, batches: Iterable[Tensor], responses: Tensor) -> float:  # noqa: D102
        assert isinstance(self.readout, RidgeHead), "other heads are trained from the first epoch on"
        features = torch.cat([self.backbone(self.standardised(images)).float() for images in batches])
        return float(weighted_mse(self.readout.fit(features, responses), responses))

    def train(self, mode: bool = True) -> Self:
        """As everywhere, but frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self.settings.frozen_norms:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def rate_of(self, name: str) -> float:  # noqa: D102
        if name.startswith("backbone."):
            return self.settings.backbone_rate
        # A step moves predictions by the sum of what it does to each weight: with many, each must move less.
        return 1 / self.readout.positions if isinstance(self.readout, RidgeHead) else super().rate_of(name)

    def no_decay(self) -> set[str]:
        """As everywhere, and the ridge head, whose penalties are chosen."""
        return super().no_decay() | ({"readout.linear.weight"} if self.fits_head else set())


class SpatialMean(nn.Module):
    """Mean over positions, (b, c, h, w) -> (b, c); unlike adaptive pooling, exactly repeatable on a GPU."""

    def forward(self, features: Tensor) -> Tensor:  # noqa: D102
        return features.mean((2, 3))


class _ReachedError(Exception):
    """The layer has run; the rest of the forward pass is not needed."""


class Truncated(nn.Module):
    """A copy of a network up to one of its layers, all of it trainable: images -> (b, c, h, w).

    Modules that run only after the layer are left out of the copy. A layer that runs several times gives
    its last output.

    Parameters
    ----------
    module : torch.nn.Module
    layer : str
    input_shape : tuple of int
        Of one input.

    Attributes
    ----------
    map_shape : tuple of int
        (channels, height, width) of what comes out; a vector is a map of one position, tokens are a
        column of positions.
    """

    def __init__(self, module: nn.Module, layer: str, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.module = private_copy(module).eval().requires_grad_(True)
        self.layer = layer
        some = next(self.module.parameters(), torch.zeros(0))
        images = torch.zeros(2, *input_shape, device=some.device)
        with user_code("the backbone of finetuned", "give images that it takes"):
            traced, _ = trace(self.module, images)
        if layer not in traced:
            raise unknown_name("layer of the backbone", layer, traced)
        self.calls = traced[layer].calls
        _, channels, height, width = _as_map(torch.empty(1, *traced[layer].shape), layer).shape
        self.map_shape: MapShape = channels, height, width
        self._leave_out_unused(images)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        outputs: list[Tensor] = []
        with self._until_layer(outputs), suppress(_ReachedError):
            self.module(images)
        return _as_map(outputs[-1], self.layer)

    @contextmanager
    def _until_layer(self, outputs: list[Tensor]) -> Iterator[None]:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            tensor = first_tensor(output)
            assert tensor is not None, "the trace saw a tensor"
            outputs.append(tensor)
            if len(outputs) == self.calls:
                # Stopping here, nothing can change the output in place, and what follows costs nothing.
                raise _ReachedError

        handle = self.module.get_submodule(self.layer).register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def _leave_out_unused(self, images: Tensor) -> None:
        """Drop modules behind the layer; freeze what is left of parameters that do not reach it."""
        ran: set[nn.Module] = set()
        hooks = [
            part.register_forward_pre_hook(lambda part, _inputs: ran.add(part))
            for part in self.module.modules()
        ]
        with torch.enable_grad():
            output = self(images)
        for hook in hooks:
            hook.remove()
        parameters = list(self.module.parameters())
        if not output.requires_grad or not parameters:
            raise InputError(
                f"finetuned: no parameter of the backbone reaches layer {self.layer!r}; choose a later layer"
            )
        gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
        used = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
        _drop_unused(self.module, ran, used)
        for parameter in self.module.parameters():
            parameter.requires_grad_(id(parameter) in used)


def _drop_unused(parent: nn.Module, ran: set[nn.Module], used: set[int]) -> None:
    for name, child in list(parent.named_children()):
        own = [id(parameter) for parameter in child.parameters()]
        if own and ran.isdisjoint(child.modules()) and used.isdisjoint(own):
            setattr(parent, name, nn.Identity())
        else:
            _drop_unused(child, ran, used)


def _as_map(output: Tensor, layer: str) -> Tensor:
    """Output of a layer as (b, channels, height, width)."""
    if output.ndim == 4:
        return as_map(output)
    if output.ndim == 3:
        return output.transpose(1, 2).unsqueeze(3)
    if output.ndim == 2:
        return output[:, :, None, None]
    raise InputError(
        f"finetuned: layer {layer!r} gives {output.ndim - 1} axes per stimulus; choose one that gives "
        "channels x height x width, tokens x channels or features"
    )
