"""A command that is refused says why in one line and leaves no empty folder behind."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itprobe import report_rows
from itprobe.cli import main
from itprobe.data import build_assembly, make_stimulus_set, save_recording
from itprobe.errors import FIRST_LISTED, MOST_LISTED, InputError, unknown_name
from itprobe.files import check_folder
from itprobe.report_rows import ROWS
from itprobe.table_command import ROW_NAMES

pytestmark = pytest.mark.usefixtures("one_thread")


def recording_of(folder, n, objects=(), repetitions=2):
    """Path of a recording of n stimuli with noise for responses; they show these objects, if any."""
    rng = np.random.default_rng(n)
    ids = [f"im{row:02d}" for row in range(n)]
    folder.mkdir()
    paths = {key: folder / f"{key}.png" for key in ids}
    for path in paths.values():
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    table = pd.DataFrame({"stimulus_id": ids})
    if objects:
        table["object_name"] = np.resize(objects, n)
    made = build_assembly(
        rng.normal(size=(n * repetitions, 3)),
        np.repeat(ids, repetitions),
        np.tile(np.arange(repetitions), n),
        make_stimulus_set(table, paths, "noise"),
        {"neuroid_id": ["n0", "n1", "n2"], "region": ["IT"] * 3, "animal": ["a"] * 3},
        identifier="noise",
        visual_degrees=8,
        citation="noise",
    )
    save_recording(made, folder / "r.nc")
    return str(folder / "r.nc")


@pytest.fixture
def nameless(tmp_path):
    """Path of a recording whose objects are not known."""
    return recording_of(tmp_path / "nameless", 60)


@pytest.fixture
def few(tmp_path):
    """Path of a recording with too few stimuli for any split."""
    return recording_of(tmp_path / "few", 20, ["a", "b"])


@pytest.fixture
def refused(tmp_path, capsys):
    """Run a command that must be refused, without a trace below `tmp_path`; give the lines of stderr."""

    def standing():  # Python may keep what it compiled of a user's file
        return {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}

    def run(*arguments):
        before = standing()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        lines = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2
        assert standing() == before
        return lines

    return run


@pytest.fixture
def home(tmp_path_factory, monkeypatch):
    """A cache of its own, away from the folder that is looked at."""
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path_factory.mktemp("home")))


# tables


def test_a_table_that_cannot_begin(refused, planted_file, tmp_path):
    out = tmp_path / "deep" / "table"
    (message,) = refused("table", "--recording", "nope", "--out", out)
    assert "unknown recording: 'nope'" in message
    (message,) = refused("table", "--recording", planted_file, "--backbone", "resnet_fifty", "--out", out)
    assert "unknown candidate: 'resnet_fifty'" in message


def test_a_table_with_too_few_stimuli_is_refused_before_a_backbone_is_loaded(
    refused, few, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_rows, "load_candidate", lambda *_: pytest.fail("a backbone was loaded"))
    (message,) = refused("table", "--recording", few, "--out", tmp_path / "table")
    assert message.endswith("split 'course' needs at least 36 stimuli with responses, there are 20")


def test_a_table_none_of_whose_rows_can_be_run(refused, nameless, net, tmp_path):
    rows = ("--rows", "object_onehot,latents", "--backbone", net, "--device", "cpu")
    lines = refused("table", "--recording", nameless, *rows, "--out", tmp_path / "table")
    assert "no row of the table could be run" in lines[-1]


def test_the_help_of_rows_lists_them_all(capsys):
    with pytest.raises(SystemExit):
        main(["table", "--help"])
    printed = capsys.readouterr().out.replace("\n", " ").replace(" ", "")
    assert ROW_NAMES.split(", ") == list(ROWS)
    assert ",".join(ROWS) in printed


# scores of fitted candidates, predictions


@pytest.mark.parametrize(
    ("model", "recording", "text"),
    [
        ("dual_task", "nameless", "names no object"),
        ("convnet", "few", "needs at least 36 stimuli"),
        ("pixels", "few", "needs at least 36 stimuli"),
    ],
)
def test_a_score_that_is_refused(model, recording, text, refused, home, tmp_path, request):
    kind = "ridge" if model == "pixels" else "fitted"
    benchmark = f"{request.getfixturevalue(recording)}#IT-{kind}.course"
    options = ("--device", "cpu", "--results", tmp_path / "deep" / "results")
    assert text in refused("score", model, "--benchmark", benchmark, *options)[-1]


def test_a_prediction_that_is_refused(refused, nameless, tmp_path):
    out = ("--out", tmp_path / "deep" / "er" / "p.nc")
    (message,) = refused("predict", "pixels", "--recording", nameless, "--split", "kfold", *out)
    assert "has 10 parts" in message


def test_a_folder_that_cannot_be_made_is_still_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the folder"):
        check_folder(tmp_path / "file" / "results")
    check_folder(tmp_path / "deep" / "results")
    assert not (tmp_path / "deep").exists()


# tuning


def test_a_study_whose_storage_cannot_be_used(refused, planted_file, tmp_path):
    pytest.importorskip("optuna")
    options = ("--recording", planted_file, "--device", "cpu", "--out", tmp_path / "deep" / "tuning")
    for storage in ("study.db", "sqlite:////nowhere/at/all/study.db"):
        assert "cannot be used" in refused("tune", "convnet", *options, "--storage", storage)[-1]


def test_a_storage_may_lie_in_the_folder_that_is_made_for_the_study(visible_file, tmp_path):
    pytest.importorskip("optuna")
    out = tmp_path / "deep" / "tuning"
    fixed = [part for text in ("side=16", "widths=4", "hidden=8", "epochs=2") for part in ("--set", text)]
    storage = ("--storage", f"sqlite:///{out / 'own.db'}")
    command = ["tune", "convnet", "--recording", visible_file, "--trials", "1", "--device", "cpu", *fixed]
    main([*command, *storage, "--out", str(out)])
    assert (out / "own.db").is_file()
    assert json.loads((out / "convnet.json").read_text())["n_trials"] == 1


@pytest.mark.parametrize("objects", [[], ["a"]])
def test_dual_task_without_objects_to_learn_is_refused_before_a_study_is_made(objects, refused, tmp_path):
    pytest.importorskip("optuna")
    recording = recording_of(tmp_path / "r", 60, objects)
    options = ("--recording", recording, "--device", "cpu", "--out", tmp_path / "tuning")
    (message,) = refused("tune", "dual_task", *options)
    assert "dual_task learns objects beside responses, and noise names fewer than two" in message


def test_a_reason_that_stops_every_trial_is_told(tmp_path, capfd):
    pytest.importorskip("optuna")
    from itprobe.tuning import tune

    recording = recording_of(tmp_path / "r", 60, repetitions=1)
    with pytest.raises(
        InputError,
        match=r"no trial of convnet was finished: 0 pruned, 2 failed, .* needs a recording with rep",
    ):
        tune("convnet", recording, 2, device="cpu", out=tmp_path, options={"noise_weighting": "true"})
    assert "Traceback" not in "".join(capfd.readouterr())


# names


def test_where_no_name_is_near_all_are_listed_if_they_are_few():
    names = [f"name{index:02d}" for index in range(MOST_LISTED)]
    assert str(unknown_name("kind", "?", names)) == f"unknown kind: '?'; known: {', '.join(names)}"
    assert "did you mean name07" in str(unknown_name("kind", "nme07", names))
    assert str(unknown_name("kind", "?", [])) == "unknown kind: '?'"


def test_of_many_names_the_first_few_and_their_number_are_listed():
    names = [f"name{index:02d}" for index in range(MOST_LISTED + 1)]
    listed = ", ".join(names[:FIRST_LISTED])
    message = str(unknown_name("kind", "?", reversed(names), "(see: elsewhere)"))
    assert message == f"unknown kind: '?'; known: {listed}, ... ({len(names)} in all) (see: elsewhere)"


def test_rows_and_layers_that_resemble_nothing(refused, planted_file, tmp_path):
    (message,) = refused("table", "--rows", "foo", "--out", tmp_path / "table")
    assert message.endswith(f"unknown row of the table: 'foo'; known: {', '.join(sorted(ROWS))}")
    layer = "efficientnet_lite0@random:zzz"
    (message,) = refused("score", layer, "--benchmark", f"{planted_file}#IT-ridge", "--device", "cpu")
    assert "unknown layer of efficientnet_lite0@random: 'zzz'; known: " in message
    assert message.endswith("in all)")
