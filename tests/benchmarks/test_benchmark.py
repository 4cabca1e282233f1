"""Scores on planted recordings, against scikit-learn's and Brain-Score's own pipeline."""

from dataclasses import replace

import numpy as np
import pytest
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV

from itprobe.benchmarks import load_benchmark, prepare_target
from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.summary import summarise
from itprobe.errors import InputError
from itprobe.metrics import SPLITS, RidgeMapping, gram_matrix, pearson_r
from itprobe.metrics.brainscore_metric import CrossValidatedPredictivity


def evaluation_of(assembly, features, ids, mapping=None, split="brainscore", seed=1):
    target = prepare_target(assembly, "IT")
    plan = SPLITS[split](target.stimuli, seed)
    return evaluate(gram_matrix(features), ids, target, mapping or RidgeMapping(), plan, seed)


def median_r(evaluation):
    return evaluation.summary["pearson_r"]["median"]


def test_rows_are_joined_by_id_and_permuted_ids_score_nothing(plant, planted):
    features = plant.features()
    straight = median_r(evaluation_of(planted, features, plant.ids))
    order = np.random.default_rng(0).permutation(len(features))
    joined = median_r(evaluation_of(planted, features[order], plant.ids[order]))
    assert joined == pytest.approx(straight, abs=1e-9)
    assert straight > 0.3
    assert abs(median_r(evaluation_of(planted, features, plant.ids[order]))) < 0.15


def test_rows_of_the_recording_do_not_matter(plant, planted):
    order = np.random.default_rng(0).permutation(planted.sizes["presentation"])
    shuffled = planted.isel(presentation=order)
    shuffled.attrs = planted.attrs
    one, other = (evaluation_of(a, plant.features(), plant.ids) for a in (planted, shuffled))
    np.testing.assert_allclose(one.pearson_r, other.pearson_r, atol=1e-6)
    assert one.summary["ceiled"]["value"] == pytest.approx(other.summary["ceiled"]["value"], abs=1e-6)


def test_equals_sklearn_on_the_same_splits(plant, planted):
    features = plant.features()
    alphas = np.logspace(-1, 5, 13)
    ours = evaluation_of(planted, features, plant.ids, RidgeMapping(tuple(alphas)))
    target = prepare_target(planted, "IT")
    row = {key: i for i, key in enumerate(plant.ids)}
    responses = dict(zip(target.stimuli["stimulus_id"], target.responses, strict=True))
    for k, split in enumerate(SPLITS["brainscore"](target.stimuli, 1).splits):
        x_train, x_test = (features[[row[key] for key in ids]] for ids in (split.train, split.test))
        y_train, y_test = (np.array([responses[key] for key in ids]) for ids in (split.train, split.test))
        prediction = RidgeCV(alphas, alpha_per_target=True).fit(x_train, y_train).predict(x_test)
        expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(y_test.T, prediction.T, strict=True)]
        np.testing.assert_allclose(ours.pearson_r[k], expected, atol=1e-6)


def test_equals_brainscores_own_ridge_metric(plant, planted):
    from brainscore_vision import load_metric

    target = prepare_target(planted, "IT")
    row = {key: i for i, key in enumerate(plant.ids)}
    order = [row[key] for key in target.stimuli["stimulus_id"]]
    presentation = {
        name: ("presentation", target.stimuli[name].to_numpy()) for name in ("stimulus_id", "object_name")
    }
    source = NeuroidAssembly(
        plant.features()[order],
        coords={
            **presentation,
            "neuroid_id": ("neuroid", np.arange(300)),
            "layer": ("neuroid", ["x"] * 300),
        },
        dims=["presentation", "neuroid"],
    )
    neuroid = {name: ("neuroid", target.neuroids[name].to_numpy()) for name in ("neuroid_id", "region")}
    recorded = NeuroidAssembly(
        target.responses, coords={**presentation, **neuroid}, dims=["presentation", "neuroid"]
    )
    theirs = load_metric("ridge", crossvalidation_kwargs={"stratification_coord": "object_name"})(
        source, recorded
    )
    ours = CrossValidatedPredictivity(RidgeMapping((1.0,)))(source, recorded)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)
    np.testing.assert_allclose(ours.raw.values, theirs.raw.transpose("split", "neuroid").values, atol=1e-6)
    through_benchmark = evaluation_of(planted, plant.features(), plant.ids, RidgeMapping((1.0,)))
    assert median_r(through_benchmark) == pytest.approx(float(theirs), abs=1e-6)


