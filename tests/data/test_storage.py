import shutil

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
    with pytest.raises(InputError, match="are not those"):
        read_recording(saved)
    save_recording(make_recording(), saved)
    read_recording(saved)


def test_a_failed_save_leaves_nothing(make_recording, tmp_path, monkeypatch):
    recording = make_recording()
    monkeypatch.setattr("shutil.copyfile", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_recording(recording, tmp_path / "out" / "r.nc")
    assert list((tmp_path / "out").iterdir()) == []


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
    with pytest.raises(InputError, match=r"has no stimuli: .*stimuli\.csv is missing"):
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
