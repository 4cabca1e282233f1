"""A training under way: epoch by epoch, from a checkpoint on if there is one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from itprobe.errors import InputError
from itprobe.models.fitted.blocks import FittedNetwork, Targets
from itprobe.models.fitted.checkpoints import NAME, Checkpoint
from itprobe.models.fitted.settings import Epoch, Part, Schedule, Trained, TrainingSettings, Watch
from itprobe.progress import progress_bar

KEPT = ". The last good checkpoint, of epoch"
"""With it a message begins to say what is left of a training that broke off."""

_START_OF_ONECYCLE, _END_OF_ONECYCLE = 1 / 25, 1e-4


def learning_rate(step: int, n_steps: int, schedule: Schedule, warmup: float) -> float:
    """Share of the largest learning rate in a step, from 0 to `n_steps` - 1."""
    rising = max(1, round(warmup * n_steps))
    if schedule == "constant":
        return 1.0
    if step < rising:
        if schedule == "cosine":
            return (step + 1) / rising
        return _between(_START_OF_ONECYCLE, 1.0, (step + 1) / rising)
    done = (step - rising + 1) / max(1, n_steps - rising)
    return _between(1.0, 0.0 if schedule == "cosine" else _END_OF_ONECYCLE, done)


def _between(start: float, end: float, done: float) -> float:
    """Half a cosine from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


