"""Small images whose quadrants' colours are known, responses planted in them, and a small backbone."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image

N, Q, SIDE = 60, 4, 24
BACKBONE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, 2, 1), torch.nn.BatchNorm2d(5), torch.nn.ReLU())
        self.second = torch.nn.Sequential(torch.nn.Conv2d(5, 6, 3, 2, 1), torch.nn.ReLU())
        self.last = torch.nn.Linear(6, 7)

    def forward(self, images):
        return self.last(self.second(self.first(images)).mean((2, 3)))

def net():
    return Net(), {"size": 16, "mean": (.5, .5, .5), "std": (.25, .25, .25)}
"""


def stimulus_set(folder, colours, prefix="im"):
    """Images (n) whose quadrants have the colours (n, 2, 2, 3), 8 bits, as a stimulus set with 3 objects."""
    paths = {}
    for row, image in enumerate(colours):
        stimulus_id = f"{prefix}{row:03d}"
        paths[stimulus_id] = folder / f"{stimulus_id}.png"
        Image.fromarray(image.repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)).save(paths[stimulus_id])
    ids = list(paths)
    stimuli = StimulusSet(
        pd.DataFrame({"stimulus_id": ids, "object_name": np.resize(["a", "b", "c"], len(ids))})
    )
    stimuli.stimulus_paths, stimuli.identifier = paths, "quadrants"
    return stimuli


def rows_of(stimuli, rows):
    """Some rows of a stimulus set, in their order."""
    part = stimuli.iloc[list(rows)].reset_index(drop=True)
    part.stimulus_paths, part.identifier = stimuli.stimulus_paths, stimuli.identifier
    return part


@pytest.fixture(autouse=True)
def one_thread():
    """On networks as small as these, threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shown(tmp_path_factory):
    """Stimuli, their colours, responses (60, 4) linear in the colours with noise, and objects."""
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (N, 2, 2, 3), dtype=np.uint8)
    stimuli = stimulus_set(tmp_path_factory.mktemp("quadrants"), colours)
    signal = (colours.reshape(N, 12) / 255 - 0.5) @ rng.normal(size=(12, Q))
    return SimpleNamespace(
        stimuli=stimuli,
        colours=colours,
        responses=20 + 5 * signal + rng.normal(size=(N, Q)),
        labels=stimuli["object_name"].to_numpy(),
        part=lambda rows: rows_of(stimuli, rows),
        make=stimulus_set,
    )


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """Id of a network with the blocks first and second."""
    path = tmp_path_factory.mktemp("backbone") / "net.py"
    path.write_text(BACKBONE)
    return f"{path}::net"


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
