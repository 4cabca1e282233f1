import re
import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brainscore_core.supported_data_standards.brainio.assemblies import AssemblyLoader, NeuroidAssembly
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

from itprobe.data import (
    load_recording,
    neuroid_coordinates,
    presentation_coordinates,
    read_recording,
    save_recording,
    select_region,
    stimulus_set_sha256,
)
from itprobe.errors import InputError


@pytest.fixture
def saved(make_recording, tmp_path):
    return save_recording(make_recording(), tmp_path / "out" / "r.nc")


def assert_same(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    for coordinates in (presentation_coordinates, neuroid_coordinates):
        ours, theirs = coordinates(one), coordinates(other)
        assert list(ours) == list(theirs)
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype, name
            np.testing.assert_array_equal(ours[name], theirs[name])
    for name in set(one.attrs) - {"stimulus_set", "truth"}:
        assert one.attrs[name] == other.attrs[name], name
    pd.testing.assert_frame_equal(
        pd.DataFrame(one.attrs["stimulus_set"]), pd.DataFrame(other.attrs["stimulus_set"])
    )
    assert stimulus_set_sha256(one.attrs["stimulus_set"]) == stimulus_set_sha256(other.attrs["stimulus_set"])


def test_round_trip(make_recording, saved, tmp_path):
    recording = make_recording()
    shutil.rmtree(tmp_path / "images0")
    back = read_recording(saved)
    make_recording()  # the images that the first one points at
    assert_same(recording, back)
    assert all(type(name) is str for name in back["object_name"].values)
    assert {"NA", "007", "Äpfel"} & set(back["object_name"].values)
    assert back.attrs["simulated"] is False
    assert_same(load_recording(str(saved)), back)
    assert not list(saved.parent.glob(".*"))


def test_truth_and_simulated_round_trip(make_recording, tmp_path):
    truth = xr.Dataset(
        {
            "signal": (("stimulus", "neuroid"), np.arange(24.0).reshape(6, 4)),
            "reliability": ("neuroid", np.ones(4)),
        },
        coords={"stimulus_id": ("stimulus", [f"{number:03d}" for number in range(6)])},
        attrs={"seed": 3},
    )
    recording = make_recording(truth=truth, simulated=True)
    back = read_recording(save_recording(recording, tmp_path / "r.nc"))
    assert back.attrs["simulated"] is True
    xr.testing.assert_equal(back.attrs["truth"], truth)
    assert back.attrs["truth"].attrs["seed"] == 3
    assert "truth" not in read_recording(save_recording(make_recording(), tmp_path / "s.nc")).attrs


def test_brain_score_and_xarray_read_it(make_recording, saved):
    recording = make_recording()
    plain = xr.open_dataarray(saved)
    np.testing.assert_array_equal(plain.values, recording.values)
    assert plain["object_name"].dims == ("presentation",)
    plain.close()
    theirs = AssemblyLoader(cls=NeuroidAssembly, file_path=saved).load()
    theirs.validate()
    np.testing.assert_array_equal(theirs["stimulus_id"].values, recording["stimulus_id"].values)
    folder = saved.with_suffix(".stimuli")
    their_set = StimulusSet.from_files(folder / "stimuli.csv", folder)
    assert len(their_set) == 6


def test_ids_that_are_no_file_names(make_recording, tmp_path):
    recording = make_recording()
    stimulus_set = recording.attrs["stimulus_set"]
    stimulus_set["stimulus_id"] = [f"a/b {key}?" for key in stimulus_set["stimulus_id"]]
    stimulus_set.stimulus_paths = {f"a/b {key}?": path for key, path in stimulus_set.stimulus_paths.items()}
    flat = recording.reset_index("presentation")
    flat["stimulus_id"] = "presentation", [f"a/b {key}?" for key in flat["stimulus_id"].values]
    back = read_recording(save_recording(NeuroidAssembly(flat), tmp_path / "r.nc"))
    assert set(back["stimulus_id"].values) == set(stimulus_set["stimulus_id"])


def test_ids_longer_than_a_file_name(make_recording, tmp_path):
    recording = make_recording(n_stimuli=3, n_repetitions=1)
    stimulus_set = recording.attrs["stimulus_set"]
    new = {f"{number:03d}": "漢字" * 60 + end for number, end in enumerate(("一", "二", "三"))}
    stimulus_set.stimulus_paths = {new[key]: path for key, path in stimulus_set.stimulus_paths.items()}
    stimulus_set["stimulus_id"] = [new[key] for key in stimulus_set["stimulus_id"]]
    flat = recording.reset_index("presentation")
    flat["stimulus_id"] = "presentation", [new[key] for key in flat["stimulus_id"].values]
    back = read_recording(save_recording(NeuroidAssembly(flat), tmp_path / "r.nc"))
    paths = back.attrs["stimulus_set"].stimulus_paths
    assert set(paths) == set(new.values())
    assert len({path.name for path in paths.values()}) == 3
    assert all(len(path.name.encode()) < 140 for path in paths.values())
    for key, path in paths.items():
        assert path.read_bytes() == stimulus_set.stimulus_paths[key].read_bytes()


def test_a_region_alone_is_saved_with_its_own_digest(make_recording, tmp_path):
    recording = make_recording()
    back = read_recording(save_recording(select_region(recording, "IT"), tmp_path / "r.nc"))
    assert back.attrs["sha256"] != recording.attrs["sha256"]
    assert back.sizes["neuroid"] == 3


def test_saving_again_replaces_what_was_there(make_recording, saved):
    other = make_recording(seed=1, n_stimuli=5)
    save_recording(other, saved)
    assert_same(read_recording(saved), other)
    assert len(list(saved.with_suffix(".stimuli").glob("*.png"))) == 5


def test_saving_repairs_damaged_images(make_recording, saved):
    image = saved.with_suffix(".stimuli") / "002.png"
    image.write_bytes(b"other")
    with pytest.raises(
        InputError, match=r"are not those .*: put the original images back, or delete both and make"
    ):
        read_recording(saved)
    save_recording(make_recording(), saved)
    read_recording(saved)


def test_a_failed_save_leaves_nothing(make_recording, tmp_path, monkeypatch):
    recording = make_recording()
    monkeypatch.setattr("shutil.copyfile", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_recording(recording, tmp_path / "out" / "r.nc")
    assert list((tmp_path / "out").iterdir()) == []


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fail_at(monkeypatch, step):
    """Let the move number `step` (0 = the first) of a file or folder fail, and count the moves."""
    moves = []

    def failing(original):
        def move(self, target):
            moves.append(self)
            if len(moves) == step + 1:
                raise KeyboardInterrupt
            return original(self, target)

        return move

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, failing(getattr(Path, name)))
    return moves


@pytest.mark.parametrize("step", [0, 1, 2])
def test_an_interrupted_save_keeps_what_was_there(make_recording, saved, monkeypatch, step):
    before, other = contents(saved.parent), make_recording(seed=1, n_stimuli=5)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail_at(patch, step)
        save_recording(other, saved)
    assert contents(saved.parent) == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["r.nc", "r.stimuli"]
    with monkeypatch.context() as patch:
        moves = fail_at(patch, 99)
        save_recording(other, saved)
    assert len(moves) == 3, "there are moves that this test does not interrupt"
    assert_same(read_recording(saved), other)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_killed_save_loses_nothing_and_says_where_the_images_are(make_recording, saved, monkeypatch, step):
    recording, images = make_recording(), contents(saved.with_suffix(".stimuli"))
    other = make_recording(seed=1, n_stimuli=5)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail_at(patch, step)
        patch.setattr("itprobe.data.storage._put_back", lambda *_: None)  # a killed process puts nothing back
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        save_recording(other, saved)
    if step:
        with pytest.raises(InputError, match="a save was interrupted") as caught:
            read_recording(saved)
        former = Path(re.search(r"before it are in (.*)\), or", str(caught.value))[1])
        assert contents(former) == images
        shutil.rmtree(saved.with_suffix(".stimuli"), ignore_errors=True)
        former.rename(saved.with_suffix(".stimuli"))
    assert_same(read_recording(saved), recording)
    save_recording(other, saved)
    assert_same(read_recording(saved), other)


def test_a_folder_of_others_is_never_replaced(make_recording, tmp_path):
    recording, path = make_recording(), tmp_path / "keep.nc"
    folder = path.with_suffix(".stimuli")
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "stimuli.csv").write_text("stimulus_id,filename\n000,000.png\n")
    with pytest.raises(InputError, match=r"2 files \(notes\.txt, stimuli\.csv\) that itprobe did not write"):
        save_recording(recording, path)
    assert {str(name) for name in contents(folder)} == {"notes.txt", "stimuli.csv"}
    assert not path.exists()
    shutil.rmtree(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(InputError, match="no folder that itprobe wrote"):
        save_recording(recording, path)
    assert folder.is_symlink()
    folder.unlink()
    folder.mkdir()  # an empty one is no loss
    assert_same(read_recording(save_recording(recording, path)), recording)


@pytest.mark.parametrize("name", ["notes.txt", ".notes", "folder"])
def test_a_file_put_into_the_folder_is_never_deleted(make_recording, saved, name):
    added, other = saved.with_suffix(".stimuli") / name, make_recording(seed=1)
    if name == "folder":
        added.mkdir()
    else:
        added.write_text("mine")
    save_recording(make_recording(), saved)  # the same stimuli: the folder stays
    before = contents(saved.parent)
    with pytest.raises(InputError, match=f"1 files .{name}. that itprobe did not write"):
        save_recording(other, saved)
    assert added.exists()
    assert contents(saved.parent) == before


def test_images_are_not_replaced_while_the_recording_needs_them(saved):
    back, before = read_recording(saved), contents(saved.parent)
    save_recording(select_region(back, "IT"), saved)  # the same stimuli
    assert read_recording(saved).sizes["neuroid"] == 3
    back.attrs["stimulus_set"]["s"] = 0.0
    with pytest.raises(InputError, match=r"holds images of the recording .*: 6 \(000, 001, 002, \.\.\.\)"):
        save_recording(back, saved)
    folder = Path("r.stimuli")
    kept = {name for name in before if folder in name.parents}
    assert {name: contents(saved.parent)[name] for name in kept} == {name: before[name] for name in kept}


def test_the_folder_of_a_deleted_recording_is_replaced(make_recording, saved):
    saved.unlink()
    other = make_recording(seed=1)
    assert_same(read_recording(save_recording(other, saved)), other)


def test_name_must_end_in_nc(make_recording, tmp_path):
    with pytest.raises(InputError, match=r"must end in \.nc"):
        save_recording(make_recording(), tmp_path / "r.h5")


def test_missing_file():
    with pytest.raises(InputError, match=r"no recording at nowhere/r\.nc"):
        read_recording("nowhere/r.nc")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_file(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"cannot read .*r\.nc") as caught:
        read_recording(saved)
    assert "\n" not in str(caught.value)


def test_flipped_bytes_are_never_served(make_recording, tmp_path):
    path = save_recording(make_recording(), tmp_path / "r.nc")
    whole = path.read_bytes()
    served = 0
    for position in np.random.default_rng(0).integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            back = read_recording(path)
        except InputError:
            continue
        served += 1
        np.testing.assert_array_equal(back.values, make_recording().values)
    assert served < 40


def test_changed_values_do_not_match_the_digest(saved):
    with netCDF4.Dataset(saved, "a") as data:
        data["responses"][0, 0] = 99.0
    with pytest.raises(InputError, match="does not match its digest"):
        read_recording(saved)


def test_missing_images_are_counted(saved):
    for number in range(4):
        (saved.with_suffix(".stimuli") / f"00{number}.png").unlink()
    with pytest.raises(InputError, match=r"missing in .*: 4 \(000, 001, 002, \.\.\.\)"):
        read_recording(saved)


def test_missing_folder(saved):
    shutil.rmtree(saved.with_suffix(".stimuli"))
    with pytest.raises(InputError, match=r"has no stimuli: .*stimuli\.csv is missing; put the folder back"):
        read_recording(saved)


def drop_line(csv, number):
    lines = csv.read_text().splitlines(keepends=True)
    csv.write_text("".join(lines[:number] + lines[number + 1 :]))


def take_digest_anew(path):
    """Write the digest of the stimuli as they now are, so that only the ids are at fault."""
    folder = path.with_suffix(".stimuli")
    frame = pd.read_csv(folder / "stimuli.csv", dtype=str, keep_default_na=False)
    stimulus_set = StimulusSet(frame)
    stimulus_set.identifier = "tiny"
    stimulus_set.stimulus_paths = {
        key: folder / name for key, name in zip(frame["stimulus_id"], frame["filename"], strict=True)
    }
    with netCDF4.Dataset(path, "a") as data:
        data["responses"].setncattr("stimulus_set_sha256", stimulus_set_sha256(stimulus_set))


def test_stimulus_ids_missing_on_either_side(saved):
    csv = saved.with_suffix(".stimuli") / "stimuli.csv"
    lines = csv.read_text().splitlines(keepends=True)
    csv.write_text("".join(lines[:2] + lines[3:]))
    take_digest_anew(saved)
    with pytest.raises(InputError, match=r"1 stimulus ids \(001\) of the responses have no image"):
        read_recording(saved)
    csv.write_text(csv.read_text().replace("003,003.png", "spare,003.png"))
    take_digest_anew(saved)
    message = (
        r"2 stimulus ids \(001, 003\) of the responses have no image and 1 images \(spare\) have no response"
    )
    with pytest.raises(InputError, match=message):
        read_recording(saved)


def test_foreign_netcdf(tmp_path):
    path = tmp_path / "f.nc"
    xr.DataArray(np.zeros((2, 3)), dims=("time", "space")).to_netcdf(path)
    with pytest.raises(InputError, match=r"is no recording: its dimensions are \('time', 'space'\)"):
        read_recording(path)
    xr.DataArray(np.zeros((2, 3)), dims=("presentation", "neuroid")).to_netcdf(path)
    with pytest.raises(InputError, match="no presentation coordinate 'stimulus_id'"):
        read_recording(path)
    xr.Dataset({"a": ("x", [1]), "b": ("x", [2])}).to_netcdf(path)
    with pytest.raises(InputError, match="cannot read"):
        read_recording(path)


def test_folder_that_cannot_be_made(make_recording, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        save_recording(make_recording(), tmp_path / "file" / "r.nc")
