"""Banded ridge against himalaya on the same candidates, and on planted spaces."""

import numpy as np
import pytest
from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
from himalaya.scoring import l2_neg_loss
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit
from sklearn.utils.estimator_checks import parametrize_with_checks

from itprobe.errors import InputError
from itprobe.metrics import BandedRidgeMapping, GramBandedRidgeCV, RidgeMapping, gram_matrix, predict_held_out
from itprobe.metrics.banded import simplex_candidates
from itprobe.metrics.inner_folds import inner_folds
from itprobe.metrics.mapping import SplitRows
from itprobe.metrics.splits import Split

LAMBDAS = tuple(np.logspace(-3, 3, 7))


def two_spaces(n=90, p=(40, 300), seed=0, noise=0.7):
    """Features of two spaces; neuroids 0-2 live in the first, 3-5 in the second, 6 is noise."""
    rng = np.random.default_rng(seed)
    spaces = [rng.normal(size=(n, width)) * 10.0**k for k, width in enumerate(p)]
    scores = [x @ rng.normal(size=(x.shape[1], 3)) for x in spaces]
    signal = np.hstack([*(score / score.std(axis=0) for score in scores), np.zeros((n, 1))])
    return spaces, signal + noise * rng.normal(size=signal.shape) + 5


def scaled_kernels(spaces):
    """Centred kernels with mean eigenvalue 1."""
    kernels = [(x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T for x in spaces]
    return np.array([kernel * (len(kernel) - 1) / np.trace(kernel) for kernel in kernels])


def himalayas(kernels, y, train, candidates, folds, per_neuroid):
    """Weights (m, q) of the kernels relative to lambda, and dual coefficients, by himalaya."""
    labels = np.empty(len(train), dtype=int)
    for index, (_, held_out) in enumerate(folds):
        labels[held_out] = index
    deltas, dual, _, intercept = solve_multiple_kernel_ridge_random_search(
        kernels[:, train][:, :, train],
        y[train],
        n_iter=candidates,
        alphas=np.array(LAMBDAS),
        score_func=l2_neg_loss,
        cv=PredefinedSplit(labels),
        fit_intercept=True,
        return_weights="dual",
        local_alpha=per_neuroid,
        progress_bar=False,
    )
    return np.exp(deltas), dual, intercept


@pytest.mark.parametrize("p", [(40, 300), (20, 30), (200, 150)])
@pytest.mark.parametrize("noise", [0.2, 2.0])
@pytest.mark.parametrize("awkward", [False, True], ids=["plain", "constants and duplicates"])
def test_equals_himalaya_on_the_same_candidates(p, noise, awkward):
    spaces, y = two_spaces(p=p, noise=noise)
    if awkward:
        for x in spaces:
            x[:, 1], x[:, 3], x[5] = 4.0, x[:, 2], x[4]
    kernels = scaled_kernels(spaces)
    candidates = simplex_candidates(2)
    order = np.random.default_rng(3).permutation(len(y))
    split = SplitRows(order[12:], order[:12])
    folds, _ = inner_folds(len(split.train), 4, None)
    weights, dual, intercept = himalayas(kernels, y, split.train, candidates, folds, True)
    theirs = np.einsum("mkn,mq,nq->kq", kernels[:, split.test][:, :, split.train], weights, dual) + intercept
    mapping = BandedRidgeMapping(LAMBDAS, folds=4)
    (ours,) = mapping.predict_splits(kernels, y, [split])
    np.testing.assert_allclose(ours.weights / ours.lambdas, weights, rtol=1e-5, atol=1e-12)
    assert np.abs(ours.predictions - theirs).max() < 1e-5 * y.std()


@pytest.mark.parametrize("per_neuroid", [True, False])
def test_estimator_equals_himalaya(per_neuroid):
    spaces, y = two_spaces()
    kernels = scaled_kernels(spaces)  # of the training stimuli: here all are
    candidates = simplex_candidates(2)
    everything = np.arange(len(y))
    folds, _ = inner_folds(len(y), 5, None)
    weights, _, _ = himalayas(kernels, y, everything, candidates, folds, per_neuroid)
    from_features = GramBandedRidgeCV([0] * 40 + [1] * 300, LAMBDAS, per_neuroid, folds=5)
    from_features.fit(np.hstack(spaces), y)
    precomputed = GramBandedRidgeCV(None, LAMBDAS, per_neuroid, 5, candidates, "precomputed").fit(kernels, y)
    for ours in (from_features, precomputed):
        np.testing.assert_allclose(ours.shares_ / ours.alpha_, weights, rtol=1e-5, atol=1e-12)
    predictions = from_features.predict(np.hstack(spaces))
    np.testing.assert_allclose(predictions, precomputed.predict(kernels), atol=1e-6)
    single = GramBandedRidgeCV([0] * 40 + [1] * 300, LAMBDAS).fit(np.hstack(spaces), y[:, 0])
    assert single.predict(np.hstack(spaces)).shape == (len(y),)
    assert single.shares_.shape == (2,)


def test_one_space_is_ridge_on_the_scaled_kernel():
    (x, _), y = two_spaces()
    kernel = scaled_kernels([x])
    ours = GramBandedRidgeCV(None, LAMBDAS, kernel="precomputed").fit(kernel, y)
    scale = np.sqrt((len(y) - 1) / np.trace((x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T))
    theirs = RidgeCV(LAMBDAS, alpha_per_target=True).fit(x * scale, y)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_)
    np.testing.assert_allclose(ours.predict(kernel), theirs.predict(x * scale), atol=1e-6)


def test_planted_spaces_are_found_and_used():
    spaces, y = two_spaces(n=240, noise=0.5)
    kernels = [x @ x.T for x in spaces]
    splits = [SplitRows(np.arange(40, 240), np.arange(40)), SplitRows(np.arange(200), np.arange(200, 240))]
    banded = list(BandedRidgeMapping().predict_splits(kernels, y, splits))
    for result in banded:
        assert (result.weights[0, :3] > 0.8).all()
        assert (result.weights[1, 3:6] > 0.8).all()
    joined = list(RidgeMapping().predict_splits([kernels[0] + kernels[1]], y, splits))
    error = [
        np.mean([(one.predictions - y[split.test]) ** 2 for one, split in zip(results, splits, strict=True)])
        for results in (banded, joined)
    ]
    assert error[0] < 0.9 * error[1]


def test_a_space_without_variance_takes_no_part():
    (x, _), y = two_spaces()
    constant = gram_matrix(np.full((len(y), 20), 3.0))
    ids = np.array([f"s{i}" for i in range(len(y))])
    split = Split(ids[10:], ids[:10])
    (with_it,) = predict_held_out([gram_matrix(x), constant], ids, y, ids, BandedRidgeMapping(), [split])
    (alone,) = predict_held_out([gram_matrix(x)], ids, y, ids, BandedRidgeMapping(), [split])
    np.testing.assert_allclose(with_it.predictions, alone.predictions, atol=1e-6 * y.std())


@pytest.mark.parametrize("n_spaces", [1, 2, 3, 4, 6])
def test_candidates_are_distinct_shares_with_every_single_space(n_spaces):
    shares = simplex_candidates(n_spaces)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares >= 0).all()
    assert len(np.unique(shares.round(12), axis=0)) == len(shares)
    for row in np.eye(n_spaces):
        assert (shares == row).all(axis=1).any()
    assert (np.ptp(shares, axis=1) < 1e-12).any()  # and equal shares


