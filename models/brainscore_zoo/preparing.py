"""The preprocessing of Brain-Score's wrappers, which takes paths, as one that takes images."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brainscore_vision.model_helpers.activations.pytorch import load_preprocess_images
from PIL import Image

from itprobe.errors import InputError
from itprobe.files import sha256_values
from itprobe.models.brainscore_zoo.loading import brainscore_calls
from itprobe.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

_TRIED_SIDE = 256


@dataclass(frozen=True)
class FromPaths(Preprocessing):
    """A plugin's own preprocessing, called with the path of one image at a time.

    Each image goes through a temporary PNG file, which keeps its 8-bit RGB values.

    Attributes
    ----------
    prepare : callable
        Takes a list of paths, returns an array, tensor or list with one item per path.
    code : str
        Tells the plugin's code and what was bound to it.
    """

    prepare: Callable[[list[str]], Any] | None = None
    code: str = ""

    @property
    def digest(self) -> str:
        """Of the plugin's code."""
        return sha256_values("brainscore-zoo", self.code)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Prepare one RGB image: (channel, height, width), float32."""
        assert self.prepare is not None
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            image.save(file, format="PNG", compress_level=1)
            file.flush()
            with brainscore_calls():
                prepared = self.prepare([file.name])
        first = prepared[0]
        values = torch.as_tensor(first if isinstance(first, torch.Tensor) else np.asarray(first))
        if values.ndim != 3:
            raise InputError(
                f"it gave shape {tuple(values.shape)} for one image instead of (channel, height, width)"
            )
        return values.float()


def preprocessing_of(prepare: Callable[[list[str]], Any], code: str) -> Preprocessing:
    """Preprocessing of a wrapper: our own where it is Brain-Score's usual one, which is the same, else the plugin's.

    Parameters
    ----------
    prepare : callable
        What the wrapper's extractor calls with paths.
    code : str
        Digest of the plugin's code.
    """
    usual = _usual(prepare)
    if usual is not None:
        return usual
    bound = repr(sorted(prepare.keywords.items())) if isinstance(prepare, functools.partial) else ""
    own = FromPaths(prepare=prepare, code=sha256_values(code, bound))
    tried = own(Image.fromarray(np.zeros((_TRIED_SIDE, _TRIED_SIDE, 3), dtype=np.uint8)))
    return FromPaths(size=(int(tried.shape[1]), int(tried.shape[2])), prepare=prepare, code=own.code)


def _usual(prepare: Callable[[list[str]], Any]) -> Preprocessing | None:
    """Ours for ``partial(load_preprocess_images, image_size=...)``: whole image, bilinear, one normalisation."""
    if (
        not isinstance(prepare, functools.partial)
        or prepare.func is not load_preprocess_images
        or prepare.args
    ):
        return None
    bound = dict(prepare.keywords)
    side = bound.pop("image_size", None)
    mean, std = bound.pop("normalize_mean", IMAGENET_MEAN), bound.pop("normalize_std", IMAGENET_STD)
    if bound.pop("preprocess_type", "imagenet") != "imagenet" or bound or not isinstance(side, int):
        return None
    return Preprocessing(size=(side, side), mean=tuple(map(float, mean)), std=tuple(map(float, std)))  # type: ignore[arg-type]


def image_file(image: Image.Image, folder: Path, row: int) -> Path:
    """Write an image of a stimulus set's row without loss."""
    path = folder / f"{row:06d}.png"
    image.save(path, compress_level=1)
    return path
