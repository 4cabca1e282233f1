"""Ridge over many splits from one decomposition against scikit-learn, refitted split by split."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV

from itprobe.errors import InputError
from itprobe.metrics import PcrMapping, PlsMapping, RidgeMapping, gram_matrix, predict_held_out
from itprobe.metrics.inner_folds import inner_folds
from itprobe.metrics.lambda_search import frame_of_kernel
from itprobe.metrics.mapping import SplitRows
from itprobe.metrics.ridge_splits import (
    predict_from_few_features,
    predict_together,
    together_is_cheaper,
)
from itprobe.metrics.spectrum import centred_kernel, centred_spectrum
from itprobe.metrics.splits import Split

LAMBDAS = tuple(np.logspace(-1, 4, 11))
SHAPES = [(80, 12), (80, 79), (80, 80), (80, 500)]


def planted(n, p, q=6, noise=1.0, seed=0):
    """Features with a constant column, duplicate columns and duplicate stimuli; responses of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.geomspace(1, 0.05, p) + 2
    x[:, 1] = 4.0
    x[:, 3] = x[:, 2]
    x[5] = x[4]
    y = x @ rng.normal(size=(p, q)) / np.sqrt(p) + noise * rng.normal(size=(n, q)) + 10
    return x, y


def random_splits(n, seed=0, n_splits=4, n_test=9):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for _ in range(n_splits)]
    return [SplitRows(order[n_test:], order[:n_test]) for order in orders]


def refuse(split):
    raise AssertionError("no split needs to be fitted by itself here")


def together(mapping, kernel, y, splits, strata=None):
    frame = frame_of_kernel(kernel)
    return list(predict_together(mapping, centred_kernel(kernel), y, splits, strata, frame, refuse))


def from_few(mapping, kernel, y, splits, strata=None):
    spectrum, frame = centred_spectrum(kernel), frame_of_kernel(kernel)
    return list(predict_from_few_features(mapping, spectrum, y, splits, strata, frame))


@pytest.mark.parametrize("path", [together, from_few])
@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("per_neuroid", [True, False])
def test_equals_ridge_cv_refitted_per_split(path, n, p, noise, per_neuroid):
    x, y = planted(n, p, noise=noise)
    splits = random_splits(n)
    for split, ours in zip(splits, path(RidgeMapping(LAMBDAS, per_neuroid), x @ x.T, y, splits), strict=True):
        theirs = RidgeCV(LAMBDAS, alpha_per_target=per_neuroid).fit(x[split.train], y[split.train])
        np.testing.assert_allclose(ours.lambdas, np.broadcast_to(theirs.alpha_, y.shape[1]))
        apart = np.abs(ours.predictions - theirs.predict(x[split.test])) / y.std(axis=0)
        assert apart.max() < 1e-6


