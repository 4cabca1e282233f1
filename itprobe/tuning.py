"""Tuning of fitted candidates with Optuna, on parts of the training stimuli alone."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from itprobe.benchmarks import Target, prepare_target
from itprobe.benchmarks.fitted import fit_split
from itprobe.benchmarks.target import default_region
from itprobe.data import load_recording
from itprobe.errors import InputError, unknown_name
from itprobe.files import atomic_file, file_name_of, make_folder
from itprobe.metrics import DEFAULT_SEED, SPLITS, pearson_r
from itprobe.metrics.splits import Split
from itprobe.models.fitted import FITTED_NAMES, NetworkFit, load_fitted
from itprobe.models.fitted.inputs import PreparedRows
from itprobe.models.fitted.run import KEPT
from itprobe.models.fitted.search import SPACES
from itprobe.models.fitted.settings import Epoch
from itprobe.models.identifiers import FittedId, parse_fitted
from itprobe.tuned_parameters import DIGEST_LENGTH

if TYPE_CHECKING:
    import optuna

HELD_OUT = 0.15
"""Part of the training stimuli that a trial's prediction is scored on; its epoch is chosen on a part of the rest."""


@dataclass(frozen=True)
class Tuned:
    """What a study has found so far.

    Attributes
    ----------
    parameters : dict of str to str
        Of the best trial, as ``--set`` takes them.
    value : float
        Its mean r over neuroids on the inner held-out stimuli; the best of many, so it is too high.
    n_trials : int
        Finished and pruned ones.
    importances : dict of str to float
        Share of the variance of the value that each parameter explains (fANOVA); empty for fewer than 4 trials.
    values : list of float
        Of finished trials, in their order.
    """

    parameters: dict[str, str]
    value: float
    n_trials: int
    importances: dict[str, float]
    values: list[float]


def tune(
    candidate: str,
    recording: str,
    trials: int,
    *,
    region: str | None = None,
    split: str = "course",
    seed: int = DEFAULT_SEED,
    storage: str | None = None,
    device: str = "auto",
    options: Mapping[str, str] | None = None,
    out: str | Path = "itprobe-tuning",
) -> Tuned:
    """Search parameters of a fitted candidate.

    A trial fits the candidate to 85 % of the first split's training stimuli and is scored by the mean r of its
    predictions for the other 15 %, balanced by object. The split's test part is not read at all. Trials that
    fall behind the median of the earlier ones are pruned. A study that was interrupted goes on, and several
    processes or machines may work on one study through the same storage.

    Parameters
    ----------
    candidate : str
        E.g. ``convnet`` or ``combined+efficientnet_lite0:_blocks.8``.
    recording : str
    trials : int
        The study goes on until it has so many, all processes and earlier calls counted.
    region : str, optional
    split : str
    seed : int
        Of the split and of the training; the search itself draws anew in every process.
    storage : str, optional
        Of Optuna, e.g. ``sqlite:///study.db`` or a server's; by default a file in `out`.
    device : str
    options : mapping of str to str, optional
        Parameters that are held fixed.
    out : str or Path
        Folder for a JSON file of the best parameters, named after the candidate, and the study.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        If Optuna is missing, something given does not exist, the storage is locked or holds a study of another
        recording, split, seed or other fixed parameters, or no trial could be finished.
    """
    optuna = _optuna()
    parsed = parse_fitted(candidate)
    if parsed is None:
        raise unknown_name("fitted candidate", candidate, FITTED_NAMES)
    if trials < 1:
        raise InputError(f"--trials must be at least 1, not {trials}")
    # What is misspelt is better known before a study is made.
    first = load_fitted(parsed, device, seed, options)
    assert isinstance(first, NetworkFit), "an id that parses names one of our networks"
    out = Path(out)
    assembly = load_recording(recording)
    target = prepare_target(assembly, region or default_region(assembly))
    _check_objects(first, target)
    inner = inner_part(target, SPLITS[_known_split(split)](target.stimuli, seed).splits[0], seed)
    digest = str(target.recording["sha256"])[:DIGEST_LENGTH]
    about: dict[str, object] = {
        "candidate": str(parsed),
        "recording": f"{target.recording['identifier']} {digest} {target.region}",
        "split": f"{split}, seed {seed}",
        "fixed": dict(options or {}),
        "itprobe": version("itprobe"),
    }
    where = storage or f"sqlite:///{(out / 'study.db').resolve()}"
    shown = _without_password(where) if storage else str(out / "study.db")
    with _reported(shown), _folder_for_study(out):
        study = _study(optuna, where, shown, about, seed)
        objective = _Objective(parsed, target, inner, device, seed, dict(options or {}), first.design.rows)
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        left = trials - len(study.get_trials(deepcopy=False, states=states))
        if left > 0:
            study.optimize(
                objective,
                n_trials=left,
                callbacks=[optuna.study.MaxTrialsCallback(trials, states=states)],
                catch=(InputError,),
                show_progress_bar=False,
            )
        tuned = _tuned(optuna, study, states)
    _write_best(
        tuned, about, shown if storage else "study.db", out / f"{file_name_of(str(parsed))}.json", trials
    )
    return tuned


