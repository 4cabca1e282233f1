"""Layers that give every image the same activations: no score, said so, and the others go on."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import load_benchmark, prepare_target
from itprobe.benchmarks.evaluation import compare, evaluate
from itprobe.benchmarks.score import brainscore_score
from itprobe.errors import InputError
from itprobe.leaderboard import draw_ranking, load_held_out, load_result, ranked, ranking_table
from itprobe.leaderboard.result import Scores
from itprobe.metrics import MAPPINGS, SPLITS, WHOLE_SET_MAPPINGS, gram_matrix
from itprobe.metrics.variance import is_constant


class HalfDead(torch.nn.Module):
    """A layer `dead` whose input does not reach its output, and a layer `live`."""

    def __init__(self):
        super().__init__()
        self.live = torch.nn.AvgPool2d(16)
        self.dead = torch.nn.Conv2d(3, 5, 1)
        torch.nn.init.zeros_(self.dead.weight)

    def forward(self, x):
        return self.live(x).flatten(1).sum() + self.dead(x).sum()


CONSTANT = {
    "zeros": np.zeros((120, 7), np.float32),
    "ones": np.ones((120, 7)),
    "one number per feature": np.tile(np.float32(np.random.default_rng(0).normal(3, 2, 400)), (120, 1)),
    "rounding of batches": np.float32(
        np.random.default_rng(0).normal(3, 2, 400)
        * (1 + 5e-8 * np.random.default_rng(1).normal(size=(120, 400)))
    ),
}


@pytest.mark.parametrize("features", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize("name", sorted(MAPPINGS))
def test_every_fitted_mapping_scores_nan(plant, planted, features, name):
    target = prepare_target(planted, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    gram = gram_matrix(features)
    evaluation = evaluate(gram, plant.ids, target, MAPPINGS[name](), plan, 1, "layer7")
    assert np.isnan(evaluation.pearson_r).all()
    assert np.isnan(evaluation.explained_variance).all()
    assert evaluation.effective_dimensionality is None
    assert evaluation.choices == [None] * 10
    (warning,) = (warning for warning in evaluation.warnings if "variance" in warning)
    assert warning.startswith("layer7: no variance")
    summary = evaluation.summary
    assert summary["primary"] == {"name": "ceiled", "value": None, "ci95": None}
    assert summary["pearson_r"]["median"] is summary["explained_variance"]["ci95"] is None
    assert summary["noise_corrected"]["feve"]["median"] is None
    assert summary["reliability"]["median"] > 0.5
    Scores.model_validate(summary)
    score = brainscore_score(evaluation)
    assert np.isnan(float(score))
    assert np.isnan(float(score.raw))
    assert np.isnan(score.attrs["ci"]).all()
    assert np.isnan(score.attrs["error"])


def test_one_space_of_several_without_variance_is_named_and_changes_nothing(plant, planted):
    target = prepare_target(planted, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    alone = gram_matrix(plant.features())
    both = [alone, gram_matrix(CONSTANT["ones"])]
    one, other = (
        evaluate(grams, plant.ids, target, MAPPINGS["banded"](), plan, 1, "layer7")
        for grams in ([alone], both)
    )
    np.testing.assert_allclose(other.pearson_r, one.pearson_r, atol=0.02)
    assert any(
        warning.startswith("layer7: no variance in 1 of its 2 feature spaces") for warning in other.warnings
    )
    assert other.n_features == 307
    assert other.effective_dimensionality is None


@pytest.mark.parametrize("features", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize("name", WHOLE_SET_MAPPINGS)
def test_every_similarity_is_nan(plant, planted, features, name):
    target = prepare_target(planted, "IT")
    evaluation = compare(gram_matrix(features), plant.ids, target, WHOLE_SET_MAPPINGS[name](), 1, "layer7")
    assert np.isnan(evaluation.similarity.value)
    assert evaluation.summary["primary"] == {"name": "similarity", "value": None, "ci95": None}
    assert evaluation.warnings[0].startswith("layer7: no variance")
    assert evaluation.effective_dimensionality is None
    Scores.model_validate(evaluation.summary)
    assert np.isnan(float(brainscore_score(evaluation)))


def test_a_single_feature_has_no_correlation_distances_and_it_is_said(plant, planted):
    target = prepare_target(planted, "IT")
    gram = gram_matrix(plant.features()[:, :1])
    evaluation = compare(gram, plant.ids, target, WHOLE_SET_MAPPINGS["rsa"](), 1, "layer7")
    assert evaluation.summary["similarity"]["value"] is None
    assert evaluation.warnings[0].startswith("layer7: rsa is not defined")


@pytest.mark.parametrize("name", WHOLE_SET_MAPPINGS)
def test_responses_without_variance_stay_an_error(plant, name):
    with pytest.raises(InputError, match="responses do not differ"):
        WHOLE_SET_MAPPINGS[name]().compare(gram_matrix(plant.features()), np.ones((120, 4)), 1)


def test_features_of_other_stimuli_are_still_refused(plant, planted):
    target = prepare_target(planted, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    with pytest.raises(InputError, match="3 have no features"):
        evaluate(gram_matrix(np.ones((117, 4))), plant.ids[3:], target, MAPPINGS["ridge"](), plan, 1)


@pytest.mark.parametrize("name", ["ridge", "cka"])
def test_the_other_layers_of_a_run_go_on(planted_file, tmp_path, name):
    requests = plan_requests([HalfDead()], ["dead", "live"])
    scored = list(score_requests(requests, f"{planted_file}#IT-{name}", results=tmp_path / "out"))
    dead, live = (item.result for item in scored)
    assert load_result(scored[0].path) == dead
    content = json.loads(scored[0].path.read_text())
    assert content["scores"]["primary"]["value"] is None
    assert any("no variance" in warning for warning in content["warnings"])
    assert not any("no variance" in warning for warning in live.warnings)
    assert live.scores.primary.value is not None
    if name == "ridge":
        assert {neuroid["pearson_r"] for neuroid in content["per_neuroid"]} == {None}
        assert all(np.isnan(part).all() for part in load_held_out(dead, tmp_path / "out").predictions)

    assert [result.candidate.layer for result in ranked([dead, live])] == ["live", "dead"]
    text = ranking_table([dead, live])
    (row,) = (line for line in text.splitlines() if ":dead" in line and "Note" not in line)
    scores = {"ridge": 5, "cka": 2}[name]
    assert row.split() == ["-", dead.candidate.id, "frozen", *["-"] * scores, "250,880"]
    assert f"Note on {dead.candidate.id}" in text
    assert "nan" not in text
    for results in ([dead, live], [dead]):
        assert draw_ranking(results, tmp_path / "ranking.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_draws_nothing_for_it(planted_file, tmp_path):
    """As many bars and numbers as layers with a score; the name of the other stands there alone."""
    requests = plan_requests([HalfDead()], ["dead", "live"])
    dead, live = (item.result for item in score_requests(requests, f"{planted_file}#IT-ridge"))
    both, one = (
        draw_ranking(results, tmp_path / f"{len(results)}.svg").read_text()
        for results in ([dead, live], [live])
    )
    number = f"<!-- {live.scores.pearson_r.median:.3f} -->"
    assert both.count(number) == one.count(number) == 1
    assert both.count(f"<!-- {dead.candidate.id} -->") == 1
    assert both.count("<!-- nan -->") == 0


def test_a_constant_layer_has_no_score_without_a_ceiling_either(plant, tmp_path):
    averaged = plant.assembly(plant.trials().mean(axis=1, keepdims=True), tmp_path / "stimuli", averaged=True)
    target = prepare_target(averaged, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    summary = evaluate(
        gram_matrix(np.ones((120, 4))), plant.ids, target, MAPPINGS["ridge"](), plan, 1
    ).summary
    assert summary["primary"] == {"name": "pearson_r", "value": None, "ci95": None}


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(1e-12, 1e12),
    spread=st.floats(1e-5, 1e3),
    offset=st.floats(-1, 1),
    p=st.sampled_from([3, 50, 300]),
)
def test_small_variance_is_variance(scale, spread, offset, p):
    """Of images whose features differ by a hundred-thousandth, at any scale, something can be learned."""
    features = scale * (offset + spread * np.random.default_rng(0).normal(size=(40, p)))
    assert not is_constant(gram_matrix(features.astype(np.float32)))
    assert is_constant(gram_matrix(np.repeat(features[:1], 40, axis=0).astype(np.float32)))


def test_effective_dimensionality_is_in_every_evaluation(plant, planted, planted_file):
    features = plant.features()
    s = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    expected = s.sum() ** 2 / (s**2).sum()
    for name in ("ridge", "cka"):
        benchmark = load_benchmark(f"{planted_file}#IT-{name}")
        evaluation = benchmark.evaluate_gram(gram_matrix(features), plant.ids)
        assert evaluation.effective_dimensionality == pytest.approx(expected, rel=1e-6)