def test_a_permuted_source_is_refused_or_joined_by_the_metric(plant, planted):
    target = prepare_target(planted, "IT")
    coords = {"stimulus_id": ("presentation", target.stimuli["stimulus_id"].to_numpy())}
    recorded = NeuroidAssembly(
        target.responses,
        coords={
            **coords,
            "object_name": ("presentation", target.stimuli["object_name"].to_numpy()),
            "neuroid_id": ("neuroid", np.arange(12)),
            "region": ("neuroid", ["IT"] * 12),
        },
        dims=["presentation", "neuroid"],
    )
    score = CrossValidatedPredictivity()(recorded.isel(presentation=slice(None, None, -1)), recorded)
    assert float(score) > 0.95
    with pytest.raises(InputError, match="5 have no features"):
        CrossValidatedPredictivity()(recorded.isel(presentation=slice(5, None)), recorded)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_unit_of_the_responses_does_not_matter(plant, tmp_path, scale, shift):
    plain = evaluation_of(
        plant.assembly(plant.trials(), tmp_path / "stimuli"), plant.features(), plant.ids
    ).summary
    other = evaluation_of(
        plant.assembly(plant.trials() * scale + shift * scale, tmp_path / "stimuli"),
        plant.features(),
        plant.ids,
    ).summary
    for section, key in (("pearson_r", "median"), ("explained_variance", "median"), ("ceiled", "value")):
        assert other[section][key] == pytest.approx(plain[section][key], abs=1e-4)


def test_duplicate_stimuli_do_not_break_the_join(plant, tmp_path):
    """Two ids with the same image and features: a tie in the features, not an error."""
    features = plant.features()
    features[1] = features[0]
    assembly = plant.assembly(plant.trials(), tmp_path / "stimuli")
    assert median_r(evaluation_of(assembly, features, plant.ids)) > 0.3


def test_ceiling_and_intervals_enclose_the_planted_truth(plant, tmp_path):
    assembly = plant.assembly(plant.trials(noise=0.8), tmp_path / "stimuli")
    summary = evaluation_of(assembly, plant.features()[:, :20], plant.ids).summary
    signal = plant.trials(noise=0.0).mean(axis=1)
    planted_rho = np.median(signal.var(axis=0) / (signal.var(axis=0) + 0.8**2 / 6))
    low, high = summary["reliability"]["ci95"]
    assert low < planted_rho < high
    assert summary["ceiled"]["formula"] == "r |r| / median reliability, r = median r"
    r = summary["pearson_r"]
    assert r["ci95"][0] < r["median"] < r["ci95"][1]
    assert summary["ceiled"]["value"] == pytest.approx(r["median"] ** 2 / summary["reliability"]["median"])
    assert set(r["by_animal"]) == {"a", "b"}
    assert set(r["by_array"]) == {"A", "M", "P"}


def test_unusable_neuroids_are_kept_out_and_reported(plant, tmp_path):
    trials = plant.trials()
    trials[7, :, 2] = np.nan
    trials[:, :, 5] = 3.0
    target = prepare_target(plant.assembly(trials, tmp_path / "stimuli"), "IT")
    assert len(target.neuroids) == 10
    assert any("without a response: n02" in warning for warning in target.warnings)
    assert any("the same to every stimulus: n05" in warning for warning in target.warnings)
    trials[:] = 3.0
    with pytest.raises(InputError, match="12 respond the same"):
        prepare_target(plant.assembly(trials, tmp_path / "stimuli"), "IT")


def test_without_repetitions_there_is_no_ceiling_and_it_is_said(plant, tmp_path):
    for assembly, reason in (
        (plant.assembly(plant.trials()[:, :1], tmp_path / "stimuli"), "0 stimuli were shown more than once"),
        (
            plant.assembly(plant.trials().mean(axis=1, keepdims=True), tmp_path / "stimuli", averaged=True),
            "already averaged",
        ),
    ):
        evaluation = evaluation_of(assembly, plant.features(), plant.ids)
        assert evaluation.summary["ceiled"] is None
        assert evaluation.summary["primary"]["name"] == "pearson_r"
        assert any(reason in warning for warning in evaluation.target.warnings)


def test_two_repeated_stimuli_are_too_few_for_a_ceiling_but_not_for_a_score(plant, tmp_path):
    trials = plant.trials()
    trials[2:, 1:] = np.nan
    evaluation = evaluation_of(plant.assembly(trials, tmp_path / "stimuli"), plant.features(), plant.ids)
    assert evaluation.summary["reliability"] is None
    assert any("2 stimuli were shown more than once" in warning for warning in evaluation.target.warnings)


def test_predictions_against_the_responses_rank_below_those_along_them(plant, planted):
    """The share of the ceiling keeps the sign of r."""
    target = prepare_target(planted, "IT")
    held_out = evaluation_of(planted, plant.features(), plant.ids).held_out
    turned = replace(held_out, predictions=[-prediction for prediction in held_out.predictions])
    r = np.array([pearson_r(y, z) for y, z in zip(turned.responses, turned.predictions, strict=True)])
    summary = summarise(turned, r, np.zeros_like(r), target, 1)
    assert summary["ceiled"]["value"] < summary["ceiled"]["ci95"][1] < 0


