"""The protocol of fitted candidates: refitted for each split, and nothing of the test part can be had."""

import gc
import types

import numpy as np
import pytest

from itprobe.benchmarks import load_benchmark, prepare_target
from itprobe.benchmarks.fitted import evaluate_fitted, fit_split
from itprobe.errors import InputError
from itprobe.metrics import SPLITS
from itprobe.models.fitted.candidate import FitReport, FittedCandidate


class Mean(FittedCandidate):
    """Predicts the training mean of each object, or of all; remembers what it was given."""

    identifier = "mean"

    def __init__(self, by_object=True):
        self.by_object = by_object
        self.given = []
        self.context = {}

    def fresh(self, context, reliability=None):
        made = type(self)(self.by_object)
        made.given, made.context, made.reliability = self.given, context, reliability
        return made

    def parameters(self):
        return {"by_object": self.by_object}

    def fit(self, stimuli, responses, labels=None):
        self.given.append((self.context, stimuli, responses, labels))
        self.mean = responses.mean(axis=0)
        self.of_object = {name: responses[labels == name].mean(axis=0) for name in np.unique(labels)}
        self.report = FitReport(None, None, None)
        return self

    def predict(self, stimuli):
        names = stimuli["object_name"]
        return np.array([self.of_object[name] if self.by_object else self.mean for name in names])


@pytest.fixture
def target(planted):
    return prepare_target(planted, "IT")


def test_predictions_are_those_of_a_plain_loop(target):
    plan = SPLITS["brainscore"](target.stimuli, 1)
    evaluation = evaluate_fitted(Mean(), target, plan, "brainscore", 1)
    rows = {stimulus_id: row for row, stimulus_id in enumerate(target.stimuli["stimulus_id"])}
    objects = target.stimuli["object_name"].to_numpy()
    for index, split in enumerate(plan.splits):
        train, test = ([rows[key] for key in ids] for ids in (split.train, split.test))
        expected = np.array(
            [target.responses[[i for i in train if objects[i] == objects[j]]].mean(axis=0) for j in test]
        )
        np.testing.assert_allclose(evaluation.held_out.predictions[index], expected)
        r = [np.corrcoef(expected[:, j], target.responses[test, j])[0, 1] for j in range(expected.shape[1])]
        np.testing.assert_allclose(evaluation.pearson_r[index], r)
    assert evaluation.n_features is None
    assert np.isnan(evaluation.lambdas).all()
    assert not any("lambda" in warning or "mean predictor" in warning for warning in evaluation.warnings)


def test_every_split_gets_a_fresh_copy_its_training_stimuli_and_no_other(target):
    plan = SPLITS["kfold"](target.stimuli, 3)
    candidate = Mean()
    evaluate_fitted(candidate, target, plan, "kfold", 3)
    assert len(candidate.given) == len(plan.splits) == 10
    for index, (split, (context, stimuli, responses, labels)) in enumerate(
        zip(plan.splits, candidate.given, strict=True)
    ):
        np.testing.assert_array_equal(stimuli["stimulus_id"], split.train)
        assert set(stimuli.stimulus_paths) == set(split.train)
        assert len(responses) == len(labels) == len(split.train)
        assert context["split"] == f"kfold, {index + 1} of 10"
        assert context["recording_sha256"] == target.recording["sha256"]


def reachable(*roots):
    """All that can be reached from objects by following references, but for code."""
    seen, todo = {}, list(roots)
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(
            item, types.ModuleType | type | types.FunctionType | types.BuiltinFunctionType | types.FrameType
        ):
            continue
        seen[id(item)] = item
        todo += gc.get_referents(item)
        if isinstance(item, np.ndarray) and item.base is not None:
            todo.append(item.base)
    return seen.values()


