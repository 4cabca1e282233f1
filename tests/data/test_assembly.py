import itertools

import numpy as np
import pandas as pd
import pytest
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_vision.benchmark_helpers.neural_common import average_repetition
from hypothesis import given, settings
from hypothesis import strategies as st

from itprobe.data import (
    average_repetitions,
    build_assembly,
    neuroid_coordinates,
    presentation_coordinates,
    repetitions_per_stimulus,
    select_region,
    stimulus_set_sha256,
)
from itprobe.errors import InputError


def assert_equal_rows(ours, theirs):
    theirs = theirs.transpose("presentation", "neuroid")
    np.testing.assert_array_equal(ours["stimulus_id"].values, theirs["stimulus_id"].values)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-6, atol=1e-6)
    expected = presentation_coordinates(theirs)
    found = presentation_coordinates(ours)
    found.pop("n_repetitions")
    assert list(found) == list(expected)
    for name, column in found.items():
        np.testing.assert_array_equal(column, expected[name], err_msg=name)


def test_contract(make_recording):
    recording = make_recording()
    assert isinstance(recording, NeuroidAssembly)
    assert recording.dims == ("presentation", "neuroid")
    assert recording.dtype == np.float32
    assert list(presentation_coordinates(recording))[:2] == ["stimulus_id", "repetition"]
    assert set(neuroid_coordinates(recording)) == {"neuroid_id", "region", "animal", "x"}
    stimulus_set = recording.attrs["stimulus_set"].set_index("stimulus_id")
    for name in stimulus_set.columns:
        expected = stimulus_set.loc[recording["stimulus_id"].values, name].to_numpy()
        np.testing.assert_array_equal(recording[name].values, expected)
    assert recording.attrs["simulated"] is False
    assert recording.attrs["averaged"] is False
    assert recording.stimulus_set.identifier == recording.attrs["stimulus_set_identifier"] == "tiny"


@pytest.mark.parametrize(
    "order",
    [
        *list(itertools.permutations(["stimulus_id", "object_name", "s", "variation"]))[::3],
        ("repetition", "variation", "flipped", "object_name"),
        ("variation", "repetition", "s"),
    ],
)
def test_average_is_that_of_brain_score_in_its_order(make_recording, order):
    recording = make_recording(n_stimuli=9, seed=3)
    values, coords = recording.values, presentation_coordinates(recording)
    recording = build_assembly(
        values,
        coords["stimulus_id"],
        coords["repetition"],
        recording.attrs["stimulus_set"],
        neuroid_coordinates(recording),
        identifier="tiny",
        visual_degrees=8,
        citation="",
        coordinate_order=order,
    )
    assert tuple(presentation_coordinates(recording))[: len(order)] == order
    ours = average_repetitions(recording)
    assert ours.dtype == np.float64
    assert_equal_rows(ours, average_repetition(recording))


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([np.nan, 0.0, 1.0, 2.5])), min_size=2, max_size=25)
)
def test_average_against_a_plain_loop(rows):
    stimuli = np.array([f"s{number}" for number, _ in rows])
    values = np.array([[value, 1.0] for _, value in rows], dtype=np.float32)
    assembly = NeuroidAssembly(
        values,
        dims=("presentation", "neuroid"),
        coords={
            "stimulus_id": ("presentation", stimuli),
            "repetition": ("presentation", np.arange(len(rows))),
            "neuroid_id": ("neuroid", ["a", "b"]),
            "region": ("neuroid", ["IT", "IT"]),
        },
    )
    ours = average_repetitions(assembly)
    assert list(ours["stimulus_id"].values) == sorted(set(stimuli))
    for row, key in enumerate(ours["stimulus_id"].values):
        own = values[stimuli == key, 0]
        own = own[~np.isnan(own)]
        expected = own.astype(float).mean() if len(own) else np.nan
        np.testing.assert_allclose(ours.values[row, 0], expected)
        assert ours["n_repetitions"].values[row] == (stimuli == key).sum()
    np.testing.assert_array_equal(ours.values[:, 1], 1.0)


def test_coordinates_of_single_trials_are_dropped_by_averaging(make_recording):
    recording = make_recording()
    recording = recording.reset_index("presentation")
    recording["trial"] = "presentation", np.arange(recording.sizes["presentation"])
    ours = average_repetitions(NeuroidAssembly(recording))
    assert ours.sizes["presentation"] == 6
    assert not {"trial", "repetition"} & set(presentation_coordinates(ours))


