"""Which layers of a network stand for the report's layer2 and layer3 of ResNet50."""

from itprobe.errors import InputError
from itprobe.models import NetworkCandidate

STRIDES = (8, 16)
"""Of ResNet50's layer2 and layer3: their maps are 28 x 28 and 14 x 14 for images of 224 x 224."""


def reference_layers(network: NetworkCandidate) -> tuple[str, str]:
    """Modules ``layer2`` and ``layer3`` where the network has them; else its last blocks at their strides.

    Raises
    ------
    InputError
        If the network has no maps of these sizes.
    """
    if {"layer2", "layer3"} <= set(network.traced):
        return "layer2", "layer3"
    side = network.preprocessing.size[0]
    shapes = {name: network.traced[name].shape for name in network.layers("blocks")}
    found = []
    for stride in STRIDES:
        of_stride = [
            name for name, shape in shapes.items() if len(shape) == 3 and shape[1] == round(side / stride)
        ]
        if not of_stride:
            raise InputError(
                f"{network.identifier} has no block with a map of 1/{stride} of its images' side, which would stand "
                f"for the report's layer{2 + STRIDES.index(stride)}; choose a convolutional backbone"
            )
        found.append(of_stride[-1])
    return found[0], found[1]
