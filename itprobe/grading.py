"""Predictions of withheld stimuli, scored by the host as any result is."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from itprobe.api import result_of
from itprobe.benchmarks import PredictivityBenchmark, prepare_target
from itprobe.benchmarks.evaluation import scored
from itprobe.benchmarks.identifiers import BenchmarkId
from itprobe.data.withheld import Withheld
from itprobe.errors import InputError
from itprobe.leaderboard import Result
from itprobe.leaderboard.board.answers import About, Answers
from itprobe.leaderboard.board.claims import WITHHELD
from itprobe.leaderboard.board.json_text import printable
from itprobe.metrics import HeldOut, Split, SplitPlan
from itprobe.metrics.crossvalidate import SplitResult

_SHORT = 12
"""Characters of a digest that a message shows."""


def grade(answers: Answers, withheld: Withheld) -> tuple[Result, HeldOut]:
    """Score predictions of withheld stimuli, joined by stimulus id and neuroid id.

    The ceiling comes from the repetitions of the withheld stimuli, where there are some.

    Parameters
    ----------
    answers : Answers
    withheld : Withheld

    Returns
    -------
    Result
    HeldOut

    Raises
    ------
    InputError
        If the predictions were fitted on another recording, or do not predict exactly the withheld stimuli and all
        neuroids that can be scored.
    """
    about = answers.about
    _check_origin(about, withheld)
    target = prepare_target(withheld.assembly, about.recording.region)
    stimulus_ids = target.stimuli["stimulus_id"].to_numpy()
    rows = _places(answers.stimulus_ids, stimulus_ids, "stimuli")
    foreign = sorted(set(answers.stimulus_ids) - set(stimulus_ids))
    if foreign:
        raise InputError(
            f"the predictions are also of {len(foreign)} stimuli that are not withheld: {_some(foreign)}"
        )
    columns = _places(answers.neuroid_ids, target.neuroids["neuroid_id"].to_numpy(), "neuroids")
    predictions, alpha = answers.predictions[np.ix_(rows, columns)], answers.alpha[columns]
    not_at_edge = np.zeros(len(columns), dtype=bool)
    part = SplitResult(stimulus_ids, target.responses, predictions, alpha, not_at_edge, [])
    plan = SplitPlan([Split(stimulus_ids[:0], stimulus_ids)], None, [])
    evaluation = scored([part], target, plan, withheld.drawn.seed)
    own = [note for note in about.warnings if note not in target.warnings]
    evaluation = replace(evaluation, warnings=[*own, *evaluation.warnings])
    name = BenchmarkId(str(target.recording["identifier"]), target.region, about.mapping.name, WITHHELD)
    bench = PredictivityBenchmark(name)
    bench.target = target
    digest = withheld.public_stimulus_set_sha256
    result = result_of(about.candidate, about.mapping, bench, evaluation, digest, about.provenance)
    return result.model_copy(update={"training": about.training}), evaluation.held_out


def _check_origin(about: About, withheld: Withheld) -> None:
    """Predictions must have been fitted on the public part that belongs to the withheld responses."""
    if about.recording.sha256 != withheld.public_sha256:
        raise InputError(
            f"the predictions are of the recording with digest {about.recording.sha256[:_SHORT]}..., the withheld "
            f"responses belong to {withheld.public_sha256[:_SHORT]}...: predict from the public part of that one"
        )
    if about.recording.stimulus_set_sha256 != withheld.public_stimulus_set_sha256:
        raise InputError(
            "the predictions were made from other images than the public part's (the digests of the stimulus sets "
            "differ): predict from the public part as it was published"
        )
    if not re.fullmatch(r"\w{1,40}", about.mapping.name, flags=re.ASCII):
        raise InputError(
            f"the predictions' mapping {printable(about.mapping.name)} is no name of letters and digits"
        )


def _places(given: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    """Where each wanted id stands among the given ones."""
    places = np.asarray(pd.Index(given).get_indexer(pd.Index(wanted)))
    lacking = wanted[places < 0]
    if len(lacking):
        raise InputError(
            f"the predictions lack {len(lacking)} of {len(wanted)} {what}: {_some(list(lacking))}"
        )
    return places


def _some(names: list[str]) -> str:
    return ", ".join(printable(str(name)) for name in names[:3]) + ", ..." * (len(names) > 3)
