"""A plugin without itprobe gives what itprobe gives, for every source; what cannot be one is refused."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from itprobe.errors import InputError
from itprobe.leaderboard.submission import plugin as plugin_module
from itprobe.leaderboard.submission.archive import read_archive, unpack
from itprobe.leaderboard.submission.plugin import folder_name
from itprobe.models import load_candidate, parse_candidate

REGIONS = ("V1", "V2", "V4", "IT")
URL = "https://lab.example.org/net.safetensors"
NAMED = {"V1": "features.3", "V2": "features.6", "V4": "features.9~pool4", "IT": "features.12"}


def sha256(file):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


FEW = {"efficientnet_lite0", "timm/test_vit@random"}
"""Candidates of the quick round: a named one with trained weights, and tokens that are pooled as a map."""


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_activations_without_itprobe_are_itprobes_own(
    workshop, stimuli, submitted, recorded_without_itprobe, few
):
    """Every source; layers before in-place operations, pooled layers, tuples; the generator's state is kept."""
    folder = workshop.folder
    cases = {
        "efficientnet_lite0": {"IT": "_blocks.12", "V4": "_blocks.8~pool4", "V1": "_bn0", "V2": "_blocks.2"},
        "efficientnet_lite0@random-7": dict.fromkeys(REGIONS, "_blocks.4"),
        "torchvision/squeezenet1_1": NAMED,
        "torchvision/squeezenet1_1@random-3": NAMED,
        "torchvision/googlenet@random-1": dict.fromkeys(REGIONS, "conv1.bn"),
        f"torchvision/squeezenet1_1@{folder}//squeeze.pth": NAMED,
        "timm/test_resnet@random-2": dict.fromkeys(REGIONS, "layer1.0.bn1"),
        "timm/test_vit@random": {**dict.fromkeys(REGIONS, "blocks.1"), "V4": "blocks.1~pool4"},
        "torchvision/swin_t@random": dict.fromkeys(REGIONS, "features.1~pool4"),
        f"{workshop.code}::make": dict.fromkeys(REGIONS, "norm"),
        f"{workshop.code}::make_with_transform@random-4": dict.fromkeys(REGIONS, "block"),
    }
    if few:
        own = f"{workshop.code}::make"
        cases = {candidate: regions for candidate, regions in cases.items() if candidate in {*FEW, own}}
    made = {
        candidate: submitted(candidate, f"{k}.zip", regions=regions, name=f"case_{k}")
        for k, (candidate, regions) in enumerate(cases.items())
    }
    candidate = f"torchvision/squeezenet1_1@{folder}/squeeze.pth"  # another name for the same
    cases[candidate] = NAMED
    made[candidate] = submitted(candidate, "hosted.zip", regions=NAMED, name="hosted", weights_url=URL)
    (workshop.hub / f"{sha256(made[candidate].weights)}.safetensors").write_bytes(
        made[candidate].weights.read_bytes()
    )
    recorded = recorded_without_itprobe(made.values())
    assert recorded["assemblies"] >= 3
    for candidate, one in made.items():
        layers = list(dict.fromkeys(cases[candidate].values()))
        ((_, ours),) = load_candidate(candidate, device="cpu").stream(stimuli, layers, batch_size=3)
        for layer in layers:
            theirs = recorded[f"{one.plugin.name}:{layer}"]
            assert theirs.shape == ours[layer].shape, (candidate, layer)
            assert np.ptp(theirs) > 0
            # float32 convolutions round by the batch's size and the processor, in proportion to the largest terms
            scale = np.abs(ours[layer]).max()
            np.testing.assert_allclose(
                theirs / scale, ours[layer] / scale, rtol=0, atol=1e-5, err_msg=f"{candidate}:{layer}"
            )


