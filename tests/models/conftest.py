import os

# Brain-Score's activation cache must not reach the tests' home folder, nor answer for our code.
os.environ.setdefault("RESULTCACHING_DISABLE", "1")

import brainscore_vision
import numpy as np
import pandas as pd
import pytest
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image

from itprobe.models import load_candidate

STAND_IN = "pixels"
"""A registered name of Brain-Score's zoo under which tests put models of their own."""


@pytest.fixture
def make_stimuli(tmp_path):
    """Writes n noise images (with some large-scale structure) and gives their stimulus set, unsorted by id."""

    def make(n=7, side=64, seed=0, suffix=".png"):
        rng = np.random.default_rng(seed)
        order = rng.permutation(n)
        ids = [f"stimulus_{i:03d}" for i in order]
        paths = {}
        for stimulus_id in ids:
            coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((side, side))
            paths[stimulus_id] = tmp_path / f"{stimulus_id}{suffix}"
            image.save(paths[stimulus_id])
        stimuli = StimulusSet(
            pd.DataFrame(
                {
                    "stimulus_id": ids,
                    "object_name": [f"object_{i % 3}" for i in order],
                    "category_name": [f"category_{i % 2}" for i in order],
                    "ryz": rng.uniform(-90, 90, n),
                    "ty": rng.uniform(-1, 1, n),
                    "s": np.full(n, 1.1),
                }
            )
        )
        stimuli.stimulus_paths = paths
        stimuli.identifier = f"noise-{n}-{seed}"
        return stimuli

    return make


@pytest.fixture
def zoo_gives(monkeypatch):
    """Let the zoo give some model; returns its candidate."""

    def give(model, device="cpu"):
        monkeypatch.setattr(
            brainscore_vision, "load_model", lambda name: model() if callable_factory(model) else model
        )
        return load_candidate(f"brainscore/{STAND_IN}", device=device)

    return give


def callable_factory(model):
    return type(model).__name__ == "function"
