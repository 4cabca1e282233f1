"""Submissions: what is honest is added whole and once, what is not is rejected with every reason."""

import json
import multiprocessing
import shutil

import netCDF4
import numpy as np
import pytest
from sklearn.metrics import explained_variance_score

from itprobe.cli import main
from itprobe.leaderboard import load_held_out
from itprobe.leaderboard.board.adding import Rejected, add_result, board_lock
from itprobe.leaderboard.board.reading import read_board
from itprobe.leaderboard.board.rescoring import score_again


def reasons(path, board, recording=None):
    before = sorted(board.glob("*")) if board.exists() else []
    with pytest.raises(Rejected) as caught:
        add_result(path, board, recording)
    assert (sorted(board.glob("*")) if board.exists() else []) == before, (
        "a rejected file leaves nothing behind"
    )
    assert all("\n" not in reason for reason in caught.value.reasons)
    return caught.value.reasons


@pytest.fixture
def board(small, tmp_path):
    """A board that has the objects' result."""
    add_result(small.objects, tmp_path / "board", small.assembly)
    return tmp_path / "board"


def test_an_honest_result_is_added_with_its_predictions(small, submission, tmp_path):
    folder = tmp_path / "board"
    path = add_result(submission, folder, small.assembly)
    (entry,) = read_board(folder).entries
    assert entry.path == path
    assert entry.flags == []
    original = read_board(submission.parent).entries[0].result
    named = original.predictions.model_copy(update={"file": entry.result.predictions.file})
    assert entry.result == original.model_copy(update={"predictions": named})
    mine, theirs = load_held_out(entry.result, folder), load_held_out(original, submission.parent)
    np.testing.assert_array_equal(mine.predictions[3], theirs.predictions[3])
    assert sorted(item.name for item in folder.iterdir()) == sorted(
        [path.name, entry.result.predictions.file]
    )


def test_the_recording_is_known_by_the_board_or_given(small, submission, board, tmp_path):
    add_result(submission, board)
    (unknown,) = reasons(small.pixels, tmp_path / "empty")
    assert "is unknown" in unknown
    assert "--recording" in unknown
    other = small.other(tmp_path / "other.nc", seed=8)
    assert main_code("leaderboard", "add", small.pixels, "--board", tmp_path / "e", "--recording", other) == 2


