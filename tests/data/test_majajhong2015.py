"""MajajHong2015.public on files of its schema: by hand, from a local S3, and where both are lacking."""

import hashlib
import zipfile
from urllib.request import Request, urlopen

import boto3
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brainscore_core.supported_data_standards.brainio import fetch
from brainscore_core.supported_data_standards.brainio import s3 as brainio_s3
from brainscore_vision import load_dataset
from brainscore_vision.benchmark_helpers.neural_common import average_repetition
from PIL import Image

from itprobe.data import (
    average_repetitions,
    fetch_recording,
    load_recording,
    neuroid_coordinates,
    read_recording,
    save_recording,
    select_region,
)
from itprobe.data import majajhong2015 as majaj
from itprobe.errors import InputError

NAME = "MajajHong2015.public"
N_IMAGES, N_REPETITIONS, N_IT, N_V4 = 12, 3, 5, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The three files in Brain-Score's schema: ids called image_id, neuroids first, one time bin."""
    folder = tmp_path_factory.mktemp("majaj")
    generator = np.random.default_rng(0)
    ids = [hashlib.sha1(bytes([number])).hexdigest() for number in range(N_IMAGES)]
    latents = {name: generator.normal(size=N_IMAGES) for name in ("ryz", "rxz", "rxy", "ty", "tz", "s")}
    table = pd.DataFrame(
        {
            "image_id": ids,
            "object_name": [f"object{number % 4}" for number in range(N_IMAGES)],
            "category_name": [f"category{number % 2}" for number in range(N_IMAGES)],
            "background_id": generator.permutation(N_IMAGES),
            "variation": [0, 3] * (N_IMAGES // 2),
            **latents,
            "size": 256.0,
            "filename": [f"{key}.png" for key in ids],
            "degrees": 8,
        }
    )
    table.to_csv(folder / majaj.TABLE.name, index=False)
    with zipfile.ZipFile(folder / majaj.IMAGES.name, "w") as archive:
        for key in ids:
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "one.png")
            archive.write(folder / "one.png", f"{key}.png")
    rows = generator.permutation(np.tile(np.arange(N_IMAGES), N_REPETITIONS))
    shown = table.iloc[rows].reset_index(drop=True)
    # image_file_name and id are in the responses' file alone; the first coordinates are not unique.
    presentation = {
        "category_name": shown["category_name"],
        "id": generator.permutation(N_IMAGES)[rows],
        "image_id": shown["image_id"],
        "image_file_name": [
            f"{name}_{key}.png" for name, key in zip(shown.object_name, shown.image_id, strict=True)
        ],
        **{
            name: shown[name]
            for name in ("background_id", "s", "rxy", "tz", "ty", "ryz", "rxz", "variation", "size")
        },
        "object_name": shown["object_name"],
        "repetition": pd.Series(rows).groupby(rows).cumcount(),
    }
    n_neuroids = N_IT + N_V4
    neuroid = {
        "neuroid_id": [f"Chabo_L_A_{number}_1" for number in range(n_neuroids)],
        "arr": ["A"] * n_neuroids,
        "col": np.arange(n_neuroids),
        "subregion": ["cIT"] * n_neuroids,
        "animal": ["Chabo", "Tito"] * (n_neuroids // 2) + ["Tito"] * (n_neuroids % 2),
        "y": generator.normal(size=n_neuroids),
        "x": generator.normal(size=n_neuroids),
        "region": ["IT", "V4", "IT", "IT", "V4", "IT", "IT"],
    }
    values = generator.normal(size=(n_neuroids, len(rows), 1)).astype(np.float32)
    xr.DataArray(
        values,
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            **{name: ("presentation", np.asarray(column)) for name, column in presentation.items()},
            **{name: ("neuroid", np.asarray(column)) for name, column in neuroid.items()},
            "time_bin_start": ("time_bin", [70]),
            "time_bin_end": ("time_bin", [170]),
        },
        name="dicarlo.MajajHong2015.public",
    ).to_netcdf(folder / majaj.RESPONSES.name)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty $BRAINIO_HOME; Brain-Score keeps the first one it saw."""
    monkeypatch.setenv("BRAINIO_HOME", str(tmp_path / "brainio"))
    monkeypatch.setattr(fetch, "_local_data_path", None)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield tmp_path / "brainio"
    fetch._local_data_path = None


@pytest.fixture
def registered(files, monkeypatch):
    """Take the generated files for the registered ones: their digests become the expected ones."""
    made = {hashlib.sha1((files / file.name).read_bytes()).hexdigest(): file.sha1 for file in majaj.FILES}
    digest = majaj._sha1
    monkeypatch.setattr(majaj, "_sha1", lambda path: made.get(digest(path), digest(path)))
    for module in (fetch, brainio_s3):
        monkeypatch.setattr(module, "verify_sha1", lambda path, expected: None)


@pytest.fixture
def laid_by_hand(files, home, registered):
    for file in majaj.FILES:
        (home / file.sha1).mkdir(parents=True)
        (home / file.sha1 / file.name).write_bytes((files / file.name).read_bytes())
    return home


@pytest.fixture
def nowhere(monkeypatch):
    """An S3 that refuses every connection."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """Brain-Score's public bucket: objects have the version "null", as before versioning was switched on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    name = "brainscore-storage"
    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket=name)

    def put(files):
        for key, content in files.items():
            client.put_object(Bucket=name, Key=f"brainio-brainscore/{key}", Body=content, ACL="public-read")
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    yield put
    urlopen(Request(f"{server}/moto-api/reset", method="POST")).close()


