"""Networks of the fitted candidates: from images to responses, and the table of them all.

Sizes are those of the report's networks unless a setting says otherwise.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from itprobe.errors import InputError
from itprobe.models.fitted.backbones import CombinedSettings, FinetunedSettings
from itprobe.models.fitted.blocks import (
    LINEAR_GAIN,
    PREDICTION_GAIN,
    RELU_GAIN,
    FittedNetwork,
    MapShape,
    Outputs,
    Targets,
    Task,
    check_range,
    check_sizes,
    conv_stages,
    dense,
    image_shape,
    initialised,
)
from itprobe.models.fitted.losses import (
    FixedBalance,
    UncertaintyBalance,
    relative_cross_entropy,
    weighted_mse,
)
from itprobe.models.fitted.readout import ReadoutSettings

__all__ = [
    "NETWORKS",
    "AutoencoderSettings",
    "CombinedSettings",
    "ConvNetSettings",
    "DualTaskSettings",
    "FinetunedSettings",
    "FittedNetwork",
    "ReadoutSettings",
    "Targets",
    "Task",
]


@dataclass(frozen=True)
class ConvNetSettings:
    """Sizes of the data-driven network: convolutions and two linear layers, trained on responses alone.

    The architecture is the report's (3 x [convolution, batch norm, ReLU, pooling], two linear layers),
    begun as He et al. (2015, section 2.2) do.

    Parameters
    ----------
    widths : tuple of int
        Channels of the 3 x 3 convolutions, each followed by batch norm, ReLU and 2 x 2 max pooling.
    hidden : int
        Units of the linear layer between convolutions and responses.
    dropout : float
        Share of units left out before each linear layer; none, as in the report.

    Raises
    ------
    InputError
        If a size is not above 0, or the dropout not in [0, 1).
    """

    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_sizes("convnet", widths=self.widths, hidden=self.hidden)
        check_range("convnet", 0, 1, dropout=self.dropout)

    def build(self, task: Task) -> FittedNetwork:
        """Build the network with weights from torch's generator.

        Raises
        ------
        InputError
            If the images are too small for the poolings.
        """
        return ConvNet(self, task)


class ConvNet(FittedNetwork):
    """Images (b, 3, side, side) -> responses (b, q); see `ConvNetSettings`."""

    def __init__(self, settings: ConvNetSettings, task: Task) -> None:
        super().__init__(task)
        shape = image_shape(task, len(settings.widths), "convnet")
        self.stages, shape = conv_stages(shape, settings.widths)
        self.head = dense(shape, [settings.hidden], task.n_neuroids, settings.dropout)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"responses": self.head(self.stages(self.standardised(inputs)))}


@dataclass(frozen=True)
class DualTaskSettings:
    """Sizes of the network that names the object and predicts the responses from a shared trunk.

    A trunk that branches into one head per task is Kell et al.'s (2018, "Network architecture"); sizes
    are the report's. Its cross-entropy (about log 64 = 4.2) drowned the squared error (about 1): here
    the cross-entropy is divided by log k and the two are balanced.

    Parameters
    ----------
    widths : tuple of int
        Channels of the shared convolutions, as in `ConvNetSettings`.
    head_widths : tuple of int
        Channels of each head's own convolutions, also followed by batch norm, ReLU and pooling.
    hidden : int
        Units of each head's hidden linear layer.
    dropout : float
        Share of units left out before each linear layer.
    balance : "uncertainty" or float
        Learned weights (`losses.UncertaintyBalance`), or a fixed weight of the cross-entropy.
    balance_rate : float
        Learning rate of the learned weights as a multiple of the network's; they are two numbers that
        have to follow the losses.

    Raises
    ------
    InputError
        If a size is not above 0, the dropout not in [0, 1), or the balance not a finite weight.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    head_widths: tuple[int, ...] = (256, 512)
    hidden: int = 256
    dropout: float = 0.0
    balance: float | Literal["uncertainty"] = "uncertainty"
    balance_rate: float = 10.0

    def __post_init__(self) -> None:
        check_sizes("dual_task", widths=self.widths, head_widths=self.head_widths, hidden=self.hidden)
        check_range("dual_task", 0, 1, dropout=self.dropout)
        check_range("dual_task", 0, math.inf, balance_rate=self.balance_rate)
        if isinstance(self.balance, str) and self.balance != "uncertainty":
            raise InputError(
                f"dual_task: balance must be 'uncertainty' or the weight of the cross-entropy, not {self.balance!r}"
            )
        if not isinstance(self.balance, str):
            check_range("dual_task", 0, math.inf, balance=self.balance)

    def build(self, task: Task) -> FittedNetwork:
        """Build the network with weights from torch's generator.

        Raises
        ------
        InputError
            If fewer than two objects are known, or the images are too small for the poolings.
        """
        return DualTask(self, task)


class DualTask(FittedNetwork):
    """Images (b, 3, side, side) -> responses (b, q) and objects (b, k); see `DualTaskSettings`."""

    def __init__(self, settings: DualTaskSettings, task: Task) -> None:
        super().__init__(task)
        if task.n_objects < 2:
            raise InputError(
                f"dual_task learns to name objects, and the stimuli have {task.n_objects}: "
                "give a recording with an object_name for each stimulus, or use convnet"
            )
        poolings = len(settings.widths) + len(settings.head_widths)
        self.trunk, shape = conv_stages(image_shape(task, poolings, "dual_task"), settings.widths)
        self.responses_head = _branch(shape, settings, task.n_neuroids)
        self.objects_head = _branch(shape, settings, task.n_objects)
        self.balance: nn.Module = (
            UncertaintyBalance() if isinstance(settings.balance, str) else FixedBalance(settings.balance)
        )
        self.balance_rate = settings.balance_rate

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        shared = self.trunk(self.standardised(inputs))
        return {"responses": self.responses_head(shared), "objects": self.objects_head(shared)}

    def loss(
        self, outputs: Outputs, inputs: Tensor, targets: Targets, neuroid_weights: Tensor | None
    ) -> Tensor:
        if targets.objects is None:
            raise InputError("dual_task needs the object of every stimulus of a batch; it was given none")
        balanced: Tensor = self.balance(
            weighted_mse(outputs["responses"], targets.responses, neuroid_weights),
            relative_cross_entropy(outputs["objects"], targets.objects),
        )
        return balanced

    def rate_of(self, name: str) -> float:
        return self.balance_rate if name.startswith("balance.") else 1.0


