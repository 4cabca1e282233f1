"""The Gram store serves what was stored, or nothing."""

import errno
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from itprobe.errors import InputError
from itprobe.metrics import gram_matrix
from itprobe.metrics.store import GramKey, GramStore

KEY = GramKey("weights", "layer", "preprocessing", "stimuli", "code")


def made(seed=0, n=30):
    return gram_matrix(np.random.default_rng(seed).normal(size=(n, 50)).astype(np.float32))


def equal(one, other):
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


IDS = np.array([f"s{i}" for i in range(30)])


def test_what_was_stored_is_served_bit_for_bit(tmp_path):
    store = GramStore(tmp_path)
    assert store.load(KEY) is None
    store.save(KEY, made(), IDS)
    gram, ids = store.load(KEY)
    assert equal(gram, made())
    assert list(ids) == list(IDS)


@pytest.mark.parametrize("field", [field.name for field in fields(GramKey)])
def test_every_part_of_the_key_counts(tmp_path, field):
    store = GramStore(tmp_path)
    store.save(KEY, made(), IDS)
    assert store.load(replace(KEY, **{field: "other"})) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "swap"])
def test_damaged_files_are_never_served(tmp_path, damage):
    store = GramStore(tmp_path)
    store.save(KEY, made(), IDS)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[:2000])
    elif damage == "flip":
        where = content.index(made().feature_sums.tobytes())
        content[where] ^= 1
        path.write_bytes(content)
    else:
        other = replace(KEY, layer="other")
        store.save(other, made(1), IDS)
        store._path(other).replace(path)
    with pytest.warns(UserWarning, match="computed again"):
        assert store.load(KEY) is None
    assert not path.exists()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_files_cut_off_anywhere_are_never_served(tmp_path, share):
    store = GramStore(tmp_path)
    store.save(KEY, made(), IDS)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.warns(UserWarning, match="computed again"):
        assert store.load(KEY) is None
    store.save(KEY, made(), IDS)
    assert equal(store.load(KEY)[0], made())


def _write(arguments):
    folder, seed = arguments
    GramStore(folder).save(KEY, made(seed), IDS)


def test_concurrent_writers_leave_one_whole_file(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_write, [(tmp_path, seed) for seed in range(12)]))
    assert len(list(tmp_path.iterdir())) == 1
    gram, _ = GramStore(tmp_path).load(KEY)
    assert any(equal(gram, made(seed)) for seed in range(12))


def _write_and_read(arguments):
    folder, process = arguments
    store, served = GramStore(folder), []
    for round_ in range(8):
        store.save(KEY, made(0), IDS)
        store.save(replace(KEY, layer=f"{process}-{round_}"), made(round_), IDS)
        served.append(store.load(KEY))
        store.sizes()
    return all(known is not None and equal(known[0], made(0)) for known in served)


def test_two_processes_write_and_read_the_same_and_different_keys(tmp_path):
    with ProcessPoolExecutor(2) as pool:
        assert all(pool.map(_write_and_read, [(tmp_path, process) for process in range(2)]))
    store = GramStore(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(store.sizes()) == 17
    for process in range(2):
        for round_ in range(8):
            assert equal(store.load(replace(KEY, layer=f"{process}-{round_}"))[0], made(round_))


def test_clearing_leaves_files_that_are_being_written(tmp_path):
    store = GramStore(tmp_path)
    store.save(KEY, made(), IDS)
    for name in (".writing-1.nc", ".killed-2.nc"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / ".killed-2.nc", (0, 0))
    assert len(store.sizes()) == store.clear() == 1
    assert [path.name for path in tmp_path.iterdir()] == [".writing-1.nc"]


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(InputError, match="No space left"):
        GramStore(tmp_path).save(KEY, made(), IDS)
    assert not list(tmp_path.iterdir())


def test_sizes_and_clearing(tmp_path):
    store = GramStore(tmp_path)
    assert (store.sizes(), store.clear()) == ([], 0)
    store.save(KEY, made(), IDS)
    assert len(store.sizes()) == store.clear() == 1
    assert store.load(KEY) is None
