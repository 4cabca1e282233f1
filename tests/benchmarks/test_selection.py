"""Layers chosen within the training stimuli: planted truth, no leak from the test stimuli, no bias."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold

from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.selection import INNER_FOLDS, inner_scores, inner_splits, nested_evaluation
from itprobe.benchmarks.selection import select as select_layers
from itprobe.benchmarks.target import Target
from itprobe.errors import InputError
from itprobe.metrics import SPLITS, PcrMapping, PlsMapping, RidgeMapping, gram_matrix, paired_difference
from itprobe.metrics.inner_folds import FOLD_SEED

N, Q, P = 120, 8, 40


def target_of(responses):
    """A target of given responses (n, q) to n stimuli of 6 objects."""
    n, q = responses.shape
    stimuli = pd.DataFrame(
        {"stimulus_id": [f"im{i:03d}" for i in range(n)], "object_name": np.resize(list("abcdef"), n)}
    )
    return Target(
        region="IT",
        stimuli=stimuli,
        stimulus_set=StimulusSet(stimuli),
        responses=responses,
        neuroids=pd.DataFrame(
            {"neuroid_id": [f"n{j}" for j in range(q)], "animal": np.resize(["x", "y"], q)}
        ),
        reliability=None,
        noise=None,
        repetitions_median=1.0,
        recording={},
        warnings=[],
    )


def noise_layers(n_layers, seed, p=P):
    rng = np.random.default_rng([seed, 1])
    return {f"layer{k}": rng.normal(size=(N, p)) for k in range(n_layers)}


def select(features, target, mapping=None, plan=None, ids=None, inner_folds=INNER_FOLDS):
    """Score each layer, then choose between them."""
    return select_layers(*scored(features, target, mapping, plan, ids, inner_folds)[:3], seed=1)


def scored(features, target, mapping=None, plan=None, ids=None, inner_folds=INNER_FOLDS):
    """Inner scores and outer r of each layer, what gives its predictions, and the evaluations."""
    ids = target.stimuli["stimulus_id"].to_numpy() if ids is None else ids
    plan = plan or SPLITS["kfold"](target.stimuli, 1)
    inner, evaluations = {}, {}
    for layer, x in features.items():
        given = [gram_matrix(x)], ids, target, mapping or RidgeMapping(), plan
        inner[layer] = inner_scores(*given, inner_folds)
        evaluations[layer] = evaluate(*given, 1, layer)
    outer_r = {layer: one.pearson_r for layer, one in evaluations.items()}
    return inner, outer_r, lambda layer: evaluations[layer].held_out, evaluations


def responses_of(x, noise=1.0, seed=0):
    rng = np.random.default_rng([seed, 2])
    return x @ rng.normal(size=(x.shape[1], Q)) / np.sqrt(x.shape[1]) + noise * rng.normal(size=(len(x), Q))


@pytest.mark.parametrize("mapping", [RidgeMapping(), PlsMapping(), PcrMapping()])
def test_the_layer_that_carries_the_signal_is_chosen_in_all_splits(mapping):
    features = noise_layers(5, seed=0)
    selection = select(features, target_of(responses_of(features["layer3"])), mapping)
    assert selection.chosen == ["layer3"] * 10
    assert selection.naive_layer == "layer3"
    # The same layer both ways: the honest figure is the naive one, and there is no bias to speak of.
    assert selection.nested == selection.naive
    assert selection.bias.value == 0
    assert selection.bias.ci95 == (0, 0)
    assert selection.nested.ci95[0] < selection.nested.value < selection.nested.ci95[1]
    others = [column for column in range(5) if column != 3]
    assert (selection.inner_r[:, 3] > selection.inner_r[:, others].max(axis=1) + 0.2).all()


@pytest.mark.parametrize("mapping", [RidgeMapping(), PlsMapping()])
def test_no_response_to_test_stimuli_takes_part_in_the_choice(mapping):
    features = noise_layers(6, seed=3)
    # Layers of the same strength, so that a little leak would decide.
    target = target_of(sum(responses_of(x, noise=1.0, seed=k) for k, x in enumerate(features.values())))
    plan = SPLITS["kfold"](target.stimuli, 1)
    before = select(features, target, mapping, plan)
    assert len(set(before.chosen)) > 1
    rows = pd.Index(target.stimuli["stimulus_id"])
    for index in (0, 9):
        test = rows.get_indexer(plan.splits[index].test)
        other = next(layer for layer in features if layer != before.chosen[index])
        changed = target.responses.copy()
        changed[test] = 10 * features[other][test, :Q]  # large, and all of another layer's making
        after = select(features, replace(target, responses=changed), mapping, plan)
        assert after.chosen[index] == before.chosen[index]
        np.testing.assert_allclose(after.inner_r[index], before.inner_r[index], atol=1e-9)
        assert not np.allclose(after.outer_r[index], before.outer_r[index], atol=1e-3)
        # The splits that train on the changed responses choose by them: the test can tell a leak.
        assert not np.allclose(after.inner_r[index - 1], before.inner_r[index - 1], atol=1e-3)


def test_among_layers_of_noise_the_naive_choice_is_biased_and_the_nested_is_not():
    naive, nested, bias = [], [], []
    for seed in range(16):
        responses = np.random.default_rng([seed, 7]).normal(size=(N, Q))
        target = target_of(responses)
        plan = SPLITS["kfold"](target.stimuli, seed)
        plan = replace(plan, splits=plan.splits[:4])
        selection = select(
            noise_layers(10, seed=seed), target, RidgeMapping(lambdas=(30.0,)), plan, inner_folds=3
        )
        naive.append(selection.naive.value)
        nested.append(selection.nested.value)
        bias.append(selection.bias.value)
    error = np.std(nested, ddof=1) / np.sqrt(len(nested))
    assert abs(np.mean(nested)) < 3 * error  # 0 is what noise predicts
    assert np.mean(naive) > 5 * np.std(naive, ddof=1) / np.sqrt(len(naive))
    assert np.mean(bias) > 3 * error
    np.testing.assert_allclose(bias, np.subtract(naive, nested), atol=1e-12)


def test_inner_and_outer_scores_equal_scikit_learn_refitted_one_by_one():
    features = noise_layers(3, seed=5)
    target = target_of(sum(responses_of(x, seed=k) for k, x in enumerate(features.values())))
    plan = SPLITS["brainscore"](target.stimuli, 1)
    selection = select(features, target, RidgeMapping(lambdas=(20.0,)), plan, inner_folds=4)
    rows = pd.Index(target.stimuli["stimulus_id"])
    y = target.responses

    def median_r(x, train, test):
        predicted = Ridge(alpha=20.0).fit(x[train], y[train]).predict(x[test])
        return np.median([np.corrcoef(y[test, j], predicted[:, j])[0, 1] for j in range(Q)])

    inner, outer = np.empty((2, 10, 3))
    for index, split in enumerate(plan.splits):
        train, test = rows.get_indexer(split.train), rows.get_indexer(split.test)
        folds = StratifiedKFold(4, shuffle=True, random_state=FOLD_SEED)
        parts = list(folds.split(train, target.strata[train]))
        for column, x in enumerate(features.values()):
            outer[index, column] = median_r(x, train, test)
            inner[index, column] = np.mean([median_r(x, train[own], train[held]) for own, held in parts])
    np.testing.assert_allclose(selection.inner_r, inner, atol=1e-7)
    np.testing.assert_allclose(selection.outer_r, outer, atol=1e-7)
    best = inner.argmax(axis=1)
    assert selection.chosen == [f"layer{column}" for column in best]
    assert selection.nested.value == pytest.approx(outer[np.arange(10), best].mean(), abs=1e-7)
    assert selection.naive_layer == f"layer{outer.mean(axis=0).argmax()}"
    assert selection.naive.value == pytest.approx(outer.mean(axis=0).max(), abs=1e-7)


def test_rows_are_joined_by_stimulus_id():
    features = noise_layers(3, seed=6)
    target = target_of(responses_of(features["layer1"]))
    order = np.random.default_rng(0).permutation(N)
    ids = target.stimuli["stimulus_id"].to_numpy()[order]
    plain = select(features, target)
    shuffled = select({layer: x[order] for layer, x in features.items()}, target, ids=ids)
    np.testing.assert_allclose(shuffled.inner_r, plain.inner_r, atol=1e-9)
    assert shuffled.nested.value == pytest.approx(plain.nested.value, abs=1e-9)


@pytest.mark.parametrize("split", ["kfold", "brainscore", "object_out"])
def test_inner_folds_divide_the_training_stimuli_and_know_no_test_stimulus(split):
    target = target_of(np.random.default_rng(0).normal(size=(N, Q)))
    plan = SPLITS[split](target.stimuli, 1)
    inner, warnings = inner_splits(plan, target, 5)
    assert warnings == []
    object_of = target.stimuli.set_index("stimulus_id")["object_name"]
    for outer, folds in zip(plan.splits, inner, strict=True):
        assert sorted(np.concatenate([fold.test for fold in folds])) == sorted(outer.train)
        for fold in folds:
            assert set(fold.train) | set(fold.test) == set(outer.train)
            assert not set(fold.train) & set(fold.test)
            counts = object_of[fold.test].value_counts()
            assert counts.max() - counts.min() <= 1


def test_why_folds_are_not_balanced_is_said():
    target = target_of(np.random.default_rng(0).normal(size=(N, Q)))
    target.stimuli["object_name"] = [f"object{i // 2}" for i in range(N)]
    features = noise_layers(2, seed=0)
    inner, *_ = scored(features, target, plan=SPLITS["brainscore"](target.stimuli, 1))
    assert all("inner folds not stratified" in one.warnings[0] for one in inner.values())


def test_a_layer_without_variance_is_never_chosen():
    features = noise_layers(2, seed=8) | {"dead": np.ones((N, P))}
    target = target_of(np.random.default_rng(1).normal(size=(N, Q)))
    selection = select(features, target)
    assert "dead" not in selection.chosen
    assert np.isnan(selection.inner_r[:, 2]).all()
    assert np.isfinite(selection.inner_r[:, :2]).all()


def test_what_cannot_be_chosen_from_is_refused_in_one_line():
    target = target_of(np.random.default_rng(1).normal(size=(N, Q)))
    with pytest.raises(InputError, match="no layer can be chosen among 1: none has features that differ"):
        select({"dead": np.ones((N, P))}, target)
    with pytest.raises(InputError, match="no layer can be chosen among 0"):
        select({}, target)
    with pytest.raises(InputError, match="at least two inner folds, not 1"):
        select(noise_layers(1, seed=0), target, inner_folds=1)


def test_it_says_what_was_chosen_and_both_figures():
    features = noise_layers(3, seed=0)
    text = str(select(features, target_of(responses_of(features["layer2"]))))
    assert "layer chosen on 3 inner folds in 10 splits: layer2 (10); r 0." in text
    assert "best of 3 layers" in text
    assert "Selection bias 0.000 [0.000, 0.000]" in text


def test_the_nested_evaluation_is_made_of_the_chosen_layers_splits():
    features = noise_layers(4, seed=3)
    target = target_of(sum(responses_of(x, seed=k) for k, x in enumerate(features.values())))
    features["layer0"] = features["layer0"][:, :10]  # so that the layers differ in size
    inner, outer_r, held_out, evaluations = scored(features, target)
    selection = select_layers(inner, outer_r, held_out, seed=1)
    assert len(set(selection.chosen)) > 1
    nested = nested_evaluation(selection, evaluations)
    for k, layer in enumerate(selection.chosen):
        own = evaluations[layer]
        np.testing.assert_array_equal(nested.held_out.predictions[k], own.held_out.predictions[k])
        for name in ("pearson_r", "explained_variance", "lambdas", "at_edge"):
            np.testing.assert_array_equal(getattr(nested, name)[k], getattr(own, name)[k])
    summary = nested.summary["pearson_r"]
    assert summary["median"] == selection.nested.value
    assert summary["ci95"] == selection.nested.ci95
    usual = max(selection.layers, key=selection.chosen.count)
    assert nested.n_features == features[usual].shape[1]
    assert nested.effective_dimensionality == evaluations[usual].effective_dimensionality
    assert str(selection) in nested.warnings
    # The bias is what paired_difference says of the two.
    naive = evaluations[selection.naive_layer].held_out
    difference = paired_difference(naive, nested.held_out, seed=1)
    assert selection.bias.value == pytest.approx(difference.value, abs=1e-12)
    assert selection.bias.ci95 == difference.ci95