def _branch(shape: MapShape, settings: DualTaskSettings, n_out: int) -> nn.Sequential:
    stages, shape = conv_stages(shape, settings.head_widths)
    return nn.Sequential(stages, dense(shape, [settings.hidden], n_out, settings.dropout))


@dataclass(frozen=True)
class AutoencoderSettings:
    """Sizes of the network that rebuilds its image from a bottleneck as wide as the responses.

    The encoder is the data-driven network, the decoder two linear layers and upsampling convolutions, as
    in the report; responses are read from the bottleneck by a linear probe (as from the codes of Hinton
    & Salakhutdinov 2006). The report's decoder ended in a sigmoid, which cannot give the standardised
    images (about -2.1 to 2.6) it was compared with: here the last layer is linear.

    Parameters
    ----------
    widths : tuple of int
        Channels of the encoder's convolutions, as in `ConvNetSettings`; the decoder has them reversed.
    hidden : int
        Units of the linear layer before the bottleneck and of the one after it.
    bottleneck : int, optional
        Units of the bottleneck; the number of neuroids by default.
    pull : float
        Weight of the squared distance between bottleneck and responses; above 0 it is the report's
        variant whose bottleneck is pulled to the responses and predicts them.

    Raises
    ------
    InputError
        If a size is not above 0, or the pull is below 0.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 256
    bottleneck: int | None = None
    pull: float = 0.0

    def __post_init__(self) -> None:
        check_sizes("autoencoder", widths=self.widths, hidden=self.hidden, bottleneck=self.bottleneck)
        check_range("autoencoder", 0, math.inf, pull=self.pull)

    def build(self, task: Task) -> FittedNetwork:
        """Build the network with weights from torch's generator.

        Raises
        ------
        InputError
            If the images are too small for the poolings, or a bottleneck that is pulled to the responses
            does not have their width.
        """
        return Autoencoder(self, task)


class Autoencoder(FittedNetwork):
    """Images (b, 3, side, side) -> images and bottleneck (b, d); see `AutoencoderSettings`.

    ``responses`` are among the outputs only where the bottleneck is pulled to them.
    """

    def __init__(self, settings: AutoencoderSettings, task: Task) -> None:
        super().__init__(task)
        units = settings.bottleneck or task.n_neuroids
        self.pull = settings.pull
        if self.pull > 0 and units != task.n_neuroids:
            raise InputError(
                f"autoencoder: a bottleneck of {units} cannot be pulled to {task.n_neuroids} neuroids; "
                "leave bottleneck out, or set pull to 0"
            )
        shape = image_shape(task, len(settings.widths), "autoencoder")
        stages, inner = conv_stages(shape, settings.widths)
        self.encoder = nn.Sequential(stages, dense(inner, [settings.hidden], units, 0.0, LINEAR_GAIN))
        self.decoder = _decoder(units, settings.hidden, shape, settings.widths)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        bottleneck = self.encoder(self.standardised(inputs))
        outputs = {"images": self.decoder(bottleneck), "bottleneck": bottleneck}
        return {**outputs, "responses": bottleneck} if self.pull > 0 else outputs

    def loss(
        self, outputs: Outputs, inputs: Tensor, targets: Targets, neuroid_weights: Tensor | None
    ) -> Tensor:
        rebuilt = weighted_mse(outputs["images"], self.standardised(inputs))
        if self.pull == 0:
            return rebuilt
        return rebuilt + self.pull * weighted_mse(outputs["responses"], targets.responses, neuroid_weights)


def _decoder(units: int, hidden: int, shape: MapShape, widths: tuple[int, ...]) -> nn.Sequential:
    """Mirror of the encoder: (b, units) -> (b, *shape)."""
    channels, height, width = shape
    depth = len(widths)
    inner = (widths[-1], height >> depth, width >> depth)
    decoder = nn.Sequential(
        dense((units,), [hidden], math.prod(inner), 0.0, RELU_GAIN), nn.ReLU(), nn.Unflatten(1, inner)
    )
    wide = [channels, *widths]
    for level in reversed(range(depth)):
        decoder.append(nn.Upsample(size=(height >> level, width >> level)))
        if level:
            convolution = nn.Conv2d(wide[level + 1], wide[level], 3, padding=1, bias=False)
            decoder.extend([initialised(convolution, RELU_GAIN), nn.BatchNorm2d(wide[level]), nn.ReLU()])
        else:
            last = nn.Conv2d(wide[1], channels, 3, padding=1)
            decoder.append(initialised(last, PREDICTION_GAIN))
    return decoder


NetworkSettings = (
    ConvNetSettings
    | DualTaskSettings
    | AutoencoderSettings
    | CombinedSettings
    | ReadoutSettings
    | FinetunedSettings
)

NETWORKS: dict[str, type[NetworkSettings]] = {
    "convnet": ConvNetSettings,
    "dual_task": DualTaskSettings,
    "autoencoder": AutoencoderSettings,
    "combined": CombinedSettings,
    "readout": ReadoutSettings,
    "finetuned": FinetunedSettings,
}