def test_hosted_weights_are_taken_only_if_they_are_the_submitted_ones(workshop, submitted, monkeypatch):
    monkeypatch.setattr(plugin_module, "LARGEST_FILE", 1000)
    candidate = f"torchvision/squeezenet1_1@{workshop.folder / 'squeeze.pth'}"
    with pytest.raises(InputError, match=r"5 MB.*--weights-url"):
        submitted(candidate, layer="features.3", name="hosted")
    made = submitted(candidate, layer="features.3", name="hosted", weights_url=URL)
    assert not any("weights" in path for path in read_archive(made.path))
    module = ModuleType("hosted_model")
    folder = workshop.folder / "hosted"
    unpack(made.plugin.files, folder)
    module.__file__ = str(folder / "model.py")
    exec(compile(made.plugin.files["model.py"], module.__file__, "exec"), vars(module))
    assert (URL, sha256(made.weights)) == (module.WEIGHTS_URL, module.WEIGHTS_SHA256)
    cached = workshop.hub / f"{module.WEIGHTS_SHA256}.safetensors"
    cached.write_bytes(made.weights.read_bytes())
    assert module.hosted_weights() == cached
    cached.write_bytes(made.weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match="has the SHA-256"):
        module.hosted_weights()
    cached.unlink()
    served = {"url": None}

    def download(url, target, hash_prefix):
        served.update(url=url, digest=hash_prefix)
        Path(target).write_bytes(made.weights.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert module.hosted_weights() == cached
    assert served == {"url": URL, "digest": module.WEIGHTS_SHA256}


@pytest.mark.parametrize(
    "url", ["http://x.org/w", "ftp://x.org/w", "file:///etc/passwd", "https://u:p@x.org/w", "w"]
)
def test_addresses_of_weights_are_https(workshop, submitted, url):
    with pytest.raises(InputError, match="no https address"):
        submitted(
            f"torchvision/squeezenet1_1@{workshop.folder / 'squeeze.pth'}",
            layer="features.3",
            weights_url=url,
        )


def test_the_zip_is_the_same_every_time_and_holds_no_path_of_this_machine(workshop, submitted, tmp_path):
    first = submitted(f"{workshop.code}::make@random-2", "first.zip", layer="block")
    second = submitted(f"{workshop.code}::make@random-2", "second.zip", layer="block")
    assert first.plugin.name == "net_make_random_2"
    assert first.path.read_bytes() == second.path.read_bytes()
    for path, content in read_archive(first.path).items():
        assert str(workshop.folder).encode() not in content, path
    files = first.plugin.files
    sources = {
        "source/net.py",
        "source/own_blocks.py",
        "source/own_parts/__init__.py",
        "source/own_parts/block.py",
    }
    assert {path for path in files if path.startswith("source/")} == sources
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(workshop.code.parent, elsewhere)
    third = submitted(f"{elsewhere / 'net.py'}::make@random-2", "third.zip", layer="block")
    assert third.path.read_bytes() == first.path.read_bytes()
    assert files["requirements.txt"].decode().split() == ["numpy", "torch"]


def test_metadata_passes_brain_scores_own_command(workshop, submitted, tmp_path):
    for candidate in (
        "torchvision/squeezenet1_1",
        "timm/test_resnet@random-2",
        f"{workshop.code}::make_with_transform",
    ):
        layer = "block" if "::" in candidate else "layer1" if "timm" in candidate else "features.3"
        made = submitted(candidate, layer=layer, name="described")
        (tmp_path / "metadata.yml").write_bytes(made.plugin.files["metadata.yml"])
        script = "from brainscore_core.metadata.cli import main; main()"
        command = [sys.executable, "-c", script, str(tmp_path / "metadata.yml"), "--domain", "vision"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "Metadata is valid.", done.stderr


def test_brain_score_finds_id_and_bibtex(submitted):
    made = submitted("torchvision/squeezenet1_1", layer="features.3", name="my-net_2")
    lines = [
        line for line in made.plugin.files["__init__.py"].decode().splitlines() if "model_registry[" in line
    ]
    assert len(lines) == 1
    assert lines[0].startswith("model_registry['my-net_2'] = lambda: ")
    assert lines[0].count("]") == 1  # Brain-Score's list of new plugins takes all up to the last bracket
    assert made.plugin.name == "my_net_2"  # a package that can be imported
    assert folder_name("3net") == "model_3net"
    regions = json.loads(made.plugin.files["region_layer_map/my-net_2.json"])
    assert regions == dict.fromkeys(REGIONS, "features.3")
    assert b"IMAGENET1K_V1" in made.plugin.files["model.py"]


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (nn.Linear(2, 2), {"layer": "x"}, "in memory only.*file.py::factory@"),
        ("pixels", {"layer": "pixels"}, "no network"),
        ("category_onehot", {"layer": "x"}, "no network"),
        ("brainscore/alexnet", {"layer": "x"}, "in Brain-Score already"),
        ("convnet", {"layer": "x"}, "itprobe export"),
        ("combined+efficientnet_lite0:_blocks.12", {}, "itprobe export"),
        ("NET::answer", {"layer": "x"}, "lambda, a closure"),
        ("NET::closed", {"layer": "x"}, "lambda, a closure"),
        ("NET::mkae", {"layer": "x"}, "did you mean make"),
        ("missing.py::make", {"layer": "x"}, "no file"),
        ("efficientnet_lite0", {}, "no layer for V1, V2, V4, IT"),
        ("efficientnet_lite0", {"regions": {"IT": "_blocks.12"}}, "no layer for V1, V2, V4"),
        ("efficientnet_lite0", {"regions": {"it": "_blocks.12"}}, "unknown region"),
        ("efficientnet_lite0:_blocks.1", {"layer": "_blocks.2"}, "leave --layer"),
        ("efficientnet_lite0", {"layer": "a,b"}, "one layer"),
        ("efficientnet_lite0", {"layer": "_blocks.1", "name": "alexnet"}, "has a model 'alexnet' already"),
        ("efficientnet_lite0", {"layer": "_blocks.1", "name": "a/b"}, "no name"),
        (
            "efficientnet_lite0",
            {"layer": "_blocks.1", "bibtex": "@misc{x, title={y}}"},
            "lacks author, year, url",
        ),
        ("efficientnet_lite0", {"layer": "_blocks.1", "bibtex": "@misc{x"}, "cannot be read"),
        ("efficientnet_lite0", {"layer": "_blocks.1", "visual_degrees": 0}, "field of view"),
        ("efficientnet_lite0", {"layer": "_blocks.1", "out": "x.tar"}, "ends in .zip"),
        (
            "efficientnet_lite0",
            {"layer": "auto", "benchmark": "simulated_small.IT-fitted"},
            "chooses no layer",
        ),
    ],
)
def test_what_cannot_be_submitted_is_said_before_anything_is_loaded(
    model, options, reason, tmp_path, monkeypatch, submitted
):
    code = tmp_path / "net.py"
    code.write_text(
        "raise SystemExit('run')\ndef make(): pass\nanswer = lambda: 1\n"
        "def outer():\n    return make\nclosed = outer()\n"
    )
    monkeypatch.setattr("itprobe.submitting.load_candidate", lambda *_: pytest.fail("it was loaded"))
    if isinstance(model, str):
        model = model.replace("NET", str(code))
    with pytest.raises(InputError, match=reason) as raised:
        submitted(model, options.pop("out", str(tmp_path / "x.zip")), **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x.zip").exists()


def test_code_that_needs_what_is_not_submitted(workshop, submitted, tmp_path):
    source = workshop.code.read_text()
    torch.manual_seed(0)
    folder = workshop.code.parent
    state = load_candidate(f"{workshop.code}::make", device="cpu").module.state_dict()
    torch.save(state, folder / "beside.pth")
    with pytest.raises(InputError, match=r"beside.pth.*@path/to/weights.safetensors"):
        submitted(f"{workshop.code}::reads_a_file_beside_it", rehearsed=True, layer="block")
    using = folder / "using.py"
    using.write_text(source + "\nimport itprobe\n")
    with pytest.raises(InputError, match="imports itprobe"):
        submitted(f"{using}::make", layer="block")


def test_layers_that_are_none(submitted):
    with pytest.raises(InputError, match="unknown layer"):
        submitted("efficientnet_lite0", layer="_blocks.99")
    with pytest.raises(InputError, match="cannot be pooled"):
        submitted("efficientnet_lite0", layer="_fc~pool4")


def test_a_title_never_breaks_the_source(workshop, submitted, tmp_path):
    odd = workshop.code.with_name('net "quoted" {{ x }}.py')
    odd.write_text(workshop.code.read_text())
    made = submitted(f"{odd}::make", layer="block")
    compile(made.plugin.files["model.py"], "model.py", "exec")
    assert made.plugin.name == "net_quoted_x_make"
    assert set(read_archive(made.path)) > {"net_quoted_x_make/models/net_quoted_x_make/source/factory.py"}


def test_layers_chosen_on_simulated_data_are_warned_about(submitted, planted_file, monkeypatch):
    made = submitted(
        "timm/test_resnet@random", layer="auto", benchmark=f"{planted_file}#IT-ridge.kfold", name="auto_1"
    )
    assert "chosen among 4 blocks on IT of planted" in made.notes[0]
    assert len(set(made.region_layer_map.values())) == 1
    candidate = parse_candidate("timm/test_resnet@random")
    assert made.region_layer_map["IT"] in load_candidate(candidate, device="cpu").layers("blocks")


def test_weights_to_host_need_no_address_yet_and_replace_no_other_weights(workshop, submitted, tmp_path):
    """Own code is rehearsed with the weights that will be hosted, which no one can download at this time."""
    mine = tmp_path / "mine.pth"
    torch.save(load_candidate(f"{workshop.code}::make@random-5", device="cpu").module.state_dict(), mine)
    options = {"layer": "block", "name": "hosted_own", "weights_url": "https://lab.invalid/w.safetensors"}
    made = submitted(f"{workshop.code}::make@{mine}", tmp_path / "a.zip", rehearsed=True, **options)
    assert made.weights == tmp_path / "a.safetensors"
    assert sha256(made.weights).encode() in made.plugin.files["model.py"]
    other = tmp_path / "b.safetensors"
    other.write_bytes(b"weights of long training")
    with pytest.raises(InputError, match=r"b\.safetensors, which is there already and differs"):
        submitted(f"{workshop.code}::make@{mine}", tmp_path / "b.zip", **options)
    assert other.read_bytes() == b"weights of long training"
    assert not (tmp_path / "b.zip").exists()


def test_caches_below_the_folder_of_own_code_may_be_read(workshop, submitted, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "width.txt").write_text("4")
    own = tmp_path / "own.py"
    own.write_text(
        "import os\nfrom pathlib import Path\nfrom torch import nn\n\n\ndef make():\n"
        "    width = int((Path(os.environ['HF_HOME']) / 'width.txt').read_text())\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 5, stride=4))\n"
    )
    assert submitted(f"{own}::make", tmp_path / "own.zip", rehearsed=True, layer="0").path.is_file()
