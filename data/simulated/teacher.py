"""The hidden teacher: a random but structured convolutional network that drives the simulated sites.

Its first block are Gabor filters in four phases, as in primary visual cortex; the later blocks are
seeded random convolutions. Each block ends in divisive normalisation and pooling, so that contrast is
lost, position is tolerated more and more, and a linear readout of pixels does badly. The sites read
`PLANTED_BLOCK`, the fourth of five: a profile over depth should peak there.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

PLANTED_BLOCK = "block4"
INPUT_SIZE = 96
WIDTHS = (48, 64, 96, 128)  # channels of blocks 2 to 5
WAVELENGTHS, ORIENTATIONS, PHASES, FILTER_SIZE = (4.5, 8.0), 8, 4, 13
BATCH = 64


class Retina(nn.Module):
    """Grey image of 96 x 96, mean 0 and standard deviation 1: input scale and normalisation are lost."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (b, c, h, w) to (b, 1, 96, 96)."""
        grey = images.mean(dim=1, keepdim=True)
        size = (INPUT_SIZE, INPUT_SIZE)
        grey = functional.interpolate(grey, size=size, mode="bilinear", antialias=True, align_corners=False)
        grey = grey - grey.mean(dim=(2, 3), keepdim=True)
        return grey / (grey.std(dim=(2, 3), keepdim=True) + 1e-6)


class Normalise(nn.Module):
    """Divide by the local activity of all channels (Heeger 1992): x / (share of the mean + rms)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (b, c, h, w)."""
        energy = functional.avg_pool2d(x.square().mean(dim=1, keepdim=True), 3, stride=1, padding=1)
        floor = 0.3 * energy.mean(dim=(2, 3), keepdim=True)
        return x / (energy + floor + 1e-12).sqrt()


class Teacher(nn.Module):
    """Five blocks, ``block1`` to ``block5``: convolution, rectification, normalisation, pooling.

    Any image batch (b, c, h, w) will do: it is turned grey, resized and standardised first, so the
    preprocessing that the caller applies makes next to no difference.
    """

    def __init__(self, seed: int):
        super().__init__()
        rng = np.random.default_rng([seed, 4])
        gabors = _gabors()
        self.retina = Retina()
        self.block1 = _block(gabors, stride=2, pool=nn.MaxPool2d(2))
        channels = len(gabors)
        pools = (nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Identity())
        for number, (width, pool) in enumerate(zip(WIDTHS, pools, strict=True), start=2):
            self.add_module(f"block{number}", _block(_random_filters(rng, channels, width), 1, pool))
            channels = width
        self.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (b, c, h, w) to the last block's output (b, 128, 3, 3)."""
        x = self.retina(images)
        for block in list(self.children())[1:]:
            x = block(x)
        return x


def teacher(seed: int = 0) -> Teacher:
    """Make the teacher of a seed, in evaluation mode; torch's global generator is not touched.

    The sites of a recording made with the same seed are read out of ``block4`` (`PLANTED_BLOCK`).
    """
    return Teacher(seed).eval()


def teacher_features(network: nn.Module, images: np.ndarray, block: str = PLANTED_BLOCK) -> np.ndarray:
    """Run grey images through the teacher up to a block.

    Parameters
    ----------
    network : Module
        From `teacher`.
    images : np.ndarray (n, h, w) uint8
    block : str

    Returns
    -------
    np.ndarray (n, channels, rows, columns) float32
    """
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            x = torch.from_numpy(images[start : start + BATCH, None].astype(np.float32) / 255)
            for name, module in network.named_children():
                x = module(x)
                if name == block:
                    break
            outputs.append(x.numpy())
    return np.concatenate(outputs)


def _block(weights: np.ndarray, stride: int, pool: nn.Module) -> nn.Sequential:
    """Convolution with given weights (out, in, k, k), rectification, normalisation, pooling."""
    n_out, n_in, size, _ = weights.shape
    # torch would draw weights from its global generator; these are given.
    convolution = nn.utils.skip_init(
        nn.Conv2d, n_in, n_out, size, stride=stride, padding=size // 2, bias=False, padding_mode="replicate"
    )
    convolution.weight = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))
    return nn.Sequential(convolution, nn.ReLU(), Normalise(), pool)


def _gabors() -> np.ndarray:
    """Gabor filters (filters, 1, 13, 13), each of mean 0 and norm 1."""
    axis = np.arange(FILTER_SIZE) - FILTER_SIZE // 2
    y, x = axis[None], -axis[:, None]
    filters = []
    for wavelength in WAVELENGTHS:
        for angle in np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS:
            along = y * np.cos(angle) + x * np.sin(angle)
            envelope = np.exp(-(x**2 + y**2) / (2 * (0.45 * wavelength) ** 2))
            for phase in np.arange(PHASES) * 2 * np.pi / PHASES:
                gabor = envelope * np.cos(2 * np.pi * along / wavelength + phase)
                gabor -= envelope * gabor.sum() / envelope.sum()
                filters.append(gabor / np.linalg.norm(gabor))
    return np.array(filters)[:, None]


def _random_filters(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """He-scaled random 3 x 3 filters (out, in, 3, 3), each of mean 0 over its inputs.

    Without the zero mean, rectified inputs would drive all filters alike.
    """
    filters = rng.normal(size=(n_out, n_in, 3, 3)) * np.sqrt(2 / (9 * n_in))
    return filters - filters.mean(axis=(1, 2, 3), keepdims=True)
