import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from itprobe.data import (
    average_repetitions,
    load_recording,
    neuroid_coordinates,
    package_recording,
    read_recording,
    repetitions_per_stimulus,
)
from itprobe.errors import InputError

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "recordings"
N_NEUROIDS, N_STIMULI, N_REPETITIONS = 3, 5, 4


@pytest.fixture
def counts():
    counts = np.random.default_rng(0).poisson(3, (N_NEUROIDS, N_STIMULI, N_REPETITIONS)).astype(np.int8)
    counts[:, 1, 3] = -1
    counts[2, 4, 0] = -1
    return counts


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def assert_holds(recording, counts):
    """Check each presentation against the array (neuroid, stimulus, repetition) it was made from."""
    stimuli = [int(key.removeprefix("im")) for key in recording["stimulus_id"].values]
    expected = counts.astype(np.float32)[:, stimuli, recording["repetition"].values].T
    expected[expected == -1] = np.nan
    np.testing.assert_array_equal(recording.values, expected)


def test_counts(images, counts, tmp_path):
    out = package_recording(images, write(tmp_path / "c.npz", counts=counts), "IT", tmp_path / "r.nc")
    recording = read_recording(out)
    assert_holds(recording, counts)
    assert recording.shape == (N_STIMULI * N_REPETITIONS - 1, N_NEUROIDS)
    assert list(repetitions_per_stimulus(recording)) == [4, 3, 4, 4, 4]
    assert recording.attrs["identifier"] == "r"
    assert recording.attrs["averaged"] is False
    assert recording.attrs["simulated"] is False
    coords = neuroid_coordinates(recording)
    assert set(coords["region"]) == {"IT"}
    assert set(coords["animal"]) == {"unknown"}
    assert list(coords["neuroid_id"]) == ["0", "1", "2"]
    for key, path in recording.attrs["stimulus_set"].stimulus_paths.items():
        assert path.read_bytes() == (images / f"{key}.png").read_bytes()
    # No further column: one coordinate fewer than xarray needs for index levels, were there no care.
    assert list(average_repetitions(recording)["stimulus_id"].values) == [f"im{n}" for n in range(N_STIMULI)]


@pytest.mark.parametrize("kind", ["npz", "npy", "h5"])
@pytest.mark.parametrize("layout", ["counts", "responses"])
def test_kinds_of_files_give_the_same(images, counts, tmp_path, kind, layout):
    array = counts.astype(np.float64)
    array[counts == -1] = np.nan
    if layout == "responses":
        array = array[:, :, 0].T
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        write(path, **{layout: array})
    elif kind == "npy":
        np.save(path, array)
    else:
        with h5py.File(path, "w") as target:
            target[layout] = array
    recording = read_recording(package_recording(images, path, "V4", tmp_path / "r.nc"))
    assert recording.attrs["averaged"] is (layout == "responses")
    assert_holds(recording, counts)


def test_csv(images, counts, tmp_path):
    lines = ["stimulus_id,a,b,c"]
    for number in (3, 0, 4, 1, 2):
        cells = ["" if value < 0 else str(value) for value in counts[:, number, 0]]
        lines.append(",".join([f"im{number}.png" if number % 2 else f"im{number}", *cells]))
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines))
    recording = read_recording(package_recording(images, path, "IT", tmp_path / "r.nc"))
    assert list(recording["neuroid_id"].values) == ["a", "b", "c"]
    assert recording.attrs["averaged"] is True
    assert_holds(recording, counts)


def test_csv_with_repetitions_and_minus_one(images, counts, tmp_path):
    lines = ["stimulus_id,a,b,c"]
    for repetition in range(N_REPETITIONS):
        for number in range(N_STIMULI):
            lines.append(",".join([f"im{number}", *map(str, counts[:, number, repetition])]))
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines) + "\n")
    recording = read_recording(package_recording(images, path, "IT", tmp_path / "r.nc"))
    assert recording.attrs["averaged"] is False
    assert_holds(recording, counts)


def packaged(images, tmp_path, **arrays):
    path = write(tmp_path / "a.npz", **arrays)
    return read_recording(package_recording(images, path, "IT", tmp_path / "r.nc"))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_minus_one_is_a_missing_count_of_any_type(images, counts, tmp_path, dtype):
    recording = packaged(images, tmp_path, counts=counts.astype(dtype))
    assert_holds(recording, counts)
    assert np.isnan(recording.values).sum() == 1
    assert recording.sizes["presentation"] == N_STIMULI * N_REPETITIONS - 1


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_whole_responses_with_minus_one_for_missing_ones(images, tmp_path, dtype):
    responses = np.arange(15, dtype=dtype).reshape(5, 3)
    responses[1, 2] = responses[4, 0] = -1
    recording = packaged(images, tmp_path, responses=responses)
    np.testing.assert_array_equal(np.isnan(recording.values), responses == -1)
    np.testing.assert_array_equal(recording.values[responses != -1], responses[responses != -1])


@pytest.mark.parametrize("other", [-0.25, -2.0])
def test_minus_one_is_a_response_where_there_are_negative_ones(images, tmp_path, other):
    responses = np.array([[-1, 0, 3], [2, other, np.nan], [1, 1, -1], [0, 1, 2], [4, 5, 6]])
    np.testing.assert_array_equal(packaged(images, tmp_path, responses=responses).values, responses)


def test_csv_of_negative_trials_keeps_minus_one(images, tmp_path):
    path = tmp_path / "r.csv"
    lines = [f"im{number},-1,{-number / 4}\n" for number in range(N_STIMULI) for _ in range(2)]
    path.write_text("stimulus_id,a,b\n" + "".join(lines))
    recording = read_recording(package_recording(images, path, "IT", tmp_path / "r.nc"))
    assert list(repetitions_per_stimulus(recording)) == [2] * N_STIMULI
    np.testing.assert_array_equal(recording.values[:, 0], -1.0)
    expected = [-int(key[2:]) / 4 for key in recording["stimulus_id"].values]
    np.testing.assert_array_equal(recording.values[:, 1], expected)