def test_average_keeps_attributes_and_says_that_it_is_one(make_recording):
    recording = make_recording()
    ours = average_repetitions(recording)
    assert ours.attrs["averaged"] is True
    assert recording.attrs["averaged"] is False
    assert ours.attrs["stimulus_set"] is recording.attrs["stimulus_set"]


@pytest.mark.parametrize("region", ["IT", "V4"])
def test_select_region_keeps_all_levels_even_of_one_neuroid(make_recording, region):
    recording = make_recording()
    chosen = select_region(recording, region)
    assert type(chosen) is NeuroidAssembly
    assert set(chosen["region"].values) == {region}
    assert list(neuroid_coordinates(chosen)) == list(neuroid_coordinates(recording))
    assert chosen.attrs["stimulus_set"] is recording.attrs["stimulus_set"]
    np.testing.assert_array_equal(chosen.values, recording.values[:, recording["region"].values == region])


def test_unknown_region_names_those_there_are(make_recording):
    with pytest.raises(InputError, match="no neuroid of region 'V1'; it has IT, V4"):
        select_region(make_recording(), "V1")


def test_repetitions_per_stimulus(make_recording):
    recording = make_recording().isel(presentation=np.arange(1, 18))
    ids = recording["stimulus_id"].values
    expected = pd.Series(ids).value_counts().sort_index().to_numpy()
    np.testing.assert_array_equal(repetitions_per_stimulus(recording), expected)
    assert expected.sum() == 17


def rebuild(recording, **changes):
    given = {
        "values": recording.values,
        "stimulus_ids": recording["stimulus_id"].values,
        "repetitions": recording["repetition"].values,
        "stimulus_set": recording.attrs["stimulus_set"],
        "neuroid_coords": neuroid_coordinates(recording),
        **changes,
    }
    return build_assembly(**given, identifier="tiny", visual_degrees=8, citation="")


def test_digest_depends_on_values_and_ids_alone(make_recording):
    recording = make_recording()
    digest = recording.attrs["sha256"]
    assert rebuild(recording).attrs["sha256"] == digest
    negative_nan = np.where(np.isnan(recording.values), -np.float32(np.nan), recording.values)
    assert rebuild(recording, values=negative_nan).attrs["sha256"] == digest
    ids = recording["stimulus_id"].values
    assert rebuild(recording, stimulus_ids=ids[::-1]).attrs["sha256"] != digest
    assert rebuild(recording, values=recording.values + 1).attrs["sha256"] != digest
    coords = {**neuroid_coordinates(recording), "neuroid_id": list("abcd")}
    assert rebuild(recording, neuroid_coords=coords).attrs["sha256"] != digest
    assert rebuild(recording, neuroid_coords={**coords, "neuroid_id": [1, 2, 3, 4]})["neuroid_id"][0] == "1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros((5, 4))}, r"5 presentations, but \w+ has 18"),
        ({"values": np.zeros((18, 3))}, "3 neuroids, but neuroid_id has 4"),
        ({"values": np.zeros((18, 4, 2))}, r"shape \(18, 4, 2\)"),
        (
            {"neuroid_coords": {"neuroid_id": list("abca"), "region": ["IT"] * 4}},
            r"1 neuroid ids \(a\) occur",
        ),
        ({"neuroid_coords": {"neuroid_id": list("abcd")}}, "no coordinate 'region'"),
        (
            {"stimulus_ids": ["000"] * 17 + ["x"]},
            r"1 stimulus ids \(x\) .* no image and 5 images \(001, 002, 003",
        ),
    ],
)
def test_faulty_parts_are_refused(make_recording, changes, message):
    with pytest.raises(InputError, match=message):
        rebuild(make_recording(), **changes)


def test_stimulus_digest_depends_on_ids_and_bytes_not_on_order(make_recording):
    stimulus_set = make_recording().attrs["stimulus_set"]
    digest = stimulus_set_sha256(stimulus_set)
    backwards = stimulus_set.iloc[::-1]
    assert stimulus_set_sha256(backwards) == digest
    first, second = (stimulus_set.stimulus_paths[key] for key in ("000", "001"))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert stimulus_set_sha256(stimulus_set) != digest
    second.unlink()
    with pytest.raises(InputError, match=r"image files are missing in .*: 1 \(001\)"):
        stimulus_set_sha256(stimulus_set)
