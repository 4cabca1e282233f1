"""Variance partitioning on planted spaces."""

import numpy as np
import pytest

import itprobe
from itprobe.benchmarks import load_benchmark
from itprobe.benchmarks.partition import partition_variance
from itprobe.data import save_recording
from itprobe.errors import InputError
from itprobe.metrics import gram_matrix


@pytest.fixture
def planted_spaces(plant, tmp_path):
    """Two spaces of 8 features that share 4; responses read own, shared and the other's own features."""
    ids, rng = plant.ids, np.random.default_rng(1)
    factors = rng.normal(size=(len(ids), 12))
    first, second = factors[:, :8], factors[:, 4:]
    weights = np.repeat([1.0, 2.0, 0.5], 4)[:, None] * rng.normal(size=(12, 12))
    signal = factors @ weights
    trials = signal[:, None] + 0.2 * rng.normal(size=(len(ids), 6, 12))
    save_recording(plant.assembly(trials, tmp_path / "stimuli"), tmp_path / "parts.nc")
    shares = np.array([(weights[rows] ** 2).sum(axis=0) for rows in (slice(4), slice(4, 8), slice(8, 12))])
    bench = load_benchmark(f"{tmp_path / 'parts.nc'}#IT-banded")
    return {"a": gram_matrix(first), "b": gram_matrix(second)}, bench, shares / shares.sum(axis=0)


def test_planted_unique_and_shared_variance_is_recovered(plant, planted_spaces):
    grams, bench, planted = planted_spaces
    found = partition_variance(grams, plant.ids, bench.target, bench.fitted, bench.plan(), 1)
    assert found["spaces"].values.tolist() == ["a", "b", "a + b"]
    parts = found["part"].values[[0, 2, 1]]  # only a, shared, only b
    np.testing.assert_allclose(parts.mean(axis=1), planted.mean(axis=1), atol=0.06)
    assert np.corrcoef(parts.ravel(), planted.ravel())[0, 1] > 0.95
    total = found["explained"].sel(spaces="a + b").values
    np.testing.assert_allclose(found["part"].sum("spaces").values, total, atol=1e-12)
    low, high = found["part_ci95"].sel(spaces="a").values
    assert low < float(found["part_mean"].sel(spaces="a")) < high


def test_rows_may_stand_in_any_order(plant, planted_spaces):
    grams, bench, _ = planted_spaces
    order = np.random.default_rng(0).permutation(len(plant.ids))
    straight = partition_variance(grams, plant.ids, bench.target, bench.fitted, bench.plan(), 1)
    shuffled = {name: gram.take(order) for name, gram in grams.items()}
    other = partition_variance(shuffled, plant.ids[order], bench.target, bench.fitted, bench.plan(), 1)
    np.testing.assert_allclose(other["part"], straight["part"], atol=1e-9)


def test_draws_are_paired_and_a_dead_space_explains_nothing(plant, planted_spaces):
    grams, bench, _ = planted_spaces
    twice = {"a": grams["a"], "again": grams["a"], "dead": gram_matrix(np.full((len(plant.ids), 9), 0.1))}
    found = partition_variance(twice, plant.ids, bench.target, bench.fitted, bench.plan(), 1)
    low, high = found["part_ci95"].sel(spaces="a").values
    assert high - low < 0.02  # of the difference between two equal spaces; unpaired it would be that of each
    wide = found["explained_ci95"].sel(spaces="a").values
    assert wide[1] - wide[0] > 0.05
    assert float(found["explained_mean"].sel(spaces="dead")) == 0
    assert np.isfinite(found["part"]).all()
    assert "dead: no variance" in found.attrs["warnings"]


def test_between_two_and_four_spaces(plant, planted_spaces):
    grams, bench, _ = planted_spaces
    with pytest.raises(InputError, match="2 to 4 different spaces, not 1"):
        partition_variance({"a": grams["a"]}, plant.ids, bench.target, bench.fitted, bench.plan(), 1)


def test_from_candidates_with_where_it_came_from(planted_file):
    found = itprobe.partition(["object_onehot", "pixels"], f"{planted_file}#IT-banded", seed=3)
    assert found["spaces"].values.tolist() == ["object_onehot", "pixels", "object_onehot + pixels"]
    assert found.attrs["seed"] == 3
    assert len(found.attrs["recording_sha256"]) == 64
    assert found.attrs["simulated"] == 0
    assert found.attrs["itprobe"] == itprobe.__version__


@pytest.mark.parametrize(
    ("spaces", "benchmark", "message"),
    [
        (["pixels", "object_onehot"], "#IT-ridge", "#IT-banded, not"),
        (["pixels", "pixels"], "#IT-banded", "2 to 4 different spaces, not 1"),
        (
            ["pixels", "efficientnet_lite0@random"],
            "#IT-banded",
            "one layer, e.g. efficientnet_lite0@random:LAYER",
        ),
    ],
)
def test_bad_requests_are_refused(planted_file, spaces, benchmark, message):
    with pytest.raises(InputError, match=message):
        itprobe.partition(spaces, planted_file + benchmark)
