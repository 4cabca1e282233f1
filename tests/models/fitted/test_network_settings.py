"""What settings make: networks of the report's sizes, counted in closed form, or one line on what cannot be."""

import math
from itertools import pairwise

import pytest
import torch

from itprobe.errors import InputError
from itprobe.models.fitted.networks import (
    AutoencoderSettings,
    CombinedSettings,
    ConvNetSettings,
    DualTaskSettings,
    ReadoutSettings,
    Task,
)

IMAGES = Task((3, 32, 32), 4, 3)


def parameters(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def conv_count(channels, *widths):
    """3 x 3 convolutions without bias, and the two numbers per channel of a batch norm."""
    return sum(9 * a * b + 2 * b for a, b in pairwise([channels, *widths]))


def linear_count(*units):
    return sum(a * b + b for a, b in pairwise(units))


def test_the_convnet_has_the_reports_size():
    network = ConvNetSettings().build(Task((3, 64, 64), 168, 0))
    assert parameters(network) == conv_count(3, 32, 64, 128) + linear_count(128 * 8 * 8, 256, 168)


def test_dual_task_has_the_reports_size_and_two_loss_weights():
    network = DualTaskSettings().build(Task((3, 64, 64), 168, 64))
    branch = conv_count(128, 256, 512) + 512 * 2 * 2 * 256 + 256
    heads = 2 * branch + linear_count(256, 168) + linear_count(256, 64)
    assert parameters(network) == conv_count(3, 32, 64, 128) + heads + 2


def test_the_autoencoder_has_the_reports_size():
    network = AutoencoderSettings().build(Task((3, 64, 64), 168, 0))
    encoder = conv_count(3, 32, 64, 128) + linear_count(128 * 8 * 8, 256, 168)
    decoder = linear_count(168, 256, 128 * 8 * 8) + conv_count(128, 64, 32) + 9 * 32 * 3 + 3
    assert parameters(network) == encoder + decoder


def test_combined_has_the_reports_size_on_resnet50s_layer3():
    network = CombinedSettings().build(Task((1024, 14, 14), 168, 0))
    assert parameters(network) == conv_count(1024, 512, 256) + linear_count(256 * 3 * 3, 1024, 512, 168)


def test_the_readout_has_a_mask_and_features_per_neuroid_instead_of_their_product():
    network = ReadoutSettings().build(Task((40, 14, 14), 168, 0))
    assert parameters(network) == 168 * (14 * 14 + 40 + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvNetSettings().build(Task((3, 7, 7), 4, 0)), "convnet halves its images 3 times; 7 x 7 pixels"),
        (lambda: ConvNetSettings().build(Task((1280,), 4, 0)), "convnet needs inputs of channels x height x width"),
        (lambda: ConvNetSettings(widths=()), "convnet: widths must be whole numbers above 0, not ()"),
        (lambda: ConvNetSettings(hidden=0), "convnet: hidden must be whole numbers above 0, not 0"),
        (lambda: ConvNetSettings(hidden=True), "convnet: hidden must be whole numbers above 0, not True"),
        (lambda: ConvNetSettings(widths=(8, 1.5)), "convnet: widths must be whole numbers above 0"),
        (lambda: ConvNetSettings(dropout=1.0), "convnet: dropout must be at least 0 and below 1, not 1.0"),
        (lambda: DualTaskSettings().build(Task((3, 31, 64), 4, 3)), "give images of at least 32 x 32"),
        (lambda: DualTaskSettings().build(Task((3, 32, 32), 4, 0)), "the stimuli have 0: give a recording with"),
        (lambda: DualTaskSettings().build(Task((3, 32, 32), 4, 1)), "the stimuli have 1"),
        (lambda: DualTaskSettings(balance="even"), "balance must be 'uncertainty' or the weight"),
        (lambda: DualTaskSettings(balance=-1.0), "dual_task: balance must be at least 0 and finite, not -1.0"),
        (lambda: DualTaskSettings(balance=math.inf), "balance must be at least 0 and finite, not inf"),
        (lambda: DualTaskSettings(balance=math.nan), "balance must be at least 0 and finite, not nan"),
        (lambda: AutoencoderSettings(pull=-0.1), "autoencoder: pull must be at least 0 and finite"),
        (lambda: AutoencoderSettings(bottleneck=0), "autoencoder: bottleneck must be whole numbers above 0"),
        (lambda: AutoencoderSettings(bottleneck=9, pull=1.0).build(IMAGES), "a bottleneck of 9 cannot be pulled to 4"),
        (lambda: AutoencoderSettings().build(Task((3, 4, 64), 4, 0)), "autoencoder halves its images 3 times"),
        (lambda: CombinedSettings(hidden=(5, 0)), "combined: hidden must be whole numbers above 0, not (5, 0)"),
        (lambda: CombinedSettings().build(Task((1280,), 4, 0)), "channels x height x width; these are 1280; choose a"),
        (
            lambda: CombinedSettings().build(Task((2, 4, 4), 4, 0)).fit_input(torch.zeros(3), torch.ones(2)),
            "inputs have 2 channels, their mean has shape (3,)",
        ),
        (
            lambda: CombinedSettings().build(Task((2, 4, 4), 4, 0)).fit_input(
                torch.zeros(2), torch.tensor([1, math.nan])
            ),
            "the mean or sd of an input channel is not finite",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told_in_one_line(make, message):
    with pytest.raises(InputError) as raised:
        make()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
