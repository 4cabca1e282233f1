"""The inter-animal ceiling of a benchmark: as the models' own scores, from the other animals' responses."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from itprobe.benchmarks import prepare_target
from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.inter_animal import inter_animal
from itprobe.leaderboard.result import InterAnimal
from itprobe.metrics import SPLITS, RidgeMapping, gram_matrix


@pytest.fixture
def target(planted):
    return prepare_target(planted, "IT")


def plan_of(target, seed=1):
    return SPLITS["brainscore"](target.stimuli, seed)


def test_equals_sklearn_from_one_animal_to_the_other(target):
    alphas = np.logspace(-2, 4, 13)
    plan = plan_of(target)
    ours = inter_animal(target, RidgeMapping(tuple(alphas)), plan)
    row_of = {key: row for row, key in enumerate(target.stimuli["stimulus_id"])}
    animals = target.neuroids["animal"].to_numpy()
    expected = np.empty((10, 12))
    for k, split in enumerate(plan.splits):
        train, test = ([row_of[key] for key in ids] for ids in (split.train, split.test))
        for animal in "ab":
            x, y = target.responses[:, animals != animal], target.responses[:, animals == animal]
            predicted = RidgeCV(alphas, alpha_per_target=True).fit(x[train], y[train]).predict(x[test])
            expected[k, animals == animal] = [
                np.corrcoef(*pair)[0, 1] for pair in zip(y[test].T, predicted.T, strict=True)
            ]
    np.testing.assert_allclose(ours.pearson_r, expected, atol=1e-6)
    section = InterAnimal.model_validate(ours.section())
    assert section.median == pytest.approx(np.median(expected, axis=1).mean())
    assert section.mean == pytest.approx(expected.mean())
    of_a = np.median(expected[:, animals == "a"], axis=1).mean()
    of_b = np.median(expected[:, animals == "b"], axis=1).mean()
    assert section.by_animal == {"a": pytest.approx(of_a), "b": pytest.approx(of_b)}
    assert (section.mapping, section.n_neuroids) == ("ridge", 12)


def test_it_is_the_same_for_all_layers_and_stands_in_their_results(plant, target):
    plan = plan_of(target)
    ceiling = inter_animal(target, RidgeMapping(), plan)
    for features in (plant.features(), plant.features()[:, :5], np.ones((120, 3))):
        gram = gram_matrix(features)
        evaluation = evaluate(gram, plant.ids, target, RidgeMapping(), plan, 1, inter_animal=ceiling)
        assert evaluation.summary["inter_animal"] == ceiling.section()
    without = evaluate(gram, plant.ids, target, RidgeMapping(), plan, 1)
    assert without.summary["inter_animal"] is None


@pytest.mark.parametrize("animals", [["a"] * 12, ["unknown"] * 12, ["unknown", *["a"] * 11]])
def test_it_takes_two_animals(target, animals):
    lonely = replace(target, neuroids=target.neuroids.assign(animal=animals))
    assert inter_animal(lonely, RidgeMapping(), plan_of(target)) is None


def test_neuroids_of_unknown_animals_take_no_part(target):
    animals = np.array(["unknown", "unknown", *["a", "b"] * 5])
    some = replace(target, neuroids=target.neuroids.assign(animal=animals))
    known = replace(
        target, responses=target.responses[:, 2:], neuroids=some.neuroids.iloc[2:].reset_index(drop=True)
    )
    ours, expected = (inter_animal(each, RidgeMapping(), plan_of(target)) for each in (some, known))
    assert np.isnan(ours.pearson_r[:, :2]).all()
    np.testing.assert_allclose(ours.pearson_r[:, 2:], expected.pearson_r)
    assert ours.section()["median"] == pytest.approx(expected.section()["median"])
    assert set(ours.section()["by_animal"]) == {"a", "b"}
    assert ours.section()["n_neuroids"] == 10


def test_the_row_order_of_the_target_does_not_matter(target):
    plan = plan_of(target)
    order = np.random.default_rng(0).permutation(len(target.stimuli))
    turned = replace(
        target,
        responses=target.responses[order],
        stimuli=target.stimuli.iloc[order].reset_index(drop=True),
    )
    one, other = (inter_animal(each, RidgeMapping(), plan) for each in (target, turned))
    np.testing.assert_allclose(one.pearson_r, other.pearson_r, atol=1e-6)
