"""Features of all stimuli: the same wherever they are kept, and nothing is left behind."""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from itprobe.errors import InputError
from itprobe.models import activations, load_candidate, record_activations
from itprobe.models.scratch import Scratch


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
        assert len(list(scratch.glob("*/*.float*"))) == 3
        for layer in LAYERS:
            assert spilled[layer].dtype == np.float32
            np.testing.assert_array_equal(spilled[layer], expected[layer])
            np.testing.assert_array_equal(np.hstack(list(spilled.chunks(layer))), expected[layer])
            spilled.release(layer)
        assert not list(scratch.glob("*/*.float*"))
    assert not list(scratch.iterdir())


def test_small_layers_stay_in_memory_and_large_ones_spill(network, make_stimuli, scratch):
    budget = 5 * 4 * (320 + 1000)
    with record_activations(network, make_stimuli(5), LAYERS, memory_budget=budget) as kept:
        assert kept.places == {"_blocks.12": "disk", "_blocks.15~pool1": "memory", "_fc": "memory"}


def test_on_a_gpu_features_stay_there_where_half_of_its_memory_suffices(
    network, make_stimuli, scratch, monkeypatch
):
    stimuli = make_stimuli(5)
    with record_activations(network, stimuli, LAYERS) as kept:
        expected = {layer: kept[layer] for layer in LAYERS}
    total = sum(array.nbytes for array in expected.values())
    monkeypatch.setattr(activations, "free_on_device", lambda device: 2 * total)  # the CPU plays the GPU
    with record_activations(network, stimuli, LAYERS) as kept:
        assert set(kept.places.values()) == {"device"}
        for layer in LAYERS:
            assert all(isinstance(chunk, torch.Tensor) for chunk in kept.chunks(layer))
            np.testing.assert_array_equal(kept[layer], expected[layer])
    with record_activations(network, stimuli, LAYERS, memory_budget=total - 1) as kept:
        assert "device" not in kept.places.values()
    monkeypatch.setattr(activations, "free_on_device", lambda device: 2 * total - 2)
    with record_activations(network, stimuli, LAYERS) as kept:
        assert set(kept.places.values()) == {"memory"}


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


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_disk_that_fills_up_leaves_nothing(network, make_stimuli, scratch, monkeypatch, call):
    if not hasattr(os, call):
        pytest.skip(f"this system has no {call}")
    calls = []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    original = getattr(os, call)
    monkeypatch.setattr(os, call, full)
    with (
        pytest.raises(InputError, match=r"GB of disk in .*ITPROBE_SCRATCH"),
        record_activations(network, make_stimuli(5), LAYERS, memory_budget=0),
    ):
        pass
    assert not list(scratch.iterdir())
    if Path("/proc/self/fd").is_dir():
        opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert not [target for target in opened if str(scratch) in target]


