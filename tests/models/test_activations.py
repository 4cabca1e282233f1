"""Features of all stimuli: the same wherever they are kept, and nothing is left behind."""

import errno
import fcntl
import math
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
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from itprobe.errors import InputError
from itprobe.models import activations, load_candidate, record_activations
from itprobe.models.arena import Arena, LayerArena, power_of_two
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


def arena_of(place, n=12, limits=None, device="cpu", for_products=False):
    return Arena(
        n, limits or {"memory": 10**9, "device": 10**9}, torch.device(device), Scratch(), for_products
    )


@pytest.mark.parametrize("place", ["memory", "device", "disk"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_place_gives_back_what_was_written(scratch, place, dtype):
    x = np.random.default_rng(0).normal(size=(12, 25_001)).astype(np.float32) * 1e-6
    arena = arena_of(place)
    layer = LayerArena(arena, "a/b", x.shape[1], dtype, place)
    for rows in (slice(0, 5), slice(5, 10), slice(10, 12)):
        layer.write(rows, torch.from_numpy(x[rows]) if place == "device" else x[rows])
    chunks = list(layer.chunks())
    assert [chunk.shape for chunk in chunks] == [(12, 12_000), (12, 12_000), (12, 1_001)]
    assert {isinstance(chunk, torch.Tensor) for chunk in chunks} == {place == "device"}
    got = np.hstack([np.asarray(chunk) for chunk in chunks])
    assert (layer.dtype, got.dtype) == (dtype, np.float32)
    # float16 has 11 binary digits, whatever the scale of the features is
    np.testing.assert_allclose(got, x, rtol=2**-11 if dtype == "float16" else 0, atol=1e-12)
    np.testing.assert_array_equal(layer.array(), got)
    layer.release()
    layer.release()
    assert not list(scratch.glob("*/*.float*"))
    with pytest.raises(ValueError, match="released"):
        next(layer.chunks())


def filled(x, place, batch, dtype="float32"):
    layer = LayerArena(arena_of(place, len(x), for_products=True), "a/b", x.shape[1], dtype, place)
    for start in range(0, len(x), batch):
        rows = slice(start, min(start + batch, len(x)))
        layer.write(rows, torch.from_numpy(x[rows]))
    return layer


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("p", [201, 12_000, 24_000, 25_001])
@pytest.mark.parametrize("batch", [1, 30, 200])
def test_features_for_products_lie_about_the_mean_of_the_first_stimuli(scratch, place, p, batch):
    x = np.random.default_rng(0).normal(3, 1, size=(200, p)).astype(np.float32)
    x[:, 5] = 0.1
    layer = filled(x, place, batch)
    assert layer.about_origin
    chunks = list(layer.chunks_about_origin())
    assert all(chunk.flags.c_contiguous and chunk.shape[1] <= 12_000 for chunk in chunks)
    rows = np.hstack(chunks)
    first = {1: 64, 30: 90, 200: 200}[batch]
    origin = x[:first].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(rows[-2], origin, rtol=1e-6)
    np.testing.assert_array_equal(rows[-1], 1)
    np.testing.assert_allclose(rows[:-2], x - origin, atol=1e-5)
    assert not rows[:-2, 5].any()
    np.testing.assert_allclose(np.hstack(list(layer.chunks())), x, atol=1e-5)
    np.testing.assert_allclose(layer.array(), x, atol=1e-5)
    layer.release()
    layer.release()
    assert not list(scratch.glob("*/*.float*"))
    with pytest.raises(ValueError, match="released"):
        next(layer.chunks_about_origin())


def test_memory_and_disk_hold_the_same_bits_for_products(scratch):
    x = np.random.default_rng(0).normal(3, 1, size=(100, 12_345)).astype(np.float32)
    one, other = (np.hstack(list(filled(x, place, 32).chunks_about_origin())) for place in ("memory", "disk"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("p", "place", "dtype"), [(12, "memory", "float32"), (13, "memory", "float16"), (13, "device", "float32")]
)
def test_what_is_not_kept_about_an_origin_lies_as_it_is(scratch, p, place, dtype):
    x = np.arange(12 * p, dtype=np.float32).reshape(12, p)
    layer = filled(x, place, 5, dtype)
    assert not layer.about_origin
    np.testing.assert_array_equal(np.hstack([np.asarray(chunk) for chunk in layer.chunks()]), x)


def test_float16_for_products_widens_as_it_does_otherwise(scratch):
    x = np.random.default_rng(0).normal(size=(12, 25_001)).astype(np.float32)
    x[7, 3] = -1e6
    layer = filled(x, "memory", 4, "float16")
    assert (layer.dtype, layer.about_origin) == ("float32", False)
    np.testing.assert_array_equal(layer.array()[4:], x[4:])


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


def test_torchs_default_type_does_not_change_what_is_kept(scratch):
    x = np.random.default_rng(0).normal(size=(12, 12_345)).astype(np.float32)
    expected = list(filled(x, "memory", 5).chunks_about_origin())
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        got = list(filled(x, "memory", 5).chunks_about_origin())
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


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


@pytest.mark.parametrize(
    ("place", "limits", "ends"),
    [
        ("memory", {"memory": 10**9}, "memory"),
        ("memory", {"memory": 12 * 25_001 * 2 + 10}, "disk"),
        ("device", {"device": 10**9}, "device"),
        ("disk", {}, "disk"),
    ],
)
def test_too_large_for_float16_goes_on_in_float32(scratch, place, limits, ends):
    x = np.random.default_rng(0).normal(size=(12, 25_001)).astype(np.float32)
    x[0] = 0  # no scale can be taken from nothing
    x[7, 3] = -1e6
    layer = LayerArena(arena_of(place, limits=limits), "layer", x.shape[1], "float16", place)
    for row in range(12):
        layer.write(slice(row, row + 1), x[row : row + 1])
        assert layer.dtype == ("float16" if row < 7 else "float32")
    assert layer.place == ends
    got = layer.array()
    np.testing.assert_allclose(got[:7], x[:7], rtol=2**-11, atol=1e-6)
    np.testing.assert_array_equal(got[7:], x[7:])
    assert len(list(scratch.glob("*/*.float*"))) == (ends == "disk")


def test_a_disk_too_full_for_float32_tells_so(scratch, monkeypatch):
    layer = LayerArena(arena_of("disk"), "layer", 500, "float16", "disk")
    layer.write(slice(0, 6), np.ones((6, 500), np.float32))

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="too little"):
        layer.write(slice(6, 12), np.full((6, 500), 1e6, np.float32))


@given(st.floats(1e-45, 3e38))
def test_the_scale_is_a_power_of_two_with_room_above(peak):
    scale = power_of_two(peak)
    assert math.frexp(scale)[0] == 0.5
    if 1e-25 < peak < 1e30:
        assert 2**10 <= peak * scale < 2**11


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
