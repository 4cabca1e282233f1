"""The Gram store serves what was stored, or nothing."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest

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


def _write(arguments):
    folder, seed = arguments
    GramStore(folder).save(KEY, made(seed), IDS)


def test_concurrent_writers_leave_one_whole_file(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_write, [(tmp_path, seed) for seed in range(12)]))
    assert len(list(tmp_path.iterdir())) == 1
    gram, _ = GramStore(tmp_path).load(KEY)
    assert any(equal(gram, made(seed)) for seed in range(12))


def test_sizes_and_clearing(tmp_path):
    store = GramStore(tmp_path)
    assert (store.sizes(), store.clear()) == ([], 0)
    store.save(KEY, made(), IDS)
    assert len(store.sizes()) == store.clear() == 1
    assert store.load(KEY) is None
