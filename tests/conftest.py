"""Recordings with planted truth that every room's tests may use."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itprobe.data import build_assembly, make_stimulus_set, save_recording

N_STIMULI, N_NEUROIDS, N_FEATURES, REPETITIONS = 120, 12, 300, 6


@pytest.fixture(autouse=True, scope="session")
def own_caches(tmp_path_factory):
    """No test reads or writes the caches of whoever runs it; simulated recordings are shared by all tests."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPROBE_HOME", str(base / "itprobe-home"))
        patch.setenv("RESULTCACHING_HOME", str(base / "result-caching"))
        yield


def planted_features(seed: int = 0) -> np.ndarray:
    """Features (stimuli, features) that the planted responses are linear in."""
    return np.random.default_rng([seed, 0]).normal(size=(N_STIMULI, N_FEATURES))


def planted_trials(seed: int = 0, noise: float = 1.0) -> np.ndarray:
    """Trials (stimuli, repetitions, neuroids): a low-dimensional readout of the features, and noise."""
    rng = np.random.default_rng([seed, 1])
    signal = planted_features(seed)[:, :20] @ rng.normal(size=(20, N_NEUROIDS)) / np.sqrt(20)
    return signal[:, None] + noise * rng.normal(size=(N_STIMULI, REPETITIONS, N_NEUROIDS)) + 5


def stimulus_ids() -> list[str]:
    return [f"im{i:03d}" for i in range(N_STIMULI)]


def assembly_of(trials: np.ndarray, folder: Path, **attrs):
    """A recording of trials (stimuli, repetitions, neuroids) with small images in `folder`."""
    ids = stimulus_ids()[: len(trials)]
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(9)
    paths = {}
    for key in ids:
        paths[key] = folder / f"{key}.png"
        if not paths[key].exists():
            Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(paths[key])
    objects = np.resize([f"object{k}" for k in range(8)], len(ids))
    table = pd.DataFrame({"stimulus_id": ids, "object_name": objects})
    n, repetitions, q = trials.shape
    values = trials.reshape(n * repetitions, q)
    present = np.flatnonzero(np.isfinite(values).any(axis=1))
    return build_assembly(
        values[present],
        np.repeat(ids, repetitions)[present],
        np.tile(np.arange(repetitions), n)[present],
        make_stimulus_set(table, paths, "planted"),
        {
            "neuroid_id": [f"n{j:02d}" for j in range(q)],
            "region": ["IT"] * q,
            "animal": np.resize(["a", "b"], q),
            "arr": np.resize(["A", "M", "P"], q),
        },
        **{"identifier": "planted", "visual_degrees": 8, "citation": "planted truth", **attrs},
    )


@pytest.fixture
def plant():
    """What makes planted recordings: features(seed), trials(seed, noise), assembly(trials, folder), ids."""
    return SimpleNamespace(
        features=planted_features, trials=planted_trials, assembly=assembly_of, ids=np.array(stimulus_ids())
    )


@pytest.fixture
def planted(tmp_path):
    """The planted recording in memory."""
    return assembly_of(planted_trials(), tmp_path / "stimuli")


@pytest.fixture
def planted_file(planted, tmp_path) -> str:
    """The planted recording in a file."""
    save_recording(planted, tmp_path / "planted.nc")
    return str(tmp_path / "planted.nc")
