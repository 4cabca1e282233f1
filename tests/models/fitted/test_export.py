"""Exported fits: the same predictions elsewhere, as Brain-Score models too, and nothing that is not what it was."""

import inspect
import json
import pickle
import re
import warnings
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from itprobe.errors import InputError
from itprobe.files import sha256_file
from itprobe.models.fitted import export_fit, load_exported, load_fitted
from itprobe.models.fitted.brainscore import brain_model
from itprobe.models.fitted.export_format import Description

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.norm = torch.nn.BatchNorm2d(6)
        self.second = torch.nn.Conv2d(6, 6, 3)
    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x)))).mean((2, 3))
def make():
    return Net(), {"mean": (.4, .4, .4), "std": (.3, .3, .3), "size": 32}
"""
N, HELD_OUT, Q = 48, 8, 3
CONTEXT = {
    "recording": "some/path to:it",
    "recording_sha256": "ab" * 32,
    "region": "IT",
    "split": "course, 1 of 1",
    "split_seed": "1",
}
TINY = {"epochs": "2", "batch_size": "8"}
IMAGES = {**TINY, "side": "16", "widths": "4,4", "hidden": "8"}
KINDS = {
    "convnet": ("convnet", IMAGES),
    "dual_task": ("dual_task", {**IMAGES, "head_widths": "4"}),
    "autoencoder": ("autoencoder", IMAGES),
    "combined": ("combined+{net}:second", {**TINY, "widths": "4", "hidden": "8"}),
    "readout": ("readout+{net}@random-2:second", TINY),
    "finetuned": ("finetuned+{net}:second", TINY),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Stimuli to fit to, others, and responses: the mean over the image's left half, per colour."""
    folder = tmp_path_factory.mktemp("shown")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)
    ids = [f"im{i:02d}" for i in range(N)]
    for stimulus_id, image in zip(ids, coarse, strict=True):
        Image.fromarray(image).resize((40, 40)).save(folder / f"{stimulus_id}.png")

    def part(rows):
        chosen = [ids[row] for row in rows]
        made = StimulusSet(pd.DataFrame({"stimulus_id": chosen}))
        made.stimulus_paths = {key: folder / f"{key}.png" for key in chosen}
        made.identifier = f"noise-{rows.start}"
        return made

    responses = coarse[:, :, :2].mean((1, 2)) / 25
    train = range(HELD_OUT, N)
    return SimpleNamespace(
        train=part(train),
        held_out=part(range(HELD_OUT)),
        responses=responses[HELD_OUT:],
        labels=np.resize(["dog", "car", "boat"], N)[HELD_OUT:],
    )


@pytest.fixture(scope="module")
def fitted(shown, tmp_path_factory):
    """Gives a fitted candidate of a kind; each is trained once."""
    folder = tmp_path_factory.mktemp("fitted")
    (folder / "net.py").write_text(NET)
    made = {}

    def give(kind, seed=1, **context):
        key = (kind, seed, *context.items())
        if key not in made:
            name, options = KINDS[kind]
            text = name.format(net=f"{folder / 'net.py'}::make")
            fresh = load_fitted(text, "cpu", seed, options).fresh({**CONTEXT, **context})
            made[key] = fresh.fit(shown.train, shown.responses, shown.labels)
        return made[key]

    return give


@pytest.fixture
def convnet(fitted, tmp_path):
    """Folder of an exported convnet."""
    export_fit(fitted("convnet"), tmp_path / "out", ["a", "b", "c"])
    return tmp_path / "out"


def rewritten(folder, change=None, tensors=None):
    """Change what an export says or holds, and make all digests fit again, as a forger would."""
    content = json.loads((folder / "fit.json").read_text())
    (change or (lambda _: None))(content)
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (tensors or (lambda _: None))(held)
    save_file(held, folder / "weights.safetensors", {"fit": Description.model_validate(content).digest})
    content["weights_sha256"] = sha256_file(folder / "weights.safetensors")
    (folder / "fit.json").write_text(json.dumps(content))


