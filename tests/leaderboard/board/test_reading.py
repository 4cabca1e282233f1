"""Boards are read whoever wrote the files: none crashes it, leaves the folder, or is taken for what it is not."""

import json
import os
import re
import shutil
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.leaderboard.board.json_text import LARGEST_JSON
from itprobe.leaderboard.board.reading import read_board


def only_reason(folder):
    board = read_board(folder)
    assert board.entries == []
    (refused,) = board.refused
    assert "\n" not in refused.reason
    return refused.reason


def test_entries_are_sorted_by_file_name_with_their_digests(small):
    board = read_board(small.folder)
    assert [entry.path for entry in board.entries] == sorted([small.pixels, small.objects])
    assert board.refused == []
    for entry in board.entries:
        assert entry.flags == []
        assert entry.superseded_by is None
        assert len(entry.sha256) == 64


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        read_board(tmp_path / "nowhere")


def test_hidden_files_are_still_being_written(submission):
    shutil.copy(submission, submission.with_name(".half-written.json"))
    assert len(read_board(submission.parent).entries) == 1


TEXTS = {
    "nan": (lambda text: text.replace('"median": ', '"median": NaN, "x": ', 1), "NaN"),
    "infinity": (lambda text: text.replace('"seconds": ', '"seconds": -Infinity, "x": ', 1), "Infinity"),
    "1e400": (lambda text: text.replace('"seconds": ', '"seconds": 1e400, "x": ', 1), "too large"),
    "10**5000": (lambda text: text.replace('"version": 1', '"version": 1' + "0" * 5000), "5,001 characters"),
    "deep": (lambda _: "[" * 200_000 + "]" * 200_000, "nested deeper"),
    "deep object": (lambda _: '{"a":' * 40 + "1" + "}" * 40, "nested deeper"),
    "twice": (lambda text: text.replace('"seed": 1', '"seed": 1, "seed": 2', 1), "'seed' twice"),
    "truncated": (lambda text: text[:-40], "no JSON"),
    "empty": (lambda _: "", "no JSON"),
    "a list": (lambda _: "[1, 2]", "no JSON object"),
    "another object": (lambda _: "{}", "no schema version"),
    "newer": (lambda text: text.replace('"schema_version": 2', '"schema_version": 3'), "update itprobe"),
    "true version": (lambda text: text.replace('"schema_version": 2', '"schema_version": true'), "no schema"),
    "byte order mark": (lambda text: "\ufeff" + text, "no JSON"),
    "escape": (
        lambda text: text.replace('"id": "pixels"', r'"id": "pix\u001b[2Jels"'),
        "control character U\\+001B",
    ),
    "reversed": (lambda text: text.replace('"id": "pixels"', r'"id": "pix\u202eels"'), "U\\+202E"),
    "surrogate": (lambda text: text.replace('"id": "pixels"', r'"id": "\ud800"'), "surrogate"),
    "overlong id": (lambda text: text.replace('"id": "pixels"', f'"id": "{"x" * 5000}"'), "4000 characters"),
    "overlong text": (lambda text: text.replace('"id": "pixels"', f'"id": "{"x" * 30_000}"'), "30,000 char"),
    "text for a number": (lambda text: text.replace('"n_neuroids": 6', '"n_neuroids": "6"'), "n_neuroids"),
    "true for a number": (lambda text: text.replace('"n_neuroids": 6', '"n_neuroids": true'), "n_neuroids"),
    "negative count": (lambda text: text.replace('"n_neuroids": 6', '"n_neuroids": -6'), "n_neuroids"),
    "a number of 10^30": (
        lambda text: text.replace('"n_neuroids": 6', '"n_neuroids": 1' + "0" * 30),
        "n_neur",
    ),
    "no digest": (lambda text: text.replace('"sha256": "', '"sha256": "Z', 1), "sha256"),
    "no time": (lambda text: text.replace('"started": "', '"started": "yesterday '), "started"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_no_result_are_refused_with_the_reason(submission, name):
    spoil, reason = TEXTS[name]
    text = submission.read_text()
    spoilt = spoil(text)
    assert spoilt != text
    submission.write_text(spoilt, encoding="utf-8")
    refusal = only_reason(submission.parent)
    assert re.search(reason, refusal), refusal
    assert len(refusal) < 400
    assert refusal.isprintable()


def test_figures_beyond_their_bounds_are_refused(submission, change):
    original = json.loads(submission.read_text())
    for path, value in (
        ("scores.pearson_r.median", 1.2),
        ("scores.pearson_r.per_split", [-1.5]),
        ("scores.explained_variance.mean", 1.01),
        ("scores.reliability.median", 7),
        ("scores.pearson_r.ci95", [0.9, 0.1]),
        ("scores.primary.ci95", [1, 2, 3]),
        ("provenance.seconds", -1),
        ("split.seed", 2**40),
    ):
        content = json.loads(json.dumps(original))
        *parents, last = path.split(".")
        place = content
        for part in parents:
            place = place[part]
        place[last] = value
        change.rewrite(submission, lambda _, content=content: content)
        assert path in only_reason(submission.parent)


def test_not_utf8_is_refused(submission):
    submission.write_bytes(submission.read_bytes().replace(b'"id": "pixels"', b'"id": "p\xffxels"'))
    assert "not UTF-8" in only_reason(submission.parent)
    submission.write_text("{}", encoding="utf-16")
    assert "not UTF-8" in only_reason(submission.parent)


def test_a_million_neuroids_are_refused_by_size_without_reading_them(submission):
    neuroid = json.dumps(json.loads(submission.read_text())["per_neuroid"][0])
    with submission.open("w") as stream:
        stream.write('{"schema_version": 2, "per_neuroid": [')
        stream.writelines(f"{neuroid}," for _ in range(1_000_000))
        stream.write("]}")
    tracemalloc.start()
    try:
        reason = only_reason(submission.parent)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert f"the limit is {LARGEST_JSON:,}" in reason
    assert peak < 2**20


def test_links_pipes_and_folders_are_not_opened(submission, tmp_path):
    outside = tmp_path / "outside.json"
    shutil.copy(submission, outside)
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "a-link.json").symlink_to(outside)
    os.mkfifo(folder / "b-pipe.json")
    (folder / "c-folder.json").mkdir()
    (folder / "d-device.json").symlink_to("/dev/zero")
    (folder / "e-dangling.json").symlink_to(folder / "nothing")
    board = read_board(folder)
    assert board.entries == []
    reasons = [refused.reason for refused in board.refused]
    assert ["link" in reason for reason in reasons] == [True, False, False, True, True]
    assert "no plain file" in reasons[1]
    assert "no plain file" in reasons[2]


def test_names_that_are_scripts_are_shown_and_not_run(submission):
    for name in ("<script>alert(1)</script>", "a\x1b[31mb", "\u202egnp", "$(touch pwned)"):
        try:
            submission.with_name(f"{name.replace('/', '_')}.json").write_text("{}")
        except OSError:
            pytest.skip("the file system has no such names")
    board = read_board(submission.parent)
    assert len(board.entries) == 1
    assert len(board.refused) == 4
    assert all(refused.file.isprintable() for refused in board.refused)


def test_a_newer_revision_supersedes_and_other_weights_are_flagged(submission, change):
    def copy(name, **parts):
        path = submission.with_name(name)
        shutil.copy(submission, path)
        return change.rewrite(
            path, lambda content: [content[part].update(new) for part, new in parts.items()] and None
        )

    copy("b-newer.json", provenance={"started": "2099-01-01T00:00:00+00:00"})
    copy("c-other.json", candidate={"weights_sha256": "0" * 64})
    copy("d-local.json", benchmark={"id": "/home/someone/quarters.nc#IT-ridge"})
    copy("e-seed.json", split={"seed": 2})
    board = read_board(submission.parent)
    by_name = {entry.path.name: entry for entry in board.entries}
    assert len(by_name) == 5
    assert by_name[submission.name].superseded_by == "b-newer.json"
    assert by_name["d-local.json"].superseded_by == "b-newer.json"
    assert [name for name, entry in by_name.items() if entry.superseded_by is None] == [
        "b-newer.json",
        "c-other.json",
        "e-seed.json",
    ]
    assert by_name["b-newer.json"].flags == ["same id as c-other.json, other weights"]
    assert by_name["c-other.json"].flags == ["same id as b-newer.json, other weights"]
    assert by_name["e-seed.json"].flags == []


def places(content, path=()):
    """Every place in a JSON value."""
    yield path
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["../../etc/passwd", "<script>", "x" * 30_000, 10**400, "\u202e", "\ud800", -0.0, 1e308]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_is_changed_a_file_is_an_entry_or_refused_with_a_reason(submission, data):
    original = submission.with_suffix(".original")
    if not original.exists():
        shutil.copy(submission, original)
    content = json.loads(original.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(content))[1:]))
        place = content
        for part in path[:-1]:
            place = place[part]
        how = data.draw(st.sampled_from(["drop", "replace", "nest", "wrap"]))
        if how == "drop":
            del place[path[-1]]
        elif how == "replace":
            place[path[-1]] = data.draw(ANYTHING)
        elif how == "nest":
            place[path[-1]] = {"x": place[path[-1]]}
        else:
            place[path[-1]] = [place[path[-1]]]
        if not content:
            break
    submission.write_text(json.dumps(content), encoding="utf-8")
    board = read_board(submission.parent)
    assert len(board.entries) + len(board.refused) == 1
    assert all(refused.reason and refused.reason.isprintable() for refused in board.refused)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_an_entry_or_refused(submission, data):
    original = submission.with_suffix(".original")
    if not original.exists():
        shutil.copy(submission, original)
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    submission.write_bytes(content)
    board = read_board(submission.parent)
    assert len(board.entries) + len(board.refused) == 1
