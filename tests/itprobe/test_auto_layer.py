"""The layer ``auto``: chosen in each split on inner folds, against the same done by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold

import itprobe
from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import load_benchmark
from itprobe.benchmarks.selection import INNER_FOLDS
from itprobe.leaderboard import load_held_out, load_result, ranking_table
from itprobe.metrics import RidgeMapping
from itprobe.metrics.inner_folds import FOLD_SEED
from itprobe.sweeping import Settings, carry_out

OPTIONS = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 24}
ALPHA = 0.01


class Pools(torch.nn.Module):
    """Means over sixteenths, quarters and the whole image, and a layer that is always 0."""

    def __init__(self):
        super().__init__()
        self.fine = torch.nn.AvgPool2d(6)
        self.quarters = torch.nn.AvgPool2d(2)
        self.whole = torch.nn.AvgPool2d(2)
        self.dead = torch.nn.Threshold(1e6, 0.0)

    def forward(self, x):
        return self.dead(self.whole(self.quarters(self.fine(x)))).flatten(1)


LAYERS = ["fine", "quarters", "whole", "dead"]


def requests(*layers):
    return plan_requests([Pools()], layers, preprocessing=OPTIONS, auto=True)


def test_auto_equals_the_choice_made_by_hand(visible_file, tmp_path):
    benchmark = f"{visible_file}#IT-ridge"
    mapping = RidgeMapping(lambdas=(ALPHA,))
    asked = requests("auto")
    (scored,) = score_requests(asked, benchmark, mapping=mapping, results=tmp_path / "out")
    bench = load_benchmark(benchmark)
    target, plan = bench.target, bench.plan()
    rows, y = pd.Index(target.stimuli["stimulus_id"]), target.responses
    order = rows.get_indexer(target.stimulus_set["stimulus_id"])
    batches = [features for _, features in asked[0].candidate.stream(target.stimulus_set, LAYERS)]
    x = {
        layer: np.concatenate([batch[layer] for batch in batches])[np.argsort(order)] for layer in LAYERS[:3]
    }

    def r_of(features, train, test):
        predicted = Ridge(alpha=ALPHA).fit(features[train], y[train]).predict(features[test])
        return np.array([np.corrcoef(y[test, j], predicted[:, j])[0, 1] for j in range(y.shape[1])])

    chosen, outer = [], []
    for split in plan.splits:
        train, test = rows.get_indexer(split.train), rows.get_indexer(split.test)
        folds = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=FOLD_SEED)
        parts = list(folds.split(train, target.strata[train]))
        inner = {
            layer: np.mean([np.median(r_of(one, train[own], train[held])) for own, held in parts])
            for layer, one in x.items()
        }
        chosen.append(max(inner, key=inner.get))
        outer.append(r_of(x[chosen[-1]], train, test))
    result = scored.result
    assert result.candidate.choice.chosen == chosen
    assert result.candidate.choice.among == LAYERS
    assert result.candidate.id.endswith(":auto") and result.candidate.layer == "auto"
    assert result.scores.pearson_r.median == pytest.approx(np.median(outer, axis=1).mean(), abs=1e-6)
    np.testing.assert_allclose(
        [neuroid.pearson_r for neuroid in result.per_neuroid], np.mean(outer, axis=0), atol=1e-6
    )
    usual = max(LAYERS, key=chosen.count)
    assert result.candidate.n_features == x[usual].shape[1]
    # What stands in the files is the same, and the table says what was chosen.
    assert load_result(scored.path) == result
    held_out = load_held_out(result, tmp_path / "out")
    np.testing.assert_allclose(held_out.predictions[0], scored.held_out.predictions[0], rtol=1e-6)
    assert f"layer chosen on {INNER_FOLDS} inner folds in 10 splits: {usual} (" in ranking_table([result])


@pytest.mark.parametrize("mapping", ["ridge", "banded", "pls"])
def test_auto_beside_its_layers_takes_one_of_them_in_each_split(visible_file, mapping):
    *layers, auto = score_requests(requests("blocks", "auto"), f"{visible_file}#IT-{mapping}")
    assert [one.result.candidate.layer for one in layers] == LAYERS
    by_layer = {one.result.candidate.layer: one for one in layers}
    choice = auto.result.candidate.choice
    assert "dead" not in choice.chosen
    for k, layer in enumerate(choice.chosen):
        np.testing.assert_array_equal(auto.held_out.predictions[k], by_layer[layer].held_out.predictions[k])
    medians = {layer: one.result.scores.pearson_r.median for layer, one in by_layer.items()}
    medians = {layer: -1 if value is None else value for layer, value in medians.items()}
    assert choice.naive_layer == max(medians, key=medians.get)
    assert choice.naive == pytest.approx(medians[choice.naive_layer])
    assert choice.bias == pytest.approx(choice.naive - auto.result.scores.pearson_r.median)


def test_score_takes_auto(visible_file):
    score = itprobe.score(Pools(), f"{visible_file}#IT-ridge", layer="auto", preprocessing=OPTIONS)
    assert score.attrs["result"].candidate.layer == "auto"
    content = json.loads(score.attrs["result"].model_dump_json())
    assert set(content["candidate"]["choice"]["chosen"]) <= set(LAYERS)


def test_where_there_is_nothing_to_choose_auto_is_refused(visible_file):
    for model, benchmark, message in (
        ("pixels:auto", "ridge", "single layer"),
        ("object_onehot", "ridge", "single layer"),
        (Pools(), "rsa", "without splits to choose a layer in"),
        (Pools(), "cka", "without splits to choose a layer in"),
    ):
        layer = None if model == "pixels:auto" else "auto"
        with pytest.raises(itprobe.InputError, match=message) as raised:
            itprobe.score(model, f"{visible_file}#IT-{benchmark}", layer=layer, preprocessing=OPTIONS)
        assert "\n" not in str(raised.value)
    with pytest.raises(itprobe.InputError, match="only scores take auto"):
        carry_out([Pools()], visible_file, Settings(layers=["auto"], preprocessing=OPTIONS))
