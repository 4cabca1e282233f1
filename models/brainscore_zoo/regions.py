"""Which layers of a model stand for which regions of the brain."""

from collections.abc import Mapping
from typing import Any

from itprobe.errors import InputError

REGIONS = ("V1", "V2", "V4", "IT")
"""Those that Brain-Score's models can be asked to record."""


def committed_regions(model: Any) -> dict[str, Any]:
    """Region -> layer of a model, as far as it is written down; nothing is chosen or downloaded for it."""
    layer_model = getattr(model, "layer_model", None)
    committed = getattr(layer_model, "region_layer_map", None)
    # Asked for a region it lacks, Brain-Score's own kind of dict would start to choose a layer.
    return dict(committed.items()) if isinstance(committed, Mapping) else {}


def layer_of_region(identifier: str, regions: Mapping[str, Any], name: str) -> str | None:
    """The layer committed to the region `name`; None where `name` is no region.

    Raises
    ------
    InputError
        If no layer, or more than one, is committed to the region.
    """
    if name not in REGIONS and name not in regions:
        return None
    if name not in regions:
        raise InputError(
            f"{identifier} commits no layer to {name}: Brain-Score would choose one on a recording that it "
            f"downloads; name a layer, e.g. {identifier}:LAYER, or leave it out to score all blocks"
        )
    layer = regions[name]
    if isinstance(layer, str):
        return layer
    return ",".join(layer)
