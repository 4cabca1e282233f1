"""Models of the zoo that record by themselves: shown stimuli through `look_at`, as Brain-Score does."""

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from brainscore_vision.model_helpers.brain_transformation.neural import LayerMappedModel
from brainscore_vision.model_helpers.brain_transformation.temporal import TemporalAligned
from PIL import Image

from itprobe.errors import InputError, unknown_name
from itprobe.files import sha256_values
from itprobe.models.brainscore_zoo.loading import brainscore_calls
from itprobe.models.brainscore_zoo.preparing import image_file
from itprobe.models.brainscore_zoo.regions import REGIONS, layer_of_region
from itprobe.models.brainscore_zoo.registrations import PREFIX, plugin_digest
from itprobe.models.brainscore_zoo.screen import placed, screen_ratio
from itprobe.models.candidate import Batch, Candidate, Features
from itprobe.models.preprocessing import Preprocessing, read_image
from itprobe.models.stream import image_paths, stimulus_ids
from itprobe.models.user_code import user_code
from itprobe.models.weights import weights_digest

TIME_BIN = (70, 170)
"""ms after the stimulus's onset, as in Majaj & Hong et al. 2015."""


class ZooRecorder(Candidate):
    """A model that is shown stimuli and asked what it records, a few hundred at a time.

    Its layers are those that Brain-Score would choose from; a model without layers has its regions.
    Features are kept in no store: the packages that compute them are its own business.

    Parameters
    ----------
    name : str
        In the zoo.
    model : BrainModel
        Records regions; None for a bare activations model.
    activations_model : callable or None
        Records layers; None for a model that has none.
    layers : sequence of str
        Of the activations model.
    regions : mapping of str to object
        Region -> layer, as far as the model commits itself.
    visual_degrees : float or None
        Width of the model's field of view.
    """

    # Brain-Score describes every feature anew in each call; of more stimuli the features take much memory.
    batch_size = 256

    def __init__(
        self,
        name: str,
        model: Any,
        activations_model: Any,
        layers: Sequence[str],
        regions: Mapping[str, Any],
        visual_degrees: float | None,
    ) -> None:
        super().__init__(
            PREFIX + name,
            "frozen",
            _digest(name, activations_model),
            preprocessing=Preprocessing(transform=_prepared_by_the_model),
            weights_kind="unknown",
        )
        self.regions = regions
        self.visual_degrees = visual_degrees
        self._model, self._activations_model, self._layers = model, activations_model, list(layers)

    def layers(self, which: Literal["all", "blocks"] = "all") -> list[str]:
        """The layers that the model's author named; IT where there are none."""
        return list(self._layers) or ["IT"]

    def check_layer(self, name: str) -> None:
        """Raise `InputError` if `name` is neither a layer that the author named nor a region of a model without."""
        known = self._layers or REGIONS
        if name not in known:
            raise unknown_name(f"layer of {self.identifier}", name, known)

    def resolve_layer(self, name: str) -> str:
        """A layer's name as it is, and a region's as the layer that the model commits to it."""
        if not self._layers or name in self._layers:
            return super().resolve_layer(name)
        if len(self._layers) == 1 and name in REGIONS:
            return self._layers[0]
        return layer_of_region(self.identifier, self.regions, name) or super().resolve_layer(name)

    def _batches(
        self, stimulus_set: StimulusSet, layers: Sequence[str], batch_size: int, any_order: bool
    ) -> Iterator[Batch]:
        ids, paths = stimulus_ids(stimulus_set), image_paths(stimulus_set)
        ratio = screen_ratio(stimulus_set, self.visual_degrees)
        for start in range(0, len(ids), batch_size):
            rows = slice(start, min(start + batch_size, len(ids)))
            step = f"{self.identifier}: looking at stimuli {ids[rows.start]!r} to {ids[rows.stop - 1]!r}"
            with tempfile.TemporaryDirectory(prefix="itprobe-screen-") as folder:
                shown = _shown(ids[rows], paths[rows], ratio, Path(folder))
                with user_code(step, "ask for one layer at a time, or choose another model"):
                    features = self._seen(shown, layers)
            yield rows, features

    def _seen(self, stimuli: StimulusSet, layers: Sequence[str]) -> dict[str, Features]:
        """Features (b, p) float32 of each layer, rows in the order of the stimuli."""
        if not self._layers:
            return {
                region: _features(self._recorded(self._model, region, stimuli), stimuli) for region in layers
            }
        mapped = LayerMappedModel(self.identifier, self._activations_model, {"IT": list(layers)})
        recorded = self._recorded(TemporalAligned(mapped), "IT", stimuli)
        of_layer = recorded["layer"].values.astype(str)
        return {
            layer: _features(recorded.isel(neuroid=np.flatnonzero(of_layer == layer)), stimuli)
            for layer in layers
        }

    def _recorded(self, model: Any, region: str, stimuli: StimulusSet) -> Any:
        """What the model records of a region (presentation, neuroid)."""
        # Brain-Score draws two progress bars for each call.
        with brainscore_calls(), redirect_stderr(io.StringIO()):
            model.start_recording(region, time_bins=[TIME_BIN])
            recorded = model.look_at(stimuli, number_of_trials=1)
        if "time_bin" in recorded.dims:
            if recorded.sizes["time_bin"] != 1:
                raise InputError(f"it recorded {recorded.sizes['time_bin']} time bins instead of one")
            recorded = recorded.squeeze("time_bin")
        return recorded.transpose("presentation", "neuroid")


def _digest(name: str, activations_model: Any) -> str:
    """Of the plugin's files, which say what weights to take, and of the weights of a torch network."""
    identifier, module = f"{PREFIX}{name} {plugin_digest(name)}", getattr(activations_model, "_model", None)
    if not isinstance(module, torch.nn.Module):
        return sha256_values(identifier)
    with user_code(f"{PREFIX}{name}: reading the weights", "choose another model"):
        return weights_digest(module, identifier)


def _prepared_by_the_model(_image: Image.Image) -> torch.Tensor:
    raise InputError("this model of Brain-Score's zoo prepares its images itself")


def _shown(ids: np.ndarray, paths: Sequence[str | Path], ratio: float, folder: Path) -> StimulusSet:
    """Stimuli as Brain-Score's code takes them, on the model's screen; files of placed ones lie in `folder`."""
    stimuli = StimulusSet(pd.DataFrame({"stimulus_id": ids}))
    stimuli.stimulus_paths = {
        key: Path(path) if ratio == 1 else image_file(placed(read_image(path, key), ratio), folder, row)
        for row, (key, path) in enumerate(zip(ids, paths, strict=True))
    }
    stimuli.identifier = "itprobe"  # some models want one; nothing is cached under it
    return stimuli


def _features(recorded: Any, stimuli: StimulusSet) -> np.ndarray:
    """Rows joined to the stimuli by id: (b, p) float32."""
    ids = [str(key) for key in recorded["stimulus_id"].values]
    wanted = [str(key) for key in stimuli["stimulus_id"]]
    if sorted(ids) != sorted(wanted):
        raise InputError(f"it gave {len(ids)} rows for {len(wanted)} stimuli")
    row_of = {key: row for row, key in enumerate(ids)}
    return np.asarray(recorded.values, dtype=np.float32)[[row_of[key] for key in wanted]]
