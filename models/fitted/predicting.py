"""What a fitted network gives for stimuli."""

import numpy as np
import torch

from itprobe.models.fitted.finished import Probe
from itprobe.models.fitted.inputs import TensorInputs
from itprobe.models.fitted.networks import FittedNetwork

PREDICTED_AT_ONCE = 64


def predictions(
    network: FittedNetwork,
    inputs: TensorInputs,
    mean: np.ndarray,
    deviation: np.ndarray,
    probe: Probe | None,
) -> np.ndarray:
    """Responses (m, q) that a fitted network predicts for m inputs, in their units.

    Parameters
    ----------
    network : FittedNetwork
    inputs : TensorInputs (m rows)
    mean, deviation : ndarray (q,)
        Of the training responses: the network predicts standardised ones.
    probe : Probe or None
        Reads the responses from the bottleneck in place of the network's own.
    """
    if probe is not None:
        return probe.predict(outputs(network, inputs, "bottleneck"))
    return outputs(network, inputs, "responses") * deviation + mean


def outputs(network: FittedNetwork, inputs: TensorInputs, name: str) -> np.ndarray:
    """One output of a network for all inputs, (n, d) float64."""
    with torch.no_grad():
        parts = [
            network(inputs.batch(rows))[name].float().cpu()
            for rows in torch.arange(len(inputs)).split(PREDICTED_AT_ONCE)
        ]
    return torch.cat(parts).double().numpy()