def refused(folder, **options):
    with pytest.raises(InputError) as raised:
        load_exported(folder, "cpu", **options)
    message = str(raised.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_fit_to_the_last_bit(fitted, shown, tmp_path, kind):
    candidate = fitted(kind)
    expected = candidate.predict(shown.held_out)
    assert np.ptp(expected, axis=0).min() > 0
    export_fit(candidate, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fit.json", "weights.safetensors"]
    before = torch.get_rng_state()
    loaded = load_exported(tmp_path / "out", "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(loaded.predict(shown.held_out), expected)
    assert loaded.predict(shown.held_out).dtype == np.float64
    assert loaded.neuroid_ids == ["0", "1", "2"]
    assert loaded.training_stimuli == set(shown.train["stimulus_id"])
    assert loaded.description.context == CONTEXT


def test_a_fine_tuned_backbone_brings_its_weights_and_preprocessing(fitted, shown, tmp_path):
    candidate = fitted("finetuned")
    export_fit(candidate, tmp_path / "out")
    with safe_open(tmp_path / "out" / "weights.safetensors", framework="pt") as file:
        tuned = file.get_tensor("network.backbone.module.first.weight")
    assert not torch.equal(tuned, candidate.design.origin.module.first.weight)
    other = tmp_path / "other.py"  # other first weights, another normalisation
    other.write_text(
        NET.replace("(.4, .4, .4)", "(.1, .1, .1)").replace(
            "super().__init__()", "super().__init__(); torch.rand(9)"
        )
    )
    loaded = load_exported(tmp_path / "out", "cpu", backbone=f"{other}::make")
    np.testing.assert_array_equal(loaded.predict(shown.held_out), candidate.predict(shown.held_out))


def test_fit_json_says_what_the_fit_was(fitted, tmp_path):
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
    assert len(content["training_stimuli"]) == N - HELD_OUT
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


def test_a_fit_from_the_cache_is_exported_the_same(fitted, shown, tmp_path):
    candidate = fitted("autoencoder")
    again = candidate.fresh(CONTEXT).fit(shown.train, shown.responses, shown.labels)
    assert again.finished is not candidate.finished
    first, second = (export_fit(made, tmp_path / name) for name, made in (("a", candidate), ("b", again)))
    assert first == second


def test_an_altered_byte_of_the_weights_is_refused(convnet):
    path = convnet / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "damaged or was altered" in refused(convnet)
    path.unlink()
    assert "has no weights.safetensors" in refused(convnet)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_a_pickle_in_place_of_the_weights_is_not_run(convnet):
    content = json.loads((convnet / "fit.json").read_text())
    path = convnet / "weights.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    content["weights_sha256"] = sha256_file(path)
    (convnet / "fit.json").write_text(json.dumps(content))
    assert "no safetensors file" in refused(convnet)
    torch.save({"network": Trap()}, path)
    content["weights_sha256"] = sha256_file(path)
    (convnet / "fit.json").write_text(json.dumps(content))
    assert "no safetensors file" in refused(convnet)


@pytest.mark.parametrize(
    ("name", "value"),
    [("training_stimuli", []), ("seed", 5), ("context", {**CONTEXT, "split": "kfold, 1 of 10"})],
)
def test_an_altered_description_is_refused(convnet, name, value):
    content = json.loads((convnet / "fit.json").read_text())
    (convnet / "fit.json").write_text(json.dumps({**content, name: value}))
    assert "was altered" in refused(convnet)


def _set(name, value):
    return lambda content: content.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("format", 2), "has format 2, this itprobe reads format 1"),
        (lambda content: content.pop("format"), "has format None"),
        (lambda content: content.pop("task"), "task: Field required"),
        (_set("seed", "first"), "seed: Input should be a valid integer"),
        (_set("extra", 1), "extra: Extra inputs are not permitted"),
        (_set("task", {"input_shape": [3, 16, 16], "n_neuroids": "q", "n_objects": 0}), "task.n_neuroids"),
    ],
)
def test_a_description_of_another_form_is_refused(convnet, change, expected):
    content = json.loads((convnet / "fit.json").read_text())
    change(content)
    (convnet / "fit.json").write_text(json.dumps(content))
    assert expected in refused(convnet)


