import pytest
import torch
from torch import nn

from itprobe.errors import InputError
from itprobe.models import load_candidate
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


def test_channels_last_outputs_are_not_pooled():
    candidate = load_candidate("torchvision/swin_t@random", device="cpu")
    with pytest.raises(InputError, match="28 x 28 x 192, not channel x height x width"):
        candidate.check_layer("features.2~pool4")


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