@pytest.mark.parametrize("path", [together, from_few])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_k_fold_selection_equals_grid_search(path, n, p):
    x, y = planted(n, p)
    strata = np.repeat(np.arange(n // 10), 10)
    (split,) = random_splits(n, n_splits=1)
    (ours,) = path(RidgeMapping(LAMBDAS, folds=4), x @ x.T, y, [split], strata)
    folds, note = inner_folds(len(split.train), 4, strata[split.train])
    for neuroid in range(y.shape[1]):
        search = GridSearchCV(Ridge(), {"alpha": LAMBDAS}, scoring="neg_mean_squared_error", cv=folds)
        search.fit(x[split.train], y[split.train, neuroid])
        assert ours.lambdas[neuroid] == pytest.approx(search.best_params_["alpha"])
        np.testing.assert_allclose(
            ours.choice.errors[:, neuroid], -search.cv_results_["mean_test_score"], rtol=1e-6
        )
        np.testing.assert_allclose(ours.predictions[:, neuroid], search.predict(x[split.test]), rtol=1e-6)
    assert ours.notes == ([note] if note else [])


@pytest.mark.parametrize("mapping", [RidgeMapping(), RidgeMapping(per_neuroid=False), RidgeMapping(folds=3)])
@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_all_splits_together_give_what_fits_of_single_splits_give(mapping, n, p):
    x, y = planted(n, p, q=9)
    y[:, 0] = np.random.default_rng(5).normal(size=n)  # nothing to predict: the mean is best
    kernel, splits = x @ x.T, random_splits(n)
    frame = frame_of_kernel(kernel)
    for split, ours in zip(splits, mapping.predict_splits([kernel], y, splits), strict=True):
        rows = np.ix_(split.train, split.train)
        alone = mapping.fit(kernel[rows], y[split.train], frame=frame)
        np.testing.assert_allclose(ours.lambdas, alone.lambdas)
        np.testing.assert_array_equal(ours.at_edge, alone.at_edge)
        expected = alone.predict(kernel[np.ix_(split.test, split.train)])
        np.testing.assert_allclose(ours.predictions, expected, atol=1e-5 * y.std())
        np.testing.assert_allclose(ours.choice.error, alone.choice.error, rtol=1e-5)


def test_lambdas_too_small_for_the_complement_are_served_by_fits_of_their_own():
    x, y = planted(80, 60, noise=0.0)
    splits, mapping = random_splits(80), RidgeMapping((1e-7, 1e-6))
    for split, ours in zip(splits, mapping.predict_splits([x @ x.T], y, splits), strict=True):
        theirs = Ridge(1e-7, solver="svd").fit(x[split.train], y[split.train]).predict(x[split.test])
        assert np.abs(ours.predictions - theirs).max() < 1e-5 * y.std()


def test_stimuli_in_neither_part_play_no_part():
    """As in the course split, whose own test images stay untouched."""
    x, y = planted(80, 300)
    order = np.random.default_rng(2).permutation(80)
    splits = [SplitRows(order[20:], order[:8]), SplitRows(order[:50], order[60:70])]
    for split, ours in zip(splits, together(RidgeMapping(LAMBDAS), x @ x.T, y, splits), strict=True):
        theirs = RidgeCV(LAMBDAS, alpha_per_target=True).fit(x[split.train], y[split.train])
        np.testing.assert_allclose(ours.lambdas, theirs.alpha_)
        assert np.abs(ours.predictions - theirs.predict(x[split.test])).max() < 1e-6 * y.std()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(0.1, 1e3))
def test_test_responses_have_no_say(seed, size):
    x, y = planted(60, 200, seed=seed)
    splits = random_splits(60, seed, n_splits=1)
    changed = y.copy()
    changed[splits[0].test] = size * np.random.default_rng(seed).normal(size=changed[splits[0].test].shape)
    (before,) = together(RidgeMapping(LAMBDAS), x @ x.T, y, splits)
    (after,) = together(RidgeMapping(LAMBDAS), x @ x.T, changed, splits)
    np.testing.assert_allclose(after.predictions, before.predictions, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(after.lambdas, before.lambdas)


@pytest.mark.parametrize("mapping", [RidgeMapping(folds=3), PcrMapping(20, folds=3), PlsMapping(5)])
def test_rows_and_strata_are_joined_by_id(mapping):
    x, y = planted(80, 300)
    ids = np.array([f"s{i:02d}" for i in range(80)])
    strata = np.repeat(["a", "b", "c", "d"], 20)[np.random.default_rng(8).permutation(80)]
    split = Split(ids[20:], ids[:20])
    gram = gram_matrix(x)
    (straight,) = predict_held_out(gram, ids, y, ids, mapping, [split], strata)
    order, other = (np.random.default_rng(seed).permutation(80) for seed in (1, 2))
    (joined,) = predict_held_out(
        gram.take(order), ids[order], y[other], ids[other], mapping, [split], strata[other]
    )
    np.testing.assert_allclose(joined.predictions, straight.predictions, atol=1e-8)
    np.testing.assert_allclose(joined.lambdas, straight.lambdas)
    np.testing.assert_array_equal(joined.responses, straight.responses)


def test_missing_values_are_refused():
    x, y = planted(40, 60)
    ids = np.array([f"s{i:02d}" for i in range(40)])
    split = [Split(ids[10:], ids[:10])]
    with pytest.raises(InputError, match="1 of 6 neuroids have responses that are NaN"):
        y[3, 2] = np.nan
        list(predict_held_out(gram_matrix(x), ids, y, ids, RidgeMapping(), split))
    with pytest.raises(InputError, match="the features hold NaN"):
        x[3, 2] = np.nan
        list(predict_held_out(gram_matrix(x), ids, np.nan_to_num(y), ids, RidgeMapping(), split))


def test_a_gram_matrix_that_is_not_symmetric_is_refused():
    x, y = planted(40, 60)
    ids = np.array([f"s{i:02d}" for i in range(40)])
    gram = gram_matrix(x)
    mixed = replace(gram, values=gram.values[::-1])
    with pytest.raises(InputError, match="not symmetric"):
        list(predict_held_out(mixed, ids, y, ids, RidgeMapping(), [Split(ids[10:], ids[:10])]))


def test_constant_features_predict_the_mean():
    y = np.random.default_rng(0).normal(size=(50, 3))
    splits = random_splits(50)
    kernel = gram_matrix(np.full((50, 30), 7.0)).values
    for split, ours in zip(splits, RidgeMapping().predict_splits([kernel], y, splits), strict=True):
        np.testing.assert_allclose(ours.predictions, np.tile(y[split.train].mean(axis=0), (9, 1)))
        assert np.isinf(ours.lambdas).all()


def test_the_cheaper_way_is_taken():
    ten = [SplitRows(np.arange(2880), np.arange(2880, 3200))] * 10
    assert together_is_cheaper(3200, 168, ten)
    assert not together_is_cheaper(3200, 168, ten[:1])
