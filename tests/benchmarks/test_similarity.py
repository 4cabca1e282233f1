"""RSA and CKA as benchmarks and as Brain-Score metrics, on planted recordings."""

import json

import numpy as np
import pytest
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import load_benchmark, parse_benchmark
from itprobe.benchmarks.evaluation import compare
from itprobe.errors import InputError
from itprobe.leaderboard import draw_ranking, load_result, ranking_table
from itprobe.metrics import WHOLE_SET_MAPPINGS, gram_matrix


@pytest.fixture
def assembly():
    """Make assemblies of values (stimulus, neuroid)."""

    def assembly(values, ids):
        return NeuroidAssembly(
            values,
            coords={
                "stimulus_id": ("presentation", ids),
                "object_name": ("presentation", ids),
                "neuroid_id": ("neuroid", np.arange(values.shape[1])),
                "region": ("neuroid", ["IT"] * values.shape[1]),
            },
            dims=["presentation", "neuroid"],
        )

    return assembly


def averages(plant):
    return plant.trials().mean(axis=1)


def test_rsa_equals_scipy(plant, planted_file):
    order = np.random.default_rng(0).permutation(len(plant.ids))
    features = plant.features()
    benchmark = load_benchmark(f"{planted_file}#IT-rsa")
    ours = benchmark.evaluate_gram(gram_matrix(features[order]), plant.ids[order])
    expected = spearmanr(pdist(features, "correlation"), pdist(averages(plant), "correlation"))[0]
    assert ours.summary["similarity"]["value"] == pytest.approx(expected, abs=1e-6)
    low, high = ours.summary["primary"]["ci95"]
    assert low < expected < high


@pytest.mark.parametrize(("theirs_name", "unbiased"), [("cka", True), ("cka_biased", False)])
def test_cka_equals_brainscores(plant, planted, assembly, theirs_name, unbiased):
    from brainscore_vision import load_metric

    from itprobe.benchmarks import prepare_target
    from itprobe.metrics import CkaMapping

    target = prepare_target(planted, "IT")
    ours = compare(gram_matrix(plant.features()), plant.ids, target, CkaMapping(unbiased), 0)

    stimuli = target.stimuli["stimulus_id"].to_numpy()
    theirs = load_metric(theirs_name)(
        assembly(plant.features()[np.searchsorted(plant.ids, stimuli)], stimuli),
        assembly(target.responses, stimuli),
    )
    assert ours.similarity.value == pytest.approx(float(theirs), abs=1e-8)
    expected = {"value": ours.similarity.value, "ci95": ours.similarity.ci95}
    assert ours.summary["similarity"] == expected


@pytest.mark.parametrize("name", WHOLE_SET_MAPPINGS)
def test_permuted_ids_score_nothing(plant, planted_file, name):
    benchmark = load_benchmark(f"{planted_file}#IT-{name}")
    own = gram_matrix(averages(plant))
    straight = benchmark.evaluate_gram(own, plant.ids).similarity
    assert straight.value == pytest.approx(1, abs=1e-3)
    permuted = plant.ids[np.random.default_rng(1).permutation(len(plant.ids))]
    assert abs(benchmark.evaluate_gram(own, permuted).similarity.value) < 0.1


@pytest.mark.parametrize("name", WHOLE_SET_MAPPINGS)
def test_result_file_table_and_picture(planted_file, tmp_path, name):
    requests = plan_requests(["pixels", "object_onehot"])
    scored = list(score_requests(requests, f"{planted_file}#IT-{name}", results=tmp_path / "out"))
    result = load_result(scored[0].path)
    assert result == scored[0].result
    content = json.loads(scored[0].path.read_text())
    assert content["scores"]["pearson_r"] is content["per_neuroid"] is content["predictions"] is None
    assert content["split"]["n_splits"] == 0
    assert scored[0].held_out is None
    assert float(scored[0].score) == content["scores"]["similarity"]["value"]
    assert f"{name.upper()} over all stimuli" in ranking_table([item.result for item in scored])
    assert draw_ranking([item.result for item in scored], tmp_path / "ranking.png").exists()


def test_a_split_makes_no_sense(planted_file):
    with pytest.raises(InputError, match=r"leave out \.course"):
        parse_benchmark(f"{planted_file}#IT-rsa.course")


@pytest.mark.parametrize("name", ["rsa", "cka"])
def test_native_metric_joins_by_id(plant, assembly, name):
    from itprobe.metrics.brainscore_metric import WholeSetSimilarity

    metric = WholeSetSimilarity(WHOLE_SET_MAPPINGS[name]())
    target = assembly(averages(plant), plant.ids)
    source = assembly(plant.features()[::-1], plant.ids[::-1])
    straight = assembly(plant.features(), plant.ids)
    assert float(metric(source, target)) == pytest.approx(float(metric(straight, target)), abs=1e-9)
    with pytest.raises(InputError, match="have no features"):
        metric(source.isel(presentation=slice(3, None)), target)
