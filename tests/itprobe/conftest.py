"""A small network in a file of its own, a recording that it can predict, and one thread for all."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_limits

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
def one_thread():
    """Scores are bit-equal at equal threads; a process of two has half the cores."""
    before, environment = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(1)
    with threadpool_limits(1, "blas"):
        yield
    torch.set_num_threads(before)
    # A local Dask cluster leaves OMP_NUM_THREADS=1 behind, which processes of later tests would take over.
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


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
