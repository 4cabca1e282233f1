"""Where stimuli lie in a model's field of view, as Brain-Score places them on its screen."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from brainscore_vision.benchmark_helpers.screen import ImageConverter
from PIL import Image

from itprobe.files import sha256_values
from itprobe.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

VISUAL_DEGREES = "visual_degrees"
"""Where a stimulus set's ``attrs`` say how wide its images were shown, in degrees of visual angle."""


def screen_ratio(stimulus_set: "StimulusSet", model_degrees: float | None) -> float:
    """Width of the model's field of view, in widths of the images.

    Parameters
    ----------
    stimulus_set : StimulusSet
        ``attrs["visual_degrees"]`` says how wide its images were shown.
    model_degrees : float or None
        Of the model's field of view.

    Returns
    -------
    float
        1 where one of the two is not known: the model then sees the whole image and nothing else.
    """
    shown = stimulus_set.attrs.get(VISUAL_DEGREES)
    return 1.0 if shown is None or model_degrees is None else float(model_degrees) / float(shown)


def placed(image: Image.Image, ratio: float) -> Image.Image:
    """An image on the screen of a model: within a grey margin, or its centre alone.

    Parameters
    ----------
    image : Image
        RGB.
    ratio : float
        Width of the screen, in widths of the image.
    """
    return image if ratio == 1 else ImageConverter(target_dir=Path()).apply_ratio(image, ratio)


@dataclass(frozen=True)
class OnScreen(Preprocessing):
    """A preprocessing of images that are placed on a model's screen first.

    Attributes
    ----------
    inner : Preprocessing
    degrees : float or None
        Width of the screen in degrees of visual angle; None where it is not known.
    ratio : float
        Width of the screen, in widths of the image.
    """

    inner: Preprocessing = field(default_factory=Preprocessing)
    degrees: float | None = None
    ratio: float = 1.0

    @property
    def digest(self) -> str:
        """Of the preprocessing and the place."""
        return self.inner.digest if self.ratio == 1 else sha256_values(self.inner.digest, self.ratio)

    def for_stimuli(self, stimulus_set: "StimulusSet") -> Preprocessing:
        """With the place of images that were shown as wide as these."""
        return replace(self, ratio=screen_ratio(stimulus_set, self.degrees))

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Place and prepare one RGB image: (channel, height, width), float32."""
        return self.inner(placed(image, self.ratio))


def on_screen(inner: Preprocessing, degrees: float | None) -> OnScreen:
    """A preprocessing on a screen of some width; images fill it until it is known how wide they were shown."""
    return OnScreen(inner.size, inner.mean, inner.std, inner.interpolation, inner=inner, degrees=degrees)
