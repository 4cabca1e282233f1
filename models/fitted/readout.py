"""The factorised readout: where a neuroid looks, times what it looks for."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from itprobe.errors import unknown_name
from itprobe.models.fitted.blocks import (
    PREDICTION_GAIN,
    FittedNetwork,
    MapShape,
    Outputs,
    Targets,
    Task,
    as_map_shape,
    check_range,
)

Mask = Literal["l1", "softmax"]


@dataclass(frozen=True)
class ReadoutSettings:
    """Settings of the factorised readout of a frozen layer (Klindt et al. 2017).

    Parameters
    ----------
    mask : {"l1", "softmax"}
        How a neuroid's spatial mask is made: free, with a penalty on its absolute values (the paper's), or
        positive with sum 1.
    mask_penalty : float
        Added to the squared error, times the mean over neuroids of the mask's spread, which is 1 for a
        flat mask: the sum of absolute values (l1), or the entropy divided by log positions (softmax).
    weight_penalty : float
        Added to the squared error, times the mean over neuroids of the sum of squared feature weights.
    mask_rate : float
        Learning rate of the masks as a multiple of the network's; they start flat and have far to go.

    Raises
    ------
    InputError
        If there is no such mask, or a strength is below 0.
    """

    mask: Mask = "l1"
    mask_penalty: float = 0.01
    weight_penalty: float = 0.1
    mask_rate: float = 10.0

    def __post_init__(self) -> None:
        check_readout("readout", self.mask, self.mask_penalty, self.weight_penalty, self.mask_rate)

    def build(self, task: Task) -> FittedNetwork:
        """Build the network with weights from torch's generator.

        Raises
        ------
        InputError
            If the layer's output is no map.
        """
        return Readout(self, task)


def check_readout(network: str, mask: str, mask_penalty: float, weight_penalty: float, rate: float) -> None:
    """Check the settings of a factorised readout.

    Raises
    ------
    InputError
        If there is no such mask, or a number is below 0 or not finite.
    """
    if mask not in get_args(Mask):
        raise unknown_name(f"mask of {network}", mask, get_args(Mask))
    check_range(
        network, 0, math.inf, mask_penalty=mask_penalty, weight_penalty=weight_penalty, mask_rate=rate
    )


class FactorisedReadout(nn.Module):
    """Where a neuroid looks, times what it looks for (Klindt et al. 2017): (b, c, h, w) -> (b, q).

    With positions s of the map, response_q = sum_s sum_c mask_qs weight_qc x_cs + bias_q: (s + c) numbers
    per neuroid where a linear layer has s x c. Masks start flat and weights small, so that training
    begins with the spatial mean.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) of the map.
    n_neuroids : int
    settings : ReadoutSettings
    """

    def __init__(self, shape: MapShape, n_neuroids: int, settings: ReadoutSettings) -> None:
        super().__init__()
        channels, height, width = shape
        self.settings = settings
        self.positions = height * width
        start = 0.0 if settings.mask == "softmax" else 1.0
        self.mask = nn.Parameter(torch.full((n_neuroids, self.positions), start))
        scale = PREDICTION_GAIN / math.sqrt(channels)
        self.weights = nn.Parameter(scale * torch.randn(n_neuroids, channels))
        self.bias = nn.Parameter(torch.zeros(n_neuroids))

    def masks(self) -> Tensor:
        """(q, positions), row by row of the map; each sums to 1 at the start, with softmax always."""
        if self.settings.mask == "softmax":
            return self.mask.softmax(1)
        return self.mask / self.positions

    def forward(self, features: Tensor) -> Tensor:  # noqa: D102
        flat = features.flatten(2)
        masks = self.masks()
        # Of (b, q, channels) and (b, q, positions) the smaller is made, never all three axes at once.
        if flat.shape[1] <= self.positions:
            looked_at = torch.einsum("bcs,qs->bqc", flat, masks)
            return torch.einsum("bqc,qc->bq", looked_at, self.weights) + self.bias
        looked_for = torch.einsum("bcs,qc->bqs", flat, self.weights)
        return torch.einsum("bqs,qs->bq", looked_for, masks) + self.bias

    def penalty(self) -> Tensor:
        """What is added to the squared error; see `ReadoutSettings`."""
        weights = self.weights.square().sum(1).mean()
        return self.settings.mask_penalty * self._spread() + self.settings.weight_penalty * weights

    def _spread(self) -> Tensor:
        if self.settings.mask == "l1":
            return self.masks().abs().sum(1).mean()
        entropy = -(self.masks() * self.mask.log_softmax(1)).sum(1).mean()
        # A map of one position is as flat as it is sparse.
        return entropy / math.log(max(self.positions, 2))


class ReadoutBased(FittedNetwork):
    """A network whose `readout`, where it is factorised, has penalties and a learning rate of its own.

    Attributes
    ----------
    readout : torch.nn.Module
        Gives the responses.
    """

    readout: nn.Module

    def loss(  # noqa: D102
        self, outputs: Outputs, inputs: Tensor, targets: Targets, neuroid_weights: Tensor | None
    ) -> Tensor:
        error = super().loss(outputs, inputs, targets, neuroid_weights)
        return error + self.readout.penalty() if isinstance(self.readout, FactorisedReadout) else error

    def no_decay(self) -> set[str]:
        """As everywhere, and the factorised readout, whose penalties stand in the loss."""
        factorised = isinstance(self.readout, FactorisedReadout)
        own = {f"readout.{name}" for name, _ in self.readout.named_parameters()} if factorised else set()
        return super().no_decay() | own

    def rate_of(self, name: str) -> float:  # noqa: D102
        if name == "readout.mask" and isinstance(self.readout, FactorisedReadout):
            return self.readout.settings.mask_rate
        return 1.0


class Readout(ReadoutBased):
    """Frozen features (b, channels, height, width) -> responses (b, q); see `FactorisedReadout`."""

    def __init__(self, settings: ReadoutSettings, task: Task) -> None:
        super().__init__(task)
        shape = as_map_shape(task.input_shape, "readout")
        self.readout = FactorisedReadout(shape, task.n_neuroids, settings)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:  # noqa: D102
        return {"responses": self.readout(self.standardised(inputs))}
