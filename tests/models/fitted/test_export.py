"""Exported fits: the same predictions elsewhere, as Brain-Score models too."""

import inspect
import json
import re
import warnings
from importlib.metadata import version

import numpy as np
import pytest
import torch
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from safetensors import safe_open

from itprobe.errors import InputError
from itprobe.files import sha256_file
from itprobe.models.fitted import export_fit, load_exported
from itprobe.models.fitted.brainscore import brain_model
from itprobe.models.fitted.networks import NETWORKS


@pytest.mark.parametrize("kind", NETWORKS)
def test_predictions_are_those_of_the_fit_to_the_last_bit(fitted, given, tmp_path, kind):
    candidate = fitted(kind)
    expected = candidate.predict(given.held_out)
    assert np.ptp(expected, axis=0).min() > 0
    export_fit(candidate, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fit.json", "weights.safetensors"]
    before = torch.get_rng_state()
    loaded = load_exported(tmp_path / "out", "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(loaded.predict(given.held_out), expected)
    assert loaded.predict(given.held_out).dtype == np.float64
    assert loaded.neuroid_ids == ["0", "1", "2"]
    assert loaded.training_stimuli == set(given.train["stimulus_id"])
    assert loaded.description.context == given.context


def test_a_fine_tuned_backbone_brings_its_weights_and_preprocessing(fitted, given, net_code, tmp_path):
    candidate = fitted("finetuned")
    export_fit(candidate, tmp_path / "out")
    with safe_open(tmp_path / "out" / "weights.safetensors", framework="pt") as file:
        tuned = file.get_tensor("network.backbone.module.first.weight")
    assert not torch.equal(tuned, candidate.design.origin.module.first.weight)
    other = tmp_path / "other.py"  # other first weights, another normalisation
    other.write_text(
        net_code.replace("(.4, .4, .4)", "(.1, .1, .1)").replace(
            "super().__init__()", "super().__init__(); torch.rand(9)"
        )
    )
    loaded = load_exported(tmp_path / "out", "cpu", backbone=f"{other}::make")
    np.testing.assert_array_equal(loaded.predict(given.held_out), candidate.predict(given.held_out))


def test_fit_json_says_what_the_fit_was(fitted, given, tmp_path):
    candidate = fitted("readout")
    export_fit(candidate, tmp_path / "out", ["a", "b", "c"])

    def no_nan(text):
        raise AssertionError(f"{text} is no JSON")

    content = json.loads((tmp_path / "out" / "fit.json").read_text(), parse_constant=no_nan)
    assert content["candidate"] == candidate.identifier
    assert content["seed"] == 1
    assert content["layer"] == "second"
    assert content["side"] is None
    assert content["training"]["batch_size"] == 8
    assert content["settings"]["mask"] == "l1"
    assert content["neuroid_ids"] == ["a", "b", "c"]
    assert content["task"] == {"input_shape": [6, 6, 6], "n_neuroids": 3, "n_objects": 3}
    assert content["backbone"]["weights_sha256"] == candidate.weights_sha256
    assert content["backbone"]["preprocessing"]["size"] == [32, 32]
    assert len(content["training_stimuli"]) == len(given.train)
    assert content["versions"]["torch"] == version("torch")


def test_identifiers_tell_recording_split_seed_and_weights(fitted, tmp_path):
    made = [
        fitted("convnet"),
        fitted("convnet", seed=2),
        fitted("convnet", split="kfold, 2 of 10"),
        fitted("convnet", split_seed="7"),
        fitted("convnet", recording="other"),
        fitted("combined"),
    ]
    names = [export_fit(candidate, tmp_path / str(place)).identifier for place, candidate in enumerate(made)]
    assert len({name[-8:] for name in names}) == len(names)
    digest = sha256_file(tmp_path / "0" / "weights.safetensors")
    assert names[0] == f"convnet-path-to-it-course-1-of-1-seed1-{digest[:8]}"
    expected = [
        "convnet-path-to-it-course-1-of-1-seed1-",
        "convnet-path-to-it-course-1-of-1-drawn1-seed2-",
        "convnet-path-to-it-kfold-2-of-10-seed1-",
        "convnet-path-to-it-course-1-of-1-drawn7-seed1-",
        "convnet-other-course-1-of-1-seed1-",
        "combined-net.py-make-second-path-to-it-course-1-of-1-seed1-",
    ]
    assert [name[:-8] for name in names] == expected
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,115}", name) for name in names)


def test_what_was_exported_is_never_overwritten(fitted, tmp_path):
    first = export_fit(fitted("convnet"), tmp_path / "out")
    assert export_fit(fitted("convnet"), tmp_path / "out") == first
    with pytest.raises(InputError, match="holds another fit already"):
        export_fit(fitted("convnet", seed=2), tmp_path / "out")
    assert load_exported(tmp_path / "out", "cpu").identifier == first.identifier
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("not to be lost")
    with pytest.raises(InputError, match="holds no exported fit"):
        export_fit(fitted("convnet"), tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_only_fits_are_exported(fitted, tmp_path):
    with pytest.raises(InputError, match="not fitted yet"):
        export_fit(fitted("convnet").fresh({}), tmp_path / "out")
    with pytest.raises(InputError, match="3 neuroids, but 2 ids"):
        export_fit(fitted("convnet"), tmp_path / "out", ["a", "b"])
    assert not (tmp_path / "out").exists()


def test_a_fit_from_the_cache_is_exported_the_same(fitted, given, tmp_path):
    candidate = fitted("autoencoder")
    again = candidate.fresh(given.context).fit(given.train, given.responses, given.labels)
    assert again.finished is not candidate.finished
    first, second = (export_fit(made, tmp_path / name) for name, made in (("a", candidate), ("b", again)))
    assert first == second


def test_trained_on_counts_what_was_seen(exported, given):
    loaded = load_exported(exported, "cpu")
    assert loaded.trained_on(given.train) == len(given.train)
    assert loaded.trained_on(given.held_out) == 0
    assert loaded.trained_on(["im00", "im08", "im47", "im99"]) == 2


@pytest.fixture
def recording_model():
    """Gives a Brain-Score model of a folder that records IT, in small batches."""

    def make(folder, region="IT"):
        model = brain_model(folder, "cpu")
        model.activations_model._extractor._batch_size = 3
        model.start_recording(region, [(70, 170)])
        return model

    return make


@pytest.mark.parametrize("kind", ["convnet", "autoencoder", "combined", "finetuned"])
def test_a_brain_model_records_the_predictions(fitted, given, tmp_path, recording_model, kind):
    candidate = fitted(kind)
    export_fit(candidate, tmp_path / "out", ["a", "b", "c"])
    model = recording_model(tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        seen = model.look_at(given.held_out, number_of_trials=2)
    assert model.identifier == model.activations_model.identifier
    assert model.identifier == load_exported(tmp_path / "out", "cpu").identifier
    assert model.visual_degrees() == 8
    assert list(seen["stimulus_id"].values) == list(given.held_out["stimulus_id"])
    assert list(seen["neuroid_id"].values) == ["a", "b", "c"]
    assert set(seen["region"].values) == {"IT"}
    expected = candidate.predict(given.held_out)
    np.testing.assert_allclose(np.squeeze(seen.values), expected, rtol=1e-5, atol=1e-6)


def test_a_brain_model_records_the_region_that_it_was_fitted_to(fitted, given, tmp_path, recording_model):
    export_fit(fitted("convnet", region="V4"), tmp_path / "out")
    seen = recording_model(tmp_path / "out", "V4").look_at(given.held_out)
    assert set(seen["region"].values) == {"V4"}
    with pytest.raises(KeyError):  # and asks nobody for a layer for another one
        recording_model(tmp_path / "out", "IT").look_at(given.held_out)


def test_a_brain_model_warns_once_of_stimuli_that_it_was_fitted_to(exported, given, recording_model):
    model, n = recording_model(exported), len(given.train)
    with pytest.warns(UserWarning, match=f"fitted to {n} of the {n} stimuli shown"):
        model.look_at(given.train)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.look_at(given.train)
        recording_model(exported).look_at([str(path) for path in given.held_out.stimulus_paths.values()])


def test_brain_scores_cache_keeps_two_exports_apart(fitted, given, tmp_path, recording_model, monkeypatch):
    storage = inspect.getclosurevars(ActivationsExtractorHelper._from_paths_stored).nonlocals["self"]
    monkeypatch.setattr(storage, "_storage_directory", str(tmp_path / "cache"))
    monkeypatch.setenv("RESULTCACHING_DISABLE", "0")
    for seed in (1, 2, 1):
        candidate = fitted("convnet", seed=seed)
        export_fit(candidate, tmp_path / str(seed))
        seen = recording_model(tmp_path / str(seed)).look_at(given.held_out)
        expected = candidate.predict(given.held_out)
        np.testing.assert_allclose(np.squeeze(seen.values), expected, rtol=1e-5, atol=1e-6)
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 2
