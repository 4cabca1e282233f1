import importlib
import re
from pathlib import Path

import brainscore_vision
import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.models import load_candidate
from itprobe.models.brainscore_models import LITE0_LAYERS, PIXEL_LAYERS, brain_model

IDS = ["itprobe-pixels", "itprobe-efficientnet_lite0", "itprobe-efficientnet_lite0-random"]


@pytest.fixture(scope="module")
def plugin():
    return importlib.import_module("brainscore_vision.models.itprobe")


def test_registrations_are_found_by_brain_scores_text_search(plugin):
    text = Path(plugin.__file__).read_text()
    assert re.findall(r"^model_registry\['(.+?)'\]", text, flags=re.MULTILINE) == IDS
    others = [
        path.read_text(errors="replace")
        for path in (Path(brainscore_vision.__file__).parent / "models").glob("*/__init__.py")
        if path.parent.name != "itprobe"
    ]
    assert len(others) > 100
    for identifier in IDS:
        assert "/" not in identifier
        needle = f"model_registry['{identifier}']"
        assert not any(needle in other.replace('"', "'") for other in others)


@pytest.mark.parametrize(
    ("identifier", "candidate_id", "layers"),
    [
        ("itprobe-pixels", "pixels", PIXEL_LAYERS),
        ("itprobe-efficientnet_lite0", "efficientnet_lite0", LITE0_LAYERS),
        ("itprobe-efficientnet_lite0-random", "efficientnet_lite0@random", LITE0_LAYERS),
    ],
)
def test_look_at_gives_what_we_stream(plugin, make_stimuli, identifier, candidate_id, layers):
    stimuli = make_stimuli(5)
    model = brainscore_vision.model_registry[identifier]()
    assert model.identifier == identifier
    model.activations_model._extractor._batch_size = 3  # it fills up to whole batches, of 64 by default
    candidate = load_candidate(candidate_id, device="cpu")
    for region in ("V4", "IT"):
        model.start_recording(region, [(70, 170)])
        seen = model.look_at(stimuli)
        assert list(seen["stimulus_id"].values) == list(stimuli["stimulus_id"])
        assert set(seen["region"].values) == {region}
        ours = np.concatenate(
            [part[layers[region]] for _, part in candidate.stream(stimuli, [layers[region]])]
        )
        np.testing.assert_allclose(np.squeeze(seen.values), ours, atol=1e-5, rtol=1e-5)


def test_pooled_layers_and_cache_identifiers(make_stimuli):
    stimuli = make_stimuli(3)
    layer = "_blocks.12~pool1"
    model = brain_model("efficientnet_lite0", {"IT": layer}, "pooled")
    other = brain_model("efficientnet_lite0@random", {"IT": layer}, "pooled")
    assert model.activations_model.identifier != other.activations_model.identifier
    model.activations_model._extractor._batch_size = 3
    model.start_recording("IT", [(70, 170)])
    candidate = load_candidate("efficientnet_lite0", device="cpu")
    ours = next(iter(candidate.stream(stimuli, [layer])))[1][layer]
    np.testing.assert_allclose(np.squeeze(model.look_at(stimuli).values), ours, atol=1e-5)


def test_what_cannot_be_a_brain_score_model():
    with pytest.raises(InputError, match="no '/'"):
        brain_model("pixels", PIXEL_LAYERS, "torchvision/resnet18")
    with pytest.raises(InputError, match="unknown layer"):
        brain_model("efficientnet_lite0@random", {"IT": "layer4"}, "x")
    with pytest.raises(InputError, match="looks at no image"):
        brain_model("latents", {"IT": "latents"}, "x")
