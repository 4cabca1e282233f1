"""The public API on planted recordings."""

import numpy as np
import pytest
import torch

import itprobe
from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import load_benchmark
from itprobe.data import save_recording
from itprobe.leaderboard import load_result
from itprobe.metrics import gram_matrix, paired_difference


class Recovering(torch.nn.Module):
    """A network whose layer `good` sees the image, and whose layer `poor` sees almost nothing of it."""

    def __init__(self):
        super().__init__()
        self.good = torch.nn.AvgPool2d(8)
        self.poor = torch.nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.poor(self.good(x)).flatten(1)


@pytest.fixture
def visible_file(plant, tmp_path):
    """A recording whose responses are linear in what the images show."""
    from PIL import Image

    from itprobe.data import save_recording

    assembly = plant.assembly(plant.trials(), tmp_path / "stimuli")
    paths = assembly.attrs["stimulus_set"].stimulus_paths
    images = np.array([np.asarray(Image.open(paths[key])) for key in plant.ids]).reshape(len(plant.ids), -1)
    coarse = images[:, :600] / 255.0
    rng = np.random.default_rng(4)
    signal = coarse @ rng.normal(size=(600, 12)) / 5
    trials = signal[:, None] + rng.normal(size=(len(images), 6, 12))
    save_recording(plant.assembly(trials, tmp_path / "stimuli"), tmp_path / "visible.nc")
    return str(tmp_path / "visible.nc")


def test_a_module_object_is_a_candidate(visible_file, tmp_path):
    options = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 96}
    score = itprobe.score(Recovering(), f"{visible_file}#IT-ridge", layer="good", preprocessing=options)
    assert float(score.raw) == score.attrs["result"].scores.pearson_r.median
    assert score.attrs["ci"][0] < float(score) < score.attrs["ci"][1]
    assert len(score.attrs["result"].candidate.weights_sha256) == 64
    with pytest.raises(itprobe.InputError, match="name one layer of: good, poor"):
        itprobe.score(Recovering(), f"{visible_file}#IT-ridge", layer="all", preprocessing=options)


OPTIONS = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 96}


def test_banded_weighs_the_layers_it_is_given(visible_file, tmp_path):
    score = itprobe.score(
        Recovering(),
        f"{visible_file}#IT-banded",
        layer="good,poor",
        preprocessing=OPTIONS,
        results=tmp_path / "out",
    )
    result = load_result(next((tmp_path / "out").glob("[!.]*.json")))
    assert result == score.attrs["result"]
    assert result.mapping.spaces == ["good", "poor"]
    assert result.candidate.n_features == 3 * 12 * 12 + 3
    assert result.candidate.effective_dimensionality is None
    for neuroid in result.per_neuroid:
        assert sum(neuroid.shares.values()) == pytest.approx(1)
    with pytest.raises(itprobe.InputError, match="names 2 layers; ridge takes one"):
        itprobe.score(Recovering(), f"{visible_file}#IT-ridge", layer="good,poor", preprocessing=OPTIONS)


def test_banded_takes_a_single_layer_at_three_resolutions(visible_file):
    (scored,) = score_requests(
        plan_requests([Recovering()], ["good"], preprocessing=OPTIONS), f"{visible_file}#IT-banded"
    )
    assert scored.result.mapping.spaces == ["good", "good~pool4", "good~pool1"]
    assert scored.result.candidate.n_features == 3 * (144 + 16 + 1)


def test_banded_with_one_useless_space_keeps_up_with_ridge_and_beats_it_where_spaces_differ(plant, tmp_path):
    """Half of the neuroids read the first space, half the second; ridge on both has one scale for both."""
    ids, rng = plant.ids, np.random.default_rng(2)
    spaces = [rng.normal(size=(len(ids), 30)), 30 * rng.normal(size=(len(ids), 30))]
    signal = np.hstack([x @ rng.normal(size=(30, 6)) / x.std() / 5 for x in spaces])
    trials = signal[:, None] + rng.normal(size=(len(ids), 6, 12))
    save_recording(plant.assembly(trials, tmp_path / "stimuli"), tmp_path / "two.nc")
    banded = load_benchmark(f"{tmp_path / 'two.nc'}#IT-banded")
    ridge = load_benchmark(f"{tmp_path / 'two.nc'}#IT-ridge")
    both = ridge.evaluate_gram(gram_matrix(np.hstack(spaces)), ids)
    weighed = banded.evaluate_gram([gram_matrix(x) for x in spaces], ids)
    assert paired_difference(weighed.held_out, both.held_out).ci95[0] > 0
    assert weighed.shares.shape == (10, 2, 12)


def test_layers_of_one_candidate_share_a_pass_and_pair(visible_file):
    requests = plan_requests([Recovering()], ["good", "poor", "good"])
    assert [request.layers for request in requests] == [["good", "poor"]]
    good, poor = score_requests(requests, f"{visible_file}#IT-ridge")
    difference = paired_difference(good.held_out, poor.held_out)
    assert difference.ci95[0] > 0
    assert good.path is None


def test_ids_that_differ_in_the_layer_share_a_candidate():
    requests = plan_requests(
        ["efficientnet_lite0@random:_blocks.0", "pixels", "efficientnet_lite0@random:_blocks.2~pool1"]
    )
    assert [(r.candidate.identifier, r.layers) for r in requests] == [
        ("efficientnet_lite0@random", ["_blocks.0", "_blocks.2~pool1"]),
        ("pixels", ["pixels"]),
    ]


def test_a_network_without_a_layer_gets_its_blocks():
    (request,) = plan_requests(["efficientnet_lite0@random"])
    assert request.layers == [f"_blocks.{k}" for k in range(16)]


def test_same_seed_same_score(planted_file):
    one, other = (itprobe.score("object_onehot", f"{planted_file}#IT-ridge", seed=3) for _ in range(2))
    assert one.attrs["result"].scores == other.attrs["result"].scores
    assert one.attrs["result"].split.seed == 3
