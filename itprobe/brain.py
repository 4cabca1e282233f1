"""Any candidate as a Brain-Score model."""

import re
from collections.abc import Mapping
from typing import Any

from brainscore_vision.model_interface import BrainModel
from torch import nn

from itprobe.errors import InputError
from itprobe.models import load_candidate, parse_candidate
from itprobe.models.brainscore_models import REGIONS, brain_model_of
from itprobe.models.brainscore_zoo.loading import load_zoo_model
from itprobe.models.brainscore_zoo.registrations import PREFIX
from itprobe.models.preprocessing import Preprocessing


def brain_model(
    candidate: str | nn.Module,
    layer: str | Mapping[str, str] | None = None,
    *,
    identifier: str | None = None,
    visual_degrees: float = 8,
    device: str = "auto",
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
) -> BrainModel:
    """Make a Brain-Score model of a candidate, for any neural benchmark of Brain-Score's library.

    Parameters
    ----------
    candidate : str or torch.nn.Module
        ``NAME[@WEIGHTS][:LAYER]`` of anything that looks at images, pixels among it, or any network.
        ``brainscore/NAME`` gives Brain-Score's own model, with its layers, identifier and field of view.
    layer : str or mapping of str to str, optional
        The layer that stands for V1, V2, V4 and IT, or region -> layer, where the id names none. Controls
        have one.
    identifier : str, optional
        Name in Brain-Score, whose caches go by it; by default made of the candidate's id.
    visual_degrees : float
        Of the field of view.
    device : str
        Where a network's weights are loaded; Brain-Score then takes a GPU where there is one.
    preprocessing : Preprocessing or dict, optional
        For a module object only.

    Returns
    -------
    BrainModel
        ``benchmark(brain_model(...))`` scores it. Layers are recorded as itprobe does: copied as they come, and
        pooled where their names say so.

    Raises
    ------
    InputError
        If there is no such candidate or layer, none is named, or the candidate looks at no image.

    Examples
    --------
    >>> import itprobe, brainscore_vision
    >>> model = itprobe.brain_model("efficientnet_lite0", layer="_blocks.12")
    >>> score = brainscore_vision.load_benchmark("MajajHong2015public.IT-pls")(model)  # doctest: +SKIP
    """
    named = parse_candidate(candidate).layer if isinstance(candidate, str) else None
    if isinstance(candidate, str) and candidate.startswith(PREFIX):
        return _own_model(candidate, named or layer)
    if named and layer:
        raise InputError(f"{candidate} names a layer already; leave the argument out")
    loaded = load_candidate(candidate, device, preprocessing)
    if loaded.track == "control" and layer is None and named is None:
        (named,) = loaded.layers()
    chosen = layer or named
    if chosen is None:
        raise InputError(
            f"{loaded.identifier}: name the layer that Brain-Score is to record, e.g. layer='layer4'"
        )
    regions = dict.fromkeys(REGIONS, chosen) if isinstance(chosen, str) else dict(chosen)
    name = identifier or re.sub(r"[^A-Za-z0-9@.-]+", "_", loaded.identifier).strip("_")
    return brain_model_of(loaded, regions, name, visual_degrees)


def _own_model(candidate: str, layer: object) -> BrainModel:
    if layer:
        raise InputError(f"{candidate} is a Brain-Score model, with layers of its own; name none")
    model = load_zoo_model(candidate.removeprefix(PREFIX))
    if not isinstance(model, BrainModel):
        raise InputError(f"{candidate} is a bare {type(model).__name__}, which records no regions")
    return model
