"""What an exported fit says of itself, in ``fit.json``, and how a network is known again."""

import json
import re
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from itprobe.files import sha256_values
from itprobe.models.fitted.finished import Probe
from itprobe.models.fitted.networks import FittedNetwork, Task

FORMAT = 1
"""Goes up whenever an older export could not be read, or would predict something else."""
CHECK, FIT = "check", "fit"
"""Beside the weights in their file: outputs on known inputs, and the digest of the description."""
_LONGEST = {"candidate": 40, "recording": 24, "split": 24}
"""Characters in an identifier: Brain-Score makes file names of it, of which 255 bytes are allowed."""


class BackboneNote(BaseModel):
    """What a fit knows of the backbone it stands on; `preprocessing` is None where it is a user's function."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    identifier: str
    weights_sha256: str
    preprocessing: dict[str, Any] | None
    preprocessing_sha256: str
    code: str | None


class Description(BaseModel):
    """What ``fit.json`` says.

    Attributes
    ----------
    format : int
    candidate : str
        Its id.
    settings, training : dict
        Of the network, and of how it was trained.
    trained : dict
        Epochs, stimuli and batches of the training.
    seed : int
    side : int or None
        Images are resized to side x side; None for candidates on a backbone.
    layer : str or None
        Of the backbone.
    task : Task
    backbone : BackboneNote or None
    context : dict of str to str
        recording, recording_sha256, region, split and split_seed.
    neuroid_ids : list of str or None
    training_stimuli : list of str
        Ids of the stimuli that it was fitted to, the inner validation part among them.
    versions : dict of str to str
    weights_sha256 : str
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    candidate: str
    settings: dict[str, Any]
    training: dict[str, Any]
    trained: dict[str, int]
    seed: int
    side: int | None
    layer: str | None
    task: Task
    backbone: BackboneNote | None
    context: dict[str, str]
    neuroid_ids: list[str] | None
    training_stimuli: list[str]
    versions: dict[str, str]
    weights_sha256: str = ""

    @property
    def digest(self) -> str:
        """Of all but the weights; the file of weights carries it, so that the weights' own digest covers it."""
        content = self.model_dump(mode="json", exclude={"weights_sha256"})
        return sha256_values(json.dumps(content, sort_keys=True))

    @property
    def identifier(self) -> str:
        """E.g. ``convnet-simulated-course-1-of-1-seed1-3fa9c1d2``: letters, digits, ``.``, ``_`` and ``-`` alone.

        The last part is the start of the weights' digest, which differs wherever anything here differs.
        """
        split, split_seed = self.context.get("split", "no-split"), self.context.get("split_seed")
        parts = {
            "candidate": re.sub(r"[^+]*/", "", self.candidate),  # of paths the last part
            "recording": self.context.get("recording", "no-recording").rsplit("/", 1)[-1],
            "split": split if split_seed in (None, str(self.seed)) else f"{split}-drawn{split_seed}",
        }
        cleaned = [
            re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[: _LONGEST[name]]
            for name, text in parts.items()
        ]
        return "-".join([*cleaned, f"seed{self.seed}", self.weights_sha256[:8]])


def on_known_inputs(network: FittedNetwork, probe: Probe | None) -> Tensor:
    """Outputs (2, d) of a network on the CPU for two inputs that are the same everywhere."""
    shape = (2, *network.task.input_shape)
    spread = np.modf(np.arange(np.prod(shape)) * 0.6180339887498949)[0]  # even in [0, 1), without a generator
    inputs = torch.from_numpy((spread - 0.5) * np.sqrt(12)).float().reshape(shape)
    with torch.no_grad():
        named = network(inputs * network.input_sd + network.input_mean)
    return named["responses" if probe is None else "bottleneck"].float().contiguous()