def test_noise_without_reliability_has_no_share_of_the_ceiling(plant, tmp_path):
    noise = np.random.default_rng(0).normal(size=(120, 2, 12))
    noise[:, 1] = -noise[:, 0] + 0.1 * noise[:, 1]
    evaluation = evaluation_of(plant.assembly(noise, tmp_path / "stimuli"), plant.features(), plant.ids)
    assert evaluation.summary["reliability"]["median"] < 0
    assert evaluation.summary["ceiled"] is None
    assert evaluation.summary["primary"]["name"] == "pearson_r"


def test_a_sparse_neuroid_is_left_out_where_it_is_constant_and_said(plant, tmp_path):
    trials = plant.trials()
    trials[:, :, 3] = 0
    trials[5, :, 3] = 1  # answers a single stimulus: constant in most test parts
    assembly = plant.assembly(trials, tmp_path / "stimuli")
    evaluation = evaluation_of(assembly, plant.features(), plant.ids)
    assert np.isnan(evaluation.pearson_r[:, 3]).sum() >= 5
    assert any("without r there: responses for 1 neuroid" in warning for warning in evaluation.warnings)
    assert np.isfinite(evaluation.summary["pearson_r"]["median"])
    lonely = plant.assembly(trials[:, :, 3:4], tmp_path / "stimuli")
    summary = evaluation_of(lonely, plant.features(), plant.ids).summary["pearson_r"]
    assert None in summary["per_split"]


def test_neuroids_that_are_constant_in_every_half_have_no_ceiling(plant, tmp_path):
    trials = np.zeros((120, 2, 3))
    trials[4, 0] = 1  # one spike: whichever half it is not in is constant
    target = prepare_target(plant.assembly(trials, tmp_path / "stimuli"), "IT")
    assert target.reliability is None
    assert any("constant in a half" in warning for warning in target.warnings)


def test_tiny_units_have_the_same_intervals(plant, tmp_path):
    one, other = (
        evaluation_of(
            plant.assembly(plant.trials() * unit, tmp_path / "stimuli"), plant.features(), plant.ids
        ).summary["pearson_r"]
        for unit in (1.0, 1e-12)
    )
    np.testing.assert_allclose(one["ci95"], other["ci95"], atol=1e-4)


def test_one_lambda_for_all_neuroids(plant, planted_file):
    benchmark = load_benchmark(f"{planted_file}#IT-ridge", RidgeMapping(per_neuroid=False))
    evaluation = benchmark.evaluate_gram(gram_matrix(plant.features()), plant.ids)
    assert (evaluation.lambdas == evaluation.lambdas[:, :1]).all()
    with pytest.raises(InputError, match="not ridge"):
        load_benchmark(f"{planted_file}#IT-pls", RidgeMapping())


def test_missing_stimuli_on_either_side_are_counted(plant, planted):
    features = plant.features()
    with pytest.raises(InputError, match=r"3 have no features \(im000, im001, im002\)"):
        evaluation_of(planted, features[3:], plant.ids[3:])
    more = np.append(plant.ids, ["other"])
    with pytest.raises(InputError, match=r"1 have no responses \(other\)"):
        evaluation_of(planted, np.vstack([features, features[:1]]), more)


def test_unknown_region(planted_file):
    with pytest.raises(InputError, match="V4"):
        _ = load_benchmark(f"{planted_file}#V4-ridge").target


def test_brainscore_interface(plant, planted_file):
    """A BrainModel is asked to record and look, and gets the score that the Gram path gives."""
    benchmark = load_benchmark(f"{planted_file}#IT-ridge")

    class Model:
        def visual_degrees(self):
            return 8

        def start_recording(self, region, time_bins):
            self.asked = (region, time_bins)

        def look_at(self, stimuli, number_of_trials):
            assert number_of_trials == 6
            rows = np.searchsorted(plant.ids, stimuli["stimulus_id"].to_numpy().astype(str))
            return NeuroidAssembly(
                plant.features()[rows][:, :, None],
                coords={
                    "stimulus_id": ("presentation", stimuli["stimulus_id"].to_numpy()),
                    "object_name": ("presentation", stimuli["object_name"].to_numpy()),
                    "neuroid_id": ("neuroid", np.arange(300)),
                    "layer": ("neuroid", ["x"] * 300),
                    "time_bin_start": ("time_bin", [70]),
                    "time_bin_end": ("time_bin", [170]),
                },
                dims=["presentation", "neuroid", "time_bin"],
            )

    model = Model()
    score = benchmark(model)
    assert model.asked == ("IT", [(70, 170)])
    evaluation = benchmark.evaluate_gram(gram_matrix(plant.features()), plant.ids)
    assert float(score) == pytest.approx(evaluation.summary["ceiled"]["value"])
    assert float(score.raw) == pytest.approx(median_r(evaluation))
    assert score.raw.raw.dims == ("split", "neuroid")
    assert float(benchmark.ceiling) == pytest.approx(evaluation.summary["reliability"]["median"])
    assert benchmark.parent == "IT"
    assert benchmark.bibtex == "planted truth"
