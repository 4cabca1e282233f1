"""Result files of older schema versions are read as what they say; those of newer ones are refused."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.leaderboard import load_held_out, load_result
from itprobe.leaderboard.board.adding import add_result
from itprobe.leaderboard.board.migrations import MIGRATIONS, migrate
from itprobe.leaderboard.board.reading import read_board
from itprobe.leaderboard.result import SCHEMA_VERSION, Result

VERSION_1 = Path(__file__).parent / "version1"
"""What the code of commit 80c844a wrote when it scored pixels on the recording of conftest.py."""

(FILE,) = VERSION_1.glob("*.json")
CONTENT = json.loads(FILE.read_text())


def test_every_older_version_has_a_way_to_the_next():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_file_of_version_1_keeps_its_figures_and_has_null_for_what_was_not_computed():
    result = load_result(FILE)
    assert result.schema_version == SCHEMA_VERSION
    assert result.scores.pearson_r.median == CONTENT["scores"]["pearson_r"]["median"]
    assert result.per_neuroid[3].alpha == CONTENT["per_neuroid"][3]["alpha"]
    assert result.candidate.id == "pixels"
    assert result.mapping.spaces == ["pixels"]
    assert result.scores.noise_corrected is None
    assert result.scores.inter_animal is None
    assert result.candidate.effective_dimensionality is None
    assert (result.provenance.precision, result.provenance.features) == ("full", "float32")
    assert result.training is None
    assert len(load_held_out(result, VERSION_1).predictions) == 10


def test_a_file_of_version_1_is_an_entry_and_can_be_added(small, tmp_path):
    (entry,) = read_board(VERSION_1).entries
    assert entry.flags == []
    path = add_result(entry.path, tmp_path / "board", small.assembly)
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION
    assert load_result(path).scores == entry.result.scores


def test_versions_may_be_mixed_in_a_folder(small, tmp_path):
    folder = shutil.copytree(small.folder, tmp_path / "mixed")
    for path in VERSION_1.iterdir():
        shutil.copy(path, folder)
    newer = dict(json.loads(small.pixels.read_text()), schema_version=SCHEMA_VERSION + 1)
    (folder / "newer.json").write_text(json.dumps(newer))
    board = read_board(folder)
    assert len(board.entries) == 3
    assert [refused.file for refused in board.refused] == ["newer.json"]
    assert f"reads versions up to {SCHEMA_VERSION}: update itprobe" in board.refused[0].reason


ADDED = (
    ("candidate", "effective_dimensionality"),
    ("candidate", "choice"),
    ("mapping", "spaces"),
    ("scores", "inter_animal"),
    ("scores", "noise_corrected"),
    ("provenance", "precision"),
    ("provenance", "features"),
)


@given(lacking=st.sets(st.sampled_from(ADDED)), neuroids=st.booleans(), training=st.booleans())
def test_files_of_version_1_from_in_between_keep_what_they_have(lacking, neuroids, training):
    """Fields came one after the other while the version stayed 1."""
    whole = migrate(copy.deepcopy(CONTENT))
    whole["candidate"]["effective_dimensionality"] = 12.5
    whole["mapping"]["spaces"] = ["conv", "conv~pool4"]
    whole["provenance"] |= {"precision": "bf16", "features": "float16"}
    for neuroid in whole["per_neuroid"]:
        neuroid |= {"r2_er": 0.5, "feve": -0.25, "shares": {"conv": 1.0}}
    between = copy.deepcopy(whole) | {"schema_version": 1}
    for part, name in lacking:
        del between[part][name]
    if neuroids:
        for neuroid in between["per_neuroid"]:
            del neuroid["shares"]
    if training:
        del between["training"]
    before = copy.deepcopy(between)
    migrated = migrate(between)
    assert between == before, "a migration changes nothing in its input"
    Result.model_validate_json(json.dumps(migrated), strict=True)
    for part, name in set(ADDED) - lacking:
        assert migrated[part][name] == whole[part][name]
    assert migrated["per_neuroid"][0]["feve"] == -0.25
    assert (migrated["per_neuroid"][0]["shares"] is None) == neuroids


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.0, True, [], SCHEMA_VERSION + 1, 10**9])
def test_versions_that_do_not_exist_are_refused(version):
    with pytest.raises(InputError, match="schema version"):
        migrate(CONTENT | {"schema_version": version})


@pytest.mark.parametrize("part", ["candidate", "mapping", "scores", "per_neuroid", "provenance"])
@pytest.mark.parametrize("value", [None, 3, "text", [1], {}])
def test_a_broken_file_of_version_1_is_refused(tmp_path, part, value):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(CONTENT | {part: value}))
    if part == "per_neuroid" and value is None:
        return  # as in similarities
    with pytest.raises(InputError, match="cannot read the result file"):
        load_result(path)
    lacking = {name: content for name, content in CONTENT.items() if name != part}
    path.write_text(json.dumps(lacking))
    with pytest.raises(InputError, match="is no valid result"):
        load_result(path)