@pytest.mark.parametrize("text", ["{", "[1]", "", "\udcff", "[" * 100_000])
def test_what_is_no_description_is_refused(convnet, text):
    (convnet / "fit.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(convnet)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["settings"].update(hiden=8), "unknown setting of convnet in"),
        (lambda c: c["settings"].update(hidden=-1), "hidden must be whole numbers above 0"),
        (lambda c: c["settings"].update(hidden="many"), "settings: hidden"),
        (lambda c: c["settings"].update(widths=[4, 8]), "size mismatch"),
        (lambda c: c["settings"].update(widths=[4]), "Unexpected key"),
        (_set("candidate", "resnet"), "unknown fitted candidate"),
        (_set("candidate", "combined+efficientnet_lite0@random:_blocks.1"), "settings: hidden"),
        (_set("task", {"input_shape": [], "n_neuroids": 3, "n_objects": 3}), "cannot be made into a network"),
        (_set("side", None), "needs its backbone and layer, or the side of its images"),
        (_set("task", {"input_shape": [3, 16, 16], "n_neuroids": 4, "n_objects": 3}), "size mismatch"),
        (
            _set("task", {"input_shape": [3, 10**6, 10**6], "n_neuroids": 3, "n_objects": 3}),
            "cannot be made into a network (RuntimeError",
        ),
        (_set("neuroid_ids", ["a"]), "1 neuroid ids for 3 neuroids"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(convnet, change, expected):
    rewritten(convnet, change)
    message = refused(convnet)
    assert expected in message
    if "unknown setting" in message:
        assert "did you mean hidden?" in message
        assert "another version of itprobe" in message


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (lambda held: held.pop("mean"), "KeyError: 'mean'"),
        (lambda held: held.pop("check"), "KeyError: 'check'"),
        (lambda held: held.pop("network.input_mean"), "Missing key(s)"),
        (lambda held: held.update(mean=torch.zeros(4)), "mean has shape (4,), (3,) is needed"),
        (lambda held: held.update(deviation=torch.ones(3, 1)), "deviation has shape (3, 1)"),
        (lambda held: held.update({"network.extra": torch.ones(3)}), "Unexpected key"),
        (lambda held: held.update({"network.head.1.weight": torch.ones(3)}), "export the fit anew"),
        (lambda held: held["network.stages.0.0.weight"].mul_(2.0), "gives other outputs here"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(convnet, tensors, expected):
    rewritten(convnet, tensors=tensors)
    assert expected in refused(convnet)


def test_another_backbone_is_refused_with_both_digests(fitted, tmp_path):
    candidate = fitted("combined")
    export_fit(candidate, tmp_path / "out")
    other = tmp_path / "other.py"
    other.write_text(NET)
    same = load_exported(tmp_path / "out", "cpu", backbone=f"{other}::make")  # moved, but the same
    assert same.identifier == load_exported(tmp_path / "out", "cpu").identifier
    message = refused(tmp_path / "out", backbone=f"{other}::make@random-5")
    assert "other weights" in message
    assert str(candidate.weights_sha256)[:16] in message
    assert len(re.findall(r"[0-9a-f]{16}\.\.\.", message)) == 2
    assert "is no network" in refused(tmp_path / "out", backbone="pixels")
    assert "cannot be had" in refused(tmp_path / "out", backbone="nowhere.py::make")


def test_another_preprocessing_of_a_frozen_backbone_is_refused(fitted, tmp_path):
    export_fit(fitted("combined"), tmp_path / "out")
    digest = json.loads((tmp_path / "out" / "fit.json").read_text())["backbone"]["preprocessing_sha256"]

    def change(content):
        content["backbone"]["preprocessing_sha256"] = "0" * 64

    rewritten(tmp_path / "out", change)
    message = refused(tmp_path / "out")
    assert "other preprocessing" in message
    assert digest[:16] in message
    assert "0" * 16 in message


def test_changed_code_of_a_fine_tuned_backbone_is_refused(fitted, tmp_path):
    export_fit(fitted("finetuned"), tmp_path / "out")
    changed = tmp_path / "changed.py"
    changed.write_text(NET.replace("torch.relu(", "torch.tanh("))
    assert "the code of it or of its backbone changed" in refused(
        tmp_path / "out", backbone=f"{changed}::make"
    )


def test_trained_on_counts_what_was_seen(convnet, shown):
    loaded = load_exported(convnet, "cpu")
    assert loaded.trained_on(shown.train) == N - HELD_OUT
    assert loaded.trained_on(shown.held_out) == 0
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
def test_a_brain_model_records_the_predictions(fitted, shown, tmp_path, recording_model, kind):
    candidate = fitted(kind)
    export_fit(candidate, tmp_path / "out", ["a", "b", "c"])
    model = recording_model(tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        seen = model.look_at(shown.held_out, number_of_trials=2)
    assert model.identifier == model.activations_model.identifier
    assert model.identifier == load_exported(tmp_path / "out", "cpu").identifier
    assert model.visual_degrees() == 8
    assert list(seen["stimulus_id"].values) == list(shown.held_out["stimulus_id"])
    assert list(seen["neuroid_id"].values) == ["a", "b", "c"]
    assert set(seen["region"].values) == {"IT"}
    expected = candidate.predict(shown.held_out)
    np.testing.assert_allclose(np.squeeze(seen.values), expected, rtol=1e-5, atol=1e-6)


def test_a_brain_model_records_the_region_that_it_was_fitted_to(fitted, shown, tmp_path, recording_model):
    export_fit(fitted("convnet", region="V4"), tmp_path / "out")
    seen = recording_model(tmp_path / "out", "V4").look_at(shown.held_out)
    assert set(seen["region"].values) == {"V4"}
    with pytest.raises(KeyError):  # and asks nobody for a layer for another one
        recording_model(tmp_path / "out", "IT").look_at(shown.held_out)


def test_a_brain_model_warns_once_of_stimuli_that_it_was_fitted_to(convnet, shown, recording_model):
    model = recording_model(convnet)
    with pytest.warns(UserWarning, match=f"fitted to {N - HELD_OUT} of the {N - HELD_OUT} stimuli shown"):
        model.look_at(shown.train)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.look_at(shown.train)
        recording_model(convnet).look_at([str(path) for path in shown.held_out.stimulus_paths.values()])


def test_brain_scores_cache_keeps_two_exports_apart(fitted, shown, tmp_path, recording_model, monkeypatch):
    storage = inspect.getclosurevars(ActivationsExtractorHelper._from_paths_stored).nonlocals["self"]
    monkeypatch.setattr(storage, "_storage_directory", str(tmp_path / "cache"))
    monkeypatch.setenv("RESULTCACHING_DISABLE", "0")
    for seed in (1, 2, 1):
        candidate = fitted("convnet", seed=seed)
        export_fit(candidate, tmp_path / str(seed))
        seen = recording_model(tmp_path / str(seed)).look_at(shown.held_out)
        expected = candidate.predict(shown.held_out)
        np.testing.assert_allclose(np.squeeze(seen.values), expected, rtol=1e-5, atol=1e-6)
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 2
