"""Our candidates as Brain-Score models, with layers committed to regions so that nothing is downloaded."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper
from brainscore_vision.model_helpers.brain_transformation import ModelCommitment

from itprobe.errors import InputError
from itprobe.models.candidate import Candidate, NetworkCandidate
from itprobe.models.identifiers import parse_layer
from itprobe.models.preprocessing import Preprocessing, read_image
from itprobe.models.registry import load_candidate
from itprobe.models.stream import copy_output

REGIONS = ("V1", "V2", "V4", "IT")
PIXEL_LAYERS = dict.fromkeys(REGIONS, "pixels")
LITE0_LAYERS = {"V1": "_blocks.2", "V2": "_blocks.4", "V4": "_blocks.8", "IT": "_blocks.12"}


class NetworkWrapper(PytorchWrapper):
    """Brain-Score's wrapper, recording layers as our own stream does (copied, pooled by name)."""

    def get_layer(self, layer_name: str) -> Any:  # noqa: D102
        return super().get_layer(parse_layer(layer_name).module)

    def register_hook(self, layer: Any, layer_name: str, target_dict: dict[str, np.ndarray]) -> Any:  # noqa: D102
        wanted = parse_layer(layer_name)

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            target_dict[layer_name] = copy_output(wanted, output).cpu().numpy()

        return layer.register_forward_hook(keep)


class ImageWrapper:
    """Prepared images themselves as the activations of one layer."""

    def __init__(self, candidate: Candidate, preprocessing: Preprocessing, identifier: str) -> None:
        self._layers = candidate.layers()
        self._extractor = ActivationsExtractorHelper(
            identifier=identifier,
            preprocessing=_Images(preprocessing),
            get_activations=self._images,
        )
        self._extractor.insert_attrs(self)

    @property
    def identifier(self) -> str:
        """Identifier in Brain-Score's activation cache."""
        return self._extractor.identifier

    @identifier.setter
    def identifier(self, value: str) -> None:
        self._extractor.identifier = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Activations of stimuli, as Brain-Score's extractor gives them."""
        return self._extractor(*args, **kwargs)

    def _images(self, images: Sequence[np.ndarray], layers: Sequence[str]) -> OrderedDict[str, np.ndarray]:
        if list(layers) != self._layers:
            raise InputError(f"{self.identifier} has the layer {self._layers[0]!r} alone, not {list(layers)}")
        return OrderedDict([(self._layers[0], np.stack(images))])


class _Images:
    """Paths to an array (b, channel, height, width), as Brain-Score's extractor wants it."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        return np.stack([self._preprocessing(read_image(path, path)).numpy() for path in paths])


def brain_model(
    candidate_id: str, region_layer_map: Mapping[str, str], identifier: str, visual_degrees: float = 8
) -> ModelCommitment:
    """Make a Brain-Score model of a candidate.

    Parameters
    ----------
    candidate_id : str
        ``NAME[@WEIGHTS]`` of a candidate that looks at images.
    region_layer_map : mapping of str to str
        Region -> layer. All regions that will be asked for: for any other, Brain-Score downloads
        recordings to choose a layer.
    identifier : str
        Name in Brain-Score, without ``/``.
    visual_degrees : float
        Of the field of view.

    Returns
    -------
    ModelCommitment
        Its activations are cached by Brain-Score under an identifier with the weights' digest, because
        that cache knows nothing of weights.

    Raises
    ------
    InputError
        If the identifier has a ``/``, a layer is unknown, or the candidate looks at no image.
    """
    return brain_model_of(load_candidate(candidate_id), region_layer_map, identifier, visual_degrees)


def brain_model_of(
    candidate: Candidate, region_layer_map: Mapping[str, str], identifier: str, visual_degrees: float = 8
) -> ModelCommitment:
    """As `brain_model`, of a candidate that is loaded."""
    if "/" in identifier:
        raise InputError(f"Brain-Score identifiers hold no '/': {identifier!r}")
    for layer in region_layer_map.values():
        candidate.check_layer(layer)
    if candidate.preprocessing is None:
        raise InputError(f"{candidate.identifier} looks at no image, so it cannot be a Brain-Score model")
    wrapper: Any
    if isinstance(candidate, NetworkCandidate):
        wrapper = NetworkWrapper(
            model=candidate.module,
            preprocessing=_Images(candidate.preprocessing),
            identifier=f"{identifier}-{str(candidate.weights_sha256)[:16]}",
        )
    else:
        wrapper = ImageWrapper(candidate, candidate.preprocessing, identifier)
    return ModelCommitment(
        identifier=identifier,
        activations_model=wrapper,
        layers=list(dict.fromkeys(region_layer_map.values())),
        region_layer_map=dict(region_layer_map),
        visual_degrees=visual_degrees,
    )
