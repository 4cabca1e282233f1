import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import psutil
import pytest

from itprobe.errors import InputError
from itprobe.models import load_candidate, record_activations


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("ITPROBE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(scope="module")
def network():
    return load_candidate("efficientnet_lite0@random", device="cpu")


LAYERS = ["_blocks.12", "_blocks.15~pool1", "_fc"]


def test_disk_and_memory_hold_the_same(network, make_stimuli, scratch):
    stimuli = make_stimuli(5)
    with record_activations(network, stimuli, LAYERS, batch_size=2) as kept:
        assert not kept.on_disk
        assert not scratch.exists()
        assert kept.layers == LAYERS
        assert kept.stimulus_ids.tolist() == list(stimuli["stimulus_id"])
        expected = {layer: kept[layer] for layer in LAYERS}
    with record_activations(network, stimuli, LAYERS, batch_size=2, memory_budget=1000) as spilled:
        assert spilled.on_disk
        assert len(list(scratch.glob("*/*"))) == 3
        for layer in LAYERS:
            assert isinstance(spilled[layer], np.memmap)
            assert spilled[layer].dtype == np.float32
            np.testing.assert_array_equal(spilled[layer], expected[layer])
    assert not list(scratch.iterdir())


def test_the_folder_goes_away_when_something_fails(network, make_stimuli, scratch):
    stimuli = make_stimuli(5)
    with pytest.raises(ZeroDivisionError), record_activations(network, stimuli, LAYERS, memory_budget=0):
        raise ZeroDivisionError
    assert not list(scratch.iterdir())
    stimuli.stimulus_paths[stimuli["stimulus_id"].iloc[4]].write_text("broken")
    with (
        pytest.raises(InputError, match="cannot be read"),
        record_activations(network, stimuli, LAYERS, batch_size=2, memory_budget=0),
    ):
        pass
    assert not list(scratch.iterdir())


def test_a_full_disk_is_noticed_before_anything_is_written(network, make_stimuli, scratch, monkeypatch):
    usage = shutil.disk_usage(scratch.parent)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with (
        pytest.raises(InputError, match=r"need 0\.00 GB of disk .*ITPROBE_SCRATCH"),
        record_activations(network, make_stimuli(3), LAYERS, memory_budget=0),
    ):
        pass
    assert not list(scratch.iterdir())


def test_folders_of_killed_processes_are_removed(network, make_stimuli, scratch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = socket.gethostname().replace("-", "_")
    started = int(psutil.Process().create_time())
    for name in (
        f"{host}-{gone.pid}-1-abc",
        f"{host}-{os.getpid()}-{started - 1000}-reused",
        f"{host}-{os.getpid()}-{started}-alive",
        f"another_host-{gone.pid}-1-abc",
    ):
        (scratch / f"itprobe-activations-{name}").mkdir(parents=True)
    (scratch / "of somebody else").mkdir()
    with record_activations(network, make_stimuli(2), LAYERS, memory_budget=0):
        pass
    assert sorted(path.name for path in scratch.iterdir()) == sorted(
        [
            f"itprobe-activations-another_host-{gone.pid}-1-abc",
            f"itprobe-activations-{host}-{os.getpid()}-{started}-alive",
            "of somebody else",
        ]
    )
