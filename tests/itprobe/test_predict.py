"""A held-out board: what a host keeps, what a participant predicts, and what the host makes of it."""

import json
from types import SimpleNamespace

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest

from itprobe.api import plan_requests, score_requests
from itprobe.benchmarks import prepare_target
from itprobe.cli import main
from itprobe.data import load_recording, save_recording
from itprobe.data.withheld import read_withheld
from itprobe.errors import InputError
from itprobe.grading import grade
from itprobe.leaderboard import load_held_out
from itprobe.leaderboard.board.adding import Rejected, add_graded
from itprobe.leaderboard.board.answers import read_answers
from itprobe.leaderboard.board.reading import read_board
from itprobe.leaderboard.board.withholding import withhold_test_part
from itprobe.metrics import SPLITS
from itprobe.predicting import predict


@pytest.fixture
def host(visible_file, tmp_path):
    """The full recording, and what `withhold` makes of it: .full, .public, .withheld (paths), .test (ids)."""
    full = load_recording(visible_file)
    public, withheld, counts = withhold_test_part(full, tmp_path / "host")
    (split,) = SPLITS["course"](prepare_target(full, "IT").stimuli, 1).splits
    test = set(full["stimulus_id"].values) - set(split.train) - set(split.test)
    return SimpleNamespace(full=full, public=public, withheld=withheld, counts=counts, test=test, split=split)


def test_the_public_part_holds_all_images_and_no_withheld_response(host):
    public, full = load_recording(host.public), host.full
    assert host.counts == {"train": 97, "val": 11, "test": 12}
    assert len(public.attrs["stimulus_set"]) == 120
    assert not host.test & set(public["stimulus_id"].values)
    assert set(public["stimulus_id"].values) | host.test == set(full["stimulus_id"].values)
    kept = read_withheld(host.withheld).assembly
    assert set(kept["stimulus_id"].values) == host.test
    for part in (public, kept):
        for row in (0, -1):
            stimulus, repetition = (part[name].values[row] for name in ("stimulus_id", "repetition"))
            same = (full["stimulus_id"].values == stimulus) & (full["repetition"].values == repetition)
            np.testing.assert_array_equal(part.values[row], full.values[same][0])
    (own,) = SPLITS["course"](prepare_target(public, "IT").stimuli, 7).splits
    assert set(own.train) == set(host.split.train)
    assert set(own.test) == set(host.split.test)


def test_the_withheld_part_is_the_owners_alone_and_nothing_of_it_is_in_the_public_file(host):
    assert host.withheld.stat().st_mode & 0o077 == 0
    secrets = read_withheld(host.withheld).assembly.values.astype(np.float32)
    with h5py.File(host.public) as source:
        assert "truth" not in source
        for name, item in source.items():
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                assert not np.isin(secrets, item[()]).any(), name


def full_recording_of_two_parts(host, path):
    """The full recording with the very parts that participant and host have, as its own split."""
    stimuli = host.full.attrs["stimulus_set"]
    part = ["val" if key in host.test else "train" for key in stimuli["stimulus_id"]]
    from itprobe.data import build_assembly, make_stimulus_set, neuroid_coordinates

    frame = pd.DataFrame(stimuli).assign(split=part)
    assembly = build_assembly(
        host.full.values,
        host.full["stimulus_id"].values,
        host.full["repetition"].values,
        make_stimulus_set(frame, stimuli.stimulus_paths, "two"),
        neuroid_coordinates(host.full),
        identifier="two",
        visual_degrees=8,
        citation="planted",
    )
    save_recording(assembly, path)
    return path


@pytest.mark.parametrize("mapping", ["ridge", "pls", "pcr"])
def test_a_graded_prediction_is_the_score_on_the_full_recording(host, net, tmp_path, mapping):
    model = f"{net}:second"
    predict(model, str(host.public), tmp_path / "preds.nc", mapping=mapping)
    answers = read_answers(tmp_path / "preds.nc")
    assert set(answers.stimulus_ids) == host.test
    result, held_out = grade(answers, read_withheld(host.withheld))
    two = full_recording_of_two_parts(host, tmp_path / "two.nc")
    (scored,) = score_requests(plan_requests([model]), f"{two}#IT-{mapping}.course")
    expected = scored.result
    for name in ("median", "mean", "median_of_means"):
        assert getattr(result.scores.pearson_r, name) == pytest.approx(
            getattr(expected.scores.pearson_r, name), abs=1e-6
        )
    assert result.scores.pearson_r.by_animal == pytest.approx(expected.scores.pearson_r.by_animal, abs=1e-6)
    assert result.scores.pearson_r.ci95 == pytest.approx(expected.scores.pearson_r.ci95, abs=1e-6)
    assert result.scores.explained_variance.mean == pytest.approx(
        expected.scores.explained_variance.mean, abs=1e-6
    )
    assert result.scores.noise_corrected.feve.median == pytest.approx(
        expected.scores.noise_corrected.feve.median, abs=1e-6
    )
    for mine, theirs in zip(result.per_neuroid, expected.per_neuroid, strict=True):
        assert mine.neuroid_id == theirs.neuroid_id
        assert mine.pearson_r == pytest.approx(theirs.pearson_r, abs=1e-6)
        assert mine.alpha == (None if theirs.alpha is None else pytest.approx(theirs.alpha, rel=1e-6))
    assert result.candidate == expected.candidate
    assert result.mapping == expected.mapping
    order = pd.Index(held_out.stimulus_ids[0]).get_indexer(scored.held_out.stimulus_ids[0])
    np.testing.assert_allclose(held_out.predictions[0][order], scored.held_out.predictions[0], atol=1e-6)


