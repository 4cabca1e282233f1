"""Where channels lie in memory changes how long a network takes, and nothing else."""

import pytest
import torch
from torch import nn

from itprobe.models.layout import traced_and_laid_out
from itprobe.models.weights import weights_digest


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2),
        nn.Flatten(),
    )


class Views(nn.Module):
    """Fails where channels lie last."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 6, 3), nn.Linear(6 * 14 * 14, 5)

    def forward(self, images):
        maps = self.conv(images)
        return self.linear(maps.view(len(maps), -1))


class Strides(Views):
    """Reads memory in an order of its own: something else, without any failure, where channels lie last."""

    def forward(self, images):
        maps = self.conv(images)
        return self.linear(maps.as_strided((len(maps), maps[0].numel()), (maps[0].numel(), 1)))


class Noisy(Views):
    def forward(self, images):
        maps = self.conv(images)
        return self.linear((maps + 0.1 * torch.rand(maps.shape)).flatten(1))


class Insensitive(Strides):
    """Its own output does not show what its layer read."""

    def __init__(self):
        super().__init__()
        self.reads = ReadsStrides()
        torch.nn.init.normal_(self.linear.weight, std=1e-4)
        torch.nn.init.constant_(self.linear.bias, 10.0)

    def forward(self, images):
        return self.linear(self.reads(self.conv(images)))


class ReadsStrides(nn.Module):
    def forward(self, maps):
        return maps.as_strided((len(maps), maps[0].numel()), (maps[0].numel(), 1))


class OwnTo(Views):
    """Knows devices alone."""

    def to(self, device):
        return super().to(device)

    def forward(self, images):
        return self.linear(self.conv(images).flatten(1))


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("network", "last"),
    [
        (convolutions, True),
        (Noisy, True),
        (Views, False),
        (Strides, False),
        (Insensitive, False),
        (OwnTo, True),
        (lambda: nn.Sequential(nn.Linear(16, 2)), False),
    ],
)
def test_channels_lie_last_only_where_the_network_gives_the_same(network, last, images):
    module = network().eval()
    before, digest = {k: v.clone() for k, v in module.state_dict().items()}, weights_digest(module, "")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        expected = module(images)
    traced, memory_format = traced_and_laid_out(module, images)
    assert traced
    assert (memory_format == torch.channels_last) == last
    for name, values in module.state_dict().items():
        assert torch.equal(values, before[name])
        if values.ndim == 4:
            assert values.is_contiguous(memory_format=memory_format)
    assert weights_digest(module, "") == digest
    with torch.no_grad():
        given = module(images.to(memory_format=memory_format))
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-5)


def test_random_numbers_are_left_as_they_were(images):
    module = Noisy().eval()
    before = torch.get_rng_state()
    traced_and_laid_out(module, images)
    assert torch.equal(torch.get_rng_state(), before)
