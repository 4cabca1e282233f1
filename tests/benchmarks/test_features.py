"""Gram matrices of layers: one pass, none where the store knows them, never a stale one."""

import numpy as np
import pytest
import torch

from itprobe.benchmarks.features import layer_grams
from itprobe.data import stimulus_set_sha256
from itprobe.metrics.store import GramStore
from itprobe.models import NetworkCandidate, load_candidate

LAYERS = ["_blocks.0~pool1", "_blocks.3~pool1"]


@pytest.fixture
def stimuli(planted):
    subset = planted.attrs["stimulus_set"].iloc[:12]
    subset.stimulus_paths = planted.attrs["stimulus_set"].stimulus_paths
    subset.identifier = "some"
    return subset


def grams(candidate, stimuli, store, layers=LAYERS):
    digest = stimulus_set_sha256(stimuli)
    return {layer: gram for layer, gram, _ in layer_grams(candidate, stimuli, digest, layers, store)}


def test_a_second_run_needs_no_forward_pass_and_gives_the_same(stimuli, tmp_path, monkeypatch):
    store = GramStore(tmp_path / "grams")
    candidate = load_candidate("efficientnet_lite0@random")
    first = grams(candidate, stimuli, store, LAYERS[:1])
    passes = []
    stream = NetworkCandidate.stream

    def counted(self, stimulus_set, layers, *args):
        passes.append(list(layers))
        return stream(self, stimulus_set, layers, *args)

    monkeypatch.setattr(NetworkCandidate, "stream", counted)
    again = grams(candidate, stimuli, store)
    assert passes == [LAYERS[1:]]
    np.testing.assert_array_equal(first[LAYERS[0]].values, again[LAYERS[0]].values)
    assert grams(candidate, stimuli, store).keys() == set(LAYERS)
    assert len(passes) == 1
    grams(candidate, stimuli, None)
    assert passes[1:] == [LAYERS]


def test_other_weights_and_other_images_are_other_features(stimuli, tmp_path):
    store = GramStore(tmp_path / "grams")
    grams(load_candidate("efficientnet_lite0@random"), stimuli, store, LAYERS[:1])
    grams(load_candidate("efficientnet_lite0@random-1"), stimuli, store, LAYERS[:1])
    fewer = stimuli.iloc[:10]
    fewer.stimulus_paths, fewer.identifier = stimuli.stimulus_paths, "some"
    grams(load_candidate("efficientnet_lite0@random"), fewer, store, LAYERS[:1])
    assert len(store.sizes()) == 3


def test_a_cache_that_cannot_be_written_costs_no_score(stimuli, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.warns(UserWarning, match="ITPROBE_HOME"):
        assert grams(load_candidate("pixels"), stimuli, GramStore(blocked / "grams"), ["pixels"])


def test_what_a_user_may_change_unseen_is_not_stored(stimuli, tmp_path):
    store = GramStore(tmp_path / "grams")
    net = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten())
    assert grams(load_candidate(net), stimuli, store, ["1"])
    assert grams(load_candidate("object_onehot"), stimuli, store, ["object_onehot"])
    assert store.sizes() == []