def _check_objects(candidate: NetworkFit, target: Target) -> None:
    """Refuse a recording without objects to learn: each trial would fail by it."""
    if candidate.design.needs_labels and (target.strata is None or len(np.unique(target.strata)) < 2):
        raise InputError(
            f"{candidate.identifier} learns objects beside responses, and {target.recording['identifier']} names fewer "
            "than two; it needs a stimulus-set column object_name"
        )


@contextmanager
def _folder_for_study(folder: Path) -> Iterator[None]:
    """Make a folder that a storage may lie in; what was made of it goes again if nothing was put there."""
    missing = [part for part in (folder, *folder.parents) if not os.access(part, os.F_OK)]
    make_folder(folder)
    try:
        yield
    finally:
        for part in missing:
            with suppress(OSError):  # something lies in it, or another process was as quick
                part.rmdir()


def inner_part(target: Target, split: Split, seed: int) -> Split:
    """Split the training stimuli again: the larger part to fit, the smaller one to choose parameters by."""
    ids = split.train
    strata = None
    if target.strata is not None:
        strata = target.strata[pd.Index(target.stimuli["stimulus_id"]).get_indexer(ids)]
        size = round(HELD_OUT * len(ids))
        counts = np.unique(strata, return_counts=True)[1]
        strata = strata if counts.min() >= 2 and len(counts) <= size else None
    fit, held_out = train_test_split(ids, test_size=HELD_OUT, random_state=seed, stratify=strata)
    return Split(np.asarray(fit), np.asarray(held_out))


@dataclass(frozen=True)
class _Objective:
    """One trial: parameters drawn, the candidate fitted, its inner held-out r given back.

    No parameter that is drawn changes what a network is shown: all trials share the prepared `rows`.
    """

    candidate: FittedId
    target: Target
    inner: Split
    device: str
    seed: int
    fixed: dict[str, str]
    rows: PreparedRows

    def __call__(self, trial: "optuna.Trial") -> float:
        drawn = {
            name: text for name, text in SPACES[self.candidate.kind](trial).items() if name not in self.fixed
        }
        folder = Path(tempfile.mkdtemp(prefix="itprobe-trial-"))
        try:
            made = load_fitted(self.candidate, self.device, self.seed, {**drawn, **self.fixed}, folder)
            assert isinstance(made, NetworkFit)
            made.design = replace(made.design, rows=self.rows)
            made.watch = lambda number, epoch: _report(trial, number, epoch)
            result, _ = fit_split(made, self.target, self.inner, {"split": "tuning"})
        except InputError as error:
            # What it says of a kept checkpoint is true of other trainings: a trial's go with its folder.
            trial.set_user_attr("failed", str(error).partition(KEPT)[0])
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        trial.set_user_attr("parameters", {**drawn, **self.fixed})
        r = pearson_r(result.responses, result.predictions)
        return float(np.nanmean(np.where(np.isnan(r), 0.0, r)))


