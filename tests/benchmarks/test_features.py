"""Gram matrices of layers: one pass, none where the store knows them, never a stale one."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from itprobe.benchmarks import features
from itprobe.benchmarks.features import Extraction, gram_keys, layer_grams
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.metrics.store import GramStore
from itprobe.models import NetworkCandidate, activations, load_candidate
from itprobe.models.scratch import Scratch

LAYERS = ["_blocks.0~pool1", "_blocks.3~pool1"]


@pytest.fixture
def stimuli(planted):
    subset = planted.attrs["stimulus_set"].iloc[:12]
    subset.stimulus_paths = planted.attrs["stimulus_set"].stimulus_paths
    subset.identifier = "some"
    return subset


def grams(candidate, stimuli, store, layers=LAYERS, extraction=None):
    digest = stimulus_set_sha256(stimuli)
    made = layer_grams(candidate, stimuli, digest, layers, store, extraction or Extraction())
    return {layer: gram for layer, gram, _ in made}


def test_a_second_run_needs_no_forward_pass_and_gives_the_same(stimuli, tmp_path, monkeypatch):
    store = GramStore(tmp_path / "grams")
    candidate = load_candidate("efficientnet_lite0@random")
    first = grams(candidate, stimuli, store, LAYERS[:1])
    passes = []
    stream = NetworkCandidate.stream_tensors

    def counted(self, stimulus_set, layers, *args, **named):
        passes.append(list(layers))
        return stream(self, stimulus_set, layers, *args, **named)

    monkeypatch.setattr(NetworkCandidate, "stream_tensors", counted)
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


DEEP = ["_blocks.0", "_blocks.3", "_blocks.12", "_fc"]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("ITPROBE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def force(monkeypatch, way):
    """Budget with which the large layers go that way; nothing of it depends on measured times."""
    monkeypatch.setattr(Scratch, "bandwidth", lambda self: 1e15)
    if way == "recompute":
        monkeypatch.setattr(Scratch, "free", lambda self: 0)
    if way == "device":
        monkeypatch.setattr(activations, "free_on_device", lambda device: 10**10)
    # block 0 has 112 x 112 x 16 features of 4 bytes: five images are held
    return {"memory": None, "device": None, "disk": 0, "recompute": 5 * 802_816}[way]


@pytest.mark.parametrize("way", ["memory", "disk", "recompute", "device"])
def test_every_path_gives_the_products_of_the_features(stimuli, scratch, monkeypatch, way):
    candidate = load_candidate("efficientnet_lite0", device="cpu")
    reference = {layer: [] for layer in DEEP}
    for _, batch in candidate.stream(stimuli, DEEP):
        for layer, values in batch.items():
            reference[layer].append(values.astype(np.float64))
    budget = force(monkeypatch, way)
    places = {}
    recording = features.record_activations

    @contextmanager
    def watched(*args, **options):
        with recording(*args, **options) as kept:
            places.update(kept.places, **dict.fromkeys(kept.recomputed, "recompute"))
            yield kept

    monkeypatch.setattr(features, "record_activations", watched)
    made = grams(candidate, stimuli, None, DEEP, Extraction(budget))
    assert way in places.values()
    assert way == "recompute" or set(places.values()) == {way}
    assert not scratch.exists() or not list(scratch.iterdir())
    for layer in DEEP:
        x = np.concatenate(reference[layer])
        centred = x - x.mean(axis=0)
        for got, expected in ((made[layer].values, centred @ centred.T), (made[layer].raw(), x @ x.T)):
            np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
        np.testing.assert_allclose(made[layer].feature_sums, x.sum(axis=1), rtol=1e-4, atol=1e-2)
        assert made[layer].n_features == x.shape[1]


@pytest.mark.parametrize("way", ["memory", "disk", "device"])
def test_float16_hardly_changes_products(stimuli, scratch, monkeypatch, way):
    candidate = load_candidate("efficientnet_lite0", device="cpu")
    full = grams(candidate, stimuli, None, DEEP)
    half = grams(candidate, stimuli, None, DEEP, Extraction(force(monkeypatch, way), "float16"))
    for layer in DEEP:
        difference = np.abs(full[layer].values - half[layer].values).max()
        assert 0 < difference < 1e-4 * np.abs(full[layer].values).max()


def test_precision_and_type_are_part_of_the_key(stimuli, tmp_path):
    keys = set()
    for precision in ("full", "bf16"):
        for dtype in ("float32", "float16"):
            candidate = load_candidate("efficientnet_lite0@random", device="cpu", precision=precision)
            (key,) = gram_keys(candidate, "stimuli", LAYERS[:1], Extraction(dtype=dtype)).values()
            assert (key.precision, key.dtype) == (precision, dtype)
            keys.add(key.digest)
    (key,) = gram_keys(candidate, "stimuli", LAYERS[:1], Extraction(10, "float16")).values()
    assert key.digest in keys  # a budget changes no number
    assert len(keys) == 4


def test_options_that_there_are_not():
    with pytest.raises(InputError, match="'float8'; did you mean"):
        Extraction(dtype="float8")
    with pytest.raises(InputError, match="number of bytes, not -1"):
        Extraction(-1)


def test_finished_layers_survive_an_interrupt(stimuli, tmp_path, scratch, monkeypatch):
    store = GramStore(tmp_path / "grams")
    candidate = load_candidate("efficientnet_lite0@random", device="cpu")
    made = []
    original = features.gram_from_chunks

    def interrupted(chunks, shape):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(shape)
        return original(chunks, shape)

    monkeypatch.setattr(features, "gram_from_chunks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grams(candidate, stimuli, store, DEEP, Extraction(0))
    assert len(store.sizes()) == 2
    assert not list(scratch.iterdir())
    monkeypatch.setattr(features, "gram_from_chunks", original)
    known = [layer for layer in DEEP if store.load(gram_keys(candidate, "", [layer])[layer])]
    assert not known  # of other stimuli
    digest = stimulus_set_sha256(stimuli)
    assert [layer for layer, key in gram_keys(candidate, digest, DEEP).items() if store.load(key)] == DEEP[:2]


def test_work_on_a_layer_that_fails_costs_no_other(stimuli, tmp_path, scratch):
    store = GramStore(tmp_path / "grams")
    candidate = load_candidate("efficientnet_lite0@random", device="cpu")
    handed_out = layer_grams(candidate, stimuli, stimulus_set_sha256(stimuli), LAYERS, store)
    assert next(handed_out)[0] == LAYERS[0]
    handed_out.close()
    assert len(store.sizes()) == 2


@pytest.mark.parametrize("budget", [None, 0])
def test_a_store_that_is_cleared_meanwhile_costs_a_pass_and_no_layer(stimuli, tmp_path, scratch, budget):
    store = GramStore(tmp_path / "grams")
    candidate = load_candidate("efficientnet_lite0@random", device="cpu")
    digest = stimulus_set_sha256(stimuli)
    handed_out = layer_grams(candidate, stimuli, digest, LAYERS, store, Extraction(budget))
    got = [next(handed_out)[0]]
    store.clear()
    assert got + [layer for layer, _, _ in handed_out] == LAYERS


PEAK = """
import sys
import numpy as np, pandas as pd, torch
from pathlib import Path
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from PIL import Image
from itprobe.benchmarks.features import Extraction, layer_grams
from itprobe.models import load_candidate
from itprobe.models.scratch import Scratch

