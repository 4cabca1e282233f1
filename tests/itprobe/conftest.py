"""A small network in a file of its own, and a recording that it can predict."""

import numpy as np
import pytest
from PIL import Image

from itprobe.data import save_recording

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.second = torch.nn.Conv2d(6, 6, 3)
        self.third = torch.nn.Conv2d(6, 6, 3)
        self.fourth = torch.nn.AdaptiveAvgPool2d(1)
    def forward(self, x):
        return self.fourth(self.third(torch.relu(self.second(torch.relu(self.first(x)))))).flatten(1)
def make():
    return Net(), {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
"""


@pytest.fixture
def net(tmp_path):
    """Id of a network with the layers first, second, third and fourth."""
    path = tmp_path / "net.py"
    path.write_text(NET)
    return f"{path}::make"


@pytest.fixture
def visible_file(plant, tmp_path):
    """A recording whose responses are linear in what the images show: means over quarters, per colour."""
    assembly = plant.assembly(plant.trials(), tmp_path / "stimuli")
    paths = assembly.attrs["stimulus_set"].stimulus_paths
    images = np.array([np.asarray(Image.open(paths[key])) for key in plant.ids]) / 255
    means = images.reshape(len(images), 2, 12, 2, 12, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    rng = np.random.default_rng(4)
    signal = 30 * (means - 0.5) @ rng.normal(size=(12, 12))
    trials = signal[:, None] + rng.normal(size=(len(images), 6, 12))
    save_recording(plant.assembly(trials, tmp_path / "stimuli"), tmp_path / "visible.nc")
    return str(tmp_path / "visible.nc")
