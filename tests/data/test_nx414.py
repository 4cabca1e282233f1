import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itprobe.data import load_recording, read_recording, save_recording
from itprobe.data.nx414 import load_nx414
from itprobe.errors import InputError

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
SIZES = {"train": 40, "val": 5, "test": 4}  # more than are read at once
N_NEUROIDS = 7


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return {
        split: generator.integers(0, 256, (size, 16, 16, 3), dtype=np.uint8) for split, size in SIZES.items()
    }


@pytest.fixture
def source(tmp_path, monkeypatch, images):
    """A file of the course's layout: what torchvision's ToTensor and Normalize make of the images."""
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ITPROBE_NX414", raising=False)
    generator = np.random.default_rng(1)
    path = tmp_path / "IT_data.h5"
    with h5py.File(path, "w") as target:
        for split, size in SIZES.items():
            normalised = (images[split] / 255 - MEAN) / STD
            target[f"stimulus_{split}"] = np.moveaxis(normalised, -1, 1).astype(np.float32)
            names = [f"caf\xe9_{number % 3}".encode("latin-1") for number in range(size)]
            target[f"object_{split}"] = np.array(names)
            if split != "test":
                target[f"spikes_{split}"] = generator.normal(size=(size, N_NEUROIDS))
    return path


def test_recording(source, images):
    recording = load_recording(str(source))
    with h5py.File(source) as raw:
        expected = np.concatenate([raw["spikes_train"][:], raw["spikes_val"][:]])
    np.testing.assert_array_equal(recording.values, expected.astype(np.float32))
    ids = [f"nx414-train-{number:05d}" for number in range(40)] + [
        f"nx414-val-{number:05d}" for number in range(5)
    ]
    assert list(recording["stimulus_id"].values) == ids
    assert set(recording["repetition"].values) == {0}
    assert set(recording["region"].values) == {"IT"}
    assert set(recording["animal"].values) == {"unknown"}
    assert recording["object_name"].values[1] == "café_1"
    assert recording.attrs["identifier"] == "NX414"
    assert recording.attrs["averaged"] is True
    assert recording.attrs["simulated"] is False
    assert recording.attrs["visual_degrees"] == 8
    assert recording.attrs["stimuli_without_responses"] == 4
    stimulus_set = recording.attrs["stimulus_set"]
    assert pd.Series(stimulus_set["split"]).value_counts().to_dict() == SIZES
    for split, size in SIZES.items():
        for number in range(size):
            with Image.open(stimulus_set.stimulus_paths[f"nx414-{split}-{number:05d}"]) as image:
                np.testing.assert_array_equal(np.asarray(image), images[split][number])


def test_path_from_the_environment(source, monkeypatch):
    with pytest.raises(InputError, match=r"NX414: set ITPROBE_NX414 to the path of IT_data\.h5"):
        load_recording("NX414")
    monkeypatch.setenv("ITPROBE_NX414", str(source))
    assert load_recording("NX414").attrs["sha256"] == load_nx414(source).attrs["sha256"]
    monkeypatch.setenv("ITPROBE_NX414", "nowhere/IT_data.h5")
    with pytest.raises(InputError, match=r"no file at nowhere/IT_data\.h5: check ITPROBE_NX414"):
        load_recording("NX414")


def test_images_are_made_once_and_again_when_damaged(source, images):
    paths = load_nx414(source).attrs["stimulus_set"].stimulus_paths
    image = paths["nx414-val-00003"]
    made = image.stat().st_mtime_ns
    load_nx414(source)
    assert image.stat().st_mtime_ns == made
    image.write_bytes(paths["nx414-val-00002"].read_bytes())
    load_nx414(source)
    with Image.open(image) as again:
        np.testing.assert_array_equal(np.asarray(again), images["val"][3])
    image.unlink()
    load_nx414(source)
    assert image.is_file()


def test_another_file_has_other_images(source):
    first = load_nx414(source).attrs["stimulus_set"].stimulus_paths["nx414-val-00000"]
    with h5py.File(source, "a") as target:
        target["stimulus_val"][0] = 0.0
    second = load_nx414(source).attrs["stimulus_set"].stimulus_paths["nx414-val-00000"]
    assert first.parent != second.parent
    with Image.open(second) as image:
        assert np.asarray(image)[0, 0].tolist() == [124, 116, 104]  # ImageNet's mean colour


@pytest.mark.parametrize("name", ["stimulus_test", "object_val", "spikes_train"])
def test_missing_array(source, name):
    with h5py.File(source, "a") as target:
        del target[name]
    with pytest.raises(InputError, match=f"has not the layout of IT_data.h5: {name} missing"):
        load_nx414(source)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("spikes_val", np.ones((4, 7)), "stimulus_val has 5 images, but spikes_val has 4 rows"),
        ("spikes_val", np.ones((5, 6)), "differ in neuroids"),
        ("stimulus_val", np.ones((5, 16, 16, 3)), r"stimulus_val has shape \(5, 16, 16, 3\)"),
        ("stimulus_val", np.full((5, 3, 16, 16), 99.0), r"stimulus_val\[0\]: values from 99 to 99 are not"),
        ("stimulus_val", np.full((5, 3, 16, 16), np.nan), r"stimulus_val\[0\]: values from nan"),
    ],
)
def test_wrong_arrays(source, tmp_path, name, array, message):
    with h5py.File(source, "a") as target:
        del target[name]
        target[name] = array
    with pytest.raises(InputError, match=message):
        load_nx414(source)
    assert not list((tmp_path / "cache").rglob("*.png"))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_truncated_file(source, share):
    whole = source.read_bytes()
    source.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"cannot read .* as the course's IT_data\.h5"):
        load_nx414(source)


def test_it_can_be_saved_with_its_stimuli_without_responses(source, tmp_path):
    recording = load_nx414(source)
    back = read_recording(save_recording(recording, tmp_path / "r.nc"))
    assert back.attrs["sha256"] == recording.attrs["sha256"]
    assert back.attrs["stimuli_without_responses"] == 4
    assert len(back.attrs["stimulus_set"]) == 49
