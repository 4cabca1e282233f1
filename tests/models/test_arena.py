"""What each place holds of a layer: rows as they were written, or about an origin for products."""

import errno
import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.models.arena import Arena, LayerArena, power_of_two
from itprobe.models.scratch import Scratch


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("ITPROBE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


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
