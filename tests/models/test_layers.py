import numpy as np
import pytest
import torch
from torch import nn

from itprobe.errors import InputError
from itprobe.models import load_candidate
from itprobe.models.maps import map_shape
from itprobe.models.stream import recorded_forward

BLOCKS = {
    "torchvision/resnet18": [f"layer{i}.{j}" for i in range(1, 5) for j in range(2)],
    "torchvision/resnet50": [f"layer{i}.{j}" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)],
    "torchvision/vit_b_16": [f"encoder.layers.encoder_layer_{i}" for i in range(12)],
    "torchvision/densenet121": [
        name
        for i, n in enumerate((6, 12, 24, 16), 1)
        for name in (
            *(f"features.denseblock{i}.denselayer{j}" for j in range(1, n + 1)),
            f"features.denseblock{i}",
        )
    ],
    "efficientnet_lite0": [f"_blocks.{i}" for i in range(16)],
    "timm/vit_tiny_patch16_224": [f"blocks.{i}" for i in range(12)],
    "timm/convnext_atto": [f"stages.{i}.blocks.{j}" for i, n in enumerate((2, 2, 6, 2)) for j in range(n)]
    + ["head"],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_known_networks(name):
    candidate = load_candidate(f"{name}@random", device="cpu")
    assert candidate.layers("blocks") == BLOCKS[name]
    assert set(BLOCKS[name]) <= set(candidate.layers("all"))


def test_plain_networks_give_their_computational_leaves():
    alexnet = load_candidate("torchvision/alexnet@random", device="cpu")
    expected = [f"features.{i}" for i in range(13)] + [
        "avgpool",
        *(f"classifier.{i}" for i in (1, 2, 4, 5, 6)),
    ]
    assert alexnet.layers("blocks") == alexnet.layers("all") == expected
    vgg = load_candidate("torchvision/vgg11@random", device="cpu")
    assert len(vgg.layers("blocks")) == 21 + 1 + 5


def test_stages_and_single_modules_can_be_named_though_they_are_not_listed():
    candidate = load_candidate("torchvision/resnet18@random", device="cpu")
    assert "layer3" not in candidate.layers("all")  # it is layer3.1
    for name in ("layer3", "layer3.1~pool4", "avgpool", "fc"):
        candidate.check_layer(name)
    with pytest.raises(
        InputError, match=r"unknown layer of torchvision/resnet18@random.*did you mean layer3"
    ):
        candidate.check_layer("layer_3")
    with pytest.raises(InputError, match="cannot be pooled: its output is 1000"):
        candidate.check_layer("fc~pool4")
    with pytest.raises(InputError, match=r"cannot be pooled to 4 x 4.*512 x 1 x 1"):
        candidate.check_layer("avgpool~pool4")


@pytest.mark.parametrize(
    ("name", "layer", "described"),
    [
        ("swin_t", "features.2", "28 x 28 x 192"),  # height x width x channels
        ("vit_b_32", "encoder.layers.encoder_layer_3", "50 x 768"),  # the class token and 7 x 7 patches
    ],
)
def test_maps_are_pooled_over_space_whatever_the_order_of_their_axes(name, layer, described, make_stimuli):
    candidate = load_candidate(f"torchvision/{name}@random", device="cpu")
    stimuli = make_stimuli(2)
    ((_, features),) = candidate.stream(stimuli, [layer, f"{layer}~pool1", f"{layer}~pool7"], batch_size=2)
    axes = [int(size) for size in described.split(" x ")]
    full = features[layer].reshape(2, *axes)
    if len(axes) == 2:
        full = full[:, 1:].reshape(2, 7, 7, 768)
    np.testing.assert_allclose(features[f"{layer}~pool1"], full.mean(axis=(1, 2)), atol=1e-5)
    cells = full.reshape(2, 7, full.shape[1] // 7, 7, full.shape[2] // 7, -1).mean(axis=(2, 4))
    pooled = features[f"{layer}~pool7"].reshape(2, -1, 7, 7)
    np.testing.assert_allclose(pooled, cells.transpose(0, 3, 1, 2), atol=1e-5)
    with pytest.raises(InputError, match=f"cannot be pooled to 64 x 64: its output is {described}"):
        candidate.check_layer(f"{layer}~pool64")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((512, 7, 7), (512, 7, 7)),
        ((7, 7, 7), (7, 7, 7)),
        ((64, 20, 30), (64, 20, 30)),
        ((14, 14, 384), (384, 14, 14)),
        ((196, 192), (192, 14, 14)),
        ((201, 1024), (1024, 14, 14)),  # a class token and four registers
        ((77, 512), None),  # words
        ((1, 768), None),
        ((1000,), None),
        ((2, 3, 4, 4), None),
    ],
)
def test_shapes_that_are_maps(shape, expected):
    assert map_shape(shape) == expected


class Odd(nn.Module):
    """Runs one module twice, never runs another, and has outputs of several kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=8)
        self.unused = nn.Linear(2, 2)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        self.flat = nn.Flatten()
        self.pair = Pair()
        self.across = Across()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.drop(self.relu(self.conv(x)))
        x = self.pair(x)["out"][0]
        x = self.relu(x.mean((2, 3)) - 1)
        self.across(x)
        return self.head(self.flat(x))


class Pair(nn.Module):
    def forward(self, x):
        return {"none": None, "out": [x + 1, x]}


class Across(nn.Module):
    def forward(self, x):
        return x.T.repeat(5, 1)


def test_leaves_are_what_runs_and_gives_one_row_per_image():
    candidate = load_candidate(Odd(), device="cpu")
    assert candidate.layers("all") == ["conv", "pair", "relu", "head"]
    assert candidate.traced["relu"].calls == 2
    assert candidate.traced["relu"].shape == (4,)
    with pytest.raises(InputError, match="unknown layer"):
        candidate.check_layer("unused")
    with pytest.raises(InputError, match="unknown layer"):
        candidate.check_layer("across")


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(3, 8, 56, 56)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.encoder(self.cut(x).flatten(2).mT)


def test_torchs_fused_transformer_layers_do_not_bypass_the_hooks():
    candidate = load_candidate(Tokens(), device="cpu")
    assert candidate.layers("blocks") == ["encoder.layers.0", "encoder.layers.1"]
    image = torch.zeros(2, 3, 224, 224)
    for layer in candidate.layers("all"):
        assert len(recorded_forward(candidate.module, image, [layer])[layer]) == 2


def test_listing_layers_leaves_no_hooks_and_draws_nothing():
    state = torch.random.get_rng_state()
    candidate = load_candidate(Odd(), device="cpu")
    torch.random.set_rng_state(state)
    candidate.layers("all")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_hooks for module in candidate.module.modules())


def test_a_network_that_cannot_take_its_input_is_reported():
    with pytest.raises(
        InputError, match=r"forward pass on test images of 3 x 224 x 224 raised RuntimeError.*size"
    ):
        load_candidate(nn.Sequential(nn.Linear(5, 5)), device="cpu").layers("all")
