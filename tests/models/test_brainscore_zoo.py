"""Candidates from Brain-Score's zoo, against Brain-Score's own activations models and screen."""

import functools
import os
from collections import OrderedDict
from pathlib import Path

import brainscore_vision
import numpy as np
import pytest
import torch
from brainscore_vision.benchmark_helpers import screen as brainscore_screen
from brainscore_vision.benchmark_helpers.screen import place_on_screen
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from brainscore_vision.model_helpers.activations.pytorch import (
    PytorchWrapper,
    disable_activation_caching,
    load_preprocess_images,
)
from brainscore_vision.model_helpers.brain_transformation import ModelCommitment
from torch import nn

from itprobe.benchmarks.features import gram_keys, layer_grams
from itprobe.data import stimulus_set_sha256
from itprobe.errors import InputError
from itprobe.metrics.store import GramStore
from itprobe.models import NetworkCandidate, load_candidate
from itprobe.models.brainscore_zoo.network import ZooNetwork
from itprobe.models.brainscore_zoo.recorder import ZooRecorder

USUAL = functools.partial(load_preprocess_images, image_size=48)


class Net(nn.Module):
    def __init__(self, seed=0, inplace=False):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 4, 3, stride=4)
            self.act = nn.ReLU(inplace=inplace)
            self.fc = nn.Linear(4, 5)

    def forward(self, images):
        return self.fc(self.act(self.conv(images)).mean((2, 3)))


def wrapped(module=None, preprocessing=USUAL, kind=PytorchWrapper, **options):
    return kind(module or Net(), preprocessing, identifier="net", **options)


def committed(activations_model, regions=None, visual_degrees=8):
    return ModelCommitment(
        "net",
        activations_model,
        layers=["conv", "fc"],
        region_layer_map={"V4": "conv", "IT": "fc"} if regions is None else regions,
        visual_degrees=visual_degrees,
    )


def streamed(candidate, stimuli, layer, **options):
    return np.concatenate([part[layer] for _, part in candidate.stream(stimuli, [layer], **options)])


def recorded(activations_model, stimuli, layer):
    """Features from Brain-Score's own activations model, rows in the order of the stimuli."""
    assembly = activations_model(stimuli, layers=[layer])
    assert list(assembly["stimulus_id"].values) == list(stimuli["stimulus_id"])
    return assembly.transpose("presentation", "neuroid").values


# Features equal Brain-Score's


@pytest.mark.parametrize("layer", ["layer1", "layer4.1.conv2", "avgpool"])
def test_a_network_of_the_zoo_is_streamed_as_brain_score_records_it(make_stimuli, layer):
    stimuli = make_stimuli(5)
    candidate = load_candidate("brainscore/resnet18_random", device="cpu")
    assert isinstance(candidate, ZooNetwork)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = brainscore_vision.load_model("resnet18_random").activations_model
    theirs._extractor._batch_size = 5  # it fills up to whole batches, of 64 by default
    ours = streamed(candidate, stimuli, layer)
    expected = recorded(theirs, stimuli, layer)
    np.testing.assert_allclose(
        ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )  # float32's own measure
    assert candidate.layers("blocks") == load_candidate("torchvision/resnet18@random").layers("blocks")
    again = load_candidate("brainscore/resnet18_random", device="cpu")
    assert again.weights_sha256 == candidate.weights_sha256


@pytest.mark.parametrize("name", ["pixels", pytest.param("gabor_filter_entropy_4x4", marks=pytest.mark.slow)])
def test_a_model_without_torch_is_looked_at(make_stimuli, name):
    stimuli = make_stimuli(5)
    candidate = load_candidate(f"brainscore/{name}")
    assert isinstance(candidate, ZooRecorder)
    (layer,) = candidate.layers()
    theirs = brainscore_vision.load_model(name).activations_model
    theirs._extractor._batch_size = 5
    ours = streamed(candidate, stimuli, layer, batch_size=2)
    np.testing.assert_allclose(ours, recorded(theirs, stimuli, layer), atol=1e-5)
    assert ours.dtype == np.float32
    assert candidate.resolve_layer("IT") == layer


class Firsts(PytorchWrapper):
    """As several of the zoo: hooks of its own."""

    def register_hook(self, layer, layer_name, target_dict):
        def keep(_layer, _inputs, output):
            target_dict[layer_name] = 2 * output.cpu().numpy()

        return layer.register_forward_hook(keep)


