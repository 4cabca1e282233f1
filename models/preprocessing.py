"""From an image file to what a network is shown: one resize of the whole image, one normalisation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from itprobe.errors import InputError, unknown_name
from itprobe.files import sha256_values

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_READING_FAILS_WITH = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Preprocessing:
    """How an image is prepared; it belongs to the weights and travels with them.

    The whole image is resized to the network's input size: no centre crop, because the animal saw the
    whole image (Brain-Score's preprocessing does the same). Values in 0-1 are then normalised once,
    ``(x - mean) / std`` per channel.

    Attributes
    ----------
    size : (int, int)
        Height and width of the network's input, pixels.
    mean, std : (float, float, float)
        Per channel, for values in 0-1.
    interpolation : str
        A resampling filter of Pillow, which antialiases: ``bilinear``, ``bicubic``, ``lanczos`` ...
    transform : callable or None
        Replaces all of the above: takes an RGB image (PIL), returns a tensor (channel, height, width).
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    transform: Callable[[Image.Image], torch.Tensor] | None = None

    @classmethod
    def from_user(
        cls, value: "Preprocessing | Mapping[str, Any] | Callable[..., Any] | None"
    ) -> "Preprocessing":
        """Make one of a dict of its attributes (size may be one number), a callable, or nothing.

        Raises
        ------
        InputError
            If the dict has an unknown key or a value of the wrong form.
        """
        if isinstance(value, Preprocessing):
            return value
        if value is None:
            return cls()
        if callable(value):
            return cls(transform=value)
        if not isinstance(value, Mapping):
            raise InputError(
                f"preprocessing must be a dict or a callable, not {type(value).__name__}; "
                "e.g. {'size': 224, 'mean': (.5, .5, .5), 'std': (.5, .5, .5)}"
            )
        known = {field.name for field in fields(cls)}
        for key in value:
            if key not in known:
                raise unknown_name("key of a preprocessing dict", str(key), known)
        settings = dict(value)
        if isinstance(settings.get("size"), int):
            settings["size"] = (settings["size"], settings["size"])
        for key, length in (("size", 2), ("mean", 3), ("std", 3)):
            if key in settings:
                settings[key] = _numbers(key, settings[key], length)
        made = cls(**settings)
        made.resampling()
        return made

    def resampling(self) -> Image.Resampling:
        """Pillow's filter for `interpolation`, or `InputError` with the names there are."""
        try:
            return Image.Resampling[self.interpolation.upper()]
        except KeyError:
            known = [item.name.lower() for item in Image.Resampling]
            raise unknown_name("interpolation", self.interpolation, known) from None

    @property
    def digest(self) -> str:
        """Tells two preprocessings apart in the keys of caches; a callable counts by its name."""
        name = getattr(self.transform, "__qualname__", repr(type(self.transform)))
        return sha256_values(self.size, self.mean, self.std, self.interpolation, name)

    def for_stimuli(self, stimulus_set: "StimulusSet") -> "Preprocessing":
        """The one for these stimuli: itself, unless it depends on how wide their images were shown."""
        return self

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Prepare one RGB image.

        Returns
        -------
        torch.Tensor
            (channel, height, width), float32.
        """
        if self.transform is not None:
            prepared = torch.as_tensor(self.transform(image))
            if prepared.ndim != 3:
                raise InputError(
                    f"the preprocessing callable gave shape {tuple(prepared.shape)} for one image; "
                    "it must return (channel, height, width)"
                )
            return prepared.float()
        height, width = self.size
        resized = image.resize((width, height), self.resampling())
        # NumPy, because threads call this while the network runs: each would bring torch's threads along, which go on
        # spinning where the network needs the cores (a sixth of ResNet50's time).
        values = np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1)).astype(np.float32)
        values /= 255
        values -= np.array(self.mean, np.float32)[:, None, None]
        values /= np.array(self.std, np.float32)[:, None, None]
        return torch.from_numpy(values)


def read_image(path: str | Path, stimulus_id: object) -> Image.Image:
    """Read an image file as 8-bit RGB.

    Grey and palette images become RGB; the alpha channel is dropped and the colours under it stay, as
    in Brain-Score's ``load_image``; 16-bit grey is scaled to 8 bit.

    Raises
    ------
    InputError
        If the file is missing, is no image, is cut off, or has 32 bits per pixel.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
            if image.mode not in ("I", "F"):
                return image.convert("RGB")
    except _READING_FAILS_WITH as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"the image of stimulus {str(stimulus_id)!r} cannot be read: {path} ({reason}); "
            "replace the file or take the stimulus out"
        ) from None
    raise InputError(
        f"the image of stimulus {str(stimulus_id)!r} has 32 bits per pixel: {path}; save it with 8 bits"
    )


def _numbers(key: str, value: Any, length: int) -> tuple[Any, ...]:
    kinds = int if key == "size" else (int, float)
    items = tuple(value) if isinstance(value, list | tuple) else ()
    if len(items) != length or not all(isinstance(item, kinds) and item >= 0 for item in items):
        what = "two whole numbers (height, width) or one" if key == "size" else "three numbers (R, G, B)"
        raise InputError(f"preprocessing {key!r} must be {what}, not {value!r}")
    return items