class Thief(Mean):
    """Looks for the test responses in everything within its reach, before and when it predicts."""

    def __init__(self, by_object=True):
        super().__init__(by_object)
        self.loot = []

    def fresh(self, context, reliability=None):
        made = super().fresh(context, reliability)
        made.loot = self.loot
        return made

    def fit(self, stimuli, responses, labels=None):
        self.held = (stimuli, responses, labels)
        responses += 0  # it may write to what it is given: they are copies
        return super().fit(stimuli, responses, labels)

    def predict(self, stimuli):
        found = [
            item
            for item in reachable(self.__dict__, self.held, stimuli)
            if isinstance(item, np.ndarray) and item.dtype.kind == "f"
        ]
        self.loot.append((found, self.reliability))
        return super().predict(stimuli)


def test_a_thief_finds_no_test_response(target):
    plan = SPLITS["course"](target.stimuli, 1)
    # responses that stand out wherever they might turn up, each with a value of its own
    marked = np.arange(target.responses.size, dtype=float).reshape(target.responses.shape) + 0.123456
    object.__setattr__(target, "responses", marked.copy())
    thief = Thief()
    evaluate_fitted(thief, target, plan, "course", 1)
    rows = {stimulus_id: row for row, stimulus_id in enumerate(target.stimuli["stimulus_id"])}
    hidden = np.delete(marked, [rows[key] for key in plan.splits[0].train], axis=0)
    known = np.delete(marked, [rows[key] for key in hidden_ids(target, plan)], axis=0)
    ((found, _),) = thief.loot
    values = np.concatenate([item.ravel() for item in found])
    assert np.isin(known, values).all()  # the search does find what it was given
    assert not np.isin(hidden, values).any()
    np.testing.assert_array_equal(target.responses, marked)


def hidden_ids(target, plan):
    return sorted(set(target.stimuli["stimulus_id"]) - set(plan.splits[0].train))


def test_noise_in_place_of_test_responses_changes_no_prediction(target):
    plan = SPLITS["course"](target.stimuli, 1)
    before = evaluate_fitted(Mean(), target, plan, "course", 1).held_out.predictions[0]
    rows = {stimulus_id: row for row, stimulus_id in enumerate(target.stimuli["stimulus_id"])}
    hidden = [rows[key] for key in hidden_ids(target, plan)]
    responses = target.responses.copy()
    responses[hidden] = np.random.default_rng(0).normal(size=responses[hidden].shape) * 50
    object.__setattr__(target, "responses", responses)
    target.noise.variances[np.isin(target.noise.stimulus_ids, hidden_ids(target, plan))] = 1e6
    candidate = Thief()
    after = evaluate_fitted(candidate, target, plan, "course", 1).held_out.predictions[0]
    np.testing.assert_array_equal(before, after)
    ((_, reliability),) = candidate.loot
    assert (
        reliability > 0.3
    ).mean() > 0.5  # of the training trials: the spoilt noise of test trials has no say


def test_predictions_of_another_shape_or_with_nan_are_refused(target):
    plan = SPLITS["course"](target.stimuli, 1)

    class Short(Mean):
        def predict(self, stimuli):
            return super().predict(stimuli)[:, :-1]

    class Undefined(Mean):
        def predict(self, stimuli):
            return super().predict(stimuli) * np.nan

    for kind, text in ((Short, "predicted an array of shape"), (Undefined, "with NaN in it")):
        with pytest.raises(InputError, match=text):
            fit_split(kind(), target, plan.splits[0], {})


def test_a_layer_on_a_fitted_benchmark_and_the_other_way_round(planted_file):
    with pytest.raises(InputError, match=r"fitted to responses .* e\.g\. .*#IT-ridge$"):
        load_benchmark(f"{planted_file}#IT-fitted").evaluate_gram([], np.array([]))
    with pytest.raises(InputError, match=r"without the mapping ridge: score it on .*#IT-fitted\.course$"):
        load_benchmark(f"{planted_file}#IT-ridge.course").evaluate_fitted(Mean())
