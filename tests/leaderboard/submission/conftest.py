"""Submissions made once for all tests of this folder, and a process that has no itprobe."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image

from itprobe.leaderboard.submission.archive import read_archive, unpack
from itprobe.submitting import submit

NET = """
import torch
from torch import nn
import own_blocks
from own_parts.block import Block


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.block = Block(8)
        self.out = nn.Linear(8, 5)

    def forward(self, x):
        import own_blocks as again
        x = self.block(self.relu(self.norm(self.conv(x))))
        return self.out(again.pool(x))


def make():
    return Net(), {"size": (48, 64), "mean": (.1, .2, .3), "std": (.5, .6, .7), "interpolation": "bicubic"}


def make_with_transform():
    return Net(), own_blocks.prepare


def reads_a_file_beside_it():
    from pathlib import Path
    net = Net()
    net.load_state_dict(torch.load(Path(__file__).parent / "beside.pth", weights_only=True))
    return net
"""
BLOCKS = """
import numpy as np
import torch
OFFSET = torch.rand(1) * 0 + .25


def prepare(image):
    return torch.from_numpy(np.array(image.resize((40, 40)))).permute(2, 0, 1) / 255 - OFFSET


def pool(x):
    return x.mean((2, 3))
"""
BLOCK = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return {"out": x + self.conv(x)}["out"]
"""

ACTIVATIONS = """
import importlib.util, json, sys
from pathlib import Path


class NoItprobe:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "itprobe":
            raise ModuleNotFoundError(f"No module named {name!r}: blocked", name=name)


sys.meta_path.insert(0, NoItprobe())
import numpy as np
import torch
torch.set_num_threads(1)
torch.manual_seed(99)
out, images, *plugins = sys.argv[1:]
paths = json.loads(images)
arrays = {}
for folder in plugins:
    folder = Path(folder)
    spec = importlib.util.spec_from_file_location(f"plugin_{folder.name}", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    state = torch.random.get_rng_state()
    wrapper = module.get_model()
    own_code = (folder / "source").is_dir()  # it draws when it is imported
    assert own_code or torch.equal(state, torch.random.get_rng_state()), "the global generator was moved"
    together = wrapper.get_activations(list(wrapper._extractor.preprocess(paths)), module.LAYERS)
    for layer, values in together.items():
        arrays[f"{folder.name}:{layer}"] = values.reshape(len(paths), -1)
        if values[0].size < 2000:  # Brain-Score takes long to name many neuroids
            wrapper._extractor._batch_size = len(paths)
            recorded = wrapper(paths, layers=[layer])
            assert list(recorded["stimulus_path"].values) == paths
            assert np.array_equal(recorded.values, arrays[f"{folder.name}:{layer}"])
            arrays["assemblies"] = arrays.get("assemblies", 0) + 1
assert "itprobe" not in sys.modules
np.savez(out, **arrays)
"""


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Own code, weights files, images, and a folder where torch finds named weights."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "code" / "own_parts").mkdir(parents=True)
    (folder / "code" / "net.py").write_text(NET)
    (folder / "code" / "own_blocks.py").write_text(BLOCKS)
    (folder / "code" / "own_parts" / "__init__.py").write_text("")
    (folder / "code" / "own_parts" / "block.py").write_text(BLOCK)
    torch.manual_seed(5)
    hub = folder / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    torch.save(state, hub / Path(weights.url).name)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "squeeze.pth"
    )
    rng = np.random.default_rng(3)
    images = []
    for name, mode, shape in (
        ("a.png", "RGB", (50, 70, 3)),
        ("b.jpg", "L", (90, 90)),
        ("c.png", "RGBA", (33, 44, 4)),
    ):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(folder / name)
        images.append(str(folder / name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        yield SimpleNamespace(folder=folder, code=folder / "code" / "net.py", images=images, hub=hub)


@pytest.fixture(scope="session")
def stimuli(workshop):
    """The workshop's images as a stimulus set."""
    made = StimulusSet(pd.DataFrame({"stimulus_id": [Path(path).name for path in workshop.images]}))
    made.stimulus_paths = {Path(path).name: path for path in workshop.images}
    made.identifier = "workshop"
    return made


@pytest.fixture(scope="session")
def submitted(workshop, tmp_path_factory):
    """Submit a candidate: submitted(candidate, **options) -> Submission; own code is rehearsed only if asked for."""
    folder = tmp_path_factory.mktemp("submissions")

    def make(candidate, out="submission.zip", rehearsed=False, **options):
        with pytest.MonkeyPatch.context() as patch:
            if not rehearsed:
                patch.setattr("itprobe.submitting.rehearse", lambda *_: None)
            return submit(candidate, folder / out, device="cpu", overwrite=True, **options)

    return make


@pytest.fixture(scope="session")
def recorded_without_itprobe(workshop, tmp_path_factory):
    """Activations that plugins give in a process without itprobe: (submissions) -> {name:layer: array}."""

    def record(submissions):
        folder = tmp_path_factory.mktemp("unpacked")
        folders = []
        for one in submissions:
            unpack(read_archive(one.path), folder)
            folders.append(str(folder / one.plugin.name / "models" / one.plugin.name))
        environment = {**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-c", ACTIVATIONS, str(folder / "out.npz")]
        done = subprocess.run(
            [*command, json.dumps(workshop.images), *folders],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(folder / "out.npz") as arrays:
            return dict(arrays)

    return record
