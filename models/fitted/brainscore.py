"""Exported fits as Brain-Score models whose recordings are the network's predictions."""

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly, walk_coords
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from brainscore_vision.model_helpers.brain_transformation import ModelCommitment

from itprobe.models.fitted.exported import Exported, load_exported

OUTPUT = "output"


class OutputWrapper:
    """Predicted responses as the activations of the one layer ``output``.

    Warns, once, where stimuli are shown that the network was fitted to.
    """

    def __init__(self, exported: Exported) -> None:
        self.exported = exported
        self._warned = False
        # Images are prepared with the prediction, so that it is the same one; paths go through as they are.
        self._extractor = ActivationsExtractorHelper(
            identifier=exported.identifier, preprocessing=None, get_activations=self._predicted
        )
        self._extractor.insert_attrs(self)

    @property
    def identifier(self) -> str:
        """Identifier in Brain-Score's activation cache."""
        return self._extractor.identifier

    @identifier.setter
    def identifier(self, value: str) -> None:
        self._extractor.identifier = value

    def __call__(self, stimuli: StimulusSet | list[str], *args: Any, **kwargs: Any) -> NeuroidAssembly:
        """Predictions (presentation, neuroid), with the recording's neuroid ids where these are known."""
        self._warn(stimuli)
        made = self._extractor(stimuli, *args, **kwargs)
        coords = {name: (dims, values) for name, dims, values in walk_coords(made)}
        coords["neuroid_id"] = (("neuroid",), np.array(self.exported.neuroid_ids))
        return NeuroidAssembly(made.values, coords=coords, dims=made.dims)

    def _warn(self, stimuli: StimulusSet | list[str]) -> None:
        if self._warned or not isinstance(stimuli, StimulusSet):  # bare paths have no ids
            return
        ids = stimuli["stimulus_id"].astype(str).unique()
        seen = self.exported.trained_on(ids)
        if seen:
            self._warned = True
            warnings.warn(
                f"{self.identifier} was fitted to {seen} of the {len(ids)} stimuli shown: a score on them is no "
                "held-out score",
                stacklevel=3,
            )

    def _predicted(self, paths: Sequence[str], layers: Sequence[str]) -> "OrderedDict[str, np.ndarray]":
        # Brain-Score fills the last batch up with copies of its last path.
        shown = list(dict.fromkeys(map(str, paths)))
        stimuli = StimulusSet(pd.DataFrame({"stimulus_id": shown}))
        stimuli.stimulus_paths = dict(zip(shown, shown, strict=True))
        stimuli.identifier = self.identifier
        predicted = self.exported.predict(stimuli).astype(np.float32)
        row_of = {path: row for row, path in enumerate(shown)}
        return OrderedDict((layer, predicted[[row_of[str(path)] for path in paths]]) for layer in layers)


def brain_model(
    folder: str | Path, device: str = "auto", backbone: str | None = None, visual_degrees: float = 8
) -> ModelCommitment:
    """Make a Brain-Score model of an exported fit.

    Parameters
    ----------
    folder, device, backbone
        See `itprobe.models.fitted.exported.load_exported`.
    visual_degrees : float
        Of the field of view.

    Returns
    -------
    ModelCommitment
        Records the region that the network was fitted to (IT where it is not named) and no other. What it
        records are predicted responses in the recording's units, one neuroid for each of its neuroids. Its
        identifier, also in Brain-Score's caches, tells recording, split, seed and weights.

    Raises
    ------
    InputError
        See `itprobe.models.fitted.exported.load_exported`.
    """
    exported = load_exported(folder, device, backbone)
    return ModelCommitment(
        identifier=exported.identifier,
        activations_model=OutputWrapper(exported),
        layers=[OUTPUT],
        region_layer_map={exported.description.context.get("region", "IT"): OUTPUT},
        visual_degrees=visual_degrees,
    )
