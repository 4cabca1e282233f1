"""Exported fits that are not what they were, or whose backbone is not: refused in one line."""

import json
import pickle
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from itprobe.errors import InputError
from itprobe.files import sha256_file
from itprobe.models.fitted import export_fit, load_exported
from itprobe.models.fitted.export_format import Description


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


def test_an_altered_byte_of_the_weights_is_refused(exported):
    path = exported / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "damaged or was altered" in refused(exported)
    path.unlink()
    assert "has no weights.safetensors" in refused(exported)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_a_pickle_in_place_of_the_weights_is_not_run(exported):
    content = json.loads((exported / "fit.json").read_text())
    path = exported / "weights.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    content["weights_sha256"] = sha256_file(path)
    (exported / "fit.json").write_text(json.dumps(content))
    assert "no safetensors file" in refused(exported)
    torch.save({"network": Trap()}, path)
    content["weights_sha256"] = sha256_file(path)
    (exported / "fit.json").write_text(json.dumps(content))
    assert "no safetensors file" in refused(exported)


@pytest.mark.parametrize(
    ("name", "value"),
    [("training_stimuli", []), ("seed", 5), ("context", {"split": "kfold, 1 of 10"})],
)
def test_an_altered_description_is_refused(exported, name, value):
    content = json.loads((exported / "fit.json").read_text())
    altered = content[name] | value if isinstance(value, dict) else value
    (exported / "fit.json").write_text(json.dumps({**content, name: altered}))
    assert "was altered" in refused(exported)


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
def test_a_description_of_another_form_is_refused(exported, change, expected):
    content = json.loads((exported / "fit.json").read_text())
    change(content)
    (exported / "fit.json").write_text(json.dumps(content))
    assert expected in refused(exported)


@pytest.mark.parametrize("text", ["{", "[1]", "", "\udcff", "[" * 100_000])
def test_what_is_no_description_is_refused(exported, text):
    (exported / "fit.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(exported)


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
def test_settings_that_do_not_fit_are_refused_in_one_line(exported, change, expected):
    rewritten(exported, change)
    message = refused(exported)
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
def test_weights_that_do_not_fit_are_refused_in_one_line(exported, tensors, expected):
    rewritten(exported, tensors=tensors)
    assert expected in refused(exported)


def test_another_backbone_is_refused_with_both_digests(fitted, net_code, tmp_path):
    candidate = fitted("combined")
    export_fit(candidate, tmp_path / "out")
    other = tmp_path / "other.py"
    other.write_text(net_code)
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


def test_changed_code_of_a_fine_tuned_backbone_is_refused(fitted, net_code, tmp_path):
    export_fit(fitted("finetuned"), tmp_path / "out")
    changed = tmp_path / "changed.py"
    changed.write_text(net_code.replace("torch.relu(", "torch.tanh("))
    assert "the code of it or of its backbone changed" in refused(
        tmp_path / "out", backbone=f"{changed}::make"
    )
