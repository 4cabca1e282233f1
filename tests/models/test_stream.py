import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper, load_preprocess_images
from PIL import Image
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from itprobe.errors import InputError
from itprobe.models import load_candidate
from itprobe.models.stream import check_precision


def _collect(candidate, stimuli, layers, **options):
    parts = list(candidate.stream(stimuli, layers, **options))
    assert [rows.start for rows, _ in parts] == [0, *(rows.stop for rows, _ in parts[:-1])]
    return {name: np.concatenate([features[name] for _, features in parts]) for name in parts[0][1]}


def assert_close(features, expected):
    """To 1e-5 of the layer's largest value: what float32 gives, in whatever order sums are taken."""
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def resnet():
    return load_candidate("torchvision/resnet18@random-2", device="cpu")


def test_layers_are_those_of_torchvisions_own_extractor(resnet, make_stimuli):
    stimuli = make_stimuli(5)
    layers = ["conv1", "layer1.0", "layer3", "avgpool", "fc"]
    features = _collect(resnet, stimuli, layers, batch_size=2)
    torch.manual_seed(2)
    model = torchvision.models.resnet18(weights=None).eval()
    paths = [str(stimuli.stimulus_paths[i]) for i in stimuli["stimulus_id"]]
    images = torch.from_numpy(load_preprocess_images(paths, image_size=224))
    with torch.no_grad():
        expected = create_feature_extractor(model, layers)(images)
    for layer in layers:
        assert features[layer].dtype == np.float32
        assert_close(features[layer], expected[layer].flatten(1).numpy())


def test_in_place_operations_after_a_layer_do_not_reach_it(resnet, make_stimuli):
    stimuli = make_stimuli(2)
    features = _collect(resnet, stimuli, ["bn1", "relu"])
    images = torch.stack(
        [resnet.preprocessing(Image.open(stimuli.stimulus_paths[i])) for i in stimuli["stimulus_id"]]
    )
    with torch.no_grad():
        expected = resnet.module.bn1(resnet.module.conv1(images)).flatten(1).numpy()
    np.testing.assert_allclose(features["bn1"], expected, atol=1e-5)
    assert features["bn1"].min() < 0


def test_pooling_is_a_spatial_mean(resnet, make_stimuli):
    features = _collect(resnet, make_stimuli(3), ["layer2", "layer2~pool4", "layer2~pool1"])
    maps = features["layer2"].reshape(3, 128, 28, 28)
    blocks = maps.reshape(3, 128, 4, 7, 4, 7).mean(axis=(3, 5))
    np.testing.assert_allclose(features["layer2~pool4"], blocks.reshape(3, -1), atol=1e-5)
    np.testing.assert_allclose(features["layer2~pool1"], maps.mean(axis=(2, 3)), atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "pixels", "latents"])
def test_batch_size_does_not_matter(make_stimuli, name):
    stimuli = make_stimuli(7)
    candidate = load_candidate(name, device="cpu")
    layers = ["_blocks.5", "_blocks.15", "_fc"] if name == "efficientnet_lite0" else [name]
    reference = _collect(candidate, stimuli, layers, batch_size=7)
    for batch_size in (1, 3, 64):
        features = _collect(candidate, stimuli, layers, batch_size=batch_size)
        for layer in layers:
            np.testing.assert_allclose(features[layer], reference[layer], atol=1e-5, rtol=1e-5)


def test_equal_to_brain_scores_wrapper(make_stimuli):
    stimuli = make_stimuli(4, side=100)
    candidate = load_candidate("efficientnet_lite0", device="cpu")
    half = (0.5, 0.5, 0.5)
    wrapper = PytorchWrapper(
        candidate.module,
        lambda paths: load_preprocess_images(paths, image_size=224, normalize_mean=half, normalize_std=half),
        identifier="reference",
        batch_size=4,  # it fills up to whole batches
    )
    theirs = wrapper(stimuli, layers=["_blocks.12"])
    assert list(theirs["stimulus_id"].values) == list(stimuli["stimulus_id"])
    ours = _collect(candidate, stimuli, ["_blocks.12"])["_blocks.12"]
    assert_close(ours, theirs.values)


def test_rows_follow_the_stimulus_set(make_stimuli):
    stimuli = make_stimuli(6)
    candidate = load_candidate("pixels")
    features = _collect(candidate, stimuli, ["pixels"], batch_size=2)["pixels"]
    assert features.shape == (6, 150528)
    assert 0 <= features.min() < features.max() <= 1
    shuffled = stimuli.iloc[[3, 0, 5, 1, 4, 2]]
    again = _collect(candidate, shuffled, ["pixels"], batch_size=4)["pixels"]
    np.testing.assert_array_equal(again, features[[3, 0, 5, 1, 4, 2]])
    assert (candidate.track, candidate.weights_sha256, candidate.weights_kind) == ("control", None, None)


