"""One trainer for every network that is fitted to responses.

Each epoch ends with a checkpoint, so that a training that was killed goes on from it and ends, on a CPU,
with the same weights to the last bit.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from itprobe.errors import InputError
from itprobe.models.fitted.blocks import FittedNetwork
from itprobe.models.fitted.checkpoints import HALVED, load_checkpoint, save_checkpoint
from itprobe.models.fitted.run import Run
from itprobe.models.fitted.settings import Part, Trained, TrainingSettings, Watch

LEAST_TRAINED = 16
"""Fewest stimuli that batch statistics and gradients can be taken over."""


def train(
    build: Callable[[], FittedNetwork],
    part: Part,
    settings: TrainingSettings,
    seed: int,
    device: torch.device,
    label: str,
    folder: Path | None = None,
    describes: Mapping[str, object] | None = None,
    watch: Watch | None = None,
) -> tuple[FittedNetwork, Trained]:
    """Train a network; where memory does not suffice, once more with half the batch.

    Parameters
    ----------
    build : callable
        Makes the network; called with torch's generator seeded.
    part : Part
        The training stimuli. A validation part is taken out of them.
    settings : TrainingSettings
    seed : int
        Of weights, validation part, order of stimuli, augmentation and dropout.
    device : torch.device
    label : str
        For messages and the bar.
    folder : Path, optional
        Where checkpoints are kept. A checkpoint found there is gone on from.
    describes : mapping, optional
        What a checkpoint belongs to; one of another description is refused.
    watch : callable, optional
        See `Watch`; of a training that goes on from a checkpoint, it is told of the earlier epochs, too.

    Returns
    -------
    FittedNetwork
        With the weights of the best epoch, in evaluation mode.
    Trained

    Raises
    ------
    InputError
        If there are too few stimuli, the loss becomes NaN, memory does not suffice for half the batch, or the
        checkpoint in `folder` is of something else.
    """
    try:
        return _train(build, part, settings, seed, device, label, folder, describes or {}, watch)
    except torch.cuda.OutOfMemoryError:
        halved = replace(settings, batch_size=max(2, settings.batch_size // 2))
    # Outside of the handler, whose traceback would keep the memory of the failed attempt.
    torch.cuda.empty_cache()
    warnings.warn(
        f"{label}: not enough GPU memory for batches of {settings.batch_size}; training anew with {halved.batch_size}",
        stacklevel=2,
    )
    try:
        # In a folder of its own: it does not go on from a checkpoint of full batches, nor these from one of its.
        inner = folder / HALVED if folder else None
        return _train(build, part, halved, seed, device, label, inner, describes or {}, watch)
    except torch.cuda.OutOfMemoryError:
        raise InputError(
            f"{label}: not enough GPU memory for batches of {halved.batch_size} either; "
            "set a smaller batch_size, or train on the cpu"
        ) from None


def _train(
    build: Callable[[], FittedNetwork],
    part: Part,
    settings: TrainingSettings,
    seed: int,
    device: torch.device,
    label: str,
    folder: Path | None,
    describes: Mapping[str, object],
    watch: Watch | None,
) -> tuple[FittedNetwork, Trained]:
    kept, validation = validation_rows(len(part.inputs), part.strata, settings.validation, seed)
    if len(kept) < LEAST_TRAINED:
        raise InputError(
            f"{label}: {len(part.inputs)} training stimuli are too few; at least {LEAST_TRAINED} must be left "
            f"beside the validation part of {len(validation)}"
        )
    described = {**describes, "training": asdict(settings), "seed": seed}
    with _reproducible(device, seed):
        network = placed(build(), device)
        run = Run(network, part, settings, seed, device, label, kept, validation, folder)
        run.restore(load_checkpoint(folder, described) if folder else None)
        if watch:
            for number, epoch in enumerate(run.history):
                watch(number, epoch)
        run.go_on(
            lambda checkpoint: save_checkpoint(checkpoint, folder, described) if folder else None, watch
        )
        return run.finished()


def placed(network: FittedNetwork, device: torch.device) -> FittedNetwork:
    """Move a network to a device, its convolutions with channels last: on a CPU a third faster to train."""
    return network.to(device).to(memory_format=torch.channels_last)


def validation_rows(
    n: int, strata: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on, of n; balanced by `strata` where each part can hold all of them."""
    rows = np.arange(n)
    size = round(n * fraction)
    if size < 3:  # a correlation over fewer says nothing
        return rows, rows[:0]
    counts = np.unique(strata, return_counts=True)[1] if strata is not None else np.array([0])
    balanced = counts.min() >= 2 and len(counts) <= size
    kept, validation = train_test_split(
        rows, test_size=size, random_state=seed, stratify=strata if balanced else None
    )
    return np.sort(kept), np.sort(validation)


@contextmanager
def _reproducible(device: torch.device, seed: int) -> Iterator[None]:
    """Seeded generators and deterministic kernels inside; outside all is as it was."""
    # cuBLAS reads this when a process first uses it, and refuses deterministic mode without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # On a GPU some gradients (of pooling) have no deterministic kernel at all.
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
