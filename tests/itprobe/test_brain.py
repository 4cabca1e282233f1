"""Candidates as Brain-Score models in Brain-Score's own benchmarks, on recordings of the same schema as theirs."""

import importlib

import brainscore_vision
import numpy as np
import pandas as pd
import pytest
from brainscore_core.plugin_management.conda_score import CondaScore
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from brainscore_vision.benchmark_helpers import screen
from PIL import Image
from torch import nn

import itprobe
from itprobe.errors import InputError
from itprobe.models import load_candidate

CANDIDATE = "timm/test_resnet@random-2"
LAYER = "layer3~pool1"
N_STIMULI, N_NEUROIDS, REPETITIONS = 60, 3, 3


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    made = StimulusSet(
        pd.DataFrame(
            {
                "stimulus_id": [f"s{k:03d}" for k in range(N_STIMULI)],
                "object_name": [f"object{k % 4}" for k in range(N_STIMULI)],
                "texture_type": ["noise", "texture"] * (N_STIMULI // 2),
            }
        )
    )
    made.stimulus_paths = {}
    for key in made["stimulus_id"]:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{key}.png")
        made.stimulus_paths[key] = folder / f"{key}.png"
    made.identifier = "planted-images"
    return made


@pytest.fixture(scope="module")
def features(stimuli):
    """The layer's features as itprobe streams them (stimuli, features)."""
    candidate = load_candidate(CANDIDATE, device="cpu")
    return np.concatenate([part[LAYER] for _, part in candidate.stream(stimuli, [LAYER])])


def recording(stimuli, features, region):
    """A recording as Brain-Score stores it: neuroid x presentation x time bin, a readout of the features."""
    rng = np.random.default_rng(1)
    centred = (features - features.mean(0)) / features.std()
    signal = centred @ rng.normal(size=(features.shape[1], N_NEUROIDS))
    signal /= signal.std(0)
    rows = np.tile(np.arange(N_STIMULI), REPETITIONS)
    values = signal[rows].T[:, :, None] + rng.normal(size=(N_NEUROIDS, len(rows), 1)) * 0.3
    assembly = NeuroidAssembly(
        values,
        coords={
            "neuroid_id": ("neuroid", [f"n{j}" for j in range(N_NEUROIDS)]),
            "region": ("neuroid", [region] * N_NEUROIDS),
            "animal": ("neuroid", np.resize(["a", "b"], N_NEUROIDS)),
            "arr": ("neuroid", np.resize(["A", "M", "P"], N_NEUROIDS)),
            **{name: ("presentation", stimuli[name].to_numpy()[rows]) for name in stimuli.columns},
            "repetition": ("presentation", np.repeat(np.arange(REPETITIONS), N_STIMULI)),
            "time_bin_start": ("time_bin", [70]),
            "time_bin_end": ("time_bin", [170]),
        },
        dims=["neuroid", "presentation", "time_bin"],
        name=f"planted-{region}",
    )
    assembly.attrs["stimulus_set"] = stimuli
    assembly.attrs["stimulus_set_identifier"] = stimuli.identifier
    return assembly


@pytest.fixture
def planted(monkeypatch, stimuli, features, tmp_path):
    """Put planted recordings in place of those that Brain-Score would download."""
    importlib.import_module("brainscore_vision.data.majajhong2015")
    monkeypatch.setattr(screen, "root_path", tmp_path / "screen")
    monkeypatch.setenv("RESULTCACHING_DISABLE", "1")

    def plant(region):
        made = recording(stimuli, features, region)
        monkeypatch.setitem(brainscore_vision.data_registry, "MajajHong2015.public", lambda: made)
        return made

    return plant


def test_brain_score_scores_a_candidate_as_its_metric_scores_our_activations(
    planted, stimuli, features, monkeypatch
):
    planted("IT")
    model = itprobe.brain_model(CANDIDATE, layer=LAYER)
    assert model.identifier == "timm_test_resnet@random-2"
    monkeypatch.setattr(brainscore_vision, "load_model", lambda _: model)
    monkeypatch.setattr(CondaScore, "save_score", lambda *_: None)  # it would write beside the library
    score = brainscore_vision.score(model.identifier, "MajajHong2015public.IT-pls")
    ours = NeuroidAssembly(
        features,
        coords={
            **{name: ("presentation", stimuli[name].to_numpy()) for name in stimuli.columns},
            "neuroid_id": ("neuroid", np.arange(features.shape[1])),
            "neuroid_num": ("neuroid", np.arange(features.shape[1])),
        },
        dims=["presentation", "neuroid"],
    )
    benchmark = brainscore_vision.load_benchmark("MajajHong2015public.IT-pls")
    expected = float(benchmark._similarity_metric(ours, benchmark._assembly))
    assert expected > 0.5
    assert float(score.raw) == pytest.approx(expected, abs=1e-6)
    assert 0.5 < float(score) <= 1.05
    assert LAYER in score.attrs["comment"]


def test_a_field_of_view_of_another_size_goes_through_brain_scores_screen(planted, stimuli):
    planted("V4")
    model = itprobe.brain_model(f"{CANDIDATE}:{LAYER}", visual_degrees=4, identifier="resnet-4")
    benchmark = brainscore_vision.load_benchmark("MajajHong2015public.V4-pls")
    seen = []
    look_at = model.look_at
    model.look_at = lambda shown, **options: seen.append(shown) or look_at(shown, **options)
    assert np.isfinite(float(benchmark(model)))
    assert "target4.00--source8.00" in seen[0].identifier


def test_a_model_of_brain_scores_zoo_stays_what_it_is():
    model = itprobe.brain_model("brainscore/pixels")
    assert model.identifier == brainscore_vision.load_model("pixels").identifier
    with pytest.raises(InputError, match="layers of its own"):
        itprobe.brain_model("brainscore/pixels", layer="pixels")


def test_what_cannot_be_a_brain_score_model():
    with pytest.raises(InputError, match="name the layer"):
        itprobe.brain_model("efficientnet_lite0@random")
    with pytest.raises(InputError, match="names a layer already"):
        itprobe.brain_model("efficientnet_lite0@random:_fc", layer="_fc")
    with pytest.raises(InputError, match="looks at no image"):
        itprobe.brain_model("latents")
    with pytest.raises(InputError, match="unknown layer"):
        itprobe.brain_model("efficientnet_lite0@random", layer={"IT": "layer4"})
    with pytest.raises(InputError, match="no '/'"):
        itprobe.brain_model("pixels", identifier="a/b")


def test_a_module_is_taken_as_it_is(stimuli, monkeypatch):
    monkeypatch.setenv("RESULTCACHING_DISABLE", "1")
    module = nn.Sequential(nn.Conv2d(3, 2, 7, stride=16), nn.ReLU(inplace=True))
    model = itprobe.brain_model(module, layer={"IT": "0"}, preprocessing={"size": 32})
    model.start_recording("IT", [(70, 170)])
    seen = model.look_at(stimuli[:3])
    ((_, ours),) = load_candidate(module, "cpu", {"size": 32}).stream(stimuli[:3], ["0"], batch_size=3)
    assert (seen.values < 0).any()  # before the ReLU that works in place
    np.testing.assert_allclose(seen.values, ours["0"], atol=1e-5)