def rewritten(source, target, rows=None, columns=None, change=None, about=None):
    """A predictions file with other rows and columns, changed by a function of its arrays and of its origin."""
    with netCDF4.Dataset(source) as old:
        arrays = {name: old[name][:].copy() for name in ("prediction", "alpha", "stimulus_id", "neuroid_id")}
        text = json.loads(old.about)
    if rows is not None:
        arrays["prediction"], arrays["stimulus_id"] = arrays["prediction"][rows], arrays["stimulus_id"][rows]
    if columns is not None:
        arrays["prediction"] = arrays["prediction"][:, columns]
        arrays["alpha"], arrays["neuroid_id"] = arrays["alpha"][columns], arrays["neuroid_id"][columns]
    if change:
        change(arrays)
    if about:
        about(text)
    with netCDF4.Dataset(target, "w") as new:
        new.createDimension("stimulus", len(arrays["stimulus_id"]))
        new.createDimension("neuroid", len(arrays["neuroid_id"]))
        dims = {"prediction": ("stimulus", "neuroid"), "alpha": ("neuroid",)}
        dims |= {"stimulus_id": ("stimulus",), "neuroid_id": ("neuroid",)}
        for name, values in arrays.items():
            kind = str if values.dtype.kind == "O" else "f8"
            new.createVariable(name, kind, dims[name])[:] = values
        new.about = json.dumps(text)
    return target


def test_the_order_of_rows_and_columns_does_not_matter(host, tmp_path):
    predict("pixels", str(host.public), tmp_path / "preds.nc")
    rng = np.random.default_rng(0)
    shuffled = rewritten(
        tmp_path / "preds.nc", tmp_path / "other.nc", rng.permutation(12), rng.permutation(12)
    )
    withheld = read_withheld(host.withheld)
    one, other = (grade(read_answers(tmp_path / name), withheld)[0] for name in ("preds.nc", shuffled.name))
    assert one.scores == other.scores
    assert one.per_neuroid == other.per_neuroid


def set_nan(arrays):
    arrays["prediction"][3, 2] = np.nan


def set_huge(arrays):
    arrays["prediction"][0] = 1e300


def set_penalty(arrays):
    arrays["alpha"][0] = -5


def set_foreign(arrays):
    arrays["stimulus_id"][0] = "foreign\x1b[2J"


def set_neuroid(arrays):
    arrays["neuroid_id"][0] = "foreign"


