"""Models of the zoo whose activations come from Brain-Score's own torch wrapper: read with our hooks."""

from collections.abc import Mapping
from importlib.metadata import version
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

import torch
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper
from torch import nn

from itprobe.models.architecture import architecture_of
from itprobe.models.brainscore_zoo.preparing import preprocessing_of
from itprobe.models.brainscore_zoo.regions import layer_of_region
from itprobe.models.brainscore_zoo.registrations import PREFIX, plugin_digest
from itprobe.models.brainscore_zoo.screen import on_screen
from itprobe.models.candidate import NetworkCandidate
from itprobe.models.user_code import user_code
from itprobe.models.weights import weights_digest

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

# A wrapper that brings its own of one of these records something else than the outputs of modules.
_OF_THE_WRAPPER = ("__call__", "get_activations", "get_layer", "register_hook", "_tensor_to_numpy")


class ZooNetwork(NetworkCandidate):
    """A torch network of the zoo: one pass for all layers, with the wrapper's preprocessing and screen.

    Parameters
    ----------
    name : str
        In the zoo.
    wrapper : PytorchWrapper
        As `is_plain_wrapper` accepts it.
    regions : mapping of str to object
        Region -> layer, as far as the model commits itself.
    visual_degrees : float or None
        Width of the model's field of view; None for a model that has none.
    device : str
    """

    def __init__(
        self,
        name: str,
        wrapper: PytorchWrapper,
        regions: Mapping[str, Any],
        visual_degrees: float | None,
        device: str,
    ) -> None:
        identifier, plugin = PREFIX + name, plugin_digest(name)
        module: nn.Module = wrapper._model
        with user_code(f"{identifier}: the preprocessing of a test image", "choose another model"):
            own = preprocessing_of(wrapper._extractor.preprocess, plugin)
        with user_code(f"{identifier}: reading the weights", "choose another model"):
            digest = weights_digest(module, identifier + architecture_of(module))
        super().__init__(
            identifier,
            module,
            on_screen(own, visual_degrees),
            digest,
            device,
            f"brainscore_vision {version('brainscore_vision')}, plugin {plugin[:16]}",
            "unknown",
        )
        self.regions = regions

    def check_stimuli(self, stimulus_set: "StimulusSet") -> None:
        """As for any candidate; `preprocessing` then tells where on the model's screen these images go, too."""
        super().check_stimuli(stimulus_set)
        self.preprocessing = self.preprocessing.for_stimuli(stimulus_set)

    def resolve_layer(self, name: str) -> str:
        """A module's name as it is, and a region's as the layer that the model commits to it.

        Raises
        ------
        InputError
            If there is no such layer, or the model commits none to the region.
        """
        module, tilde, pooled = name.partition("~")
        committed = None if module in self.traced else layer_of_region(self.identifier, self.regions, module)
        return super().resolve_layer(f"{committed or module}{tilde}{pooled}")


def is_plain_wrapper(activations_model: Any) -> bool:
    """Whether activations are what our hooks read: outputs of modules in one plain forward pass."""
    if not isinstance(activations_model, PytorchWrapper):
        return False
    kind, extractor = type(activations_model), activations_model._extractor
    return (
        isinstance(activations_model._model, nn.Module)
        and _in_single_precision(activations_model._model)
        and all(
            getattr_static(kind, name) is getattr_static(PytorchWrapper, name) for name in _OF_THE_WRAPPER
        )
        and type(extractor) is ActivationsExtractorHelper
        and not extractor._batch_activations_hooks
        and not extractor._stimulus_set_hooks
        and not activations_model._forward_kwargs
    )


def _in_single_precision(module: nn.Module) -> bool:
    tensors = module.state_dict().values()
    return all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point())
