"""Plugins of Brain-Score's zoo: found by name, told apart by their code, and those that cannot be loaded."""

import subprocess
import sys
from urllib.request import urlopen

import pytest
from brainscore_core.plugin_management.import_plugin import ImportPlugin

from itprobe.errors import InputError
from itprobe.models import list_candidates, load_candidate, parse_candidate
from itprobe.models.brainscore_zoo.registrations import plugin_digest, plugins


def test_names_are_those_that_brain_score_finds():
    names = list(plugins())
    assert len(names) > 700
    for name in names[::40]:
        found = ImportPlugin("brainscore_vision", "models", name).locate_plugin()
        assert plugins()[name].name == found
    listed = {listing.identifier for listing in list_candidates()}
    assert {f"brainscore/{name}" for name in names} <= listed


def test_listing_imports_no_plugin():
    code = (
        "import sys; from itprobe.models import list_candidates; list_candidates(); "
        "print([m for m in sys.modules if m.startswith('brainscore_vision.models')])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "name", "layer"),
    [
        ("brainscore/alexnet", "brainscore/alexnet", None),
        ("brainscore/alexnet:features.2", "brainscore/alexnet", "features.2"),
        ("brainscore/convnext_tiny:in12k_ft_in1k", "brainscore/convnext_tiny:in12k_ft_in1k", None),
        ("brainscore/convnext_tiny:in12k_ft_in1k:IT", "brainscore/convnext_tiny:in12k_ft_in1k", "IT"),
        ("brainscore/nosuch:conv1", "brainscore/nosuch", "conv1"),
    ],
)
def test_ids_with_colons(text, name, layer):
    parsed = parse_candidate(text)
    assert (parsed.name, parsed.layer) == (name, layer)
    assert str(parsed) == text


def test_what_is_misspelt():
    with pytest.raises(InputError, match=r"did you mean .*alexnet_random"):
        load_candidate("brainscore/alexnet_randon")
    with pytest.raises(InputError, match="unknown model of Brain-Score's zoo"):
        load_candidate("brainscore/convnext_tiny")
    with pytest.raises(InputError, match="has no weights"):
        load_candidate("brainscore/alexnet@random")
    with pytest.raises(InputError, match="name is empty"):
        parse_candidate("brainscore/:conv1")
    with pytest.raises(InputError, match="layer after ':' is empty"):
        parse_candidate("brainscore/alexnet:")


def test_a_plugins_digest_tells_its_code():
    assert plugin_digest("alexnet_random") != plugin_digest("resnet18_random")
    assert len(plugin_digest("alexnet_random")) == 64


# What goes wrong


def test_weights_that_cannot_be_downloaded(zoo_gives):
    def load():
        urlopen("http://127.0.0.1:9/weights.pth")

    with pytest.raises(
        InputError, match=r"cannot be downloaded from http://127.0.0.1:9/weights.pth"
    ) as caught:
        zoo_gives(load)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        ({"repo_id": "lab/net"}, "https://huggingface.co/lab/net "),
        ({"bucket": "storage", "relative_path": "models/net.pth"}, "s3://storage/models/net.pth "),
        ({}, "its origin "),
    ],
)
def test_where_weights_would_come_from(zoo_gives, place, origin):
    def fetch(repo_id=None, bucket=None, relative_path=None):
        raise ConnectionError("refused")

    def load():
        fetch(**place)

    with pytest.raises(InputError, match=f"cannot be downloaded from {origin}"):
        zoo_gives(load)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "plenoptic", None)
    with pytest.raises(InputError, match=r"needs the Python package 'plenoptic.*', which is not installed"):
        load_candidate("brainscore/steer_pyr_scatter_v2_ds4")


def test_a_plugin_that_fails(zoo_gives):
    def load():
        raise SystemExit("no licence")

    with pytest.raises(InputError, match=r"brainscore_vision/models/pixels\) raised SystemExit: no licence"):
        zoo_gives(load)
