"""Faulty stimuli and responses, and files that packaging would overwrite: refused in one line, nothing written."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from itprobe.data import package_recording
from itprobe.errors import InputError


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def refused(tmp_path, images, message, arrays, region="IT", out="r.nc"):
    with pytest.raises(InputError, match=message) as caught:
        package_recording(images, write(tmp_path / "bad.npz", **arrays), region, tmp_path / out)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("r.*"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"counts": np.ones((3, 4, 2))}, "holds 5 images, but .* has 4 stimuli"),
        ({"counts": np.ones((3, 5))}, r"counts has shape \(3, 5\), not \(neuroid, stimulus, repetition\)"),
        ({"responses": np.ones((5, 3, 2))}, r"responses has shape \(5, 3, 2\), not \(stimulus, neuroid\)"),
        ({"rates": np.ones((5, 3))}, "must hold either responses .* it has rates"),
        ({"responses": np.ones((5, 3)), "counts": np.ones((3, 5, 2))}, "must hold either"),
        ({"responses": np.full((5, 3), "x")}, "not numbers"),
        ({"responses": np.full((5, 3), np.inf)}, "15 infinite values"),
        ({"responses": np.full((5, 3), np.nan)}, "all 15 values are missing"),
        ({"responses": np.full((5, 3), -2)}, r"below -1 \(down to -2\)"),
        ({"counts": np.full((3, 5, 2), -2)}, r"30 negative values besides -1 \(down to -2\)"),
        ({"counts": np.full((3, 5, 2), -0.5)}, r"besides -1 \(down to -0\.5\), which counts never are"),
        ({"responses": np.array([[-1.0, 0.5, 2.0]] * 5)}, "5 values of exactly -1 .* Write NaN"),
        ({"responses": np.ones((5, 3)), "object_name": np.arange(4)}, r"object_name .*\(4,\).*5 stimuli"),
        ({"responses": np.ones((5, 3)), "animal": np.arange(5)}, r"animal .*\(5,\).*3 neuroids"),
        ({"responses": np.ones((5, 3)), "odd": np.arange(7)}, r"'odd'.*\(7,\).*5 stimuli and 3 neuroids"),
        ({"responses": np.ones((5, 3)), "region": ["IT"] * 3}, "region is given twice"),
        ({"responses": np.ones((5, 3)), "neuroid_id": ["a", "b", "a"]}, r"1 neuroid ids \(a\) occur twice"),
        (
            {"responses": np.ones((5, 3)), "stimulus_id": ["im0", "im1", "im2", "im3", "im9"]},
            r"1 stimulus ids \(im9\) of .* have no image and 1 images \(im4\)",
        ),
        (
            {"responses": np.ones((5, 3)), "stimulus_id": ["im0", "im1", "im2", "im3", "im3.png"]},
            r"1 stimulus ids \(im3\) occur twice",
        ),
        (
            {"responses": np.array([[1.0]] * 3 + [[np.nan]] * 2)},
            r"2 images \(im3, im4\) have no response",
        ),
        ({"responses": np.array([[{}]] * 5, dtype=object)}, "cannot read .* as responses"),
    ],
)
def test_faulty_arrays(tmp_path, images, arrays, message):
    refused(tmp_path, images, message, arrays)


def test_faulty_region_and_out(tmp_path, images):
    good = {"responses": np.ones((5, 3))}
    refused(tmp_path, images, "region 'I-T' must be letters and digits", good, region="I-T")
    refused(tmp_path, images, "no region is given", good, region=None)
    refused(tmp_path, images, r"must end in \.nc", good, out="r.h5")


@pytest.mark.parametrize("degrees", [-5.0, 0.0, float("nan"), float("inf")])
def test_faulty_visual_degrees(tmp_path, images, degrees):
    path = write(tmp_path / "a.npz", responses=np.ones((5, 3)))
    with pytest.raises(InputError, match=f"cannot span {degrees} degrees.*positive number"):
        package_recording(images, path, "IT", tmp_path / "r.nc", visual_degrees=degrees)
    assert not list(tmp_path.glob("r.*"))


@pytest.mark.parametrize(
    "source", ["loss/v4.stimuli", "loss", "loss/v4.stimuli/sub", "loss/v4.stimuli/i.zip"]
)
def test_the_stimuli_are_never_overwritten(tmp_path, image_writer, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    source = Path(source)
    files = image_writer(source if source.suffix != ".zip" else source.parent, ["a.png", "b.png"])
    if source.suffix == ".zip":
        with zipfile.ZipFile(source, "w") as archive:
            for file in files:
                archive.write(file)
    arrays = write(tmp_path / "c.npz", responses=np.ones((2, 2)))
    before = {path: path.read_bytes() for path in Path("loss").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"loss/v4\.stimuli, but they are read from .*choose another name"):
        package_recording(source, arrays, "IT", Path("loss") / "v4.nc")
    assert {path: path.read_bytes() for path in Path("loss").rglob("*") if path.is_file()} == before


def test_files_beside_a_new_recording_are_kept(tmp_path, images):
    notes = tmp_path / "keep.stimuli" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    arrays = write(tmp_path / "c.npz", responses=np.ones((5, 3)))
    with pytest.raises(InputError, match=r"1 files \(notes\.txt\) that itprobe did not write"):
        package_recording(images, arrays, "IT", tmp_path / "keep.nc")
    assert notes.read_text() == "mine"
    assert not (tmp_path / "keep.nc").exists()


def test_faulty_images(tmp_path, images):
    good = {"responses": np.ones((5, 3))}
    whole = (images / "im2.png").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no image at all"):
        (images / "im2.png").write_bytes(damaged)
        refused(tmp_path, images, r"cannot read the image im2\.png", good)
    Image.new("RGB", (4, 4)).save(images / "im2.png")
    Image.new("RGB", (4, 4)).save(images / "im3.jpg")
    refused(tmp_path, images, r"1 image names \(im3\) occur twice", good)
    refused(tmp_path, tmp_path / "nowhere", "no stimuli at", good)
    (tmp_path / "empty").mkdir()
    refused(tmp_path, tmp_path / "empty", "no images in", good)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 half a zip")
    refused(tmp_path, tmp_path / "bad.zip", "as a zip of images", good)


def test_order_of_numbers_without_zeros(tmp_path, image_writer):
    image_writer(tmp_path / "images", ["im1.png", "im2.png", "im10.png"])
    arrays = {"responses": np.ones((3, 2))}
    refused(tmp_path, tmp_path / "images", "im10 comes before im2.*pad the numbers", arrays)
    path = write(tmp_path / "a.npz", **arrays, stimulus_id=["im1", "im2", "im10"])
    package_recording(tmp_path / "images", path, "IT", tmp_path / "r.nc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,x\n1,2\n1,2\n1,2\n", "line 3, column 'b': 'x' is no number"),
        ("a,b\n" + "-1,0.5\n" * 5, "5 values of exactly -1 .* leave the cell empty"),
        ("a,b\n1,2\n1\n", "line 3 has 1 fields, the header has 2"),
        ("a,b\n", "no lines below the header"),
        ("a,a\n" + "1,2\n" * 5, r"neuroid ids \(a\) occur twice"),
        ("a,b\n" + "1,2\n" * 4, "holds 5 images, but .* has 4 stimuli"),
    ],
)
def test_faulty_csv(tmp_path, images, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        package_recording(images, tmp_path / "a.csv", "IT", tmp_path / "r.nc")


@pytest.mark.parametrize("kind", ["npz", "npy", "h5"])
def test_truncated_responses(tmp_path, images, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as target:
            target["responses"] = np.ones((5, 3))
    else:
        (np.save if kind == "npy" else lambda path, array: np.savez(path, responses=array))(
            path, np.ones((5, 3))
        )
    whole = path.read_bytes()
    for size in (0, 20, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="as responses"):
            package_recording(images, path, "IT", tmp_path / "r.nc")


def test_missing_or_unknown_file(tmp_path, images):
    with pytest.raises(InputError, match="no responses at"):
        package_recording(images, tmp_path / "none.npz", "IT", tmp_path / "r.nc")
    (tmp_path / "a.mat").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read \.mat; give \.npz, \.npy, \.csv, \.h5"):
        package_recording(images, tmp_path / "a.mat", "IT", tmp_path / "r.nc")
