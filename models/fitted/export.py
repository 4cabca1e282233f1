"""Fits written as folders that stand alone: weights as safetensors, all else as JSON."""

import copy
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

from itprobe.errors import InputError
from itprobe.files import atomic_file, atomic_folder, sha256_file
from itprobe.models.candidate import NetworkCandidate
from itprobe.models.fitted.candidate import NetworkFit
from itprobe.models.fitted.export_format import CHECK, FIT, FORMAT, Description, on_known_inputs
from itprobe.models.fitted.finished import CONFIG, WEIGHTS, as_tensors


def export_fit(
    candidate: NetworkFit, folder: str | Path, neuroid_ids: Sequence[str] | None = None
) -> Description:
    """Write a fitted candidate as a folder that `load_exported` reads.

    The folder holds all that its predictions need but for a frozen backbone, whose digest it knows. Weights
    of a backbone that was fine-tuned are in it.

    Parameters
    ----------
    candidate : NetworkFit
        After `fit`.
    folder : str or Path
        Made whole or not at all. Where the same fit was exported before, it stays.
    neuroid_ids : sequence of str (q,), optional

    Raises
    ------
    InputError
        If the candidate is not fitted, there is not one id per neuroid, or the folder cannot be written or
        holds something else.
    """
    folder = Path(folder)
    fit, network = candidate.finished, candidate.network
    if fit is None or network is None:
        raise InputError(f"{candidate.identifier} is not fitted yet; call fit first")
    if neuroid_ids is not None and len(neuroid_ids) != fit.task.n_neuroids:
        raise InputError(
            f"{candidate.identifier} predicts {fit.task.n_neuroids} neuroids, but {len(neuroid_ids)} ids were given"
        )
    check_free(folder)
    described = _describe(candidate, neuroid_ids)
    on_cpu = network if torch.device(candidate.device).type == "cpu" else copy.deepcopy(network).cpu()
    tensors = {**as_tensors(fit), CHECK: on_known_inputs(on_cpu, fit.probe)}
    with atomic_folder(folder) as temporary:
        with atomic_file(temporary / WEIGHTS) as file:
            save_file(tensors, file, metadata={FIT: described.digest})
        described = described.model_copy(update={"weights_sha256": sha256_file(temporary / WEIGHTS)})
        with atomic_file(temporary / CONFIG) as file:
            file.write_text(json.dumps(described.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    # A folder that was there already is kept: it must then hold the same fit.
    if not (folder / WEIGHTS).is_file() or sha256_file(folder / WEIGHTS) != described.weights_sha256:
        raise InputError(f"{folder} holds another fit already; choose another folder, or remove it")
    return described


def check_free(folder: Path) -> None:
    """Check that a folder does not exist, is empty, or holds an exported fit.

    Raises
    ------
    InputError
        If it does not.
    """
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / CONFIG).is_file()):
        return
    if folder.exists():
        raise InputError(f"{folder} is there already and holds no exported fit; choose another folder")


def _describe(candidate: NetworkFit, neuroid_ids: Sequence[str] | None) -> Description:
    fit, design = candidate.finished, candidate.design
    assert fit is not None, "it is fitted"
    trained = fit.trained
    content = {
        "format": FORMAT,
        "candidate": candidate.identifier,
        "settings": asdict(design.settings),
        "training": asdict(design.training),
        "trained": {
            "epochs": len(trained.history),
            "best_epoch": trained.best_epoch,
            "n_train": trained.n_train,
            "n_validation": trained.n_validation,
            "batch_size": trained.batch_size,
        },
        "seed": design.seed,
        "side": design.extra.get("side"),
        "layer": design.extra.get("layer"),
        "task": asdict(fit.task),
        "backbone": None if design.origin is None else _note(design.origin),
        "context": candidate.context,
        "neuroid_ids": None if neuroid_ids is None else [str(name) for name in neuroid_ids],
        "training_stimuli": candidate.fitted_to,
        "versions": {name: version(name) for name in ("itprobe", "torch", "numpy")}
        | {"python": platform.python_version(), "machine": platform.machine()},
    }
    return Description.model_validate(json.loads(json.dumps(content)))


def _note(backbone: NetworkCandidate) -> dict[str, object]:
    used = backbone.preprocessing
    plain = {name: getattr(used, name) for name in ("size", "mean", "std", "interpolation")}
    return {
        "identifier": backbone.identifier,
        "weights_sha256": backbone.weights_sha256,
        "preprocessing": plain if used.transform is None else None,
        "preprocessing_sha256": used.digest,
        "code": backbone.code,
    }
