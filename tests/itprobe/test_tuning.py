"""Tuning: a study finds, goes on, is shared, never reads the test part; what stands in its way is one line."""

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from itprobe import tuning
from itprobe.benchmarks import prepare_target
from itprobe.benchmarks.fitted import fit_split
from itprobe.data import load_recording
from itprobe.errors import InputError
from itprobe.metrics import SPLITS
from itprobe.models.fitted import load_fitted
from itprobe.tuning import HELD_OUT, inner_part, tune

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("one_thread")

FIXED = {"side": "16", "widths": "4", "hidden": "8", "epochs": "3", "shift": "0"}


@pytest.fixture
def seeded(monkeypatch):
    """The search draws the same trials each time."""
    monkeypatch.setattr(optuna.samplers, "TPESampler", lambda **_: optuna.samplers.RandomSampler(seed=3))


def study_of(out, name="convnet"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{out / 'study.db'}")


def tune_small(recording, trials, out, **options):
    options = {"options": FIXED, **options}
    return tune("convnet", recording, trials, device="cpu", out=out, **options)


def test_a_study_finds_its_best_trial_and_goes_on_where_it_stood(visible_file, tmp_path):
    out = tmp_path / "tuning"
    tuned = tune_small(visible_file, 4, out)
    trials = study_of(out).get_trials()
    values = [trial.value for trial in trials]
    assert len(trials) == tuned.n_trials == 4
    assert tuned.values == values
    assert tuned.value == max(values)
    best = trials[int(np.argmax(values))]
    assert tuned.parameters == best.user_attrs["parameters"]
    assert tuned.parameters.items() >= FIXED.items()
    assert 1e-4 <= float(tuned.parameters["lr"]) <= 1e-2
    assert sum(tuned.importances.values()) == pytest.approx(1)

    content = json.loads((out / "convnet.json").read_text())
    assert content["parameters"] == tuned.parameters
    assert content["inner_r"] == tuned.value
    assert (content["n_trials"], content["trials_asked_for"]) == (4, 4)
    assert content["candidate"] == "convnet"
    assert content["fixed"] == FIXED
    assert content["score_with"].startswith("itprobe score 'convnet' --benchmark ID --set ")

    assert tune_small(visible_file, 4, out) == tuned
    assert tune_small(visible_file, 2, out) == tuned
    assert len(study_of(out).get_trials()) == 4
    more = tune_small(visible_file, 5, out)
    assert (more.n_trials, more.values[:4]) == (5, values)


def test_the_value_of_a_trial_is_the_mean_r_of_its_parameters_on_inner_held_out_stimuli(
    visible_file, tmp_path
):
    out = tmp_path / "tuning"
    tuned = tune_small(visible_file, 2, out)
    target = prepare_target(load_recording(visible_file), "IT")
    outer = SPLITS["course"](target.stimuli, 1).splits[0]
    inner = inner_part(target, outer, 1)
    result, _ = fit_split(load_fitted("convnet", "cpu", 1, tuned.parameters), target, inner, {})
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(result.responses.T, result.predictions.T, strict=True)]
    assert tuned.value == pytest.approx(np.mean(r), abs=1e-5)


def test_the_inner_parts_lie_in_the_training_part_and_are_balanced(planted):
    target = prepare_target(planted, "IT")
    split = SPLITS["course"](target.stimuli, 1).splits[0]
    inner = inner_part(target, split, 1)
    assert sorted([*inner.train, *inner.test]) == sorted(split.train)
    assert not set(inner.test) & set(split.test)
    assert len(inner.test) == pytest.approx(HELD_OUT * len(split.train), abs=1)
    objects = dict(zip(target.stimuli["stimulus_id"], target.stimuli["object_name"], strict=True))
    _, counts = np.unique([objects[key] for key in inner.test], return_counts=True)
    assert len(counts) == 8
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(inner_part(target, split, 1).test, inner.test)
    assert set(inner_part(target, split, 2).test) != set(inner.test)


def test_test_responses_are_never_read(visible_file, tmp_path, seeded, monkeypatch):
    target = prepare_target(load_recording(visible_file), "IT")
    split = SPLITS["course"](target.stimuli, 1).splits[0]
    hidden = ~np.isin(target.stimuli["stimulus_id"], split.train)
    assert hidden.sum() >= len(split.test) > 0
    before = tune_small(visible_file, 3, tmp_path / "before")

    def spoilt(*arguments):
        made = prepare_target(*arguments)
        responses = made.responses.copy()
        responses[hidden] = np.nan
        made.noise.variances[np.isin(made.noise.stimulus_ids, made.stimuli["stimulus_id"][hidden])] = np.nan
        return replace(made, responses=responses)

    monkeypatch.setattr(tuning, "prepare_target", spoilt)
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "home"))
    assert tune_small(visible_file, 3, tmp_path / "after") == before