KILLED = """
import sys
import torch
from itprobe.models.arena import Arena, LayerArena
from itprobe.models.scratch import Scratch
scratch = Scratch()
LayerArena(Arena(4, {}, torch.device("cpu"), scratch), "layer", 1000, "float32", "disk")
print("written", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_spilled_is_removed_at_the_next_start(network, make_stimuli, scratch):
    command = [sys.executable, "-c", KILLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert [path.stat().st_size for path in scratch.glob("*/*.float*")] == [16000]
    with record_activations(network, make_stimuli(2), LAYERS, memory_budget=0):
        assert len(list(scratch.iterdir())) == 1
    assert not list(scratch.iterdir())


def test_only_folders_that_nobody_holds_are_removed(scratch):
    host = socket.gethostname().replace("-", "_")
    for name in (f"{host}-dead", f"{host}-alive", f"{host}-being_made", "another_host-dead"):
        folder = scratch / f"itprobe-activations-{name}"
        folder.mkdir(parents=True)
        if name != f"{host}-being_made":
            (folder / "lock").touch()
    (scratch / "of somebody else").mkdir()
    with (scratch / f"itprobe-activations-{host}-alive" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Scratch()
    names = (f"{host}-alive", f"{host}-being_made", "another_host-dead")
    expected = {"of somebody else", *(f"itprobe-activations-{name}" for name in names)}
    assert {path.name for path in scratch.iterdir()} == expected


@pytest.mark.parametrize(
    ("budget", "place"), [(4 * 12 * 13, "disk"), (4 * 14 * 13, "memory"), (4 * 14 * 13 - 1, "disk")]
)
def test_the_two_rows_of_an_origin_count_in_the_budget(make_stimuli, scratch, budget, place):
    network = load_candidate(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 13)), "cpu")
    with record_activations(
        network, make_stimuli(12), ["2"], memory_budget=budget, for_products=True
    ) as kept:
        assert kept.places == {"2": place}
        assert kept.about_origin("2")


@pytest.mark.parametrize(("device", "about_origin"), [("cpu", True), ("meta", False)])
def test_only_products_on_a_cpu_take_features_about_an_origin(make_stimuli, scratch, device, about_origin):
    network = load_candidate(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 13)), "cpu")
    elsewhere = SimpleNamespace(device=torch.device(device), stream_tensors=network.stream_tensors)
    with record_activations(elsewhere, make_stimuli(12), ["2"], for_products=True) as kept:
        assert kept.places == {"2": "memory"}
        assert kept.about_origin("2") == about_origin
    free = 4 * 13 * (14 if about_origin else 12)  # no row more than is taken
    with record_activations(
        elsewhere, make_stimuli(12), ["2"], memory_budget=free, for_products=True
    ) as kept:
        assert kept.places == {"2": "memory"}


def prefer(monkeypatch, bandwidth, free):
    monkeypatch.setattr(Scratch, "bandwidth", lambda self: bandwidth)
    monkeypatch.setattr(Scratch, "free", lambda self: free)


def test_recomputed_layers_are_those_that_are_left_out_of_the_pass(
    network, make_stimuli, scratch, monkeypatch
):
    stimuli = make_stimuli(9)
    with record_activations(network, stimuli, LAYERS) as kept:
        expected = kept["_blocks.12"]
    prefer(monkeypatch, bandwidth=1e12, free=10)
    budget = 4 * 9408 * 3  # holds three images of _blocks.12, and all of the others
    with record_activations(
        network, stimuli, LAYERS, batch_size=2, memory_budget=budget, recompute=True
    ) as kept:
        assert kept.places == {"_blocks.15~pool1": "memory", "_fc": "memory"}
        (again,) = kept.recomputed.values()
        assert again.layer == "_blocks.12"
        for row in (0, 4):
            parts = list(again.batches_from(row))
            assert parts[0][0].start == row
            np.testing.assert_allclose(
                torch.cat([part for _, part in parts]), expected[row:], atol=1e-5, rtol=1e-5
            )
    assert not scratch.exists() or not list(scratch.iterdir())


def test_neither_disk_nor_two_images_is_one_clear_line(network, make_stimuli, scratch, monkeypatch):
    prefer(monkeypatch, bandwidth=1e12, free=10)
    with (
        pytest.raises(InputError, match=r"budget of .* holds no two images of layer '_fc'") as caught,
        record_activations(network, make_stimuli(3), ["_fc"], memory_budget=7_999, recompute=True),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_what_depends_on_all_stimuli_is_never_computed_again(make_stimuli, scratch, monkeypatch):
    prefer(monkeypatch, bandwidth=1e-9, free=10**9)
    latents = load_candidate("latents")
    with record_activations(latents, make_stimuli(5), ["latents"], memory_budget=0, recompute=True) as kept:
        assert kept.places == {"latents": "disk"}


class Late(nn.Module):
    """NaN for one bright image, at a layer before the last."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.wide = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        y = self.wide(self.pool(x))
        return torch.where(x[:, :1, :1, :1] > 2, torch.nan, 1.0) * y


class Bad(nn.Module):
    def __init__(self):
        super().__init__()
        self.late = Late()
        self.out = nn.Flatten()

    def forward(self, x):
        return self.out(self.late(x))


@pytest.mark.parametrize("way", ["memory", "disk", "recompute", "device"])
def test_no_path_lets_nan_through(make_stimuli, scratch, monkeypatch, way):
    stimuli = make_stimuli(9, side=16)
    bad = stimuli["stimulus_id"].iloc[7]
    for stimulus_id in stimuli["stimulus_id"]:
        colour = (255,) * 3 if stimulus_id == bad else (0,) * 3
        Image.new("RGB", (16, 16), colour).save(stimuli.stimulus_paths[stimulus_id])
    candidate = load_candidate(Bad(), device="cpu")
    if way == "device":
        monkeypatch.setattr(activations, "free_on_device", lambda device: 10**9)
    prefer(monkeypatch, bandwidth=1e12, free=10 if way == "recompute" else 10**9)
    budget = {"memory": None, "device": None, "disk": 0, "recompute": 9000}[way]
    with (
        pytest.raises(InputError, match=f"layer 'late' of Bad.*NaN or infinite.*{bad}"),
        record_activations(
            candidate, stimuli, ["late"], batch_size=2, memory_budget=budget, recompute=way == "recompute"
        ) as kept,
    ):
        assert way == "recompute"
        for layer in kept.recomputed.values():
            list(layer.batches_from(0))