FAULTS = {
    "missing": ({"rows": np.arange(10)}, "lack 2 of 12 stimuli"),
    "duplicate": ({"rows": np.r_[np.arange(12), 0]}, "predicts 1 stimuli more than once"),
    "foreign": ({"change": set_foreign}, "lack 1 of 12 stimuli"),
    "nan": ({"change": set_nan}, "NaN, infinite or beyond float32"),
    "huge": ({"change": set_huge}, "beyond float32"),
    "penalty": ({"change": set_penalty}, "1 penalties .* below 0"),
    "neuroid": ({"change": set_neuroid}, "lack 1 of 12 neuroids: 'n00'"),
    "neuroids twice": ({"columns": np.r_[np.arange(12), 0]}, "predicts 1 neuroids more than once"),
    "recording": ({"about": lambda a: a["recording"].update(sha256="0" * 64)}, "digest 000000000000"),
    "images": ({"about": lambda a: a["recording"].update(stimulus_set_sha256="0" * 64)}, "other images"),
    "region": ({"about": lambda a: a["recording"].update(region="V9")}, "no neuroid of region 'V9'"),
    "mapping": ({"about": lambda a: a["mapping"].update(name="../../x")}, "no name of letters"),
    "origin": ({"about": lambda a: a.pop("candidate")}, "'candidate': Field required"),
    "origin's id": ({"about": lambda a: a["candidate"].update(id="a\u202eb")}, "U\\+202E"),
    "version": ({"about": lambda a: a.update(answers_version=2)}, "answers_version"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_predictions_that_do_not_fit_are_refused_in_one_line(host, tmp_path, name):
    parts, message = FAULTS[name]
    predict("pixels", str(host.public), tmp_path / "preds.nc")
    spoilt = rewritten(tmp_path / "preds.nc", tmp_path / "spoilt.nc", **parts)
    with pytest.raises(InputError, match=message) as caught:
        grade(read_answers(spoilt), read_withheld(host.withheld))
    assert str(caught.value).isprintable()


def test_predictions_beside_the_withheld_stimuli_are_refused(host, tmp_path):
    predict("pixels", str(host.public), tmp_path / "preds.nc")

    def more(arrays):
        arrays["stimulus_id"] = np.append(arrays["stimulus_id"], "im999")
        arrays["prediction"] = np.vstack([arrays["prediction"], np.zeros(12)])

    spoilt = rewritten(tmp_path / "preds.nc", tmp_path / "spoilt.nc", change=more)
    with pytest.raises(InputError, match="also of 1 stimuli that are not withheld: 'im999'"):
        grade(read_answers(spoilt), read_withheld(host.withheld))


def test_other_files_are_no_predictions(host, tmp_path):
    for path, message in (
        (host.public, "no variable prediction"),
        (tmp_path / "nothing.nc", "cannot be read"),
        (host.public.with_suffix(".stimuli") / "stimuli.csv", "no netCDF4 file"),
    ):
        with pytest.raises(InputError, match=message):
            read_answers(path)
    with pytest.raises(InputError, match="no withheld responses"):
        read_withheld(host.public)
    with pytest.raises(InputError, match="no withheld responses at"):
        read_withheld(tmp_path / "nothing.nc")


def test_damaged_withheld_responses_are_noticed(host):
    with netCDF4.Dataset(host.withheld, "a") as source:
        source["response"][0, 0] = 1e3
    with pytest.raises(InputError, match="do not match their digest"):
        read_withheld(host.withheld)


def test_graded_results_go_on_a_board_once(host, tmp_path):
    predict("pixels", str(host.public), tmp_path / "preds.nc")
    result, held_out = grade(read_answers(tmp_path / "preds.nc"), read_withheld(host.withheld))
    path = add_graded(result, held_out, tmp_path / "board")
    (entry,) = read_board(tmp_path / "board").entries
    assert entry.path == path
    assert entry.flags == []
    assert entry.result.split.name == "withheld"
    kept = load_held_out(entry.result, path.parent)
    np.testing.assert_allclose(kept.responses[0], held_out.responses[0], rtol=1e-6)
    with pytest.raises(Rejected, match="this very result"):
        add_graded(result, held_out, tmp_path / "board")


def test_predictions_that_are_the_responses_are_not_taken(host, tmp_path):
    predict("pixels", str(host.public), tmp_path / "preds.nc")
    target = prepare_target(read_withheld(host.withheld).assembly, "IT")
    truth = pd.DataFrame(target.responses, target.stimuli["stimulus_id"])

    def copy(arrays):
        arrays["prediction"] = truth.loc[list(arrays["stimulus_id"])].to_numpy() * 2

    rewritten(tmp_path / "preds.nc", tmp_path / "copied.nc", change=copy)
    graded = grade(read_answers(tmp_path / "copied.nc"), read_withheld(host.withheld))
    with pytest.raises(Rejected, match="are their responses"):
        add_graded(*graded, tmp_path / "board")


def test_the_layer_is_chosen_on_the_stimuli_that_have_responses(host, net, tmp_path):
    answers = predict(f"{net}:auto", str(host.public), tmp_path / "preds.nc")
    assert answers.about.candidate.layer == "auto"
    (note,) = [note for note in answers.about.warnings if "chosen on inner folds" in note]
    layer = note.split()[1]
    named = predict(f"{net}:{layer}", str(host.public), tmp_path / "named.nc")
    np.testing.assert_array_equal(answers.predictions, named.predictions)


def test_a_candidate_is_trained_on_the_stimuli_that_have_responses(host, tmp_path):
    answers = predict(
        "convnet",
        str(host.public),
        tmp_path / "preds.nc",
        options={"epochs": "2", "side": "16"},
        device="cpu",
    )
    assert answers.predictions.shape == (12, 12)
    assert answers.about.candidate.track == "fitted"
    assert answers.about.recording.n_train == 108
    assert answers.about.training[0].n_train + answers.about.training[0].n_validation == 108
    result, _ = grade(read_answers(tmp_path / "preds.nc"), read_withheld(host.withheld))
    assert result.training == answers.about.training
    assert result.per_neuroid[0].alpha is None


def test_where_all_stimuli_have_responses_the_splits_test_part_is_predicted(host, visible_file, tmp_path):
    answers = predict("pixels", visible_file, tmp_path / "preds.nc")
    assert set(answers.stimulus_ids) == set(host.split.test)
    assert answers.about.split == "course"
    (scored,) = score_requests(plan_requests(["pixels"]), f"{visible_file}#IT-ridge.course")
    order = pd.Index(answers.stimulus_ids).get_indexer(scored.held_out.stimulus_ids[0])
    np.testing.assert_allclose(answers.predictions[order], scored.held_out.predictions[0], atol=1e-6)


def test_the_course_file_has_a_test_part_without_responses(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    path = tmp_path / "IT_data.h5"
    with h5py.File(path, "w") as target:
        for name, size in (("train", 40), ("val", 8), ("test", 6)):
            target[f"stimulus_{name}"] = rng.uniform(-1, 1, (size, 3, 16, 16)).astype(np.float32)
            target[f"object_{name}"] = np.resize([b"car", b"chair"], size)
            if name != "test":
                means = target[f"stimulus_{name}"][:].mean(axis=(2, 3))
                target[f"spikes_{name}"] = means @ rng.normal(size=(3, 5)) + 0.1 * rng.normal(size=(size, 5))
    answers = predict("pixels", str(path), tmp_path / "preds.nc")
    assert list(answers.stimulus_ids) == [f"nx414-test-{k:05d}" for k in range(6)]
    assert answers.about.recording.n_train == 48
    assert answers.about.split is None
    with pytest.raises(InputError, match="already has 6 stimuli without responses"):
        withhold_test_part(load_recording(str(path)), tmp_path / "host")


def test_withheld_responses_are_never_overwritten(host):
    kept = host.withheld.read_bytes()
    with pytest.raises(InputError, match="exists"):
        withhold_test_part(host.full, host.withheld.parent, seed=2)
    assert host.withheld.read_bytes() == kept


def test_a_part_of_another_split_can_be_withheld(visible_file, tmp_path):
    full = load_recording(visible_file)
    _, withheld, counts = withhold_test_part(full, tmp_path / "host", "object_out", part=2)
    assert counts == {"train": 105, "val": 0, "test": 15}
    part = SPLITS["object_out"](prepare_target(full, "IT").stimuli, 1).splits[1]
    kept = read_withheld(withheld)
    assert set(kept.assembly["stimulus_id"].values) == set(part.test)
    assert (kept.drawn.split, kept.drawn.part, kept.drawn.seed) == ("object_out", 2, 1)


def code_of(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_bad_requests_are_one_line(host, visible_file, net, tmp_path, capsys):
    out = tmp_path / "p.nc"
    for arguments, message in (
        (["pixels", "--split", "kfold", "--recording", visible_file], "has 10 parts"),
        (["pixels", "--split", "nosplit", "--recording", visible_file], "unknown split"),
        (["pixels", "--mapping", "rsa", "--recording", visible_file], "compares all stimuli at once"),
        (["pixels", "--mapping", "rigde", "--recording", visible_file], "did you mean ridge"),
        ([net, "--recording", host.public], "name one layer of: auto"),
        ([f"{net}:nolayer", "--recording", host.public], "nolayer"),
        (["pixels", "--region", "V4", "--recording", host.public], "V4"),
    ):
        assert code_of("predict", *arguments, "--out", out) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
        assert not out.exists()
    assert code_of("predict", "pixels", "--recording", host.public, "--out", tmp_path) == 2
    assert "is a folder: name the file" in capsys.readouterr().err
    assert code_of("leaderboard", "withhold", visible_file, "--index", 4, "--out", tmp_path / "w") == 2
    assert "parts 1 to 1, not 4" in capsys.readouterr().err
    assert code_of("leaderboard", "withhold", host.public, "--out", tmp_path / "w") == 2


def test_the_three_commands_in_a_row(visible_file, tmp_path, capsys):
    main(["leaderboard", "withhold", visible_file, "--out", str(tmp_path / "host")])
    said = capsys.readouterr().out
    assert "97 train, 11 val, 12 test" in said
    main(
        [
            "predict",
            "pixels",
            "--recording",
            str(tmp_path / "host/public.nc"),
            "--out",
            str(tmp_path / "p.nc"),
        ]
    )
    assert "fitted to 108 stimuli" in capsys.readouterr().out
    grading = [
        "leaderboard",
        "grade",
        str(tmp_path / "p.nc"),
        "--withheld",
        str(tmp_path / "host/withheld.nc"),
    ]
    main([*grading, "--board", str(tmp_path / "board")])
    assert "publish the site alone" in capsys.readouterr().out
    main([*grading, "--json"])
    assert json.loads(capsys.readouterr().out)["split"]["name"] == "withheld"
    assert code_of(*grading, "--board", tmp_path / "board") == 2