def test_lambdas_on_the_edge_are_flagged_and_folds_beyond_the_stimuli_noted():
    (x, z), y = two_spaces(noise=0.01)
    (result,) = BandedRidgeMapping((1e-6, 1e-5), folds=500).predict_splits(
        [x @ x.T, z @ z.T], y[:, :3], [SplitRows(np.arange(20, 90), np.arange(20))]
    )
    assert result.at_edge.all()
    assert result.notes == ["70 inner folds instead of 500: there are 70 training stimuli"]


def test_shares_are_normalised():
    mapping = BandedRidgeMapping(candidates=((3.0, 1.0),))
    np.testing.assert_allclose(mapping.shares(2), [[0.75, 0.25]])


def test_wrong_candidates_are_refused():
    (x, z), y = two_spaces()
    mapping = BandedRidgeMapping(candidates=((1.0, 0.0), (1.0,)))
    with pytest.raises(InputError, match="every candidate needs 2 shares"):
        mapping.fit([x @ x.T, z @ z.T], y)
    for candidates in ((), ((np.nan, 1.0),), ((0.0, 0.0),), ((-1.0, 2.0),)):
        with pytest.raises(InputError, match="every candidate needs 2 shares"):
            BandedRidgeMapping(candidates=candidates).fit([x @ x.T, z @ z.T], y)
    fitted = GramBandedRidgeCV(kernel="precomputed").fit(np.array([x @ x.T, z @ z.T]), y)
    with pytest.raises(ValueError, match=r"must be of shape \(2, k, 90\)"):
        fitted.predict((x @ x.T)[None])
    with pytest.raises(InputError, match="not symmetric"):
        GramBandedRidgeCV(kernel="precomputed").fit(np.triu(x @ x.T)[None], y)


@parametrize_with_checks([GramBandedRidgeCV()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)
