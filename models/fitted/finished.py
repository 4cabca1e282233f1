"""Finished fits on disk: weights as safetensors, everything else as JSON, read without running any code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.linear_model import RidgeCV
from torch import Tensor

from itprobe.errors import InputError
from itprobe.files import atomic_file, sha256_file
from itprobe.models.fitted.networks import Task
from itprobe.models.fitted.settings import Epoch, Trained

WEIGHTS, CONFIG = "weights.safetensors", "fit.json"
FORMAT = 2
_NETWORK = "network."
PENALTIES = np.logspace(-4, 6, 31)
"""Of the probe, for standardised features; times the number of stimuli."""


@dataclass(frozen=True)
class Probe:
    """Ridge from d features to q responses, by leave-one-out with a penalty per neuroid (scikit-learn).

    Attributes
    ----------
    coefficients : ndarray (d, q)
    intercept : ndarray (q,)
    """

    coefficients: np.ndarray
    intercept: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, responses: np.ndarray) -> "Probe":
        """Fit to training stimuli: features (n, d), responses (n, q)."""
        mean = features.mean(axis=0)
        deviation = np.where(np.ptp(features, axis=0) > 0, features.std(axis=0), 1.0)
        ridge = RidgeCV(PENALTIES * len(features), alpha_per_target=True)
        ridge.fit((features - mean) / deviation, responses)
        # In the order of a file that is read: products then agree to the last bit.
        coefficients = np.ascontiguousarray((ridge.coef_ / deviation).T)
        return cls(coefficients, ridge.intercept_ - mean @ coefficients)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Responses (m, q) from features (m, d)."""
        return features @ self.coefficients + self.intercept


@dataclass(frozen=True)
class Finished:
    """A network after its training.

    Attributes
    ----------
    network : dict of str to Tensor
        Its weights.
    task : Task
    mean, deviation : ndarray (q,)
        Of the training responses, the deviation times the scale of predictions: the network predicts
        standardised ones. A deviation of 0 marks a neuroid that answered the same throughout.
    probe : Probe or None
        From the bottleneck of networks that predict no responses themselves.
    trained : Trained
    sha256 : str
        Of the file of weights; empty before it is written.
    """

    network: dict[str, Tensor]
    task: Task
    mean: np.ndarray
    deviation: np.ndarray
    probe: Probe | None
    trained: Trained
    sha256: str = ""


def as_tensors(fit: Finished) -> dict[str, Tensor]:
    """All that was fitted, by name, as copies on the CPU; the opposite of `from_tensors`."""
    tensors = {
        # A copy each: weights that two modules share are one storage, which safetensors refuses.
        f"{_NETWORK}{name}": values.detach().to("cpu", copy=True).contiguous()
        for name, values in fit.network.items()
    }
    arrays = {"mean": fit.mean, "deviation": fit.deviation}
    if fit.probe is not None:
        arrays |= {"probe.coefficients": fit.probe.coefficients, "probe.intercept": fit.probe.intercept}
    return tensors | {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def from_tensors(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray, Probe | None]:
    """Weights of the network, mean and deviation of the responses (q,), and the probe where there is one.

    Raises
    ------
    KeyError
        If one of them is missing.
    """
    network = {
        name.removeprefix(_NETWORK): values for name, values in tensors.items() if name.startswith(_NETWORK)
    }
    probe = None
    if "probe.coefficients" in tensors:
        probe = Probe(tensors["probe.coefficients"].numpy(), tensors["probe.intercept"].numpy())
    return network, tensors["mean"].numpy(), tensors["deviation"].numpy(), probe


def save_finished(fit: Finished, folder: Path, describes: Mapping[str, object]) -> str:
    """Write a finished fit and give the digest of its weights.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with atomic_file(folder / WEIGHTS) as temporary:
        save_file(as_tensors(fit), temporary)
    digest = sha256_file(folder / WEIGHTS)
    config = {
        "format": FORMAT,
        "weights_sha256": digest,
        "describes": describes,
        "task": asdict(fit.task),
        "trained": asdict(fit.trained),
    }
    with atomic_file(folder / CONFIG) as temporary:  # last: with it the fit counts as finished
        temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return digest


def load_finished(folder: Path, describes: Mapping[str, object]) -> Finished | None:
    """Read a finished fit; None where there is none, or it is of another format or damaged.

    Raises
    ------
    InputError
        If it belongs to something else: another architecture, recording, split or seed.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config["format"] != FORMAT or sha256_file(folder / WEIGHTS) != config["weights_sha256"]:
            return None
        held, task, trained = config["describes"], config["task"], config["trained"]
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    asked = json.loads(json.dumps(describes))
    for key in dict.fromkeys([*asked, *held]):
        if asked.get(key) != held.get(key):
            raise InputError(
                f"the fit in {folder} is of another {key}: {held.get(key)!r} there, {asked.get(key)!r} asked for; "
                "choose another folder"
            )
    network, mean, deviation, probe = from_tensors(tensors)
    return Finished(
        network,
        Task(tuple(task["input_shape"]), task["n_neuroids"], task["n_objects"]),
        mean,
        deviation,
        probe,
        Trained(**{**trained, "history": [Epoch(**epoch) for epoch in trained["history"]]}),
        config["weights_sha256"],
    )
