"""Which kind of candidate a model of the zoo becomes."""

from typing import Any

from itprobe.errors import InputError
from itprobe.models.brainscore_zoo.loading import load_zoo_model
from itprobe.models.candidate import Candidate
from itprobe.models.identifiers import CandidateId


def load_brainscore(candidate: CandidateId, device: str) -> Candidate:
    """Load ``brainscore/NAME``: a torch network where Brain-Score's own wrapper records it, else a recorder.

    Raises
    ------
    InputError
        As `load_zoo_model` does, and if what the zoo gives is neither a BrainModel nor an activations model.
    """
    name = candidate.name.partition("/")[2]
    model = load_zoo_model(name)
    # Brain-Score's model helpers take seconds to import.
    from itprobe.models.brainscore_zoo.network import ZooNetwork, is_plain_wrapper
    from itprobe.models.brainscore_zoo.recorder import ZooRecorder
    from itprobe.models.brainscore_zoo.regions import committed_regions

    records = callable(getattr(model, "look_at", None))
    activations_model = _unwrapped(getattr(model, "activations_model", None if records else model))
    degrees = float(model.visual_degrees()) if records else None
    regions = committed_regions(model)
    own_way = records and _records_in_its_own_way(model)
    if is_plain_wrapper(activations_model) and not own_way:
        return ZooNetwork(name, activations_model, regions, degrees, device)
    # A model of its own kind decides itself what a region is; time bins of its layers may differ.
    layers = list(getattr(model, "layers", [])) if hasattr(model, "layer_model") and not own_way else []
    if not records and not layers:
        raise InputError(
            f"{candidate.name} is a bare activations model ({type(model).__name__}) that names no layers; "
            "wrap it in a ModelCommitment"
        )
    return ZooRecorder(name, model, activations_model, layers, regions, degrees)


def _records_in_its_own_way(model: Any) -> bool:
    """Whether a ModelCommitment records otherwise than by its layers, e.g. with layers for each time bin."""
    from brainscore_vision.model_helpers.brain_transformation import ModelCommitment

    return isinstance(model, ModelCommitment) and any(
        getattr(type(model), name) is not getattr(ModelCommitment, name)
        for name in ("look_at", "start_recording")
    )


def _unwrapped(activations_model: Any) -> Any:
    """The wrapper inside Brain-Score's switch-off of caches, which are off here anyway."""
    from brainscore_vision.model_helpers.activations import pytorch

    disabled = getattr(pytorch, "_CacheDisabledExtractorCall", ())
    return activations_model._wrapper if isinstance(activations_model, disabled) else activations_model
