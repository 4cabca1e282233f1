"""Small images and responses planted in them, small backbones, small candidates, and fits to export."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image

from itprobe.models.fitted import export_fit, load_fitted

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


# candidates

SMALL = {
    "convnet": {"side": "16", "widths": "4,4", "hidden": "8", "epochs": "3", "lr": "0.01"},
    "dual_task": {"side": "16", "widths": "4", "head_widths": "4", "hidden": "8", "epochs": "3"},
    "autoencoder": {"side": "16", "widths": "4,4", "hidden": "8", "epochs": "3"},
    "autoencoder pulled": {"side": "16", "widths": "4,4", "hidden": "8", "epochs": "3", "pull": "1"},
    "combined": {"widths": "4", "hidden": "8", "epochs": "3"},
    "readout": {"epochs": "3"},
    "finetuned": {"epochs": "2"},
    "finetuned with a readout": {"epochs": "2", "head": "readout"},
    "finetuned from pools": {"epochs": "2", "head": "pool"},
}


@pytest.fixture
def small_options():
    """What each kind of candidate is given, that it be small."""
    return SMALL


@pytest.fixture(params=list(SMALL))
def every_kind(request):
    """A kind of candidate; a test that asks for it runs once for each."""
    return request.param


@pytest.fixture
def made(backbone):
    """Makes a small candidate of a kind."""

    def make(kind, seed=0, **options):
        name = kind.partition(" ")[0]
        after = {
            "combined": f"+{backbone}:second",
            "readout": f"+{backbone}:first",
            "finetuned": f"+{backbone}",
        }
        return load_fitted(name + after.get(name, ""), "cpu", seed, {**SMALL[kind], **options})

    return make


@pytest.fixture
def convnet():
    """Makes a small convnet."""

    def make(seed=0, checkpoints=None, **options):
        return load_fitted("convnet", "cpu", seed, {**SMALL["convnet"], **options}, checkpoints)

    return make


@pytest.fixture
def watched():
    """Fits a candidate and gives the epochs that were trained or gone through again."""

    def fit(candidate, *data):
        seen = []
        candidate.watch = lambda number, epoch: seen.append(number)
        candidate.fit(*data)
        return seen

    return fit


# fits to export

EXPORTED = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.norm = torch.nn.BatchNorm2d(6)
        self.second = torch.nn.Conv2d(6, 6, 3)
    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x)))).mean((2, 3))
def make():
    return Net(), {"mean": (.4, .4, .4), "std": (.3, .3, .3), "size": 32}
"""
CONTEXT = {
    "recording": "some/path to:it",
    "recording_sha256": "ab" * 32,
    "region": "IT",
    "split": "course, 1 of 1",
    "split_seed": "1",
}
TINY = {"epochs": "2", "batch_size": "8"}
IMAGES = {**TINY, "side": "16", "widths": "4,4", "hidden": "8"}
KINDS = {
    "convnet": ("convnet", IMAGES),
    "dual_task": ("dual_task", {**IMAGES, "head_widths": "4"}),
    "autoencoder": ("autoencoder", IMAGES),
    "combined": ("combined+{net}:second", {**TINY, "widths": "4", "hidden": "8"}),
    "readout": ("readout+{net}@random-2:second", TINY),
    "finetuned": ("finetuned+{net}:second", TINY),
}


@pytest.fixture
def net_code():
    """Code of the network, NAME.py::make, that candidates of `fitted` have for a backbone."""
    return EXPORTED


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """What `fitted` is fitted to: stimuli, responses (mean over an image's left half, per colour); and others."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (48, 4, 4, 3), dtype=np.uint8)
    ids = [f"im{i:02d}" for i in range(48)]
    for stimulus_id, image in zip(ids, coarse, strict=True):
        Image.fromarray(image).resize((40, 40)).save(folder / f"{stimulus_id}.png")

    def part(rows):
        chosen = [ids[row] for row in rows]
        made = StimulusSet(pd.DataFrame({"stimulus_id": chosen}))
        made.stimulus_paths = {key: folder / f"{key}.png" for key in chosen}
        made.identifier = f"noise-{rows.start}"
        return made

    responses = coarse[:, :, :2].mean((1, 2)) / 25
    return SimpleNamespace(
        train=part(range(8, 48)),
        held_out=part(range(8)),
        responses=responses[8:],
        context=CONTEXT,
        labels=np.resize(["dog", "car", "boat"], 48)[8:],
    )


@pytest.fixture(scope="session")
def fitted(given, tmp_path_factory):
    """Gives a fitted candidate of a kind of network; each is trained once."""
    folder = tmp_path_factory.mktemp("fitted")
    (folder / "net.py").write_text(EXPORTED)
    made = {}

    def give(kind, seed=1, **context):
        key = (kind, seed, *context.items())
        if key not in made:
            name, options = KINDS[kind]
            text = name.format(net=f"{folder / 'net.py'}::make")
            fresh = load_fitted(text, "cpu", seed, options).fresh({**CONTEXT, **context})
            made[key] = fresh.fit(given.train, given.responses, given.labels)
        return made[key]

    return give


@pytest.fixture
def exported(fitted, tmp_path):
    """Folder of an exported convnet."""
    export_fit(fitted("convnet"), tmp_path / "out", ["a", "b", "c"])
    return tmp_path / "out"
