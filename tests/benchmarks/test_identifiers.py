"""Ids of benchmarks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itprobe.benchmarks import BenchmarkId, list_benchmarks, parse_benchmark
from itprobe.benchmarks.identifiers import FITTED, MAPPING_NAMES, RECORDING_NAMES
from itprobe.errors import InputError
from itprobe.metrics import MAPPINGS, SPLITS, WHOLE_SET_MAPPINGS


@pytest.mark.parametrize(
    ("text", "recording", "region", "split"),
    [
        ("MajajHong2015public.IT-ridge", "MajajHong2015.public", "IT", "brainscore"),
        ("itprobe.MajajHong2015public.V4-ridge.course", "MajajHong2015.public", "V4", "course"),
        ("simulated_small.IT-ridge", "simulated_small", "IT", "brainscore"),
        ("some/dir.v2/r#1.nc#V4-ridge.kfold", "some/dir.v2/r#1.nc", "V4", "kfold"),
        ("IT_data.h5#IT-ridge.course", "IT_data.h5", "IT", "course"),
    ],
)
def test_parts(text, recording, region, split):
    assert parse_benchmark(text) == BenchmarkId(recording, region, "ridge", split)


def test_benchmarks_of_fitted_candidates():
    assert FITTED not in (*MAPPINGS, *WHOLE_SET_MAPPINGS)
    assert [*MAPPINGS, *WHOLE_SET_MAPPINGS, FITTED] == MAPPING_NAMES
    named = parse_benchmark("itprobe.simulated_small.IT-fitted.course")
    assert named == BenchmarkId("simulated_small", "IT", "fitted", "course")
    assert str(named) == "simulated_small.IT-fitted.course"
    own = parse_benchmark("some/dir/r.nc#V4-fitted")
    assert own == BenchmarkId("some/dir/r.nc", "V4", "fitted", "brainscore")
    assert str(own) == "some/dir/r.nc#V4-fitted"


names = st.sampled_from(sorted(RECORDING_NAMES.values())) | st.from_regex(
    r"[\w/.#-]{1,20}\.nc", fullmatch=True
)


@given(
    names,
    st.from_regex(r"[A-Za-z0-9]{1,5}", fullmatch=True),
    st.sampled_from(["ridge", "fitted"]),
    st.sampled_from(sorted(SPLITS)),
)
def test_round_trip(recording, region, mapping, split):
    benchmark = BenchmarkId(recording, region, mapping, split)
    assert parse_benchmark(str(benchmark)) == benchmark


def test_every_listed_benchmark_parses():
    listed = list_benchmarks()
    of_a_recording = (len(MAPPINGS) + 1) * len(SPLITS) + len(WHOLE_SET_MAPPINGS)  # + 1: fitted
    assert len(listed) == len(set(listed)) == len(RECORDING_NAMES) * of_a_recording
    assert {"simulated_small.IT-fitted", "MajajHong2015public.IT-fitted.course"} <= set(listed)
    assert [str(parse_benchmark(name)) for name in listed] == listed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("simulatd_small.IT-ridge", "did you mean simulated_small"),
        ("simulated_small.IT-rigde", "did you mean ridge"),
        ("simulated_small.IT-fited", "did you mean fitted"),
        ("simulated_small.IT-fitted.corse", "did you mean course"),
        ("simulated_small.IT-ridge.corse", "did you mean course"),
        ("simulated_small", "did you mean simulated_small.IT-"),
        ("r.nc.IT-ridge", "A benchmark is RECORDING.REGION-MAPPING"),
        ("r.txt#IT-ridge", "ending in .nc or .h5"),
    ],
)
def test_mistakes_are_explained(text, message):
    with pytest.raises(InputError, match=message):
        parse_benchmark(text)
