"""What a training is told, what it learns from, and what it tells of itself."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from itprobe.errors import InputError
from itprobe.models.fitted.blocks import Targets

Schedule = Literal["cosine", "onecycle", "constant"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
        At most; see `patience`.
    batch_size : int
    lr : float
        Largest learning rate of AdamW (Loshchilov & Hutter 2019).
    weight_decay : float
        Not of biases and norms.
    schedule : {"cosine", "onecycle", "constant"}
        Of the learning rate, step by step over ``epochs`` times the batches of an epoch: linear warm-up and
        half a cosine; Smith & Topin's (2018) rise and fall; or none.
    warmup : float
        Part of all steps in which the rate rises.
    patience : int
        Epochs without a better validation score until training stops; 0: it never does.
    validation : float
        Part of the training stimuli, balanced by object, that the epoch is chosen on; 0: the last one is taken.
    clip : float
        Largest norm of a gradient; 0: not clipped.
    shift : float
        Images move by up to this part of their side while training, which keeps the object; edges are repeated.
    flip : bool
        Images are mirrored at random: off, because IT neurons tell left from right.
    noise_weighting : bool
        Reliable neuroids count more in the loss, see `itprobe.models.fitted.losses.noise_weights`.
    mixed_precision : bool
        bfloat16 where torch's autocast takes it, on a GPU alone.
    """

    epochs: int = 40
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-2
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    patience: int = 10
    validation: float = 0.1
    clip: float = 1.0
    shift: float = 0.0
    flip: bool = False
    noise_weighting: bool = False
    mixed_precision: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        ranges: dict[str, tuple[float, float]] = {
            "epochs": (1, math.inf),
            "batch_size": (2, math.inf),
            "lr": (1e-12, 10),
            "weight_decay": (0, 100),
            "warmup": (0, 1),
            "patience": (0, math.inf),
            "validation": (0, 0.5),
            "clip": (0, math.inf),
            "shift": (0, 0.5),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"training parameter {name} must be from {low:g} to {high:g}, not {value!r}")
        if self.schedule not in ("cosine", "onecycle", "constant"):
            raise InputError(f"schedule must be cosine, onecycle or constant, not {self.schedule!r}")


class Inputs(Protocol):
    """Network inputs of n stimuli."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs (b, ...) float32 of some rows (b,), on the network's device; augmented by `generator`, if given."""
        ...


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training stimuli did.

    Attributes
    ----------
    loss : float
        Mean over its batches.
    validation_loss : float
    validation_r : float
        Mean over neuroids of the correlation on the validation part; NaN for networks that do not predict
        responses while they are trained, or without a validation part.
    """

    loss: float
    validation_loss: float
    validation_r: float


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes
    ----------
    history : list of Epoch
    best_epoch : int
        Whose weights the network has, from 0.
    n_train, n_validation : int
        Stimuli.
    batch_size : int
        As used; half of what was asked for where memory did not suffice.
    seconds : float
        Over all resumed parts.
    scale : float
        What predictions are multiplied with, see `itprobe.models.fitted.run.least_squares_scale`; 1 without
        a validation part.
    """

    history: list[Epoch]
    best_epoch: int
    n_train: int
    n_validation: int
    batch_size: int
    seconds: float
    scale: float = 1.0


@dataclass(frozen=True)
class Part:
    """What a network learns from.

    Attributes
    ----------
    inputs : Inputs
        Of n stimuli.
    targets : Targets
        Responses (n, q), standardised, and objects (n,) or None, on the network's device.
    strata : ndarray (n,) or None
        Objects, by which the validation part is balanced.
    neuroid_weights : Tensor (q,) or None
        Of the loss, mean 1.
    """

    inputs: Inputs
    targets: Targets
    strata: np.ndarray | None = None
    neuroid_weights: Tensor | None = None


Watch = Callable[[int, Epoch], None]
"""Told of each epoch (its number, from 0) when it is finished; whatever it raises ends the training."""
