"""Candidates that no network is needed for: they show what a score is worth."""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np

from itprobe.errors import InputError, unknown_name
from itprobe.models.candidate import Batch, Candidate
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.stream import check_finite, image_batches, stimulus_ids

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

LATENT_COLUMNS = ("ryz", "rxz", "rxy", "ty", "tz", "s")
PIXEL_PREPROCESSING = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class _OneLayerCandidate(Candidate):
    """A control has one layer, named like itself."""

    def layers(self, which: Literal["all", "blocks"] = "all") -> list[str]:
        """The one layer."""
        return [self.identifier]

    def check_layer(self, name: str) -> None:
        """Raise `InputError` if `name` is not the one layer."""
        if name != self.identifier:
            raise unknown_name(f"layer of {self.identifier}", name, [self.identifier])


class PixelsCandidate(_OneLayerCandidate):
    """RGB values in 0-1 of the whole image, resized to 224 x 224 (bilinear, antialiased): p = 150528."""

    def __init__(self) -> None:
        super().__init__(
            "pixels", "control", preprocessing=PIXEL_PREPROCESSING, code=f"pillow {version('pillow')}"
        )

    def _batches(
        self, stimulus_set: "StimulusSet", layers: Sequence[str], batch_size: int, any_order: bool
    ) -> Iterator[Batch]:
        for rows, images in image_batches(stimulus_set, PIXEL_PREPROCESSING, batch_size, self.identifier):
            yield rows, {self.identifier: images.flatten(1).numpy()}


class MetadataCandidate(_OneLayerCandidate):
    """Features made of columns of the stimulus set, which no image and no response enters."""

    def __init__(self, identifier: str, features: Callable[["StimulusSet"], np.ndarray]) -> None:
        super().__init__(identifier, "control")
        self._features = features

    def check_stimuli(self, stimulus_set: "StimulusSet") -> None:
        """Raise `InputError` if the stimulus set lacks a column, or a cell of it has no value."""
        ids = stimulus_ids(stimulus_set)
        check_finite(self._features(stimulus_set), self.identifier, self.identifier, ids)

    def _batches(
        self, stimulus_set: "StimulusSet", layers: Sequence[str], batch_size: int, any_order: bool
    ) -> Iterator[Batch]:
        features = self._features(stimulus_set)
        for start in range(0, len(features), batch_size):
            rows = slice(start, min(start + batch_size, len(features)))
            yield rows, {self.identifier: features[rows]}


def one_hot(stimulus_set: "StimulusSet", column: str) -> np.ndarray:
    """One column per value of `column`, sorted: (n, n_values) float32 of 0 and 1.

    Raises
    ------
    InputError
        If the column is missing or has empty cells.
    """
    _require(stimulus_set, [column], f"{column.removesuffix('_name')}_onehot")
    cells = stimulus_set[column]
    if cells.isna().any():
        raise InputError(f"{int(cells.isna().sum())} stimuli have no {column!r}; fill the column")
    values = cells.astype(str).to_numpy(dtype=str)
    return (values[:, None] == np.unique(values)[None, :]).astype(np.float32)


def latents(stimulus_set: "StimulusSet") -> np.ndarray:
    """Pose, position and size, as there are: (n, n_latents) float32, z-scored over the stimulus set.

    The z-score puts degrees and fractions of the image on one scale; it uses no response, so nothing
    leaks. A constant column becomes 0.

    Raises
    ------
    InputError
        If none of the columns is there, or one does not hold numbers.
    """
    columns = [column for column in LATENT_COLUMNS if column in stimulus_set.columns]
    if not columns:
        _require(stimulus_set, list(LATENT_COLUMNS), "latents")
    try:
        values = stimulus_set[columns].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"latents: the columns {', '.join(columns)} must hold numbers ({error})") from None
    constant = np.ptp(values, axis=0) == 0
    centred = np.where(constant, 0, values - values.mean(axis=0))
    return (centred / np.where(constant, 1, values.std(axis=0))).astype(np.float32)


def _require(stimulus_set: "StimulusSet", columns: list[str], candidate: str) -> None:
    if not set(columns) <= set(stimulus_set.columns):
        raise InputError(
            f"{candidate} needs {' or '.join(map(repr, columns))} in the stimulus set, "
            f"which has the columns {', '.join(map(str, stimulus_set.columns))}"
        )
