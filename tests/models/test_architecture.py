import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from itprobe.models import load_candidate
from itprobe.models.architecture import architecture_of


class Net(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k
        self.layer = nn.AvgPool2d(32)

    def forward(self, x):
        return self.layer(x)


@dataclass
class Settings:
    k: int


def _scaled(k):
    return lambda x: x * k


def _double(x, by=2):
    return x * by


def _triple(x, by=3):
    return x * by


PAIRS = [
    (1, 7),
    (1.0, 1),
    ("a", "b"),
    (None, True),
    ((1, (2, 3)), (1, (2, 4))),
    ([1], [2]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (torch.tensor(1.0), torch.tensor(7.0)),
    (np.arange(3), np.arange(1, 4)),
    (np.float32(1), np.float32(2)),
    (Settings(1), Settings(7)),
    (F.relu, F.gelu),
    (_double, _triple),
    (_scaled(1), _scaled(7)),
    (partial(_double, by=1), partial(_double, by=7)),
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=repr)
def test_settings_tell_networks_apart(first, second):
    a, again, b = (load_candidate(Net(k), device="cpu") for k in (first, first, second))
    assert a.identifier == again.identifier != b.identifier
    assert a.weights_sha256 == again.weights_sha256 != b.weights_sha256


def test_settings_of_submodules_and_classes_count():
    def made(k, level):
        class Part(Net):
            LEVEL = level

        return nn.Sequential(nn.Sequential(Part(k)))

    texts = {architecture_of(made(k, level)) for k in (1, 7) for level in (0, 1)}
    assert len(texts) == 4


SOURCES = [
    "def forward(self, x): return self.layer(x) * 3",
    "def forward(self, x): return self.layer(x) * 9",
    "def forward(self, x): return (lambda y: y * 3)(self.layer(x))",
    "def forward(self, x): return (lambda y: y * 9)(self.layer(x))",
    "def forward(self, x): return self.help(x)\n    def help(self, x): return x * 3",
    "def forward(self, x): return self.help(x)\n    def help(self, x): return x * 9",
    "@torch.no_grad()\n    def forward(self, x): return self.layer(x) * 3",
    "@torch.no_grad()\n    def forward(self, x): return self.layer(x) * 9",
]


def test_constants_in_code_tell_networks_apart():
    texts = set()
    for source in SOURCES:
        names = {"Net": Net, "torch": torch}
        exec(f"class Other(Net):\n    {source}", names)
        texts.add(architecture_of(names["Other"](1)))
    assert len(texts) == len(SOURCES)


def test_mode_device_and_training_hooks_do_not_count():
    net = nn.Sequential(Net(3), nn.Dropout(0.5), nn.LSTM(2, 2))
    text = architecture_of(net)
    assert architecture_of(net.eval()) == text
    assert architecture_of(net.train()) == text
    net[0].register_forward_hook(lambda *_: None)
    assert architecture_of(net) == text
    assert load_candidate(net.eval()).identifier == load_candidate(net.train()).identifier


SCRIPT = """
import torch
from torch import nn
from itprobe.models.architecture import architecture_of
from itprobe.files import sha256_values
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.names = {"a", "b", "c", "d"}
        self.thing, self.call, self.lazy = object(), self.forward, lambda x: x in {"p", "q", "r"}
        self.layer = nn.TransformerEncoderLayer(8, 2, 16)
    def extra_repr(self):
        return repr(self.thing)
    def forward(self, x):
        return x if x in {"x", "y", "z"} else super().forward(x)
text = architecture_of(Net())
assert "0x" not in text, text
print(sha256_values(text))
"""


@pytest.mark.slow
def test_the_text_is_the_same_in_every_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
