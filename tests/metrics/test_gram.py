"""Every way to a Gram matrix gives X Xᵀ."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from itprobe.metrics.gram import AboutOrigin, gram_from_chunks, gram_from_images, gram_matrix
from itprobe.metrics.tensor_products import CHUNK_FEATURES


def features(n, p, seed=0, offset=3.0):
    """Correlated, about a mean far from zero, with a constant and a repeated column."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)) @ rng.normal(size=(5, p)) + rng.normal(size=(n, p)) + offset
    x[:, 0] = 7
    x[:, -1] = x[:, p // 2]
    return x.astype(np.float32)


def by_chunks(x, width=CHUNK_FEATURES, tensors=False):
    chunks = (x[:, start : start + width] for start in range(0, x.shape[1], width))
    return gram_from_chunks(map(torch.from_numpy, chunks) if tensors else chunks, x.shape)


def about_origin(x, width=CHUNK_FEATURES, first=4):
    """About the mean of the first few, which is not that of all."""
    origin = x[:first].mean(axis=0)
    rows = np.vstack([x - origin, origin, np.ones_like(origin)])
    starts = range(0, x.shape[1], width)
    return gram_from_chunks(
        (AboutOrigin(np.ascontiguousarray(rows[:, start : start + width])) for start in starts), x.shape
    )


def by_images(x, block, batch=4, met=1):
    def batches_from(row):
        for start in range(row, len(x), batch):
            rows = slice(start, min(start + batch, len(x)))
            yield rows, torch.from_numpy(x[rows])

    return gram_from_images(batches_from, x.shape, block, met)


WAYS = {
    "array": gram_matrix,
    "chunks": by_chunks,
    "narrow chunks": lambda x: by_chunks(x, 700),
    "about an origin": about_origin,
    "tensors": lambda x: by_chunks(x, tensors=True),
    "images, one block": lambda x: by_images(x, len(x)),
    "images, blocks of 7": lambda x: by_images(x, 7),
    "images, batches gathered": lambda x: by_images(x, 7, met=10),
    "images one by one": lambda x: by_images(x, 1, batch=1),
}


def check(gram, x, tolerance):
    exact = x.astype(np.float64)
    mean = exact.mean(axis=0)
    products = (exact - mean) @ (exact - mean).T
    size = np.abs(products).max()
    np.testing.assert_allclose(gram.values, products, rtol=0, atol=tolerance * size)
    np.testing.assert_array_equal(gram.values, gram.values.T)
    raw = exact @ exact.T
    np.testing.assert_allclose(gram.raw(), raw, rtol=0, atol=tolerance * np.abs(raw).max())
    np.testing.assert_allclose(gram.origin_products, exact @ mean, rtol=1e-6)
    np.testing.assert_allclose(gram.origin_norm, mean @ mean, rtol=1e-6)
    np.testing.assert_allclose(gram.feature_sums, exact.sum(axis=1), rtol=max(1e-12, tolerance / 10))
    assert gram.n_features == x.shape[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("n", "p"), [(30, 2 * CHUNK_FEATURES + 50), (40, 90)])
def test_products_to_float32_rounding(way, n, p):
    x = features(n, p)
    gram = WAYS[way](x)
    check(gram, x, 1e-6)
    assert gram.resolution == 2e-7


# Few features are never kept about an origin, in float32.
@pytest.mark.parametrize("way", [way for way in WAYS if way != "about an origin"])
@pytest.mark.parametrize(("n", "p"), [(30, 30), (50, 8), (9, 2)])
def test_a_null_space_is_exact(way, n, p):
    x = features(n, p)
    gram = WAYS[way](x)
    check(gram, x, 1e-13)
    eigenvalues = np.linalg.eigvalsh(gram.values)
    rank = np.linalg.matrix_rank(x.astype(np.float64) - x.astype(np.float64).mean(axis=0))
    assert (np.abs(eigenvalues[: n - rank]) < 1e-13 * eigenvalues[-1]).all()
    assert gram.resolution == 1e-13


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 25),
    p=st.integers(1, 60),
    block=st.integers(1, 30),
    batch=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_blocks_and_batches_do_not_matter(n, p, block, batch, seed):
    x = features(n, p, seed)
    check(by_images(x, block, batch), x, 2e-6)


def test_blocks_read_no_more_images_than_they_must():
    x = features(20, 50)
    asked = []

    def batches_from(row):
        asked.append(row)
        yield slice(row, 20), torch.from_numpy(x[row:])

    gram_from_images(batches_from, x.shape, 8)
    assert asked == [0, 8, 16]


def test_float64_and_half_precision_features():
    x = features(20, 300)
    check(gram_matrix(x.astype(np.float64)), x, 1e-13)
    half = x.astype(np.float16)
    check(by_chunks(half), half, 1e-6)
    check(by_chunks(half, tensors=True), half, 1e-6)


def test_chunks_that_are_not_all_features_are_refused():
    x = features(5, 30)
    with pytest.raises(ValueError, match="20 features, not 30"):
        gram_from_chunks([x[:, :20]], x.shape)


def test_products_leave_torchs_switches_as_they_were():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        by_chunks(features(5, 30), tensors=True)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_chunks_without_features_add_nothing():
    x = features(5, 30)
    gram = gram_from_chunks([x[:, :0], x[:, :10], x[:, 10:10], x[:, 10:]], x.shape)
    check(gram, x, 1e-6)


def check_apart(gram, x, rows):
    """Products of these stimuli about their own mean, beside their own largest eigenvalue."""
    values = gram.values[np.ix_(rows, rows)]
    exact = x[rows].astype(np.float64)
    exact -= exact.mean(axis=0)
    centred = values - values.mean(axis=0) - values.mean(axis=1)[:, None] + values.mean()
    expected = exact @ exact.T
    assert np.abs(centred - expected).max() < 1e-6 * np.linalg.eigvalsh(expected)[-1]


@pytest.mark.parametrize("way", [gram_matrix, lambda x: about_origin(x, first=64)])
@pytest.mark.parametrize("row", [0, 4, 7])
def test_one_unusual_stimulus_costs_no_accuracy_of_the_others(way, row):
    x = np.random.default_rng(0).normal(size=(400, 20_000)).astype(np.float32)
    x[row] *= 30
    check_apart(way(x), x, np.delete(np.arange(400), row))


@pytest.mark.parametrize("shift", [0, 3, 10, 1000])
def test_unlike_first_stimuli_cost_no_accuracy_of_the_others(shift):
    x = np.random.default_rng(0).normal(size=(400, 20_000)).astype(np.float32)
    x[:64] += shift
    gram, same = about_origin(x, first=64), gram_matrix(x)
    rest = np.arange(64, 400)
    if shift < 1000:  # there the others are rounding beside the first, about whatever origin
        check_apart(gram, x, rest)
    np.testing.assert_allclose(gram.values, same.values, rtol=0, atol=1e-6 * same.values.max())