def assert_contract(recording):
    assert recording.dims == ("presentation", "neuroid")
    assert recording.shape == (N_IMAGES * N_REPETITIONS, N_IT + N_V4)
    assert recording.dtype == np.float32
    assert recording.attrs["identifier"] == NAME
    assert recording.attrs["stimulus_set_identifier"] == "hvm-public"
    assert recording.attrs["visual_degrees"] == 8
    assert "10.1523/JNEUROSCI.5181-14.2015" in recording.attrs["citation"]
    assert recording.attrs["averaged"] is False
    assert set(recording["variation"].values) == {0, 3}
    assert {"object_name", "category_name", "background_id", "ryz", "s"} <= set(
        recording.attrs["stimulus_set"]
    )
    assert set(recording["repetition"].values) == set(range(N_REPETITIONS))
    assert {"neuroid_id", "region", "animal", "subregion", "arr", "x"} <= set(neuroid_coordinates(recording))


def test_files_laid_by_hand(laid_by_hand, files, nowhere):
    recording = load_recording(NAME)
    assert_contract(recording)
    raw = xr.load_dataarray(files / majaj.RESPONSES.name).isel(time_bin=0)
    np.testing.assert_array_equal(recording.values, raw.values.T)
    np.testing.assert_array_equal(recording["stimulus_id"].values, raw["image_id"].values)
    np.testing.assert_array_equal(recording["region"].values, raw["region"].values)
    assert fetch_recording(NAME) == laid_by_hand


@pytest.mark.parametrize("region", ["IT", "V4"])
def test_average_has_brain_scores_values_and_order(laid_by_hand, nowhere, region):
    ours = average_repetitions(select_region(load_recording(NAME), region))
    theirs = load_dataset(NAME).squeeze("time_bin")
    theirs = theirs.sel(region=region)
    theirs["region"] = "neuroid", [region] * len(theirs["neuroid"])
    theirs.load()
    theirs = average_repetition(theirs.transpose("presentation", "neuroid", ...))
    np.testing.assert_array_equal(ours["stimulus_id"].values, theirs["stimulus_id"].values)
    assert list(ours["stimulus_id"].values) != sorted(ours["stimulus_id"].values)
    np.testing.assert_array_equal(ours["neuroid_id"].values, theirs["neuroid_id"].values)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=1e-7)


def test_it_can_be_saved(laid_by_hand, nowhere, tmp_path):
    recording = load_recording(NAME)
    back = read_recording(save_recording(recording, tmp_path / "r.nc"))
    assert back.attrs["sha256"] == recording.attrs["sha256"]
    assert_contract(back)


def test_download(files, home, registered, bucket):
    bucket({file.name: (files / file.name).read_bytes() for file in majaj.FILES})
    assert fetch_recording(NAME) == home
    for file in majaj.FILES:
        assert (home / file.sha1 / file.name).read_bytes() == (files / file.name).read_bytes()
    assert_contract(load_recording(NAME))


def test_damaged_download_is_not_kept(files, home, registered, bucket):
    whole = (files / majaj.RESPONSES.name).read_bytes()
    bucket({majaj.RESPONSES.name: whole[: len(whole) // 2]})
    with pytest.raises(InputError, match=f"{majaj.RESPONSES.name} came damaged"):
        load_recording(NAME)
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_not_in_the_bucket(home, registered, bucket):
    with pytest.raises(InputError, match=r"cannot download MajajHong2015\.public: .*404"):
        load_recording(NAME)


def test_no_network_names_files_and_folder(home, nowhere):
    with pytest.raises(InputError, match=r"cannot download MajajHong2015\.public") as caught:
        load_recording(NAME)
    message = str(caught.value)
    assert "\n" not in message
    assert str(home) in message
    for file in majaj.FILES:
        assert f"{file.sha1}/{file.name}" in message
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_partial_file_is_named(laid_by_hand, nowhere):
    for file in majaj.FILES:
        path = laid_by_hand / file.sha1 / file.name
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        with pytest.raises(InputError, match=f"{file.name} is incomplete or damaged .* Delete it and run"):
            load_recording(NAME)
        path.write_bytes(whole)


def test_partly_unpacked_images_are_unpacked_again(laid_by_hand, nowhere):
    load_recording(NAME)
    folder = (laid_by_hand / majaj.IMAGES.sha1 / majaj.IMAGES.name).with_suffix("")
    images = sorted(folder.iterdir())
    images[0].unlink()
    images[1].write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"")
    assert_contract(load_recording(NAME))
    assert sorted(folder.iterdir()) == images
    assert images[1].stat().st_size > 0