def test_further_arrays_and_ids(images, counts, tmp_path):
    order = np.array([4, 2, 0, 1, 3])
    path = write(
        tmp_path / "c.npz",
        counts=counts[:, order],
        stimulus_id=np.array([f"im{number}" for number in order]),
        object_name=np.array([b"cat", b"dog", b"cat", b"dog", b"007"]),
        brightness=np.arange(5.0),
        animal=np.array(["Chabo", "Tito", "Tito"]),
        depth=np.array([3, 1, 2]),
    )
    recording = read_recording(package_recording(images, path, "IT", tmp_path / "r.nc"))
    assert_holds(recording, counts)
    by_id = recording.attrs["stimulus_set"].set_index("stimulus_id")
    assert by_id.loc["im3", "object_name"] == "007"
    assert by_id.loc["im0", "brightness"] == 2.0
    assert list(recording["animal"].values) == ["Chabo", "Tito", "Tito"]
    assert list(recording["depth"].values) == [3, 1, 2]


def test_as_many_stimuli_as_neuroids(image_writer, tmp_path):
    image_writer(tmp_path / "images", ["a.png", "b.png", "c.png"])
    arrays = {
        "responses": np.eye(3),
        "object_name": np.array(["x", "y", "z"]),
        "animal": np.array(["p", "p", "q"]),
    }
    path = write(tmp_path / "c.npz", **arrays, mood=np.arange(3))
    with pytest.raises(
        InputError, match=r"'mood'.*as many stimuli as neuroids \(3\).*stimulus\.mood or neuroid\.mood"
    ):
        package_recording(tmp_path / "images", path, "IT", tmp_path / "r.nc")
    path = write(tmp_path / "d.npz", **arrays, **{"neuroid.mood": np.arange(3), "stimulus.hue": np.arange(3)})
    recording = read_recording(package_recording(tmp_path / "images", path, "IT", tmp_path / "r.nc"))
    assert list(neuroid_coordinates(recording)) == ["neuroid_id", "region", "animal", "mood"]
    assert set(recording.attrs["stimulus_set"].columns) == {"stimulus_id", "object_name", "hue"}


def test_zip_ignores_hidden_files(images, counts, tmp_path):
    archive = tmp_path / "i.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in images.iterdir():
            target.write(path, f"stimuli/{path.name}")
        target.writestr("__MACOSX/stimuli/._im0.png", "x")
        target.writestr("stimuli/.DS_Store", "x")
    responses = write(tmp_path / "c.npz", counts=counts)
    recording = read_recording(package_recording(archive, responses, "IT", tmp_path / "r.nc"))
    assert_holds(recording, counts)


def test_existing_recording(images, counts, tmp_path):
    responses, out = write(tmp_path / "c.npz", counts=counts), tmp_path / "r.nc"
    package_recording(images, responses, "IT", out)
    before = out.stat().st_mtime_ns
    package_recording(images, responses, "IT", out)
    assert out.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="exists and holds another recording"):
        package_recording(images, responses, "V4", out)
    out.write_bytes(b"other")
    with pytest.raises(InputError, match="exists and is no whole recording"):
        package_recording(images, responses, "IT", out)
    assert out.read_bytes() == b"other"


def test_images_with_long_names(tmp_path, image_writer):
    names = ["漢" * 40 + "一", "漢" * 40 + "二"]
    image_writer(tmp_path / "images", [f"{name}.png" for name in names])
    path = write(tmp_path / "a.npz", responses=np.ones((2, 3)))
    recording = read_recording(package_recording(tmp_path / "images", path, "IT", tmp_path / "r.nc"))
    assert sorted(recording["stimulus_id"].values) == names


def test_paths_in_the_home_folder(tmp_path, images, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.npz", responses=np.ones((5, 3)))
    assert package_recording("~/images", "~/a.npz", "IT", "~/r.nc") == tmp_path / "r.nc"
    assert load_recording("~/r.nc").attrs["identifier"] == "r"


def test_region_from_the_file(tmp_path, images):
    path = write(tmp_path / "a.npz", responses=np.ones((5, 3)), region=np.array(["IT", "V4", "IT"]))
    recording = read_recording(package_recording(images, path, None, tmp_path / "r.nc"))
    assert list(recording["region"].values) == ["IT", "V4", "IT"]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the real recordings (../shared/recordings) are not here")
def test_macaque_v4(tmp_path):
    folder = RECORDINGS / "macaque_v4_cowley2023"
    out = package_recording(folder / "images.zip", folder / "counts.npz", "V4", tmp_path / "v4.nc")
    recording = read_recording(out)
    raw = np.load(folder / "counts.npz")
    counts = raw["counts"].astype(float)
    counts[counts < 0] = np.nan
    expected = np.nanmean(counts, axis=2).T
    averaged = average_repetitions(recording)
    assert list(averaged["stimulus_id"].values) == [f"image{number:04d}" for number in range(1, 641)]
    np.testing.assert_allclose(averaged.values, expected, rtol=1e-12)
    np.testing.assert_array_equal(averaged["object_name"].values, raw["object_name"])
    present = (~np.isnan(counts)).any(axis=0).sum(axis=1)
    np.testing.assert_array_equal(repetitions_per_stimulus(recording), present)
    rows = [int(key[5:]) - 1 for key in recording["stimulus_id"].values]
    np.testing.assert_array_equal(recording.values, counts[:, rows, recording["repetition"].values].T)
