"""Predictions that strangers hand in: they lie beside their JSON, and are looked at before they are read."""

import hashlib
import json
import os
import pickle
import re

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.leaderboard.board import arrays
from itprobe.leaderboard.board.arrays import read_arrays
from itprobe.leaderboard.board.reading import read_board


def only_reason(folder):
    board = read_board(folder)
    assert board.entries == []
    (refused,) = board.refused
    assert "\n" not in refused.reason
    return refused.reason


@pytest.mark.parametrize("name", ["../x.nc", "/etc/passwd.nc", "a/b.nc", "..\\x.nc", "x.pkl", "x\n.nc"])
def test_predictions_never_lie_elsewhere(submission, change, name):
    change.rewrite(submission, lambda content: content["predictions"].update(file=name))
    assert "names its predictions" in only_reason(submission.parent) or "control" in only_reason(
        submission.parent
    )


def replace_predictions(submission, change, content):
    file = submission.parent / json.loads(submission.read_text())["predictions"]["file"]
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change.rewrite(submission, lambda content: content["predictions"].update(sha256=digest))
    return file


def test_predictions_that_are_something_else_are_refused(submission, change):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, ("pwned",)

    replace_predictions(submission, change, pickle.dumps(Bomb()))
    assert "no netCDF4 file" in only_reason(submission.parent)
    replace_predictions(submission, change, b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    assert "cannot be read as netCDF4" in only_reason(submission.parent)


def hdf5_with(path, **datasets):
    """The variables of a predictions file, some of them made by functions of the open file."""
    with h5py.File(path, "w") as target:
        shapes = {"prediction": (4, 2), "response": (4, 2), "split": (4,)}
        for name, shape in shapes.items():
            if name not in datasets:
                target[name] = np.zeros(shape)
        texts = {"stimulus_id": 4, "neuroid_id": 2, "animal": 2}
        for name, length in texts.items():
            if name not in datasets:
                target.create_dataset(name, data=["x"] * length, dtype=h5py.string_dtype())
        for make in datasets.values():
            make(target)


VARIABLES = {
    "huge": (
        {"prediction": lambda f: f.create_dataset("prediction", (10**9, 10**6), "f4", chunks=(64, 64))},
        "declares|as its other",
    ),
    "huge alike": (
        {
            name: lambda f, name=name: f.create_dataset(name, (10**5, 10**5), "f4", chunks=(64, 64))
            for name in ("prediction", "response")
        },
        "declares",
    ),
    "huge chunks": (
        {
            "split": lambda f: f.create_dataset(
                "split", (4,), "f4", chunks=(10**8,), maxshape=(None,), compression="gzip"
            )
        },
        "chunks",
    ),
    "elsewhere": (
        {
            "prediction": lambda f: f.create_dataset(
                "prediction", (4, 2), "f8", external=[("/etc/passwd", 0, 64)]
            )
        },
        "outside",
    ),
    "linked": (
        {"prediction": lambda f: f.update({"prediction": h5py.ExternalLink("/etc/passwd", "x")})},
        "has a link",
    ),
    "soft link": (
        {"prediction": lambda f: f.update({"prediction": h5py.SoftLink("/response")})},
        "has a link",
    ),
    "group": ({"prediction": lambda f: f.create_group("prediction")}, "no array"),
    "objects": (
        {"prediction": lambda f: f.create_dataset("prediction", (4, 2), h5py.string_dtype())},
        "not numbers",
    ),
    "references": ({"split": lambda f: f.create_dataset("split", (4,), h5py.ref_dtype)}, "not numbers"),
    "numbers for ids": ({"animal": lambda f: f.create_dataset("animal", (2,), "f8")}, "not texts"),
    "missing": ({"animal": lambda f: None}, "no variable animal"),
    "other rows": ({"split": lambda f: f.create_dataset("split", (5,), "i8")}, "as its other variables"),
    "a packing of one's own": (
        {"split": lambda f: f.create_dataset("split", (4,), "i8", chunks=(4,), compression="lzf")},
        "another filter",
    ),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_predictions_are_looked_at_before_they_are_read(submission, change, tmp_path, name):
    datasets, reason = VARIABLES[name]
    hdf5_with(tmp_path / "made.nc", **datasets)
    replace_predictions(submission, change, (tmp_path / "made.nc").read_bytes())
    assert re.search(reason, refusal := only_reason(submission.parent)), refusal


def test_a_file_that_reading_never_ends_or_breaks_is_given_up(submission, monkeypatch):
    """What hangs or kills the reader is simulated: whether a file can do so depends on the HDF5 library."""
    file = next(submission.parent.glob("*.nc"))
    layout, texts = {"split": ("row",)}, ()
    hangs, dies = ("import time; time.sleep(600)", 1, "takes more than"), ("", 300, "breaks its reader")
    for script, seconds, message in (hangs, dies):
        stand_in = submission.with_name("reader.py")
        stand_in.write_text(script)
        monkeypatch.setattr(arrays, "_reader", arrays._Reader())
        monkeypatch.setattr(arrays, "SECONDS", seconds)
        monkeypatch.setattr(arrays.hdf5_reader, "__file__", str(stand_in))
        with pytest.raises(InputError, match=message):
            read_arrays(file, layout, texts)
        monkeypatch.undo()
        assert len(read_arrays(file, layout, texts)[0]["split"]) == 80


def test_a_text_that_stands_a_thousand_times_does_not_fill_the_memory(tmp_path):
    with h5py.File(tmp_path / "long.nc", "w") as target:
        target.create_dataset("id", data=["x" * 5000] * 10, dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="more than 500 characters"):
        read_arrays(tmp_path / "long.nc", {"id": ("row",)}, ("id",))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_predictions_are_read_or_refused(submission, monkeypatch, data):
    content = bytearray(next(small_predictions(submission)).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = submission.with_name("damaged.nc")
    path.write_bytes(content)
    monkeypatch.setattr(arrays, "SECONDS", 5)
    try:
        read_arrays(path, {"prediction": ("row", "neuroid"), "stimulus_id": ("row",)}, ("stimulus_id",))
    except InputError as error:
        assert str(error).isprintable()


def small_predictions(submission):
    return submission.parent.glob("*.predictions.nc")


def test_predictions_of_another_digest_are_refused_and_missing_ones_flagged(submission):
    file = next(submission.parent.glob("*.nc"))
    content = file.read_bytes()
    file.write_bytes(content + b"x")
    assert "sha256" in only_reason(submission.parent)
    file.unlink()
    (entry,) = read_board(submission.parent).entries
    assert "missing" in entry.flags[0]
    file.symlink_to("/dev/zero")
    assert "link" in only_reason(submission.parent)