def main_code(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_a_duplicate_is_refused_whatever_its_name(small, submission, board):
    add_result(submission, board)
    (reason,) = reasons(submission, board)
    assert "this very result" in reason
    renamed = submission.with_name("renamed.json")
    shutil.copy(submission, renamed)
    assert "this very result" in reasons(renamed, board)[0]


def test_a_newer_revision_supersedes_and_an_older_one_is_refused(small, submission, board, tmp_path, change):
    first = add_result(submission, board)
    older = change.copy(submission, tmp_path / "older")
    change.rewrite(older, lambda content: content["provenance"].update(started="2001-01-01T00:00:00+00:00"))
    change.tamper(older, lambda source: source.setncattr("note", "another run"))
    assert any("newer revision" in reason for reason in reasons(older, board))
    newer = change.copy(submission, tmp_path / "newer")
    kept = first.read_bytes()
    change.rewrite(newer, lambda content: content["provenance"].update(seconds=123.0))
    change.tamper(newer, lambda source: source.setncattr("note", "a later run"))
    started = json.loads(newer.read_text())["provenance"]["started"]
    change.rewrite(newer, lambda content: content["provenance"].update(started=f"{started[:-6]}.5+00:00"))
    second = add_result(newer, board)
    assert first.read_bytes() == kept
    marks = {entry.path: entry.superseded_by for entry in read_board(board).entries}
    assert marks[first] == second.name
    assert marks[second] is None


def test_copied_predictions_under_another_name_are_refused(small, submission, board, change):
    add_result(submission, board)
    change.rewrite(submission, lambda content: content["candidate"].update(id="mine"))
    assert any("file for file" in reason for reason in reasons(submission, board))


def test_a_duplicate_is_refused_though_its_predictions_were_written_anew(submission, board, change):
    """HDF5 holds the time of writing: the same predictions, written a second later, have another digest."""
    add_result(submission, board)
    change.tamper(submission, lambda source: source.setncattr("note", "the same, written anew"))
    assert any("this very result" in reason for reason in reasons(submission, board))


def test_what_only_the_host_can_score_is_not_taken_from_others(small, submission, board, change):
    """Withheld responses are on no board that is read here: anyone could claim any."""

    def withheld(content):
        content["split"].update(name="withheld")
        content["benchmark"].update(id="quarters#IT-ridge.withheld")

    change.rewrite(submission, withheld)
    for recording in (None, small.assembly):
        assert any("leaderboard grade" in reason for reason in reasons(submission, board, recording))


def test_responses_to_stimuli_that_nobody_knows_are_refused(small, submission, board, change):
    """On another seed the board cannot draw the test stimuli: invented ones have no responses to differ from."""
    change.rewrite(submission, lambda content: content["split"].update(seed=77))

    def invent(source):
        source["stimulus_id"][:] = np.array(
            [f"invented {name}" for name in source["stimulus_id"][:]], dtype=object
        )

    change.tamper(submission, invent)
    assert any("does not have" in reason for reason in reasons(submission, board))


CLAIMS = {
    "median": (lambda c: c["scores"]["pearson_r"].update(median=0.99), "pearson_r.median"),
    "interval": (lambda c: c["scores"]["pearson_r"].update(ci95=[0.9, 0.95]), "pearson_r.ci95"),
    "split": (lambda c: c["scores"]["pearson_r"]["per_split"].__setitem__(2, 0.99), "per_split.3"),
    "animal": (lambda c: c["scores"]["pearson_r"]["by_animal"].update(a=0.99), "by_animal.a"),
    "variance": (lambda c: c["scores"]["explained_variance"].update(mean=0.97), "explained_variance.mean"),
    "neuroid": (lambda c: c["per_neuroid"][1].update(pearson_r=0.99), "pearson_r of 1 neuroids"),
    "neuroid's variance": (
        lambda c: c["per_neuroid"][0].update(explained_variance=0.9),
        "explained_variance of 1",
    ),
    "primary": (lambda c: c["scores"]["primary"].update(value=1e300), "primary score"),
    "ceiled": (lambda c: c["scores"]["ceiled"].update(value=0.99), "share of the ceiling"),
    "reliability": (lambda c: c["scores"]["reliability"].update(median=0.2), "reliability"),
    "formula": (lambda c: c["scores"]["ceiled"].update(formula="r"), "another formula"),
    "digest": (lambda c: c["recording"].update(stimulus_set_sha256="0" * 64), "stimulus_set_sha256"),
    "simulated": (lambda c: c["recording"].update(simulated=True), "recording.simulated"),
    "count": (lambda c: c["recording"].update(n_stimuli=3200), "recording.n_stimuli"),
    "benchmark": (lambda c: c["benchmark"].update(id="quarters.nc#IT-pls"), "does not end in"),
    "version": (lambda c: c["benchmark"].update(version=7), "benchmark version 7"),
    "future": (lambda c: c["provenance"].update(started="9999-01-01T00:00:00+00:00"), "future"),
    "track": (lambda c: c["candidate"].update(track="frozen"), "no digest"),
    "splits": (lambda c: c["split"].update(n_splits=3), "splits"),
    "twice": (lambda c: c["per_neuroid"][1].update(neuroid_id="n0"), "neuroids twice"),
    "fewer": (lambda c: c["per_neuroid"].pop(), "lists 5 neuroids of 6"),
    "no predictions": (lambda c: c.update(predictions=None), "cannot be scored again"),
}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("known_by", ["board", "recording"])
def test_claims_that_predictions_do_not_bear_out_are_named(small, submission, board, change, name, known_by):
    spoil, expected = CLAIMS[name]
    change.rewrite(submission, lambda content: spoil(content) and None)
    found = reasons(submission, board, small.assembly if known_by == "recording" else None)
    assert any(expected in reason for reason in found), found


def test_a_claim_differs_only_beyond_rounding(submission, board, change):
    def nudge(content):
        content["scores"]["pearson_r"]["mean"] += 1e-7
        content["per_neuroid"][0]["explained_variance"] -= 1e-6

    change.rewrite(submission, nudge)
    add_result(submission, board)


def boost(source):
    """Predictions that are better than they were, still without a word of it in the scores."""
    source["prediction"][:] = 0.5 * source["prediction"][:] + 0.5 * source["response"][:]


PREDICTIONS = {
    "boosted": (boost, "the predictions give"),
    "copied": (lambda s: s["prediction"].__setitem__(slice(None), s["response"][:]), "are their responses"),
    "scaled": (
        lambda s: s["prediction"].__setitem__(slice(None), 3 * s["response"][:] - 1),
        "are their responses",
    ),
    "nan": (lambda s: s["prediction"].__setitem__((0, 0), np.nan), "NaN or infinite"),
    "huge": (lambda s: s["prediction"].__setitem__((0, 0), np.inf), "NaN or infinite"),
    "other responses": (lambda s: s["response"].__setitem__((0, 0), 1e4), "are not those of"),
    "no responses": (lambda s: s["response"].__setitem__((0, 0), np.nan), "responses are NaN"),
    "other neuroids": (lambda s: s["neuroid_id"].__setitem__(0, "foreign"), "other neuroids"),
    "other splits": (lambda s: s["split"].__setitem__(slice(None), 0), "fewer than two stimuli"),
    "easy stimuli": (
        lambda s: s["stimulus_id"].__setitem__(0, next(x for x in IDS if x not in set(s["stimulus_id"][:8]))),
        "test stimuli",
    ),
}
IDS = [f"s{k:02d}" for k in range(80)]


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_that_are_not_honest_are_refused(small, submission, board, change, name):
    spoil, expected = PREDICTIONS[name]
    change.tamper(submission, spoil)
    for recording in (None, small.assembly):
        found = reasons(submission, board, recording)
        assert any(expected in reason for reason in found), found


def test_shares_above_the_ceiling_and_equal_neuroids_are_implausible(submission, board, change):
    def above(content):
        content["scores"]["ceiled"].update(value=1.3, ci95=[1.2, 1.4])
        content["scores"]["primary"].update(value=1.3, ci95=[1.2, 1.4])
        content["scores"]["explained_variance"].update(ci95=[0.99, 0.999])
        for neuroid in content["per_neuroid"]:
            neuroid["pearson_r"] = 0.87

    change.rewrite(submission, above)
    found = " | ".join(reasons(submission, board))
    assert "r² / reliability is 1.300, above 1 with all of its interval (from 1.200)" in found
    assert "explained variance, from 0.990, lies above the reliability" in found
    assert "pearson_r is the same, 0.87, for all of its 6 neuroids" in found


def test_what_scoring_again_computes_is_what_the_responses_give(submission, change):
    """Against numpy and scikit-learn, for predictions that are not those of the original run."""
    change.tamper(submission, boost)
    (entry,) = read_board(submission.parent).entries
    held_out = load_held_out(entry.result, submission.parent)
    with netCDF4.Dataset(submission.parent / entry.result.predictions.file) as source:
        split, y, z = (np.asarray(source[name][:]) for name in ("split", "response", "prediction"))
    r = np.array(
        [[np.corrcoef(y[split == k, j], z[split == k, j])[0, 1] for j in range(6)] for k in range(10)]
    )
    ev = np.array(
        [explained_variance_score(y[split == k], z[split == k], multioutput="raw_values") for k in range(10)]
    )
    summary = score_again(entry.result, held_out).summary
    assert summary["pearson_r"]["mean"] == pytest.approx(r.mean(), abs=1e-6)
    assert summary["pearson_r"]["per_split"] == pytest.approx(np.median(r, axis=1), abs=1e-6)
    assert summary["pearson_r"]["median"] == pytest.approx(np.median(r, axis=1).mean(), abs=1e-6)
    assert summary["explained_variance"]["median"] == pytest.approx(np.median(ev, axis=1).mean(), abs=1e-6)
    median = np.median(r, axis=1).mean()
    rho = np.median([neuroid.reliability for neuroid in entry.result.per_neuroid])
    assert summary["ceiled"]["value"] == pytest.approx(median * abs(median) / rho, abs=1e-6)


def test_similarities_are_added_on_trust_and_flagged(small, board, tmp_path):
    (path,) = small.score(tmp_path / "rsa", mapping="rsa")
    add_result(path, board, small.assembly)
    flags = {entry.result.mapping.name: entry.flags for entry in read_board(board).entries}
    assert "could not be scored again" in flags["rsa"][0]
    assert flags["ridge"] == []


def test_hidden_candidates_are_not_hidden_on_the_board(submission, board, change):
    change.rewrite(submission, lambda content: content["candidate"].update(id="./net.py::make"))
    change.tamper(submission, lambda source: source.setncattr("note", "x"))
    path = add_result(submission, board)
    assert not path.name.startswith(".")
    assert path in [entry.path for entry in read_board(board).entries]


def test_the_command_prints_every_reason_and_exits_with_2(small, submission, board, change, capsys):
    change.rewrite(submission, lambda content: content["scores"]["pearson_r"].update(median=0.99, mean=0.98))
    assert main_code("leaderboard", "add", submission, "--board", board) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) >= 3
    assert any("pearson_r.median" in line for line in error)
    assert any("pearson_r.mean" in line for line in error)
    assert error[-1] == "itprobe: 1 of 1 files were not added, for the reasons above"
    main(["leaderboard", "add", str(small.pixels), "--board", str(board), "--recording", str(small.path)])
    assert "added as" in capsys.readouterr().out


def _add(path, board, gate, results):
    gate.wait()
    try:
        results.put(str(add_result(path, board)))
    except Rejected as rejected:
        results.put(rejected.reasons[0])


def test_of_two_writers_at_once_one_is_told_that_the_board_has_it(submission, board):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(2), context.Queue()
    writers = [context.Process(target=_add, args=(submission, board, gate, results)) for _ in range(2)]
    for writer in writers:
        writer.start()
    said = sorted(results.get(timeout=120) for _ in writers)
    for writer in writers:
        writer.join()
    assert [("this very result" in text) for text in said] == [False, True]
    assert len(read_board(board).entries) == 2


def test_the_lock_is_given_back(board):
    for _ in range(2):
        with board_lock(board):
            pass
