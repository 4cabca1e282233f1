"""Predictions of withheld test stimuli: the file that a participant hands in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, ValidationError

from itprobe.errors import InputError
from itprobe.files import atomic_file
from itprobe.leaderboard.board.arrays import read_arrays
from itprobe.leaderboard.board.json_text import parse_json, printable
from itprobe.leaderboard.board.predictions_file import LARGEST_FILE, check_plain_file
from itprobe.leaderboard.quantities import Count, Digest, Id, Seed, ShortId
from itprobe.leaderboard.result import CandidateInfo, MappingInfo, Provenance, TrainingInfo

_VARIABLES = {
    "prediction": ("stimulus", "neuroid"),
    "alpha": ("neuroid",),
    "stimulus_id": ("stimulus",),
    "neuroid_id": ("neuroid",),
}
_TEXTS = ("stimulus_id", "neuroid_id")
_ABOUT = "about"
_LARGEST = float(np.finfo(np.float32).max)
"""A board keeps predictions as float32."""


class PublicPart(BaseModel):
    """What the predictions were fitted on."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: Id
    sha256: Digest
    region: ShortId
    stimulus_set_sha256: Digest
    n_train: Count


class About(BaseModel):
    """Where the predictions come from: kept as JSON in the attribute ``about``.

    `split` is the split's name where the stimuli were its test part, and null where they were all that have no
    responses. The other parts are as in a result file.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    answers_version: Literal[1] = 1
    candidate: CandidateInfo
    mapping: MappingInfo
    recording: PublicPart
    split: ShortId | None
    seed: Seed
    training: list[TrainingInfo] | None
    warnings: list[str]
    provenance: Provenance


@dataclass(frozen=True)
class Answers:
    """Predicted responses.

    Attributes
    ----------
    about : About
    stimulus_ids : ndarray (n,)
    neuroid_ids : ndarray (q,)
    predictions : ndarray (n, q)
    alpha : ndarray (q,)
        Penalty of each neuroid: infinity for the mean predictor, NaN where there is none.
    """

    about: About
    stimulus_ids: np.ndarray
    neuroid_ids: np.ndarray
    predictions: np.ndarray
    alpha: np.ndarray


def write_answers(answers: Answers, path: str | Path) -> None:
    """Write predictions as netCDF; the file appears whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    dataset = xr.Dataset(
        {
            "prediction": (("stimulus", "neuroid"), answers.predictions),
            "alpha": ("neuroid", answers.alpha),
        },
        coords={
            "stimulus_id": ("stimulus", answers.stimulus_ids.astype(str)),
            "neuroid_id": ("neuroid", answers.neuroid_ids.astype(str)),
        },
        attrs={_ABOUT: answers.about.model_dump_json()},
    )
    with atomic_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding={"prediction": {"zlib": True}})


def read_answers(path: str | Path) -> Answers:
    """Read predictions that anyone may have written.

    Raises
    ------
    InputError
        If the file is missing, too large, or no such file; if stimuli or neuroids stand in it twice, predictions
        are NaN, infinite or beyond float32, or penalties are negative.
    """
    path = Path(path)
    check_plain_file(path, LARGEST_FILE)
    arrays, attributes = read_arrays(path, _VARIABLES, _TEXTS, (_ABOUT,))
    answers = Answers(
        _about(attributes.get(_ABOUT), path),
        arrays["stimulus_id"],
        arrays["neuroid_id"],
        arrays["prediction"],
        arrays["alpha"],
    )
    _check(answers, path)
    return answers


def _about(text: str | None, path: Path) -> About:
    if text is None:
        raise InputError(
            f"{path} has no attribute {_ABOUT!r}: it does not say where its predictions come from"
        )
    try:
        parse_json(text.encode("utf-8", "surrogatepass"))
        return About.model_validate_json(text, strict=True)
    except InputError as error:
        raise InputError(f"{path}: its attribute {_ABOUT!r} {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: its attribute {_ABOUT!r}: {printable(where)}: {first['msg']}") from None


def _check(answers: Answers, path: Path) -> None:
    for ids, what in ((answers.stimulus_ids, "stimuli"), (answers.neuroid_ids, "neuroids")):
        names, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            some = ", ".join(printable(str(name)) for name in names[counts > 1][:3])
            raise InputError(f"{path} predicts {int((counts > 1).sum())} {what} more than once: {some}")
    if (answers.alpha < 0).any():
        raise InputError(f"{path}: {int((answers.alpha < 0).sum())} penalties (alpha) are below 0")
    undefined = ~(np.abs(answers.predictions) <= _LARGEST)
    if undefined.any():
        stimulus = answers.stimulus_ids[undefined.any(axis=1)][0]
        raise InputError(
            f"{path}: {int(undefined.sum())} predictions are NaN, infinite or beyond float32, first of stimulus "
            f"{printable(stimulus)}"
        )
