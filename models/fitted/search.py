"""What is searched when a fitted candidate is tuned: parameters as text, drawn by an Optuna trial."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

Suggest = Callable[["optuna.Trial"], dict[str, str]]


def _training(trial: "optuna.Trial") -> dict[str, str]:
    return {
        "lr": repr(trial.suggest_float("lr", 1e-4, 1e-2, log=True)),
        "schedule": trial.suggest_categorical("schedule", ["cosine", "onecycle"]),
        "batch_size": str(trial.suggest_categorical("batch_size", [16, 32, 64])),
    }


def _decay(trial: "optuna.Trial") -> dict[str, str]:
    return {"weight_decay": repr(trial.suggest_float("weight_decay", 1e-4, 1.0, log=True))}


def _dropout(trial: "optuna.Trial") -> dict[str, str]:
    return {"dropout": repr(trial.suggest_float("dropout", 0.0, 0.6))}


def _images(trial: "optuna.Trial") -> dict[str, str]:
    return {
        **_training(trial),
        **_decay(trial),
        "shift": repr(trial.suggest_float("shift", 0.0, 0.1)),
        "hidden": str(trial.suggest_categorical("hidden", [128, 256, 512])),
    }


def _convnet(trial: "optuna.Trial") -> dict[str, str]:
    return {**_images(trial), **_dropout(trial)}


def _dual_task(trial: "optuna.Trial") -> dict[str, str]:
    balance = trial.suggest_categorical("balance", ["uncertainty", "0.1", "0.3", "1", "3"])
    return {**_images(trial), **_dropout(trial), "balance": balance}


def _autoencoder(trial: "optuna.Trial") -> dict[str, str]:
    return {**_images(trial), "pull": trial.suggest_categorical("pull", ["0", "0.3", "1", "3"])}


def _combined(trial: "optuna.Trial") -> dict[str, str]:
    widths = trial.suggest_categorical("widths", ["128,64", "256,128", "512,256"])
    hidden = trial.suggest_categorical("hidden", ["256", "512", "1024,512"])
    return {**_training(trial), **_decay(trial), **_dropout(trial), "widths": widths, "hidden": hidden}


def _readout(trial: "optuna.Trial") -> dict[str, str]:
    # Its weights have penalties of their own in place of weight decay.
    return {
        **_training(trial),
        "weight_penalty": repr(trial.suggest_float("weight_penalty", 1e-4, 1.0, log=True)),
        "mask_penalty": repr(trial.suggest_float("mask_penalty", 1e-4, 1.0, log=True)),
    }


def _finetuned(trial: "optuna.Trial") -> dict[str, str]:
    head = trial.suggest_categorical("head", ["ridge", "pool", "readout"])
    return {
        **_training(trial),
        **_decay(trial),
        **(_dropout(trial) if head == "pool" else {}),  # no other head has any
        "shift": repr(trial.suggest_float("shift", 0.0, 0.15)),
        "backbone_rate": repr(trial.suggest_float("backbone_rate", 0.01, 1.0, log=True)),
        "head": head,
    }


SPACES: dict[str, Suggest] = {
    "convnet": _convnet,
    "dual_task": _dual_task,
    "autoencoder": _autoencoder,
    "combined": _combined,
    "readout": _readout,
    "finetuned": _finetuned,
}
"""What is searched for each kind. The report's learning rates, 1e-7 to 1e-4, were too small to learn anything."""