@pytest.mark.parametrize(
    "wrap", [wrapped, lambda: wrapped(kind=Firsts), lambda: disable_activation_caching(wrapped())]
)
def test_wrappers_of_their_own_kind_record_by_themselves(make_stimuli, zoo_gives, wrap):
    stimuli = make_stimuli(5)
    model = committed(wrap())
    candidate = zoo_gives(model)
    plain = not isinstance(model.activations_model, Firsts)
    assert isinstance(candidate, ZooNetwork) == plain
    assert isinstance(candidate, NetworkCandidate) == plain
    for layer in ("conv", "fc"):
        expected = recorded(model.activations_model, stimuli, layer)
        np.testing.assert_allclose(streamed(candidate, stimuli, layer), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_networks_of_another_precision_run_in_it(make_stimuli, zoo_gives, dtype):
    stimuli = make_stimuli(3)
    model = committed(wrapped(Net().to(dtype)))
    candidate = zoo_gives(model)
    assert isinstance(candidate, ZooRecorder)
    expected = recorded(model.activations_model, stimuli, "conv")
    assert expected.dtype == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(streamed(candidate, stimuli, "conv"), expected.astype(np.float32))


def test_a_plugin_does_not_change_the_process(zoo_gives):
    states = np.random.get_state()[1].tolist()  # noqa: NPY002

    def load():
        torch.set_default_dtype(torch.float64)
        np.random.random(3)  # noqa: NPY002
        return committed(wrapped(Net().float()))

    assert isinstance(zoo_gives(load), ZooNetwork)
    assert torch.get_default_dtype() == torch.float32
    assert np.random.get_state()[1].tolist() == states  # noqa: NPY002


def test_several_layers_come_from_one_look(make_stimuli, zoo_gives):
    stimuli = make_stimuli(5)
    model = committed(wrapped(kind=Firsts))
    calls = []
    original = model.activations_model.get_activations

    def counted(images, layers):
        calls.append(list(layers))
        return original(images, layers)

    model.activations_model._extractor.get_activations = counted
    candidate = zoo_gives(model)
    ((_, both),) = candidate.stream(stimuli, ["fc", "conv"])
    assert calls == [["fc", "conv"]]
    for layer in ("conv", "fc"):
        np.testing.assert_allclose(both[layer], recorded(model.activations_model, stimuli, layer), atol=1e-5)


def test_a_layer_before_an_in_place_operation_is_its_own_output(make_stimuli, zoo_gives):
    """Brain-Score keeps no copy on a CPU, and gives what the next module made of it."""
    stimuli = make_stimuli(4)
    in_place = committed(wrapped(Net(inplace=True)))
    ours = streamed(zoo_gives(in_place), stimuli, "conv")
    np.testing.assert_allclose(ours, recorded(wrapped(Net()), stimuli, "conv"), atol=1e-5)
    if not torch.cuda.is_available():
        theirs = recorded(in_place.activations_model, stimuli, "conv")
        np.testing.assert_allclose(theirs, np.maximum(ours, 0), atol=1e-5)


def by_hand(paths, image_size):
    """A preprocessing of a plugin's own: a mirror image, not normalised."""
    images = load_preprocess_images(
        paths, image_size=image_size, normalize_mean=(0, 0, 0), normalize_std=(1, 1, 1)
    )
    return images[..., ::-1].copy()


@pytest.mark.parametrize(
    "preprocessing",
    [
        functools.partial(
            load_preprocess_images, image_size=40, normalize_mean=(0.5,) * 3, normalize_std=(0.25,) * 3
        ),
        functools.partial(load_preprocess_images, image_size=48, preprocess_type="inception"),
        functools.partial(by_hand, image_size=32),
        lambda paths: list(torch.from_numpy(by_hand(paths, 24))),
    ],
)
def test_preprocessing_is_the_wrappers(make_stimuli, zoo_gives, preprocessing):
    for suffix in (".png", ".jpg"):
        stimuli = make_stimuli(4, side=70, suffix=suffix)
        model = committed(wrapped(preprocessing=preprocessing))
        ours = streamed(zoo_gives(model), stimuli, "conv")
        np.testing.assert_allclose(ours, recorded(model.activations_model, stimuli, "conv"), atol=1e-5)


# Regions


def test_a_region_is_the_layer_that_the_model_commits(zoo_gives):
    candidate = zoo_gives(committed(wrapped()))
    assert candidate.resolve_layer("IT") == "fc"
    assert candidate.resolve_layer("V4") == "conv"
    assert candidate.resolve_layer("V4~pool1") == "conv~pool1"
    assert candidate.resolve_layer("conv") == "conv"
    with pytest.raises(InputError, match="commits no layer to V1: Brain-Score would choose"):
        candidate.resolve_layer("V1")
    with pytest.raises(InputError, match="unknown layer"):
        candidate.resolve_layer("cnv")


def test_no_layer_is_chosen_on_a_downloaded_recording(monkeypatch):
    monkeypatch.setattr(
        brainscore_vision, "load_benchmark", lambda name: pytest.fail("a recording was loaded")
    )
    candidate = load_candidate("brainscore/resnet18_random", device="cpu")
    with pytest.raises(InputError, match="commits no layer to IT"):
        candidate.resolve_layer("IT")


def test_a_commitment_that_records_in_its_own_way_is_looked_at(make_stimuli, zoo_gives):
    """As the zoo's recurrent networks do, whose regions are other layers in every time bin."""

    class Doubled(ModelCommitment):
        def look_at(self, stimuli, number_of_trials=1):
            return 2 * super().look_at(stimuli, number_of_trials)

    stimuli, regions = make_stimuli(4), {"V4": "conv", "IT": "fc"}
    model = Doubled("net", wrapped(), layers=["conv", "fc"], region_layer_map=regions)
    candidate = zoo_gives(model)
    assert isinstance(candidate, ZooRecorder)
    assert candidate.layers() == ["IT"]
    assert candidate.resolve_layer("IT") == "IT"
    single = streamed(zoo_gives(committed(wrapped())), stimuli, "fc")
    np.testing.assert_allclose(streamed(candidate, stimuli, "IT"), 2 * single, atol=1e-5)


# The screen


@pytest.mark.parametrize("degrees", [6, 8, 11])
@pytest.mark.parametrize("kind", [PytorchWrapper, Firsts])
def test_images_are_placed_as_brain_score_places_them(
    make_stimuli, zoo_gives, monkeypatch, tmp_path, degrees, kind
):
    monkeypatch.setattr(brainscore_screen, "root_path", tmp_path / "screen")
    stimuli = make_stimuli(5, side=61)
    model = committed(wrapped(kind=kind), visual_degrees=degrees)
    candidate = zoo_gives(model)
    stimuli.attrs["visual_degrees"] = 8.0
    on_screen = place_on_screen(stimuli, target_visual_degrees=degrees, source_visual_degrees=8)
    expected = recorded(model.activations_model, on_screen, "conv")
    np.testing.assert_allclose(streamed(candidate, stimuli, "conv"), expected, atol=1e-5)
    whole = recorded(model.activations_model, stimuli, "conv")
    assert (np.abs(whole - expected).max() > 0.01) == (degrees != 8)


def test_grams_on_another_screen_are_not_taken_from_the_store(make_stimuli, zoo_gives, tmp_path):
    stimuli = make_stimuli(6)
    candidate = zoo_gives(committed(wrapped()))
    store, digest = GramStore(tmp_path), stimulus_set_sha256(stimuli)

    def gram(degrees):
        stimuli.attrs["visual_degrees"] = degrees
        ((_, found, _),) = layer_grams(candidate, stimuli, digest, ["conv"], store)
        return found.values

    first, other = gram(8.0), gram(16.0)
    assert np.abs(first - other).max() > 0.01
    assert len(list(Path(tmp_path).rglob("*.nc"))) == 2
    np.testing.assert_array_equal(first, gram(8.0))
    assert len(list(Path(tmp_path).rglob("*.nc"))) == 2


def test_keys_of_the_store_tell_weights_and_preprocessing(make_stimuli, zoo_gives):
    keys = {
        gram_keys(zoo_gives(committed(wrapped(Net(seed), preprocessing))), "stimuli", ["conv"])["conv"].digest
        for seed in (0, 1)
        for preprocessing in (
            USUAL,
            functools.partial(by_hand, image_size=32),
            functools.partial(by_hand, image_size=48),
        )
    }
    assert len(keys) == 6
    assert not gram_keys(zoo_gives(committed(wrapped(kind=Firsts))), "stimuli", ["conv"])


# Caches


def test_brain_scores_caches_neither_answer_nor_grow(make_stimuli, zoo_gives, monkeypatch, tmp_path):
    monkeypatch.setenv("RESULTCACHING_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RESULTCACHING_DISABLE", raising=False)
    stimuli = make_stimuli(4)
    features, digests = [], set()
    for seed in (0, 1):  # the same names, other weights
        candidate = zoo_gives(committed(wrapped(Net(seed), kind=Firsts)))
        features.append(streamed(candidate, stimuli, "conv"))
        digests.add(candidate.weights_sha256)
    assert len(digests) == 2
    assert np.abs(features[0] - features[1]).max() > 0.01
    assert not list((tmp_path / "cache").rglob("*.pkl"))
    assert "RESULTCACHING_DISABLE" not in os.environ


# What goes wrong


class Broken(Net):
    def forward(self, images):
        if len(images) != 2:  # the dry run has two
            raise ValueError("broken")
        return super().forward(images)


@pytest.mark.parametrize("kind", [PytorchWrapper, Firsts])
def test_a_forward_pass_that_fails(make_stimuli, zoo_gives, kind):
    candidate = zoo_gives(committed(wrapped(Broken(), kind=kind)))
    with pytest.raises(InputError, match=r"brainscore/pixels: .* raised ValueError: broken"):
        streamed(candidate, make_stimuli(3), "conv")


def test_a_bare_activations_model(make_stimuli, zoo_gives):
    stimuli = make_stimuli(3)
    candidate = zoo_gives(wrapped())
    np.testing.assert_allclose(
        streamed(candidate, stimuli, "fc"), recorded(wrapped(), stimuli, "fc"), atol=1e-5
    )
    with pytest.raises(InputError, match="commits no layer to IT"):
        candidate.resolve_layer("IT")

    class Bare:
        def __init__(self):
            self._extractor = ActivationsExtractorHelper(lambda paths, layers: OrderedDict(), None, "bare")

    with pytest.raises(InputError, match="names no layers"):
        zoo_gives(Bare())
