import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itprobe.data import (
    check_contact_sheet_path,
    contact_sheet,
    describe_recording,
    make_stimulus_set,
    recording_figures,
)
from itprobe.errors import InputError


@pytest.fixture
def recording(make_recording):
    recording = make_recording(n_stimuli=6, n_repetitions=3, n_neuroids=5)
    values = np.arange(90.0, dtype=np.float32).reshape(18, 5)
    values[:, 1] = 2.0
    values[3:7, 1] = np.nan
    values[:, 2] = np.nan
    recording.values[:] = values
    extra = np.flatnonzero(recording["repetition"].values == 2)[0]
    return recording.isel(presentation=[*np.flatnonzero(recording["repetition"].values < 2), extra])


def test_figures(recording):
    figures = recording_figures(recording, np.array([0.1, 0.29, 0.3, 0.9, np.nan]))
    json.dumps(figures)
    values = recording.values
    assert figures["stimuli"] == 6
    assert figures["presentations"] == len(values) == 13
    assert figures["neuroids"] == {"IT Chabo": 2, "IT Tito": 2, "V4 Tito": 1}
    assert figures["repetitions"] == {"min": 2, "median": 2.0, "max": 3}
    assert figures["missing_values"] == sum(value != value for value in values.ravel())
    assert figures["neuroids_without_responses"] == 1
    assert figures["constant_neuroids"] == 1
    assert figures["labels"]["object_name"] == len(set(recording["object_name"].values))
    reliability = figures["reliability"]
    assert reliability["undefined"] == 1
    assert reliability["below_0.3"] == 2
    assert reliability["median"] == pytest.approx(0.295)
    assert reliability["mean"] == pytest.approx(0.3975)
    assert reliability["percentile_5"] == pytest.approx(0.1 + 0.15 * 0.19)


def test_text(recording):
    text = describe_recording(recording, np.full(5, 0.8))
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["recording"] == "tiny"
    assert lines["origin"] == "recorded"
    assert lines["repetitions"] == "2 to 3 per stimulus, median 2"
    assert "IT Chabo 2, IT Tito 2, V4 Tito 1" in lines["neuroids"]
    assert lines["reliability"].startswith("median 0.80, mean 0.80, 5-95% 0.80 to 0.80; 0 below 0.3")
    assert "not computed" in describe_recording(recording)
    assert "undefined for all 5" in describe_recording(recording, np.full(5, np.nan))


def test_text_says_simulated_and_why_there_is_no_reliability(make_recording):
    averaged = describe_recording(make_recording(n_repetitions=1, averaged=True, simulated=True))
    assert "simulated, not a recording of a brain" in averaged
    assert "without repetitions it cannot be estimated" in averaged
    assert "no stimulus was shown twice" in describe_recording(make_recording(n_repetitions=1))


def test_contact_sheet(make_recording, tmp_path):
    stimulus_set = make_recording(n_stimuli=10).attrs["stimulus_set"]
    path = contact_sheet(stimulus_set, tmp_path / "sheet.png", columns=3, rows=2)
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * 164 + 6, 3 * 134 + 6, 3)
    for number, row in enumerate([0, 2, 4, 5, 7, 9]):
        with Image.open(stimulus_set.stimulus_paths[f"{row:03d}"]) as image:
            expected = np.asarray(image.resize((128, 128), Image.Resampling.BICUBIC))
        y, x = 6 + number // 3 * 164, 6 + number % 3 * 134
        np.testing.assert_array_equal(pixels[y : y + 128, x : x + 128], expected)
        assert pixels[y + 130 : y + 158, x : x + 128].min() < 100, "no label"


def test_contact_sheet_of_few_stimuli(make_recording, tmp_path):
    path = contact_sheet(make_recording(n_stimuli=2).attrs["stimulus_set"], tmp_path / "sheet.png")
    with Image.open(path) as sheet:
        assert sheet.size == (2 * 134 + 6, 164 + 6)


def test_contact_sheet_refuses(make_recording, tmp_path):
    stimulus_set = make_recording().attrs["stimulus_set"]
    with pytest.raises(InputError, match=r"must end in \.png"):
        contact_sheet(stimulus_set, tmp_path / "sheet.pdf")
    with pytest.raises(InputError, match="at least one row"):
        contact_sheet(stimulus_set, tmp_path / "sheet.png", columns=0)


def test_contact_sheet_path_is_checked_before_any_work(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    faults = {
        "sheet.pdf": r"must end in \.png",
        "sheet": r"must end in \.png",
        "folder.png": "it is a folder",
        "file/sheet.png": "cannot make the folder",
    }
    for name, message in faults.items():
        with pytest.raises(InputError, match=message):
            check_contact_sheet_path(tmp_path / name)
        with pytest.raises(InputError, match=message):
            contact_sheet(None, tmp_path / name)
    assert check_contact_sheet_path(tmp_path / "sheet.png") == tmp_path / "sheet.png"
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_contact_sheet_shows_16_bit_grey(tmp_path, kind):
    pixels = np.linspace(0, 65535, 128 * 128).reshape(128, 128).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / f"deep.{kind}")
    stimulus_set = make_stimulus_set(
        pd.DataFrame({"stimulus_id": ["deep"]}), {"deep": tmp_path / f"deep.{kind}"}, "deep"
    )
    with Image.open(contact_sheet(stimulus_set, tmp_path / "sheet.png")) as sheet:
        tile = np.asarray(sheet)[6:134, 6:134].astype(float)
    for channel in range(3):
        np.testing.assert_allclose(tile[:, :, channel], pixels / 65535 * 255, atol=0.51)