def test_storages_of_something_else_are_refused_with_both_named(visible_file, planted_file, tmp_path):
    out = tmp_path / "tuning"
    tune_small(visible_file, 1, out)
    for change, text in (
        ({"seed": 2}, r"for another split: 'course, seed 1' there, 'course, seed 2' asked for"),
        ({"split": "kfold"}, r"for another split: 'course, seed 1' there, 'kfold, seed 1' asked for"),
        (
            {"options": {**FIXED, "epochs": "4"}},
            r"for another fixed: .*'epochs': '3'.* there, .*'epochs': '4'.* asked",
        ),
    ):
        with pytest.raises(InputError, match=text + r".*choose another storage") as error:
            tune_small(visible_file, 3, out, **change)
        assert "\n" not in str(error.value)
    with pytest.raises(
        InputError, match=r"for another recording: 'planted \w+ IT' there, 'planted \w+ IT' asked for"
    ):
        tune_small(planted_file, 3, out)
    assert len(study_of(out).get_trials()) == 1
    # another candidate is another study, which may lie in the same storage
    tune(
        "autoencoder",
        visible_file,
        1,
        device="cpu",
        options=FIXED,
        storage=f"sqlite:///{out / 'study.db'}",
        out=tmp_path / "b",
    )
    assert len(study_of(out, "autoencoder").get_trials()) == len(study_of(out).get_trials()) == 1


def test_a_trial_that_is_clearly_bad_is_pruned_and_never_the_best(visible_file, tmp_path, monkeypatch):
    def suggest(trial):
        return {"lr": "0.01" if trial.number < 5 else "1e-12"}

    monkeypatch.setitem(tuning.SPACES, "convnet", suggest)
    options = {**FIXED, "epochs": "9", "patience": "0"}
    tuned = tune_small(visible_file, 7, tmp_path / "t", options=options)
    states = [trial.state.name for trial in study_of(tmp_path / "t").get_trials()]
    assert states == ["COMPLETE"] * 5 + ["PRUNED"] * 2
    pruned = study_of(tmp_path / "t").get_trials()[5]
    assert len(pruned.intermediate_values) == 6  # of 9 epochs
    assert tuned.n_trials == 7
    assert len(tuned.values) == 5
    assert tuned.parameters["lr"] == "0.01"


def test_networks_that_predict_nothing_while_they_are_trained_are_not_pruned(
    visible_file, tmp_path, monkeypatch
):
    """Their loss is on another scale than the r of those that do."""

    def suggest(trial):
        return {"pull": "0" if trial.number >= 5 else "1"}

    monkeypatch.setitem(tuning.SPACES, "autoencoder", suggest)
    options = {**FIXED, "epochs": "7", "patience": "0"}
    tune("autoencoder", visible_file, 7, device="cpu", options=options, out=tmp_path)
    states = [trial.state.name for trial in study_of(tmp_path, "autoencoder").get_trials()]
    assert states[5:] == ["COMPLETE"] * 2


@pytest.mark.parametrize("kind", list(tuning.SPACES))
def test_what_is_searched_are_parameters_of_the_candidate(kind):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    backbone = {
        "combined": "+efficientnet_lite0@random:_blocks.2",
        "readout": "+efficientnet_lite0@random:_blocks.2",
    }
    name = kind + backbone.get(kind, "+efficientnet_lite0@random" if kind == "finetuned" else "")
    for _ in range(3):
        load_fitted(name, "cpu", 0, tuning.SPACES[kind](study.ask()))


def test_all_trials_share_what_was_prepared(visible_file, tmp_path, monkeypatch):
    """Features of a backbone are taken once per study, not once per trial."""
    from itprobe.models.fitted import inputs

    seen = []
    original = inputs.image_batches
    monkeypatch.setattr(
        inputs,
        "image_batches",
        lambda stimuli, *rest: seen.extend(stimuli["stimulus_id"]) or original(stimuli, *rest),
    )
    tune_small(visible_file, 3, tmp_path)
    target = prepare_target(load_recording(visible_file), "IT")
    assert sorted(seen) == sorted(SPLITS["course"](target.stimuli, 1).splits[0].train)