folder, n, budget, way = Path(sys.argv[1]), 150, int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
Scratch.bandwidth = lambda self: 1e15
if way == "recompute":
    Scratch.free = lambda self: 0
rng = np.random.default_rng(0)
paths = {f"s{i}": folder / f"s{i}.png" for i in range(n)}
for path in paths.values():
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
stimuli = StimulusSet(pd.DataFrame({"stimulus_id": list(paths)}))
stimuli.stimulus_paths, stimuli.identifier = paths, "noise"
candidate = load_candidate(torch.nn.Sequential(torch.nn.Conv2d(3, 64, 7, 2, 3)), device="cpu")
list(candidate.stream(stimuli.iloc[:24], ["0"]))

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
before = resident("VmRSS:")
((_, gram, _),) = layer_grams(candidate, stimuli, "", ["0"], None, Extraction(budget))
assert gram.n_features == 802816
print(resident("VmHWM:") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of resident memory"
)
@pytest.mark.slow
@pytest.mark.parametrize("way", ["disk", "recompute"])
def test_memory_stays_within_the_budget(tmp_path, scratch, way):
    budget = 100_000_000
    # All features are 482 MB. Beside the budget: 15 batches of four images (12.8 MB each) for the network,
    # its outputs and their copies, and three chunks of 12,000 features of 150 stimuli (7.2 MB each).
    overhead = 15 * 4 * 802_816 * 4 + 3 * 150 * 12_000 * 4
    command = [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path), str(budget), way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < budget + overhead
