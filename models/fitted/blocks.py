"""What the fitted networks are made of: their base class, their layers and how these begin."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from itprobe.errors import InputError
from itprobe.models.fitted.losses import weighted_mse

Outputs = Mapping[str, Tensor]
MapShape = tuple[int, int, int]

# Standard deviation of a layer's weights is gain / sqrt(inputs to a unit).
RELU_GAIN = math.sqrt(2)
LINEAR_GAIN = 1.0
# First predictions then lie close to the mean, which costs 1, instead of adding noise to it.
PREDICTION_GAIN = 0.1


@dataclass(frozen=True)
class Task:
    """What a network is built for.

    Attributes
    ----------
    input_shape : tuple of int
        Of one input: (3, side, side) of an image, or (channels, height, width) of a frozen layer.
    n_neuroids : int
    n_objects : int
        0 where objects are not known.
    """

    input_shape: tuple[int, ...]
    n_neuroids: int
    n_objects: int


class Targets(NamedTuple):
    """What a batch of b stimuli is to give, on the network's device.

    Attributes
    ----------
    responses : torch.Tensor
        (b, q), standardised per neuroid on the training part.
    objects : torch.Tensor or None
        (b,) int64 number of the object; None where it is not known.
    """

    responses: Tensor
    objects: Tensor | None


class FittedNetwork(nn.Module, ABC):
    """A network that is trained on responses.

    Parameters
    ----------
    task : Task

    Attributes
    ----------
    input_mean, input_sd : torch.Tensor
        (channels, 1, 1) buffers, saved with the weights: what `fit_input` set; 0 and 1 before.
    fits_head : bool
        The first epoch is `fit_head` instead of steps along gradients; after the last, the head is fitted once
        more, to the best epoch's features of all stimuli, those of the validation part among them.
    """

    input_mean: Tensor
    input_sd: Tensor
    fits_head = False

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        shape = (task.input_shape[0], *(1 for _ in task.input_shape[1:]))
        self.register_buffer("input_mean", torch.zeros(shape))
        self.register_buffer("input_sd", torch.ones(shape))

    @abstractmethod
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Compute what the network gives for b inputs.

        Parameters
        ----------
        inputs : torch.Tensor
            (b, *task.input_shape).

        Returns
        -------
        dict of str to torch.Tensor
            Of these, those that the network has: ``responses`` (b, q), ``objects`` (b, k) logits,
            ``images`` (b, *task.input_shape), ``bottleneck`` (b, d).
        """

    def loss(
        self, outputs: Outputs, inputs: Tensor, targets: Targets, neuroid_weights: Tensor | None
    ) -> Tensor:
        """What training minimises: by default the squared error of the standardised responses.

        Parameters
        ----------
        outputs : mapping of str to torch.Tensor
            What `forward` gave for `inputs`.
        inputs : torch.Tensor
            (b, *task.input_shape).
        targets : Targets
            Of the same b stimuli.
        neuroid_weights : torch.Tensor or None
            (q,) with mean 1; None counts all neuroids the same.

        Returns
        -------
        torch.Tensor
            Scalar, float32.
        """
        return weighted_mse(outputs["responses"], targets.responses, neuroid_weights)

    def fit_head(self, batches: Iterable[Tensor], responses: Tensor) -> float:
        """Fit what comes last to the training stimuli in one go, the rest as it is; only where `fits_head`.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            (b, *task.input_shape), together n.
        responses : torch.Tensor (n, q)

        Returns
        -------
        float
            Squared error that is left of them.
        """
        raise NotImplementedError

    def fit_input(self, mean: Tensor, sd: Tensor) -> None:
        """Standardise inputs per channel from now on.

        Parameters
        ----------
        mean, sd : torch.Tensor
            (channels,), over training inputs and positions; a channel that never varies is only centred.

        Raises
        ------
        InputError
            If there is not one finite value per channel.
        """
        channels = len(self.input_mean)
        if mean.shape != (channels,) or sd.shape != (channels,):
            raise InputError(
                f"inputs have {channels} channels, their mean has shape {tuple(mean.shape)} "
                f"and their sd {tuple(sd.shape)}; give ({channels},) each"
            )
        if not bool(torch.isfinite(mean).all() and torch.isfinite(sd).all()):
            raise InputError("the mean or sd of an input channel is not finite; check the layer's features")
        self.input_mean.copy_(mean.view_as(self.input_mean))
        self.input_sd.copy_(torch.where(sd > 0, sd, torch.ones_like(sd)).view_as(self.input_sd))

    def standardised(self, inputs: Tensor) -> Tensor:
        """Inputs less `input_mean`, divided by `input_sd`."""
        return (inputs - self.input_mean) / self.input_sd

    def no_decay(self) -> set[str]:
        """Names of parameters kept out of weight decay: biases, norms, weights of losses."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim <= 1}

    def rate_of(self, name: str) -> float:
        """Learning rate of a parameter as a multiple of the network's."""
        return 1.0

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Trainable parameters as an optimiser takes them.

        Parameters
        ----------
        lr : float
            The network's learning rate.
        weight_decay : float
            Of parameters that are not in `no_decay`.

        Returns
        -------
        list of dict
            ``params``, ``lr``, ``weight_decay``; always in the same order, so that an optimiser's saved
            state fits a network that is built anew.
        """
        kept_out = self.no_decay()
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((self.rate_of(name), name in kept_out), []).append(parameter)
        return [
            {"params": parameters, "lr": lr * rate, "weight_decay": 0.0 if out else weight_decay}
            for (rate, out), parameters in groups.items()
        ]


def initialised(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Linear | nn.Conv2d:
    """Draw a layer's weights from N(0, gain² / inputs to a unit) and set its bias to 0.

    A gain of sqrt(2) keeps the mean square of what passes a chain of layers and ReLUs (He et al. 2015,
    section 2.2).
    """
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv_stages(shape: MapShape, widths: Sequence[int]) -> tuple[nn.Sequential, MapShape]:
    """Stages of 3 x 3 convolution, batch norm, ReLU and, on a map of at least 2 x 2, 2 x 2 max pooling.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width) of what goes in.
    widths : sequence of int
        Channels of each stage.

    Returns
    -------
    (torch.nn.Sequential, tuple of int)
        The stages, and the (channels, height, width) of what comes out.
    """
    channels, height, width = shape
    stages = nn.Sequential()
    for out in widths:
        # Batch norm has a shift of its own.
        convolution = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        stage = nn.Sequential(initialised(convolution, RELU_GAIN), nn.BatchNorm2d(out), nn.ReLU())
        if min(height, width) >= 2:
            stage.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        stages.append(stage)
        channels = out
    return stages, (channels, height, width)


def dense(
    shape: Sequence[int], hidden: Sequence[int], n_out: int, dropout: float, gain: float = PREDICTION_GAIN
) -> nn.Sequential:
    """Flatten, then linear layers with ReLU between them and dropout before each.

    Parameters
    ----------
    shape : sequence of int
        Of what goes in, without the stimulus axis.
    hidden : sequence of int
        Units of the hidden layers.
    n_out : int
        Units of the last layer.
    dropout : float
        Share of units left out in training.
    gain : float
        Of the last layer's weights.
    """
    layers = nn.Sequential(nn.Flatten())
    n_in = math.prod(shape)
    for units in hidden:
        layers.extend([nn.Dropout(dropout), initialised(nn.Linear(n_in, units), RELU_GAIN), nn.ReLU()])
        n_in = units
    layers.extend([nn.Dropout(dropout), initialised(nn.Linear(n_in, n_out), gain)])
    return layers


def as_map_shape(shape: tuple[int, ...], network: str) -> MapShape:
    """Check that inputs are maps.

    Raises
    ------
    InputError
        If `shape` is not (channels, height, width).
    """
    if len(shape) != 3:
        raise InputError(
            f"{network} needs inputs of channels x height x width; these are "
            f"{' x '.join(map(str, shape))}; choose a layer before the network's spatial pooling"
        )
    return shape[0], shape[1], shape[2]


def image_shape(task: Task, poolings: int, network: str) -> MapShape:
    """Check that images can be halved `poolings` times.

    Raises
    ------
    InputError
        If they are smaller, or no maps.
    """
    channels, height, width = as_map_shape(task.input_shape, network)
    least = 2**poolings
    if min(height, width) < least:
        raise InputError(
            f"{network} halves its images {poolings} times; {height} x {width} pixels are too few: "
            f"give images of at least {least} x {least} or fewer convolutions"
        )
    return channels, height, width


def check_sizes(network: str, **sizes: int | Sequence[int] | None) -> None:
    """Check the numbers of units and channels among a network's settings; None is left to the network.

    Raises
    ------
    InputError
        If one is not a whole number above 0, or a sequence of them is empty.
    """
    for name, value in sizes.items():
        numbers = [value] if isinstance(value, int) else ([1] if value is None else list(value))
        if not numbers or any(type(number) is not int or number < 1 for number in numbers):
            raise InputError(f"{network}: {name} must be whole numbers above 0, not {value!r}")


def check_range(network: str, low: float, high: float, **values: float) -> None:
    """Check that settings lie in [low, high).

    Raises
    ------
    InputError
        If one does not.
    """
    for name, value in values.items():
        if not low <= value < high:
            bounds = f"at least {low:g}" + (f" and below {high:g}" if math.isfinite(high) else " and finite")
            raise InputError(f"{network}: {name} must be {bounds}, not {value!r}")