@dataclass
class Run:
    """A training under way; `folder` is where its checkpoints are kept."""

    network: FittedNetwork
    part: Part
    settings: TrainingSettings
    seed: int
    device: torch.device
    label: str
    kept: np.ndarray
    validation: np.ndarray
    folder: Path | None = None
    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = -1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        settings = self.settings
        self.optimizer = torch.optim.AdamW(
            self.network.parameter_groups(settings.lr, settings.weight_decay), lr=settings.lr
        )
        # A last batch of a single stimulus has no batch statistics; it joins the one before.
        self.n_batches = max(1, -(-(len(self.kept) - 1) // settings.batch_size))
        n_steps = (settings.epochs - self.network.fits_head) * self.n_batches
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate(step, n_steps, settings.schedule, settings.warmup)
        )
        self.best: dict[str, Tensor] = {}

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Go back to the end of the last finished epoch."""
        if checkpoint is None:
            return
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.scheduler.load_state_dict(checkpoint.scheduler)
        self.best = checkpoint.best
        self.history = [Epoch(*values) for values in checkpoint.history]
        self.best_epoch, self.seconds = checkpoint.best_epoch, checkpoint.seconds
        torch.set_rng_state(checkpoint.rng)
        if checkpoint.device_rng is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(checkpoint.device_rng, self.device)

    def checkpoint(self) -> Checkpoint:
        """State at the end of an epoch."""
        on_gpu = self.device.type == "cuda"
        return Checkpoint(
            network=self.network.state_dict(),
            best=self.best,
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            history=[(e.loss, e.validation_loss, e.validation_r) for e in self.history],
            best_epoch=self.best_epoch,
            seconds=self.seconds,
            rng=torch.get_rng_state(),
            device_rng=torch.cuda.get_rng_state(self.device) if on_gpu else None,
        )

    def go_on(self, keep: Callable[[Checkpoint], object], watch: Watch | None) -> None:
        """Train until the epochs or the patience are used up."""
        with progress_bar(self.settings.epochs, self.label, "epoch") as bar:
            bar.update(len(self.history))
            while not self._enough():
                clock = monotonic()
                first = not self.history
                fits = first and self.network.fits_head
                loss = self._fit_head(self.kept) if fits else self._epoch(len(self.history))
                epoch = Epoch(loss, *self._validate())
                self.history.append(epoch)
                if self._is_best():
                    self.best_epoch = len(self.history) - 1
                    self.best = {name: v.detach().clone() for name, v in self.network.state_dict().items()}
                self.seconds += monotonic() - clock
                keep(self.checkpoint())
                bar.set_postfix(loss=f"{loss:.3f}", r=f"{epoch.validation_r:.3f}")
                bar.update()
                if watch:
                    watch(len(self.history) - 1, epoch)

    def finished(self) -> tuple[FittedNetwork, Trained]:
        """Give the network with the weights of its best epoch; a head that is fitted in one go, to all stimuli."""
        self.network.load_state_dict(self.best)
        self.network.eval()
        scale = self._scale()
        if self.network.fits_head and len(self.validation):
            self._fit_head(np.sort(np.concatenate([self.kept, self.validation])))
        trained = Trained(
            self.history,
            self.best_epoch,
            len(self.kept),
            len(self.validation),
            self.settings.batch_size,
            self.seconds,
            scale,
        )
        return self.network, trained

    def _scale(self) -> float:
        """Scale of the best epoch's predictions, from the validation part; 1 without one."""
        if not len(self.validation):
            return 1.0
        _, predicted, responses = self._held_out()
        return 1.0 if predicted is None else least_squares_scale(responses, predicted)

    def _enough(self) -> bool:
        done, patience = len(self.history), self.settings.patience
        waited = done - 1 - self.best_epoch
        return done >= self.settings.epochs or bool(
            patience and len(self.validation) and done and waited >= patience
        )

    def _is_best(self) -> bool:
        """Whether the last epoch is: by r, else by loss on the validation part; without one, the last always is."""
        if not len(self.validation):
            return True
        by_r = np.isfinite(self.history[-1].validation_r)
        values = [e.validation_r if by_r else -e.validation_loss for e in self.history]
        return len(values) == 1 or values[-1] > np.nanmax(values[:-1])

    def _fit_head(self, stimuli: np.ndarray) -> float:
        """Fit the head to some of the stimuli, without gradients; see `FittedNetwork.fit_head`."""
        self.network.eval()
        rows = torch.from_numpy(stimuli)
        responses = self.part.targets.responses
        batches = (self.part.inputs.batch(chunk) for chunk in rows.split(self.settings.batch_size))
        with self._autocast():
            return self.network.fit_head(batches, responses[rows.to(responses.device)])

    def _epoch(self, epoch: int) -> float:
        """One pass over the training stimuli, in an order and with augmentation that the epoch's number draws."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        order = torch.from_numpy(self.kept)[torch.randperm(len(self.kept), generator=generator)]
        self.network.train()
        total = 0.0
        for step, rows in enumerate(torch.tensor_split(order, self.n_batches)):
            inputs = self.part.inputs.batch(rows, generator)
            with self._autocast():
                outputs = self.network(inputs)
            loss = self._loss(outputs, inputs, rows)
            if not torch.isfinite(loss):
                raise InputError(
                    f"{self.label}: the loss became {loss.item()} in step {epoch * self.n_batches + step + 1} (epoch "
                    f"{epoch + 1}); set a smaller lr{self._kept(epoch)}"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.settings.clip:
                clip_grad_norm_(self.network.parameters(), self.settings.clip)
            self.optimizer.step()
            self.scheduler.step()
            total += loss.item() * len(rows)
        return total / len(order)

    def _kept(self, epochs: int) -> str:
        """What is said of the last good checkpoint after so many finished epochs."""
        if not epochs:
            return ". No epoch was finished before, so there is no checkpoint"
        return f"{KEPT} {epochs}, is kept: {self.folder / NAME}" if self.folder else ""

    def _loss(self, outputs: dict[str, Tensor], inputs: Tensor, rows: Tensor) -> Tensor:
        responses, objects = self.part.targets
        rows = rows.to(responses.device)
        targets = Targets(responses[rows], None if objects is None else objects[rows])
        outputs = {name: values.float() for name, values in outputs.items()}
        return self.network.loss(outputs, inputs, targets, self.part.neuroid_weights)

    def _autocast(self) -> torch.autocast:
        on = self.settings.mixed_precision and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)

    def _validate(self) -> tuple[float, float]:
        """Loss and mean r on the validation part; NaN without one."""
        if not len(self.validation):
            return math.nan, math.nan
        loss, predicted, responses = self._held_out()
        return loss, math.nan if predicted is None else mean_correlation(responses, predicted)

    def _held_out(self) -> tuple[float, Tensor | None, Tensor]:
        """Loss, predictions and responses (m, q) of the validation part; no predictions where there are none."""
        self.network.eval()
        rows = torch.from_numpy(self.validation)
        responses = self.part.targets.responses[rows.to(self.part.targets.responses.device)]
        loss, predicted = 0.0, []
        with torch.no_grad():
            for chunk in rows.split(self.settings.batch_size):
                inputs = self.part.inputs.batch(chunk)
                with self._autocast():
                    outputs = self.network(inputs)
                loss += self._loss(outputs, inputs, chunk).item() * len(chunk)
                if "responses" in outputs:
                    predicted.append(outputs["responses"].float())
        return loss / len(rows), torch.cat(predicted) if predicted else None, responses


def least_squares_scale(responses: Tensor, predictions: Tensor) -> float:
    """One number for all neuroids that, times predictions (m, q), comes nearest to responses (m, q).

    An epoch is chosen by r, which does not mind that a network that has begun to memorise predicts too boldly;
    explained variance does. Kept from 0.05 to 1: a validation part is too small to make predictions bolder.
    """
    a, b = responses.double(), predictions.double()
    scale = float((a * b).sum() / b.square().sum().clamp_min(1e-300))
    return min(1.0, max(0.05, scale))


def mean_correlation(responses: Tensor, predictions: Tensor) -> float:
    """Mean over neuroids of Pearson's r between columns (n, q); constant ones count as 0."""
    a, b = (values.double() - values.double().mean(dim=0) for values in (responses, predictions))
    norms = a.norm(dim=0) * b.norm(dim=0)
    r = torch.where(norms > 0, (a * b).sum(dim=0) / norms.clamp_min(1e-300), 0.0)
    return float(r.mean())
