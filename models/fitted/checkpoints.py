"""Checkpoints of trainings: atomic, tensors and plain values only, refused where they belong to something else."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from itprobe.errors import InputError
from itprobe.files import atomic_file

NAME = "checkpoint.pt"
HALVED = "halved"
"""Folder inside that of a training, for the same with half the batch."""
FORMAT = 1
"""Goes up whenever an older checkpoint could not be gone on from."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training at the end of an epoch.

    Attributes
    ----------
    network, best : dict of str to Tensor
        Weights now and of the best epoch.
    optimizer, scheduler : dict
    history : list of (loss, validation loss, validation r)
    best_epoch : int
    seconds : float
        Spent so far.
    rng, device_rng : Tensor
        States of torch's generators.
    """

    network: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    history: list[tuple[float, float, float]]
    best_epoch: int
    seconds: float
    rng: Tensor
    device_rng: Tensor | None


def save_checkpoint(checkpoint: Checkpoint, folder: Path, describes: Mapping[str, object]) -> None:
    """Write a checkpoint in place of the one before; what is there is whole at any moment.

    Raises
    ------
    InputError
        If the folder cannot be written or the disk is full.
    """
    content = {item.name: getattr(checkpoint, item.name) for item in fields(Checkpoint)}
    content |= {"describes": _text(describes), "format": FORMAT}
    try:
        with atomic_file(folder / NAME) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:  # torch's writer reports a full disk in words of its own
        raise InputError(f"cannot write the checkpoint {folder / NAME}: {_line(error)}; make room") from error


def load_checkpoint(folder: Path, describes: Mapping[str, object]) -> Checkpoint | None:
    """Read the checkpoint of a folder; None where there is none. No code in the file is run.

    Raises
    ------
    InputError
        If it cannot be read, or belongs to another training: another architecture, recording, split, seed
        or version of the format.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        held = json.loads(content.pop("describes"))
        version = content.pop("format")
    except (
        OSError,
        EOFError,
        RuntimeError,
        KeyError,
        AttributeError,
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(
            f"the checkpoint {path} cannot be read ({_line(error)}); remove it to train anew"
        ) from None
    if version != FORMAT:
        raise InputError(
            f"the checkpoint {path} has format {version}, this itprobe writes format {FORMAT}; remove it to train anew"
        )
    asked = json.loads(_text(describes))
    for key in dict.fromkeys([*asked, *held]):
        if asked.get(key) != held.get(key):
            raise InputError(
                f"the checkpoint {path} is of another {key}: {held.get(key)!r} there, {asked.get(key)!r} asked for; "
                "choose another folder, or remove it to train anew"
            )
    return Checkpoint(**content)


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoints of a training that has come to its end."""
    (folder / NAME).unlink(missing_ok=True)
    shutil.rmtree(folder / HALVED, ignore_errors=True)


def _text(describes: Mapping[str, object]) -> str:
    return json.dumps(describes, sort_keys=True)


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
