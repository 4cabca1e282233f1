"""A loss that becomes NaN: what is said of the checkpoint is what lies on the disk."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from itprobe.errors import InputError
from itprobe.models.fitted.blocks import FittedNetwork, Targets, Task
from itprobe.models.fitted.checkpoints import NAME
from itprobe.models.fitted.inputs import TensorInputs
from itprobe.models.fitted.settings import Part, TrainingSettings
from itprobe.models.fitted.training import train

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=4, batch_size=16, shift=0)
STEPS = 3
"""In an epoch: 48 stimuli, less those of the validation part, in batches of 16."""


def broken_at(step: int) -> type[FittedNetwork]:
    """A linear network whose loss is NaN in one step, counted from 1."""
    steps = 0

    class Breaks(FittedNetwork):
        def __init__(self, task: Task) -> None:
            super().__init__(task)
            self.out = nn.Linear(12, task.n_neuroids)

        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"responses": self.out(inputs.flatten(1))}

        def loss(self, *arguments: object) -> Tensor:
            nonlocal steps
            steps += self.training
            return super().loss(*arguments) * (math.nan if self.training and steps == step else 1.0)

    return Breaks


def message_of(step: int, folder: Path | None) -> str:
    rng = np.random.default_rng(0)
    inputs = TensorInputs(torch.as_tensor(rng.normal(size=(48, 3, 2, 2)), dtype=torch.float32), CPU)
    responses = torch.as_tensor(rng.normal(size=(48, 2)), dtype=torch.float32)
    part, network = Part(inputs, Targets(responses, None)), broken_at(step)
    with pytest.raises(InputError) as error:
        train(lambda: network(Task((3, 2, 2), 2, 0)), part, SETTINGS, 0, CPU, "test", folder)
    message = str(error.value)
    assert f"nan in step {step} (epoch {(step - 1) // STEPS + 1}); set a smaller lr" in message
    assert "\n" not in message
    return message


def test_after_finished_epochs_the_file_is_named(tmp_path: Path) -> None:
    message = message_of(2 * STEPS + 1, tmp_path / "fit")
    named = re.search(r"checkpoint, of epoch 2, is kept: (.*)$", message)
    assert named
    assert Path(named[1]) == tmp_path / "fit" / NAME
    assert len(torch.load(named[1], weights_only=True)["history"]) == 2


@pytest.mark.parametrize("step", [1, STEPS])
def test_in_the_first_epoch_none_is_said_to_be_kept(step: int, tmp_path: Path) -> None:
    message = message_of(step, tmp_path / "fit")
    assert message.endswith("No epoch was finished before, so there is no checkpoint")
    assert not (tmp_path / "fit").exists()


def test_without_a_folder_nothing_is_said_to_be_kept() -> None:
    assert message_of(2 * STEPS + 1, None).endswith("set a smaller lr")