def _report(trial: "optuna.Trial", number: int, epoch: Epoch) -> None:
    """Tell the pruner; networks that predict nothing while they are trained are never pruned.

    Their loss could not be compared with the r of others, e.g. of autoencoders whose bottleneck is pulled.
    """
    import optuna

    if not np.isfinite(epoch.validation_r):
        return
    trial.report(epoch.validation_r, number)
    if trial.should_prune():
        raise optuna.TrialPruned


def _known_split(name: str) -> str:
    if name not in SPLITS:
        raise unknown_name("split", name, SPLITS)
    return name


def _optuna() -> Any:
    if find_spec("optuna") is None:
        raise InputError("tuning needs Optuna: pip install 'itprobe[tune]'")
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)  # a trial that fails is reported by us, without its traceback
    return optuna


@contextmanager
def _reported(shown: str) -> Iterator[None]:
    """Turn what a storage says of locks and missing servers into one line."""
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ArgumentError, ImportError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise InputError(
            f"the storage {shown} cannot be used: {reason}; if another process holds it, wait or choose another one"
        ) from None
    except Exception as error:
        if type(error).__name__ != "StorageInternalError":
            raise
        reason = " ".join(str(error.__cause__ or error).split("\n")[0].split())
        raise InputError(
            f"the storage {shown} cannot be used: {reason}; if another process holds it, wait or choose another one"
        ) from None


def _without_password(storage: str) -> str:
    """Address of a storage as it may be shown and written down."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return storage


def _study(optuna: Any, where: str, shown: str, about: dict[str, object], seed: int) -> Any:
    """The study of this storage, made if it is not there; of something else, it is refused."""
    study = optuna.create_study(
        study_name=str(about["candidate"]),
        storage=where,
        direction="maximize",
        load_if_exists=True,
        # Without a seed of its own each process of a parallel search would draw the same trials.
        sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=None),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5),
    )
    held = study.user_attrs.get("about")
    if held is None:
        study.set_user_attr("about", about)
    else:
        for key in about:
            if held.get(key) != about[key]:
                raise InputError(
                    f"the storage {shown} holds a study of {about['candidate']} for another {key}: {held.get(key)!r} "
                    f"there, {about[key]!r} asked for; choose another storage"
                )
    return study


def _tuned(optuna: Any, study: Any, states: tuple[Any, ...]) -> Tuned:
    done = study.get_trials(deepcopy=False, states=states)
    complete = [trial for trial in done if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        failed = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "FAIL"]
        reason = failed[-1].user_attrs.get("failed") if failed else None
        raise InputError(
            f"no trial of {study.study_name} was finished: {len(done)} pruned, {len(failed)} failed"
            + (f", the last one because {reason}" if reason else "; run more")
        )
    best = max(complete, key=lambda trial: trial.value)
    importances = {}
    if len(complete) >= 4:
        try:
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            importances = dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
        except (ValueError, RuntimeError):  # all trials equally good, or no parameter common to all
            importances = {}
    return Tuned(
        best.user_attrs["parameters"], best.value, len(done), importances, [trial.value for trial in complete]
    )


def _write_best(tuned: Tuned, about: dict[str, object], shown: str, path: Path, trials: int) -> None:
    options = " ".join(f"--set {name}={value}" for name, value in tuned.parameters.items())
    content = {
        **about,
        "parameters": tuned.parameters,
        "inner_r": tuned.value,
        "n_trials": tuned.n_trials,
        "importances": tuned.importances,
        "storage": shown,
        "trials_asked_for": trials,
        "score_with": f"itprobe score '{about['candidate']}' --benchmark ID {options}",
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