def study_with(values):
    """A study in memory whose trials had these values, as functions of their parameters."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        trial = study.ask()
        drawn = {"lr": trial.suggest_float("lr", 0, 1), "dropout": trial.suggest_float("dropout", 0, 1)}
        trial.set_user_attr("parameters", {name: repr(value) for name, value in drawn.items()})
        study.tell(trial, values(**drawn))
    return study


def test_importances_are_shares_of_the_variance_between_trials():
    states = (optuna.trial.TrialState.COMPLETE,)
    tuned = tuning._tuned(optuna, study_with(lambda lr, dropout: lr), states)
    assert tuned.importances["lr"] > 0.9
    tuned = tuning._tuned(optuna, study_with(lambda lr, dropout: 3 * lr + dropout), states)
    assert tuned.importances["lr"] == pytest.approx(0.9, abs=0.08)  # 9 parts of 10
    assert sum(tuned.importances.values()) == pytest.approx(1)
    tuned = tuning._tuned(optuna, study_with(lambda lr, dropout: 0.5), states)
    assert (tuned.importances, tuned.value) == ({}, 0.5)


def test_a_trial_that_died_with_its_process_is_not_counted(visible_file, tmp_path):
    tune_small(visible_file, 1, tmp_path)
    study_of(tmp_path).ask()  # RUNNING for ever
    assert tune_small(visible_file, 3, tmp_path).n_trials == 3
    states = [trial.state.name for trial in study_of(tmp_path).get_trials()]
    assert states == ["COMPLETE", "RUNNING", "COMPLETE", "COMPLETE"]


# what stands in the way


def test_a_locked_storage_is_one_line(visible_file, tmp_path):
    tune_small(visible_file, 1, tmp_path)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("BEGIN EXCLUSIVE")
        storage = f"sqlite:///{tmp_path / 'study.db'}?timeout=0.2"
        with pytest.raises(InputError, match=r"the storage .*study\.db.* cannot be used: .*locked") as error:
            tune_small(visible_file, 3, tmp_path, storage=storage)
        assert "\n" not in str(error.value)
    assert tune_small(visible_file, 1, tmp_path, storage=storage).n_trials == 1


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("study.db", r"the storage study\.db cannot be used: .*"),
        (
            "postgresql://me:secret@localhost/study",
            r"the storage postgresql://me:\*\*\*@localhost/study cannot",
        ),
        ("sqlite:////nowhere/at/all/study.db", r"cannot be used: .*unable to open database file"),
        ("nodb://somewhere/study", r"cannot be used: .*nodb"),
    ],
)
def test_storages_that_there_are_not(storage, text, visible_file, tmp_path):
    with pytest.raises(InputError, match=text) as error:
        tune_small(visible_file, 1, tmp_path, storage=storage)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_database(visible_file, tmp_path):
    (tmp_path / "study.db").write_text("these are notes, not a database " * 100)
    with pytest.raises(InputError, match=r"cannot be used: .*file is not a database"):
        tune_small(visible_file, 1, tmp_path)


def test_without_optuna_it_is_said_how_to_get_it(visible_file, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tuning needs Optuna: pip install 'itprobe\[tune\]'"):
        tune_small(visible_file, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


CHILD = """
import json, sys
import torch
torch.set_num_threads(1)
from itprobe.tuning import tune
recording, storage, out, fixed = sys.argv[1:]
tuned = tune("convnet", recording, 6, device="cpu", options=json.loads(fixed), storage=storage, out=out)
print(tuned.n_trials)
"""


@pytest.mark.slow
def test_two_processes_share_a_study(visible_file, tmp_path):
    """Together they reach the number asked for; each may finish one that it had begun when it was reached."""
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    fixed = json.dumps({**FIXED, "epochs": "20"})
    tune(
        "convnet",
        visible_file,
        1,
        device="cpu",
        options=json.loads(fixed),
        storage=storage,
        out=tmp_path / "0",
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, visible_file, storage, str(tmp_path / name), fixed],
            env={**os.environ, "ITPROBE_HOME": str(tmp_path / f"home-{name}")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    counts = [int(child.communicate()[0].split()[-1]) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    trials = optuna.load_study(study_name="convnet", storage=storage).get_trials()
    done = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert 6 <= len(done) <= 7
    assert min(counts) >= 6
    drawn = [tuple(sorted(trial.params.items())) for trial in trials]
    assert len(set(drawn)) == len(drawn)  # neither repeats what the other drew