def test_networks_are_always_in_evaluation_mode(make_stimuli):
    module = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4), nn.Dropout(0.5))
    candidate = load_candidate(module, device="cpu")
    candidate.module.train()
    stimuli = make_stimuli(3)
    first = _collect(candidate, stimuli, ["1", "2"], batch_size=1)
    np.testing.assert_array_equal(first["1"], first["2"])
    assert module.training
    assert not module[1].running_mean.any()


class Strange(nn.Module):
    """Gives NaN, or another number of features, where an image is bright in its first pixel."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.layer = nn.Identity()
        self.out = nn.ReLU()

    def forward(self, x):
        bright = x[:, 0, 0, 0] > 2
        x = x.mean((2, 3))
        if self.kind == "width":
            x = x.repeat(1, 2) if bright.any() else x
        else:
            x = torch.where(bright[:, None], torch.tensor(float(self.kind)), x)
        return self.out(x)


@pytest.fixture
def one_bright(make_stimuli):
    stimuli = make_stimuli(5, side=16)
    for i, stimulus_id in enumerate(stimuli["stimulus_id"]):
        level = 255 if i == 3 else 0
        Image.new("RGB", (16, 16), (level, level, level)).save(stimuli.stimulus_paths[stimulus_id])
    return stimuli


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_activations_that_are_no_numbers_name_layer_and_stimulus(one_bright, kind):
    bad = one_bright["stimulus_id"].iloc[3]
    with pytest.raises(InputError, match=f"layer 'out' of Strange.*NaN or infinite.*{bad}"):
        _collect(load_candidate(Strange(kind), device="cpu"), one_bright, ["out"], batch_size=2)


def test_layers_that_change_their_size_are_refused(one_bright):
    with pytest.raises(InputError, match=r"layer 'out' .* had 3 per stimulus"):
        _collect(load_candidate(Strange("width"), device="cpu"), one_bright, ["out"], batch_size=1)


def test_stimulus_sets_that_do_not_fit(make_stimuli):
    pixels = load_candidate("pixels")
    stimuli = make_stimuli(4)
    path = stimuli.stimulus_paths[stimuli["stimulus_id"].iloc[2]]
    path.write_text("broken")
    with pytest.raises(InputError, match=f"{stimuli['stimulus_id'].iloc[2]}.*{path.name}"):
        _collect(pixels, stimuli, ["pixels"])
    del stimuli.stimulus_paths[stimuli["stimulus_id"].iloc[0]]
    with pytest.raises(InputError, match="1 of 4 stimuli have no image file"):
        _collect(pixels, stimuli, ["pixels"])
    twice = pd.concat([stimuli, stimuli.iloc[:1]])
    with pytest.raises(InputError, match="occur more than once"):
        _collect(pixels, twice, ["pixels"])
    with pytest.raises(InputError, match=r"no column 'stimulus_id'.*object_name"):
        _collect(pixels, stimuli.drop(columns="stimulus_id"), ["pixels"])
    with pytest.raises(InputError, match="is empty"):
        _collect(pixels, stimuli.iloc[:0], ["pixels"])
    with pytest.raises(InputError, match="at least 1"):
        _collect(pixels, stimuli, ["pixels"], batch_size=0)
    with pytest.raises(InputError, match="no layer"):
        _collect(pixels, stimuli, [])


def test_missing_images_are_found_before_any_is_read(make_stimuli):
    stimuli = make_stimuli(4)
    path = stimuli.stimulus_paths[stimuli["stimulus_id"].iloc[2]]
    for candidate in (load_candidate("pixels"), load_candidate("efficientnet_lite0@random", device="cpu")):
        candidate.check_stimuli(stimuli)
        path.rename(path.with_suffix(".away"))
        with pytest.raises(InputError, match=rf"1 of 4 image files are missing, .*{path.stem}.*{path.name}"):
            candidate.check_stimuli(stimuli)
        path.with_suffix(".away").rename(path)
    with pytest.raises(InputError, match="occur more than once"):
        load_candidate("pixels").check_stimuli(pd.concat([stimuli, stimuli.iloc[:1]]))


def test_one_hot_controls_tell_objects_and_categories_apart(make_stimuli):
    stimuli = make_stimuli(9)
    for name, column in (("object_onehot", "object_name"), ("category_onehot", "category_name")):
        candidate = load_candidate(name)
        features = _collect(candidate, stimuli, [name], batch_size=4)[name]
        np.testing.assert_array_equal(features, pd.get_dummies(stimuli[column]).to_numpy(dtype=np.float32))
        assert (candidate.track, candidate.layers(), candidate.weights_kind) == ("control", [name], None)
        candidate.check_stimuli(stimuli)
        lacking = stimuli.drop(columns=column)
        with pytest.raises(InputError, match=f"{name} needs '{column}'.*stimulus_id, .*ryz"):
            _collect(candidate, lacking, [name])
        with pytest.raises(InputError, match=f"{name} needs '{column}'.*stimulus_id, .*ryz"):
            candidate.check_stimuli(lacking)


def test_latents_are_on_one_scale(make_stimuli):
    stimuli = make_stimuli(9)
    features = _collect(load_candidate("latents"), stimuli, ["latents"])["latents"]
    assert features.shape == (9, 3)
    np.testing.assert_allclose(features[:, :2].std(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(np.corrcoef(features[:, 0], stimuli["ryz"])[0, 1], 1, atol=1e-6)
    assert not features[:, 2].any()  # the size never changes in this set
    with pytest.raises(InputError, match=r"latents needs 'ryz' or .*columns stimulus_id, object_name"):
        load_candidate("latents").check_stimuli(stimuli.drop(columns=["ryz", "ty", "s"]))
    stimuli.loc[stimuli.index[1], "ryz"] = np.nan
    with pytest.raises(InputError, match=r"layer 'latents'.*NaN"):
        load_candidate("latents").check_stimuli(stimuli)
    with pytest.raises(InputError, match=r"layer 'latents'.*NaN"):
        _collect(load_candidate("latents"), stimuli, ["latents"])


class Counting(nn.Module):
    """Runs its layers in a loop, one of them three times, and counts."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.often = nn.ReLU()
        self.last = nn.Conv2d(3, 2, 1)
        self.counts = {"often": 0, "last": 0}

    def forward(self, x):
        x = self.first(x)
        for _ in range(3):
            self.counts["often"] += 1
            try:
                x = self.often(x - 0.1)
            except Exception:  # what ends the pass must not be caught by a network's own handler
                x = x * 0
        self.counts["last"] += 1
        return self.last(x)


@pytest.mark.parametrize(
    ("layers", "often", "last"),
    [(["first"], 0, 0), (["often"], 9, 0), (["often~pool4", "first"], 9, 0), (["last", "first"], 9, 3)],
)
def test_the_pass_ends_behind_the_last_layer_that_is_wanted(make_stimuli, layers, often, last):
    stimuli = make_stimuli(6)
    candidate = load_candidate(Counting(), device="cpu")
    reference = _collect(candidate, stimuli, [*layers, "last"], batch_size=2)
    candidate.module.counts.update(often=0, last=0)
    features = _collect(candidate, stimuli, layers, batch_size=2)
    for layer in layers:
        np.testing.assert_array_equal(features[layer], reference[layer])
    assert candidate.module.counts == {"often": often, "last": last}


def test_tensors_from_a_row_on_are_the_stream_from_there(resnet, make_stimuli):
    stimuli = make_stimuli(7)
    whole = _collect(resnet, stimuli, ["layer1"])["layer1"]
    parts = list(resnet.stream_tensors(stimuli, ["layer1"], 2, first_row=3))
    assert [(rows.start, rows.stop) for rows, _ in parts] == [(3, 5), (5, 7)]
    assert all(isinstance(part["layer1"], torch.Tensor) for _, part in parts)
    joined = torch.cat([part["layer1"] for _, part in parts])
    np.testing.assert_allclose(joined, whole[3:], atol=1e-5, rtol=1e-5)


def test_bfloat16_is_near_and_comes_as_float32(resnet, make_stimuli):
    stimuli = make_stimuli(4)
    half = load_candidate("torchvision/resnet18@random-2", device="cpu", precision="bf16")
    assert (resnet.precision, half.precision) == ("full", "bf16")
    one, other = (_collect(model, stimuli, ["layer2"])["layer2"] for model in (resnet, half))
    assert other.dtype == np.float32
    assert 0.0001 < np.linalg.norm(one - other) / np.linalg.norm(one) < 0.02


def test_precisions_that_there_are_not():
    with pytest.raises(InputError, match=r"precision: 'bf32'; did you mean tf32 or bf16"):
        load_candidate("pixels", precision="bf32")
    with pytest.raises(InputError, match=r"'tf32' needs a device of kind cuda, not cpu; choose full or bf16"):
        load_candidate("efficientnet_lite0@random", device="cpu", precision="tf32")
    with pytest.raises(InputError, match=r"'bf16' needs a device of kind cpu or cuda, not mps; choose full"):
        check_precision("bf16", torch.device("mps"))
    assert load_candidate("pixels", precision="bf16").identifier == "pixels"
